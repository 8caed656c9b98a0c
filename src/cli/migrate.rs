//! `forgehand migrate`: takes over another runner's registrations.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::config::verdict_of;
use super::verdict::Verdict;
use crate::config::Locations;
use crate::config::migrate::plan::{Applied, Mode};
use crate::config::migrate::{Migration, MigrationError, Note, gitlab_runner};

/// Arguments of `forgehand migrate`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  forgehand migrate --dry-run /etc/gitlab-runner/config.toml\n  forgehand migrate /etc/gitlab-runner"
)]
pub struct MigrateArgs {
    /// gitlab-runner's `config.toml`, or the folder that holds it. It is only read.
    path: PathBuf,
    /// Print the configuration that would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `forgehand migrate`.
pub fn run(args: &MigrateArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let mode = if args.dry_run { Mode::DryRun } else { Mode::Write };
    match migrate(&args.path, locations, mode) {
        Ok((migration, applied)) => Ok(tell(&migration, &applied, locations, mode)),
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("error: {line}");
            }
            Ok(match &error {
                MigrationError::Source { .. } => Verdict::BadInput,
                MigrationError::Config(error) => verdict_of(error),
                MigrationError::Credentials(_) | MigrationError::Secret { .. } => Verdict::Environment,
            })
        }
    }
}

fn migrate(path: &Path, locations: &Locations, mode: Mode) -> Result<(Migration, Applied), MigrationError> {
    let file = if path.is_dir() { path.join("config.toml") } else { path.to_owned() };
    let migration = gitlab_runner::read(&file, |name| std::env::var(name).ok())?;
    let applied = migration.apply(locations, mode, Timestamp::now())?;
    Ok((migration, applied))
}

/// The result on standard output, everything else on standard error.
fn tell(migration: &Migration, applied: &Applied, locations: &Locations, mode: Mode) -> Verdict {
    let mut out = std::io::stdout().lock();
    // A closed pipe has read enough.
    let _ = match mode {
        Mode::DryRun => write!(out, "{}", applied.text),
        Mode::Write => applied
            .added
            .iter()
            .try_for_each(|name| writeln!(out, "added `{name}` to {}", locations.config_file.display())),
    };
    for name in &applied.already_there {
        eprintln!("note: `{name}` is there already and stays as it is");
    }
    for name in &applied.without_token {
        eprintln!("warning: `{name}` has no token: run `forgehand register` with `--name '{name}'`");
    }
    for note in &migration.refused {
        eprintln!("warning: not carried over: {}", sentence(note));
    }
    for note in migration.notes.iter().chain(&applied.notes) {
        eprintln!("note: not carried over: {}", sentence(note));
    }
    if !applied.added.is_empty() {
        for advice in &migration.safer {
            eprintln!("safer: {advice}");
        }
        eprintln!("note: stop gitlab-runner before `forgehand run`: two agents with one token take each other's jobs");
    }
    // Some runners stayed behind while there was nothing to add: the caller should look.
    let nothing_done = applied.added.is_empty() && applied.already_there.is_empty();
    if nothing_done && !migration.refused.is_empty() { Verdict::Failed } else { Verdict::Success }
}

fn sentence(note: &Note) -> String {
    match &note.runner {
        Some(runner) => format!("`{}` of `{runner}`: {}", note.key, note.reason),
        None => format!("`{}`: {}", note.key, note.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_anything_was_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let locations =
            Locations { config_file: dir.path().join("forgehand.toml"), state_dir: dir.path().join("state") };
        let migrate = |path: &Path| run(&MigrateArgs { path: path.to_owned(), dry_run: false }, &locations).unwrap();
        assert_eq!(migrate(dir.path()), Verdict::BadInput, "there is no config.toml");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, "[[runners]]\nurl = \"https://x\"\ntoken = \"t\"\nexecutor = \"ssh\"\n").unwrap();
        assert_eq!(migrate(dir.path()), Verdict::Failed);
        std::fs::write(&file, "[[runners]]\nurl = \"https://x\"\ntoken = \"t\"\nexecutor = \"shell\"\n").unwrap();
        assert_eq!(migrate(&file), Verdict::Success);
        assert_eq!(migrate(&file), Verdict::Success, "again");
    }
}
