//! What a container sees of the machine: the workspace, the run directory, the shim, and the operator's volumes.

use std::collections::HashMap;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};

use crate::executor::sandbox::JobPaths;
use crate::executor::sandbox::docker::settings::DockerSettings;
use crate::executor::sandbox::docker::{labels, names};
use crate::pipeline::definition::{VolumeSource, VolumeSpec};
use crate::pipeline::{JobFailure, PipelineJob};

/// Folder of ours in the job's container.
pub const HOME: &str = "/.forgehand";
/// The run directory in the job's container, beside the shim.
pub const RUN: &str = "/.forgehand/run";
/// The shim in the job's container: the container's command.
pub const SHIM: &str = "/.forgehand/forgehand-shim";

/// What [`plan`] needs to know.
pub(in crate::executor::sandbox::docker) struct MountsOf<'a> {
    pub agent: &'a str,
    pub job: &'a PipelineJob,
    pub paths: &'a JobPaths,
    pub settings: &'a DockerSettings,
    /// The folder of the state directory below which folders kept from job to job live.
    pub kept: &'a Path,
    /// The shim on the machine.
    pub shim: &'a Path,
    /// The folder with tools of earlier jobs.
    pub tools: Option<Mount>,
}

/// Mounts of the containers of one job.
#[derive(Debug, Default, PartialEq)]
pub(in crate::executor::sandbox::docker) struct Mounts {
    /// For the job's container and its services.
    pub shared: Vec<Mount>,
    /// Binds with modes that mounts cannot say, for both.
    pub shared_binds: Vec<String>,
    /// For the job's container only.
    pub job: Vec<Mount>,
    /// Folders of the machine that must exist, writable by any user, before a container starts.
    pub folders: Vec<PathBuf>,
    /// What the user should know about volumes that were left out.
    pub remarks: Vec<String>,
    /// What the job's containers have at their own wish, by the wish.
    pub own: Vec<(Vec<VolumeSpec>, Vec<Mount>)>,
}

impl Mounts {
    /// The folder with tools of earlier jobs, unless the operator has something else there.
    fn add_tools(&mut self, of: &MountsOf<'_>, taken: &[String]) {
        let Some(tools) = &of.tools else { return };
        let target = tools.target.clone().unwrap_or_default();
        if taken.contains(&target) || of.settings.tmpfs.contains_key(&target) || is_ours(&target, of) {
            let words = format!("the tool cache at {target} is left out: another folder is mounted there");
            self.remarks.push(words);
        } else {
            self.job.push(tools.clone());
        }
    }

    /// What a container has that wishes for these.
    pub(in crate::executor::sandbox::docker) fn of(&self, volumes: &[VolumeSpec]) -> impl Iterator<Item = &Mount> {
        let own = self.own.iter().find(|(wished, _)| wished == volumes);
        own.into_iter().flat_map(|(_, mounts)| mounts)
    }
}

/// Decides the mounts of a job. Nothing is touched yet.
pub(in crate::executor::sandbox::docker) fn plan(of: &MountsOf<'_>) -> Result<Mounts, JobFailure> {
    let mut mounts = Mounts::default();
    mounts.job.push(bind(&of.paths.run, RUN, false));
    mounts.job.push(bind(of.shim, SHIM, true));
    let mut taken: Vec<String> = vec![HOME.to_owned()];
    taken.extend(of.job.dirs.also_at.clone());
    for volume in &of.settings.volumes {
        let volume = Volume::parse(volume, of)?;
        if taken.contains(&volume.target) {
            let words = format!("`docker.volumes` mounts {} twice", volume.target);
            return Err(JobFailure::configuration(words));
        }
        taken.push(volume.target.clone());
        if volume.target == of.job.dirs.builds {
            // The agent itself fills the work tree, on the machine; another folder there would be empty.
            let words = format!("the volume at {} is left out: the job's work tree is mounted there", volume.target);
            mounts.remarks.push(words);
            continue;
        }
        volume.add_to(&mut mounts, of);
    }
    mounts.add_tools(of, &taken);
    mounts.shared.push(bind(&of.paths.workspace, &of.job.dirs.builds, false));
    let dirs = &of.job.dirs;
    if let (Some(also), Ok(project)) = (&dirs.also_at, Path::new(&dirs.project).strip_prefix(&dirs.builds)) {
        mounts.shared.push(bind(&of.paths.workspace.join(project), also, false));
    }
    Ok(mounts)
}

