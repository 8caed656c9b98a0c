//! What a GitLab configuration says, typed.
//!
//! Defaults are applied: a job holds what it inherits from `default:` and the top of the file. Everything is shared, so that a
//! [`Job`] is cheap to clone. Keywords that no one evaluates before a runner sees the job stay [`Node`]s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use crate::parser::document::{Node, Schema, Span, Typed};
use crate::parser::expression::gitlab::Expr;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A name or a text and where it stands.
pub type Name = Spanned<SmolStr>;

/// A whole configuration. Hidden jobs are gone.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The stages in order, `.pre` first and `.post` last.
    pub stages: Arc<[Name]>,
    /// When there is a pipeline at all.
    pub workflow: Workflow,
    /// The variables of all jobs.
    pub variables: Arc<Variables>,
    /// What jobs inherit; it is in them already.
    pub defaults: Arc<Defaults>,
    /// The jobs in the order of the file.
    pub jobs: Jobs,
}

/// Jobs in the order of the file, found by name.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    list: Vec<Job>,
    index: HashMap<SmolStr, usize>,
}

impl Jobs {
    /// Of these; a name that comes twice means the last.
    pub fn new(list: Vec<Job>) -> Self {
        let index = list.iter().enumerate().map(|(at, job)| (job.name.clone(), at)).collect();
        Self { list, index }
    }

    /// The job of this name.
    pub fn get(&self, name: &str) -> Option<&Job> {
        self.position(name).and_then(|at| self.list.get(at))
    }

    /// The place of the job of this name in the order of the file.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// Them in order.
    pub fn as_slice(&self) -> &[Job] {
        &self.list
    }

    /// Them in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Job> {
        self.list.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<'a> IntoIterator for &'a Jobs {
    type Item = &'a Job;
    type IntoIter = std::slice::Iter<'a, Job>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// What `default:` (or the top of the file) hands to every job that does not refuse it.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Lines before `script`.
    pub before_script: Option<Script>,
    /// Lines after the job.
    pub after_script: Option<Script>,
    /// The image.
    pub image: Option<Arc<Image>>,
    /// The services.
    pub services: Option<Arc<[Service]>>,
    /// The caches.
    pub cache: Option<Arc<[Cache]>>,
    /// The artifacts.
    pub artifacts: Option<Arc<Artifacts>>,
    /// The tags.
    pub tags: Option<Arc<[Name]>>,
    /// The retries.
    pub retry: Option<Arc<Retry>>,
    /// The time limit.
    pub timeout: Option<Timeout>,
    /// Whether a newer pipeline may cancel.
    pub interruptible: Option<bool>,
    /// Hooks.
    pub hooks: Option<Arc<Hooks>>,
    /// Tokens.
    pub id_tokens: Option<Arc<[IdToken]>>,
    /// `identity`.
    pub identity: Option<Name>,
}

/// `workflow`.
#[derive(Clone, Debug, Default)]
pub struct Workflow {
    /// The name of the pipeline, variables in it.
    pub name: Option<Name>,
    /// When there is a pipeline; `None`: always.
    pub rules: Option<Arc<[Rule]>>,
    /// What cancels the pipeline.
    pub auto_cancel: Option<AutoCancel>,
}

/// `auto_cancel`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoCancel {
    /// conservative, interruptible, none.
    pub on_new_commit: Option<SmolStr>,
    /// all, none.
    pub on_job_failure: Option<SmolStr>,
}

