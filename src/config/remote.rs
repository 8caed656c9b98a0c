//! A bucket, or a folder, that several machines share: where it is, and who we are there.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::pipeline::Secret;

/// How to reach what several machines share: `[store.remote]`, and `remote` in a registration's `[runner_cache]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// Where it is: `s3://BUCKET/PREFIX`, or `file:///FOLDER` for a folder that all machines mount.
    pub url: RemoteUrl,
    /// The server's address, where it is not Amazon's: `https://minio.example.com:9000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Url>,
    /// The bucket's region. Absent: `AWS_REGION`, else `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The bucket stands in the path, as in `https://host/BUCKET`; false: in the host's name.
    #[serde(default = "yes")]
    pub path_style: bool,
    /// Who we are. Absent: the usual variables (`AWS_ACCESS_KEY_ID`, …), else what the machine's cloud says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The secret of `access_key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<SecretText>,
    /// A file that holds nothing but the secret of `access_key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// The token that belongs to keys which are valid for a while only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretText>,
    /// How the server encrypts what we write.
    #[serde(default)]
    pub encryption: RemoteEncryption,
    /// The key at the server's key service, for `encryption = "aws:kms"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// A file with the key that is sent along, for `encryption = "customer"`: 32 bytes, or 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_key_file: Option<PathBuf>,
    /// Allow an `endpoint` of another machine without TLS.
    #[serde(default)]
    pub allow_http: bool,
    /// Seconds that a small call may take, and that a transfer may go on without 64 KiB of progress.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 1))]
    pub deadline_seconds: u64,
    /// Seconds that a listing may take.
    #[serde(default = "default_listing")]
    #[schemars(range(min = 1))]
    pub listing_seconds: u64,
    /// Days that something stays there after its last use; 0: for ever. Absent: 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
}

impl RemoteConfig {
    /// All of it as it is when only the place is said.
    pub fn at(url: RemoteUrl) -> Self {
        Self {
            url,
            endpoint: None,
            region: None,
            path_style: true,
            access_key_id: None,
            secret_access_key: None,
            secret_access_key_file: None,
            session_token: None,
            encryption: RemoteEncryption::default(),
            kms_key_id: None,
            customer_key_file: None,
            allow_http: false,
            deadline_seconds: default_deadline(),
            listing_seconds: default_listing(),
            keep_days: None,
        }
    }

    /// What contradicts itself: at which key, and why.
    pub fn findings(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        let mut note = |is_wrong: bool, key, why| {
            if is_wrong {
                found.push((key, why));
            }
        };
        let has_secret = self.secret_access_key.is_some() || self.secret_access_key_file.is_some();
        note(
            self.access_key_id.is_none() && self.secret_access_key.is_some(),
            "secret_access_key",
            "needs `access_key_id` beside it",
        );
        note(
            self.access_key_id.is_none() && self.secret_access_key_file.is_some(),
            "secret_access_key_file",
            "needs `access_key_id` beside it",
        );
        note(
            self.access_key_id.is_some() && !has_secret,
            "access_key_id",
            "needs `secret_access_key` or `secret_access_key_file` beside it",
        );
        note(
            self.secret_access_key.is_some() && self.secret_access_key_file.is_some(),
            "secret_access_key_file",
            "the secret stands in `secret_access_key` already",
        );
        note(
            self.session_token.is_some() && self.access_key_id.is_none(),
            "session_token",
            "needs `access_key_id` beside it",
        );
        note(
            self.secret_access_key_file.as_ref().is_some_and(|file| !file.is_absolute()),
            "secret_access_key_file",
            "write an absolute path",
        );
        note(
            self.customer_key_file.as_ref().is_some_and(|file| !file.is_absolute()),
            "customer_key_file",
            "write an absolute path",
        );
        let is = |encryption| self.encryption == encryption;
        note(self.kms_key_id.is_some() && !is(RemoteEncryption::Kms), "kms_key_id", "needs `encryption = \"aws:kms\"`");
        note(self.kms_key_id.is_none() && is(RemoteEncryption::Kms), "encryption", "needs `kms_key_id` beside it");
        note(
            self.customer_key_file.is_some() && !is(RemoteEncryption::Customer),
            "customer_key_file",
            "needs `encryption = \"customer\"`",
        );
        note(
            self.customer_key_file.is_none() && is(RemoteEncryption::Customer),
            "encryption",
            "needs `customer_key_file` beside it",
        );
        note(self.deadline_seconds == 0, "deadline_seconds", "at least one second must be allowed");
        // What was seen in the shared store counts for a quarter of an hour: nothing may be on its way for as long as that.
        note(
            self.deadline_seconds > 600,
            "deadline_seconds",
            "more than 600 seconds is more than machines that share can wait for",
        );
        note(self.listing_seconds == 0, "listing_seconds", "at least one second must be allowed");
        if let Some(endpoint) = &self.endpoint {
            let is_web = matches!(endpoint.scheme(), "http" | "https")
                && endpoint.host_str().is_some_and(|host| !host.is_empty());
            note(!is_web, "endpoint", "write an http or https URL with a host");
            note(
                !endpoint.username().is_empty() || endpoint.password().is_some(),
                "endpoint",
                "a URL here holds no user name or password",
            );
            note(
                !self.allow_http && is_open(endpoint),
                "endpoint",
                "all could be read on the way: write https, or set `allow_http = true`",
            );
        }
        found
    }
}

