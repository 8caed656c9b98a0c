//! The configuration told back: every value that holds, and who said so.

use serde::Serialize;
use serde_json::{Map, Value};

use super::environment::is_secret_name;
use super::error::Place;
use super::load::Config;
use super::registration::RegistrationConfig;

/// The effective configuration as TOML, each value with its origin as a comment. What is or may be secret is `***`:
/// passwords of proxies, and variables whose names say so.
pub fn effective(config: &Config) -> String {
    let mut shown = Shown { config, text: String::new() };
    shown.table("", &["".to_owned()], &object(&config.agent()));
    for (index, registration) in config.registrations.iter().enumerate() {
        shown.text.push_str("\n[[registration]]\n");
        // Its own word first, then the top level's.
        let origins = [format!("registration[{index}]."), String::new()];
        shown.table("registration", &origins, &object(&without_secrets(registration)));
    }
    shown.text
}

fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(table)) => table,
        Ok(_) | Err(_) => Map::new(),
    }
}

fn without_secrets(registration: &RegistrationConfig) -> RegistrationConfig {
    let mut shown = registration.clone();
    let of_services = shown.docker.services.iter_mut().flat_map(|service| &mut service.environment);
    for (name, value) in shown.environment.iter_mut().chain(of_services) {
        if is_secret_name(name) {
            "***".clone_into(value);
        }
    }
    shown
}

struct Shown<'a> {
    config: &'a Config,
    text: String,
}

impl Shown<'_> {
    /// Values first, then tables, as TOML wants it.
    fn table(&mut self, name: &str, origins: &[String], table: &Map<String, Value>) {
        for (key, value) in table.iter().filter(|(_, value)| !is_table(value)) {
            if let Some(text) = toml_value(value) {
                let line = format!("{} = {text}", toml_key(key));
                let place = self.origin(origins, key);
                self.text.push_str(&format!("{line:<44} # {place}\n"));
            }
        }
        for (key, value) in table {
            let Value::Object(inner) = value else { continue };
            if inner.is_empty() {
                continue;
            }
            let full = if name.is_empty() { toml_key(key) } else { format!("{name}.{}", toml_key(key)) };
            self.text.push_str(&format!("\n[{full}]\n"));
            let below: Vec<String> = origins.iter().map(|origin| format!("{origin}{key}.")).collect();
            self.table(&full, &below, inner);
        }
    }

    fn origin(&self, origins: &[String], key: &str) -> Place {
        let mut places = origins.iter().map(|origin| self.config.origin(&format!("{origin}{key}")));
        places.find(|place| *place != Place::Default).unwrap_or(Place::Default)
    }
}

fn is_table(value: &Value) -> bool {
    value.is_object()
}

fn toml_key(key: &str) -> String {
    toml_edit::Key::new(key).display_repr().into_owned()
}

/// One value on one line; `None` for what TOML has no word for (nothing said).
fn toml_value(value: &Value) -> Option<String> {
    edit_value(value).map(|value| value.decorated("", "").to_string())
}

fn edit_value(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(list) => toml_edit::Array::from_iter(list.iter().filter_map(edit_value)).into(),
        Value::Object(table) => {
            let pairs = table.iter().filter_map(|(key, value)| Some((key.as_str(), edit_value(value)?)));
            toml_edit::InlineTable::from_iter(pairs).into()
        }
    })
}
