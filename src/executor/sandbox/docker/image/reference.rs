//! Image references: `[host[:port]/]path[:tag][@digest]`, or an image's id.
//!
//! Parsed strictly: a reference becomes part of the engine's URLs and of the lines of a job's log.

use std::fmt;

/// Longest reference that is looked at. The longest valid name has 255 characters, a tag 128, a digest 135.
const LONGEST: usize = 600;
/// The registry of names without a host.
pub(super) const HUB: &str = "docker.io";

/// An image as somebody named it, known to be well formed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageReference {
    /// By its id, `sha256:` and 64 hexadecimal digits.
    Id(String),
    /// By name.
    Named(ImageName),
}

/// A name, with `latest` filled in where neither tag nor digest was given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    /// Registry host with port, lower case; `docker.io` where none was written.
    pub host: String,
    /// Whether the host was written.
    pub host_written: bool,
    /// The repository below the host, `library/` added for the hub's own.
    pub path: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest, `sha256:…`.
    pub digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an image: {why}")]
pub struct InvalidReference {
    text: String,
    why: &'static str,
}

impl ImageReference {
    /// Reads a reference as people write it.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        parse(text.trim()).map_err(|why| InvalidReference {
            text: text.chars().filter(|c| !c.is_control()).take(LONGEST).collect(),
            why,
        })
    }

    /// The path by which credentials are found: host and repository, without tag and digest. `None` for an id.
    pub fn registry_path(&self) -> Option<String> {
        match self {
            Self::Id(_) => None,
            Self::Named(name) => Some(format!("{}/{}", name.host, name.path)),
        }
    }
}

impl ImageName {
    /// The repository as the engine lists it: the hub's names in their short form.
    pub fn familiar(&self) -> String {
        if self.host == HUB {
            self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
        } else {
            format!("{}/{}", self.host, self.path)
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Named(name) => {
                f.write_str(&name.familiar())?;
                if let Some(tag) = &name.tag {
                    write!(f, ":{tag}")?;
                }
                match &name.digest {
                    Some(digest) => write!(f, "@{digest}"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn parse(text: &str) -> Result<ImageReference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > LONGEST {
        return Err("it is too long");
    }
    if let Some(id) = as_id(text) {
        return Ok(ImageReference::Id(id));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(checked(digest, is_digest, "the digest after `@` is malformed")?)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag; one before it belongs to the port.
    let name_starts = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[name_starts..].find(':') {
        Some(at) => {
            let (name, tag) = rest.split_at(name_starts + at);
            (name, Some(checked(&tag[1..], is_tag, "the tag after `:` is malformed")?))
        }
        None => (rest, None),
    };
    let (host, path) = split_host(name);
    let path = match (host, path.contains('/')) {
        (None, false) => format!("library/{path}"),
        _ => path.to_owned(),
    };
    if let Some(host) = host
        && !is_host(host)
    {
        return Err("the registry's host is malformed");
    }
    if !path.split('/').all(is_path_part) {
        return Err("names consist of lower-case letters, digits and single separators (`.`, `_`, `-`)");
    }
    let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
    let written = host.map(str::to_ascii_lowercase);
    let host_written = written.is_some();
    let host = match written.as_deref() {
        None | Some("index.docker.io" | "registry-1.docker.io") => HUB.to_owned(),
        Some(host) => host.to_owned(),
    };
    let path = if host == HUB && !path.contains('/') { format!("library/{path}") } else { path };
    Ok(ImageReference::Named(ImageName { host, host_written, path, tag, digest }))
}

/// The first part is a host if it could not be a part of a path: a dot, a port, capitals, or `localhost`.
fn split_host(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

fn checked(text: &str, is_valid: fn(&str) -> bool, why: &'static str) -> Result<String, &'static str> {
    if is_valid(text) { Ok(text.to_owned()) } else { Err(why) }
}

fn as_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (digits.len() == 64 && digits.chars().all(is_hex)).then(|| format!("sha256:{digits}"))
}

fn is_hex(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        let known = matches!((algorithm, digits.len()), ("sha256", 64) | ("sha384", 96) | ("sha512", 128));
        known && digits.chars().all(is_hex)
    })
}

fn is_tag(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 128
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Lower-case letters and digits, between them one `.`, one or two `_`, or any number of `-`.
fn is_path_part(part: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !part.starts_with(inside) || !part.ends_with(inside) {
        return false;
    }
    part.split(inside).all(|between| matches!(between, "" | "." | "_" | "__") || between.chars().all(|c| c == '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> ImageName {
        match ImageReference::parse(text) {
            Ok(ImageReference::Named(name)) => name,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        for (text, path, shown) in [
            ("alpine", "docker.io/library/alpine", "alpine:latest"),
            ("docker.io/alpine:3", "docker.io/library/alpine", "alpine:3"),
            ("index.docker.io/a/b", "docker.io/a/b", "a/b:latest"),
            ("a/b:1", "docker.io/a/b", "a/b:1"),
            ("Registry.Example.com:5000/g/p", "registry.example.com:5000/g/p", "registry.example.com:5000/g/p:latest"),
            ("localhost/x", "localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x:t", "127.0.0.1:5000/x", "127.0.0.1:5000/x:t"),
            ("[::1]:5000/x:t", "[::1]:5000/x", "[::1]:5000/x:t"),
        ] {
            let reference = ImageReference::parse(text).unwrap();
            assert_eq!(reference.registry_path().unwrap(), path, "{text}");
            assert_eq!(reference.to_string(), shown, "{text}");
        }
    }

    #[test]
    fn a_digest_needs_no_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(named(&format!("a@{digest}")).tag, None);
        assert_eq!(named(&format!("a:1@{digest}")).tag.as_deref(), Some("1"));
        assert_eq!(ImageReference::parse(&digest), Ok(ImageReference::Id(digest)));
    }

    #[test]
    fn what_could_leave_the_url_is_no_name() {
        for text in [
            "",
            " ",
            "A",
            "a//b",
            "../x",
            "a/../b",
            "a?b",
            "a#b",
            "a b",
            "a\nb",
            "-a",
            "a:",
            "a:b c",
            "a@sha256:12",
            "a%2fb",
            "ho_st.x/a",
            "a.-b",
            "[::g]/a",
            "h:99999/a",
            "NO_SUCH image!!",
        ] {
            assert!(ImageReference::parse(text).is_err(), "{text:?}");
        }
    }
}
