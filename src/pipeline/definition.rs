//! What should happen: pipeline, jobs, steps.
//!
//! A [`PipelineJob`] is complete: nothing in it needs the forge's own language any more. Paths ending in `_dir` are as the
//! job's processes see them.

use std::path::PathBuf;
use std::time::Duration;

use super::id::{JobId, JobKey};
use super::outcome::FailureReason;
use super::owner::Owner;
use super::secret::Secret;
use super::variable::{Variable, Variables};

/// A pipeline: jobs and which of them wait for which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineDefinition {
    /// The name shown to people.
    pub name: String,
    /// The stages in their order; empty in languages without.
    pub stages: Vec<String>,
    /// The jobs in the order of the file.
    pub jobs: Vec<PlannedJob>,
    /// Groups of jobs that came from one matrix; [`PlannedJob::group`] is a place in this list.
    pub groups: Vec<JobGroup>,
}

/// A job's place in its pipeline, and when it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedJob {
    /// The job's name, unique in its pipeline.
    pub name: String,
    /// The stage it belongs to.
    pub stage: String,
    /// What must have ended before this one may start.
    pub waits: Waits,
    /// On which ends of these it starts.
    pub start: StartCondition,
    /// Its failure does not fail the pipeline, and for those that wait for it counts as an end in success.
    pub may_fail: MayFail,
    /// How often it is tried again.
    pub retry: RetryRule,
    /// How long one try may take; `None`: the language's default.
    pub timeout: Option<Duration>,
    /// Its group, a place in [`PipelineDefinition::groups`].
    pub group: Option<usize>,
    /// Only one job of a resource group runs at a time.
    pub resource_group: Option<String>,
    /// How long it is expected to take: recorded, or written down by its author.
    pub estimate: Option<Duration>,
    /// What it asks of the machine.
    pub resources: ResourceRequest,
}

/// On which ends of those that it waits for a job starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartCondition {
    /// When none has failed.
    #[default]
    OnSuccess,
    /// When one has failed.
    OnFailure,
    /// In both cases.
    Always,
    /// As [`StartCondition::OnSuccess`], and somebody says so. `blocks`: those that wait for it wait until then; else they go
    /// on without it.
    Manual {
        /// Whether what waits for it waits until somebody starts it.
        blocks: bool,
    },
    /// As [`StartCondition::OnSuccess`], this much later.
    Delayed(Duration),
    /// An expression of the language decides when all have ended, whatever became of them.
    Decided,
}

/// Which failures of a job its pipeline puts up with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MayFail {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// Those with one of these exit codes.
    ExitCodes(Vec<i32>),
}

impl MayFail {
    /// Whether a failure with this exit code (`None`: not a command's failure) is put up with.
    pub fn covers(&self, exit_code: Option<i32>) -> bool {
        match self {
            MayFail::Never => false,
            MayFail::Always => true,
            MayFail::ExitCodes(codes) => exit_code.is_some_and(|code| codes.contains(&code)),
        }
    }
}

/// How often a failed job is tried again, and after which failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryRule {
    /// How many times after the first.
    pub max: u32,
    /// After which failures. Empty, and no `exit_codes`: after any.
    pub on: Vec<FailureReason>,
    /// After a command that ended with one of these; beside `on`.
    pub exit_codes: Vec<i32>,
}

impl RetryRule {
    /// Whether a failure for this reason, with this exit code, is worth a try by this rule.
    pub fn covers(&self, reason: FailureReason, exit_code: Option<i32>) -> bool {
        (self.on.is_empty() && self.exit_codes.is_empty())
            || self.on.contains(&reason)
            || exit_code.is_some_and(|code| self.exit_codes.contains(&code))
    }
}

/// Jobs that came from one job of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JobGroup {
    /// The job's name in the file.
    pub name: String,
    /// The first failure ends the others.
    pub fail_fast: bool,
    /// How many run at the same time; `None`: as many as there is room for.
    pub max_parallel: Option<usize>,
}

/// What a job asks of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceRequest {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of disk.
    pub disk: Option<u64>,
}

impl PlannedJob {
    /// A job that starts when what it waits for ended well, and is tried once.
    pub fn new(name: impl Into<String>, stage: impl Into<String>, waits: Waits) -> Self {
        Self { name: name.into(), stage: stage.into(), waits, ..Self::default() }
    }

    /// The jobs it waits for by name.
    pub fn named_needs(&self) -> &[String] {
        match &self.waits {
            Waits::Jobs(names) => names,
            Waits::EarlierStages => &[],
        }
    }
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The jobs of these names; none: it may start at once.
    Jobs(Vec<String>),
    /// All jobs of earlier stages. Said like this and not by name: a thousand jobs behind a thousand others would be a
    /// million names.
    EarlierStages,
}

