//! What the assignment asks for, checked before git sees any of it.

use std::collections::BTreeSet;

use url::Url;

use super::error::SourcesError;
use super::flags;
use crate::pipeline::definition::SourceSpec;

/// More refspecs than any forge sends.
const REFSPEC_LIMIT: usize = 1000;

/// Which remotes are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedRemotes {
    /// `http` and `https`: what a forge hands out.
    Http,
    /// Local repositories too, by path or `file://`: for a pipeline from a checkout on this machine, never for
    /// assignments from a forge.
    HttpAndLocal,
}

/// A [`SourceSpec`] of which every field may be handed to git.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// What was checked.
    pub spec: &'a SourceSpec,
    /// The remote is a repository of this machine.
    pub is_local: bool,
}

impl<'a> Request<'a> {
    /// Checks everything that could be taken for an option, another transport or a way out.
    pub fn check(spec: &'a SourceSpec, allowed: AllowedRemotes) -> Result<Self, SourcesError> {
        let is_local = check_remote(&spec.url, allowed)?;
        check_object_format(spec)?;
        if spec.checkout {
            check_sha(spec)?;
        }
        if spec.refspecs.len() > REFSPEC_LIMIT {
            return Err(SourcesError::refused("refspecs", format!("more than {REFSPEC_LIMIT}")));
        }
        for refspec in &spec.refspecs {
            check_refspec("refspecs", refspec)?;
        }
        flags::check_fetch(&spec.fetch_flags)?;
        flags::check_clean(spec.clean_flags.as_deref().unwrap_or_default())?;
        flags::check_submodule_update(&spec.submodules.update_flags)?;
        check_submodule_paths(&spec.submodules.paths)?;
        check_header(spec)?;
        for rewrite in &spec.url_rewrites {
            check_remote(&rewrite.to, AllowedRemotes::Http)?;
            check_text("url_rewrites", &rewrite.from)?;
        }
        if let Some(credentials) = &spec.credentials {
            check_text("credentials", &credentials.username)?;
            check_text("credentials", credentials.password.expose())?;
        }
        Ok(Self { spec, is_local })
    }

    /// The sources of all refspecs, or `None` where one is not the name of a ref: our copy keeps refs only.
    pub fn ref_sources(&self) -> Option<BTreeSet<&'a str>> {
        self.spec.refspecs.iter().map(|refspec| ref_source(refspec)).collect()
    }

    /// The ref's name as the log may show it.
    pub fn shown_ref(&self) -> String {
        self.spec.ref_name.chars().filter(|c| !c.is_control()).collect()
    }
}

fn ref_source(refspec: &str) -> Option<&str> {
    let source = refspec.strip_prefix('+').unwrap_or(refspec);
    let source = source.split_once(':').map_or(source, |(source, _)| source);
    (source.starts_with("refs/") && !source.starts_with("refs/keep/")).then_some(source)
}

/// Returns whether the remote is a repository of this machine.
fn check_remote(url: &str, allowed: AllowedRemotes) -> Result<bool, SourcesError> {
    check_text("repository URL", url)?;
    if url.starts_with('/') || url.starts_with("file://") {
        return match allowed {
            AllowedRemotes::HttpAndLocal => Ok(true),
            AllowedRemotes::Http => Err(SourcesError::refused(
                "repository URL",
                "a path of the runner's machine is not taken; the repository must be reached by http or https",
            )),
        };
    }
    // The parser forgives a missing host by taking the first part of the path.
    let has_host = !url.contains(":///");
    let parsed = Url::parse(url).ok().filter(|parsed| parsed.has_host() && has_host);
    match parsed {
        Some(parsed) if matches!(parsed.scheme(), "http" | "https") => {
            if parsed.username().is_empty() && parsed.password().is_none() {
                Ok(false)
            } else {
                Err(SourcesError::refused("repository URL", "holds credentials, which do not belong there"))
            }
        }
        Some(parsed) => Err(SourcesError::refused(
            "repository URL",
            format!(
                "the scheme `{}` is not taken: git on the runner's machine must not use that machine's keys or programs; \
                 use https (on GitLab: the runner's `clone_url`, and GIT_SUBMODULE_FORCE_HTTPS for submodules)",
                parsed.scheme()
            ),
        )),
        None => Err(SourcesError::refused(
            "repository URL",
            "is not a URL with a host; the repository must be reached by http or https",
        )),
    }
}

fn check_object_format(spec: &SourceSpec) -> Result<(), SourcesError> {
    match spec.object_format.as_str() {
        "sha1" | "sha256" | "" => Ok(()),
        other => Err(SourcesError::refused(
            "object format",
            format!("`{}` is not known; git has sha1 and sha256", other.escape_debug()),
        )),
    }
}

