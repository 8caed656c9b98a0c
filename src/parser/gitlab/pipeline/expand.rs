//! A configuration as GitLab processes it, as text.

use serde_yaml::{Mapping as YamlMapping, Value as Yaml};

use super::super::compose::Composed;
use super::super::config::DEFAULT_KEYS;
use super::super::config::model::{Configuration, Inherited, Job, Variable, Variables};
use super::super::config::values::{flat, flat_items};
use crate::parser::document::{self, Node, Schema};

/// Keys at the top that are no jobs and go into the jobs.
const GONE: [&str; 8] = ["default", "include", "before_script", "after_script", "image", "services", "cache", "spec"];

/// The composed tree: what there is before jobs are built.
pub fn merged(composed: &Composed) -> String {
    text(to_yaml(&composed.root))
}

/// The processed form: jobs with all they inherit, hidden ones gone, `parallel` not expanded. `only`: these jobs alone.
pub fn processed(composed: &Composed, configuration: &Configuration, only: &[String]) -> String {
    let mut all = YamlMapping::new();
    let stages = configuration.stages.iter().map(|stage| Yaml::String(stage.value.to_string())).collect();
    all.insert("stages".into(), Yaml::Sequence(stages));
    if let Some(workflow) = composed.root.get("workflow") {
        all.insert("workflow".into(), to_yaml(workflow));
    }
    if !configuration.variables.is_empty() {
        all.insert("variables".into(), Yaml::Mapping(variables(&configuration.variables)));
    }
    for job in &configuration.jobs {
        if only.is_empty() || only.iter().any(|name| *name == job.name) {
            all.insert(job.name.as_str().into(), Yaml::Mapping(processed_job(&composed.root, job)));
        }
    }
    text(Yaml::Mapping(all))
}

/// One job with all it inherits.
pub fn processed_job(root: &Node, job: &Job) -> YamlMapping {
    let mut keys = YamlMapping::new();
    keys.insert("stage".into(), job.stage.value.as_str().into());
    for entry in job.node.as_mapping().map(|mapping| mapping.entries()).unwrap_or_default() {
        let Some(key) = entry.key.as_scalar() else { continue };
        // Nothing under a key is as if the key were not there: the default holds.
        if matches!(key.text.as_str(), "extends" | "stage" | "inherit") || entry.value.is_null(Schema::Ruby) {
            continue;
        }
        let value = match key.text.as_str() {
            "script" | "before_script" | "after_script" => script(&entry.value),
            "variables" => continue,
            other => value_of(other, &entry.value),
        };
        keys.insert(key.text.as_str().into(), value);
    }
    for key in DEFAULT_KEYS {
        if keys.contains_key(key) || !inherits(&job.inherit.default, key, job) {
            continue;
        }
        let Some(node) = root.get("default").and_then(|default| default.get(key)).or_else(|| top(root, key)) else {
            continue;
        };
        let value = if key.ends_with("script") { script(node) } else { value_of(key, node) };
        keys.insert(key.into(), value);
    }
    if let Some(own) = job.variables.as_ref().filter(|own| !own.is_empty()) {
        keys.insert("variables".into(), Yaml::Mapping(variables(own)));
    }
    keys
}

fn inherits(inherited: &Inherited, key: &str, job: &Job) -> bool {
    inherited.has(key) && (!job.is_bridge() || key == "interruptible")
}

fn top<'n>(root: &'n Node, key: &str) -> Option<&'n Node> {
    GONE.contains(&key).then(|| root.get(key)).flatten()
}

/// Variables with their values as texts; what forms show of them is left out.
fn variables(variables: &Variables) -> YamlMapping {
    let value = |variable: &Variable| {
        let value = Yaml::String(variable.value.to_string());
        match variable.expand {
            None => value,
            Some(expand) => {
                Yaml::Mapping([("value".into(), value), ("expand".into(), expand.into())].into_iter().collect())
            }
        }
    };
    variables.list.iter().map(|variable| (variable.name.as_str().into(), value(variable))).collect()
}

