//! The one direction of the rooms (ARCHITECTURE.md) is held by the `use` lines themselves.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it must not know.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "pipeline",
        &[
            "agent",
            "allocator",
            "artifact",
            "cli",
            "config",
            "emulator",
            "executor",
            "forge",
            "local",
            "outbound",
            "parser",
            "state",
            "telemetry",
        ],
    ),
    (
        "parser",
        &[
            "agent",
            "allocator",
            "artifact",
            "cli",
            "config",
            "emulator",
            "executor",
            "forge",
            "local",
            "outbound",
            "state",
            "telemetry",
        ],
    ),
    ("local", &["cli"]),
    ("forge", &["local", "agent", "artifact", "cli", "emulator", "executor", "state"]),
    ("artifact", &["local", "agent", "cli", "emulator", "executor", "forge", "state"]),
    ("outbound", &["local", "agent", "artifact", "cli", "emulator", "executor", "forge", "state"]),
    ("executor", &["local", "agent", "cli", "emulator"]),
    ("state", &["local", "agent", "cli", "emulator"]),
    ("agent", &["local", "cli", "emulator"]),
    ("emulator", &["local", "agent", "cli", "config", "executor", "forge", "state"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The lines of code of a file, without comments and doc links.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn dependencies_point_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, forbidden) in FORBIDDEN {
        let mut files = Vec::new();
        sources(&src.join(room), &mut files);
        assert!(!files.is_empty(), "the room {room} is gone: mend this list");
        for file in files {
            for (number, line) in code(&file).iter().enumerate() {
                for other in *forbidden {
                    if line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};")) {
                        wrong.push(format!("{}:{}: {}", file.display(), number + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these lines point the wrong way:\n{}", wrong.join("\n"));
}

#[test]
fn the_model_does_nothing() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline"), &mut files);
    for file in files {
        for line in code(&file) {
            for word in ["tokio::", "std::fs", "std::net", "std::process", "SystemTime", "Instant::now", "rand::"] {
                assert!(!line.contains(word), "{}: the model is pure, but: {}", file.display(), line.trim());
            }
        }
    }
}

/// The codes of findings, in the files that list them.
fn codes() -> Vec<String> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let lists = files.into_iter().filter(|path| path.file_name().is_some_and(|name| name == "codes.rs"));
    let mut found: Vec<String> = Vec::new();
    for path in lists {
        let text = fs::read_to_string(path).unwrap();
        let parts = text.split("Code(\"").skip(1);
        found.extend(parts.map(|part| part.split('"').next().unwrap_or_default().to_owned()));
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn every_finding_is_explained_and_nothing_else_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/diagnostics.md");
    let text = fs::read_to_string(page).unwrap();
    let mut explained: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    explained.sort();
    assert_eq!(explained, codes(), "docs/diagnostics.md has a section for each code, and for nothing else");
}