/// What one container of a job has mounted at its own wish.
#[derive(Debug, Default, PartialEq)]
pub(in crate::executor::sandbox::docker) struct OwnMounts {
    /// Folders of the job, and folders of this container alone.
    pub mounts: Vec<Mount>,
    /// Folders of the machine that must exist, see [`Mounts::folders`].
    pub folders: Vec<PathBuf>,
    /// What the user should know about those that are left out.
    pub remarks: Vec<String>,
}

/// The folders that a container asks for. Those of the machine are mounted only where the operator mounts the very same one:
/// a path below it could be a link that a job made.
pub(in crate::executor::sandbox::docker) fn own(volumes: &[VolumeSpec], of: &MountsOf<'_>) -> OwnMounts {
    let mut own = OwnMounts::default();
    let of_operator: Vec<Volume> = of.settings.volumes.iter().filter_map(|text| Volume::parse(text, of).ok()).collect();
    let mut taken: Vec<String> = of_operator.iter().map(|volume| volume.target.clone()).collect();
    taken.extend(of.tools.iter().filter_map(|tools| tools.target.clone()));
    for volume in volumes {
        let target = clean(&volume.target).filter(|target| !is_ours(target, of));
        let Some(target) = target else {
            own.remarks
                .push(format!("the volume at {} is left out: the sandbox has its own folders there", volume.target));
            continue;
        };
        let mut read_only = volume.read_only;
        let mount = match &volume.source {
            VolumeSource::Anonymous => {
                Mount { typ: Some(MountType::VOLUME), ..bind(Path::new(""), &target, read_only) }
            }
            VolumeSource::Named(name) => {
                let folder = of.paths.private.join("volumes").join(format!("named-{}", names::digest(name)));
                let mount = bind(&folder, &target, read_only);
                own.folders.push(folder);
                mount
            }
            VolumeSource::Machine(path) => {
                let given = of_operator.iter().find(|given| given.source.as_deref() == Some(path));
                let Some(given) = given else { continue };
                read_only |= given.mode.as_deref().is_some_and(|mode| mode.split(',').any(|word| word == "ro"));
                bind(Path::new(path), &target, read_only)
            }
        };
        if taken.contains(&target) {
            // The operator's is there, or an earlier one of the job's.
            continue;
        }
        taken.push(target);
        let source = mount.source.clone().filter(|source| !source.is_empty());
        own.mounts.push(Mount { source, ..mount });
    }
    own
}

/// Whether the operator mounts this folder of the machine into every job.
pub(super) fn is_of_operator(settings: &DockerSettings, path: &str) -> bool {
    settings.volumes.iter().any(|volume| volume.split_once(':').is_some_and(|(source, _)| source == path))
}

/// Whether the agent mounts something there, or above or below it.
fn is_ours(target: &str, of: &MountsOf<'_>) -> bool {
    let dirs = &of.job.dirs;
    [HOME, dirs.builds.as_str()].into_iter().chain(dirs.also_at.as_deref()).any(|ours| {
        let within = |path: &str, folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        within(target, ours) || within(ours, target)
    })
}

/// One item of `docker.volumes`.
struct Volume {
    source: Option<String>,
    target: String,
    mode: Option<String>,
}

