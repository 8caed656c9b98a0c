//! From file, environment and flags to settings that mean something.
//!
//! The layers become one tree (file < environment < flags). What stands at its top level, the agent's own keys apart, is
//! the default of every registration: each `[[registration]]` is laid over it and only then read into its type. So
//! what a registration says itself wins over everything, the environment included.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use config::FileFormat;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use url::Url;

use super::agent::{AgentConfig, StateConfig};
use super::checks;
use super::docker::DockerConfig;
use super::document::ConfigDocument;
use super::error::{ConfigError, Place, Problem, Step, display_path};
use super::exec::ExecConfig;
use super::layers::{self, EnvironmentLayer, LayerSource, LayerValue, Overrides};
use super::log::LogConfig;
use super::network::NetworkConfig;
use super::registration::{OWN_KEYS, RegistrationConfig};
use super::schema;
use super::store::StoreConfig;
use super::unknown_keys::unknown_keys;

/// Everything the operator wrote.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many jobs run at the same time, over all registrations. At least 1.
    pub concurrent: u32,
    /// The pause between two polls of a registration, where the forge does not hold the request open itself.
    pub check_interval: Duration,
    /// How long running jobs may go on after the first signal; `None`: until they end.
    pub drain_timeout: Option<Duration>,
    /// How long cancelled jobs may take to clean up and report.
    pub shutdown_timeout: Duration,
    /// The agent's own log.
    pub log: LogConfig,
    /// What is kept in the state directory.
    pub state: StateConfig,
    /// Where artifacts and caches are kept.
    pub store: StoreConfig,
    /// What `forgehand exec` runs with.
    pub exec: ExecConfig,
    /// The registrations in the order of the file, with the defaults already in them.
    pub registrations: Vec<RegistrationConfig>,
    /// Remarks for the operator: what was ignored.
    pub remarks: Vec<String>,
    /// A registration that says nothing itself.
    defaults: RegistrationConfig,
    origins: Origins,
}

/// Where each value came from.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<(String, Place)>);

impl Config {
    /// The settings of the agent as a whole, as they stand in the file.
    pub fn agent(&self) -> AgentConfig {
        AgentConfig {
            concurrent: self.concurrent,
            check_interval: self.check_interval,
            drain_timeout: self.drain_timeout,
            shutdown_timeout: self.shutdown_timeout,
            log: self.log.clone(),
            state: self.state.clone(),
            store: self.store.clone(),
            exec: self.exec.clone(),
        }
    }

    /// The settings of a registration whose table says nothing but its name and URL: what `register` reaches the forge
    /// with before there is a table, and what `exec` runs with.
    pub fn bare_registration(&self, name: &str, url: Url) -> RegistrationConfig {
        RegistrationConfig { name: name.to_owned(), url, ..self.defaults.clone() }
    }

    /// How containers are made where a registration says nothing itself.
    pub fn docker_defaults(&self) -> &DockerConfig {
        &self.defaults.docker
    }

    /// How the network is reached where a registration says nothing itself, and for what belongs to none.
    pub fn network_defaults(&self) -> &NetworkConfig {
        &self.defaults.network
    }

    /// The registration of this name.
    pub fn registration(&self, name: &str) -> Option<&RegistrationConfig> {
        self.registrations.iter().find(|registration| registration.name == name)
    }

    /// Where the value at `path` (`docker.memory`, `registration[0].limit`) came from.
    pub fn origin(&self, path: &str) -> Place {
        self.origins.0.iter().find(|(known, _)| known == path).map_or(Place::Default, |(_, place)| place.clone())
    }
}

/// Reads the configuration: `config_file` (absent counts as empty), this process's environment, `flags`.
///
/// Blocking. The error holds everything that is wrong, not only the first.
pub fn load(config_file: &Path, flags: &Overrides) -> Result<Config, ConfigError> {
    load_with(config_file, std::env::vars_os(), flags)
}

/// As [`load`], with the environment handed in.
pub fn load_with(
    config_file: &Path,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &Overrides,
) -> Result<Config, ConfigError> {
    resolve(&ConfigDocument::read(config_file)?, environment, flags)
}

