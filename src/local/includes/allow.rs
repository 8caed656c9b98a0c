//! Which hosts included files may come from.

use url::Url;

/// What was given is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
#[error("`{text}` is no host to include files from")]
#[diagnostic(help(
    "write a name, `gitlab.com`, with a port where it is not 443, `git.example.com:8443`; `http://HOST` for one without TLS"
))]
pub struct BadHost {
    /// What was given.
    pub text: String,
}

/// The hosts, each by scheme, name and port.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    scheme: String,
    name: String,
    port: u16,
}

impl AllowList {
    /// These: `HOST`, `HOST:PORT`, with `http://` before it for a host without TLS.
    ///
    /// # Errors
    /// One of them is none.
    pub fn new(hosts: &[String]) -> Result<Self, BadHost> {
        hosts
            .iter()
            .map(|text| host(text).ok_or_else(|| BadHost { text: text.clone() }))
            .collect::<Result<_, _>>()
            .map(|hosts| Self { hosts })
    }

    /// Whether `url` may be asked; if not, why and what to do. The whole name counts: no host is allowed by another's name, be it
    /// below it, and none by its address.
    pub fn admit(&self, url: &Url) -> Result<(), String> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("an address with a user name or a password is not asked ({})", named(url)));
        }
        match of(url) {
            Some(host) if self.hosts.contains(&host) => Ok(()),
            _ => Err(super::not_allowed(url)),
        }
    }
}

/// A host as `--include-from` takes it.
pub fn named(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let scheme = if url.scheme() == "https" { String::new() } else { format!("{}://", url.scheme()) };
    format!("{scheme}{host}{port}")
}

fn host(text: &str) -> Option<Host> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&whole).ok()?;
    // Nothing but a host: what stands behind it would look like a limit and be none.
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_plain = url.username().is_empty() && url.password().is_none() && !text.contains('*');
    of(&url).filter(|_| is_bare && is_plain)
}

fn of(url: &Url) -> Option<Host> {
    let scheme = matches!(url.scheme(), "https" | "http").then(|| url.scheme().to_owned())?;
    let name = url.host_str().filter(|name| !name.is_empty())?.trim_end_matches('.').to_owned();
    Some(Host { scheme, name, port: url.port_or_known_default()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(hosts: &[&str], url: &str) -> bool {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        AllowList::new(&hosts).unwrap().admit(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn a_host_is_itself_and_nothing_else() {
        assert!(admits(&["gitlab.com"], "https://gitlab.com/a"));
        assert!(admits(&["GitLab.com"], "https://gitlab.com:443/a"));
        for url in [
            "http://gitlab.com/a",
            "https://gitlab.com:8443/a",
            "https://gitlab.com.evil.example/a",
            "https://evil.example/gitlab.com",
            "https://sub.gitlab.com/a",
            "https://user@gitlab.com/a",
            "https://gitlab.com@evil.example/a",
            "https://127.0.0.1/a",
            "ftp://gitlab.com/a",
        ] {
            assert!(!admits(&["gitlab.com"], url), "{url}");
        }
        assert!(admits(&["http://localhost:8080"], "http://localhost:8080/x.yml"));
        assert!(!admits(&["localhost:8080"], "http://localhost:8080/x.yml"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "*.example.com", "https://a/b", "a b", "file:///etc", "user@host", "https://"] {
            let hosts = [text.to_owned()];
            assert_eq!(AllowList::new(&hosts).unwrap_err().text, text);
        }
    }
}
