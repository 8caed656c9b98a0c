//! The text of a plain `.gitlab-ci.yml` as jobs.

use serde_json::{Value, json};

use super::CiError;
use super::node::Node;
use crate::emulator::payload::variable;
use crate::emulator::world::job::RunsWhen;

/// Keywords at the top, besides job names.
const TOP: [&str; 8] =
    ["stages", "default", "image", "services", "variables", "before_script", "after_script", "cache"];
/// Keywords below `default`.
const DEFAULT: [&str; 8] =
    ["image", "services", "before_script", "after_script", "cache", "artifacts", "timeout", "tags"];
/// Keywords of a job.
const JOB: [&str; 15] = [
    "stage",
    "script",
    "before_script",
    "after_script",
    "image",
    "services",
    "variables",
    "artifacts",
    "cache",
    "needs",
    "dependencies",
    "allow_failure",
    "timeout",
    "when",
    "tags",
];
/// How long a job may take unless it says otherwise, in seconds.
const TIMEOUT: u64 = 3600;

/// A file as jobs.
#[derive(Clone, Debug)]
pub struct PlainPipeline {
    /// Stages in order, `.pre` and `.post` around them.
    pub stages: Vec<String>,
    /// Variables of the file, as the payload has them.
    pub variables: Vec<Value>,
    /// The jobs in the order of the file.
    pub jobs: Vec<PlainJob>,
}

/// A job of a file.
#[derive(Clone, Debug)]
pub struct PlainJob {
    /// Its name.
    pub name: String,
    /// Its stage, `test` by default.
    pub stage: String,
    /// `before_script` and `script`.
    pub script: Vec<String>,
    /// `after_script`.
    pub after_script: Vec<String>,
    /// The image, as the payload has it.
    pub image: Option<Value>,
    /// The services, as the payload has them.
    pub services: Vec<Value>,
    /// Its variables, as the payload has them.
    pub variables: Vec<Value>,
    /// Its artifacts and reports, as the payload has them.
    pub artifacts: Vec<Value>,
    /// Its caches, as the payload has them.
    pub caches: Vec<Value>,
    /// What it waits for; `None`: all jobs of earlier stages.
    pub needs: Option<Vec<Need>>,
    /// Whose artifacts it gets; `None`: of all it waits for.
    pub dependencies: Option<Vec<String>>,
    /// Whether its failure leaves the pipeline alone.
    pub allow_failure: bool,
    /// How long it may take, in seconds.
    pub timeout: u64,
    /// On which results of others it runs.
    pub runs_when: RunsWhen,
}

/// A job that another waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Its name.
    pub job: String,
    /// Whether its artifacts are downloaded.
    pub artifacts: bool,
    /// Whether it may be missing.
    pub optional: bool,
}

/// Reads a file.
pub fn read(text: &str) -> Result<PlainPipeline, CiError> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text)?;
    value.apply_merge()?;
    let root = Node::root(value);
    let mut pipeline = PlainPipeline { stages: stages(None)?, variables: Vec::new(), jobs: Vec::new() };
    let (mut defaults, mut jobs) = (Vec::new(), Vec::new());
    for (key, node) in root.entries()? {
        match key.as_str() {
            "stages" => pipeline.stages = stages(Some(&node))?,
            "variables" => pipeline.variables = variables(&node)?,
            "default" => defaults.extend(node.known_entries(&DEFAULT)?),
            key if TOP.contains(&key) => defaults.push((key.to_owned(), node)),
            key if key.starts_with('.') => {}
            _ if node.value.is_mapping() => jobs.push((key, node)),
            _ => {
                return Err(root.wrong(format!(
                    "the keyword `{key}` is not understood by the embedded forge's plain reader, which knows at the top: \
                     {}, and jobs",
                    TOP.join(", ")
                )));
            }
        }
    }
    for (name, node) in jobs {
        pipeline.jobs.push(job(name, &node, &defaults)?);
    }
    match pipeline.jobs.is_empty() {
        true => Err(root.wrong("there is no job in it")),
        false => Ok(pipeline),
    }
}

fn stages(node: Option<&Node>) -> Result<Vec<String>, CiError> {
    let named = match node {
        Some(node) => node.texts()?,
        None => ["build", "test", "deploy"].map(str::to_owned).to_vec(),
    };
    let middle = named.into_iter().filter(|name| name != ".pre" && name != ".post");
    Ok(std::iter::once(".pre".to_owned()).chain(middle).chain([".post".to_owned()]).collect())
}