/// As [`load`], for a file already parsed.
pub fn resolve(
    document: &ConfigDocument,
    environment: impl Iterator<Item = (OsString, OsString)>,
    flags: &Overrides,
) -> Result<Config, ConfigError> {
    let schema = schema::schema();
    let mut problems = unknown_keys(document, &schema);
    let EnvironmentLayer { values, problems: in_environment, ignored } = layers::read_environment(environment, &schema);
    problems.extend(in_environment);
    let mut layers = Layers { document, above: values };
    layers.above.extend_from_slice(flags.values());
    if !layers.above.is_empty() {
        problems.extend(hidden_problems(document, &schema)?);
    }

    // Unknown keys are reported above, with a better message than the types have.
    let tree = schema::known_part(layers.merged()?, &schema);
    let agent = Reader { layers: &layers, problems: &mut problems }.agent(&tree);
    let (defaults, registrations) = Reader { layers: &layers, problems: &mut problems }.registrations(&tree);
    if let (Some(agent), Some(defaults)) = (&agent, &defaults) {
        let found = checks::check(agent, defaults, &registrations);
        problems.extend(found.into_iter().map(|finding| layers.locate(finding)));
    }
    match (agent, defaults) {
        (Some(agent), Some(defaults)) if problems.is_empty() => {
            let remarks = ignored.iter().map(|name| format!("{name} is no setting and was ignored")).collect();
            let origins = layers.origins(&tree);
            let AgentConfig { concurrent, check_interval, drain_timeout, shutdown_timeout, log, state, store, exec } =
                agent;
            Ok(Config {
                concurrent,
                check_interval,
                drain_timeout,
                shutdown_timeout,
                log,
                state,
                store,
                exec,
                registrations,
                remarks,
                defaults,
                origins,
            })
        }
        _ => Err(ConfigError::Invalid(in_order(problems))),
    }
}

/// What the file says and cannot mean, where a variable or a flag hides it: whether a file is right must not depend on who
/// looks at it. Only what is wrong by itself: two keys that contradict each other may be one of the file and one of the
/// environment.
fn hidden_problems(document: &ConfigDocument, schema: &Value) -> Result<Vec<Problem>, ConfigError> {
    let alone = Layers { document, above: Vec::new() };
    let tree = schema::known_part(alone.merged()?, schema);
    let mut problems = Vec::new();
    let mut reader = Reader { layers: &alone, problems: &mut problems };
    reader.agent(&tree);
    reader.registrations(&tree);
    Ok(problems)
}

/// By line, so that the operator walks down the file once; the same thing only once (a wrong default is wrong in every
/// registration).
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    let mut seen = Vec::new();
    problems.retain(|problem| {
        let key = match &problem.path[..] {
            [Step::Key(table), Step::Index(_), rest @ ..] if table == "registration" => rest,
            path => path,
        };
        let what = (problem.place.clone(), key.to_vec(), problem.message.clone());
        let is_new = !seen.contains(&what);
        seen.push(what);
        is_new
    });
    problems.sort_by_key(|problem| match &problem.place {
        Place::File { line, .. } => line.unwrap_or(0),
        Place::Environment(_) | Place::Flag(_) | Place::Default => usize::MAX,
    });
    problems
}

/// The file and what lies above it.
struct Layers<'a> {
    document: &'a ConfigDocument,
    above: Vec<LayerValue>,
}

impl Layers<'_> {
    fn merged(&self) -> Result<Map<String, Value>, ConfigError> {
        let built = config::Config::builder()
            .add_source(config::File::from_str(self.document.text(), FileFormat::Toml))
            .add_source(LayerSource(self.above.clone()))
            .build();
        built.and_then(config::Config::try_deserialize).map_err(|error| {
            let place = self.document.place_of(&[]);
            let message = format!("cannot be used: {error}");
            ConfigError::Invalid(vec![Problem { place, path: Vec::new(), message, help: None }])
        })
    }

    /// The giver of the value at `path`. A registration that does not say it has it from the top level.
    fn place(&self, path: &[Step]) -> Place {
        if let [Step::Key(table), Step::Index(_), rest @ ..] = path
            && table == "registration"
        {
            let is_default = !rest.is_empty() && !self.document.contains(path) && self.gives(rest);
            return if is_default { self.place(rest) } else { self.document.place_of(path) };
        }
        match self.above.iter().rev().find(|value| covers(&value.path, path)) {
            Some(value) => value.place.clone(),
            None => self.document.place_of(path),
        }
    }

    fn gives(&self, path: &[Step]) -> bool {
        self.document.contains(path) || self.above.iter().any(|value| covers(&value.path, path))
    }

    fn locate(&self, finding: checks::Finding) -> Problem {
        let place = self.place(&finding.path);
        Problem { place, path: finding.path, message: finding.message, help: None }
    }

    fn origins(&self, tree: &Map<String, Value>) -> Origins {
        let mut origins = Vec::new();
        let mut path = Vec::new();
        for (key, value) in tree {
            path.push(Step::Key(key.clone()));
            self.collect_origins(value, &mut path, &mut origins);
            path.pop();
        }
        Origins(origins)
    }

    fn collect_origins(&self, value: &Value, path: &mut Vec<Step>, into: &mut Vec<(String, Place)>) {
        into.push((display_path(path), self.place(path)));
        let children: Vec<(Step, &Value)> = match value {
            Value::Object(table) => table.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
            Value::Array(list) => list.iter().enumerate().map(|(index, value)| (Step::Index(index), value)).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        };
        for (step, child) in children {
            path.push(step);
            self.collect_origins(child, path, into);
            path.pop();
        }
    }
}

