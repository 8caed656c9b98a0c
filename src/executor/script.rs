//! The commands of a step as text for a shell, the way GitLab's users know it: each command is shown before it runs, and the
//! first that fails ends the script. (protocols: GitLab runner 9.8.)
//!
//! The text works in every POSIX shell: `printf` instead of `echo` where there is a backslash (some shells' `echo` reads
//! them), single quotes only. What a script's own `set -x` or `set -v` shows of it is `echo`, as with gitlab-runner.
//! Variables are not in it: they are in the environment, and secrets stay out of argv and of files.

use std::fmt::Write as _;

/// How a script is put together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptStyle {
    /// The shell prints each command as it runs it (`CI_DEBUG_TRACE`).
    pub trace_commands: bool,
    /// Commands of several lines are shown in a folded section of their own (`FF_SCRIPT_SECTIONS`), named after this and
    /// their position.
    pub sections: Option<SectionStyle>,
    /// After each command the script asks how it ended: the shell itself looks away where a command that failed is a part of
    /// another, or after `set +e` (`FF_ENABLE_BASH_EXIT_CODE_CHECK`).
    pub check_each: bool,
    /// The script runs at the end of a pipe (`FF_USE_LEGACY_BASH_EVAL`), in which bash makes 1 of every code but those given to
    /// `exit`.
    pub legacy_eval: bool,
}

/// Names and time of folded sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionStyle {
    /// `script_step` in `section_script_step_3`.
    pub name: String,
    /// Seconds since 1970. The sections are closed as soon as they are opened and their duration is hidden, so one time
    /// for all will do.
    pub time: u64,
}

/// Ends the script as the command before it ended. In a variable, for the test is a command, too.
const CHECK: &str = "_runner_exit_code=$?; if [ $_runner_exit_code -ne 0 ]; then exit $_runner_exit_code; fi\n";

/// The whole script for `commands`.
///
/// `env_file` is the file, as the job sees it, by which a command hands variables to later scripts (`GITLAB_ENV`): its lines
/// are exported first.
pub fn assemble(commands: &[String], env_file: Option<&str>, style: &ScriptStyle) -> String {
    let body = quote(&body(commands, env_file, style));
    let options = "if (set -o pipefail) 2>/dev/null; then set -o pipefail; fi\nset -o errexit\nset +o noclobber";
    if style.legacy_eval {
        return format!("trap exit 1 TERM\n{options}\n{{ : | eval {body}; exit; }}\n");
    }
    // One compound command: the shell has read all of it before it runs any, so that standard input, which brought this
    // text, can be closed to the commands. `eval` parses the body as a whole, so that a syntax error in its last command runs
    // nothing. No subshell: a shell that is told to end does so at once, without a word about the child it waited for.
    // The last command's status is the script's even where nothing ended it: under `set +e`, or of `[ a = b ] && echo yes`.
    format!("{options}\n{{ exec </dev/null; eval {body}; exit; }}\n")
}

fn body(commands: &[String], env_file: Option<&str>, style: &ScriptStyle) -> String {
    let mut text = String::new();
    if let Some(file) = env_file {
        text.push_str(&exports(file));
    }
    if style.trace_commands {
        text.push_str("set -o xtrace\n");
    }
    for (index, command) in commands.iter().enumerate() {
        add_command(&mut text, index, command.trim(), style);
    }
    text
}

/// Exports what earlier commands wrote to `file`, a line a variable.
pub fn exports(file: &str) -> String {
    let file = quote(file);
    // A line that is no assignment is not worth a failure; `command` keeps a bad name from ending the shell.
    format!(
        "if [ -f {file} ]; then while IFS= read -r GITLAB_ENV_LINE || [ -n \"$GITLAB_ENV_LINE\" ]; do case \
         \"$GITLAB_ENV_LINE\" in [A-Za-z_]*=*) command export \"$GITLAB_ENV_LINE\" 2>/dev/null || true ;; esac; \
         done <{file}; unset GITLAB_ENV_LINE; fi\n"
    )
}

