//! What an event makes of a file, by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::variables::{Collection, Expansion};
use super::{Pipeline, PipelineContext, codes, create};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::gitlab::compose::{ComposeContext, Offline, compose_bytes};
use crate::parser::gitlab::config;

fn made(text: &str) -> (Pipeline, Diagnostics) {
    let files: BTreeMap<String, String> = BTreeMap::new();
    let composed = compose_bytes("ci.yml", text.as_bytes(), &files, &Offline, &ComposeContext::default());
    let mut found = composed.diagnostics;
    let configuration = config::check(&composed.value.unwrap().root, &mut found).unwrap();
    let context = Arc::new(PipelineContext::default());
    (create(Arc::new(configuration), context, &files, &mut found), found)
}

fn names(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.jobs.iter().map(|job| job.name.as_str()).collect()
}

#[test]
fn jobs_at_the_edges_alone_make_no_pipeline() {
    let edges = "a: {stage: .pre, script: x}\nz: {stage: .post, script: x}\n";
    let (pipeline, found) = made(edges);
    assert!(pipeline.jobs.is_empty());
    assert!(!found.has_errors());
    assert!(found.iter().any(|one| one.code == codes::NO_PIPELINE && one.message.contains("`.pre` and `.post`")));
    assert_eq!(names(&made(&format!("{edges}b: {{script: x}}\n")).0), ["a", "z", "b"]);
    let (dropped, _) = made(&format!("{edges}b: {{script: x, rules: [{{when: never}}]}}\n"));
    assert!(dropped.jobs.is_empty());
}

fn expanded(text: &str) -> serde_json::Value {
    let files: BTreeMap<String, String> = BTreeMap::new();
    let composed = compose_bytes("ci.yml", text.as_bytes(), &files, &Offline, &ComposeContext::default());
    let mut found = composed.diagnostics;
    let composed = composed.value.unwrap();
    let configuration = config::check(&composed.root, &mut found).unwrap();
    assert!(!found.has_errors());
    let yaml: serde_yaml::Value =
        serde_yaml::from_str(&super::expand::processed(&composed, &configuration, &[])).unwrap();
    serde_json::to_value(yaml).unwrap()
}

#[test]
fn expanded_values_are_those_that_the_server_works_with() {
    let got = expanded(
        "variables: {A: {value: 1, description: of it}, B: {value: $A, expand: false}}\n\
         b: {script: x, stage: build}\n\
         j:\n  script: x\n  variables:\n    N: 0x10\n    T: true\n    S: :symbol\n  environment: production\n  \
         allow_failure: {exit_codes: 3}\n  image: {name: i, pull_policy: never}\n  dependencies:\n    - :b\n  \
         hooks: {pre_get_sources_script: [[a, [b]], c]}\n  inputs: {one: {default: x}}\n",
    );
    assert_eq!(got["variables"], serde_json::json!({"A": "1", "B": {"value": "$A", "expand": false}}));
    let job = &got["j"];
    assert_eq!(job["variables"], serde_json::json!({"N": "16", "T": "true", "S": "symbol"}));
    assert_eq!(job["environment"], serde_json::json!({"name": "production", "action": "start"}));
    assert_eq!(job["allow_failure"], serde_json::json!({"exit_codes": [3]}));
    assert_eq!(job["image"], serde_json::json!({"name": "i", "pull_policy": ["never"]}));
    assert_eq!(job["dependencies"], serde_json::json!(["b"]));
    assert_eq!(job["hooks"], serde_json::json!({"pre_get_sources_script": ["a", "b", "c"]}));
    assert_eq!(job["inputs"], serde_json::json!({"one": {"default": "x", "type": "string"}}));
}

#[test]
fn values_that_multiply_do_not_grow_without_end() {
    let variables = |last: &str| {
        let lines = (0..15).map(|at| format!("  V{at}: \"{}\"\n", format!("$V{}", at + 1).repeat(20)));
        format!("variables:\n{}  V15: \"{last}\"\n", lines.collect::<String>())
    };
    for last in ["x", ""] {
        let text = format!(
            "{}a: {{script: [x], environment: {{name: $V0}}, rules: [{{exists: [$V0]}}, {{when: always}}]}}\n",
            variables(last)
        );
        let (pipeline, found) = made(&text);
        assert!(!found.has_errors(), "{found:?}");
        let name = pipeline.scope(&pipeline.jobs[0]).unwrap().expand("$V0");
        assert!(name.len() < 1 << 20, "{}", name.len());
        let all: Collection = pipeline.shared.root.iter().cloned().collect();
        let (all, circle) = all.sort_and_expand_all(Expansion::FOR_RUNNER);
        assert!(circle.is_none() && all.iter().map(|one| one.value.len()).sum::<usize>() < 32 << 20);
    }
}