fn job(name: String, node: &Node, defaults: &[(String, Node)]) -> Result<PlainJob, CiError> {
    let own = node.known_entries(&JOB)?;
    let find = |key: &str| {
        let inherited = || defaults.iter().find(|(known, _)| known == key);
        own.iter().find(|(known, _)| known == key).or_else(inherited).map(|(_, node)| node)
    };
    let Some(script) = find("script") else { return Err(node.wrong("a job needs `script`")) };
    let mut commands = find("before_script").map(Node::script).transpose()?.unwrap_or_default();
    commands.extend(script.script()?);
    Ok(PlainJob {
        stage: find("stage").map(Node::text).transpose()?.unwrap_or_else(|| "test".to_owned()),
        script: commands,
        after_script: find("after_script").map(Node::script).transpose()?.unwrap_or_default(),
        image: find("image").map(image).transpose()?,
        services: find("services").map(services).transpose()?.unwrap_or_default(),
        variables: find("variables").map(variables).transpose()?.unwrap_or_default(),
        artifacts: find("artifacts").map(artifacts).transpose()?.unwrap_or_default(),
        caches: find("cache").map(caches).transpose()?.unwrap_or_default(),
        needs: find("needs").map(needs).transpose()?,
        dependencies: find("dependencies").map(Node::texts).transpose()?,
        allow_failure: find("allow_failure").map(Node::boolean).transpose()?.unwrap_or(false),
        timeout: find("timeout").map(Node::seconds).transpose()?.unwrap_or(TIMEOUT),
        runs_when: find("when").map(runs_when).transpose()?.unwrap_or_default(),
        name,
    })
}

fn runs_when(node: &Node) -> Result<RunsWhen, CiError> {
    match node.text()?.as_str() {
        "on_success" => Ok(RunsWhen::OnSuccess),
        "on_failure" => Ok(RunsWhen::OnFailure),
        "always" => Ok(RunsWhen::Always),
        other => Err(node.wrong(format!("`{other}` is not understood; known are on_success, on_failure, always"))),
    }
}

fn variables(node: &Node) -> Result<Vec<Value>, CiError> {
    let entries = node.entries()?.into_iter().map(|(key, node)| {
        if !node.value.is_mapping() {
            return Ok(variable(&key, node.text()?, true, false));
        }
        let (mut value, mut raw) = (String::new(), false);
        for (field, node) in node.known_entries(&["value", "description", "options", "expand"])? {
            match field.as_str() {
                "value" => value = node.text()?,
                "expand" => raw = !node.boolean()?,
                _ => {}
            }
        }
        let mut variable = variable(&key, value, true, false);
        variable["raw"] = json!(raw);
        Ok(variable)
    });
    entries.collect()
}

fn image(node: &Node) -> Result<Value, CiError> {
    if !node.value.is_mapping() {
        return Ok(json!({ "name": node.text()? }));
    }
    let mut image = json!({});
    for (key, node) in node.known_entries(&["name", "entrypoint", "docker", "pull_policy"])? {
        match key.as_str() {
            "name" => image["name"] = json!(node.text()?),
            "docker" => image["executor_opts"] = json!({ "docker": node.json() }),
            key => image[key] = json!(node.texts()?),
        }
    }
    Ok(image)
}

fn services(node: &Node) -> Result<Vec<Value>, CiError> {
    let known = ["name", "alias", "entrypoint", "command", "variables", "docker", "pull_policy"];
    let items = node.items()?.into_iter().map(|node| {
        if !node.value.is_mapping() {
            return Ok(json!({ "name": node.text()? }));
        }
        let mut service = json!({});
        for (key, node) in node.known_entries(&known)? {
            match key.as_str() {
                "name" | "alias" => service[&key] = json!(node.text()?),
                "variables" => service["variables"] = json!(variables(&node)?),
                "docker" => service["executor_opts"] = json!({ "docker": node.json() }),
                key => service[key] = json!(node.texts()?),
            }
        }
        Ok(service)
    });
    items.collect()
}

fn needs(node: &Node) -> Result<Vec<Need>, CiError> {
    let items = node.items()?.into_iter().map(|node| {
        let mut need = Need { job: String::new(), artifacts: true, optional: false };
        if !node.value.is_mapping() {
            need.job = node.text()?;
            return Ok(need);
        }
        for (key, node) in node.known_entries(&["job", "artifacts", "optional"])? {
            match key.as_str() {
                "job" => need.job = node.text()?,
                "artifacts" => need.artifacts = node.boolean()?,
                _ => need.optional = node.boolean()?,
            }
        }
        if need.job.is_empty() {
            return Err(node.wrong("`job` is missing"));
        }
        Ok(need)
    });
    items.collect()
}

fn caches(node: &Node) -> Result<Vec<Value>, CiError> {
    let entries = if node.value.is_sequence() { node.items()? } else { vec![node.clone()] };
    let known = ["key", "paths", "untracked", "policy", "when", "fallback_keys", "unprotect"];
    let caches = entries.into_iter().map(|node| {
        let mut cache = json!({ "key": "default", "paths": [], "untracked": false, "policy": "pull-push",
            "when": "on_success", "fallback_keys": [] });
        for (key, node) in node.known_entries(&known)? {
            match key.as_str() {
                "key" if node.value.is_mapping() => {
                    return Err(
                        node.wrong("a key made of files is not understood by the embedded forge's plain reader")
                    );
                }
                "paths" | "fallback_keys" => cache[&key] = json!(node.texts()?),
                "untracked" => cache["untracked"] = json!(node.boolean()?),
                "unprotect" => {}
                key => cache[key] = json!(node.text()?),
            }
        }
        // All refs here are protected, and GitLab keeps their caches apart.
        cache["key"] = json!(format!("{}-protected", cache["key"].as_str().unwrap_or_default()));
        Ok(cache)
    });
    caches.collect()
}

