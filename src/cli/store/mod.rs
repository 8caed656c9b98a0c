//! `forgehand store`: what is kept, by hand.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::config::load_or_explain;
use super::{Verdict, render};
use crate::agent::storage::{self, StorageError};
use crate::artifact::store::{Listed, Store, StoreError, Wanted};
use crate::artifact::{Interrupt, in_full};
use crate::config::{Config, Locations, Overrides};
use crate::pipeline::{ForgeInstance, Owner, ProjectId, Trust};
use crate::state::StateDir;

mod gc;
mod get;
mod metrics;
mod progress;
mod put;
mod rm;
mod share;
mod show;
mod verify;

/// Arguments of `forgehand store`.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum StoreCommand {
    /// Keep files and folders; prints the id of what is kept.
    Put(put::PutArgs),
    /// Restore what is kept into a folder: all of it, proved, or nothing.
    Get(get::GetArgs),
    /// List what is kept.
    Ls(show::LsArgs),
    /// Show what is known of something that is kept.
    Info(show::InfoArgs),
    /// Read everything, or one thing, and say what is damaged; mends what can be mended.
    Verify(verify::VerifyArgs),
    /// Keep something until it is unpinned, whatever the policies say.
    Pin(show::PinArgs),
    /// Take a pin back.
    Unpin(show::PinArgs),
    /// Keep something no longer, whatever the policies say.
    Rm(rm::RmArgs),
    /// Remove what need not be kept, as the policies of the configuration say.
    Gc(gc::GcArgs),
    /// Show how much is kept and how full it is.
    Stats(show::StatsArgs),
}

/// Runs `forgehand store`.
pub fn run(args: &StoreArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    let house = match House::open(locations) {
        Ok(house) => house,
        Err(verdict) => return Ok(verdict),
    };
    let done = match &args.command {
        StoreCommand::Put(args) => put::run(args, &house),
        StoreCommand::Get(args) => get::run(args, &house),
        StoreCommand::Ls(args) => show::ls(args, &house),
        StoreCommand::Info(args) => show::info(args, &house),
        StoreCommand::Verify(args) => verify::run(args, &house),
        StoreCommand::Pin(args) => show::pin(args, &house),
        StoreCommand::Unpin(args) => show::unpin(args, &house),
        StoreCommand::Rm(args) => rm::run(args, &house),
        StoreCommand::Gc(args) => gc::run(args, &house),
        StoreCommand::Stats(args) => show::stats(args, &house),
    };
    Ok(done.unwrap_or_else(|error| render::failed(&in_full(&error), verdict_of(&error))))
}

/// The store and whoever asks.
struct House {
    store: Store,
    /// Carries what goes to the shared store, where there is one.
    _runtime: Option<Runtime>,
    config: Config,
    /// Whether progress is shown.
    shows_progress: bool,
    interrupt: Interrupt,
}

impl House {
    fn open(locations: &Locations) -> Result<Self, Verdict> {
        let config = load_or_explain(locations, &Overrides::none())?;
        let dir = StateDir::open(&locations.state_dir).map_err(|error| render::failed(&error, Verdict::Environment))?;
        let (store, runtime) = open(&config, &dir).map_err(|error| {
            let verdict = match &error {
                StorageError::Policy(_) => Verdict::BadInput,
                StorageError::Store(_)
                | StorageError::KeyFile { .. }
                | StorageError::Remote(_)
                | StorageError::Network(_) => Verdict::Environment,
            };
            render::failed(&in_full(&error), verdict)
        })?;
        let interrupt = Interrupt::default();
        on_signal(interrupt.clone());
        Ok(Self { store, _runtime: runtime, config, shows_progress: progress::is_wanted(), interrupt })
    }

    /// What the command line keeps is nobody's job.
    fn owner() -> Owner {
        Owner { forge: ForgeInstance::new("local"), project: ProjectId::new("local"), trust: Trust::Protected }
    }

    /// What is kept under a name or an id: by the command line, else by whoever has it. The operator may see everything.
    fn find(&self, name: &str) -> Result<Listed, StoreError> {
        let wanted = Wanted::Named(name.to_owned());
        if let Some(found) = self.find_here(&wanted)? {
            return Ok(found);
        }
        // The index may be wrong about it: only the records know.
        self.store.index_anew()?;
        if let Some(found) = self.find_here(&wanted)? {
            return Ok(found);
        }
        if self.store.bring(&Self::owner(), &wanted, &self.interrupt)?.is_some()
            && let Some(found) = self.store.find(&Self::owner(), &wanted)?
        {
            return Ok(found);
        }
        Err(StoreError::Unknown { name: name.to_owned() })
    }

    fn find_here(&self, wanted: &Wanted) -> Result<Option<Listed>, StoreError> {
        if let Some(found) = self.store.find(&Self::owner(), wanted)? {
            return Ok(Some(found));
        }
        for owner in self.store.owners()? {
            if let Some(found) = self.store.find(&owner, wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The store, and what carries its traffic to the shared one, where there is one.
fn open(config: &Config, dir: &StateDir) -> Result<(Store, Option<Runtime>), StorageError> {
    let store = storage::open(&config.store, &dir.store())?;
    if config.store.remote.is_none() {
        return Ok((store, None));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| StorageError::Network(error.to_string()))?;
    let store = storage::join(store, &config.store, config.network_defaults(), runtime.handle())?;
    Ok((store, Some(runtime)))
}

/// Has Ctrl-C and SIGTERM end the work at the next place where it can.
fn on_signal(interrupt: Interrupt) {
    std::thread::spawn(move || {
        let waited = super::block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
                return;
            };
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
            interrupt.raise();
        });
        // Without it, a signal ends the process, which the store outlives.
        drop(waited);
    });
}

fn verdict_of(error: &StoreError) -> Verdict {
    match error {
        StoreError::Unknown { .. } | StoreError::Object { .. } | StoreError::Manifest { .. } => Verdict::Failed,
        StoreError::Damaged { .. } | StoreError::TooLarge { .. } | StoreError::NotWhole { .. } => Verdict::Failed,
        StoreError::Occupied { .. } | StoreError::Wordy { .. } => Verdict::BadInput,
        StoreError::Interrupted => Verdict::Cancelled,
        StoreError::File { .. }
        | StoreError::NoSpace { .. }
        | StoreError::NoRoom { .. }
        | StoreError::Quota { .. }
        | StoreError::Refused(_)
        | StoreError::Newer { .. }
        | StoreError::Format { .. }
        | StoreError::Busy { .. }
        | StoreError::Key(_)
        | StoreError::Second(_)
        | StoreError::Index { .. } => Verdict::Environment,
    }
}

/// A path as a folder's handle.
fn folder(path: &Path) -> Result<cap_std::fs::Dir, StoreError> {
    cap_std::fs::Dir::open_ambient_dir(path, cap_std::ambient_authority()).map_err(|source| StoreError::File {
        doing: "opening",
        path: PathBuf::from(path),
        source,
    })
}
