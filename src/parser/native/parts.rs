//! What pipelines, jobs and steps are made of: variables, files, images, matrices.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::check::{Check, Place, listed};
use super::model::{
    Artifacts, ArtifactsWhen, Axis, AxisValues, Cache, CachePolicy, Combination, Deployment, Environment, Matrix,
    Resources, Service, Strategy,
};
use super::{codes, image as image_name, plan, time};
use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Mapping, Node, Schema};
use crate::parser::variables::Source;

pub(super) fn environment<'a>(check: &mut Check<'a>, node: &'a Node, key: &str, source: Source) -> Environment {
    let mut environment = Environment::new();
    let Some(mapping) = node.as_mapping() else {
        let message = format!("`{key}` is a mapping of names to values, not {}", node.kind(Schema::Core));
        check.error(codes::WRONG_TYPE, node.span, message, "write `NAME: value`".to_owned());
        return environment;
    };
    let entries = check.entries(mapping);
    // All of them first: they may refer to each other in any order.
    for entry in entries {
        if let (Some(name), Some(value)) = (entry.key.as_scalar(), entry.value.as_scalar()) {
            let value = if entry.value.is_null(Schema::Core) { SmolStr::default() } else { value.text.clone() };
            check.hierarchy.set(source, name.text.clone(), value);
        }
    }
    for entry in entries {
        let Some(name) = check.key(entry) else { continue };
        if !check.name(name, entry.key.span, "a variable", false) {
            check.bad_names.insert(name);
        }
        if entry.value.is_null(Schema::Core) {
            environment.insert(name.to_owned(), String::new());
            continue;
        }
        check.own = Some((name, source));
        let value = check.checked_text(&entry.value, name, Place::Environment);
        check.own = None;
        if let Some(value) = value {
            check.value_of(&entry.value, name);
            environment.insert(name.to_owned(), value);
        }
    }
    environment
}

pub(super) fn image(check: &mut Check<'_>, node: &Node) -> Option<String> {
    let text = check.checked_text(node, "image", Place::Setting)?;
    // What others make of it is seen when it runs.
    let known = if text.contains("${") { check.known(&text) } else { Some(text.clone()) };
    if let Some(known) = known
        && let Some(problem) = image_name::problem(&known)
    {
        let made = if known == text { String::new() } else { format!(", which `{text}` makes,") };
        let help = "an image is written `registry/repository:tag`, as in `ghcr.io/team/tool:1.2`".to_owned();
        check.error(codes::BAD_IMAGE, node.span, format!("`{known}`{made} is no image: {problem}"), help);
    }
    Some(text)
}

/// Globs of files in the workspace.
fn paths(check: &mut Check<'_>, node: &Node, key: &str) -> Vec<String> {
    let paths = check.texts(node, key, true, Place::Setting);
    for item in node.as_sequence().unwrap_or(&[]) {
        if let Some(path) = item.as_scalar()
            && (path.text.starts_with('/') || path.text.split('/').any(|part| part == ".."))
        {
            let message = format!("`{}` leads out of the workspace", path.text);
            check.error(
                codes::BAD_PATH,
                item.span,
                message,
                "write it relative to the workspace, without `..`".to_owned(),
            );
        }
    }
    paths
}

pub(super) fn artifacts(check: &mut Check<'_>, node: &Node) -> Option<Artifacts> {
    let mapping = check.mapping(node, "`artifacts`", &["name", "paths", "exclude", "expire_in", "when"])?;
    let given = check.required(mapping, node.span, "`artifacts`", "paths", "add `paths: [dist/]`");
    let given = given.map(|node| paths(check, node, "paths")).unwrap_or_default();
    let exclude = mapping.get("exclude").map(|node| paths(check, node, "exclude")).unwrap_or_default();
    let name = mapping.get("name").and_then(|node| check.filled(node, "name", Place::Setting));
    let expire_in = mapping.get("expire_in").and_then(|node| duration(check, node, "expire_in"));
    let words = [
        ("on_success", ArtifactsWhen::OnSuccess),
        ("on_failure", ArtifactsWhen::OnFailure),
        ("always", ArtifactsWhen::Always),
    ];
    let when = mapping.get("when").and_then(|node| check.word(node, "when", &words)).unwrap_or_default();
    Some(Artifacts { name, paths: given, exclude, expire_in, when })
}

