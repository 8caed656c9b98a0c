//! Finds keys that nobody reads, and the ones that were probably meant.

use serde_json::Value as Schema;
use toml_edit::{Item, TableLike, Value};

use super::document::ConfigDocument;
use super::error::{Problem, Step};
use super::schema::{free_values_of, items_of, properties_of};

/// Names under which users of other runners know our keys.
const OTHER_NAMES: [(&str, &str); 17] = [
    ("runners", "write one `[[registration]]` for each runner; `forgehand migrate` does it for you"),
    ("token", "tokens are not kept in this file; `forgehand register` stores them safely"),
    ("token_obtained_at", "tokens are not kept in this file; `forgehand register` stores them safely"),
    ("token_expires_at", "tokens are not kept in this file; `forgehand register` stores them safely"),
    ("log_level", "write `level` in `[log]`"),
    ("log_format", "write `format` in `[log]`"),
    ("network_mtu", "it is called `mtu` here"),
    ("enable_ipv6", "it is called `ipv6` here"),
    ("userns_mode", "it is called `userns` here"),
    ("ipcmode", "it is called `ipc_mode` here"),
    ("ulimit", "it is called `ulimits` here"),
    ("tls-ca-file", "write `ca_files` in `[network]`"),
    ("tls-cert-file", "write `client_certificate` in `[network]`"),
    ("tls-key-file", "write `client_key` in `[network]`"),
    ("helper_image", "there is no helper image: the agent does that work itself"),
    ("cache_dir", "write `dir` in `[cache]`"),
    ("state_dir", "the state directory is named by --state-dir or FORGEHAND_STATE_DIR"),
];

/// Every key of the file that the schema does not have.
pub fn unknown_keys(document: &ConfigDocument, schema: &Schema) -> Vec<Problem> {
    let mut search = Search { document, root: schema, path: Vec::new(), problems: Vec::new() };
    search.table(document.root(), schema);
    search.problems
}

struct Search<'a> {
    document: &'a ConfigDocument,
    root: &'a Schema,
    path: Vec<Step>,
    problems: Vec<Problem>,
}

impl Search<'_> {
    fn table(&mut self, table: &dyn TableLike, schema: &Schema) {
        let Some(known) = properties_of(schema) else {
            return self.free_table(table, schema);
        };
        for (key, item) in table.iter() {
            self.path.push(key.into());
            match known.get(key) {
                Some(property) => self.item(item, property),
                None => self.unknown(key, known.keys()),
            }
            self.path.pop();
        }
    }

    fn free_table(&mut self, table: &dyn TableLike, schema: &Schema) {
        let Some(values) = free_values_of(schema) else { return };
        for (key, item) in table.iter() {
            self.path.push(key.into());
            self.item(item, values);
            self.path.pop();
        }
    }

    fn item(&mut self, item: &Item, schema: &Schema) {
        if let Some(table) = item.as_table_like() {
            self.table(table, schema);
        } else if let Some(tables) = item.as_array_of_tables() {
            let Some(entry) = items_of(schema) else { return };
            for (index, table) in tables.iter().enumerate() {
                self.entry(index, table, entry);
            }
        } else if let Some(array) = item.as_array() {
            let Some(entry) = items_of(schema) else { return };
            for (index, table) in array.iter().map(Value::as_inline_table).enumerate() {
                if let Some(table) = table {
                    self.entry(index, table, entry);
                }
            }
        }
    }

    fn entry(&mut self, index: usize, table: &dyn TableLike, schema: &Schema) {
        self.path.push(Step::Index(index));
        self.table(table, schema);
        self.path.pop();
    }

    fn unknown<'k>(&mut self, key: &str, siblings: impl Iterator<Item = &'k String>) {
        self.problems.push(Problem {
            place: self.document.place_of(&self.path),
            path: self.path.clone(),
            message: "unknown key".to_owned(),
            help: suggestion(key, siblings, self.root),
        });
    }
}

/// What was probably meant by `key`: another runner's name for something, a sibling spelled almost so, or the same key
/// in another table.
pub fn suggestion<'k>(key: &str, siblings: impl Iterator<Item = &'k String>, root: &Schema) -> Option<String> {
    if let Some((_, help)) = OTHER_NAMES.iter().find(|(name, _)| *name == key) {
        return Some((*help).to_owned());
    }
    let mut elsewhere = Vec::new();
    collect_paths(root, "", &mut elsewhere);
    if let Some((_, path)) = elsewhere.iter().find(|(known, _)| known == key) {
        return Some(match path.rsplit_once('.') {
            Some((table, _)) => format!("it belongs in `[{table}]`"),
            None => "it belongs at the top level, above all tables".to_owned(),
        });
    }
    nearest(key, siblings.map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

/// Every key with its path, defaults before registrations.
fn collect_paths(schema: &Schema, prefix: &str, into: &mut Vec<(String, String)>) {
    let mut deferred = None;
    for (key, property) in properties_of(schema).into_iter().flatten() {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        into.push((key.clone(), path.clone()));
        match key.as_str() {
            "registration" => deferred = items_of(property),
            _ => collect_paths(property, &path, into),
        }
    }
    if let Some(registration) = deferred {
        collect_paths(registration, "[registration]", into);
    }
}

/// The candidate that is spelled most like `word`, if one is close enough to be what was meant.
pub fn nearest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let close_enough = (word.chars().count() / 3).max(2);
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= close_enough && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
