//! Removes what a dead agent left: everything that carries this agent's label and belongs to no job that is known.
//!
//! Looks at what is there and what should be, never at what happened: it may run at any time, beside running jobs.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListImagesOptions, ListVolumesOptions, RemoveVolumeOptions};
use futures_util::future::join_all;

use super::engine::{CHANGE, LOOK};
use super::error::EngineError;
use super::{Docker, SHIM, labels};
use crate::pipeline::JobKey;

/// Age after which a container of our own for a moment (a probe, a removal) is a leftover, whoever made it.
const MOMENT: Duration = Duration::from_secs(3600);

/// What a sweep removed, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Names of containers.
    pub containers: Vec<String>,
    /// Names of networks.
    pub networks: Vec<String>,
    /// Names of volumes.
    pub volumes: Vec<String>,
    /// What stays, with the engine's words. The next sweep tries again.
    pub failures: Vec<String>,
}

impl Docker {
    /// Removes labelled leftovers of this agent. `known` are the jobs whose sandboxes stay; every job is known from before
    /// anything is made for it until it is removed; `known` is asked after what is there was listed.
    pub async fn sweep(&self, known: &(dyn Fn() -> Vec<JobKey> + Send + Sync)) -> Result<Swept, EngineError> {
        let mut swept = Swept::default();
        let containers = self.engine().containers(labels::made_by(self.agent())).await?;
        // Asked after the list was made: a job that came in between is known.
        let known = known();
        let known: BTreeSet<&str> = known.iter().map(JobKey::as_str).collect();
        let (holders, others): (Vec<_>, Vec<_>) = containers.into_iter().partition(is_holder);
        let (mut leftovers, mut kept): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|found| is_leftover(found, &known, self.process()));
        let ours = self.networks().known_holders();
        let (used, unused): (Vec<_>, Vec<_>) =
            holders.into_iter().partition(|holder| ours.contains(&name_of(holder)) || is_joined(holder, &kept));
        kept.extend(used);
        leftovers.extend(unused);
        let removals =
            leftovers.iter().map(|found| self.engine().remove_container(found.id.as_deref().unwrap_or_default()));
        for (found, removed) in leftovers.iter().zip(join_all(removals).await) {
            note(removed, name_of(found), &mut swept.containers, &mut swept.failures);
        }
        self.sweep_networks(&kept, &mut swept).await?;
        self.sweep_volumes(&known, &mut swept).await?;
        self.forget_images().await?;
        Ok(swept)
    }

    /// The shims that containers of this agent run, by their paths on the machine.
    pub async fn shims(&self) -> Result<Vec<PathBuf>, EngineError> {
        let containers = self.engine().containers(labels::made_by(self.agent())).await?;
        let mounts = containers.into_iter().flat_map(|found| found.mounts.unwrap_or_default());
        let shims = mounts.filter(|mount| mount.destination.as_deref() == Some(SHIM));
        Ok(shims.filter_map(|mount| mount.source.map(PathBuf::from)).collect())
    }

    async fn sweep_networks(&self, kept: &[ContainerSummary], swept: &mut Swept) -> Result<(), EngineError> {
        let used: BTreeSet<&str> = kept.iter().flat_map(networks_of).collect();
        let strangers = self.networks().strangers().await?;
        let leftovers: Vec<_> = strangers.into_iter().filter(|(id, _)| !used.contains(id.as_str())).collect();
        let removals = leftovers.iter().map(|(id, _)| self.networks().remove(id));
        for ((_, name), removed) in leftovers.iter().zip(join_all(removals).await) {
            note(removed, name.clone(), &mut swept.networks, &mut swept.failures);
        }
        Ok(())
    }

    /// Volumes of a job, and those that another process of the agent made for a moment. Those kept for an Owner carry neither.
    async fn sweep_volumes(&self, known: &BTreeSet<&str>, swept: &mut Swept) -> Result<(), EngineError> {
        let engine = self.engine();
        let options = ListVolumesOptions { filters: Some(labels::made_by(self.agent())) };
        let listed = engine.call("listing volumes", LOOK, engine.api().list_volumes(Some(options))).await?;
        for volume in listed.volumes.unwrap_or_default() {
            let of_dead_job = volume.labels.get(labels::JOB).is_some_and(|job| !known.contains(job.as_str()));
            let theirs = volume.labels.get(labels::PROCESS).map(String::as_str);
            let of_dead_process = theirs.is_some() && self.process().is_some() && theirs != self.process();
            let is_leftover = of_dead_job || of_dead_process;
            if !is_leftover {
                continue;
            }
            let call = engine.api().remove_volume(&volume.name, None::<RemoveVolumeOptions>);
            let removed = match engine.call("removing a volume", CHANGE, call).await {
                Err(error) if error.is_not_found() => Ok(()),
                answer => answer,
            };
            note(removed, volume.name, &mut swept.volumes, &mut swept.failures);
        }
        Ok(())
    }

    /// The record of private images need not know those that are not on the machine any more.
    async fn forget_images(&self) -> Result<(), EngineError> {
        let engine = self.engine();
        let mark = self.image_owners().mark();
        let options = ListImagesOptions { all: true, ..ListImagesOptions::default() };
        let images = engine.call("listing images", LOOK, engine.api().list_images(Some(options))).await?;
        self.image_owners().retain(images.into_iter().map(|image| image.id).collect(), mark).await
    }
}

fn is_leftover(found: &ContainerSummary, known: &BTreeSet<&str>, process: Option<&str>) -> bool {
    let label = |name: &str| found.labels.as_ref().and_then(|labels| labels.get(name));
    match (label(labels::JOB), label(labels::PROCESS), process) {
        (Some(job), _, _) => !known.contains(job.as_str()),
        (None, Some(theirs), Some(ours)) if theirs != ours => true,
        (None, _, _) => age_of(found) > MOMENT,
    }
}

/// Whether a container is there to hold a network's namespace.
fn is_holder(found: &ContainerSummary) -> bool {
    found.labels.as_ref().and_then(|labels| labels.get(labels::ROLE)).is_some_and(|role| role == labels::HOLDER)
}

/// Whether one of `kept` is in the namespace that this one holds.
fn is_joined(holder: &ContainerSummary, kept: &[ContainerSummary]) -> bool {
    let mode = holder.id.as_ref().map(|id| format!("container:{id}"));
    let mode_of = |found: &ContainerSummary| found.host_config.as_ref().and_then(|config| config.network_mode.clone());
    mode.is_some() && kept.iter().any(|found| mode_of(found) == mode)
}

fn age_of(found: &ContainerSummary) -> Duration {
    let made = Duration::from_secs(found.created.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
    SystemTime::now().duration_since(UNIX_EPOCH + made).unwrap_or_default()
}

fn name_of(found: &ContainerSummary) -> String {
    let name = found.names.iter().flatten().next().map(|name| name.trim_start_matches('/').to_owned());
    name.or_else(|| found.id.clone()).unwrap_or_default()
}

fn networks_of(found: &ContainerSummary) -> Vec<&str> {
    let networks = found.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    networks.into_iter().flat_map(HashMap::values).filter_map(|endpoint| endpoint.network_id.as_deref()).collect()
}

fn note(removed: Result<(), EngineError>, name: String, done: &mut Vec<String>, failures: &mut Vec<String>) {
    match removed {
        Ok(()) => done.push(name),
        Err(error) => failures.push(format!("{name}: {error}")),
    }
}