/// A job that is not hidden.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: SmolStr,
    /// Where its name stands.
    pub span: Span,
    /// All it says, after `extends`; defaults are not in it.
    pub node: Node,
    /// What it does.
    pub kind: JobKind,
    /// Its stage. Where none is written: `test`, at the place of the job's name.
    pub stage: Name,
    /// Its commands; `None` for triggers and `run`.
    pub script: Option<Script>,
    /// Lines before them.
    pub before_script: Option<Script>,
    /// Lines after the job.
    pub after_script: Option<Script>,
    /// `run`: functions in place of `script`.
    pub run: Option<Node>,
    /// Its image.
    pub image: Option<Arc<Image>>,
    /// Its services.
    pub services: Option<Arc<[Service]>>,
    /// Its own variables.
    pub variables: Option<Arc<Variables>>,
    /// What it inherits.
    pub inherit: Inherit,
    /// Its tags.
    pub tags: Option<Arc<[Name]>>,
    /// Whether it may fail; `None`: a manual job without rules may.
    pub allow_failure: Option<AllowFailure>,
    /// When it starts; `None`: on success.
    pub when: Option<Spanned<When>>,
    /// How long a delayed one waits.
    pub start_in: Option<Timeout>,
    /// Whether it is created, and how.
    pub rules: Option<Arc<[Rule]>>,
    /// `only`; `None` where nothing is written: branches and tags, unless the job or the workflow has rules.
    pub only: Option<Arc<Policy>>,
    /// `except`.
    pub except: Option<Arc<Policy>>,
    /// What it waits for in place of earlier stages.
    pub needs: Option<Arc<[Need]>>,
    /// Whose artifacts it gets; `None`: those of all earlier stages.
    pub dependencies: Option<Arc<[Name]>>,
    /// What it leaves.
    pub artifacts: Option<Arc<Artifacts>>,
    /// Its caches; empty: none though there are default ones.
    pub cache: Option<Arc<[Cache]>>,
    /// Its retries.
    pub retry: Option<Arc<Retry>>,
    /// Its time limit.
    pub timeout: Option<Timeout>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: Option<bool>,
    /// One at a time of a name.
    pub resource_group: Option<Name>,
    /// Where it deploys to.
    pub environment: Option<Arc<Environment>>,
    /// The release it makes.
    pub release: Option<Node>,
    /// Hooks.
    pub hooks: Option<Arc<Hooks>>,
    /// Tokens.
    pub id_tokens: Option<Arc<[IdToken]>>,
    /// Secrets from vaults, as written.
    pub secrets: Option<Node>,
    /// The pattern that finds the coverage in the log, with its slashes.
    pub coverage: Option<Name>,
    /// How many of it there are.
    pub parallel: Option<Parallel>,
    /// `pages`, as written: a truth or keys. See [`Job::deploys_pages`].
    pub pages: Option<Node>,
    /// `publish`, the older way to say what pages publishes.
    pub publish: Option<Name>,
    /// What is asked before a manual job starts.
    pub manual_confirmation: Option<Name>,
    /// `identity`.
    pub identity: Option<Name>,
    /// `dast_configuration`, as written.
    pub dast_configuration: Option<Node>,
    /// Inputs of the job.
    pub inputs: Option<Arc<[JobInput]>>,
}

impl Job {
    /// Whether it has rules that count (not null).
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Its downstream pipeline, if it starts one.
    pub fn trigger(&self) -> Option<&Arc<Trigger>> {
        match &self.kind {
            JobKind::Trigger(trigger) => Some(trigger),
            JobKind::Runner | JobKind::Bridge => None,
        }
    }

    /// Whether it deploys GitLab Pages: `pages: true` or keys under it, or the name `pages` without `pages: false`.
    pub fn deploys_pages(&self) -> bool {
        let Some(pages) = &self.pages else { return self.name == "pages" };
        match pages.typed(Schema::Ruby) {
            Some(Typed::Bool(is)) => is,
            Some(_) => self.name == "pages",
            None => true,
        }
    }

    /// Whether it starts or mirrors another pipeline and no runner sees it.
    pub fn is_bridge(&self) -> bool {
        !matches!(self.kind, JobKind::Runner)
    }
}

/// What a job does.
#[derive(Clone, Debug)]
pub enum JobKind {
    /// A runner runs it.
    Runner,
    /// It starts another pipeline.
    Trigger(Arc<Trigger>),
    /// It mirrors another project's pipeline (`needs: pipeline`).
    Bridge,
}