impl Default for Waits {
    fn default() -> Self {
        Waits::Jobs(Vec::new())
    }
}

/// One job, ready to run.
#[derive(Clone, Debug)]
pub struct PipelineJob {
    /// What makes it unique for this agent.
    pub key: JobKey,
    /// The forge's id of it.
    pub id: JobId,
    /// The name the forge shows.
    pub name: String,
    /// The stage the forge shows.
    pub stage: String,
    /// On whose behalf it runs.
    pub owner: Owner,
    /// Its variables, the runner's own among them, expanded.
    pub variables: Variables,
    /// Where it works.
    pub dirs: JobDirs,
    /// The image its steps run in; `None` where the sandbox has none (host).
    pub image: Option<ImageSpec>,
    /// Containers that run beside it, in the order in which they were named.
    pub services: Vec<ServiceSpec>,
    /// Credentials for image registries.
    pub registry_auth: RegistryAuth,
    /// The repository it works on.
    pub sources: SourceSpec,
    /// Its steps in order, the after-step last.
    pub steps: Vec<PipelineStep>,
    /// Folders kept from job to job.
    pub caches: Vec<CacheSpec>,
    /// Files it gives away.
    pub artifacts: Vec<ArtifactSpec>,
    /// Files it is given.
    pub dependencies: Vec<DependencySpec>,
    /// How long its parts may take.
    pub timeouts: Timeouts,
    /// How often its stages are tried.
    pub attempts: Attempts,
    /// What its log looks like and what is hidden in it.
    pub log: LogSpec,
    /// What its author switched on.
    pub options: JobOptions,
    /// Lines the user should read at the head of the log: settings without effect, corrected values.
    pub warnings: Vec<String>,
    /// What the forge's own UI and its users know the machine's parts by: container labels, host name.
    pub labels: Vec<(String, String)>,
}

/// Folders as the job's processes see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobDirs {
    /// The root of all work trees, `/builds` in a container. The workspace is mounted here.
    pub builds: String,
    /// The work tree, below `builds`.
    pub project: String,
    /// What belongs to the job but not into its work tree (file variables), below `builds`.
    pub temp: String,
    /// Where else a container shows the work tree: the folder of the native language, `/workspace`.
    pub also_at: Option<String>,
}

/// Which image to run and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSpec {
    /// The reference, expanded.
    pub name: String,
    /// Replaces the image's entrypoint. `Some` of an empty list or of one empty text clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Policies to try in order; empty: the configured ones.
    pub pull_policies: Vec<PullPolicy>,
    /// The platform to pull, `linux/arm64`.
    pub platform: Option<String>,
    /// The user to start as, where the operator allows it.
    pub user: Option<String>,
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// Ask the registry each time.
    Always,
    /// Only what is not on the machine.
    IfNotPresent,
    /// Only what is on the machine.
    Never,
}

/// A container beside the job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its image. The service has its own entrypoint rules, policies, platform and user.
    pub image: ImageSpec,
    /// Replaces the image's command; empty: the image's.
    pub command: Vec<String>,
    /// Names it is reached by, besides those made from its image.
    pub aliases: Vec<String>,
    /// Its environment: the job's public variables and its own, expanded.
    pub variables: Vec<Variable>,
}

/// Credentials for image registries, by source. The first source that knows a registry wins.
#[derive(Clone, Debug, Default)]
pub struct RegistryAuth {
    /// The text of a Docker `config.json`, from the variable `DOCKER_AUTH_CONFIG`.
    pub docker_config: Option<Secret>,
    /// What the forge sent with the job.
    pub job: Vec<RegistryCredential>,
}

