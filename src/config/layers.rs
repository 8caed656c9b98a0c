//! The layers above the file: environment variables and flags, each value with the name of its giver.

use std::ffi::OsString;

use config::{Map, Source, Value, ValueKind};
use serde_json::Value as Schema;

use super::error::{Place, Problem, Step};
use super::schema::{allows, free_values_of, items_of, properties_of};
use super::unknown_keys::nearest;

/// What all variables of ours begin with.
const PREFIX: &str = "FORGEHAND_";

/// Variables that are no keys: the file and the state directory are found by them.
const NO_KEYS: [&str; 2] = ["CONFIG", "STATE_DIR"];

/// One value from outside the file.
#[derive(Clone, Debug)]
pub struct LayerValue {
    /// Where it goes.
    pub path: Vec<String>,
    /// What it is.
    pub value: Value,
    /// Who said so.
    pub place: Place,
}

/// Flags of the command line that stand for keys; they win over everything but what a registration says itself.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<LayerValue>);

impl Overrides {
    /// No flag.
    pub fn none() -> Self {
        Self::default()
    }

    /// `flag` (as the user wrote it, `--log-format`) sets the key (`log.format`) to a value.
    pub fn set(mut self, flag: &str, key: &str, value: impl Into<ValueKind>) -> Self {
        self.0.push(LayerValue {
            path: key.split('.').map(str::to_owned).collect(),
            value: Value::new(None, value),
            place: Place::Flag(flag.to_owned()),
        });
        self
    }

    /// The values, in order.
    pub fn values(&self) -> &[LayerValue] {
        &self.0
    }
}

/// What the environment says.
#[derive(Debug, Default)]
pub struct EnvironmentLayer {
    /// The keys it sets.
    pub values: Vec<LayerValue>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Variables that look like ours but are no key, for a remark.
    pub ignored: Vec<String>,
}

/// Reads the `FORGEHAND_*` among the variables. `__` separates levels; the schema says what a text means.
pub fn read_environment(variables: impl Iterator<Item = (OsString, OsString)>, schema: &Schema) -> EnvironmentLayer {
    let mut layer = EnvironmentLayer::default();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let key = &name[PREFIX.len()..];
        // An empty variable counts as unset: unit files and compose files cannot take one away.
        if NO_KEYS.contains(&key) || value.is_empty() {
            continue;
        }
        let Some(value) = value.to_str() else {
            layer.problems.push(problem(name, &[], "not UTF-8".to_owned(), None));
            continue;
        };
        read_variable(name, key, value, schema, &mut layer);
    }
    layer
}

fn read_variable(name: &str, key: &str, text: &str, schema: &Schema, layer: &mut EnvironmentLayer) {
    let mut path: Vec<String> = Vec::new();
    let mut place = schema;
    for segment in key.split("__") {
        if let Some(known) = properties_of(place) {
            let lower = segment.to_ascii_lowercase();
            let Some(next) = known.get(&lower).filter(|_| lower != "registration") else {
                return unknown_variable(name, &path, &lower, known.keys().map(String::as_str), layer);
            };
            path.push(lower);
            place = next;
        } else if let Some(values) = free_values_of(place) {
            // Free keys (feature flags, labels) keep their letters.
            path.push(segment.to_owned());
            place = values;
        } else {
            let message = format!("`{}` is a single value: nothing lies below it", path.join("."));
            return layer.problems.push(problem(name, &path, message, None));
        }
    }
    match read_text(text, place) {
        Ok(value) => {
            layer.values.push(LayerValue { path, value, place: Place::Environment(name.to_owned()) });
        }
        Err(message) => layer.problems.push(problem(name, &path, message, None)),
    }
}

