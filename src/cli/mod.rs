//! The command line: one file a command, which parses arguments, calls and prints. No logic.
//!
//! Standard output carries results, standard error everything else. Exit codes are those of [`Verdict`].

pub mod config;
pub mod control;
pub mod debug;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod exec;
pub mod expand;
pub mod forge_calls;
pub mod graph;
pub mod lint;
pub mod list;
pub mod logs;
pub mod migrate;
pub mod pipeline_args;
pub mod pipelines;
pub mod plan;
pub mod register;
pub mod render;
pub mod run;
pub mod service;
pub mod status;
pub mod store;
pub mod unregister;
pub mod verdict;
pub mod verify;
pub mod wiring;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::allocator;
use crate::config::{Locations, LogFormat, LogLevel, Overrides};
use crate::telemetry::{self, LogSettings};
pub use verdict::Verdict;

/// A CI runner agent: takes jobs from GitLab, runs them in Docker, and outlives its own death.
#[derive(Debug, Parser)]
#[command(
    name = "forgehand",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Begin with:\n  forgehand register --url https://gitlab.example.com --token glrt-...\n  forgehand run\n\n\
                  Exit codes: 0 success; 1 what was asked for failed; 2 the arguments or the configuration are wrong; \
                  3 the environment is (no engine, no forge, no disk, no agent); 130 cancelled."
)]
pub struct CommandLine {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// The configuration file [default: /etc/forgehand/forgehand.toml as root, else below XDG_CONFIG_HOME].
    ///
    /// A file that does not exist counts as empty.
    #[arg(long, global = true, value_name = "FILE", env = "FORGEHAND_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Where the agent keeps what it knows [default: /var/lib/forgehand as root, else below XDG_STATE_HOME].
    #[arg(long, global = true, value_name = "DIR", env = "FORGEHAND_STATE_DIR", hide_env_values = true)]
    state_dir: Option<PathBuf>,
    /// What lines of the agent's own log look like [default: `log.format` of the configuration, else text].
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<LogFormatArg>,
    /// Whether output is coloured.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorArg,
    /// Tell more: -v how things happen, -vv everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormatArg {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColorArg {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register this machine with a forge.
    Register(register::RegisterArgs),
    /// Remove a registration, here and at its forge.
    Unregister(unregister::UnregisterArgs),
    /// Ask the forges whether the registrations are still good.
    Verify(verify::VerifyArgs),
    /// List the registrations.
    List(list::ListArgs),
    /// Run the agent: take jobs and run them, until told to stop.
    Run(run::RunArgs),
    /// Show what the agent does now.
    Status(status::StatusArgs),
    /// Show the log of a job, while it runs or after its end.
    Logs(logs::LogsArgs),
    /// Explain what happened to a job, and how to run its failed step again; without one, list those that failed or stand still.
    Debug(debug::DebugArgs),
    /// Take no more jobs until resumed; running jobs go on. A restart does not forget it.
    Pause(control::PauseArgs),
    /// Take jobs again.
    Resume,
    /// Take no more jobs, and end the agent when the running ones have ended.
    Drain(control::DrainArgs),
    /// Run a pipeline of a checkout here, as its forge would.
    Exec(exec::ExecArgs),
    /// Keep artifacts, look at them, and clean up.
    Store(store::StoreArgs),
    /// Check this machine, and say how to mend what is wrong.
    Doctor(doctor::DoctorArgs),
    /// Run the agent as a systemd service.
    Service(service::ServiceArgs),
    /// Look at the configuration.
    Config(config::ConfigArgs),
    /// Take over the registrations of another runner.
    Migrate(migrate::MigrateArgs),
    /// Check pipeline files: GitLab CI, GitHub, Gitea and Forgejo workflows, forgehand.yml.
    Lint(lint::LintArgs),
    /// Show the jobs that an event makes of a pipeline file, in their order. Nothing is run or fetched.
    Plan(plan::PlanArgs),
    /// Print the resolved definition of a pipeline file as YAML.
    Expand(expand::ExpandArgs),
    /// Draw a pipeline's jobs and what they wait for.
    Graph(graph::GraphArgs),
    /// Print the value of an expression as JSON.
    Eval(eval::EvalArgs),
    /// Show what forgehand does: an embedded forge, one registration, one real pipeline in Docker.
    Demo(demo::DemoArgs),
}

/// Reads the process's arguments, does what they ask for, and says how it went.
pub fn main() -> Verdict {
    // Before the arguments are read: what was used by then stays in small pieces.
    if reads_pipelines() {
        allocator::expect_much();
    } else {
        allocator::stay_small();
    }
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let _ = error.print();
            return if error.use_stderr() { Verdict::BadInput } else { Verdict::Success };
        }
    };
    match line.run() {
        Ok(verdict) => verdict,
        Err(report) => {
            eprintln!("Error: {report:?}");
            Verdict::Environment
        }
    }
}

/// Whether the command probably reads a pipeline, tells of it and ends: one of the words is its name.
fn reads_pipelines() -> bool {
    std::env::args_os().any(|word| ["lint", "plan", "expand", "graph"].iter().any(|name| word == *name))
}

