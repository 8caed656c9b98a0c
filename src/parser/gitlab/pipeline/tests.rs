//! What an event makes of a file, by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

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
