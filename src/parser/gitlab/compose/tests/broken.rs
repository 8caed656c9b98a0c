//! Files that are broken, and files that are not.

use super::*;

#[test]
fn pipelines_of_known_projects_compose() {
    for folder in ["gitlab/gitlab-ci-local", "real/gitlab"] {
        let Some(root) = corpus(folder) else { return };
        let mut wrong = Vec::new();
        let mut total = 0;
        for case in std::fs::read_dir(root).unwrap().flatten() {
            let case = case.path();
            let (Ok(bytes), Ok(expect)) = (std::fs::read(case.join(".gitlab-ci.yml")), std::fs::read(case.join("expect.json"))) else {
                continue;
            };
            let expect: Json = serde_json::from_slice(&expect).unwrap();
            total += 1;
            let mut files = BTreeMap::new();
            gather(&case, &case, &mut files);
            let mut context = ComposeContext::default();
            for (name, value) in [
                ("CI_PROJECT_PATH", "gcl/test-project"), ("CI_SERVER_FQDN", "gitlab.com"), ("CI_COMMIT_BRANCH", "master"), ("CI_COMMIT_SHA", "deadbeef"),
                ("CI_SERVER_HOST", "gitlab.com"), ("CI_COMMIT_REF_NAME", "master"),
            ] {
                context.variables.insert(name.to_owned(), value.into());
            }
            for args in expect["args"].as_array().into_iter().flatten().filter_map(|arg| arg.as_str()) {
                if let Some((name, value)) = args.strip_prefix("--input=").or(Some(args)).and_then(|args| args.split_once('=')) {
                    context.inputs.insert(name.trim_start_matches("--input ").to_owned(), Given::Text(value.to_owned()));
                }
            }
            let checked = compose_bytes(".gitlab-ci.yml", &bytes, &files, &Offline, &context);
            let errors: Vec<String> = checked.diagnostics.iter().filter(|f| f.severity == Severity::Error).map(|f| format!("{}:{}:{} {} ({:?})", checked.sources.name(f.span.file), f.span.line, f.span.column, f.message, f.help)).collect();
            if expect["ok"] == true && !errors.is_empty() {
                wrong.push(format!("{}: {errors:?} args {}", case.file_name().unwrap().to_string_lossy(), expect["args"]));
            }
        }
        println!("{folder}: {} of {total}\n{}", total - wrong.len(), wrong.join("\n"));
    }
}

fn gather(root: &std::path::Path, folder: &std::path::Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            files.insert(path.strip_prefix(root).unwrap().to_string_lossy().into_owned(), text);
        }
    }
}

#[test]
fn broken_files_are_refused_where_they_are_broken() {
    let Some(root) = corpus("broken") else { return };
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("gitlab-") || !name.ends_with(".yml") {
            continue;
        }
        let expect: Json = serde_json::from_slice(&std::fs::read(entry.path().with_extension("expect.json")).unwrap()).unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let checked = compose_bytes(&name, &bytes, &files(&[]), &Offline, &ComposeContext::default());
        let found: Vec<String> = checked.diagnostics.iter().map(|f| format!("{:?} {}:{} {} [{}]", f.severity, f.span.line, f.span.column, f.message, f.help.clone().unwrap_or_default())).collect();
        lines.push(format!("{name} {} {} {}\n      {found:?}", expect["line"], expect["column"], expect["must_mention"]));
    }
    lines.sort();
    println!("{}", lines.join("\n"));
}
