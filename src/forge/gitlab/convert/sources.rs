//! Folders of the job and what its work tree is filled with. (protocols: GitLab 8.1, 8.2, 8.4.)

use url::Url;

use super::{Context, bool_of, words_of};
use crate::forge::RunnerFacts;
use crate::forge::gitlab::settings::{Executor, GitLabSettings};
use crate::forge::gitlab::wire::JobResponse;
use crate::outbound::remote_of;
use crate::pipeline::definition::{
    GitCredentials, JobDirs, SourceSpec, SourceStrategy, SubmoduleStrategy, Submodules, UrlRewrite,
};
use crate::pipeline::{JobFailure, Secret, Variables};

/// The user name that goes with a job token.
const TOKEN_USER: &str = "gitlab-ci-token";

/// How the work tree is filled.
pub(super) fn strategy(variables: &Variables, payload: &JobResponse, warnings: &mut Vec<String>) -> SourceStrategy {
    let default = if payload.allow_git_fetch { SourceStrategy::Fetch } else { SourceStrategy::Clone };
    match variables.value("GIT_STRATEGY").trim() {
        "" => default,
        "clone" => SourceStrategy::Clone,
        "fetch" => SourceStrategy::Fetch,
        "none" => SourceStrategy::None,
        "empty" => SourceStrategy::Empty,
        other => {
            warnings
                .push(format!("GIT_STRATEGY {other:?} is unknown and has no effect; use clone, fetch, none or empty"));
            default
        }
    }
}

/// Where the job works. (8.1)
pub(super) fn dirs(
    settings: &GitLabSettings,
    payload: &JobResponse,
    facts: &RunnerFacts,
    variables: &Variables,
    strategy: SourceStrategy,
) -> Result<JobDirs, JobFailure> {
    let root = facts.builds_dir.trim_end_matches('/').to_owned();
    let slug = slug(payload);
    let mut project = if facts.shared_environment {
        format!("{root}/{}/{}/{slug}", settings.short_token(), facts.concurrent_project_id)
    } else {
        format!("{root}/{slug}")
    };
    let wished = variables.value("GIT_CLONE_PATH");
    if !wished.is_empty() {
        project = clone_path(settings, &root, &wished)?;
    }
    if strategy == SourceStrategy::Empty {
        project.push_str("-empty");
    }
    let tool_cache = settings.tool_cache.clone();
    Ok(JobDirs { builds: root, temp: format!("{project}.tmp"), project, also_at: None, tool_cache })
}

fn clone_path(settings: &GitLabSettings, root: &str, wished: &str) -> Result<String, JobFailure> {
    if !settings.custom_build_dir.unwrap_or(settings.executor == Executor::Docker) {
        return Err(JobFailure::configuration(
            "GIT_CLONE_PATH is not allowed on this runner; the operator can allow it with `custom_build_dir = true`",
        ));
    }
    let outside =
        || JobFailure::configuration(format!("GIT_CLONE_PATH {wished:?} must lie below CI_BUILDS_DIR ({root})"));
    if wished.chars().any(char::is_control) {
        return Err(outside());
    }
    // A relative path has no place to begin at: the official runner refuses it the same way.
    let clean = format!("/{}", clean_path(wished.strip_prefix('/').ok_or_else(outside)?));
    let below = clean.strip_prefix(root).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.is_empty());
    if below { Ok(clean) } else { Err(outside()) }
}

/// The project's path as part of folder names: from the repository's address, else from its id.
fn slug(payload: &JobResponse) -> String {
    let fallback = || format!("project-{}", payload.job_info.project_id);
    let Ok(url) = Url::parse(payload.git_info.repo_url.expose()) else { return fallback() };
    if url.host_str().is_none_or(str::is_empty) {
        return fallback();
    }
    let path = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy().into_owned();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    if path.is_empty() || path.split('/').any(|part| part == "..") || path.chars().any(char::is_control) {
        return fallback();
    }
    let clean = clean_path(path);
    if clean.is_empty() { fallback() } else { clean }
}

