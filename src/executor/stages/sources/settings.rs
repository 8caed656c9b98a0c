//! Which git, and how it is set up: nothing of the machine's or the repository's own configuration counts.
//!
//! Settings are handed over in git's command scope (`GIT_CONFIG_COUNT`), which wins over every file and reaches the git
//! of submodules. Secrets are in files below the job's private folder (0700) only.
//!
//! Left as git has them, on purpose: `core.symlinks`, `core.protectNTFS`, `core.protectHFS` (jobs expect links; the
//! protections are on where they matter), and `fetch.fsckObjects` (off: it refuses old but harmless repositories that
//! every forge serves; the names of objects are verified on arrival all the same).

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::request::Request;
use crate::pipeline::Secret;

/// The `git` program of this machine, and `git-lfs` where it is installed.
#[derive(Clone, Debug)]
pub struct GitProgram {
    pub(super) program: PathBuf,
    /// `PATH` for git and its children: absolute folders only.
    pub(super) path: OsString,
    /// Where git and git-lfs really lie, should it be outside the system's folders.
    pub(super) folders: Vec<PathBuf>,
    pub(super) has_lfs: bool,
}

impl GitProgram {
    /// Finds git in the folders of `path` (the agent's `PATH`) and asks it for its version. Blocking, some milliseconds;
    /// once at the agent's start.
    ///
    /// # Errors
    /// No folder holds it, or it is older than 2.32: those do not read their configuration from the environment, and
    /// nothing would keep them from a repository's own.
    pub fn find(path: &OsStr) -> io::Result<Self> {
        let folders: Vec<PathBuf> = std::env::split_paths(path).filter(|folder| folder.is_absolute()).collect();
        let found = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|program| program.is_file());
        let program = found("git").ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "git is not installed on the runner's machine, or not in its PATH")
        })?;
        let output = std::process::Command::new(&program).arg("version").env_clear().output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if version_of(&said).is_none_or(|version| version < OLDEST) {
            let problem = format!("git 2.32 or later is needed; {} says: {}", program.display(), said.trim());
            return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
        }
        let lfs = found("git-lfs");
        let has_lfs = lfs.is_some();
        let homes = [Some(program.clone()), lfs].into_iter().flatten();
        let homes = homes.filter_map(|program| Some(program.canonicalize().ok()?.parent()?.to_owned())).collect();
        let path = std::env::join_paths(&folders).map_err(io::Error::other)?;
        Ok(Self { program, path, folders: homes, has_lfs })
    }
}

/// The first version with `GIT_CONFIG_COUNT` and `GIT_CONFIG_GLOBAL`.
const OLDEST: (u32, u32) = (2, 32);

