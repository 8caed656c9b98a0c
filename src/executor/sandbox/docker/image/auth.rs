//! Credentials for image registries, by source; the first source that knows a registry wins (protocols: GitLab 9.6):
//! the job's `DOCKER_AUTH_CONFIG`, the configuration of the agent's user, what the forge sent with the job. Within a source
//! the longest matching path counts.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use super::helper;
use super::reference::HUB;
use crate::pipeline::Secret;
use crate::pipeline::definition::{RegistryAuth, RegistryCredential};

/// Bytes of a configuration file or variable that are read.
const LARGEST_CONFIG: u64 = 1 << 20;

/// Where credentials were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthSource {
    /// The job's variable `DOCKER_AUTH_CONFIG`.
    JobVariable,
    /// The Docker configuration of the agent's user.
    AgentConfig,
    /// What the forge sent with the job.
    Job,
}

impl AuthSource {
    /// For the job's log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JobVariable => "$DOCKER_AUTH_CONFIG",
            Self::AgentConfig => "the runner's Docker configuration",
            Self::Job => "the job payload (GitLab Registry)",
        }
    }
}

/// What the machine gives jobs to log in with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineAuth {
    /// The folder of the agent user's Docker configuration (`$DOCKER_CONFIG`, else `~/.docker`).
    pub config: Option<PathBuf>,
    /// Where credential helpers are looked for; `None`: as the agent's PATH says.
    pub helper_path: Option<OsString>,
}

/// Credentials that a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLogin {
    /// Where they were found.
    pub source: AuthSource,
    /// The registry they are for.
    pub registry: String,
    /// How to log in.
    pub kind: Login,
}

/// How to log in at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// User name and password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that is exchanged for another.
    IdentityToken(Secret),
    /// A token that is sent as it is.
    RegistryToken(Secret),
}

impl RegistryLogin {
    /// In the engine's words. Lives for one call.
    pub(super) fn to_engine(&self) -> DockerCredentials {
        let serveraddress = Some(self.registry.clone());
        match &self.kind {
            Login::Password { username, password } => DockerCredentials {
                username: Some(username.clone()),
                password: Some(password.expose().to_owned()),
                serveraddress,
                ..DockerCredentials::default()
            },
            Login::IdentityToken(token) => DockerCredentials {
                identitytoken: Some(token.expose().to_owned()),
                serveraddress,
                ..DockerCredentials::default()
            },
            Login::RegistryToken(token) => DockerCredentials {
                registrytoken: Some(token.expose().to_owned()),
                serveraddress,
                ..DockerCredentials::default()
            },
        }
    }
}

/// Finds the login for `registry_path` (`host/repository`), and what the user should know about sources that could not
/// be read. `None`: the registry is asked without.
pub async fn find(
    registry_path: &str,
    job: &RegistryAuth,
    machine: &MachineAuth,
) -> (Option<RegistryLogin>, Vec<String>) {
    let mut remarks = Vec::new();
    let helpers = machine.helper_path.as_deref();
    if let Some(text) = job.docker_config.as_ref().filter(|text| !text.is_empty()) {
        match DockerConfigFile::parse(text.expose().as_bytes()) {
            Ok(config) => {
                if let Some(kind) = config.login(registry_path, helpers, &mut remarks).await {
                    return (Some(login(AuthSource::JobVariable, registry_path, kind)), remarks);
                }
            }
            Err(why) => remarks.push(format!("DOCKER_AUTH_CONFIG cannot be read and is ignored: {why}")),
        }
    }
    if let Some(folder) = &machine.config
        && let Some(config) = read_agent_config(folder, &mut remarks).await
        && let Some(kind) = config.login(registry_path, helpers, &mut remarks).await
    {
        return (Some(login(AuthSource::AgentConfig, registry_path, kind)), remarks);
    }
    let kind = best(registry_path, job.job.iter().map(|c| (c.registry.as_str(), c))).map(|(_, c)| of_job(c));
    (kind.map(|kind| login(AuthSource::Job, registry_path, kind)), remarks)
}

fn of_job(credential: &RegistryCredential) -> Login {
    Login::Password { username: credential.username.clone(), password: credential.password.clone() }
}

fn login(source: AuthSource, registry_path: &str, kind: Login) -> RegistryLogin {
    let host = registry_path.split('/').next().unwrap_or(registry_path);
    RegistryLogin { source, registry: server_address(host), kind }
}