/// A user name and password for one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCredential {
    /// Host and port of the registry, perhaps with a path.
    pub registry: String,
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// What the work tree is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSpec {
    /// How.
    pub strategy: SourceStrategy,
    /// Without a repository the work tree begins empty all the same: nothing an earlier job left is in it.
    pub begins_empty: bool,
    /// A folder of this machine that holds the sources as they are, for work trees that are not fetched from anywhere: copied,
    /// never changed. With [`SourceStrategy::Snapshot`] before the steps, else where a step asks for it.
    pub snapshot: Option<PathBuf>,
    /// The repository, without credentials.
    pub url: String,
    /// Credentials for the repository and for others on the same host (submodules).
    pub credentials: Option<GitCredentials>,
    /// Further rewrites: a URL prefix and what it is replaced with (SSH to HTTPS for submodules).
    pub url_rewrites: Vec<UrlRewrite>,
    /// The ref's name, for the log.
    pub ref_name: String,
    /// The commit to check out, hexadecimal.
    pub sha: String,
    /// What to fetch.
    pub refspecs: Vec<String>,
    /// How many commits deep; 0: all.
    pub depth: u32,
    /// `sha1` or `sha256`.
    pub object_format: String,
    /// Whether the commit is checked out.
    pub checkout: bool,
    /// Words for `git clean` before the checkout; `None`: no cleaning.
    pub clean_flags: Option<Vec<String>>,
    /// Words for `git fetch`.
    pub fetch_flags: Vec<String>,
    /// Submodules.
    pub submodules: Submodules,
    /// Whether LFS objects are fetched where git-lfs is installed.
    pub lfs: bool,
    /// Commands of the job before and after its sources are there.
    pub pre_script: Vec<String>,
    /// See `pre_script`.
    pub post_script: Vec<String>,
    /// Value of git's `http.userAgent`.
    pub user_agent: String,
    /// An extra HTTP header for git, `Name: value`.
    pub extra_header: Option<String>,
}

impl SourceSpec {
    /// No repository: the work tree begins empty.
    pub fn none() -> Self {
        Self {
            strategy: SourceStrategy::Empty,
            begins_empty: true,
            snapshot: None,
            url: String::new(),
            credentials: None,
            url_rewrites: Vec::new(),
            ref_name: String::new(),
            sha: String::new(),
            refspecs: Vec::new(),
            depth: 0,
            object_format: "sha1".to_owned(),
            checkout: false,
            clean_flags: None,
            fetch_flags: Vec::new(),
            submodules: Submodules {
                depth_of_tree: SubmoduleStrategy::None,
                depth: 0,
                paths: Vec::new(),
                update_flags: Vec::new(),
            },
            lfs: false,
            pre_script: Vec::new(),
            post_script: Vec::new(),
            user_agent: String::new(),
            extra_header: None,
        }
    }
}

/// How the work tree is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStrategy {
    /// A new work tree each time.
    Clone,
    /// The work tree of an earlier job of the same owner, cleaned, where there is one.
    Fetch,
    /// What an earlier job left, untouched.
    None,
    /// An empty folder.
    Empty,
    /// An empty folder, then the files of [`SourceSpec::snapshot`].
    Snapshot,
}

/// User name and password for git over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitCredentials {
    /// User name.
    pub username: String,
    /// Password: the job's token.
    pub password: Secret,
    /// The base URLs, `https://host[:port]`, that the credentials are for.
    pub hosts: Vec<String>,
}

/// A URL prefix and what git is to use in its place (`url.TO.insteadOf=FROM`). Without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlRewrite {
    /// The prefix as it stands in `.gitmodules`.
    pub from: String,
    /// What is used in its place.
    pub to: String,
}

/// What to do with submodules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submodules {
    /// Whether, and how deep.
    pub depth_of_tree: SubmoduleStrategy,
    /// How many commits deep each is fetched; 0: all.
    pub depth: u32,
    /// Pathspecs; empty: all.
    pub paths: Vec<String>,
    /// Words for `git submodule update`.
    pub update_flags: Vec<String>,
}

/// Which submodules are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubmoduleStrategy {
    /// None.
    None,
    /// Those of the repository itself.
    Normal,
    /// Theirs too.
    Recursive,
}

/// One script of a job, run in one shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineStep {
    /// Its name, `script`, `after_script`, `release`.
    pub name: String,
    /// What it is among the job's steps.
    pub kind: StepKind,
    /// The commands, each a line or a block of lines, echoed before they run.
    pub commands: Vec<String>,
}

/// What a step is among the steps of its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Part of the job: the first that fails ends the job's steps.
    Main,
    /// Runs after the others whatever became of them, with its own time limit; its failure does not fail the job
    /// unless `fails_job`.
    After {
        /// `AFTER_SCRIPT_IGNORE_ERRORS=false`.
        fails_job: bool,
    },
}

/// On which results of the steps something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum When {
    /// Only after success.
    #[default]
    OnSuccess,
    /// Only after failure.
    OnFailure,
    /// In both cases.
    Always,
}

impl When {
    /// Whether it is due after steps that ended like this.
    pub fn is_due(self, success: bool) -> bool {
        match self {
            When::OnSuccess => success,
            When::OnFailure => !success,
            When::Always => true,
        }
    }
}