impl Volume {
    /// Reads `host:container[:mode]`, `name:container[:mode]` or `/container`. Only the container's side refers to the job's
    /// variables: what is mounted is the operator's choice, not the job's.
    fn parse(text: &str, of: &MountsOf<'_>) -> Result<Self, JobFailure> {
        let wrong = |why: &str| JobFailure::configuration(format!("`{text}` in `docker.volumes`: {why}"));
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, mode) = match parts[..] {
            [target] => (None, target, None),
            [source, target] => (Some(source), target, None),
            [source, target, mode] => (Some(source), target, Some(mode)),
            _ => return Err(wrong("too many colons")),
        };
        let target = of.job.variables.expand(target);
        let target = if target.starts_with('/') { target } else { format!("{}/{target}", of.job.dirs.project) };
        let target = clean(&target).ok_or_else(|| wrong("the path in the container leaves its root or is the root"))?;
        if target == HOME || target.starts_with("/.forgehand/") {
            return Err(wrong("the agent's own folder in the container cannot be replaced"));
        }
        let source = source.filter(|source| !source.is_empty());
        Ok(Self { source: source.map(str::to_owned), target, mode: mode.map(str::to_owned) })
    }

    fn add_to(self, mounts: &mut Mounts, of: &MountsOf<'_>) {
        match self.source {
            Some(source) => {
                let mode = self.mode.map(|mode| format!(":{mode}")).unwrap_or_default();
                mounts.shared_binds.push(format!("{source}:{}{mode}", self.target));
            }
            None => self.add_kept(mounts, of),
        }
    }

    /// A folder kept from job to job of one Owner: a fork's job has its own, protected refs have theirs.
    fn add_kept(self, mounts: &mut Mounts, of: &MountsOf<'_>) {
        let owner = of.job.owner.slug();
        let settings = of.settings;
        if settings.disable_cache {
            let folder = of.paths.private.join("volumes").join(names::digest(&self.target));
            mounts.shared.push(bind(&folder, &self.target, false));
            mounts.folders.push(folder);
        } else if let Some(driver) = &settings.volume_driver {
            mounts.shared.push(self.named(driver, &owner, of));
        } else {
            let root = settings.cache_dir.as_deref().map_or_else(|| of.kept.to_owned(), PathBuf::from);
            let folder = root.join(owner).join(names::digest(&self.target));
            mounts.shared.push(bind(&folder, &self.target, false));
            mounts.folders.push(folder);
        }
    }

    fn named(&self, driver: &str, owner: &str, of: &MountsOf<'_>) -> Mount {
        let options: HashMap<String, String> =
            of.settings.volume_driver_ops.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(names::kept_volume(of.agent, owner, &self.target)),
            target: Some(self.target.clone()),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels::of_owner(of.agent, of.job, "volume")),
                driver_config: Some(MountVolumeOptionsDriverConfig {
                    name: Some(driver.to_owned()),
                    options: Some(options),
                }),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        }
    }
}