/// Whether a value set at `set` says something about `path`.
fn covers(set: &[String], path: &[Step]) -> bool {
    set.len() <= path.len() && set.iter().zip(path).all(|(key, step)| matches!(step, Step::Key(name) if name == key))
}

/// Reads parts of the tree into their types and notes what does not fit.
struct Reader<'a, 'b> {
    layers: &'a Layers<'a>,
    problems: &'b mut Vec<Problem>,
}

impl Reader<'_, '_> {
    fn agent(&mut self, tree: &Map<String, Value>) -> Option<AgentConfig> {
        let known = schema::agent_keys();
        let own = tree.iter().filter(|(key, _)| known.contains(key)).map(|(key, value)| (key.clone(), value.clone()));
        self.read(Value::Object(own.collect()), &[])
    }

    fn registrations(&mut self, tree: &Map<String, Value>) -> (Option<RegistrationConfig>, Vec<RegistrationConfig>) {
        let defaults = defaults_of(tree);
        let mut nameless = defaults.clone();
        // The shape needs them; nobody reads them (see `bare_registration`).
        nameless.insert("name".to_owned(), "default".into());
        nameless.insert("url".to_owned(), "https://localhost/".into());
        let bare = self.read(Value::Object(nameless), &[]);
        let mut registrations = Vec::new();
        match tree.get("registration") {
            None => {}
            Some(Value::Array(tables)) => {
                for (index, table) in tables.iter().enumerate() {
                    let mut whole = Value::Object(defaults.clone());
                    lay_over(&mut whole, table.clone());
                    registrations.extend(self.read(whole, &["registration".into(), Step::Index(index)]));
                }
            }
            Some(_) => self.note(&["registration".into()], "write `[[registration]]`, with two brackets".to_owned()),
        }
        (bare, registrations)
    }

    fn read<T: DeserializeOwned>(&mut self, value: Value, prefix: &[Step]) -> Option<T> {
        match serde_path_to_error::deserialize(value) {
            Ok(read) => Some(read),
            Err(error) => {
                let mut path = prefix.to_vec();
                for segment in error.path() {
                    match segment {
                        Segment::Map { key } => path.push(Step::Key(key.clone())),
                        Segment::Seq { index } => path.push(Step::Index(*index)),
                        Segment::Enum { .. } | Segment::Unknown => {}
                    }
                }
                self.note(&path, without_value(&path, error.inner().to_string()));
                None
            }
        }
    }

    fn note(&mut self, path: &[Step], message: String) {
        let place = self.layers.place(path);
        self.problems.push(Problem { place, path: path.to_vec(), message, help: None });
    }
}

/// A type's message repeats the value; where that may be a secret, the message is ours.
fn without_value(path: &[Step], message: String) -> String {
    let is_in = |name: &str| path.iter().any(|step| matches!(step, Step::Key(key) if key == name));
    match message.starts_with("invalid type") {
        true if is_in("environment") => "write a list of `KEY=value`".to_owned(),
        true if is_in("proxy") => "write a URL".to_owned(),
        _ => message,
    }
}

/// What the top level says for all registrations.
fn defaults_of(tree: &Map<String, Value>) -> Map<String, Value> {
    let agent = schema::agent_keys();
    let is_default = |key: &String| key != "registration" && !OWN_KEYS.contains(&key.as_str()) && !agent.contains(key);
    tree.iter().filter(|(key, _)| is_default(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Tables are laid over key by key; everything else, lists included, is replaced as a whole.
fn lay_over(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}
