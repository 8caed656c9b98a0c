//! `forgehand config`: looks at the configuration.

use std::io::Write;

use clap::{Args, Subcommand};
use miette::IntoDiagnostic;

use super::verdict::Verdict;
use crate::config::{self, Config, ConfigError, Credentials, Locations, Overrides, schema, show};

/// Arguments of `forgehand config`.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ConfigAction {
    /// Check the configuration, and say everything that is wrong with it.
    ///
    /// Exit code 2 when the file, the environment or a flag says something that is not possible.
    Check,
    /// Print every setting that holds, as TOML, with where it comes from.
    ///
    /// Tokens are not in it; passwords of proxies and variables whose names say that they are secret are `***`.
    Show,
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
}

/// Runs `forgehand config`.
pub fn run(args: &ConfigArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let mut out = std::io::stdout().lock();
    match args.action {
        ConfigAction::Schema => {
            let text = serde_json::to_string_pretty(&schema::schema()).into_diagnostic()?;
            printed(writeln!(out, "{text}"))
        }
        ConfigAction::Show => match load_or_explain(locations, &Overrides::none()) {
            Ok(config) => printed(write!(out, "{}", show::effective(&config))),
            Err(verdict) => Ok(verdict),
        },
        ConfigAction::Check => match load_or_explain(locations, &Overrides::none()) {
            Ok(config) => check(&config, locations, &mut out),
            Err(verdict) => Ok(verdict),
        },
    }
}

/// Loads the configuration; what is wrong with it goes to standard error, with the verdict in place of an error. For
/// every command that needs a configuration.
pub fn load_or_explain(locations: &Locations, flags: &Overrides) -> Result<Config, Verdict> {
    match config::load(&locations.config_file, flags) {
        Ok(config) => {
            for remark in &config.remarks {
                eprintln!("note: {remark}");
            }
            Ok(config)
        }
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("error: {line}");
            }
            Err(verdict_of(&error))
        }
    }
}

/// The exit code that an error of the configuration means.
pub fn verdict_of(error: &ConfigError) -> Verdict {
    match error {
        ConfigError::Unreadable { .. } | ConfigError::Invalid(_) => Verdict::BadInput,
        ConfigError::Unwritable { .. } => Verdict::Environment,
    }
}

fn check(config: &Config, locations: &Locations, out: &mut impl Write) -> Result<Verdict, miette::Report> {
    let file = locations.config_file.display();
    let missing = if locations.config_file.exists() { "" } else { " (does not exist yet: only defaults hold)" };
    match Credentials::open(&locations.state_dir).and_then(|credentials| credentials.names()) {
        Ok(known) => {
            for registration in config.registrations.iter().filter(|one| !known.contains(&one.name)) {
                let name = &registration.name;
                eprintln!("warning: `{name}` has no token: run `forgehand register` with `--name '{name}'`");
            }
        }
        Err(error) => eprintln!("warning: {error}"),
    }
    let mistakes = super::wiring::mistakes(config);
    if !mistakes.is_empty() {
        mistakes.iter().for_each(|mistake| eprintln!("error: {mistake}"));
        return Ok(Verdict::BadInput);
    }
    let count = config.registrations.len();
    let registrations = if count == 1 { "1 registration".to_owned() } else { format!("{count} registrations") };
    printed(writeln!(out, "{file}: ok, {registrations}{missing}"))
}

/// Somebody who closes the pipe has read enough.
fn printed(result: std::io::Result<()>) -> Result<Verdict, miette::Report> {
    match result {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(cause).into_diagnostic(),
        Ok(()) | Err(_) => Ok(Verdict::Success),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ConfigArgs,
    }

    fn run_line(action: &str, locations: &Locations) -> Verdict {
        run(&Line::parse_from(["config", action]).args, locations).unwrap()
    }

    #[test]
    fn a_wrong_configuration_is_bad_input_and_none_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let locations =
            Locations { config_file: dir.path().join("forgehand.toml"), state_dir: dir.path().join("state") };
        for action in ["check", "show", "schema"] {
            assert_eq!(run_line(action, &locations), Verdict::Success, "{action}");
        }
        std::fs::write(&locations.config_file, "concurent = 1\n").unwrap();
        assert_eq!(run_line("check", &locations), Verdict::BadInput);
        assert_eq!(run_line("show", &locations), Verdict::BadInput);
        let missing =
            "network.ca_files = [\"/no/such/ca.pem\"]\n[[registration]]\nname = \"a\"\nurl = \"https://a.test\"\n";
        std::fs::write(&locations.config_file, missing).unwrap();
        assert_eq!(run_line("check", &locations), Verdict::BadInput, "the agent would not start");
        assert_eq!(run_line("show", &locations), Verdict::Success);
        assert_eq!(run_line("schema", &locations), Verdict::Success);
        assert!(!locations.state_dir.exists(), "looking makes nothing");
    }
}