/// The value of a key in its long form.
fn value_of(key: &str, node: &Node) -> Yaml {
    match key {
        "image" => named(node),
        "environment" => environment(node),
        "hooks" => each(node, script),
        "inputs" => each(node, input),
        "allow_failure" => listed(to_yaml(node), "exit_codes"),
        "services" => flat_items(node).map(named).collect(),
        "needs" => flat_items(node).map(need).collect(),
        "cache" => flat_items(node).filter_map(cache).collect(),
        "rules" | "tags" | "dependencies" => flat(node).into_iter().map(to_yaml).collect(),
        _ => to_yaml(node),
    }
}

/// An image or a service: a name alone becomes a mapping.
fn named(node: &Node) -> Yaml {
    match node.as_scalar() {
        Some(_) => Yaml::Mapping([("name".into(), to_yaml(node))].into_iter().collect()),
        None => listed(to_yaml(node), "pull_policy"),
    }
}

/// A mapping whose `key` may be one thing or a list of such, as a list.
fn listed(mut value: Yaml, key: &str) -> Yaml {
    if let Some(one) = value.get_mut(key).filter(|one| !one.is_sequence()) {
        *one = Yaml::Sequence(vec![one.clone()]);
    }
    value
}

/// A mapping with something done to each of its values.
fn each(node: &Node, value: fn(&Node) -> Yaml) -> Yaml {
    let entries = node.as_mapping().map(|mapping| mapping.entries()).unwrap_or_default();
    let named =
        entries.iter().filter_map(|entry| Some((entry.key.as_scalar()?.text.as_str().into(), value(&entry.value))));
    Yaml::Mapping(named.collect())
}

/// An environment: a name alone becomes one that is started.
fn environment(node: &Node) -> Yaml {
    let mut environment = named(node);
    if let (Some(_), Yaml::Mapping(keys)) = (node.as_scalar(), &mut environment) {
        keys.insert("action".into(), "start".into());
    }
    environment
}

/// An input of a job, which is text where it does not say its type.
fn input(node: &Node) -> Yaml {
    let mut input = to_yaml(node);
    if let Yaml::Mapping(keys) = &mut input
        && !keys.contains_key("type")
    {
        keys.insert("type".into(), "string".into());
    }
    input
}

/// A need: with what holds where nothing is said.
fn need(node: &Node) -> Yaml {
    let mut keys = match to_yaml(node) {
        Yaml::Mapping(keys) => keys,
        name => [("job".into(), name)].into_iter().collect(),
    };
    // A job of elsewhere cannot be optional.
    let is_elsewhere = keys.contains_key("project") || keys.contains_key("pipeline");
    let usual = [("artifacts", true), ("optional", false)];
    if keys.contains_key("job") {
        for (key, usual) in usual.into_iter().filter(|(key, _)| *key == "artifacts" || !is_elsewhere) {
            if !keys.contains_key(key) {
                keys.insert(key.into(), usual.into());
            }
        }
    }
    Yaml::Mapping(keys)
}

/// A cache, with what holds where nothing is said; one without paths keeps nothing.
fn cache(node: &Node) -> Option<Yaml> {
    let Yaml::Mapping(mut keys) = to_yaml(node) else { return None };
    let is_there = |key: &str| keys.get(key).is_some_and(|value| !value.is_null());
    if !is_there("paths") && !is_there("untracked") {
        return None;
    }
    for (key, usual) in [("policy", "pull-push"), ("when", "on_success")] {
        if !keys.contains_key(key) {
            keys.insert(key.into(), usual.into());
        }
    }
    Some(Yaml::Mapping(keys))
}

/// Lines in one list.
fn script(node: &Node) -> Yaml {
    flat(node).into_iter().map(to_yaml).collect()
}

/// Stands around the number of a text that has to be quoted, until all is written.
const MARK: char = '\u{e000}';

/// The text of a document. Texts that Ruby, unlike the crate that writes them, would read as something else (`on`, a date)
/// are quoted.
fn text(mut yaml: Yaml) -> String {
    let mut marked = Vec::new();
    if holds_mark(&yaml) {
        return format!("---\n{}", serde_yaml::to_string(&yaml).unwrap_or_default());
    }
    mark(&mut yaml, &mut marked);
    // Plain values always have a text.
    let written = serde_yaml::to_string(&yaml).unwrap_or_default();
    let mut text = String::with_capacity(written.len() + 4);
    text.push_str("---\n");
    for (at, piece) in written.split(MARK).enumerate() {
        match piece.parse().ok().filter(|_| at % 2 == 1).and_then(|number: usize| marked.get(number)) {
            Some(quoted) => {
                text.push('\'');
                text.push_str(&quoted.replace('\'', "''"));
                text.push('\'');
            }
            None => text.push_str(piece),
        }
    }
    text
}

