//! A workflow with all that its jobs and steps inherit written into them, as YAML. Expressions stay as they are, so that no secret
//! can show; the matrix is kept.

use serde_yaml::{Mapping, Value};

use crate::parser::document::yaml::to_yaml;
use crate::parser::document::{Node, Schema};

/// The workflow of a document, resolved: `env` of the workflow in each job, `defaults.run` in each `run` step. `job`: that job alone;
/// `None` where there is no such job.
pub fn expand(root: &Node, job: Option<&str>) -> Option<String> {
    let Value::Mapping(mut workflow) = to_yaml(root, Schema::Core) else { return None };
    let env = workflow.remove("env");
    let defaults = run_defaults(workflow.remove("defaults").as_ref());
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
            resolve(job, env.as_ref(), &defaults);
        }
    }
    serde_yaml::to_string(&Value::Mapping(workflow)).ok()
}

fn resolve(job: &mut Mapping, env: Option<&Value>, defaults: &Mapping) {
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
    let own = job.remove("defaults");
    let own = own.as_ref().map(|own| run_defaults(Some(own)));
    let defaults = own.filter(|own| !own.is_empty()).unwrap_or_else(|| defaults.clone());
    let steps = job.get_mut("steps").and_then(Value::as_sequence_mut);
    for step in steps.into_iter().flatten().filter_map(Value::as_mapping_mut).filter(|step| step.contains_key("run")) {
        for (key, value) in &defaults {
            if !step.contains_key(key) {
                step.insert(key.clone(), value.clone());
            }
        }
    }
}

fn run_defaults(defaults: Option<&Value>) -> Mapping {
    defaults.and_then(|defaults| defaults.get("run")).and_then(Value::as_mapping).cloned().unwrap_or_default()
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
    fn one_job_alone() {
        assert_eq!(expanded(Some("b")).unwrap()["jobs"].as_mapping().unwrap().len(), 1);
        assert!(expanded(Some("nope")).is_none());
    }
}