/// Folders kept from job to job under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSpec {
    /// The key, expanded; sanitised where the forge's rules ask for it. Empty: it comes to nothing, and nothing is kept.
    pub key: String,
    /// Keys to try, in order, when nothing is kept under `key`.
    pub fallback_keys: Vec<String>,
    /// What is kept.
    pub files: FileSelection,
    /// Whether it is restored before the steps.
    pub pull: bool,
    /// Whether it is saved after them.
    pub push: bool,
    /// After which results it is saved.
    pub when: When,
}

/// Which files of the work tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileSelection {
    /// Globs relative to the work tree; variables in them are expanded when the files are looked for.
    pub paths: Vec<String>,
    /// Globs of what is left out again.
    pub exclude: Vec<String>,
    /// Also what git does not track, ignored files included.
    pub untracked: bool,
}

/// Files that a job gives away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactSpec {
    /// The base name of the archive, before variables in it are expanded; empty: the forge's default.
    pub name: String,
    /// Which files.
    pub files: FileSelection,
    /// After which results.
    pub when: When,
    /// `archive` or a kind of report.
    pub kind: String,
    /// How they are packed.
    pub format: ArtifactFormat,
    /// The format's name exactly as the forge sent it, empty where it sent none.
    pub format_on_wire: String,
    /// How long the forge is to keep it, in the forge's words; empty: its default.
    pub expire_in: String,
}

/// How files are packed for the forge or into a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArtifactFormat {
    /// A zip archive.
    #[default]
    Zip,
    /// A zip archive whose entries are compressed with zstd (method 93).
    ZipZstd,
    /// A tar archive in one zstd stream.
    TarZstd,
    /// One gzip member a file.
    Gzip,
    /// One file as it is.
    Raw,
}

/// Another job whose files this one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencySpec {
    /// The other job's id.
    pub id: JobId,
    /// Its name, for the log.
    pub name: String,
    /// The token its files are fetched with.
    pub token: Secret,
    /// The archive's name.
    pub file_name: String,
    /// The archive's size in bytes as the forge says.
    pub size: u64,
}

/// How long the parts of a job may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// The whole job.
    pub job: Duration,
    /// Preparing the sandbox.
    pub prepare: Option<Duration>,
    /// Getting the sources.
    pub get_sources: Option<Duration>,
    /// All main steps together.
    pub script: Option<Duration>,
    /// The after-step.
    pub after_script: Duration,
    /// Waiting for services to answer; `None`: not at all.
    pub services: Option<Duration>,
}

/// How often a stage is tried, 1 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Getting the sources.
    pub get_sources: u32,
    /// Restoring caches.
    pub restore_cache: u32,
    /// Downloading artifacts.
    pub download_artifacts: u32,
    /// Steps that the engine, not the script, broke.
    pub executor: u32,
}

/// What a job's author can switch on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// A command that fails ends the script even where the shell would go on.
    pub check_each_command: bool,
    /// Scripts run at the end of a pipe, as those of the official runner did before 18.11.
    pub legacy_eval: bool,
    /// The work tree is cleaned after the job, too.
    pub clean_up_work_tree: bool,
    /// The runner's own log names the images that the job asks for.
    pub log_images: bool,
}

/// What a job's log looks like.
#[derive(Clone, Debug)]
pub struct LogSpec {
    /// Markers by which the forge folds and times the parts of the log.
    pub sections: bool,
    /// Each command of several lines in a folded section of its own.
    pub script_sections: bool,
    /// A header with time and stream before each line (protocols: GitLab 4.6).
    pub timestamps: bool,
    /// Whether shells print each command as it runs.
    pub trace_commands: bool,
    /// Whether the output of services is shown.
    pub services: bool,
    /// Texts to hide.
    pub mask: Vec<Secret>,
    /// What stands in their place.
    pub mask_word: MaskWord,
    /// What follows one of these, as far as token characters go, is hidden.
    pub mask_prefixes: Vec<String>,
    /// Bytes after which the log is cut.
    pub limit: u64,
}

/// What stands in place of a text that is hidden: users of each forge know one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskWord {
    /// `[MASKED]`, as on GitLab.
    #[default]
    Bracketed,
    /// `***`, as on GitHub.
    Stars,
}

impl MaskWord {
    /// The word.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            MaskWord::Bracketed => b"[MASKED]",
            MaskWord::Stars => b"***",
        }
    }
}

impl LogSpec {
    /// Text alone: no sections, no time stamps, nothing to hide, at most `limit` bytes.
    pub fn plain(limit: u64) -> Self {
        Self {
            sections: false,
            script_sections: false,
            timestamps: false,
            trace_commands: false,
            services: false,
            mask: Vec::new(),
            mask_word: MaskWord::Bracketed,
            mask_prefixes: Vec::new(),
            limit,
        }
    }
}