/// Whether somebody's text has the character that marks ours, which nobody uses.
fn holds_mark(yaml: &Yaml) -> bool {
    match yaml {
        Yaml::String(text) => text.contains(MARK),
        Yaml::Sequence(items) => items.iter().any(holds_mark),
        Yaml::Mapping(mapping) => mapping.iter().any(|(key, value)| holds_mark(key) || holds_mark(value)),
        _ => false,
    }
}

fn mark(yaml: &mut Yaml, marked: &mut Vec<String>) {
    match yaml {
        Yaml::String(text) if document::is_other_than_text(text, Schema::Ruby) => {
            let number = format!("{MARK}{}{MARK}", marked.len());
            marked.push(std::mem::replace(text, number));
        }
        Yaml::Sequence(items) => items.iter_mut().for_each(|item| mark(item, marked)),
        Yaml::Mapping(mapping) => {
            let entries = std::mem::take(mapping).into_iter().map(|(mut key, mut value)| {
                mark(&mut key, marked);
                mark(&mut value, marked);
                (key, value)
            });
            *mapping = entries.collect();
        }
        _ => {}
    }
}

/// A node as YAML, its plain scalars as Ruby reads them.
fn to_yaml(node: &Node) -> Yaml {
    document::yaml::to_yaml(node, Schema::Ruby)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::parser::gitlab::compose::Offline;
    use crate::parser::gitlab::pipeline::PipelineContext;
    use crate::parser::gitlab::{LoadOptions, check};

    fn expanded(text: &str) -> Yaml {
        let files = BTreeMap::from([("ci.yml".to_owned(), text.to_owned())]);
        let checked = check("ci.yml", &files, &Offline, &LoadOptions::default(), &PipelineContext::default());
        let loaded = checked.value.unwrap();
        serde_yaml::from_str(&processed(&loaded.composed, &loaded.configuration, &[])).unwrap()
    }

    #[test]
    fn nothing_is_empty_text_in_variables_and_no_cache() {
        let all = expanded("variables: {A: }\nj: {script: ls, variables: {B: }, cache: {paths: }}\n");
        assert_eq!(all["variables"]["A"], "");
        assert_eq!(all["j"]["variables"]["B"], "");
        assert_eq!(all["j"]["cache"], Yaml::Sequence(Vec::new()));
    }

    #[test]
    fn a_need_elsewhere_is_never_optional() {
        let all = expanded(
            "j: {script: ls, needs: [a, {project: g/p, job: x, ref: main, artifacts: true}]}\na: {script: ls}\n",
        );
        assert_eq!(all["j"]["needs"][0]["optional"], false);
        assert!(all["j"]["needs"][1].get("optional").is_none());
    }

    #[test]
    fn what_ruby_reads_as_something_else_is_quoted() {
        let values = ["on", "No", "1:30", "1_000", "2024-01-01", ":sym", "~", "0x1F", "ON", "a: b", "plain", "it's"];
        let list: Vec<String> = values.iter().map(|value| format!("'{}'", value.replace('\'', "''"))).collect();
        let text = format!("j: {{script: [{}], variables: {{'on': 'off'}}}}\n", list.join(", "));
        let files = BTreeMap::from([("ci.yml".to_owned(), text.clone())]);
        let checked = check("ci.yml", &files, &Offline, &LoadOptions::default(), &PipelineContext::default());
        let loaded = checked.value.unwrap();
        let written = processed(&loaded.composed, &loaded.configuration, &[]);
        for value in values.iter().filter(|value| !["a: b", "plain", "it's"].contains(value)) {
            assert!(written.contains(&format!("- '{value}'\n")), "{value}: {written}");
        }
        assert!(written.contains("- plain\n") && written.contains("'off'\n"), "{written}");
    }
}
