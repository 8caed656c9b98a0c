//! What the scheduler handles: legs.

use std::time::Duration;

use super::Conclusion;
use crate::parser::document::Span;
use crate::pipeline::Secret;

/// How long a job may take where nothing is said.
pub(in crate::parser::github) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(360 * 60);

/// A leg of a [`Playbook`](super::Playbook).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u32);

/// What the scheduler is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Run this leg as soon as there is room, and report with [`Playbook::ended`](super::Playbook::ended). Limits of the
    /// workflow (`max-parallel`, `concurrency`) hold already.
    Start(LegId),
    /// This one ends without having run.
    Never(NeverRan),
    /// End this leg, which was started: its result is to be `cancelled`.
    Cancel {
        /// Which.
        leg: LegId,
        /// Why, one sentence.
        reason: String,
    },
}

/// A job that ends without having run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeverRan {
    /// The name the forge shows; no other job of the run has it.
    pub name: String,
    /// `Skipped`, `Cancelled`, or `Failure` where its own values cannot be evaluated.
    pub conclusion: Conclusion,
    /// Why, one sentence.
    pub reason: String,
}

/// One job that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    /// Its number in this run.
    pub id: LegId,
    /// The name the forge shows: `m (1, a)`, `call / inner`. Where the forge shows several jobs by one name, the later ones have
    /// their id after it, so that no other job of the run has it.
    pub name: String,
    /// Where its job stands, in its own file.
    pub span: Option<Span>,
    /// The keys in the files: `["inner"]`, in a called workflow `["call", "inner"]`.
    pub path: Vec<String>,
    /// The names, as shown, of the legs it waited for.
    pub needs: Vec<String>,
    /// Where it asks to run.
    pub runs_on: RunsOn,
    /// The container it asks for. `None`: the machine that `runs-on` names.
    pub container: Option<ContainerSpec>,
    /// Containers beside it, by the names they are reached by, in the order of the file. Those whose image came to nothing are left out.
    pub services: Vec<(String, ContainerSpec)>,
    /// The deployment environment.
    pub environment: Option<EnvironmentSpec>,
    /// How long it may take. GitHub's default is 360 minutes.
    pub timeout: Duration,
    /// Its failure does not fail the run.
    pub continue_on_error: bool,
    /// Its concurrency group, for the log; the playbook heeds it itself.
    pub concurrency: Option<Concurrency>,
    /// The number of the matrix it belongs to, its place there and how many there are; `None` without a matrix.
    pub strategy: Option<(u32, u32, u32)>,
}

impl Leg {
    /// A job of which no more is known than who it is.
    pub(in crate::parser::github) fn unknown(id: LegId, name: String, path: Vec<String>, span: Option<Span>) -> Self {
        Self {
            id,
            name,
            span,
            path,
            needs: Vec::new(),
            runs_on: RunsOn::default(),
            container: None,
            services: Vec::new(),
            environment: None,
            timeout: DEFAULT_TIMEOUT,
            continue_on_error: false,
            concurrency: None,
            strategy: None,
        }
    }
}

/// Where a job asks to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsOn {
    /// All of these labels.
    pub labels: Vec<String>,
    /// A runner of this group.
    pub group: Option<String>,
}

/// A container, its values evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The image; never empty.
    pub image: String,
    /// Its own environment; a step's wins over it.
    pub env: Vec<(String, String)>,
    /// Ports to publish, as written: `8080:80/tcp`.
    pub ports: Vec<String>,
    /// Volumes, as written: `name:/path:ro`.
    pub volumes: Vec<String>,
    /// Options for `docker create`, as written.
    pub options: String,
    /// For the image's registry.
    pub credentials: Option<Credentials>,
    /// Replaces the image's command (services only); a command line.
    pub command: Option<String>,
    /// Replaces the image's entrypoint (services only); a command line.
    pub entrypoint: Option<String>,
}

/// A user name and password for a registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// The deployment environment of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentSpec {
    /// Its name.
    pub name: String,
    /// Where it can be seen; evaluated when the leg has ended, see [`LegEnd::environment_url`].
    pub has_url: bool,
}

/// A concurrency group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Its name.
    pub group: String,
    /// A newcomer ends the one that runs.
    pub cancel_in_progress: bool,
    /// How many may wait.
    pub queue: Queue,
}

/// How many of a concurrency group may wait for the one that runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Queue {
    /// One: a newcomer takes its place.
    #[default]
    Single,
    /// A hundred, in their order; what comes then never runs.
    Max,
}

/// How a leg ended.
#[derive(Clone, Debug, PartialEq)]
pub struct LegEnd {
    /// `Success`, `Failure` or `Cancelled`; before the job's `continue-on-error`.
    pub conclusion: Conclusion,
    /// The job's outputs, evaluated; empty ones are left out.
    pub outputs: Vec<(String, String)>,
    /// The environment's address.
    pub environment_url: Option<String>,
    /// What its evaluation had to say; for the job's log.
    pub remarks: Vec<super::Remark>,
}

impl LegEnd {
    /// A leg whose steps never got to run: no sandbox, no sources, or somebody cancelled it before.
    pub fn without_steps(conclusion: Conclusion) -> Self {
        Self { conclusion, outputs: Vec::new(), environment_url: None, remarks: Vec::new() }
    }
}
