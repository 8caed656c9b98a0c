//! The corpus: workflows with the official parser's verdicts.

mod broken;
mod language;
mod many;
mod official;
mod real;
mod robustness;

use std::path::PathBuf;

use serde_json::Value as Json;

use super::*;
use crate::parser::diagnostics::Severity;
use crate::parser::document::NoFiles;

/// A folder of the corpus; `None`, with a note, where it is absent.
fn corpus(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus")).join(folder);
    if !path.is_dir() {
        eprintln!("note: {} is absent, its cases are passed over", path.display());
        return None;
    }
    Some(path)
}

fn json(path: &std::path::Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn errors(checked: &Checked<Workflow>) -> Vec<(String, u64, u64, String)> {
    let of = |finding: &Diagnostic| {
        let file = checked.sources.name(finding.span.file).to_owned();
        (file, u64::from(finding.span.line), u64::from(finding.span.column), finding.message.clone())
    };
    checked.diagnostics.iter().filter(|finding| finding.severity == Severity::Error).map(of).collect()
}

/// Prints what disagrees and asserts the rate.
fn report(what: &str, total: usize, wrong: &[String], rate: f64) {
    let right = total - wrong.len();
    println!("{what}: {right} of {total}");
    wrong.iter().for_each(|line| println!("  {line}"));
    assert!(
        right as f64 >= total as f64 * rate,
        "{what}: {right} of {total} agree, {rate} is asked for\n{}",
        wrong.join("\n")
    );
}
