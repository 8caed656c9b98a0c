//! What a pipeline is created for, as this server knows it.

use std::sync::Arc;

use serde_json::Value;

use super::PipelineRequest;
use super::files::{RepositoryChanges, RepositoryFiles};
use crate::emulator::repository::{self, RepositoryError};
use crate::emulator::world::World;
use crate::emulator::world::project::Project;
use crate::parser::gitlab::pipeline::context::{
    self, Commit, GitRef, MergeRequest, OutsideVariables, PipelineContext, PipelineIds, Server, Source, User,
};
use crate::parser::gitlab::pipeline::variables::Variable;

/// The version this server says it is.
pub const VERSION: &str = "19.3.0";
/// How long a job may take unless it says otherwise, in seconds.
const TIMEOUT: u64 = 3600;
/// The number of the one merge request that a project here can have.
const MERGE_REQUEST: u64 = 1;

/// The context of pipeline `id`. Blocking: asks git for the commit.
pub fn of(
    world: &World,
    project: &Project,
    request: &PipelineRequest,
    files: &Arc<RepositoryFiles>,
    id: u64,
) -> Result<PipelineContext, RepositoryError> {
    let (bare, name) = (&project.repository, request.git_ref.as_str());
    let facts = repository::commit_facts(bare, files.sha())?;
    let git_ref = match repository::is_tag(bare, name) {
        true => GitRef::Tag { name: name.to_owned(), message: repository::tag_message(bare, name) },
        false => GitRef::Branch(name.to_owned()),
    };
    let is_push = request.source == Source::Push && !git_ref.is_tag();
    let before = request.before.clone().or(facts.parent).filter(|_| is_push);
    let merge_request = match request.source {
        Source::MergeRequestEvent => Some(merge_request(project, name, files.sha(), &facts.message)?),
        _ => None,
    };
    let base = merge_request.as_ref().map(|request| request.diff_base_sha.clone()).or_else(|| before.clone());
    let is_scheduled = request.source == Source::Schedule;
    Ok(PipelineContext {
        source: request.source,
        git_ref,
        commit: Some(Commit {
            sha: files.sha().to_owned(),
            before_sha: before.unwrap_or_else(|| "0".repeat(files.sha().len())),
            message: facts.message,
            author: facts.author,
            timestamp: facts.timestamp,
        }),
        merge_request,
        is_protected: true,
        project: context::Project {
            id: project.id,
            path: project.path.clone(),
            default_branch: project.default_branch.clone(),
            visibility: "private".to_owned(),
            git_depth: 20,
            timeout: TIMEOUT,
            ..context::Project::default()
        },
        server: Server {
            url: world.base_url.clone(),
            version: VERSION.to_owned(),
            registry: String::new(),
            pages_domain: "pages.example.com".to_owned(),
        },
        user: User {
            id: 15,
            name: "Ada Example".to_owned(),
            email: "ada@example.com".to_owned(),
            login: "ada".to_owned(),
        },
        ids: PipelineIds { id, iid: id, created_at: now() },
        schedule: is_scheduled.then(|| "nightly".to_owned()),
        variables: OutsideVariables {
            project: project.variables.iter().map(from_settings).collect(),
            pipeline: request.variables.iter().map(|(key, value)| Variable::public(key, value)).collect(),
            ..OutsideVariables::default()
        },
        changes: Arc::new(RepositoryChanges { files: files.clone(), base }),
        config_path: super::FILE.to_owned(),
    })
}

/// The time as the server writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The merge request of a branch into the default branch, with its ref.
fn merge_request(project: &Project, branch: &str, sha: &str, message: &str) -> Result<MergeRequest, RepositoryError> {
    let bare = &project.repository;
    let target_sha = repository::resolve(bare, &project.default_branch)?;
    repository::set_ref(bare, &format!("refs/merge-requests/{MERGE_REQUEST}/head"), sha)?;
    let (title, description) = message.split_once('\n').unwrap_or((message, ""));
    Ok(MergeRequest {
        iid: MERGE_REQUEST,
        source_branch: branch.to_owned(),
        target_branch: project.default_branch.clone(),
        diff_base_sha: repository::merge_base(bare, &target_sha, sha).unwrap_or_else(|_| target_sha.clone()),
        target_sha,
        title: title.to_owned(),
        description: description.trim().to_owned(),
        ..MergeRequest::default()
    })
}

/// A variable of the project's settings.
fn from_settings(variable: &Value) -> Variable {
    let text = |key: &str| variable[key].as_str().unwrap_or_default().into();
    let is = |key: &str| variable[key] == Value::Bool(true);
    Variable {
        key: text("key"),
        value: text("value"),
        public: is("public"),
        masked: is("masked"),
        file: is("file"),
        raw: is("raw"),
    }
}