/// Whether others on the way could read what is sent there: no TLS, and not this machine itself.
pub fn is_open(endpoint: &Url) -> bool {
    let is_here = match endpoint.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    };
    endpoint.scheme() == "http" && !is_here
}

fn yes() -> bool {
    true
}

fn default_deadline() -> u64 {
    60
}

fn default_listing() -> u64 {
    300
}

/// Where the shared store is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum RemoteUrl {
    /// A bucket of S3 or of a server that speaks it.
    S3(Bucket),
    /// A bucket of Google Cloud Storage.
    Gcs(Bucket),
    /// A container of Azure Blob Storage.
    Azure(Bucket),
    /// A folder.
    Folder(PathBuf),
}

/// A bucket, and a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What all names in it begin with, without slashes around it; may be empty.
    pub prefix: String,
}

impl FromStr for RemoteUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text)
            .map_err(|cause| format!("`{text}` is no URL ({cause}); write `s3://BUCKET/PREFIX` or `file:///FOLDER`"))?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err("this URL has nothing but a scheme, a bucket and a prefix".to_owned());
        }
        let lacking = |feature| Err(format!("`{}://` needs a build with the feature `{feature}`", url.scheme()));
        match url.scheme() {
            "s3" => Ok(Self::S3(bucket(&url)?)),
            "gs" if cfg!(feature = "gcs") => Ok(Self::Gcs(bucket(&url)?)),
            "gs" => lacking("gcs"),
            "az" if cfg!(feature = "azure") => Ok(Self::Azure(bucket(&url)?)),
            "az" => lacking("azure"),
            "file" => url
                .to_file_path()
                .map(Self::Folder)
                .map_err(|()| "write `file:///FOLDER`, with an absolute path".to_owned()),
            other => Err(format!("`{other}://` is not known; write `s3://BUCKET/PREFIX` or `file:///FOLDER`")),
        }
    }
}

fn bucket(url: &Url) -> Result<Bucket, String> {
    let name = url.host_str().filter(|name| !name.is_empty()).ok_or("the URL names no bucket")?.to_owned();
    if url.port().is_some() {
        return Err("write the server's address into `endpoint`, and the bucket here".to_owned());
    }
    let prefix = url.path().trim_matches('/').to_owned();
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if !prefix.is_empty() && !prefix.split('/').all(is_plain) {
        return Err("a prefix has ASCII letters, digits, `.`, `_` and `-`, with `/` between its parts".to_owned());
    }
    Ok(Bucket { name, prefix })
}

