//! What should happen: pipeline, jobs, steps.
//!
//! - `planned`: a pipeline of jobs, as plans and schedules know it.
//! - `job`, `step`: one job, ready to run. It is complete: nothing in a [`PipelineJob`] needs the forge's own language any more.
//!   Paths ending in `_dir` are as the job's processes see them.
//! - `image`, `container`, `source`, `files`, `log`: what it runs in, works on, keeps and says.

mod container;
mod files;
mod image;
mod job;
mod log;
mod planned;
mod source;
mod step;

pub use container::{
    ContainerOptions, HealthSpec, PortSpec, Privilege, PrivilegeKind, Protocol, UlimitSpec, VolumeSource, VolumeSpec,
};
pub use files::{ArtifactFormat, ArtifactSpec, CacheSpec, DependencySpec, FileSelection};
pub use image::{ImageSpec, PullPolicy, RegistryAuth, RegistryCredential, ServiceSpec};
pub use job::{Attempts, JobDirs, JobOptions, PipelineJob, Timeouts};
pub use log::{LogSpec, MaskWord};
pub use planned::{
    JobGroup, MayFail, PipelineDefinition, PlannedJob, ResourceRequest, RetryRule, StartCondition, Waits,
};
pub use source::{GitCredentials, SourceSpec, SourceStrategy, SubmoduleStrategy, Submodules, UrlRewrite};
pub use step::{PipelineStep, StepKind, When};