fn check_sha(spec: &SourceSpec) -> Result<(), SourcesError> {
    let length = if spec.object_format == "sha256" { 64 } else { 40 };
    if spec.sha.len() == length && spec.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(SourcesError::refused("commit", format!("`{}` is not a commit's name", shown(&spec.sha))))
    }
}

/// Checks one refspec `[+]SOURCE[:DESTINATION]`. `setting` names where it came from.
pub(super) fn check_refspec(setting: &str, refspec: &str) -> Result<(), SourcesError> {
    let body = refspec.strip_prefix('+').unwrap_or(refspec);
    let (source, destination) = body.split_once(':').map_or((body, None), |(source, to)| (source, Some(to)));
    let is_object = matches!(source.len(), 40 | 64) && source.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_good_source = is_object || source == "HEAD" || is_ref_name(source);
    let has_good_destination = destination.is_none_or(is_ref_name);
    let stars_match = destination.is_none_or(|to| source.contains('*') == to.contains('*'));
    if has_good_source && has_good_destination && stars_match {
        return Ok(());
    }
    Err(SourcesError::refused(
        setting,
        format!("`{}` is not a refspec of full ref names (refs/heads/main:refs/remotes/origin/main)", shown(refspec)),
    ))
}

/// A full ref name by git's rules, perhaps with one star.
fn is_ref_name(name: &str) -> bool {
    let is_bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '[' | '\\');
    name.starts_with("refs/")
        && name.len() <= 4096
        && !name.chars().any(is_bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.matches('*').count() <= 1
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

fn check_submodule_paths(paths: &[String]) -> Result<(), SourcesError> {
    for path in paths {
        check_text("GIT_SUBMODULE_PATHS", path)?;
        if path == ":(exclude)" {
            return Err(SourcesError::refused(
                "GIT_SUBMODULE_PATHS",
                "`:(exclude)` stands alone; write it without a space before the path: :(exclude)PATH",
            ));
        }
    }
    Ok(())
}

fn check_header(spec: &SourceSpec) -> Result<(), SourcesError> {
    check_text("user agent", &spec.user_agent)?;
    match &spec.extra_header {
        Some(header) => check_text("extra header", header),
        None => Ok(()),
    }
}

/// Nothing that ends a line of a configuration file, an argument or a header.
fn check_text(setting: &str, text: &str) -> Result<(), SourcesError> {
    if text.chars().any(char::is_control) {
        return Err(SourcesError::refused(setting, "holds a control character"));
    }
    Ok(())
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::spec::spec;
    use super::*;

    fn refusal(change: impl FnOnce(&mut SourceSpec)) -> String {
        let mut spec = spec("https://forge.example/team/app.git", &"a".repeat(40));
        change(&mut spec);
        match Request::check(&spec, AllowedRemotes::Http) {
            Ok(_) => "taken".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_usual_assignment_is_taken() {
        assert_eq!(refusal(|_| {}), "taken");
        let sha256 = |spec: &mut SourceSpec| {
            spec.object_format = "sha256".to_owned();
            spec.sha = "b".repeat(64);
        };
        assert_eq!(refusal(sha256), "taken");
    }

    #[test]
    fn other_transports_are_refused_by_name() {
        for url in [
            "ext::sh -c id",
            "file:///etc",
            "/etc",
            "../x",
            "-oProxyCommand=x",
            "--upload-pack=x",
            "git://forge.example/x",
            "ssh://git@forge.example/x",
            "git@forge.example:x",
            "fd::17",
            "https:///x",
            "https://user:pw@forge.example/x",
            "https://forge.example/x\n[core]",
        ] {
            assert!(refusal(|spec| spec.url = url.to_owned()).starts_with("repository URL: "), "{url}");
        }
        assert!(refusal(|spec| spec.url = "ssh://git@forge.example/x".to_owned()).contains("`ssh`"));
    }

    #[test]
    fn names_that_could_be_options_are_refused() {
        for refspec in [
            "--upload-pack=x",
            "-x",
            "refs/heads/-x\n",
            "+refs/heads/a b:refs/x",
            "refs/heads/..:refs/x",
            "refs/heads/*:refs/x",
            "main",
            "refs/heads/a.lock",
            "^refs/heads/a",
            "",
            "+:refs/x",
        ] {
            assert!(refusal(|spec| spec.refspecs = vec![refspec.to_owned()]).starts_with("refspecs: "), "{refspec}");
        }
        for sha in ["main", "--detach", "HEAD", "abc", &"g".repeat(40), &"a".repeat(64)] {
            assert!(refusal(|spec| spec.sha = sha.to_owned()).starts_with("commit: "), "{sha}");
        }
    }

    #[test]
    fn a_lone_exclude_is_refused() {
        let refused = refusal(|spec| spec.submodules.paths = vec![":(exclude)".to_owned(), "lib".to_owned()]);
        assert!(refused.starts_with("GIT_SUBMODULE_PATHS: "), "{refused}");
    }
}
