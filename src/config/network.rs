//! How a registration reaches the network.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

/// `[network]`: proxy, certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// The proxy for everything that leaves the machine for this registration: `http://`, `https://`, `socks5://` or
    /// `socks5h://`, with `user:password@` where it asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<ProxyUrl>,
    /// What is reached without the proxy: host names, `.suffixes`, addresses, CIDR networks, each perhaps with
    /// `:port`; `*` for everything.
    pub no_proxy: Vec<String>,
    /// Give the proxy to jobs, too: as the variables `http_proxy`, `https_proxy` and `no_proxy`, in both cases, before
    /// `environment`. A password in it can be read by every job; the log hides it.
    pub pass_to_jobs: bool,
    /// PEM files with certificate authorities that are trusted besides the system's.
    pub ca_files: Vec<PathBuf>,
    /// PEM file with the certificate shown to servers that ask for one. Needs `client_key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of `client_certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
}

/// A proxy's address. May hold a password, so that every printed form hides it; take the whole one with
/// [`ProxyUrl::url`] where the connection is made.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// The address with its password.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for ProxyUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The text itself may hold a password: no message repeats it.
        let url = Url::parse(text).map_err(|cause| format!("the proxy's address is no URL: {cause}"))?;
        if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") {
            return Err(format!("a proxy speaks http, https, socks5 or socks5h, not `{}`", url.scheme()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("the proxy's address names no host".to_owned());
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(without_password(&self.0).as_str())
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({self})")
    }
}

impl Serialize for ProxyUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ProxyUrl {
    fn schema_name() -> Cow<'static, str> {
        "ProxyUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uri" })
    }
}

/// The URL with its password, if it has one, replaced by `***`.
pub fn without_password(url: &Url) -> Url {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Fails only for URLs that cannot have a password, and those have none.
        let _ = shown.set_password(Some("***"));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_password_is_never_printed() {
        let proxy: ProxyUrl = "http://ci:hunter2@proxy.example.com:3128".parse().unwrap();
        for shown in [format!("{proxy}"), format!("{proxy:?}"), serde_json::to_string(&proxy).unwrap()] {
            assert!(shown.contains("proxy.example.com") && !shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(proxy.url().password(), Some("hunter2"));
        let error = "hunter2-without-scheme".parse::<ProxyUrl>().unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
