//! The small values that Docker options are made of, each parsed where it enters.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::ByteSize;

/// Makes a type that is a text in the file: serde and schema through `FromStr` and `Display`.
macro_rules! text_value {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string" })
            }
        }
    };
}

/// The network that a job's containers share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// One of their own for each job, from the agent's pool.
    #[default]
    Job,
    /// None: only their own loopback.
    None,
    /// The engine's default bridge, shared with everything else on it.
    Bridge,
    /// The machine's own.
    Host,
    /// A network of the engine that the operator made.
    Named(String),
}

impl FromStr for NetworkMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "job" => Self::Job,
            "none" => Self::None,
            "bridge" | "default" => Self::Bridge,
            "host" => Self::Host,
            name if is_engine_name(name) => Self::Named(name.to_owned()),
            other => return Err(format!("`{other}` is no network: write job, none, bridge, host, or the name of one")),
        })
    }
}

/// Whether the engine takes a text as the name of a network, container or volume.
fn is_engine_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job",
            Self::None => "none",
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Named(name) => name,
        })
    }
}

text_value!(NetworkMode);

/// Where jobs find tools that earlier ones installed: a folder of their containers, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolFolder {
    /// They have no such folder.
    None,
    /// An absolute path in the container.
    At(String),
}

impl ToolFolder {
    /// The path, where there is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::At(path) => Some(path),
        }
    }
}

impl FromStr for ToolFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let path = text.strip_suffix('/').unwrap_or(text);
        let parts = path.strip_prefix('/').map(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
        if parts != Some(true) || path.contains(|c: char| c.is_control() || c == ':') {
            return Err(format!(
                "`{text}` is no folder for tools: write an absolute path, /opt/hostedtoolcache, or none"
            ));
        }
        if path == "/.forgehand" || path.starts_with("/.forgehand/") {
            return Err(format!("`{text}` cannot be the folder for tools: the agent has its own folder there"));
        }
        Ok(Self::At(path.to_owned()))
    }
}

impl fmt::Display for ToolFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path().unwrap_or("none"))
    }
}

text_value!(ToolFolder);

/// Where the engine listens: a unix socket of this machine. The shim is mounted from this machine's disk, so an engine
/// elsewhere could not run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineAddress(PathBuf);

impl EngineAddress {
    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.0
    }
}

impl FromStr for EngineAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self(path.into()));
        }
        Err(match text.split_once("://") {
            Some((scheme, _)) => format!(
                "an engine over `{scheme}` cannot be used: name a unix socket of this machine, `unix:///var/run/docker.sock`"
            ),
            None => format!("`{text}` is no engine: name its unix socket, `unix:///var/run/docker.sock`"),
        })
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}

text_value!(EngineAddress);

/// A folder for the job's containers: `/host/path:/container/path[:mode]`, `volume:/container/path[:mode]`, or only
/// `/container/path`, kept from job to job of the same project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// A path of the machine or a volume's name; `None`: a volume of the agent's, kept for the project.
    pub source: Option<String>,
    /// Where containers see it; may hold variables of the job, and is below the work tree when relative.
    pub target: String,
    /// `ro`, `rw`, `z`, `Z`, propagation; several with commas.
    pub mode: Option<String>,
}

const VOLUME_MODES: [&str; 12] =
    ["ro", "rw", "z", "Z", "O", "nocopy", "shared", "slave", "private", "rshared", "rslave", "rprivate"];

