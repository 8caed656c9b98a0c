//! Whole configurations: GitLab's processor, gitlab-ci-local's cases, pipelines of known projects.

use super::*;

fn whole_verdict(case: &Json) -> Option<String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in case["includes"].as_object().into_iter().flatten() {
        files.insert(path.clone(), text.as_str().unwrap_or_default().to_owned());
    }
    for path in case["context"]["files"].as_array().into_iter().flatten() {
        files.entry(path.as_str().unwrap_or_default().to_owned()).or_default();
    }
    let yaml = case["yaml"].as_str().unwrap_or_default();
    let (configuration, diagnostics) = findings(".gitlab-ci.yml", yaml.as_bytes(), &files, Unavailable::Note);
    let errors = errors(&diagnostics);
    let ok = case["ok"].as_bool().unwrap();
    if ok != errors.is_empty() {
        return Some(format!("GitLab {ok} {} {}: {errors:?}", case["errors"], case["errors_contain"]));
    }
    if !ok {
        return None;
    }
    let configuration = configuration?;
    if let Some(stages) = case["stages"].as_array() {
        let ours: Vec<&str> = configuration.stages.iter().map(|stage| stage.value.as_str()).collect();
        let theirs: Vec<&str> = stages.iter().filter_map(Json::as_str).collect();
        if ours != theirs {
            return Some(format!("stages {ours:?} instead of {theirs:?}"));
        }
    }
    let parallel = configuration.jobs.iter().any(|job| job.parallel.is_some());
    let of_pipeline = case["context"]["level"] == "pipeline";
    if case["exact_jobs"] == true && !parallel && !of_pipeline {
        let mut ours: Vec<&str> = configuration.jobs.iter().map(|job| job.name.as_str()).collect();
        let mut theirs: Vec<&str> = case["jobs"].as_object()?.keys().map(String::as_str).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        if ours != theirs {
            return Some(format!("jobs {ours:?} instead of {theirs:?}"));
        }
    }
    for (name, job) in case["jobs"].as_object().into_iter().flatten() {
        let Some(ours) = configuration.jobs.get(name) else { continue };
        for (key, want) in job.as_object().into_iter().flatten() {
            if let Some(have) = value_of(ours, key)
                && !same(&have, want)
                && !of_pipeline
            {
                return Some(format!("job {name}: {key} is {have} instead of {want}"));
            }
        }
    }
    None
}

fn same(have: &Json, want: &Json) -> bool {
    have == want || have.is_null() && want == &Json::Array(Vec::new())
}

/// The value of a key as the case writes it, for keys that no rule changes.
fn value_of(job: &model::Job, key: &str) -> Option<Json> {
    let lines = |script: &Option<model::Script>| {
        script.as_ref().map_or(Json::Null, |script| script.lines.iter().map(|line| line.to_string()).collect())
    };
    Some(match key {
        "stage" => job.stage.value.as_str().into(),
        "script" => lines(&job.script),
        "before_script" => lines(&job.before_script),
        "after_script" => lines(&job.after_script),
        "interruptible" => job.interruptible.map_or(Json::Null, Json::from),
        "tags" => job.tags.as_ref().map_or(Json::Null, |tags| tags.iter().map(|tag| tag.value.to_string()).collect()),
        "timeout" => {
            let timeout = job.timeout.as_ref().and_then(|timeout| timeout.duration);
            timeout.map_or(Json::Null, |timeout| timeout.as_secs().into())
        }
        "resource_group" => job.resource_group.as_ref().map_or(Json::Null, |group| group.value.as_str().into()),
        _ => return None,
    })
}

#[test]
fn configurations_as_gitlab() {
    let cases = cases("gitlab/official/yaml_processor.json");
    let (mut wrong, mut total) = (Vec::new(), 0);
    for case in &cases {
        let text = case.to_string();
        // Circles are found by the graph, other projects by who can fetch them, created jobs by the pipeline.
        let elsewhere = ["circular dependencies", "does not exist in the pipeline", "does not have project"];
        let not_here = elsewhere.iter().any(|words| text.contains(words))
            || !case["project_includes"].is_null()
            || !case["context"].is_null() && case["ok"] == false
            || text.contains("topological sort failed");
        if !case["disputed"].is_null() || not_here {
            continue;
        }
        total += 1;
        wrong.extend(whole_verdict(case).map(|problem| format!("{}: {problem}", case["name"])));
    }
    report("yaml_processor", total, &wrong, 0.99);
}

#[test]
fn real_pipelines_are_valid() {
    let Some(folder) = corpus("real/gitlab") else { return };
    let (mut wrong, mut total) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(bytes) = std::fs::read(path.join(".gitlab-ci.yml")) else { continue };
        let expect = std::fs::read(path.join("expect.json")).unwrap();
        let expect: Json = serde_json::from_slice(&expect).unwrap();
        total += 1;
        let (_, diagnostics) = findings(".gitlab-ci.yml", &bytes, &texts_below(&path), Unavailable::Note);
        let errors = errors(&diagnostics);
        if expect["ok"] == true && !errors.is_empty() {
            wrong.push(format!("{}: {errors:#?}", path.display()));
        }
    }
    report("real", total, &wrong, 1.0);
}

/// Where GitLab's rule is another one than gitlab-ci-local's, or the matter is its own.
const PEER_DIFFERS: [&str; 4] = [
    "cache-docker-mount",           // a slash in the key of a cache, which GitLab refuses
    "interactive-image",            // interactive jobs are its own
    "needs-parallel-matrix-static", // a part of a row, where GitLab wants the names of whole rows
    "rules-blank",                  // GitLab refuses it, its cases of jobs have it: a warning
];

#[test]
fn cases_of_gitlab_ci_local() {
    let Some(folder) = corpus("gitlab/gitlab-ci-local") else { return };
    let (mut wrong, mut total) = (Vec::new(), 0);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let Ok(bytes) = std::fs::read(path.join("expect.json")) else { continue };
        let expect: Json = serde_json::from_slice(&bytes).unwrap();
        let source = expect["source_file"].as_str().unwrap_or(".gitlab-ci.yml");
        let Ok(bytes) = std::fs::read(path.join(source)) else { continue };
        total += 1;
        let (_, diagnostics) = findings(source, &bytes, &texts_below(&path), Unavailable::Note);
        let errors = errors(&diagnostics);
        let ok = expect["ok"].as_bool().unwrap_or(true);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if ok != errors.is_empty() && !PEER_DIFFERS.contains(&name.as_str()) {
            wrong.push(format!("{name}: peer {ok} {}: {errors:?}", expect["error"]));
        }
    }
    report("gitlab-ci-local", total, &wrong, 0.97);
}

fn texts_below(root: &std::path::Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if let (Ok(name), Ok(text)) = (path.strip_prefix(root), std::fs::read_to_string(&path)) {
                files.insert(name.to_string_lossy().into_owned(), text);
            }
        }
    }
    files
}
