//! Where the processes of a job live.
//!
//! A sandbox is a place (a container, or a folder of the machine) with our [`shim`] running in it. The place differs, what
//! happens inside does not: every step is one message to the shim, its output a spool file in the run directory, its
//! end an exit file. So a sandbox outlives the agent: the next one finds the place by its record, speaks to the shim
//! or reads what it left.
//!
//! The life of a sandbox, in the order of calls:
//! 1. [`docker::Docker::prepare`] or [`host::HostSandbox::prepare`] makes the place and says hello to the shim;
//!    the [`SandboxRecord`] is handed to `on_created` (which journals it) before anything runs in it.
//! 2. Steps: [`shim::client::ShimClient`].
//! 3. After a crash: `reattach` with the record.
//! 4. `remove`: ends everything and leaves nothing. May be called at any time and repeatedly.
//!
//! **Everything in the run directory is as trustworthy as the job.** It is opened by directory handle, no symlinks,
//! regular files only, with a size limit on all but the spool.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub mod docker;
pub mod host;
pub mod place;
pub mod shim;
pub mod terminal;

/// The folder of a job's private one that its tools are laid in.
pub const TOOLS: &str = "tools";

/// Folders of one job on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPaths {
    /// Only for the agent (0700): payload, log, archives under way.
    pub private: PathBuf,
    /// Shared with the shim, writable by the job: socket, spools, exit files. Below a 0700 folder, itself 0777.
    pub run: PathBuf,
    /// Mounted at the job's `builds` folder: the work tree and its neighbours.
    pub workspace: PathBuf,
}

impl JobPaths {
    /// What the job's tools are laid in, where it has a folder for them.
    pub fn tools(&self) -> PathBuf {
        self.private.join(TOOLS)
    }
}

/// How to find a sandbox again. Journalled before anything runs in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SandboxRecord {
    /// A container of the Docker engine.
    Docker {
        /// The container's id.
        container: String,
        /// Ids of service containers.
        services: Vec<String>,
        /// What it has of the pool, as the pool knows it: a network of its own, or a place in a common one.
        network: Option<String>,
        /// The machine's boot id when it was made: another one means that nothing of it is left.
        boot_id: String,
    },
    /// Processes of this machine.
    Host {
        /// Process id of the shim.
        pid: u32,
        /// Start time of that process, clock ticks after boot: tells it from a later one with the same id.
        start_time: u64,
        /// The machine's boot id.
        boot_id: String,
    },
}

impl SandboxRecord {
    /// The network mode by which a further container of Docker's comes to the job's network: the network itself where it is the
    /// job's own, else the job's container.
    pub fn network_mode(&self) -> Option<String> {
        let Self::Docker { container, network, .. } = self else { return None };
        let own = network.clone().filter(|network| !docker::network::pool::is_place(network));
        own.or_else(|| Some(format!("container:{container}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_come_to_the_job_s_own_network_or_to_its_container() {
        let mode = |network: Option<&str>| {
            let network = network.map(str::to_owned);
            let record =
                SandboxRecord::Docker { container: "c1".into(), services: Vec::new(), network, boot_id: String::new() };
            record.network_mode().unwrap()
        };
        assert_eq!(mode(Some("n1")), "n1");
        assert_eq!(mode(Some("n1#3")), "container:c1", "a place in a common one");
        assert_eq!(mode(None), "container:c1");
        let host = SandboxRecord::Host { pid: 1, start_time: 1, boot_id: String::new() };
        assert_eq!(host.network_mode(), None);
    }
}
