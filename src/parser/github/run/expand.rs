//! A workflow with all that its jobs and steps inherit written into them, as YAML. Expressions stay as they are, so that no secret
//! can show; the matrix is kept.

use serde_yaml::{Mapping, Value};

use crate::parser::document::yaml::to_yaml;
use crate::parser::document::{Node, Schema};

/// The workflow of a document, resolved: `env` of the workflow in each job, `defaults.run` in each `run` step (where it
/// holds an expression, in each job). `job`: that job alone;
/// `None` where there is no such job.
pub fn expand(root: &Node, job: Option<&str>) -> Option<String> {
    let Value::Mapping(mut workflow) = to_yaml(root, Schema::Core) else { return None };
    let env = workflow.remove("env");
    let defaults = workflow.remove("defaults");
    let defaults = defaults.as_ref().and_then(|defaults| defaults.get("run")).filter(|run| !is_empty(run));
    let jobs = workflow.get_mut("jobs").and_then(Value::as_mapping_mut)?;
    if let Some(wanted) = job {
        jobs.retain(|key, _| key.as_str() == Some(wanted));
        if jobs.is_empty() {
            return None;
        }
    }
    for (_, job) in jobs.iter_mut() {
        if let Value::Mapping(job) = job
            && !job.contains_key("uses")
        {
            resolve(job, env.as_ref(), defaults);
        }
    }
    serde_yaml::to_string(&Value::Mapping(workflow)).ok()
}

fn resolve(job: &mut Mapping, env: Option<&Value>, defaults: Option<&Value>) {
    if let Some(Value::Mapping(outer)) = env {
        let mut all = outer.clone();
        match job.remove("env") {
            Some(Value::Mapping(own)) => {
                all.extend(own);
                job.insert("env".into(), all.into());
            }
            // An expression makes the job's environment: it cannot be joined before it is evaluated.
            Some(other) => {
                job.insert("env".into(), other);
            }
            None => {
                job.insert("env".into(), all.into());
            }
        }
    }
    // The job's defaults take the place of the workflow's, they are not joined.
    let own = job.get("defaults").and_then(|own| own.get("run")).filter(|own| !is_empty(own));
    let Some(defaults) = own.or(defaults).cloned() else { return };
    // A step's `shell` takes no expression, and `env` would be another one there.
    if has_expression(&defaults) {
        let mut kept = Mapping::new();
        kept.insert("run".into(), defaults);
        job.insert("defaults".into(), kept.into());
        return;
    }
    job.remove("defaults");
    let steps = job.get_mut("steps").and_then(Value::as_sequence_mut);
    for step in steps.into_iter().flatten().filter_map(Value::as_mapping_mut).filter(|step| step.contains_key("run")) {
        for (key, value) in defaults.as_mapping().into_iter().flatten() {
            if !step.contains_key(key) {
                step.insert(key.clone(), value.clone());
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_mapping().is_some_and(Mapping::is_empty)
}

/// Whether `defaults.run`, or one of its values, is evaluated later.
fn has_expression(defaults: &Value) -> bool {
    let is_expression = |value: &Value| value.as_str().is_some_and(|text| text.contains("${{"));
    is_expression(defaults) || defaults.as_mapping().into_iter().flatten().any(|(_, value)| is_expression(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::document::{FileId, Merge, Options, read};

    const TEXT: &str = "on: push\nenv: {A: w, B: w}\ndefaults: {run: {shell: sh}}\njobs:\n  a:\n    env: {B: '${{ secrets.X }}'}\n    strategy: {matrix: {x: [1]}}\n    steps: [{run: echo}, {uses: o/r@v1}, {run: x, shell: bash}]\n  b: {uses: ./x.yml}\n";

    fn expanded(job: Option<&str>) -> Option<Value> {
        let options = Options { merge: Merge::None, limits: Default::default() };
        let root = read(FileId(0), TEXT, options).unwrap().remove(0);
        expand(&root, job).map(|text| serde_yaml::from_str(&text).unwrap())
    }

    #[test]
    fn what_is_inherited_is_written_out() {
        let all = expanded(None).unwrap();
        assert!(all.get("env").is_none() && all.get("defaults").is_none());
        let a = &all["jobs"]["a"];
        assert_eq!(a["env"]["A"], "w");
        assert_eq!(a["env"]["B"], "${{ secrets.X }}");
        assert_eq!(a["steps"][0]["shell"], "sh");
        assert!(a["steps"][1].get("shell").is_none());
        assert_eq!(a["steps"][2]["shell"], "bash");
        assert_eq!(a["strategy"]["matrix"]["x"][0], 1);
        assert!(all["jobs"]["b"].get("env").is_none());
    }

    #[test]
    fn defaults_with_expressions_stay_defaults() {
        let text = "on: push\ndefaults: {run: {working-directory: d}}\njobs:\n  a:\n    defaults: {run: {shell: '${{ matrix.shell }}'}}\n    steps: [{run: x}]\n  b: {steps: [{run: x}]}\n  c: {defaults: {run: '${{ fromJSON(vars.D) }}'}, steps: [{run: x}]}\n";
        let root = read(FileId(0), text, Options { merge: Merge::None, limits: Default::default() }).unwrap().remove(0);
        let all: Value = serde_yaml::from_str(&expand(&root, None).unwrap()).unwrap();
        let (a, b, c) = (&all["jobs"]["a"], &all["jobs"]["b"], &all["jobs"]["c"]);
        assert_eq!(a["defaults"]["run"]["shell"], "${{ matrix.shell }}");
        assert!(a["steps"][0].get("shell").is_none() && a["steps"][0].get("working-directory").is_none());
        assert_eq!(b["steps"][0]["working-directory"], "d");
        assert!(b.get("defaults").is_none());
        assert_eq!(c["defaults"]["run"], "${{ fromJSON(vars.D) }}");
    }

    #[test]
    fn one_job_alone() {
        assert_eq!(expanded(Some("b")).unwrap()["jobs"].as_mapping().unwrap().len(), 1);
        assert!(expanded(Some("nope")).is_none());
    }
}