/// Makes the folders of a plan, writable by any user of a job below a folder that only the agent enters. Blocking.
///
/// # Errors
/// Which folder could not be made, in the system's words.
pub(in crate::executor::sandbox::docker) fn make_folders(folders: &[PathBuf]) -> Result<(), String> {
    for folder in folders {
        let failed = |error: std::io::Error| format!("the folder {} cannot be made: {error}", folder.display());
        if let Some(parent) = folder.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        }
        match std::fs::create_dir(folder) {
            // The process's umask would take bits from `mkdir`'s mode.
            Ok(()) => std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).map_err(failed)?,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// A mount of a file or folder of the machine.
pub(in crate::executor::sandbox::docker) fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// An absolute path without `.`, `..` and doubled slashes; `None` where it leaves the root or is the root.
fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::sandbox::docker::tests::a_job;
    use crate::pipeline::{Trust, Variable};

    fn planned(volumes: &[&str], change: impl FnOnce(&mut PipelineJob)) -> Result<Mounts, JobFailure> {
        let mut job = a_job();
        change(&mut job);
        let settings =
            DockerSettings { volumes: volumes.iter().map(|v| (*v).to_owned()).collect(), ..DockerSettings::default() };
        let paths = JobPaths { private: "/s/p".into(), run: "/s/r".into(), workspace: "/s/w".into() };
        plan(&MountsOf {
            agent: "a",
            job: &job,
            paths: &paths,
            settings: &settings,
            kept: Path::new("/s/kept"),
            shim: Path::new("/s/shim"),
            tools: None,
        })
    }

    #[test]
    fn a_kept_folder_differs_for_each_owner_and_destination() {
        let member = planned(&["/cache", "/other"], |_| {}).unwrap();
        let fork = planned(&["/cache", "/other"], |job| job.owner.trust = Trust::Fork).unwrap();
        assert_eq!(member.folders.len(), 2);
        assert!(member.folders.iter().all(|folder| !fork.folders.contains(folder)));
        assert_ne!(member.folders[0], member.folders[1]);
    }

    #[test]
    fn the_job_s_variables_are_seen_in_the_destination_only() {
        let set = |job: &mut PipelineJob| job.variables.push(Variable::plain("X", "/etc"));
        let mounts = planned(&["/srv/$X:$X/data:ro", "relative"], set).unwrap();
        assert_eq!(mounts.shared_binds, ["/srv/$X:/etc/data:ro"]);
        assert!(mounts.shared.iter().any(|m| m.target.as_deref() == Some("/builds/group/project/relative")));
    }

    #[test]
    fn destinations_that_would_break_the_sandbox_are_refused() {
        for volumes in [&["/"][..], &["/a:/"], &["/a/../.."], &["/x:/.forgehand/run"], &["/a", "/b:/a"], &["a:b:c:d"]] {
            let refused = planned(volumes, |_| {}).unwrap_err();
            assert_eq!(refused.reason, crate::pipeline::FailureReason::RunnerConfigurationError, "{volumes:?}");
        }
    }

    #[test]
    fn a_volume_at_the_builds_folder_is_left_out_and_told() {
        let mounts = planned(&["/srv/builds:/builds"], |_| {}).unwrap();
        assert_eq!(mounts.shared.iter().filter(|m| m.target.as_deref() == Some("/builds")).count(), 1);
        assert!(mounts.shared_binds.is_empty() && mounts.remarks[0].contains("/builds"));
    }

    fn own_of(volumes: &[(VolumeSource, &str)], of_operator: &[&str]) -> OwnMounts {
        let settings = DockerSettings {
            volumes: of_operator.iter().map(|v| (*v).to_owned()).collect(),
            ..DockerSettings::default()
        };
        let wished: Vec<VolumeSpec> = volumes
            .iter()
            .map(|(source, target)| VolumeSpec { source: source.clone(), target: (*target).into(), read_only: false })
            .collect();
        let paths = JobPaths { private: "/s/p".into(), run: "/s/r".into(), workspace: "/s/w".into() };
        own(
            &wished,
            &MountsOf {
                agent: "a",
                job: &a_job(),
                paths: &paths,
                settings: &settings,
                kept: Path::new("/s/kept"),
                shim: Path::new("/s/shim"),
                tools: None,
            },
        )
    }

    #[test]
    fn a_job_mounts_of_the_machine_what_the_operator_mounts_and_no_more() {
        let wished = [
            (VolumeSource::Machine("/srv/data".into()), "/d"),
            (VolumeSource::Machine("/srv/data/sub".into()), "/sub"),
            (VolumeSource::Machine("/etc".into()), "/e"),
        ];
        let own = own_of(&wished, &["/srv/data:/data:ro"]);
        let targets: Vec<_> = own.mounts.iter().map(|mount| mount.target.as_deref().unwrap()).collect();
        assert_eq!(targets, ["/d"]);
        assert_eq!(own.mounts[0].read_only, Some(true), "the operator's is");
    }

    #[test]
    fn named_volumes_are_folders_of_the_job_and_none_lies_over_the_sandbox_s_own() {
        let named = |target| (VolumeSource::Named("v".into()), target);
        let own = own_of(
            &[named("/x"), named("/builds"), named("/builds/group"), named("/.forgehand/run"), named("/a/../..")],
            &[],
        );
        assert_eq!(own.mounts.len(), 1);
        assert!(own.folders.iter().all(|folder| folder.starts_with("/s/p/volumes")), "{:?}", own.folders);
        assert_eq!(own.remarks.len(), 4, "{:?}", own.remarks);
    }
}
