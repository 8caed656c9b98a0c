//! Where a component lies in its project, and which release a version stands for. For those that implement
//! [`Remote`](super::Remote).
//!
//! Source: gitlabhq `lib/gitlab/ci/components/instance_path.rb`.

/// The version that stands for the newest release.
pub const LATEST: &str = "~latest";

/// Where the component of this name may lie in its project.
pub fn paths(name: &str) -> [String; 2] {
    [format!("templates/{name}.yml"), format!("templates/{name}/template.yml")]
}

/// The release among `tags` that `version` stands for: the newest for `~latest`, the newest of them for `1` and `1.2`, itself
/// where it is one. `None`: it stands for none, and is a tag, a branch or a commit unless it is [`LATEST`].
pub fn release<'a>(version: &str, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let numbers = tags.into_iter().filter_map(|tag| Some((numbers(tag)?, tag)));
    if let Some(wanted) = wanted(version) {
        let fitting = numbers.filter(|(numbers, _)| numbers.starts_with(&wanted));
        return fitting.max().map(|(_, tag)| tag);
    }
    numbers.into_iter().map(|(_, tag)| tag).find(|tag| *tag == version)
}

/// The first numbers of the releases that a version stands for; `None` where it names one thing.
fn wanted(version: &str) -> Option<Vec<u64>> {
    if version == LATEST {
        return Some(Vec::new());
    }
    let parts: Vec<u64> = version.split('.').map(number).collect::<Option<_>>()?;
    (parts.len() < 3).then_some(parts)
}

/// The three numbers of a release's tag, `1.2.3` or `v1.2.3`. What is not released yet (`1.2.3-rc1`) is none.
fn numbers(tag: &str) -> Option<[u64; 3]> {
    let plain = tag.strip_prefix('v').unwrap_or(tag);
    let plain = plain.split_once('+').map_or(plain, |(plain, _)| plain);
    let parts: Vec<u64> = plain.split('.').map(number).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGS: [&str; 8] = ["1.0.0", "1.2.9", "1.2.10", "v1.3.0", "2.0.0-rc1", "10.0.0", "main", "1.2"];

    #[test]
    fn a_version_stands_for_the_newest_release_that_it_fits() {
        for (version, release_of_it) in [
            ("~latest", Some("10.0.0")),
            ("1", Some("v1.3.0")),
            ("1.2", Some("1.2.10")),
            ("1.0.0", Some("1.0.0")),
            ("2", None),
            ("2.0.0-rc1", None),
            ("main", None),
        ] {
            assert_eq!(release(version, TAGS), release_of_it, "{version}");
        }
    }
}