fn add_command(text: &mut String, index: usize, command: &str, style: &ScriptStyle) {
    if command.is_empty() {
        text.push_str("echo\n");
        return;
    }
    match &style.sections {
        Some(sections) if command.contains('\n') => show_in_section(text, index, command, sections),
        _ => show(text, &in_one_line(command)),
    }
    text.push_str(command);
    text.push('\n');
    if style.check_each {
        text.push_str(CHECK);
    }
}

/// The lines by which the script shows `commands`, in their order, where it has no sections for them.
pub fn shown(commands: &[String]) -> Vec<String> {
    let line = |command: &String| match command.trim() {
        "" => String::new(),
        command => shown_as(&in_one_line(command)),
    };
    commands.iter().map(line).collect()
}

fn in_one_line(command: &str) -> String {
    match command.split_once('\n') {
        Some((first, _)) => format!("{first} # collapsed multi-line command"),
        None => command.to_owned(),
    }
}

/// Bold green with a `$` before it.
fn shown_as(what: &str) -> String {
    format!("\x1b[32;1m$ {what}\x1b[0;m")
}

fn show(text: &mut String, what: &str) {
    let line = quote(&shown_as(what));
    let program = if what.contains('\\') { "printf '%s\\n'" } else { "echo" };
    let _ = writeln!(text, "{program} {line}");
}

fn show_in_section(text: &mut String, index: usize, command: &str, style: &SectionStyle) {
    let SectionStyle { name, time } = style;
    let start = format!(
        "section_start:{time}:section_{name}_{index}[hide_duration=true,collapsed=true]\r\x1b[0K\x1b[32;1m$ {command}\x1b[0;m"
    );
    let end = format!("section_end:{time}:section_{name}_{index}\r\x1b[0K");
    let _ = writeln!(text, "printf '%s\\n' {}", quote(&start));
    let _ = writeln!(text, "printf '%s' {}", quote(&end));
}

/// `text` as one word of shell source.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for (index, part) in text.split('\'').enumerate() {
        if index > 0 {
            out.push_str("'\\''");
        }
        out.push_str(part);
    }
    out.push('\'');
    out
}