fn artifacts(node: &Node) -> Result<Vec<Value>, CiError> {
    let known =
        ["name", "paths", "exclude", "untracked", "when", "expire_in", "reports", "expose_as", "access", "public"];
    let mut archive = json!({ "name": "artifacts", "untracked": false, "paths": [], "exclude": [], "when": "on_success",
        "expire_in": "30 days", "artifact_type": "archive", "artifact_format": "zip" });
    let mut reports = Vec::new();
    for (key, node) in node.known_entries(&known)? {
        match key.as_str() {
            "paths" | "exclude" => archive[&key] = json!(node.texts()?),
            "untracked" => archive["untracked"] = json!(node.boolean()?),
            "name" | "when" | "expire_in" => archive[&key] = json!(node.text()?),
            "reports" => reports = node.entries()?,
            _ => {}
        }
    }
    let expire_in = archive["expire_in"].clone();
    let has_archive = archive["untracked"] == json!(true) || archive["paths"] != json!([]);
    let mut all: Vec<Value> = if has_archive { vec![archive] } else { Vec::new() };
    for (kind, node) in reports {
        let Some((_, format, name)) = REPORTS.into_iter().find(|(known, _, _)| *known == kind) else {
            let known: Vec<&str> = REPORTS.iter().map(|(kind, _, _)| *kind).collect();
            return Err(node.wrong(format!("this report is not understood; known are {}", known.join(", "))));
        };
        all.push(json!({ "name": name, "untracked": false, "paths": node.texts()?, "exclude": [], "when": "always",
            "expire_in": expire_in, "artifact_type": kind, "artifact_format": format }));
    }
    Ok(all)
}

/// Reports by type, with format and default name (protocols: GitLab 3.9).
const REPORTS: [(&str, &str, &str); 9] = [
    ("junit", "gzip", "junit.xml"),
    ("dotenv", "gzip", ".env"),
    ("metrics", "gzip", "metrics.txt"),
    ("cyclonedx", "gzip", "gl-sbom.cdx.json"),
    ("annotations", "gzip", "gl-annotations.json"),
    ("codequality", "raw", "gl-code-quality-report.json"),
    ("sast", "raw", "gl-sast-report.json"),
    ("accessibility", "raw", "gl-accessibility.json"),
    ("terraform", "raw", "tfplan.json"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_reach_jobs_that_do_not_say_otherwise() {
        let pipeline = read(
            "image: a:1\nbefore_script: [one]\nvariables: {A: 1, B: {value: $A, expand: false}}\n\
             x:\n  script: [[two], three]\ny:\n  image: {name: b:1, entrypoint: ['']}\n  before_script: []\n  script: four\n",
        )
        .unwrap();
        let [x, y] = &pipeline.jobs[..] else { panic!("two jobs") };
        assert_eq!(x.script, ["one", "two", "three"]);
        assert_eq!(x.image, Some(json!({ "name": "a:1" })));
        assert_eq!(y.script, ["four"]);
        assert_eq!(y.image, Some(json!({ "name": "b:1", "entrypoint": [""] })));
        assert_eq!(pipeline.variables[0]["value"], "1");
        assert_eq!(pipeline.variables[1]["raw"], true);
    }

    #[test]
    fn an_unknown_keyword_is_refused_with_the_known_ones() {
        let error = read("x:\n  script: a\n  rules: []\n").unwrap_err().to_string();
        assert!(error.starts_with(".gitlab-ci.yml: x: the keyword `rules` is not understood"), "{error}");
        assert!(error.contains("needs, dependencies"), "{error}");
        let error = read("include: other.yml\nx: {script: a}\n").unwrap_err().to_string();
        assert!(error.contains("`include`"), "{error}");
    }

    #[test]
    fn reports_stand_beside_the_archive() {
        let pipeline = read(
            "x:\n  script: a\n  artifacts:\n    paths: [out]\n    expire_in: 1 day\n    reports: {junit: r.xml}\n",
        )
        .unwrap();
        let [archive, junit] = &pipeline.jobs[0].artifacts[..] else { panic!("two artifacts") };
        assert_eq!((&archive["artifact_type"], &archive["artifact_format"]), (&json!("archive"), &json!("zip")));
        assert_eq!(junit["paths"], json!(["r.xml"]));
        assert_eq!(junit["expire_in"], json!("1 day"));
    }
}