/// How the engine and credential helpers call a registry.
fn server_address(host: &str) -> String {
    if host == HUB { "https://index.docker.io/v1/".to_owned() } else { host.to_owned() }
}

/// The entry whose key is the longest path prefix of `registry_path`.
fn best<'a, T>(registry_path: &str, entries: impl Iterator<Item = (&'a str, T)>) -> Option<(usize, T)> {
    entries
        .map(|(key, value)| (normalised(key), value))
        .filter(|(key, _)| is_path_prefix(key, registry_path))
        .map(|(key, value)| (key.len(), value))
        // On a tie the earlier entry stays.
        .fold(None, |best: Option<(usize, T)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
}

fn is_path_prefix(prefix: &str, path: &str) -> bool {
    !prefix.is_empty() && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A registry as configurations write it (`https://index.docker.io/v1/`) as a prefix of registry paths.
fn normalised(key: &str) -> String {
    let key = key.trim();
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let host = host.to_ascii_lowercase();
    let host = match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => HUB,
        other => other,
    };
    match path.trim_matches('/') {
        "" | "v1" | "v2" => host.to_owned(),
        path => format!("{host}/{path}"),
    }
}

/// What we read of a Docker `config.json`. Unknown keys are others' business.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfigFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl std::fmt::Debug for AuthEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthEntry(…)")
    }
}

impl DockerConfigFile {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > LARGEST_CONFIG {
            return Err("it is larger than 1 MiB".into());
        }
        // serde_json's own message can quote values of the file.
        serde_json::from_slice(bytes)
            .map_err(|error| format!("no Docker configuration (line {}, column {})", error.line(), error.column()))
    }

    /// The login this configuration knows for `registry_path`. A helper counts where its key is at least as long as that
    /// of a stored entry; the store is asked for what nothing else names more exactly than by the host.
    async fn login(
        &self,
        registry_path: &str,
        helper_path: Option<&OsStr>,
        remarks: &mut Vec<String>,
    ) -> Option<Login> {
        let helpers = self.cred_helpers.iter().flatten().map(|(key, name)| (key.as_str(), (key, name)));
        let helper = best(registry_path, helpers);
        let entries = self.auths.iter().flatten().map(|(key, entry)| (key.as_str(), entry));
        let entry = best(registry_path, entries).and_then(|(length, entry)| Some((length, entry.login()?)));
        let host = registry_path.split('/').next().unwrap_or(registry_path);
        let longest_entry = entry.as_ref().map_or(0, |(length, _)| *length);
        let asked = match (&helper, &self.creds_store) {
            (Some((length, (key, name))), _) if *length >= longest_entry => Some((name.as_str(), (*key).clone())),
            (None, Some(store)) if longest_entry <= host.len() && !store.is_empty() => {
                Some((store.as_str(), server_address(host)))
            }
            _ => None,
        };
        if let Some((name, server)) = asked {
            match helper::get(name, &server, helper_path).await {
                Ok(Some(login)) => return Some(login),
                Ok(None) => {}
                Err(error) => remarks.push(error.to_string()),
            }
        }
        entry.map(|(_, login)| login)
    }
}

impl AuthEntry {
    fn login(&self) -> Option<Login> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identitytoken) {
            return Some(Login::IdentityToken(token.into()));
        }
        if let Some(token) = some(&self.registrytoken) {
            return Some(Login::RegistryToken(token.into()));
        }
        if let Some((username, password)) = some(&self.auth).and_then(|auth| decode(&auth)) {
            return Some(Login::Password { username, password: password.into() });
        }
        Some(Login::Password { username: some(&self.username)?, password: some(&self.password)?.into() })
    }
}

/// `user:password` in base64, with or without padding.
fn decode(auth: &str) -> Option<(String, String)> {
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = engine.decode(auth.trim().trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (username, password) = text.trim_end_matches('\0').split_once(':')?;
    (!username.is_empty()).then(|| (username.to_owned(), password.to_owned()))
}

/// `config.json` in the Docker configuration folder, else the older `.dockercfg` beside that folder.
async fn read_agent_config(folder: &Path, remarks: &mut Vec<String>) -> Option<DockerConfigFile> {
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || read_first(&folder)).await.ok()?;
    match read {
        Ok(config) => config,
        Err(why) => {
            remarks.push(why);
            None
        }
    }
}

