//! `forgehand pause|resume|drain`: commands to the running agent.

use clap::Args;

use super::{Verdict, render};
use crate::agent::control::{Answer, Client, Command};
use crate::config::Locations;
use crate::state::StateDir;

/// Arguments of `forgehand pause`.
#[derive(Clone, Debug, Args)]
pub struct PauseArgs {
    /// Wait until no job runs any more.
    #[arg(long)]
    wait: bool,
}

/// Arguments of `forgehand drain`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "A service manager that keeps the agent running starts it again after a drain, with the program that is \
                  installed by then. To keep the machine free of jobs, use `forgehand pause` or stop the service."
)]
pub struct DrainArgs {
    /// Wait until the agent has ended.
    #[arg(long)]
    wait: bool,
}

/// Runs `forgehand pause`.
pub fn pause(args: &PauseArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    tell(locations, &Command::Pause { wait: args.wait }, "paused: no more jobs are taken", "no job runs any more")
}

/// Runs `forgehand resume`.
pub fn resume(locations: &Locations) -> Result<Verdict, miette::Report> {
    tell(locations, &Command::Resume, "resumed: jobs are taken again", "")
}

/// Runs `forgehand drain`.
pub fn drain(args: &DrainArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let done = "draining: no more jobs are taken, and the agent ends with the last one";
    tell(locations, &Command::Drain { wait: args.wait }, done, "the agent has ended")
}

fn tell(locations: &Locations, command: &Command, done: &str, reached: &str) -> Result<Verdict, miette::Report> {
    let asked = Client::ask(&StateDir::at(&locations.state_dir), command, |answer| match answer {
        Answer::Done => eprintln!("{done}"),
        Answer::Reached => eprintln!("{reached}"),
        Answer::Waiting { figures } => {
            eprintln!("waiting: {} jobs are running, {} waiting", figures.running, figures.waiting);
        }
        Answer::Status { .. } | Answer::Refused { .. } => {}
    });
    Ok(match asked {
        Ok(()) => Verdict::Success,
        Err(error) => render::failed(&error, Verdict::Environment),
    })
}