/// `path` without empty parts, `.` and `..`, which stops at the top.
pub(super) fn clean_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What the work tree is filled with.
pub(super) fn sources(
    cx: &Context<'_>,
    strategy: SourceStrategy,
    correlation_id: &str,
    warnings: &mut Vec<String>,
) -> Result<SourceSpec, JobFailure> {
    let git = &cx.payload.git_info;
    let needs_repository = matches!(strategy, SourceStrategy::Clone | SourceStrategy::Fetch);
    let remote = match remote(cx) {
        Ok(remote) => remote,
        Err(failure) if needs_repository => return Err(failure),
        Err(_unused) => Remote { url: String::new(), credentials: None },
    };
    if needs_repository {
        check_commit(cx)?;
    }
    let lfs = !bool_of(cx.variables, "GIT_LFS_SKIP_SMUDGE", false, warnings);
    Ok(SourceSpec {
        strategy,
        // The official Docker executor keeps its builds folder for `fetch` alone; its other executors keep it always.
        begins_empty: !cx.facts.shared_environment,
        snapshot: None,
        open_to_all: !cx.facts.shared_environment,
        url: remote.url,
        credentials: remote.credentials,
        url_rewrites: rewrites(cx, warnings),
        ref_name: git.ref_name.clone(),
        sha: git.sha.clone(),
        refspecs: git.refspecs.clone(),
        depth: u32::try_from(git.depth).unwrap_or_default(),
        object_format: if git.repo_object_format.is_empty() { "sha1" } else { &git.repo_object_format }.to_owned(),
        checkout: bool_of(cx.variables, "GIT_CHECKOUT", true, warnings),
        clean_flags: clean_flags(cx, warnings),
        fetch_flags: fetch_flags(cx, warnings),
        submodules: submodules(cx, needs_repository, warnings)?,
        lfs,
        pre_script: hook(cx, "pre_get_sources_script", cx.settings.pre_get_sources_script.as_ref(), true),
        post_script: hook(cx, "post_get_sources_script", cx.settings.post_get_sources_script.as_ref(), false),
        user_agent: crate::outbound::user_agent(),
        extra_header: extra_header(cx, correlation_id),
    })
}

struct Remote {
    url: String,
    credentials: Option<GitCredentials>,
}

/// Address and credentials of the repository. (8.4)
fn remote(cx: &Context<'_>) -> Result<Remote, JobFailure> {
    let text = cx.payload.git_info.repo_url.expose();
    let bad = |why: &str| {
        JobFailure::system(format!(
            "the repository's address as GitLab sent it {why}; report this to the runner's operator"
        ))
    };
    let given = Url::parse(text).map_err(|error| bad(&format!("cannot be read ({error})")))?;
    let mut url = match &cx.settings.clone_url {
        Some(base) => {
            let mut url = base.clone();
            let path = base.path().trim_end_matches('/');
            url.set_path(&format!("{path}/{}.git", cx.variables.value("CI_PROJECT_PATH")));
            url
        }
        None => given.clone(),
    };
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("names no host"));
    }
    let over_http = match url.scheme() {
        "http" | "https" => true,
        "ssh" => false,
        other => return Err(bad(&format!("begins with {other}://, which this runner does not clone from"))),
    };
    let username = match percent_encoding::percent_decode_str(given.username()).decode_utf8_lossy() {
        name if name.is_empty() || cx.settings.clone_url.is_some() => TOKEN_USER.to_owned(),
        name => name.into_owned(),
    };
    let password = given.password().filter(|_| cx.settings.clone_url.is_none()).map_or_else(
        || cx.payload.token.clone(),
        |password| Secret::new(percent_encoding::percent_decode_str(password).decode_utf8_lossy()),
    );
    let user = if over_http { "" } else { "git" };
    let _ = url.set_username(user); // a URL with a host can have one
    let _ = url.set_password(None);
    let base = cx.settings.clone_url.as_ref().unwrap_or(&cx.settings.url);
    let mut hosts: Vec<String> = Vec::new();
    for host in [&url, base, &given].into_iter().filter(|url| matches!(url.scheme(), "http" | "https")).map(remote_of) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    Ok(Remote { url: url.to_string(), credentials: Some(GitCredentials { username, password, hosts }) })
}

