//! A step that failed as two files: its script as it was, and a launcher that runs it as the shim did.

use std::fmt::Write as _;

use super::SCRIPT;
use crate::executor::sandbox::shim::SHELLS;
use crate::executor::script::{is_shell_name, quote};

/// What started a step's script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::executor) enum Interpreter {
    /// The first shell there is, as for the scripts of GitLab's jobs.
    Shell,
    /// The first of these programs there is, with arguments in which `{0}` is the script's file.
    FirstOf { programs: Vec<String>, arguments: Vec<String> },
}

/// The launcher: a shell script that needs no argument, so that an entrypoint which loses them does no harm.
///
/// `exports` are variables that do not fit into one line of a shell; `path` are folders in front of PATH; `files` those that
/// the script may write to, which forgehand had made.
pub(in crate::executor) fn text(
    title: &str,
    interpreter: &Interpreter,
    path: &[String],
    exports: &[(String, String)],
    files: &[String],
) -> String {
    let mut text = String::from("#!/bin/sh\n");
    // What a job is called may hold anything.
    let title: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(text, "# {title}");
    // Where the script stands beside this file, on a machine or in a container.
    let _ = writeln!(text, "script=${{FORGEHAND_SCRIPT:-{SCRIPT}}}");
    for (name, value) in exports.iter().filter(|(name, _)| is_shell_name(name)) {
        let _ = writeln!(text, "export {name}={}", quote(value));
    }
    if !path.is_empty() {
        let folders: Vec<String> = path.iter().map(|folder| quote(folder)).collect();
        let _ = writeln!(text, "export PATH={}:\"$PATH\"", folders.join(":"));
    }
    for file in files {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let (folder, file) = (quote(folder), quote(file));
        let _ = writeln!(text, "mkdir -p {folder} 2>/dev/null && : 2>/dev/null >>{file}");
    }
    match interpreter {
        Interpreter::Shell => {
            let _ = writeln!(text, "for shell in {}; do", SHELLS.join(" "));
            text.push_str("    [ -x \"$shell\" ] && exec \"$shell\" \"$script\"\ndone\n");
        }
        Interpreter::FirstOf { programs, arguments } => {
            let programs: Vec<String> = programs.iter().map(|program| quote(program)).collect();
            let arguments: Vec<String> = arguments.iter().map(|argument| with_script(argument)).collect();
            let _ = writeln!(text, "for program in {}; do", programs.join(" "));
            let _ = writeln!(
                text,
                "    command -v \"$program\" >/dev/null 2>&1 && exec \"$program\" {}\ndone",
                arguments.join(" ")
            );
        }
    }
    text.push_str("echo 'none of the programs for this script is in the image' >&2\nexit 127\n");
    text
}

/// An argument with the script's file in the place of `{0}`.
fn with_script(argument: &str) -> String {
    let parts: Vec<String> =
        argument.split("{0}").map(|part| if part.is_empty() { String::new() } else { quote(part) }).collect();
    match parts.len() {
        1 => quote(argument),
        _ => parts.join("\"$script\""),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    fn run(launcher: &str, script: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let (run, text) = (folder.path().join("run"), folder.path().join("scr'ipt"));
        std::fs::write(&run, launcher).unwrap();
        std::fs::write(&text, script).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = Command::new("/bin/sh").arg(&run).env("FORGEHAND_SCRIPT", &text).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    #[test]
    fn a_launcher_runs_the_script_with_its_variables_and_ends_as_it_does() {
        let exports = [("MESSAGE".to_owned(), "it's\n$(touch x) `y`".to_owned())];
        let launcher = text("step\n\"x\"", &Interpreter::Shell, &[], &exports, &[]);
        let ended = run(&launcher, "printf '%s' \"$MESSAGE\"\nexit 37\n");
        assert_eq!(ended, (Some(37), "it's\n$(touch x) `y`".into()));
    }

    #[test]
    fn programs_are_tried_in_their_order_with_their_arguments() {
        let interpreter = Interpreter::FirstOf {
            programs: vec!["no-such-program".into(), "sh".into()],
            arguments: vec!["-c".into(), ". '{0}' 'more'".into()],
        };
        // `{0}` within a longer argument, as GitHub's custom shells have it.
        let interpreter_plain =
            Interpreter::FirstOf { programs: vec!["sh".into()], arguments: vec!["-e".into(), "{0}".into()] };
        assert_eq!(
            run(&text("s", &interpreter_plain, &["/x y".into()], &[], &[]), "echo \"$PATH\"").1.split(':').next(),
            Some("/x y")
        );
        let none = Interpreter::FirstOf { programs: vec!["no-such-program".into()], arguments: Vec::new() };
        assert_eq!(run(&text("s", &none, &[], &[], &[]), "").0, Some(127));
        assert!(text("s", &interpreter, &[], &[], &[]).contains("'. '\\'''\"$script\"''\\'' '\\''more'\\'''"));
    }
}
