//! Broken files: the place and the words of their errors.

use super::*;

/// What the graph of jobs finds, and what is no error of GitLab's newest release.
const ELSEWHERE: [&str; 3] = ["gitlab-cycle-2", "gitlab-cycle-3", "gitlab-cycle-5"];

#[test]
fn errors_stand_where_they_are() {
    let Some(folder) = corpus("broken") else { return };
    let (mut wrong, mut total) = (Vec::new(), 0);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.to_str().is_some_and(|path| path.ends_with(".expect.json"))) {
        let expect: Json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().trim_end_matches(".expect.json");
        if expect["dialect"] != "gitlab" || ELSEWHERE.contains(&name) {
            continue;
        }
        total += 1;
        let bytes = std::fs::read(folder.join(format!("{name}.yml"))).unwrap();
        let (_, diagnostics) = findings(&format!("{name}.yml"), &bytes, &BTreeMap::new(), Unavailable::Note);
        wrong.extend(problem(&expect, &diagnostics).map(|problem| {
            let found: Vec<_> = diagnostics
                .iter()
                .map(|d| format!("{:?} {}:{} {} ({:?})", d.severity, d.span.line, d.span.column, d.message, d.help))
                .collect();
            format!("{name}: {problem}: {found:#?}")
        }));
    }
    report("broken", total, &wrong, 0.98);
}

fn problem(expect: &Json, diagnostics: &Diagnostics) -> Option<String> {
    let errors = diagnostics.iter().filter(|finding| finding.severity == Severity::Error).count();
    if expect["valid"] == true {
        return (errors > 0).then(|| "valid, and refused".to_owned());
    }
    if expect["valid_or_error"] == true && errors == 0 {
        return None;
    }
    let texts = |key: &str| -> Vec<String> {
        expect[key].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut places = vec![(expect["line"].as_u64().unwrap(), expect["column"].as_u64().unwrap())];
    for place in expect["or_at"].as_array().into_iter().flatten() {
        places.push((place[0].as_u64().unwrap(), place[1].as_u64().unwrap()));
    }
    let anywhere = expect["or_at"].is_string();
    let soft = expect["severity"].is_string();
    let fits = diagnostics.iter().any(|finding| {
        let at = (u64::from(finding.span.line), u64::from(finding.span.column));
        let all = format!("{} {}", finding.message, finding.help.as_deref().unwrap_or_default());
        (soft || finding.severity == Severity::Error)
            && (anywhere || places.contains(&at))
            && texts("must_mention").iter().all(|word| all.contains(word.as_str()))
            && expect["suggestion"].as_str().is_none_or(|word| all.contains(word))
    });
    (!fits).then(|| format!("nothing fits {places:?} {:?} {}", texts("must_mention"), expect["suggestion"]))
}