/// Lines of a script, nested lists flattened. Empty: written as an empty list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The lines.
    pub lines: Arc<[SmolStr]>,
    /// Where they stand.
    pub span: Span,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name, variables in it.
    pub name: Name,
    /// What to start in place of its entrypoint.
    pub entrypoint: Option<Arc<[SmolStr]>>,
    /// When to pull; the first that works counts.
    pub pull_policy: Option<Arc<[SmolStr]>>,
    /// `docker`: platform, user.
    pub docker: Option<Node>,
    /// `kubernetes`: user.
    pub kubernetes: Option<Node>,
    /// `ports`, as written.
    pub ports: Option<Node>,
    /// As written.
    pub node: Node,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its image.
    pub image: Image,
    /// The names under which the job reaches it.
    pub alias: Option<SmolStr>,
    /// What to start in place of its command.
    pub command: Option<Arc<[SmolStr]>>,
    /// Its own variables.
    pub variables: Option<Arc<Variables>>,
}

/// Variables in the order of the file; a name stands once.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// Them.
    pub list: Vec<Variable>,
}

impl Variables {
    /// The variable of this name.
    pub fn get(&self, name: &str) -> Option<&Variable> {
        self.list.iter().find(|variable| variable.name == name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: SmolStr,
    /// Where its name stands.
    pub span: Span,
    /// Its value as text.
    pub value: SmolStr,
    /// Whether other variables in it are replaced; `None`: nothing is said, they are.
    pub expand: Option<bool>,
    /// What it is for.
    pub description: Option<SmolStr>,
    /// What may be chosen.
    pub options: Option<Arc<[SmolStr]>>,
}

/// `inherit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherit {
    /// Which keys of `default`.
    pub default: Inherited,
    /// Which global variables.
    pub variables: Inherited,
}

/// What is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inherited {
    /// Everything.
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// These.
    Only(Arc<[SmolStr]>),
}

impl Inherited {
    /// Whether this name is.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(names) => names.iter().any(|known| known == name),
        }
    }
}

/// `allow_failure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowFailure {
    /// It may, or not.
    Is(bool),
    /// With these exit codes it may.
    ExitCodes(Arc<[i64]>),
}

/// `when`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// All before it went well.
    OnSuccess,
    /// One before it failed.
    OnFailure,
    /// In any case.
    Always,
    /// When somebody starts it.
    Manual,
    /// After a while.
    Delayed,
    /// Not at all (rules).
    Never,
}

impl When {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnSuccess => "on_success",
            Self::OnFailure => "on_failure",
            Self::Always => "always",
            Self::Manual => "manual",
            Self::Delayed => "delayed",
            Self::Never => "never",
        }
    }
}

/// A stretch of time as it is written, and how long it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// As written: `1h 30m`.
    pub text: SmolStr,
    /// How long; `None`: never ends (`expire_in: never`).
    pub duration: Option<Duration>,
    /// Where it stands.
    pub span: Span,
}

/// One of `rules`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it stands.
    pub span: Span,
    /// Its condition.
    pub condition: Option<Condition>,
    /// Which changed files.
    pub changes: Option<Changes>,
    /// Which files there are.
    pub exists: Option<Exists>,
    /// When the job starts.
    pub when: Option<Spanned<When>>,
    /// How long a delayed job waits.
    pub start_in: Option<Timeout>,
    /// Whether the job may fail.
    pub allow_failure: Option<bool>,
    /// Variables of the job (of all jobs, in workflow rules).
    pub variables: Option<Arc<Variables>>,
    /// What the job waits for.
    pub needs: Option<Arc<[Need]>>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: Option<bool>,
    /// What cancels the pipeline (workflow rules).
    pub auto_cancel: Option<AutoCancel>,
}

/// A condition, `$CI_COMMIT_BRANCH == "main"`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Its text.
    pub text: SmolStr,
    /// It, understood.
    pub expr: Arc<Expr>,
    /// Where it stands.
    pub span: Span,
}

