//! Files with one fault each: its place, what is said of it, and what is proposed.

use super::*;

#[test]
fn faults_are_found_where_they_are_and_explained() {
    let Some(folder) = corpus("broken") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut total, mut wrong) = (0, Vec::new());
    for path in files.iter().filter(|path| path.to_string_lossy().ends_with(".expect.json")) {
        let expect = json(path);
        let name = path.file_name().unwrap().to_string_lossy().replace(".expect.json", "");
        if expect["dialect"] != "github" {
            continue;
        }
        total += 1;
        let bytes = std::fs::read(path.with_file_name(format!("{name}.yml"))).unwrap();
        let Ok(text) = String::from_utf8(bytes) else {
            // Whoever reads files tells that.
            total -= 1;
            continue;
        };
        let checked = check(".github/workflows/w.yml", &text, &NoFiles, &CheckOptions::default());
        if let Some(problem) = problem(&expect, &checked) {
            wrong.push(format!("{name}: {problem}\n    {:?}", errors(&checked)));
        }
    }
    report("broken", total, &wrong, 0.99);
}

fn problem(expect: &Json, checked: &Checked<Workflow>) -> Option<String> {
    if expect["valid"] == true {
        return checked.diagnostics.has_errors().then(|| "valid, and refused".to_owned());
    }
    let words = expect["must_mention"].as_array().unwrap();
    let mut places = vec![(expect["line"].as_u64().unwrap(), expect["column"].as_u64().unwrap())];
    for place in expect["or_at"].as_array().into_iter().flatten() {
        places.push((place[0].as_u64().unwrap(), place[1].as_u64().unwrap()));
    }
    let anywhere = expect["or_at"].is_string();
    let soft = expect["severity"].is_string();
    let fits = checked.diagnostics.iter().any(|finding| {
        let at = (u64::from(finding.span.line), u64::from(finding.span.column));
        let said = format!("{} {}", finding.message, finding.help.as_deref().unwrap_or_default());
        let any: Vec<&str> =
            expect["any_of_mentions"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        (soft || finding.severity == Severity::Error)
            && (anywhere || places.contains(&at))
            && words.iter().all(|word| said.contains(word.as_str().unwrap()))
            && (any.is_empty() || any.iter().any(|word| said.contains(word)))
            && expect["suggestion"].as_str().is_none_or(|word| said.contains(word))
    });
    (!fits).then(|| format!("nothing at {places:?} says {words:?} {}", expect["suggestion"]))
}