impl FromStr for VolumeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| format!("volume `{text}`: {why}; write `/host/path:/container/path[:ro]` or `/container/path`");
        let (source, target, mode) = match text.split(':').collect::<Vec<_>>()[..] {
            [target] => (None, target, None),
            [source, target] => (Some(source), target, None),
            [source, target, mode] => (Some(source), target, Some(mode)),
            _ => return Err(wrong("too many colons")),
        };
        if target.trim_end_matches('/').is_empty() {
            return Err(wrong("the root of the container cannot be replaced"));
        }
        if source.is_some_and(|source| !source.starts_with('/') && !is_engine_name(source)) {
            return Err(wrong("what is mounted must be an absolute path or the name of a volume"));
        }
        if let Some(unknown) = mode.and_then(|mode| mode.split(',').find(|word| !VOLUME_MODES.contains(word))) {
            return Err(wrong(&format!("unknown mode `{unknown}`")));
        }
        Ok(Self { source: source.map(str::to_owned), target: target.to_owned(), mode: mode.map(str::to_owned) })
    }
}

impl fmt::Display for VolumeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
        }
        f.write_str(&self.target)?;
        self.mode.as_ref().map_or(Ok(()), |mode| write!(f, ":{mode}"))
    }
}

text_value!(VolumeSpec);

/// A device of the machine for the job's container: `/dev/on/host[:/dev/in/container[:rwm]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    /// The device on the machine.
    pub host: String,
    /// Where the container sees it.
    pub container: String,
    /// What the container may do: letters of `rwm`.
    pub permissions: String,
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no device: write `/dev/on/host[:/dev/in/container[:rwm]]`");
        let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
        let (host, container, permissions) = match text.split(':').collect::<Vec<_>>()[..] {
            [host] => (host, host, "rwm"),
            // As `docker run --device`: the second part may be the permissions.
            [host, permissions] if is_permissions(permissions) => (host, host, permissions),
            [host, container] => (host, container, "rwm"),
            [host, container, permissions] => (host, container, permissions),
            _ => return Err(wrong()),
        };
        if !host.starts_with('/') || !container.starts_with('/') || !is_permissions(permissions) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), container: container.to_owned(), permissions: permissions.to_owned() })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host, self.container, self.permissions)
    }
}

text_value!(DeviceSpec);

/// Soft and hard limit of one resource of a process: `1024`, `1024:4096`; -1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// What a process starts with.
    pub soft: i64,
    /// What it may raise it to.
    pub hard: i64,
}

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no limit: write `SOFT[:HARD]`, numbers, -1 for none");
        let (soft, hard) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(wrong);
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft == -1 || soft > hard) {
            return Err(format!("`{text}`: the soft limit is above the hard one"));
        }
        Ok(Self { soft, hard })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.soft, self.hard)
    }
}

impl Serialize for Ulimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ulimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or a text such as \"1024:4096\"")]
        enum Raw {
            Number(i64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Ulimit {
    fn schema_name() -> Cow<'static, str> {
        "Ulimit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": -1 }, { "type": "string", "pattern": "^-?[0-9]+(:-?[0-9]+)?$" }] })
    }
}

/// Memory and swap together: a size, or `unlimited` (also -1, as Docker writes it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySwap {
    /// As much swap as the machine has.
    Unlimited,
    /// At most this much memory and swap together.
    Total(ByteSize),
}

impl MemorySwap {
    /// The number that the engine's API takes.
    pub fn for_engine(self) -> i64 {
        match self {
            Self::Unlimited => -1,
            Self::Total(size) => size.as_i64(),
        }
    }
}

impl FromStr for MemorySwap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "unlimited" | "-1" => Ok(Self::Unlimited),
            size => size.parse().map(Self::Total).map_err(|error| format!("{error}, or `unlimited`")),
        }
    }
}

impl fmt::Display for MemorySwap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Total(size) => size.fmt(f),
        }
    }
}

