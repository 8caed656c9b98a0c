//! Archives and artifacts recorded from another runner, where the corpus is there.

use serde_json::Value;

use super::*;

fn corpus() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("../shared/corpus/gitlab-jobs"));
    let found = found.into_iter().find(|path| path.is_dir());
    if found.is_none() {
        eprintln!("the corpus is not here: skipped");
    }
    found
}

#[test]
fn recorded_archives_unpack_exactly() {
    let Some(corpus) = corpus() else { return };
    for name in ["zip-legacy.zip", "zip-fastzip.zip", "tarzstd.zip"] {
        let archive = fs::read(corpus.join("archives").join(name)).unwrap();
        let into = tempfile::tempdir().unwrap();
        let report = unpacked(&archive, into.path()).unwrap();
        assert_eq!(report.remarks, [], "{name}");
        let seen: Vec<_> = listing(into.path())
            .into_iter()
            .map(|(path, kind, mode, time, content)| {
                let time = if kind == 'f' { time } else { 0 }; // folders and links were made when it was recorded
                (path.to_str().unwrap().to_owned(), kind, mode, time, content)
            })
            .collect();
        let file = |path: &str, mode, content: &[u8]| (path.to_owned(), 'f', mode, 1_767_323_045, content.to_vec());
        let want = vec![
            ("c".to_owned(), 'd', 0o755, 0, vec![]),
            file("c/a.txt", 0o644, b"one\n"),
            ("c/empty".to_owned(), 'd', 0o755, 0, vec![]),
            ("c/link".to_owned(), 'l', 0o777, 0, b"a.txt".to_vec()),
            file("c/nil", 0o644, b""),
            file("c/run.sh", 0o755, b"#!/bin/sh\n"),
            ("c/sub".to_owned(), 'd', 0o755, 0, vec![]),
            file("c/sub/zeros", 0o644, &[0; 3000]),
        ];
        assert_eq!(seen, want, "{name}");
    }
}

/// Runs a job's script as the recorded job did, in a plain tree, and gives back what the runner would have uploaded.
fn uploads(response: &Value, root: &Path) -> Vec<Value> {
    let variables = |name: &str| match name {
        "CI_PROJECT_DIR" => Some("/builds/team/app".to_owned()),
        name => response["variables"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|v| (v["key"] == name).then(|| v["value"].as_str().unwrap_or_default().to_owned())),
    };
    let mut failed = false;
    for step in response["steps"].as_array().unwrap() {
        let lines: Vec<&str> = step["script"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        let mut shell = std::process::Command::new("bash");
        shell.args(["-e", "-c", &format!("umask 022\n{}", lines.join("\n"))]).current_dir(root);
        shell.env("WHAT", variables("WHAT").unwrap_or_default());
        failed |= !shell.status().unwrap().success();
    }
    let texts = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.map(|t| select::expand_shell(t.as_str().unwrap(), &variables).unwrap()).collect()
    };
    let mut uploads = Vec::new();
    for artifact in response["artifacts"].as_array().into_iter().flatten() {
        if failed && artifact["when"] == "on_success" {
            continue;
        }
        let files = FileSelection {
            paths: texts(&artifact["paths"]),
            exclude: texts(&artifact["exclude"]),
            untracked: artifact["untracked"] == true,
        };
        let untracked = vec!["ignored/x".into(), "seen".into()]; // what git lists in the one case that asks
        let selection = select::select(&dir(root), "/builds/team/app", &files, untracked).unwrap();
        if selection.is_empty() {
            continue;
        }
        let format = match artifact["artifact_format"].as_str().unwrap() {
            "gzip" => ArtifactFormat::Gzip,
            "raw" => ArtifactFormat::Raw,
            _ => ArtifactFormat::Zip,
        };
        let mut out = Cursor::new(Vec::new());
        pack(&dir(root), &selection, format, Level::Default, &mut out).unwrap();
        let name = select::expand_shell(artifact["name"].as_str().unwrap(), &variables).unwrap();
        let name = file_name(if name.is_empty() { "artifacts" } else { &name }, format);
        uploads.push(describe(artifact, &name, format, out.into_inner()));
    }
    uploads
}

/// An upload as the corpus describes it.
fn describe(artifact: &Value, name: &str, format: ArtifactFormat, bytes: Vec<u8>) -> Value {
    let mut described = serde_json::json!({
        "type": artifact["artifact_type"], "format": artifact["artifact_format"], "filename": name,
    });
    if format == ArtifactFormat::Gzip {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
        described["text"] = text.into();
        return described;
    }
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut entries = serde_json::Map::new();
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).unwrap();
        let mode = entry.unix_mode().unwrap();
        let mut text = String::new();
        let name = entry.name().unwrap().to_string();
        entry.read_to_string(&mut text).unwrap();
        let mut value = serde_json::json!({ "mode": format!("0o{:o}", mode & 0o777) });
        match mode & 0o170_000 {
            0o040_000 => value["kind"] = "dir".into(),
            0o120_000 => {
                value["kind"] = "link".into();
                value["to"] = text.into();
            }
            _ => {
                value["kind"] = "file".into();
                value["text"] = text.into();
            }
        }
        entries.insert(name, value);
    }
    described["entries"] = entries.into();
    described
}

#[test]
fn recorded_jobs_upload_the_same_files() {
    let Some(corpus) = corpus() else { return };
    let mut cases = 0;
    for file in fs::read_dir(&corpus).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let of_ours = name.starts_with("artifacts-") || name == "dependencies-symlink";
        if !of_ours || name == "artifacts-on-timeout" {
            continue; // a time limit is not ours to keep
        }
        let case: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let uploads = uploads(&case["jobs"][0]["response"], root.path());
        let none = Vec::new();
        let want = case["expect"][0]["artifacts"].as_array().unwrap_or(&none);
        assert_eq!(&uploads, want, "{name}");
        cases += 1;
    }
    assert!(cases >= 14, "only {cases} cases found");
}
