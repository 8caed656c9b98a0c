//! The editor's schema tests and GitLab's own templates: the server's verdict on files.

use super::*;

fn files_of(folder: &str) -> Vec<PathBuf> {
    let Some(folder) = corpus(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    files
}

fn expectation(path: &std::path::Path) -> Json {
    let name = path.with_extension("").to_str().unwrap().to_owned() + ".expect.json";
    std::fs::read(name).map_or(Json::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
}

fn table(folder: &str) {
    let (mut wrong, mut total) = (Vec::new(), 0);
    for path in files_of(folder) {
        let expect = expectation(&path);
        let (Some(ok), None) =
            (expect["server_ok"].as_bool().or(expect["ok"].as_bool()), expect["server_phase"].as_str())
        else {
            continue;
        };
        total += 1;
        let mut files = BTreeMap::new();
        for file in expect["needs_files"].as_array().into_iter().flatten() {
            let name = file.as_str().unwrap().trim_start_matches('/').to_owned();
            files.insert(name.clone(), ".x: {script: ls}\n".to_owned());
        }
        let bytes = std::fs::read(&path).unwrap();
        let (_, diagnostics) = findings("ci.yml", &bytes, &files, Unavailable::Note);
        // What a header asks for is given by who includes the file.
        let given = |error: &String| !error.contains("needs a value: it has no default");
        let errors: Vec<String> = errors(&diagnostics).into_iter().filter(given).collect();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ok != errors.is_empty() {
            wrong.push(format!("{name}: GitLab {ok} {} {}: {errors:?}", expect["server_error"], expect["key"]));
        } else if let Some(job) = expect["job"].as_str().filter(|_| !ok)
            && !errors.iter().any(|error| error.contains(job))
        {
            wrong.push(format!("{name}: no error names the job {job}: {errors:?}"));
        }
    }
    report(folder, total, &wrong, 0.98);
}

#[test]
fn faults_as_the_server() {
    table("gitlab/official/schema/negative");
}

#[test]
fn valid_files_as_the_server() {
    table("gitlab/official/schema/positive-server");
}

#[test]
fn templates_are_valid() {
    let Some(folder) = corpus("gitlab/official/schema/templates") else { return };
    let manifest: Json = serde_json::from_slice(&std::fs::read(folder.join("MANIFEST.json")).unwrap()).unwrap();
    let list = manifest.as_array().or(manifest["templates"].as_array()).expect("a list of templates").clone();
    let (mut wrong, mut total) = (Vec::new(), 0);
    for template in &list {
        let name = template["file"].as_str().or(template["path"].as_str()).or(template["name"].as_str()).unwrap();
        let Ok(bytes) = std::fs::read(folder.join(name)) else { continue };
        total += 1;
        let (_, diagnostics) = findings(name, &bytes, &BTreeMap::new(), Unavailable::Note);
        let errors = errors(&diagnostics);
        let has_jobs = template["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty());
        // Parts of other templates, whose stages those have, and one that only older servers take.
        let note = template["note"].as_str().unwrap_or_default();
        let ok = !note.contains("included") && !note.contains("refuses it") && !name.contains('/');
        let only_hidden = errors.len() == 1 && errors[0].contains("has no job") && !has_jobs;
        if ok && !errors.is_empty() && !only_hidden {
            wrong.push(format!("{name}: {errors:?} {template}"));
        }
    }
    report("templates", total, &wrong, 0.98);
}
