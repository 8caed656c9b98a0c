//! `forgehand run`: the agent, in the foreground.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use miette::IntoDiagnostic;

use super::config::load_or_explain;
use super::{GlobalArgs, Verdict, render, wiring};
use crate::agent::main_loop::AgentError;
use crate::agent::registration::PlanError;
use crate::agent::signals::Signals;
use crate::agent::{Agent, AgentParts, JobRunner, Registrar, RunOptions, Stopping, Sweeper, protection};
use crate::config::units::parse_duration;
use crate::config::{Config, Locations, NetworkConfig, Overrides, StoreConfig};
use crate::state::{Journal, LogLimits, StateDir, StateLock};
use crate::telemetry::{self, LogSettings};

/// Arguments of `forgehand run`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Signals: SIGTERM, SIGQUIT or SIGINT once: take no more jobs, finish the running ones, exit 0; twice: \
                  cancel them; three times: end at once. SIGHUP: read the configuration again. SIGUSR1: end at once and \
                  leave running jobs to the next agent, for an upgrade."
)]
pub struct RunArgs {
    /// Run at most so many jobs at once, whatever `concurrent` says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_jobs: Option<u32>,
    /// End when no job has run for so long, as in `10m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    exit_when_idle: Option<Duration>,
    /// Take no more jobs after so long, as in `1d`, and end with the last one.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_uptime: Option<Duration>,
}

/// What there is before there is an agent.
pub struct Premises {
    /// Where it was read from, and where the state is.
    pub locations: Locations,
    /// How the store is set up.
    pub store: StoreConfig,
    /// The way to the network, where no registration has its own.
    pub network: NetworkConfig,
    /// The flags that stand for keys, for reading the configuration again.
    pub overrides: Overrides,
    /// What is owed.
    pub journal: Journal,
    /// What the command line said.
    pub options: RunOptions,
    /// Nobody else works in the state directory. Held until the agent has ended.
    pub lock: StateLock,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// Runs `forgehand run`.
pub fn run(args: &RunArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    let overrides = global.overrides();
    let config = match load_or_explain(locations, &overrides) {
        Ok(config) => config,
        Err(verdict) => return Ok(verdict),
    };
    telemetry::install(LogSettings { level: config.log.level, format: config.log.format, color: global.color() });
    let premises = match premises(args, &config, locations, overrides) {
        Ok(premises) => premises,
        Err(message) => return Ok(render::failed(&message, Verdict::Environment)),
    };
    protection::shield_from_oom();
    let runtime = protection::runtime().into_diagnostic()?;
    let verdict = runtime.block_on(async { tokio::spawn(wiring::serve(premises)).await }).into_diagnostic();
    // What still blocks (an engine that does not answer) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    verdict
}

fn premises(args: &RunArgs, config: &Config, locations: &Locations, overrides: Overrides) -> Result<Premises, String> {
    let dir = StateDir::open(&locations.state_dir).map_err(|error| error.to_string())?;
    let lock = StateLock::take(&dir, jiff::Timestamp::now()).map_err(|error| error.to_string())?;
    let limits = LogLimits { age: config.state.keep_logs, ..LogLimits::default() };
    let journal = Journal::open(&dir, jiff::Timestamp::now, limits).map_err(|error| error.to_string())?;
    let options =
        RunOptions { max_jobs: args.max_jobs, exit_when_idle: args.exit_when_idle, max_uptime: args.max_uptime };
    Ok(Premises {
        locations: locations.clone(),
        store: config.store.clone(),
        network: config.network_defaults().clone(),
        overrides,
        journal,
        options,
        lock,
    })
}

/// Runs an agent made of these parts until it is told to stop.
pub async fn serve<G, R, W>(premises: Premises, registrar: Arc<G>, runner: R, sweeper: Arc<W>) -> Verdict
where
    G: Registrar,
    R: JobRunner<G::Forge, G::Settings>,
    W: Sweeper,
{
    let signals = match Signals::of_process() {
        Ok(signals) => signals,
        Err(error) => return render::failed(&format!("signals cannot be caught: {error}"), Verdict::Environment),
    };
    let parts = AgentParts {
        registrar,
        runner,
        sweeper,
        journal: premises.journal,
        options: premises.options,
        signals,
        clock: jiff::Timestamp::now,
        random: rand::random,
    };
    let agent = match Agent::start(parts).await {
        Ok(agent) => agent,
        Err(error) => {
            let verdict = match error {
                AgentError::Plan(PlanError::Configuration(_)) => Verdict::BadInput,
                AgentError::Plan(PlanError::Environment(_)) | AgentError::Journal(_) | AgentError::Control { .. } => {
                    Verdict::Environment
                }
            };
            return render::failed(&error, verdict);
        }
    };
    let verdict = verdict(agent.run().await);
    drop(premises.lock); // only now may another agent begin
    verdict
}

/// Told to stop, the agent stopped: that is success. Only jobs that had to be cancelled make a difference.
fn verdict(stopping: Stopping) -> Verdict {
    match stopping {
        Stopping::No | Stopping::Drain | Stopping::Now => Verdict::Success,
        Stopping::Cancel => Verdict::Cancelled,
    }
}