/// `rules:changes`.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Patterns; variables in them.
    pub paths: Arc<[SmolStr]>,
    /// Against what.
    pub compare_to: Option<Name>,
    /// A pattern over whole paths in place of `paths` (feature).
    pub regexp: Option<Name>,
}

/// `rules:exists`.
#[derive(Clone, Debug, Default)]
pub struct Exists {
    /// Patterns; variables in them.
    pub paths: Arc<[SmolStr]>,
    /// In which project.
    pub project: Option<Name>,
    /// In which of its refs.
    pub reference: Option<Name>,
    /// A pattern over whole paths in place of `paths` (feature).
    pub regexp: Option<Name>,
}

/// `only`, `except`.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Names, patterns, keywords. `None`: nothing said (`only`: branches and tags).
    pub refs: Option<Arc<[Name]>>,
    /// Conditions of which one has to hold.
    pub variables: Option<Arc<[Condition]>>,
    /// Patterns of changed files.
    pub changes: Option<Arc<[SmolStr]>>,
    /// `kubernetes: active`.
    pub kubernetes: bool,
}

/// One of `needs`.
#[derive(Clone, Debug)]
pub struct Need {
    /// Where it stands.
    pub span: Span,
    /// What is needed.
    pub what: NeedWhat,
    /// Whether its artifacts come along.
    pub artifacts: bool,
    /// Whether it may be absent.
    pub optional: bool,
}

/// What is needed.
#[derive(Clone, Debug)]
pub enum NeedWhat {
    /// A job of this pipeline, or some of its matrix.
    Job {
        /// Its name, or the name of one of its matrix or parallel jobs.
        name: Name,
        /// Which of its matrix; `None`: all.
        matrix: Option<Arc<[MatrixRow]>>,
    },
    /// Artifacts of a job of another pipeline of this project.
    Pipeline {
        /// The job.
        job: Name,
        /// The pipeline's id, mostly `$PARENT_PIPELINE_ID`.
        pipeline: SmolStr,
    },
    /// Artifacts of another project.
    Project {
        /// The job.
        job: Name,
        /// The project.
        project: SmolStr,
        /// Its ref.
        reference: SmolStr,
    },
    /// The state of another project's pipeline (`needs: {pipeline: group/project}`).
    Upstream {
        /// The project.
        project: Name,
    },
}

/// One row of a matrix: what each variable takes, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatrixRow {
    /// Where it stands.
    pub span: Span,
    /// Variables and their values.
    pub variables: Vec<(SmolStr, Vec<SmolStr>)>,
}

/// `parallel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parallel {
    /// So many.
    Number(u32),
    /// One for each combination.
    Matrix(Arc<[MatrixRow]>),
}

/// `artifacts`.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Their name.
    pub name: Option<SmolStr>,
    /// What to take.
    pub paths: Option<Arc<[SmolStr]>>,
    /// What to leave.
    pub exclude: Option<Arc<[SmolStr]>>,
    /// Whether to take what git does not know.
    pub untracked: Option<bool>,
    /// on_success, on_failure, always.
    pub when: Option<When>,
    /// How long to keep them.
    pub expire_in: Option<Timeout>,
    /// The name in the merge request.
    pub expose_as: Option<SmolStr>,
    /// Whether everybody may have them.
    pub public: Option<bool>,
    /// all, developer, maintainer, none.
    pub access: Option<SmolStr>,
    /// Reports.
    pub reports: Vec<Report>,
    /// As written.
    pub node: Node,
}

/// One of `artifacts:reports`.
#[derive(Clone, Debug)]
pub struct Report {
    /// junit, dotenv, ...
    pub kind: Name,
    /// Its files.
    pub paths: Arc<[SmolStr]>,
    /// coverage_report: its format.
    pub format: Option<SmolStr>,
}

