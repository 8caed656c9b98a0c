//! Cases of the official parser's own tests, and of act's tests with the official parser's verdict.

use std::collections::BTreeMap;

use super::*;

/// Cases in which GitHub itself differs from the recorded implementation.
const DIFFER: [&str; 3] = [
    // The server passes over what stands beside the inputs; only the TypeScript parser runs this case.
    "events-single-invalid",
    // Anchors are part of the language since 2025.
    "errors-anchor-tag",
    // The recorded parser counts its own memory.
    "errors-max-result-size",
];

struct Referenced(BTreeMap<String, String>);

impl WorkflowsElsewhere for Referenced {
    fn text(&self, uses: &str) -> Option<String> {
        self.0.get(uses).cloned()
    }
}

#[test]
fn the_official_parsers_cases_hold() {
    let Some(folder) = corpus("github/parser") else { return };
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    let mut wrong = Vec::new();
    let mut total = 0;
    for case in cases {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if DIFFER.contains(&name.as_str()) {
            continue;
        }
        total += 1;
        if let Some(problem) = problem(&case) {
            wrong.push(format!("{name}: {problem}"));
        }
    }
    report("github/parser", total, &wrong, 0.99);
}

fn problem(case: &std::path::Path) -> Option<String> {
    let expect = json(&case.join("expect.json"));
    let text = std::fs::read_to_string(case.join("workflow.yml")).unwrap();
    let referenced = expect["referenced_workflows"].as_array().into_iter().flatten().map(|entry| {
        let text = std::fs::read_to_string(case.join(entry["file"].as_str().unwrap())).unwrap();
        (entry["ref"].as_str().unwrap().to_owned(), text)
    });
    let referenced = Referenced(referenced.collect());
    let local: BTreeMap<String, String> = referenced
        .0
        .iter()
        .filter_map(|(key, text)| Some((key.strip_prefix("./")?.to_owned(), text.clone())))
        .collect();
    let given = &expect["options"];
    let skip = given["skip-reusable-workflows"] == true;
    let options = CheckOptions {
        lints: false,
        max_calls: given["max-nested-reusable-workflows-depth"].as_u64().map_or(10, |depth| depth as usize),
        max_jobs: given["max-job-limit"].as_u64().map(|most| most as usize),
        default_permissions: match given["permissions-policy"].as_str() {
            Some("LimitedRead") => Some(DefaultPermissions::LimitedRead),
            Some("Write") => Some(DefaultPermissions::Write),
            _ => None,
        },
        elsewhere: (!skip).then_some(&referenced),
        ..CheckOptions::default()
    };
    let path = expect["workflow_name_in_messages"].as_str().unwrap_or(".github/workflows/w.yml");
    let checked = check(path, &text, &local, &options);
    let found = errors(&checked);
    if expect["ok"] == true {
        return (!found.is_empty()).then(|| format!("accepted, and refused with {found:?}"));
    }
    let wanted = expect["errors"].as_array().unwrap();
    for error in wanted {
        let message = error["message"].as_str().unwrap();
        let at = (error["line"].as_u64(), error["column"].as_u64());
        let file = error["file"].as_str().unwrap_or(path);
        let is_it = |found: &(String, u64, u64, String)| {
            let same_place = at.0.is_none() || (found.0 == file && (Some(found.1), Some(found.2)) == at);
            // Messages without a place have the file's name before them. That of the style names one that the tree does not keep.
            let same_text = message == found.3
                || at.0.is_none() && message.ends_with(&found.3)
                || message.contains("The scalar style") && found.3.contains("The scalar style");
            same_place && same_text
        };
        if !found.iter().any(is_it) {
            return Some(format!("misses {}:{} {message}\n     has {found:?}", error["line"], error["column"]));
        }
    }
    (found.len() > wanted.len()).then(|| format!("more than the official {wanted:?}: {found:?}"))
}

#[test]
fn acts_workflows_get_the_official_verdict() {
    let Some(folder) = corpus("github/workflows") else { return };
    let mut wrong = Vec::new();
    let mut total = 0;
    let mut cases: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    for case in cases.iter().filter(|case| case.join("expect.json").is_file()) {
        let expect = json(&case.join("expect.json"));
        for (file, verdict) in expect["official_parser"].as_object().into_iter().flatten() {
            let Some(text) = [case.join(file), case.join(".github/workflows").join(file)]
                .iter()
                .find_map(|path| std::fs::read_to_string(path).ok())
            else {
                continue;
            };
            total += 1;
            let options = CheckOptions { lints: false, ..CheckOptions::default() };
            let found = errors(&check(file, &text, &NoFiles, &options));
            let at = |error: &Json| (error["line"].as_u64().unwrap_or(1), error["column"].as_u64().unwrap_or(1));
            let wanted: Vec<_> = verdict["errors"].as_array().into_iter().flatten().map(at).collect();
            let places: Vec<_> = found.iter().map(|(_, line, column, _)| (*line, *column)).collect();
            if verdict["ok"].as_bool() != Some(found.is_empty()) || wanted.iter().any(|place| !places.contains(place)) {
                wrong.push(format!("{file} in {}: wanted {}, found {found:?}", case.display(), verdict));
            }
        }
    }
    report("github/workflows", total, &wrong, 0.95);
}
