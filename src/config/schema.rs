//! The file's shape as JSON Schema, made from the types. Editors read it; so do the search for unknown keys and the
//! reading of environment variables.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::agent::AgentConfig;
use super::registration::{OWN_KEYS, RegistrationConfig};

/// The schema of `forgehand.toml`.
pub fn schema() -> Value {
    let agent = schema_of::<AgentConfig>();
    let registration = schema_of::<RegistrationConfig>();
    let mut properties = properties_of(&agent).cloned().unwrap_or_default();
    for (key, property) in properties_of(&registration).into_iter().flatten() {
        if !OWN_KEYS.contains(&key.as_str()) {
            properties.insert(key.clone(), property.clone());
        }
    }
    let tables =
        json!({ "type": "array", "description": "One registration at one forge each.", "items": registration });
    properties.insert("registration".to_owned(), tables);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "forgehand.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// The top-level keys that are the agent's own.
pub fn agent_keys() -> Vec<String> {
    properties_of(&schema_of::<AgentConfig>()).into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

fn schema_of<T: JsonSchema>() -> Value {
    // Without references: whoever walks the schema meets each part where it is used.
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    schema.remove("title");
    schema.to_value()
}

/// The tree without the keys that the schema does not have.
pub fn known_part(tree: Map<String, Value>, schema: &Value) -> Map<String, Value> {
    let Some(known) = properties_of(schema) else { return tree };
    let kept = tree.into_iter().filter_map(|(key, value)| {
        let property = known.get(&key)?;
        Some((key, known_part_of(value, property)))
    });
    kept.collect()
}

fn known_part_of(value: Value, schema: &Value) -> Value {
    match (value, items_of(schema)) {
        (Value::Object(table), _) => Value::Object(known_part(table, schema)),
        (Value::Array(list), Some(entry)) => {
            Value::Array(list.into_iter().map(|value| known_part_of(value, entry)).collect())
        }
        (other, _) => other,
    }
}

/// The named keys of a table's schema, looking through `anyOf` (an optional table).
pub fn properties_of(schema: &Value) -> Option<&Map<String, Value>> {
    alternatives(schema).find_map(|schema| schema.get("properties")?.as_object())
}

/// The schema of a table's values where its keys are free.
pub fn free_values_of(schema: &Value) -> Option<&Value> {
    alternatives(schema).find_map(|schema| schema.get("additionalProperties").filter(|values| values.is_object()))
}

/// The schema of a list's entries.
pub fn items_of(schema: &Value) -> Option<&Value> {
    alternatives(schema).find_map(|schema| schema.get("items"))
}

/// Whether a value of this JSON type is allowed.
pub fn allows(schema: &Value, json_type: &str) -> bool {
    alternatives(schema).any(|schema| match schema.get("type") {
        Some(Value::String(one)) => one == json_type,
        Some(Value::Array(several)) => several.iter().any(|one| one == json_type),
        _ => schema.get("enum").or(schema.get("const")).is_some() && json_type == "string",
    })
}

/// A schema and everything it offers by `anyOf` or `oneOf`, however deep.
fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let mut found = vec![schema];
    let mut next = 0;
    while let Some(one) = found.get(next).copied() {
        let choices = ["anyOf", "oneOf"].iter().filter_map(|word| one.get(*word)?.as_array());
        found.extend(choices.flatten());
        next += 1;
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key with its path, `registration` left out: its keys are the top level's and four of its own.
    fn keys(schema: &Value, prefix: &str, into: &mut Vec<String>) {
        for (key, property) in properties_of(schema).into_iter().flatten() {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            if path != "registration" {
                into.push(path.clone());
                keys(property, &path, into);
                keys(items_of(property).unwrap_or(&Value::Null), &path, into);
            }
        }
    }

    #[test]
    fn the_schema_knows_the_keys_of_every_level_and_their_meaning() {
        let schema = schema();
        let mut all = Vec::new();
        keys(&schema, "", &mut all);
        for key in ["concurrent", "log.level", "docker.network_mode", "docker.services.alias", "network.ca_files"] {
            assert!(all.iter().any(|known| known == key), "{key} in {all:?}");
        }
        assert!(!all.contains(&"url".to_owned()), "a registration's own keys are no defaults");
        let undescribed = undescribed(&schema, String::new());
        assert!(undescribed.is_empty(), "{undescribed:?}");
    }

    fn undescribed(schema: &Value, prefix: String) -> Vec<String> {
        let mut found = Vec::new();
        for (key, property) in properties_of(schema).into_iter().flatten() {
            let path = format!("{prefix}{key}");
            if property.get("description").is_none() {
                found.push(path.clone());
            }
            found.extend(undescribed(property, format!("{path}.")));
            found.extend(undescribed(items_of(property).unwrap_or(&Value::Null), format!("{path}.")));
        }
        found
    }

    #[test]
    fn the_reference_names_every_key_of_the_schema() {
        let reference = include_str!("../../docs/configuration.md");
        let mut all = Vec::new();
        keys(&schema(), "", &mut all);
        all.extend(OWN_KEYS.map(str::to_owned));
        let last = |key: &String| key.rsplit('.').next().unwrap_or_default().to_owned();
        let missing: Vec<_> = all.iter().filter(|key| !reference.contains(&format!("| `{}` |", last(key)))).collect();
        assert!(missing.is_empty(), "docs/configuration.md does not name {missing:?}");
    }

    #[test]
    fn the_reference_names_no_key_that_does_not_exist() {
        let reference = include_str!("../../docs/configuration.md");
        let mut all = Vec::new();
        keys(&schema(), "", &mut all);
        all.extend(OWN_KEYS.map(str::to_owned));
        let known: Vec<_> = all.iter().filter_map(|key| key.rsplit('.').next()).collect();
        for line in reference.lines().filter(|line| line.starts_with("| `")) {
            let key = line.trim_start_matches("| `").split('`').next().unwrap_or_default();
            assert!(known.contains(&key), "docs/configuration.md describes `{key}`, which is no key");
        }
    }
}
