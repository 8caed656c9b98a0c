//! What a pipeline is created for: the event, the commit, the project, variables from outside the file.
//!
//! All of it is plain data or asked for when it is needed ([`ChangedFiles`], the [`Files`](crate::parser::document::Files)
//! that [`load`](super::super::load) takes): nothing here looks at the machine.

use std::fmt::Debug;
use std::sync::Arc;

use smol_str::SmolStr;

use super::variables::Variable;

/// What a pipeline is created for.
#[derive(Clone, Debug)]
pub struct PipelineContext {
    /// What happened.
    pub source: Source,
    /// The branch or tag.
    pub git_ref: GitRef,
    /// The merge request, in pipelines of one.
    pub merge_request: Option<MergeRequest>,
    /// The commit; `None` where there is none yet.
    pub commit: Option<Commit>,
    /// Whether the ref is protected.
    pub is_protected: bool,
    /// The project.
    pub project: Project,
    /// The server.
    pub server: Server,
    /// Who started it.
    pub user: User,
    /// Ids of the pipeline and its time.
    pub ids: PipelineIds,
    /// The description of the schedule that started it.
    pub schedule: Option<String>,
    /// Variables from outside the file.
    pub variables: OutsideVariables,
    /// Which files changed.
    pub changes: Arc<dyn ChangedFiles>,
    /// The path of the configuration in the project.
    pub config_path: String,
}

impl Default for PipelineContext {
    fn default() -> Self {
        Self {
            source: Source::Push,
            git_ref: GitRef::Branch("main".into()),
            merge_request: None,
            commit: None,
            is_protected: true,
            project: Project::default(),
            server: Server::default(),
            user: User::default(),
            ids: PipelineIds::default(),
            schedule: None,
            variables: OutsideVariables::default(),
            changes: Arc::new(AllChanged),
            config_path: ".gitlab-ci.yml".to_owned(),
        }
    }
}

/// What starts a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is GitLab's word for it")]
pub enum Source {
    Push,
    MergeRequestEvent,
    Schedule,
    Web,
    Api,
    Trigger,
    ParentPipeline,
    Pipeline,
    External,
    ExternalPullRequestEvent,
    Chat,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Push,
        Self::MergeRequestEvent,
        Self::Schedule,
        Self::Web,
        Self::Api,
        Self::Trigger,
        Self::ParentPipeline,
        Self::Pipeline,
        Self::External,
        Self::ExternalPullRequestEvent,
        Self::Chat,
    ];

    /// GitLab's word for it, as in `CI_PIPELINE_SOURCE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::MergeRequestEvent => "merge_request_event",
            Self::Schedule => "schedule",
            Self::Web => "web",
            Self::Api => "api",
            Self::Trigger => "trigger",
            Self::ParentPipeline => "parent_pipeline",
            Self::Pipeline => "pipeline",
            Self::External => "external",
            Self::ExternalPullRequestEvent => "external_pull_request_event",
            Self::Chat => "chat",
        }
    }

    /// The one of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// A branch or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GitRef {
    /// A branch.
    Branch(String),
    /// A tag and its message.
    Tag {
        /// Its name.
        name: String,
        /// Its message; empty for one without.
        message: String,
    },
}

impl GitRef {
    /// Its name without `refs/`.
    pub fn name(&self) -> &str {
        match self {
            Self::Branch(name) | Self::Tag { name, .. } => name,
        }
    }

    /// Whether it is a tag.
    pub fn is_tag(&self) -> bool {
        matches!(self, Self::Tag { .. })
    }
}

/// A merge request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MergeRequest {
    /// Its number in the project.
    pub iid: u64,
    /// The branch that is merged.
    pub source_branch: String,
    /// The branch it is merged into.
    pub target_branch: String,
    /// The commit of the target branch.
    pub target_sha: String,
    /// Where both branches part.
    pub diff_base_sha: String,
    /// Its title.
    pub title: String,
    /// Its description.
    pub description: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Whether it is a draft.
    pub is_draft: bool,
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its hash.
    pub sha: String,
    /// The commit of the ref before; zeros where there is none.
    pub before_sha: String,
    /// Its whole message.
    pub message: String,
    /// `Name <mail>`.
    pub author: String,
    /// When, as ISO 8601.
    pub timestamp: String,
}

/// A project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: u64,
    /// Its path with its namespace: `group/sub/name`.
    pub path: String,
    /// Its title; empty: the last part of the path.
    pub title: String,
    /// Its description.
    pub description: String,
    /// Its default branch.
    pub default_branch: String,
    /// private, internal, public.
    pub visibility: String,
    /// Languages of its files, in lower case.
    pub languages: Vec<String>,
    /// How many commits deep sources are fetched unless `GIT_DEPTH` says otherwise.
    pub git_depth: u32,
    /// The time limit of jobs that say none, in seconds.
    pub timeout: u64,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its address without a slash at the end: `https://gitlab.example.com`.
    pub url: String,
    /// Its version.
    pub version: String,
    /// Host of its image registry.
    pub registry: String,
    /// Domain of its pages.
    pub pages_domain: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            url: "https://gitlab.com".to_owned(),
            version: "18.5.0".to_owned(),
            registry: "registry.gitlab.com".to_owned(),
            pages_domain: "gitlab.io".to_owned(),
        }
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Their id.
    pub id: u64,
    /// Their name.
    pub name: String,
    /// Their e-mail address.
    pub email: String,
    /// Their login.
    pub login: String,
}

/// Ids and time of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineIds {
    /// Its id in the server.
    pub id: u64,
    /// Its number in the project.
    pub iid: u64,
    /// When it was created, as ISO 8601.
    pub created_at: String,
}

/// Variables from outside the file, weakest first.
#[derive(Clone, Debug, Default)]
pub struct OutsideVariables {
    /// Of the instance.
    pub instance: Vec<Variable>,
    /// Of the groups, the outermost first.
    pub group: Vec<Variable>,
    /// Of the project: `--secret`.
    pub project: Vec<Variable>,
    /// Of the pipeline: `--var`, a trigger's or a parent's variables.
    pub pipeline: Vec<Variable>,
    /// Of the schedule.
    pub schedule: Vec<Variable>,
}

impl OutsideVariables {
    /// All, weakest first.
    pub fn iter(&self) -> impl Iterator<Item = &Variable> {
        [&self.instance, &self.group, &self.project, &self.pipeline, &self.schedule].into_iter().flatten()
    }
}

/// Which files a pipeline's commits changed.
pub trait ChangedFiles: Debug + Send + Sync {
    /// The paths; `None` where that is not known: then every `changes` holds.
    fn changed(&self) -> Option<Arc<[String]>>;

    /// The paths that differ from `reference`. `Ok(None)`: not known.
    ///
    /// # Errors
    ///
    /// Where there is no such ref.
    fn since(&self, reference: &str) -> Result<Option<Arc<[String]>>, UnknownRef>;
}

/// There is no such ref.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no branch, tag or commit of this repository")]
pub struct UnknownRef(pub SmolStr);

/// Nothing is known about changes: every `changes` holds, as on GitLab for schedules, tags and new branches.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllChanged;

impl ChangedFiles for AllChanged {
    fn changed(&self) -> Option<Arc<[String]>> {
        None
    }

    fn since(&self, _: &str) -> Result<Option<Arc<[String]>>, UnknownRef> {
        Ok(None)
    }
}

impl ChangedFiles for Vec<String> {
    fn changed(&self) -> Option<Arc<[String]>> {
        Some(self.clone().into())
    }

    fn since(&self, _: &str) -> Result<Option<Arc<[String]>>, UnknownRef> {
        Ok(self.changed())
    }
}
