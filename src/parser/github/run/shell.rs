//! Which program runs a script, and what is added to the script for it.
//!
//! Source: actions/runner `ScriptHandlerHelpers.cs` and `ScriptHandler.cs`.

use super::ShellCommand;

/// A `shell` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Invalid shell option `{0}`: it must be a valid built-in (bash, sh, pwsh, python, cmd, powershell) or a command line that contains `{{0}}`, for example `perl {{0}}`"
)]
pub struct InvalidShell(pub String);

/// The command line for a step. `shell` is what the file says, empty where it says nothing; then `bash -e` is taken where there is
/// bash, else `sh -e`, and in a job's own container `sh -e` always, as on the forge.
pub fn command(shell: &str, in_container: bool) -> Result<ShellCommand, InvalidShell> {
    let shell = shell.trim();
    if shell.is_empty() {
        let programs: &[&str] = if in_container { &["sh"] } else { &["bash", "sh"] };
        return Ok(built_in(programs, "-e {0}", ".sh"));
    }
    let (program, rest) = shell.split_once(char::is_whitespace).unwrap_or((shell, ""));
    if rest.is_empty() {
        return known(program).ok_or_else(|| InvalidShell(shell.to_owned()));
    }
    if !rest.contains("{0}") {
        return Err(InvalidShell(shell.to_owned()));
    }
    Ok(ShellCommand {
        programs: vec![program.to_owned()],
        arguments: words(rest),
        extension: known(program).map_or("", |known| known.extension),
    })
}

fn known(program: &str) -> Option<ShellCommand> {
    Some(match program {
        "bash" => built_in(&["bash"], "--noprofile --norc -e -o pipefail {0}", ".sh"),
        "sh" => built_in(&["sh"], "-e {0}", ".sh"),
        "python" => built_in(&["python", "python3"], "{0}", ".py"),
        "pwsh" | "powershell" => ShellCommand {
            programs: vec![program.to_owned()],
            arguments: vec!["-command".to_owned(), ". '{0}'".to_owned()],
            extension: ".ps1",
        },
        "cmd" => ShellCommand {
            programs: vec!["cmd".to_owned()],
            arguments: words("/D /E:ON /V:OFF /S /C \"CALL \"{0}\"\""),
            extension: ".cmd",
        },
        _ => return None,
    })
}

fn built_in(programs: &[&str], arguments: &str, extension: &'static str) -> ShellCommand {
    ShellCommand {
        programs: programs.iter().map(|program| (*program).to_owned()).collect(),
        arguments: words(arguments),
        extension,
    }
}

/// The words of a command line: separated by white space, double quotes hold together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_word) = (false, false);
    for c in line.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                is_word = true;
            }
            c if c.is_whitespace() && !is_quoted => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            c => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

/// The text of the script file: what the shell needs around the script, and a newline at the end.
pub fn script_file(script: &str, extension: &str) -> String {
    let mut text = match extension {
        ".ps1" => format!(
            "$ErrorActionPreference = 'stop'\n{script}\nif ((Test-Path -LiteralPath variable:\\LASTEXITCODE)) {{ exit $LASTEXITCODE }}"
        ),
        ".cmd" => format!("@echo off\r\n{script}"),
        _ => script.to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(shell: &str, in_container: bool) -> String {
        let command = command(shell, in_container).unwrap();
        format!("{} {}", command.programs[0], command.arguments_for("/t/a b.sh").join("|"))
    }

    #[test]
    fn built_in_shells_fail_early() {
        assert_eq!(line("", false), "bash -e|/t/a b.sh");
        assert_eq!(line("", true), "sh -e|/t/a b.sh");
        assert_eq!(line("bash", false), "bash --noprofile|--norc|-e|-o|pipefail|/t/a b.sh");
        assert_eq!(line("sh", false), "sh -e|/t/a b.sh");
        assert_eq!(line("pwsh", false), "pwsh -command|. '/t/a b.sh'");
        assert_eq!(command("python", false).unwrap().extension, ".py");
    }

    #[test]
    fn ones_own_shell_is_taken_as_it_is() {
        assert_eq!(line("bash {0}", false), "bash /t/a b.sh");
        assert_eq!(line("perl -w \"{0}\" 'x'", true), "perl -w|/t/a b.sh|'x'");
        assert_eq!(command("bash -x {0}", false).unwrap().extension, ".sh");
        assert_eq!(command("zsh", false), Err(InvalidShell("zsh".into())));
        assert!(command("bash -x", false).unwrap_err().to_string().contains("`{0}`"));
    }

    #[test]
    fn power_shell_stops_at_errors() {
        let text = script_file("Get-Item x", ".ps1");
        assert!(text.starts_with("$ErrorActionPreference = 'stop'\nGet-Item x\n"));
        assert_eq!(script_file("echo", ".sh"), "echo\n");
    }
}