impl Serialize for MemorySwap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemorySwap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a size such as \"2GiB\", or \"unlimited\"")]
        enum Raw {
            Number(i64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for MemorySwap {
    fn schema_name() -> Cow<'static, str> {
        "MemorySwap".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": -1 }, { "type": "string" }] })
    }
}

/// How many processors: `2`, `1.5`, `"0.5"`. Kept in billionths, as the engine counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuCount(i64);

impl CpuCount {
    /// Billionths of a processor.
    pub fn nano(self) -> i64 {
        self.0
    }

    fn new(count: f64) -> Option<Self> {
        (count.is_finite() && (0.001..=1_000_000.0).contains(&count)).then(|| Self((count * 1e9).round() as i64))
    }
}

impl FromStr for CpuCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.trim().parse::<f64>().ok().and_then(Self::new);
        count.ok_or_else(|| format!("`{text}` is no number of processors: write it as in `2` or `1.5`"))
    }
}

impl fmt::Display for CpuCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 1e9)
    }
}

impl Serialize for CpuCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e9)
    }
}

impl<'de> Deserialize<'de> for CpuCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number of processors such as 1.5")]
        enum Raw {
            Number(f64),
            Text(String),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Number(number) => number.to_string(),
            Raw::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for CpuCount {
    fn schema_name() -> Cow<'static, str> {
        "CpuCount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number", "exclusiveMinimum": 0 }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_modes_are_read_and_written() {
        for text in ["job", "none", "bridge", "host", "ci-net_2.x"] {
            assert_eq!(text.parse::<NetworkMode>().unwrap().to_string(), text);
        }
        assert_eq!("default".parse(), Ok(NetworkMode::Bridge));
        for text in ["", "container:abc", "-x", "a b"] {
            assert!(text.parse::<NetworkMode>().is_err(), "{text}");
        }
    }

    #[test]
    fn tools_lie_in_a_folder_of_the_container_or_nowhere() {
        assert_eq!("none".parse(), Ok(ToolFolder::None));
        assert_eq!("/opt/tools/".parse::<ToolFolder>().unwrap().path(), Some("/opt/tools"));
        for text in ["", "/", "opt/tools", "/opt/../etc", "/a//b", "/a:ro", "/.forgehand/run", "on"] {
            assert!(text.parse::<ToolFolder>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_engine_elsewhere_is_refused_by_name() {
        for (text, name) in [("tcp://10.0.0.1:2376", "tcp"), ("ssh://ci@host", "ssh"), ("npipe:////./pipe/x", "npipe")]
        {
            assert!(text.parse::<EngineAddress>().unwrap_err().contains(name), "{text}");
        }
        let socket = "unix:///run/user/1000/docker.sock".parse::<EngineAddress>().unwrap();
        assert_eq!(socket.socket(), Path::new("/run/user/1000/docker.sock"));
    }

    #[test]
    fn volumes_devices_and_limits_are_taken_apart() {
        let volume: VolumeSpec = "/srv/cache:/cache:ro,z".parse().unwrap();
        assert_eq!(
            (volume.source.as_deref(), &*volume.target, volume.mode.as_deref()),
            (Some("/srv/cache"), "/cache", Some("ro,z"))
        );
        assert_eq!("/cache".parse::<VolumeSpec>().unwrap().source, None);
        for text in ["", "/", "x:/", "a:b:c:d", "../up:/x", "/a:/b:sideways"] {
            assert!(text.parse::<VolumeSpec>().is_err(), "{text}");
        }
        assert_eq!("/dev/kvm".parse::<DeviceSpec>().unwrap().to_string(), "/dev/kvm:/dev/kvm:rwm");
        assert_eq!("/dev/kvm:r".parse::<DeviceSpec>().unwrap().permissions, "r");
        assert!("kvm".parse::<DeviceSpec>().is_err());
        assert_eq!("1024:4096".parse(), Ok(Ulimit { soft: 1024, hard: 4096 }));
        assert!("5:4".parse::<Ulimit>().is_err() && "-1:4".parse::<Ulimit>().is_err());
        assert_eq!("1.5".parse::<CpuCount>().unwrap().nano(), 1_500_000_000);
        assert!("0".parse::<CpuCount>().is_err() && "NaN".parse::<CpuCount>().is_err());
        assert_eq!("-1".parse(), Ok(MemorySwap::Unlimited));
    }
}