#[test]
fn a_need_of_what_may_be_in_an_include_that_is_left_out_is_a_note() {
    let text = "include: {project: a/b, file: c.yml}\nz: {script: [x], rules: [{when: never}]}\n";
    let of = |needs: &str| {
        let text = format!("{text}a: {{script: [x], needs: [{needs}]}}\n");
        let files: BTreeMap<String, String> = BTreeMap::new();
        let composed = compose_bytes("ci.yml", text.as_bytes(), &files, &Offline, &ComposeContext::default());
        let mut found = composed.diagnostics;
        let root = composed.value.unwrap().root;
        let configuration = config::check_as(&root, config::Completeness::Part, &mut found).unwrap();
        let pipeline = create(Arc::new(configuration), Arc::new(PipelineContext::default()), &files, &mut found);
        assert_eq!(names(&pipeline), ["a"]);
        found.has_errors()
    };
    assert!(!of("from-there"));
    assert!(of("z"));
}

/// Circles as the file shows them, and as a pipeline's jobs have them.
fn circles(text: &str) -> [Vec<String>; 2] {
    let files: BTreeMap<String, String> = BTreeMap::new();
    let composed = compose_bytes("ci.yml", text.as_bytes(), &files, &Offline, &ComposeContext::default());
    let mut found = composed.diagnostics;
    let configuration = config::check(&composed.value.unwrap().root, &mut found).unwrap();
    assert!(found.is_empty(), "{found:?}");
    super::circles::check(&configuration, &mut found);
    let mut later = Diagnostics::new();
    create(Arc::new(configuration), Arc::new(PipelineContext::default()), &files, &mut later);
    [found, later].map(|found| {
        let found = found.iter().filter(|one| one.code == codes::VARIABLE_CIRCLE);
        let mut told: Vec<String> = found
            .map(|one| format!("{:?} {}:{} {}", one.severity, one.span.line, one.span.column, one.message))
            .collect();
        told.sort();
        told
    })
}

#[test]
fn circles_of_the_files_variables_are_told_where_they_are() {
    let all = |names: &str| format!("the variables {names} refer to each other in a circle");
    // No job has to have variables of its own, and what all have is told once.
    let text = "variables:\n  A: $B\n  B: $A\n  C: $D\n  D: x$E\n  E: ${C}\n  S: $S\nx: {script: x}\ny: {script: x, variables: {O: $A}}\n";
    let [of_file, of_pipeline] = circles(text);
    let expected = [format!("Error 2:3 {}", all("A -> B -> A")), format!("Error 4:3 {}", all("C -> D -> E -> C"))];
    assert_eq!(of_file, expected);
    assert_eq!(of_pipeline, expected);
    // A job's own, and what it has of the file with it.
    let text = "variables: {A: $B}\nx: {script: x, variables: {B: $C, C: $A}}\ny: {script: x}\n";
    let [of_file, of_pipeline] = circles(text);
    let expected = [format!("Error 2:28 in job `x`: {}", all("B -> C -> A -> B"))];
    assert_eq!(of_file, expected);
    assert_eq!(of_pipeline, expected);
}

#[test]
fn circles_that_no_job_has_are_none() {
    for jobs in [
        "x: {script: x, variables: {A: b}}",
        "x: {script: x, inherit: {variables: [A]}}",
        "x: {script: x, inherit: {variables: false}}",
        "x: {script: x, parallel: {matrix: [{B: [a, b]}]}}",
    ] {
        let [of_file, of_pipeline] = circles(&format!("variables: {{A: $B, B: $A}}\n{jobs}\n"));
        assert!(of_file.is_empty() && of_pipeline.is_empty(), "{jobs}: {of_file:?} {of_pipeline:?}");
    }
    let [of_file, of_pipeline] = circles("variables: {A: $B, B: {value: $A, expand: false}}\nx: {script: x}\n");
    assert!(of_file.is_empty() && of_pipeline.is_empty(), "{of_file:?} {of_pipeline:?}");
}

/// The server refuses the pipelines that have the job, and no others.
#[test]
fn circles_of_jobs_that_may_be_left_out_are_warnings() {
    let text = "variables: {A: $B, B: $A}\nx: {script: x, rules: [{if: $NOPE}]}\ny: {script: x, variables: {A: b}}\n";
    let [of_file, of_pipeline] = circles(text);
    assert_eq!(of_file, ["Warning 1:13 the variables A -> B -> A refer to each other in a circle"]);
    assert!(of_pipeline.is_empty(), "{of_pipeline:?}");
}