/// The first two numbers of what `git version` prints.
fn version_of(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ', '\n']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A folder by the name it was given, and by the one git finds when it follows links on the way there.
pub(super) fn names_of(folder: &Path) -> Vec<PathBuf> {
    let real = folder.canonicalize().ok().filter(|real| real != folder);
    [Some(folder.to_owned()), real].into_iter().flatten().collect()
}

/// What git needs to get through to the forge.
#[derive(Clone, Debug, Default)]
pub struct GitNetwork {
    /// Proxy variables (`http_proxy`, `https_proxy`, `no_proxy`, ...); others are not handed on.
    pub env: Vec<(String, Secret)>,
    /// The certificates git trusts, in the place of the system's: a complete bundle.
    pub ca_file: Option<PathBuf>,
    /// A client certificate, shown to the repository's host only.
    pub client_certificate: Option<PathBuf>,
    /// The key of `client_certificate`.
    pub client_key: Option<PathBuf>,
}

impl GitNetwork {
    pub(super) fn proxy_variables(&self) -> impl Iterator<Item = (&str, &str)> {
        const KNOWN: &[&str] = &["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
        self.env
            .iter()
            .filter(|(name, _)| KNOWN.contains(&name.to_ascii_lowercase().as_str()))
            .map(|(name, value)| (name.as_str(), value.expose()))
    }
}

/// The agent's own folder for one call: git's home, its configuration, credentials. Removed when dropped.
pub(super) struct PrivateFolder {
    root: PathBuf,
}

impl PrivateFolder {
    /// Makes it below the job's private folder; what an earlier, killed call left is removed.
    pub fn create(job_private: &Path) -> io::Result<Self> {
        let root = job_private.join("sources");
        match std::fs::remove_dir_all(&root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        for folder in [root.clone(), root.join("home"), root.join("tmp")] {
            std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        }
        Ok(Self { root })
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// The file that stands for the user's configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Writes a file that only the agent's user can read.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(content)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.root) {
            tracing::warn!(folder = %self.root.display(), %error, "git's private folder could not be removed");
        }
    }
}

/// Name and value of a setting.
pub(super) type Setting = (String, String);

/// What holds for every call: nothing that a repository can name is run, nothing works in the background.
pub(super) const POLICY: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.splitIndex", "false"),
    ("core.sshCommand", "/bin/false"),
    ("core.askPass", ""),
    ("core.gitProxy", ""),
    ("core.pager", "cat"),
    ("core.editor", "true"),
    ("sequence.editor", "true"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.commitGraph", "false"),
    ("core.multiPackIndex", "false"),
    ("gc.auto", "0"),
    ("gc.autoDetach", "false"),
    ("maintenance.auto", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.recurseSubmodules", "false"),
    // Whatever is fetched stays one pack: packs are what a later job's check can recognise.
    ("fetch.unpackLimit", "1"),
    ("transfer.unpackLimit", "1"),
    // A server may not send us to a third one for a part of the repository.
    ("transfer.bundleURI", "false"),
    ("submodule.recurse", "false"),
    ("protocol.allow", "never"),
    ("protocol.ext.allow", "never"),
    ("protocol.file.allow", "never"),
    ("protocol.ssh.allow", "never"),
    ("protocol.git.allow", "never"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("http.sslVerify", "true"),
    ("http.cookieFile", ""),
    ("http.saveCookies", "false"),
    ("http.followRedirects", "initial"),
    // A transfer that stands still for five minutes is dead; the stage's own limit may be far away.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "300"),
    ("credential.interactive", "never"),
    ("credential.useHttpPath", "false"),
    // Empty: forgets the helpers of every file.
    ("credential.helper", ""),
    ("init.defaultBranch", "none"),
    ("advice.detachedHead", "false"),
    ("gpg.program", "/bin/false"),
    ("log.showSignature", "false"),
];

/// The environment of every call.
pub(super) fn environment(program: &GitProgram, private: &PrivateFolder) -> Vec<(OsString, OsString)> {
    let fixed: &[(&str, &str)] = &[
        ("LANG", "C"),
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GCM_INTERACTIVE", "Never"),
        ("GIT_SSH_COMMAND", "/bin/false"),
        ("GIT_PAGER", "cat"),
        ("GIT_EDITOR", "true"),
        ("GIT_SEQUENCE_EDITOR", "true"),
        ("GIT_TEMPLATE_DIR", "/dev/null"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_PROTOCOL_FROM_USER", "0"),
    ];
    let mut variables: Vec<(OsString, OsString)> = fixed.iter().map(|(k, v)| (k.into(), v.into())).collect();
    variables.push(("PATH".into(), program.path.clone()));
    variables.push(("HOME".into(), private.home().into()));
    variables.push(("XDG_CONFIG_HOME".into(), private.home().into()));
    variables.push(("GIT_CONFIG_GLOBAL".into(), private.config().into()));
    variables.push(("TMPDIR".into(), private.tmp().into()));
    variables
}

/// What a call needs that speaks with the remote. Writes the credentials where only this call finds them.
///
/// The password goes through a credential helper that git asks only for the hosts it is meant for, by scheme, host and
/// port. A header (`http.extraHeader`) would follow a redirect to another host, and credentials in a URL show in the
/// arguments of `git-remote-http`. The helper never forgets: one submodule's 401 must not cost the others their
/// credentials.
pub(super) fn remote_settings(
    request: &Request<'_>,
    network: &GitNetwork,
    private: &PrivateFolder,
) -> io::Result<Vec<Setting>> {
    let spec = request.spec;
    let mut settings = Vec::new();
    let mut set = |name: String, value: &str| settings.push((name, value.to_owned()));
    if let Some(credentials) = &spec.credentials {
        let content = format!("username={}\npassword={}\n", credentials.username, credentials.password.expose());
        let file = private.write("credential", content.as_bytes())?;
        let file = file.to_str().ok_or_else(|| io::Error::other("the state directory's name is not UTF-8"))?;
        let helper = format!("!f() {{ test \"$1\" != get || cat {}; }}; f", quoted(file));
        for host in &credentials.hosts {
            set(format!("credential.{host}.helper"), &helper);
        }
    }
    for rewrite in &spec.url_rewrites {
        set(format!("url.{}.insteadOf", rewrite.to), &rewrite.from);
    }
    if !spec.user_agent.is_empty() {
        set("http.userAgent".to_owned(), &spec.user_agent);
    }
    let base = base_of(&spec.url);
    if let (Some(base), Some(header)) = (&base, &spec.extra_header) {
        set(format!("http.{base}.extraHeader"), header);
    }
    if let Some(file) = network.ca_file.as_deref().and_then(Path::to_str) {
        set("http.sslCAInfo".to_owned(), file);
    }
    if let (Some(base), Some(file)) = (&base, network.client_certificate.as_deref().and_then(Path::to_str)) {
        set(format!("http.{base}.sslCert"), file);
    }
    if let (Some(base), Some(file)) = (&base, network.client_key.as_deref().and_then(Path::to_str)) {
        set(format!("http.{base}.sslKey"), file);
    }
    Ok(settings)
}

/// Scheme, host and port of a URL.
fn base_of(url: &str) -> Option<String> {
    let parsed = url::Url::parse(url).ok().filter(url::Url::has_host)?;
    Some(parsed.origin().ascii_serialization())
}

/// A word for `sh`.
pub(super) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::house::write_program;
    use super::*;

    #[test]
    fn a_git_that_would_not_obey_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let find = |says: &str| {
            write_program(&dir.path().join("git"), &format!("#!/bin/sh\necho '{says}'\n"));
            GitProgram::find(dir.path().as_os_str()).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(find("git version 2.32.0"), Ok(()));
        assert_eq!(find("git version 3.0"), Ok(()));
        assert_eq!(find("git version 2.50.1 (Apple Git-155)"), Ok(()));
        for says in ["git version 2.31.9", "git version 1.99", "something else", ""] {
            assert!(find(says).is_err_and(|error| error.contains("git 2.32 or later is needed")), "{says}");
        }
        std::fs::remove_file(dir.path().join("git")).expect("removed");
        let error = GitProgram::find(dir.path().as_os_str()).map(drop).expect_err("none");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_word_for_the_shell_stays_one_word() {
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }
}
