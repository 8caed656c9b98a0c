//! What `forgehand exec` runs with, beside the defaults of registrations.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[exec]`: pipelines of a checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecConfig {
    /// The image of jobs that name none. `--image` wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image that stands for a label of `runs-on`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The hosts that included files may be fetched from, beside those of `--include-from`; `lint`, `plan`, `expand` and `graph` take
    /// them, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_from: Vec<String>,
    /// The server for the caches that tools in a workflow's steps ask for themselves.
    #[serde(skip_serializing_if = "CacheServerAddress::is_auto")]
    pub cache_server: CacheServerAddress,
}

/// Where the cache server of a run listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CacheServerAddress {
    /// Where the jobs reach this machine.
    #[default]
    Auto,
    /// Nowhere: there is none.
    Off,
    /// At this address of the machine.
    At(IpAddr),
}

impl CacheServerAddress {
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl FromStr for CacheServerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            text => match text.parse::<IpAddr>() {
                Ok(address) if address.is_unspecified() => {
                    Err(format!("{address} stands for all addresses of this machine: name the one that jobs reach"))
                }
                Ok(address) => Ok(Self::At(address)),
                Err(_) => Err(format!("`{text}` is neither auto, off nor an IP address of this machine")),
            },
        }
    }
}

impl TryFrom<String> for CacheServerAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for CacheServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl From<CacheServerAddress> for String {
    fn from(address: CacheServerAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_server_listens_at_one_address() {
        for text in ["auto", "off", "172.17.0.1", "fd00::1"] {
            assert_eq!(text.parse::<CacheServerAddress>().unwrap().to_string(), text);
        }
        for wrong in ["0.0.0.0", "::", "", "localhost", "10.0.0.1:80", "on"] {
            assert!(wrong.parse::<CacheServerAddress>().is_err(), "{wrong}");
        }
    }
}
