//! `forgehand demo`, as its users see it.

use std::process::Command;

use crate::support::docker::docker;

#[test]
fn the_demo_runs_its_pipeline_and_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a folder");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_forgehand"));
    demo.arg("demo").env("HOME", home.path()).env("TMPDIR", home.path());
    let output = demo.output().expect("forgehand starts");
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{shown}\n{said}", output.status);
    assert!(!said.contains("complains"), "{said}");

    let table: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    for job in ["compile", "unit", "style", "archive"] {
        assert!(table.iter().any(|row| row.first() == Some(&job) && row.get(2) == Some(&"success")), "{job}:\n{shown}");
    }
    let packed = table.iter().find(|row| row.get(1) == Some(&"greeter-1.0.4.zip"));
    let hash = packed.and_then(|row| row.last()).copied().unwrap_or_default();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{shown}");

    assert_eq!(std::fs::read_dir(home.path()).expect("the folder").count(), 0, "folders were left behind");
    assert_eq!(docker(&["images", "--quiet", "forgehand-demo"]), Vec::<String>::new());
}