/// What becomes an argument of git must not be taken for an option.
fn check_commit(cx: &Context<'_>) -> Result<(), JobFailure> {
    let git = &cx.payload.git_info;
    let bad = |what: &str| {
        JobFailure::system(format!("{what} as GitLab sent it is none; report this to the runner's operator"))
    };
    if !matches!(git.sha.len(), 40 | 64) || !git.sha.chars().all(|c| c.is_ascii_hexdigit()) {
        return Err(bad(&format!("the commit {:?}", git.sha)));
    }
    if !matches!(git.repo_object_format.as_str(), "" | "sha1" | "sha256") {
        return Err(bad(&format!("the object format {:?}", git.repo_object_format)));
    }
    let is_refspec = |text: &str| {
        !text.is_empty() && !text.starts_with('-') && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    match git.refspecs.iter().find(|text| !is_refspec(text)) {
        Some(text) => Err(bad(&format!("the refspec {text:?}"))),
        None => Ok(()),
    }
}

/// SSH addresses of submodules, over HTTPS instead. (8.4)
fn rewrites(cx: &Context<'_>, warnings: &mut Vec<String>) -> Vec<UrlRewrite> {
    if !bool_of(cx.variables, "GIT_SUBMODULE_FORCE_HTTPS", false, warnings) {
        return Vec::new();
    }
    let base = cx.settings.clone_url.as_ref().unwrap_or(&cx.settings.url);
    if !matches!(base.scheme(), "http" | "https") {
        return Vec::new();
    }
    let to = remote_of(base);
    let first_of =
        |names: [&str; 2]| names.map(|name| cx.variables.value(name)).into_iter().find(|text| !text.is_empty());
    let Some(host) = first_of(["CI_SERVER_SHELL_SSH_HOST", "CI_SERVER_HOST"]) else { return Vec::new() };
    let port = cx.variables.value("CI_SERVER_SHELL_SSH_PORT");
    if port.is_empty() || port == "22" {
        vec![
            UrlRewrite { from: format!("git@{host}:"), to: format!("{to}/") },
            UrlRewrite { from: format!("ssh://git@{host}"), to },
        ]
    } else {
        vec![UrlRewrite { from: format!("ssh://git@{host}:{port}"), to }]
    }
}

fn clean_flags(cx: &Context<'_>, warnings: &mut Vec<String>) -> Option<Vec<String>> {
    match words_of(cx.variables, "GIT_CLEAN_FLAGS") {
        None => Some(vec!["-ffdx".to_owned()]),
        Some(words) if words == ["none"] => None,
        Some(words) => Some(harmless("GIT_CLEAN_FLAGS", words, warnings)),
    }
}

fn fetch_flags(cx: &Context<'_>, warnings: &mut Vec<String>) -> Vec<String> {
    match words_of(cx.variables, "GIT_FETCH_EXTRA_FLAGS") {
        None => vec!["--prune".to_owned(), "--quiet".to_owned()],
        Some(words) if words == ["none"] => Vec::new(),
        Some(words) => harmless("GIT_FETCH_EXTRA_FLAGS", words, warnings),
    }
}

/// Words for git without those that make it run a program or read another repository: git runs on the runner's machine,
/// and the words are the job's. git takes any unambiguous beginning of an option, so beginnings are left out, too.
fn harmless(name: &str, words: Vec<String>, warnings: &mut Vec<String>) -> Vec<String> {
    const DANGEROUS: [(&str, usize); 6] = [
        ("--upload-pack", 5),
        ("--receive-pack", 6),
        ("--exec", 4),
        ("--reference", 6),
        ("--config", 5),
        ("--template", 4),
    ];
    let (kept, dropped): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| {
        let option = word.split('=').next().unwrap_or_default();
        !DANGEROUS.iter().any(|(name, least)| option.len() >= *least && name.starts_with(option))
            && !word.contains('\0')
    });
    for word in dropped {
        warnings.push(format!("{word} in {name} is not allowed on this runner and has no effect"));
    }
    kept
}

fn submodules(cx: &Context<'_>, needs_repository: bool, warnings: &mut Vec<String>) -> Result<Submodules, JobFailure> {
    let depth_of_tree = match cx.variables.value("GIT_SUBMODULE_STRATEGY").trim() {
        // Without a repository nobody asks for its submodules.
        _ if !needs_repository => SubmoduleStrategy::None,
        "" | "none" => SubmoduleStrategy::None,
        "normal" => SubmoduleStrategy::Normal,
        "recursive" => SubmoduleStrategy::Recursive,
        other => {
            return Err(JobFailure::configuration(format!(
                "GIT_SUBMODULE_STRATEGY {other:?} is unknown; use none, normal or recursive"
            )));
        }
    };
    let own_depth = u32::try_from(cx.payload.git_info.depth).unwrap_or_default();
    let depth = match cx.variables.value("GIT_SUBMODULE_DEPTH").trim() {
        "" => own_depth,
        text => text.parse().unwrap_or_else(|_| {
            warnings.push(format!("GIT_SUBMODULE_DEPTH {text:?} is no number; {own_depth} is used"));
            own_depth
        }),
    };
    let paths = words_of(cx.variables, "GIT_SUBMODULE_PATHS").unwrap_or_default();
    if paths.iter().any(|path| path == ":(exclude)") {
        return Err(JobFailure::configuration(
            "GIT_SUBMODULE_PATHS holds `:(exclude)` without a path; write `:(exclude)path` without a space",
        ));
    }
    let flags = words_of(cx.variables, "GIT_SUBMODULE_UPDATE_FLAGS").unwrap_or_default();
    let update_flags = harmless("GIT_SUBMODULE_UPDATE_FLAGS", flags, warnings);
    Ok(Submodules { depth_of_tree, depth, paths, update_flags })
}

/// The operator's script is the outer one: first before the sources, last after them. (8.3)
fn hook(cx: &Context<'_>, name: &str, configured: Option<&String>, configured_first: bool) -> Vec<String> {
    let own = cx.payload.hooks.iter().filter(|hook| hook.name == name).flat_map(|hook| hook.script.iter().cloned());
    let configured = configured.filter(|script| !script.trim().is_empty()).cloned();
    if configured_first { configured.into_iter().chain(own).collect() } else { own.chain(configured).collect() }
}

fn extra_header(cx: &Context<'_>, correlation_id: &str) -> Option<String> {
    let id: String =
        correlation_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(128).collect();
    (cx.flags.is_on("FF_USE_GITALY_CORRELATION_ID") && !id.is_empty()).then(|| format!("X-Gitaly-Correlation-ID: {id}"))
}