impl CommandLine {
    fn run(self) -> Result<Verdict, miette::Report> {
        let locations = match Locations::resolve(self.global.config.clone(), self.global.state_dir.clone()) {
            Ok(locations) => locations,
            Err(error) => {
                eprintln!("error: {error}");
                return Ok(Verdict::BadInput);
            }
        };
        let global = &self.global;
        if !matches!(self.command, Command::Run(_)) {
            global.log_quietly();
        }
        match self.command {
            Command::Register(args) => register::run(&args, &locations),
            Command::Unregister(args) => unregister::run(&args, &locations),
            Command::Verify(args) => verify::run(&args, &locations),
            Command::List(args) => list::run(&args, &locations),
            Command::Run(args) => run::run(&args, &locations, global),
            Command::Status(args) => status::run(&args, &locations),
            Command::Logs(args) => logs::run(&args, &locations),
            Command::Debug(args) => debug::run(&args, &locations),
            Command::Pause(args) => control::pause(&args, &locations),
            Command::Resume => control::resume(&locations),
            Command::Drain(args) => control::drain(&args, &locations),
            Command::Exec(args) => exec::run(&args, &locations, global),
            Command::Store(args) => store::run(&args, &locations),
            Command::Doctor(args) => doctor::run(&args, &locations),
            Command::Service(args) => service::run(&args, &locations),
            Command::Config(args) => config::run(&args, &locations),
            Command::Migrate(args) => migrate::run(&args, &locations),
            Command::Lint(args) => lint::run(&args, &locations, global),
            Command::Plan(args) => plan::run(&args, &locations, global),
            Command::Expand(args) => expand::run(&args, &locations, global),
            Command::Graph(args) => graph::run(&args, &locations, global),
            Command::Eval(args) => eval::run(&args),
            Command::Demo(args) => demo::run(args),
        }
    }
}

impl GlobalArgs {
    /// The flags that stand for keys of the configuration.
    pub fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::none();
        if let Some(format) = self.log_format {
            let format = match format {
                LogFormatArg::Text => "text",
                LogFormatArg::Json => "json",
            };
            overrides = overrides.set("--log-format", "log.format", format);
        }
        match self.verbose {
            0 => overrides,
            1 => overrides.set("--verbose", "log.level", "debug"),
            _ => overrides.set("--verbose", "log.level", "trace"),
        }
    }

    /// The state directory that was named, unless it is by the environment, which stays.
    pub fn named_state_dir(&self) -> Option<&std::path::Path> {
        let of_environment = std::env::var_os("FORGEHAND_STATE_DIR");
        self.state_dir.as_deref().filter(|dir| of_environment.as_deref() != Some(dir.as_os_str()))
    }

    /// Whether standard error is coloured.
    pub fn color(&self) -> bool {
        self.color_on(telemetry::stderr_has_color())
    }

    /// Whether output is coloured where `auto` means this.
    pub fn color_on(&self, auto: bool) -> bool {
        match self.color {
            ColorArg::Always => true,
            ColorArg::Never => false,
            ColorArg::Auto => auto,
        }
    }

    /// Commands that end by themselves speak through their output; their log is for those who ask for it.
    fn log_quietly(&self) {
        let level = match self.verbose {
            0 => LogLevel::Warn,
            1 => LogLevel::Debug,
            _ => LogLevel::Trace,
        };
        let format = match self.log_format {
            Some(LogFormatArg::Json) => LogFormat::Json,
            Some(LogFormatArg::Text) | None => LogFormat::Text,
        };
        telemetry::install(LogSettings { level, format, color: self.color() });
    }
}

/// Waits for `work` on a runtime of one thread: for commands that ask something and end.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, miette::Report> {
    use miette::{IntoDiagnostic, WrapErr};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.into_diagnostic().wrap_err("the program cannot start its event loop")?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound_and_every_command_and_flag_is_explained() {
        CommandLine::command().debug_assert();
        let mut open = vec![CommandLine::command()];
        while let Some(command) = open.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "`{name}` says nothing about itself");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "`{name}` does not explain {}", argument.get_id());
            }
            open.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn the_commands_of_the_contract_are_understood() {
        for line in [
            "forgehand register --url https://f.example --token glrt-x --name n --labels a,b --executor docker \
             --image busybox --ephemeral --forge gitlab",
            "forgehand unregister --name n",
            "forgehand verify",
            "forgehand list",
            "forgehand run --max-jobs 2 --exit-when-idle 5m --max-uptime 1d",
            "forgehand status --json",
            "forgehand logs 42 --follow",
            "forgehand debug 42",
            "forgehand debug --json",
            "forgehand pause --wait",
            "forgehand resume",
            "forgehand drain --wait",
            "forgehand doctor",
            "forgehand service install --print",
            "forgehand service status",
            "forgehand --state-dir /x status -v --color never --log-format json",
        ] {
            CommandLine::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in ["forgehand", "forgehand run --max-jobs 0", "forgehand run --exit-when-idle soon", "forgehand fly"]
        {
            assert!(CommandLine::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