/// A length of time: `7 days`, `1h 30m`, seconds as a number, `never`.
fn duration(check: &mut Check<'_>, node: &Node, key: &str) -> Option<String> {
    let text = check.filled(node, key, Place::Setting)?;
    if !text.trim().is_empty() && !text.contains("${") && !time::is_length(&text) {
        let help = "a number and a unit: `90s`, `30 min`, `12h`, `7 days`, `2 weeks`, `1 month`; or `never`".to_owned();
        check.error(codes::BAD_DURATION, node.span, format!("`{key}` cannot be `{text}`"), help);
    }
    Some(text)
}

const MATRIX_KEYS: [&str; 4] = ["include", "exclude", "fail_fast", "max_parallel"];

/// The axes of a job's matrix, those that `include` adds among them.
pub(super) fn axis_names(job: &Node) -> Vec<&str> {
    let Some(matrix) = job.get("matrix").and_then(Node::as_mapping) else { return Vec::new() };
    let own = matrix.entries().iter().filter_map(|entry| entry.key.as_scalar()).map(|key| key.text.as_str());
    let added = matrix.get("include").and_then(Node::as_sequence).unwrap_or(&[]).iter().filter_map(Node::as_mapping);
    let added = added.flat_map(Mapping::entries).filter_map(|entry| entry.key.as_scalar()).map(|key| key.text.as_str());
    own.filter(|name| !MATRIX_KEYS.contains(name)).chain(added).collect()
}

pub(super) fn matrix<'a>(check: &mut Check<'a>, node: &'a Node) -> Option<Matrix> {
    let Some(mapping) = node.as_mapping() else {
        let message = format!("`matrix` is a mapping of axes to lists, not {}", node.kind(Schema::Core));
        check.error(codes::WRONG_TYPE, node.span, message, "write `version: [1, 2]`".to_owned());
        return None;
    };
    let mut matrix = Matrix::bare(node.span);
    for entry in check.entries(mapping) {
        let Some(key) = check.key(entry) else { continue };
        let value = &entry.value;
        match key {
            "include" => matrix.include = combinations(check, value, key),
            "exclude" => matrix.exclude = combinations(check, value, key),
            "fail_fast" => matrix.fail_fast = check.boolean(value, key).unwrap_or(true),
            "max_parallel" => matrix.max_parallel = check.integer(value, key, 1..=u32::MAX),
            axis => {
                check.name(axis, entry.key.span, "an axis", true);
                let values = values(check, value, axis);
                let named = |values| Axis { name: axis.to_owned(), span: value.span, values };
                matrix.axes.extend(values.map(named));
            }
        }
    }
    if matrix.axes.is_empty() && matrix.include.is_empty() {
        check.error(codes::EMPTY, node.span, "`matrix` has no axis", "add one: `version: [1, 2]`".to_owned());
    } else {
        exclusions(check, node, &matrix);
    }
    Some(matrix)
}

/// What is left out has axes that there are, and something stays.
fn exclusions(check: &mut Check<'_>, node: &Node, matrix: &Matrix) {
    let axes: Vec<&str> = matrix.axes.iter().map(|axis| axis.name.as_str()).collect();
    let excluded = node.get("exclude").and_then(Node::as_sequence).unwrap_or(&[]).iter().filter_map(Node::as_mapping);
    for entry in excluded.flat_map(Mapping::entries) {
        if let Some(axis) = entry.key.as_scalar().map(|key| key.text.as_str()).filter(|axis| !axes.contains(axis)) {
            let help = did_you_mean(axis, axes.iter().copied());
            let help = help.unwrap_or_else(|| format!("the axes are {}", listed(&axes)));
            check.error(codes::BAD_MATRIX, entry.key.span, format!("`exclude` names `{axis}`, which is no axis"), help);
        }
    }
    if let Some((span, message, help)) = plan::impossible(matrix) {
        check.error(codes::BAD_MATRIX, span, message, help);
    }
}