/// One of `cache`.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Its key; `None`: `default`.
    pub key: Option<CacheKey>,
    /// What to keep.
    pub paths: Option<Arc<[SmolStr]>>,
    /// Whether to keep what git does not know.
    pub untracked: Option<bool>,
    /// pull-push, pull, push, or a variable.
    pub policy: Option<SmolStr>,
    /// on_success, on_failure, always.
    pub when: Option<When>,
    /// Keys to try where there is none of the key.
    pub fallback_keys: Option<Arc<[SmolStr]>>,
    /// Whether protected and other branches share it.
    pub unprotect: Option<bool>,
    /// As written.
    pub node: Node,
}

/// The key of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheKey {
    /// A text, variables in it.
    Text(SmolStr),
    /// Made of the content of files (or of the commits that changed them last), after a prefix.
    Files {
        /// The files.
        files: Arc<[SmolStr]>,
        /// The prefix.
        prefix: Option<SmolStr>,
        /// By the commits that changed them last, not by their content.
        commits: bool,
    },
}

/// `retry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most.
    pub max: u32,
    /// After which failures; empty: nothing is said, after any.
    pub when: Vec<SmolStr>,
    /// After which exit codes.
    pub exit_codes: Vec<i64>,
    /// Where it stands.
    pub span: Span,
}

/// `environment`.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name, variables in it.
    pub name: Name,
    /// Its address.
    pub url: Option<SmolStr>,
    /// start, prepare, stop, verify, access; start where nothing is said.
    pub action: SmolStr,
    /// The job that stops it.
    pub on_stop: Option<Name>,
    /// When it is stopped.
    pub auto_stop_in: Option<Timeout>,
    /// production, staging, testing, development, other.
    pub deployment_tier: Option<SmolStr>,
    /// `kubernetes`, as written.
    pub kubernetes: Option<Node>,
    /// As written.
    pub node: Node,
}

/// `hooks`.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Lines before the sources are fetched.
    pub pre_get_sources_script: Option<Script>,
}

/// One of `id_tokens`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdToken {
    /// The variable.
    pub name: Name,
    /// For whom.
    pub audience: Arc<[SmolStr]>,
}

/// `trigger`.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Where it stands.
    pub span: Span,
    /// What is started.
    pub target: TriggerTarget,
    /// depend or mirror: the job has the state of what it started.
    pub strategy: Option<SmolStr>,
    /// Whether the job's variables go along (they do).
    pub forward_yaml_variables: Option<bool>,
    /// Whether the pipeline's variables go along (they do not).
    pub forward_pipeline_variables: Option<bool>,
    /// Inputs, as written.
    pub inputs: Option<Node>,
    /// As written.
    pub node: Node,
}

/// What a trigger starts.
#[derive(Clone, Debug)]
pub enum TriggerTarget {
    /// Another project's pipeline.
    Project {
        /// The project.
        project: Name,
        /// Its branch.
        branch: Option<SmolStr>,
    },
    /// A child pipeline of these files, merged.
    Include(Arc<[TriggerInclude]>),
}

/// A file of a child pipeline.
#[derive(Clone, Debug)]
pub struct TriggerInclude {
    /// Where it stands.
    pub span: Span,
    /// Which.
    pub source: IncludeSource,
    /// Inputs for it, as written.
    pub inputs: Option<Node>,
    /// As written.
    pub node: Node,
}

/// Where an included file comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncludeSource {
    /// The project.
    Local(SmolStr),
    /// Another address.
    Remote(SmolStr),
    /// GitLab's own.
    Template(SmolStr),
    /// A component.
    Component(SmolStr),
    /// A job's artifact.
    Artifact {
        /// The path in it.
        path: SmolStr,
        /// The job.
        job: SmolStr,
    },
    /// Another project.
    Project {
        /// It.
        project: SmolStr,
        /// Its files.
        files: Arc<[SmolStr]>,
        /// Its ref.
        reference: Option<SmolStr>,
    },
}

/// One of a job's `inputs`.
#[derive(Clone, Debug)]
pub struct JobInput {
    /// Its name.
    pub name: Name,
    /// string, number, boolean, array.
    pub kind: SmolStr,
    /// What it is unless it is given.
    pub default: Node,
    /// As written.
    pub node: Node,
}