fn read_first(folder: &Path) -> Result<Option<DockerConfigFile>, String> {
    let modern = folder.join("config.json");
    if let Some(bytes) = read_limited(&modern)? {
        return DockerConfigFile::parse(&bytes)
            .map(Some)
            .map_err(|why| format!("{} is ignored: {why}", modern.display()));
    }
    let legacy: PathBuf = folder.parent().unwrap_or(folder).join(".dockercfg");
    let Some(bytes) = read_limited(&legacy)? else { return Ok(None) };
    let auths = serde_json::from_slice(&bytes)
        .map_err(|error| format!("{} is ignored: line {} is no JSON of its kind", legacy.display(), error.line()))?;
    Ok(Some(DockerConfigFile { auths: Some(auths), ..DockerConfigFile::default() }))
}

fn read_limited(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST_CONFIG + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(user: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(format!("{user}:pw"))
    }

    fn job(docker_config: Option<String>, registries: &[&str]) -> RegistryAuth {
        RegistryAuth {
            docker_config: docker_config.map(Secret::new),
            job: registries
                .iter()
                .map(|r| RegistryCredential {
                    registry: (*r).into(),
                    username: format!("job@{r}"),
                    password: "pw".into(),
                })
                .collect(),
        }
    }

    async fn user(path: &str, job: &RegistryAuth, folder: Option<&Path>) -> Option<(AuthSource, String)> {
        let machine = MachineAuth { config: folder.map(Path::to_owned), helper_path: None };
        let (login, _) = find(path, job, &machine).await;
        login.map(|login| match login.kind {
            Login::Password { username, .. } => (login.source, username),
            other => panic!("{other:?}"),
        })
    }

    #[tokio::test]
    async fn the_first_source_that_knows_the_registry_wins() {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(r#"{{"auths":{{"r.example.com":{{"auth":"{}"}}}}}}"#, auth("agent"));
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let variable = format!(r#"{{"auths":{{"https://r.example.com/v2/":{{"auth":"{}"}}}}}}"#, auth("variable"));

        let both = job(Some(variable), &["r.example.com", "other.example.com"]);
        let from = |who: AuthSource, name: &str| Some((who, name.to_owned()));
        assert_eq!(
            user("r.example.com/a", &both, Some(folder.path())).await,
            from(AuthSource::JobVariable, "variable")
        );
        let payload = job(None, &["r.example.com", "other.example.com"]);
        assert_eq!(
            user("r.example.com/a", &payload, Some(folder.path())).await,
            from(AuthSource::AgentConfig, "agent")
        );
        assert_eq!(user("r.example.com/a", &payload, None).await, from(AuthSource::Job, "job@r.example.com"));
        assert_eq!(user("third.example.com/a", &both, Some(folder.path())).await, None);
    }

    #[tokio::test]
    async fn the_longest_path_counts_and_only_whole_parts_match() {
        let job = job(None, &["r.example.com", "r.example.com/group", "r.example.com/group/deep"]);
        for (path, want) in [
            ("r.example.com/x", "job@r.example.com"),
            ("r.example.com/group/x", "job@r.example.com/group"),
            ("r.example.com/groups/x", "job@r.example.com"),
            ("r.example.com/group/deep", "job@r.example.com/group/deep"),
        ] {
            assert_eq!(user(path, &job, None).await.unwrap().1, want, "{path}");
        }
    }

    #[tokio::test]
    async fn the_hub_is_known_by_its_old_name() {
        let config = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}}}}}}"#, auth("hub"));
        assert_eq!(user("docker.io/library/alpine", &job(Some(config), &[]), None).await.unwrap().1, "hub");
    }

    #[tokio::test]
    async fn a_broken_source_is_told_without_its_content_and_the_next_is_asked() {
        let machine = MachineAuth { config: Some("/nonexistent".into()), helper_path: None };
        let (login, remarks) = find("r/x", &job(Some("{\"auths\": hunter2".into()), &["r"]), &machine).await;
        assert_eq!(login.unwrap().source, AuthSource::Job);
        assert!(remarks[0].contains("DOCKER_AUTH_CONFIG") && !remarks[0].contains("hunter2"), "{remarks:?}");
    }
}