fn values(check: &mut Check<'_>, node: &Node, axis: &str) -> Option<AxisValues> {
    if let Some(text) = node.as_scalar().map(|text| text.text.trim()).filter(|text| text.starts_with("${")) {
        check.references(node, text, Place::Setting);
        return Some(AxisValues::Expression(text.to_owned()));
    }
    let mut seen = HashMap::new();
    for item in node.as_sequence().unwrap_or(&[]) {
        let Some(text) = item.as_scalar().map(|text| text.text.as_str()) else { continue };
        if seen.insert(text, ()).is_some() {
            let help = "remove one of them: both would make the same job".to_owned();
            check.error(
                codes::DUPLICATE_VALUE,
                item.span,
                format!("the axis `{axis}` has the value `{text}` twice"),
                help,
            );
        }
    }
    Some(AxisValues::Values(check.texts(node, axis, true, Place::Setting)))
}

fn combinations(check: &mut Check<'_>, node: &Node, key: &str) -> Vec<Combination> {
    let mut list = Vec::new();
    for item in check.list(node, key, true) {
        let Some(mapping) = item.as_mapping() else {
            let message = format!("`{key}[]` is a mapping of axes to values, not {}", item.kind(Schema::Core));
            check.error(codes::WRONG_TYPE, item.span, message, "write `- {axis: value}`".to_owned());
            continue;
        };
        let mut combination = Combination::new();
        for entry in check.entries(mapping) {
            let Some(axis) = check.key(entry) else { continue };
            combination.extend(check.text(&entry.value, axis).map(|value| (axis.to_owned(), value)));
        }
        list.push(combination);
    }
    list
}

pub(super) fn resources(check: &mut Check<'_>, node: &Node, name: &str) -> Resources {
    let Some(mapping) = check.mapping(node, &format!("`{name}`"), &["cpu", "memory", "disk"]) else {
        return Resources::default();
    };
    let mut quantity = |key: &str, read: fn(&str) -> Option<u64>, help: &str| {
        let node = mapping.get(key)?;
        let text = check.text(node, key)?;
        let value = read(text.trim());
        if value.is_none() {
            check.error(codes::UNKNOWN_VALUE, node.span, format!("`{key}` cannot be `{text}`"), help.to_owned());
        }
        value
    };
    Resources {
        cpu: quantity("cpu", cpu, "processors: `2`, `0.5` or `500m`"),
        memory: quantity("memory", bytes, "bytes: `512MiB` or `4GB`"),
        disk: quantity("disk", bytes, "bytes: `512MiB` or `4GB`"),
    }
}

/// Thousandths of a processor.
fn cpu(text: &str) -> Option<u64> {
    let (number, scale) = text.strip_suffix('m').map_or((text, 1000.0), |number| (number, 1.0));
    whole(number, scale)
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1_048_576.0,
        "gi" | "gib" => 1_073_741_824.0,
        "ti" | "tib" => 1_099_511_627_776.0,
        _ => return None,
    };
    whole(number, scale)
}

fn whole(number: &str, scale: f64) -> Option<u64> {
    let value = number.parse::<f64>().ok()? * scale;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (value > 0.0 && value < 1e18).then_some(value as u64)
}

