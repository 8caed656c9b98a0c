//! GitLab: the runner API.
//!
//! - [`settings`]: what the operator wants of a registration; [`info`]: what we tell the server of ourselves.
//! - [`wire`]: what goes over the wire, read leniently ([`lenient`]).
//! - [`client`]: requests and what their answers have in common.
//! - [`register`]: from a token to a registration and back.
//! - [`poll`]: asking for jobs; [`pace`]: how many polls at the same time.
//! - [`convert`]: payload to model; pure. [`flags`]: which feature flags count.
//! - [`report`], [`transfer`]: log, states, artifacts of one job.
//!
//! What is supported and what is not stands in docs/gitlab.md.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::{Assignment, Forge, PollError, Polled, RunnerFacts};
use crate::outbound::Outbound;
use crate::pipeline::{ForgeInstance, JobFailure, PipelineJob};

pub mod client;
pub mod convert;
pub mod flags;
pub mod info;
mod lenient;
pub mod pace;
pub mod poll;
pub mod register;
pub mod report;
pub mod settings;
pub mod transfer;
pub mod wire;

#[cfg(test)]
mod client_tests;
#[cfg(test)]
mod wire_tests;

pub use report::GitLabReporter;
pub use settings::{Executor, GitLabSettings};

use client::{Api, ApiError};
use info::Info;
use pace::RequestPace;

/// One registration at a GitLab.
pub struct GitLab {
    settings: Arc<GitLabSettings>,
    info: Arc<Info>,
    api: Api,
    instance: ForgeInstance,
    /// The queue's version as the server told it last. (2.3)
    last_update: Mutex<Option<String>>,
    /// Polls in a row that were answered at once with news, but no job. (2.4)
    unheld: AtomicU32,
    requests: RequestPace,
}

impl GitLab {
    /// A registration; opens nothing. Fails where the address is none.
    pub fn new(settings: GitLabSettings, outbound: Outbound) -> Result<Self, ApiError> {
        let api = Api::new(outbound, &settings.url)?;
        let adaptive = settings.feature_flags.get("FF_USE_ADAPTIVE_REQUEST_CONCURRENCY").copied().unwrap_or(true);
        Ok(Self {
            info: Arc::new(Info::of(&settings)),
            instance: client::instance(&settings.url),
            last_update: Mutex::new(None),
            unheld: AtomicU32::new(0),
            requests: RequestPace::new(settings.request_concurrency, adaptive),
            settings: Arc::new(settings),
            api,
        })
    }
}

impl Forge for GitLab {
    type Reporter = GitLabReporter;

    async fn poll(&self, stop: &CancellationToken) -> Result<Polled, PollError> {
        poll::poll(self, stop).await
    }

    fn reporter(&self, assignment: &Assignment) -> Result<GitLabReporter, JobFailure> {
        GitLabReporter::new(self.settings.clone(), self.info.clone(), self.api.clone(), assignment)
    }

    fn define(&self, assignment: &Assignment, facts: &RunnerFacts) -> Result<PipelineJob, JobFailure> {
        convert::job(&self.settings, assignment, facts)
    }
}