/// Whether a shell can hold a variable of this name.
pub fn is_shell_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_ascii_alphabetic())
        && chars.all(|c| c == '_' || c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// What a real shell makes of the commands: exit code and output.
    fn run(shell: &[&str], commands: &[&str], style: &ScriptStyle) -> (i32, String) {
        let commands: Vec<String> = commands.iter().map(|c| (*c).to_owned()).collect();
        let script = assemble(&commands, None, style);
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stdout).replace('\x1b', "^"))
    }

    const SHELLS: [&[&str]; 3] = [&["bash"], &["dash"], &["busybox", "sh"]];

    #[test]
    fn each_command_is_asked_how_it_ended_where_that_is_wanted() {
        let strict = ScriptStyle { check_each: true, ..ScriptStyle::default() };
        for shell in SHELLS {
            for commands in [["false && true", "echo went-on"], ["set +e; false", "echo went-on"]] {
                let (code, out) = run(shell, &commands, &ScriptStyle::default());
                assert!(code == 0 && out.contains("\nwent-on"), "{shell:?} {commands:?}: {out}");
                let (code, out) = run(shell, &commands, &strict);
                assert!(code == 1 && !out.contains("went-on"), "{shell:?} {commands:?}: {out}");
            }
            assert_eq!(run(shell, &["echo one; (exit 0)", "", "echo two\n# a comment"], &strict).0, 0);
            assert_eq!(run(shell, &["set +e\n(exit 7)"], &strict).0, 7);
        }
    }

    #[test]
    fn commands_are_shown_literally_and_run() {
        for shell in SHELLS {
            let (code, out) = run(
                shell,
                &[r#"A='x\ny'; echo "it's $A" >/dev/null"#, "", "echo two\necho three"],
                &ScriptStyle::default(),
            );
            assert_eq!(code, 0, "{shell:?} {out}");
            assert_eq!(
                out,
                "^[32;1m$ A='x\\ny'; echo \"it's $A\" >/dev/null^[0;m\n\n^[32;1m$ echo two # collapsed multi-line command^[0;m\ntwo\nthree\n",
                "{shell:?}"
            );
        }
    }

    #[test]
    fn the_first_failure_ends_the_script_with_its_code() {
        for shell in SHELLS {
            let (code, out) = run(shell, &["sh -c 'exit 37'", "echo never"], &ScriptStyle::default());
            assert_eq!(code, 37, "{shell:?}");
            assert!(!out.contains("\nnever"), "{out}");
            assert_eq!(run(shell, &["exit 0", "false"], &ScriptStyle::default()).0, 0);
            assert_eq!(run(shell, &["exec sh -c 'exit 7'"], &ScriptStyle::default()).0, 7);
            assert_ne!(run(shell, &["echo fine", "if then"], &ScriptStyle::default()).0, 0);
        }
    }

    #[test]
    fn the_last_status_is_the_script_s() {
        for shell in SHELLS {
            let code = |commands: &[&str]| run(shell, commands, &ScriptStyle::default()).0;
            assert_eq!(code(&["set +e", "false"]), 1, "{shell:?}");
            assert_eq!(code(&["set +e", "sh -c 'exit 9'"]), 9, "{shell:?}");
            assert_eq!(code(&["[ 1 = 2 ] && echo no"]), 1, "{shell:?}");
            assert_eq!(code(&["! true"]), 1, "{shell:?}");
            assert_eq!(code(&["set +e", "false", "true"]), 0, "{shell:?}");
            assert_eq!(code(&["[ 1 = 2 ] && echo no", "# the end"]), 0, "{shell:?}");
            assert_eq!(code(&[]), 0, "{shell:?}");
        }
    }

    #[test]
    fn at_the_end_of_a_pipe_bash_knows_one_code() {
        let style = ScriptStyle { legacy_eval: true, ..ScriptStyle::default() };
        for (shell, of_a_command) in [(SHELLS[0], 1), (SHELLS[1], 9), (SHELLS[2], 9)] {
            let code = |commands: &[&str]| run(shell, commands, &style).0;
            assert_eq!(code(&["sh -c 'exit 9'", "echo never"]), of_a_command, "{shell:?}");
            assert_eq!(code(&["exit 9"]), 9, "{shell:?}");
            assert_eq!(code(&["set +e", "false"]), 1, "{shell:?}");
            assert_eq!(code(&["cat"]), 0, "{shell:?}");
        }
    }

    #[test]
    fn a_pipe_fails_with_its_first_part_where_the_shell_can() {
        assert_eq!(run(&["bash"], &["false | cat"], &ScriptStyle::default()).0, 1);
    }

    #[test]
    fn a_command_that_reads_gets_the_end_of_input() {
        for shell in SHELLS {
            let (code, out) = run(shell, &["cat", "read -r x || echo eof"], &ScriptStyle::default());
            assert_eq!(code, 0, "{shell:?}");
            assert!(out.ends_with("eof\n"), "{out}");
        }
    }

    #[test]
    fn a_block_has_a_section_of_its_own() {
        let style = ScriptStyle {
            sections: Some(SectionStyle { name: "script_step".into(), time: 7 }),
            ..ScriptStyle::default()
        };
        let (_, out) = run(&["bash"], &["true", "echo a\necho b"], &style);
        assert!(out.contains("section_start:7:section_script_step_1[hide_duration=true,collapsed=true]\r^[0K^[32;1m$ echo a\necho b^[0;m\nsection_end:7:section_script_step_1\r^[0Ka\nb\n"), "{out:?}");
    }

    #[test]
    fn the_env_file_is_exported() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's env");
        std::fs::write(&file, "A=1 2\nnot an assignment\na-b=c\nB=last").unwrap();
        for shell in SHELLS {
            let script = assemble(&["echo \"$A-$B\"".into()], file.to_str(), &ScriptStyle::default());
            let out = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(script).output().unwrap();
            assert!(String::from_utf8_lossy(&out.stdout).ends_with("1 2-last\n"), "{shell:?} {out:?}");
        }
    }

    #[test]
    fn names_a_shell_can_hold() {
        assert!(is_shell_name("A_1") && is_shell_name("_"));
        assert!(!is_shell_name("1A") && !is_shell_name("A-B") && !is_shell_name("") && !is_shell_name("Ü"));
    }
}