/// A variable that is almost a key is a mistake; one that is nothing like it may be somebody else's.
fn unknown_variable<'k>(
    name: &str,
    path: &[String],
    segment: &str,
    known: impl Iterator<Item = &'k str>,
    layer: &mut EnvironmentLayer,
) {
    let near = nearest(segment, known.filter(|key| *key != "registration"));
    if segment == "registration" {
        let help = "registrations stand in the file; a variable sets what holds for all of them".to_owned();
        layer.problems.push(problem(name, path, "registrations cannot be set here".to_owned(), Some(help)));
    } else if path.is_empty() && near.is_none() {
        layer.ignored.push(name.to_owned());
    } else {
        let mut full = path.to_vec();
        full.push(segment.to_owned());
        let meant = near.map(|near| {
            let path = path.iter().map(String::as_str).chain([near]).collect::<Vec<_>>().join("__");
            format!("did you mean `{PREFIX}{}`?", path.to_ascii_uppercase())
        });
        layer.problems.push(problem(name, &full, "unknown key".to_owned(), meant));
    }
}

fn problem(variable: &str, path: &[String], message: String, help: Option<String>) -> Problem {
    let path = path.iter().map(|key| Step::Key(key.clone())).collect();
    Problem { place: Place::Environment(variable.to_owned()), path, message, help }
}

/// The value that a text stands for, where the schema allows what it allows.
fn read_text(text: &str, schema: &Schema) -> Result<Value, String> {
    let text = text.trim();
    if let Some(known) = properties_of(schema) {
        let example = known.keys().next().map(|key| format!(", for example `…__{}`", key.to_ascii_uppercase()));
        return Err(format!("this is a table: set its keys one by one{}", example.unwrap_or_default()));
    }
    if let Some(values) = free_values_of(schema) {
        return read_pairs(text, values);
    }
    if let Some(entries) = items_of(schema) {
        return read_list(text, entries);
    }
    read_scalar(text, schema)
}

fn read_scalar(text: &str, schema: &Schema) -> Result<Value, String> {
    // A text that may also be a number (sizes, durations) is read by its type, which knows both.
    if allows(schema, "string") {
        return Ok(Value::new(None, text));
    }
    if allows(schema, "boolean") {
        return match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Value::new(None, true)),
            "false" | "0" | "no" | "off" => Ok(Value::new(None, false)),
            _ => Err("write true or false".to_owned()),
        };
    }
    if allows(schema, "integer") {
        return text
            .parse::<i64>()
            .map(|number| Value::new(None, number))
            .map_err(|_| "write a whole number".to_owned());
    }
    text.parse::<f64>().map(|number| Value::new(None, number)).map_err(|_| "write a number".to_owned())
}

/// A TOML array, or entries with commas between them.
fn read_list(text: &str, entries: &Schema) -> Result<Value, String> {
    if text.starts_with('[') {
        return read_toml(text);
    }
    if properties_of(entries).is_some() {
        return Err("write a TOML array of tables, as in `[{ name = \"redis\" }]`".to_owned());
    }
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let values = words.map(|word| read_scalar(word, entries)).collect::<Result<Vec<_>, _>>()?;
    Ok(Value::new(None, values))
}

/// A TOML inline table, or `KEY=value` with commas between them.
fn read_pairs(text: &str, values: &Schema) -> Result<Value, String> {
    if text.starts_with('{') {
        return read_toml(text);
    }
    let mut table: Map<String, Value> = Map::new();
    for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("write `KEY=value`, several with commas between them")?;
        table.insert(key.trim().to_owned(), read_scalar(value.trim(), values)?);
    }
    Ok(Value::new(None, table))
}

fn read_toml(text: &str) -> Result<Value, String> {
    let source = config::File::from_str(&format!("value = {text}"), config::FileFormat::Toml);
    // The parser's words would repeat the text, which may hold a secret.
    let mut table = source.collect().map_err(|_| "not valid TOML".to_owned())?;
    table.remove("value").ok_or_else(|| "not valid TOML".to_owned())
}

/// The values of a layer as a source of the `config` crate.
#[derive(Clone, Debug)]
pub struct LayerSource(pub Vec<LayerValue>);

impl Source for LayerSource {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let mut root = Map::new();
        for LayerValue { path, value, .. } in &self.0 {
            insert(&mut root, path, value.clone());
        }
        Ok(root)
    }
}

fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let child = table.entry(first.clone()).or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if !matches!(child.kind, ValueKind::Table(_)) {
                *child = Value::new(None, Map::<String, Value>::new());
            }
            if let ValueKind::Table(inner) = &mut child.kind {
                insert(inner, rest, value);
            }
        }
    }
}
