//! Where GitLab has the files of a project, and its own templates.

use url::Url;

/// The reference that stands for the default branch.
pub const DEFAULT: &str = "HEAD";

/// The file of a project at a branch, tag or commit.
///
/// # Errors
/// Why there is no such address.
pub fn of_file(server: &str, project: &str, reference: &str, file: &str) -> Result<Url, String> {
    let tail = ["-", "raw"].into_iter().chain(reference.split('/')).chain(file.trim_start_matches('/').split('/'));
    join(server, project.split('/').chain(tail))
}

/// The repository of a project, for git.
///
/// # Errors
/// Why there is no such address.
pub fn of_repository(server: &str, project: &str) -> Result<Url, String> {
    join(server, format!("{project}.git").split('/'))
}

/// One of GitLab's own templates, as it is now.
///
/// # Errors
/// Why there is no such address.
pub fn of_template(name: &str) -> Result<Url, String> {
    of_file("https://gitlab.com", "gitlab-org/gitlab", "master", &format!("lib/gitlab/ci/templates/{name}"))
}

/// `parts` below a server's address. None of them leads up or out, whatever it says.
fn join<'a>(server: &str, parts: impl Iterator<Item = &'a str>) -> Result<Url, String> {
    let mut url = Url::parse(server).map_err(|error| format!("`{server}` is no server: {error}"))?;
    let parts: Vec<&str> = parts.collect();
    if let Some(part) = parts.iter().find(|part| part.is_empty() || matches!(**part, "." | "..")) {
        return Err(format!("`{}` is no path: `{part}` is none of its parts", parts.join("/")));
    }
    match url.path_segments_mut() {
        Ok(mut path) => path.pop_if_empty().extend(parts),
        Err(()) => return Err(format!("`{server}` is no server")),
    };
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_parts() {
        let url = |project, reference, file| of_file("https://git.example.com", project, reference, file);
        assert_eq!(
            url("g/s/p", "feature/x", "/ci/a b.yml").unwrap().as_str(),
            "https://git.example.com/g/s/p/-/raw/feature/x/ci/a%20b.yml"
        );
        assert_eq!(
            url("g/p", "v1?x=#y", "a.yml").unwrap().as_str(),
            "https://git.example.com/g/p/-/raw/v1%3Fx=%23y/a.yml"
        );
        assert!(url("g/../../x", "HEAD", "a.yml").is_err());
        assert!(url("g/p", "HEAD", "../a.yml").is_err());
        assert_eq!(of_repository("https://a.example/root/", "g/p").unwrap().as_str(), "https://a.example/root/g/p.git");
    }
}
