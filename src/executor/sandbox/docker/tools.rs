//! Tools of earlier jobs in a job's container: a folder that is the job's own, mounted over tools that nobody changes.
//!
//! The engine makes the mount, as root, so that an agent needs no right to: it is a volume of the engine's driver `local`, of type `overlay`.
//! Whether engine and kernel do that here is tried once, with folders of our own; where they do not, tools are copied.

use std::path::Path;

use bollard::models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};
use bollard::query_parameters::RemoveVolumeOptions;

use super::container::mounts;
use super::engine::CHANGE;
use super::error::EngineError;
use super::labels::{self, Labels};
use super::proof::Proof;
use super::utility::{self, Work};
use super::{Docker, names};
use crate::artifact::tools::{JobTools, Overlay};

/// What the kernel must not do with renamed folders, changed modes and links: leave a part of a tool in the lower layer. What a job
/// installs is then whole in its own folder.
const OPTIONS: &str = "redirect_dir=off,metacopy=off,index=off";

/// The folder in which it is tried.
const PROBE: &str = "overlay-probe";

/// The mount of a job's tools at `target`.
pub(super) fn mount(agent: &str, tools: &JobTools, target: &str, labels: Labels, is_rootless: bool) -> Mount {
    match &tools.overlay {
        None => mounts::bind(&tools.own, target, false),
        Some(overlay) => volume(agent, overlay, &tools.own, target, labels, is_rootless),
    }
}

fn volume(agent: &str, overlay: &Overlay, own: &Path, target: &str, labels: Labels, is_rootless: bool) -> Mount {
    let (lower, work) = (overlay.lower.display(), overlay.work.display());
    let user = if is_rootless { ",userxattr" } else { "" };
    let options = format!("lowerdir={lower},upperdir={},workdir={work},{OPTIONS}{user}", own.display());
    let options = [("type", "overlay"), ("device", "overlay"), ("o", options.as_str())];
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(names::tool_volume(agent, &overlay.id)),
        target: Some(target.to_owned()),
        volume_options: Some(MountVolumeOptions {
            // What the image has there stays in the image.
            no_copy: Some(true),
            labels: Some(labels),
            driver_config: Some(MountVolumeOptionsDriverConfig {
                name: Some("local".to_owned()),
                options: Some(options.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            }),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    }
}

impl Docker {
    /// Whether tools can lie below a job's folder in its container. Found out once.
    pub async fn can_overlay(&self) -> bool {
        *self.overlays().get_or_init(|| self.find_out_overlays()).await
    }

    async fn find_out_overlays(&self) -> bool {
        let folder = self.folder().to_owned();
        let proof = self.proof_file().map(|file| file.with_extension("overlay"));
        let proof = proof.and_then(|file| Proof::of(&file, &folder, &self.caps().id, self.boot_id()));
        if proof.as_ref().is_some_and(Proof::holds) {
            return true;
        }
        let probe = folder.join(PROBE);
        // Of a try that was killed.
        let tried = match self.remove_folder(&probe).await {
            Ok(()) => self.try_overlay(&probe).await,
            Err(error) => Err(error),
        };
        if let Err(error) = self.remove_folder(&probe).await {
            tracing::warn!(%error, "the folder of a probe stays");
        }
        match tried {
            Ok(()) => {
                if let Some(proof) = proof {
                    proof.remember();
                }
                true
            }
            Err(error) => {
                tracing::info!(%error, "the engine mounts no overlays here: jobs get copies of tools");
                false
            }
        }
    }

    /// Has a container remove a file of a lower layer: the job is to see it gone, and nobody else.
    async fn try_overlay(&self, probe: &Path) -> Result<(), EngineError> {
        let failed =
            |message: String| EngineError::State { what: format!("trying an overlay in {}", probe.display()), message };
        let (lower, own, work) = (probe.join("lower"), probe.join("own"), probe.join("work"));
        let made = async {
            for folder in [&lower, &own, &work] {
                tokio::fs::create_dir_all(folder).await?;
            }
            tokio::fs::write(lower.join("file"), "x").await
        };
        made.await.map_err(|error| failed(error.to_string()))?;
        let overlay = Overlay { lower: lower.clone(), work, id: uuid::Uuid::new_v4().simple().to_string() };
        let mut labels = labels::of_agent(self.agent(), labels::UTILITY);
        labels.extend(self.process().map(|process| (labels::PROCESS.to_owned(), process.to_owned())));
        let mount = volume(self.agent(), &overlay, &own, utility::WORK, labels, self.caps().is_rootless);
        let program = self.utility_program();
        let mounts = vec![utility::program_mount(program), mount];
        let ran = async {
            let id = self.make_utility("overlay", mounts, utility::command(program, Work::Empty)).await?;
            let ran = self.run_utility(&id, &own).await;
            self.engine().remove_container(&id).await?;
            ran
        };
        let ran = ran.await;
        self.remove_tool_volume(&overlay.id).await?;
        ran?;
        let is_hidden = std::fs::symlink_metadata(own.join("file")).is_ok();
        match lower.join("file").exists() && is_hidden {
            true => Ok(()),
            false => {
                Err(failed("what a container did to the upper layer is not there, or was done to the lower one".into()))
            }
        }
    }

    /// Removes the volume of a job's tools. What is in the job's folder stays. One that is gone is no error.
    pub async fn remove_tool_volume(&self, id: &str) -> Result<(), EngineError> {
        let name = names::tool_volume(self.agent(), id);
        let call = self.engine().api().remove_volume(&name, None::<RemoveVolumeOptions>);
        match self.engine().call("removing a volume", CHANGE, call).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer,
        }
    }
}
