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
            let (Ok(bytes), Ok(expect)) =
                (std::fs::read(case.join(".gitlab-ci.yml")), std::fs::read(case.join("expect.json")))
            else {
                continue;
            };
            let expect: Json = serde_json::from_slice(&expect).unwrap();
            total += 1;
            let mut files = BTreeMap::new();
            gather(&case, &case, &mut files);
            let mut context = ComposeContext::default();
            for (name, value) in [
                ("CI_PROJECT_PATH", "gcl/test-project"),
                ("CI_SERVER_FQDN", "gitlab.com"),
                ("CI_COMMIT_BRANCH", "master"),
                ("CI_COMMIT_SHA", "deadbeef"),
                ("CI_SERVER_HOST", "gitlab.com"),
                ("CI_COMMIT_REF_NAME", "master"),
            ] {
                context.variables.insert(name.to_owned(), value.into());
            }
            let args: Vec<&str> = expect["args"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            for pair in args.chunks(2) {
                let [flag, text] = pair else { continue };
                let Some((name, value)) = text.split_once('=') else { continue };
                match *flag {
                    "--input" => drop(context.inputs.insert(name.to_owned(), Given::Text(value.to_owned()))),
                    _ => drop(context.variables.insert(name.to_owned(), value.into())),
                }
            }
            let checked = compose_bytes(".gitlab-ci.yml", &bytes, &files, &Offline, &context);
            let errors: Vec<String> = checked
                .diagnostics
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .map(|f| {
                    format!(
                        "{}:{}:{} {} ({:?})",
                        checked.sources.name(f.span.file),
                        f.span.line,
                        f.span.column,
                        f.message,
                        f.help
                    )
                })
                .collect();
            if expect["ok"] == true && !errors.is_empty() {
                wrong.push(format!(
                    "{}: {errors:?} args {}",
                    case.file_name().unwrap().to_string_lossy(),
                    expect["args"]
                ));
            }
        }
        println!("{folder}: {} of {total}\n{}", total - wrong.len(), wrong.join("\n"));
        assert!(wrong.len() * 50 <= total, "{}", wrong.join("\n"));
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

/// The files whose mistakes are seen before there are jobs.
const SEEN_HERE: [&str; 25] = [
    "alias-to-self",
    "bad-dedent",
    "billion-laughs",
    "cycle-extends",
    "deep-block-nesting",
    "deep-flow-nesting",
    "document-is-a-list",
    "document-is-a-scalar",
    "duplicate-job",
    "duplicate-key-in-job",
    "empty-file",
    "input-undefined",
    "merge-list-of-scalars",
    "merge-scalar",
    "missing-colon-space",
    "missing-local-include",
    "nul-byte",
    "reference-not-a-list",
    "tab-in-nested-list",
    "tab-indentation",
    "unclosed-double-quote",
    "unclosed-flow-mapping",
    "unknown-tag",
    "utf16-without-mark",
    "value-on-mapping",
];

#[test]
fn broken_files_are_refused_where_they_are_broken() {
    let Some(root) = corpus("broken") else { return };
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(short) = name.strip_prefix("gitlab-").and_then(|name| name.strip_suffix(".yml")) else { continue };
        let expect: Json =
            serde_json::from_slice(&std::fs::read(entry.path().with_extension("expect.json")).unwrap()).unwrap();
        let bytes = std::fs::read(entry.path()).unwrap();
        let checked = compose_bytes(&name, &bytes, &files(&[]), &Offline, &ComposeContext::default());
        let found: Vec<&Diagnostic> = checked.diagnostics.iter().collect();
        if !SEEN_HERE.contains(&short) {
            assert!(found.is_empty(), "{name}: {found:?}");
            continue;
        }
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let one = found[0];
        let here = serde_json::json!([one.span.line, one.span.column]);
        let good = here == serde_json::json!([expect["line"], expect["column"]])
            || expect["or_at"].as_array().is_some_and(|places| places.contains(&here))
            || expect["or_at"] == "any";
        assert!(good, "{name}: {one:?} instead of {}:{}", expect["line"], expect["column"]);
        let text = format!("{} {}", one.message, one.help.as_deref().unwrap_or_default());
        for word in expect["must_mention"].as_array().into_iter().flatten().filter_map(Json::as_str) {
            assert!(text.contains(word), "{name}: `{text}` does not mention {word}");
        }
        if let Some(suggestion) = expect["suggestion"].as_str() {
            assert!(text.contains(suggestion), "{name}: `{text}` does not suggest {suggestion}");
        }
    }
}

#[test]
fn forges_own_templates_compose() {
    let Some(root) = corpus("gitlab/official/schema/templates") else { return };
    let mut all = BTreeMap::new();
    gather(&root, &root, &mut all);
    for (name, text) in all.iter().filter(|(name, _)| name.ends_with(".yml")) {
        let (_, errors) = with(text, &BTreeMap::new(), &Offline, &ComposeContext::default());
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}