impl TryFrom<String> for RemoteUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, bucket) = match self {
            Self::S3(bucket) => ("s3", bucket),
            Self::Gcs(bucket) => ("gs", bucket),
            Self::Azure(bucket) => ("az", bucket),
            Self::Folder(path) => return write!(f, "file://{}", path.display()),
        };
        let slash = if bucket.prefix.is_empty() { "" } else { "/" };
        write!(f, "{scheme}://{}{slash}{}", bucket.name, bucket.prefix)
    }
}

impl Serialize for RemoteUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for RemoteUrl {
    fn schema_name() -> Cow<'static, str> {
        "RemoteUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri" })
    }
}

/// How the server encrypts what we write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RemoteEncryption {
    /// As the bucket is set up.
    #[default]
    #[serde(rename = "bucket")]
    Bucket,
    /// With a key of the server's own.
    #[serde(rename = "AES256")]
    Aes256,
    /// With a key of the server's key service, `kms_key_id`.
    #[serde(rename = "aws:kms")]
    Kms,
    /// With the key in `customer_key_file`, which the server forgets after each call.
    #[serde(rename = "customer")]
    Customer,
}

/// A secret in the file or the environment. Every printed form hides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretText(pub Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A number, too: the environment has no types. A message of the type's own would repeat the value.
        let value = serde_json::Value::deserialize(deserializer)?;
        match value {
            serde_json::Value::String(text) if !text.is_empty() => Ok(Self(Secret::new(text))),
            serde_json::Value::Number(number) => Ok(Self(Secret::new(number.to_string()))),
            _ => Err(serde::de::Error::custom("write a text that is not empty")),
        }
    }
}

impl Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl JsonSchema for SecretText {
    fn schema_name() -> Cow<'static, str> {
        "SecretText".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_or_a_folder() {
        let s3: RemoteUrl = "s3://ci-cache/team/a.b".parse().unwrap();
        assert_eq!(s3, RemoteUrl::S3(Bucket { name: "ci-cache".to_owned(), prefix: "team/a.b".to_owned() }));
        assert_eq!(s3.to_string(), "s3://ci-cache/team/a.b");
        assert_eq!("s3://b/".parse::<RemoteUrl>().unwrap().to_string(), "s3://b");
        assert_eq!("file:///mnt/ci".parse::<RemoteUrl>().unwrap(), RemoteUrl::Folder("/mnt/ci".into()));
    }

    #[test]
    fn what_is_no_place_is_told_of() {
        for (text, part) in [
            ("ftp://b", "not known"),
            ("bucket", "no URL"),
            ("s3://", "no bucket"),
            ("s3://b/a//b", "a prefix has"),
            ("s3://b/a%20b", "a prefix has"),
            ("s3://b/p?x=1", "nothing but"),
            ("s3://id:key@b/p", "nothing but"),
            ("s3://b:9000/p", "endpoint"),
        ] {
            let error = text.parse::<RemoteUrl>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        if !cfg!(feature = "gcs") {
            assert!("gs://b".parse::<RemoteUrl>().unwrap_err().contains("feature `gcs`"));
        }
    }

    #[test]
    fn what_goes_over_the_network_in_the_open_is_refused_unless_it_is_wanted() {
        let mut config = RemoteConfig::at("s3://b/p".parse().unwrap());
        for (endpoint, is_fine) in [
            ("https://s3.example.com", true),
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000", true),
            ("http://localhost:9000", true),
            ("http://minio:9000", false),
            ("http://127.example.com", false),
        ] {
            config.endpoint = Some(endpoint.parse().unwrap());
            assert_eq!(config.findings().is_empty(), is_fine, "{endpoint}");
        }
        config.allow_http = true;
        assert!(config.findings().is_empty());
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret: SecretText = serde_json::from_str("\"hunter2\"").unwrap();
        let shown = [format!("{secret:?}"), serde_json::to_string(&secret).unwrap()];
        assert!(shown.iter().all(|shown| !shown.contains("hunter2")), "{shown:?}");
    }
}
