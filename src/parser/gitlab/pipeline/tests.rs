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
