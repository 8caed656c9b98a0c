//! Findings as SARIF 2.1.0 (OASIS), which code scanning of forges reads.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Code, Diagnostic, Diagnostics, Severity};
use crate::parser::document::{Sources, Span};

/// The log file of one run over files that were checked one by one.
pub fn log<'a>(checked: impl Iterator<Item = (&'a Diagnostics, &'a Sources)> + Clone) -> Value {
    let codes: BTreeSet<Code> =
        checked.clone().flat_map(|(found, _)| found.iter()).map(|finding| finding.code).collect();
    let rules: Vec<Value> = codes.iter().map(|code| json!({ "id": code.0, "help": { "text": code.url() } })).collect();
    let of =
        |(found, sources): (&'a Diagnostics, &'a Sources)| found.iter().map(move |finding| result(finding, sources));
    let results: Vec<Value> = checked.flat_map(of).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "forgehand",
                "version": crate::VERSION,
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(diagnostic: &Diagnostic, sources: &Sources) -> Value {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let text = match &diagnostic.help {
        Some(help) => format!("{}\n{help}", diagnostic.told()),
        None => diagnostic.told().into_owned(),
    };
    let related: Vec<Value> = diagnostic
        .related
        .iter()
        .map(|(span, why)| {
            let mut place = location(*span, sources);
            place["message"] = json!({ "text": why });
            place
        })
        .collect();
    let mut result = json!({
        "ruleId": diagnostic.code.0,
        "level": level,
        "message": { "text": text },
        "locations": [location(diagnostic.span, sources)],
    });
    if !related.is_empty() {
        result["relatedLocations"] = json!(related);
    }
    result
}

fn location(span: Span, sources: &Sources) -> Value {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(sources.name(span.file)) },
        "region": {
            "startLine": span.line,
            "startColumn": span.column,
            "endLine": span.end_line,
            "endColumn": span.end_column,
        },
    } })
}

/// A path as a relative reference: what is no plain character of a path is escaped.
fn uri(path: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const UNSAFE: &AsciiSet = &CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'#')
        .add(b'%')
        .add(b'<')
        .add(b'>')
        .add(b'?')
        .add(b'[')
        .add(b']')
        .add(b'`')
        .add(b'{')
        .add(b'}');
    utf8_percent_encode(path, UNSAFE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_becomes_a_result_with_its_rule_and_region() {
        let mut sources = Sources::new();
        let file = sources.add("dir/my ci.yml", "a: 1\n");
        let mut all = Diagnostics::new();
        let span = Span { file, line: 1, column: 4, end_line: 1, end_column: 5 };
        all.push(Diagnostic::warning(Code("native/x"), span, "odd").help("mend it").related(span, "here"));
        let log = log([(&all, &sources)].into_iter());
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "native/x");
        assert_eq!(result["level"], "warning");
        assert_eq!(result["message"]["text"], "odd\nmend it");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "dir/my%20ci.yml");
        assert_eq!(
            place["region"],
            serde_json::json!({"startLine": 1, "startColumn": 4, "endLine": 1, "endColumn": 5})
        );
        assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][0]["id"], "native/x");
    }
}
