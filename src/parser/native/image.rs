//! Image references, without asking a registry.

/// What is wrong with an image reference: `[registry[:port]/]repository[/...][:tag][@digest]`.
pub(super) fn problem(image: &str) -> Option<String> {
    if image.is_empty() {
        return Some("an image has a name".to_owned());
    }
    if let Some(bad) = image.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Some(format!("{bad:?} cannot stand in an image's name"));
    }
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let is_digest = |digest: &str| {
        digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if !digest.is_none_or(is_digest) {
        return Some("a digest is `sha256:` and 64 hexadecimal digits".to_owned());
    }
    name_problem(rest)
}

fn name_problem(rest: &str) -> Option<String> {
    let last_slash = rest.rfind('/').map_or(0, |at| at + 1);
    let tag_at = rest.get(last_slash..)?.find(':').map(|at| last_slash + at);
    let (name, tag) = match tag_at {
        Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
        None => (rest, None),
    };
    if let Some(tag) = tag {
        let good = !tag.is_empty()
            && tag.len() <= 128
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !good {
            return Some(format!("`{tag}` is no tag"));
        }
    }
    let mut parts = name.split('/').peekable();
    let first_is_host =
        name.contains('/') && parts.peek().is_some_and(|first| first.contains(['.', ':']) || *first == "localhost");
    if first_is_host {
        parts.next();
    }
    parts.find_map(|part| {
        let sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let good = part.starts_with(sign) && part.ends_with(sign) && part.chars().all(|c| sign(c) || "._-".contains(c));
        if good {
            return None;
        }
        if part.chars().any(|c| c.is_ascii_uppercase()) {
            return Some(format!("`{part}` has capitals, and repositories are written small"));
        }
        Some(format!("`{part}` is no name of a repository"))
    })
}