pub(super) fn service<'a>(check: &mut Check<'a>, node: &'a Node) -> Option<Service> {
    if node.as_scalar().is_some() {
        let image = image(check, node)?;
        return Some(Service { image, alias: None, environment: Environment::new(), command: Vec::new() });
    }
    let mapping = check.mapping(node, "a service", &["image", "alias", "environment", "command"])?;
    let image_node = check.required(mapping, node.span, "the service", "image", "add `image: postgres:16`");
    let image = image_node.and_then(|node| image(check, node));
    let alias = mapping.get("alias").and_then(|node| {
        let text = check.filled(node, "alias", Place::Setting)?;
        if !text.trim().is_empty() && !text.contains("${") && !is_host(&text) {
            let help = "letters, digits, dashes and dots, as in `db` or `cache.local`".to_owned();
            check.error(codes::BAD_NAME, node.span, format!("`{text}` is no name for a host"), help);
        }
        Some(text)
    });
    let environment = mapping.get("environment").map(|node| environment(check, node, "environment", Source::Step));
    check.hierarchy.clear(Source::Step);
    let command = mapping.get("command").map(|node| check.texts(node, "command", false, Place::Setting));
    Some(Service {
        image: image?,
        alias,
        environment: environment.unwrap_or_default(),
        command: command.unwrap_or_default(),
    })
}

/// Whether a text is a name that a container can be reached by.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let sign = |c: char| c.is_ascii_alphanumeric() || c == '_';
        label.len() <= 63
            && label.starts_with(sign)
            && label.ends_with(sign)
            && label.chars().all(|c| sign(c) || c == '-')
    };
    text.len() <= 253 && text.split('.').all(is_label)
}

pub(super) fn caches(check: &mut Check<'_>, node: &Node) -> Vec<Cache> {
    match node.as_sequence() {
        Some(items) => items.iter().filter_map(|item| cache(check, item)).collect(),
        None => cache(check, node).into_iter().collect(),
    }
}

fn cache(check: &mut Check<'_>, node: &Node) -> Option<Cache> {
    let mapping = check.mapping(node, "a cache", &["key", "paths", "fallback_keys", "policy"])?;
    let key = check.required(mapping, node.span, "the cache", "key", "add `key: deps`");
    let key = key.and_then(|node| check.filled(node, "key", Place::Setting));
    let given = check.required(mapping, node.span, "the cache", "paths", "add `paths: [target/]`");
    let given = given.map(|node| paths(check, node, "paths")).unwrap_or_default();
    let fallback = mapping.get("fallback_keys").map(|node| check.texts(node, "fallback_keys", false, Place::Setting));
    let words = [("pull-push", CachePolicy::PullPush), ("pull", CachePolicy::Pull), ("push", CachePolicy::Push)];
    let policy = mapping.get("policy").and_then(|node| check.word(node, "policy", &words)).unwrap_or_default();
    Some(Cache { key: key?, paths: given, fallback_keys: fallback.unwrap_or_default(), policy })
}

pub(super) fn deployment(check: &mut Check<'_>, node: &Node) -> Option<Deployment> {
    let mapping = check.mapping(node, "`deployment`", &["environment", "url", "strategy"])?;
    let environment =
        check.required(mapping, node.span, "`deployment`", "environment", "add `environment: production`");
    let environment = environment.and_then(|node| check.filled(node, "environment", Place::Setting));
    let url = mapping.get("url").and_then(|node| {
        let text = check.filled(node, "url", Place::Setting)?;
        let is_whole = |url: url::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !text.trim().is_empty() && !text.contains("${") && !url::Url::parse(&text).is_ok_and(is_whole) {
            let help = "write a whole one: `https://example.org/path`".to_owned();
            check.error(codes::BAD_URL, node.span, format!("`{text}` is no address"), help);
        }
        Some(text)
    });
    let words = [("rolling", Strategy::Rolling), ("blue-green", Strategy::BlueGreen), ("canary", Strategy::Canary)];
    let strategy = mapping.get("strategy").and_then(|node| check.word(node, "strategy", &words));
    Some(Deployment { environment: environment?, url, strategy })
}
