//! A workflow from text.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::parser::github::workflow::model::Workflow;
use crate::parser::github::{CheckOptions, check};

pub fn workflow(path: &str, files: &BTreeMap<String, String>) -> Arc<Workflow> {
    let checked = check(path, &files[path], files, &CheckOptions::default());
    let errors: Vec<String> =
        checked.diagnostics.iter().map(|found| format!("{:?} {}", found.severity, found.message)).collect();
    assert!(!checked.diagnostics.has_errors(), "{path}: {errors:?}");
    Arc::new(checked.value.unwrap())
}
