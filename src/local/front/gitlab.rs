//! GitLab CI.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use smol_str::SmolStr;

use super::{Expand, Planned, codes, graph_of, refused};
use crate::local::includes::Includes;
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::local::surroundings::{Changes, Surroundings};
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics, Severity, did_you_mean};
use crate::parser::document::{FileId, Span};
use crate::parser::gitlab::compose::{Event, ReadAhead};
use crate::parser::gitlab::config::Configuration;
use crate::parser::gitlab::config::model::{AllowFailure, Job, Need, NeedWhat, Variables, When};
use crate::parser::gitlab::pipeline::context::{
    ChangedFiles, Commit, GitRef, MergeRequest, OutsideVariables, PipelineIds, Server, Source, UnknownRef, User,
};
use crate::parser::gitlab::pipeline::variables::Variable;
use crate::parser::gitlab::pipeline::{CreatedJob, Pipeline, PipelineContext, context, expand as expanded};
use crate::parser::gitlab::{LoadOptions, check, load};
use crate::parser::join;
use crate::pipeline::{PipelineDefinition, PlannedJob, Waits};

/// The file and what it includes, by themselves: no rule is evaluated.
pub(super) fn lint(project: &Project, file: &PipelineFile, includes: &Includes) -> Checked<()> {
    let context = PipelineContext { config_path: file.path.clone(), ..PipelineContext::default() };
    // Whose projects are included is asked of git where it matters only.
    let own = OnceLock::new();
    let asked =
        || Surroundings::of(project, &Request::default()).server().unwrap_or_else(|| context.server.url.clone());
    let remote = includes.of_server(|| own.get_or_init(asked).clone());
    let options = LoadOptions { event: Event::Any, ..LoadOptions::default() };
    let checked = check(&file.path, project, &remote, &options, &context);
    let Checked { value, mut diagnostics, sources } = checked;
    if let Some(loaded) = &value {
        cycles(&loaded.configuration, &mut diagnostics);
    }
    Checked { value: value.map(drop), diagnostics, sources }
}

/// The pipeline that the request creates.
pub(super) fn plan(project: &Project, file: &PipelineFile, request: &Request) -> Checked<Planned> {
    // Starting git holds up whoever starts it, so that another does.
    let (ahead, awaited) = join(|| ReadAhead::of(file.text.as_bytes()), || Surroundings::ask(project));
    let context = match pipeline_context(&awaited.answered(request), &file.path) {
        Ok(context) => context,
        Err(problem) => return refused(file, problem),
    };
    let checked = load_pipeline(project, file, request, &context, LoadOptions { ahead, ..LoadOptions::default() });
    let Checked { value, diagnostics, sources } = checked;
    let value = value.map(|pipeline| planned(pipeline, &diagnostics));
    Checked { value, diagnostics, sources }
}

/// The pipeline that `context` creates of a file, with the request's inputs.
pub fn load_pipeline(
    project: &Project,
    file: &PipelineFile,
    request: &Request,
    context: &PipelineContext,
    options: LoadOptions,
) -> Checked<Pipeline> {
    let remote = request.includes.of_server(|| context.server.url.clone());
    load(&file.path, project, &remote, &LoadOptions { inputs: request.inputs.clone(), ..options }, context)
}

/// GitLab's merged or processed form.
pub(super) fn expand(project: &Project, file: &PipelineFile, request: &Request, how: &Expand) -> Checked<String> {
    let surroundings = Surroundings::of(project, request);
    let context = match pipeline_context(&surroundings, &file.path) {
        Ok(context) => context,
        Err(problem) => return refused(file, problem),
    };
    let remote = request.includes.of_server(|| context.server.url.clone());
    let Checked { value, mut diagnostics, sources } = check(&file.path, project, &remote, &options(request), &context);
    let value = value.filter(|_| !diagnostics.has_errors()).and_then(|loaded| {
        if how.merged {
            return Some(expanded::merged(&loaded.composed));
        }
        let jobs = &loaded.configuration.jobs;
        match how.jobs.iter().find(|name| jobs.get(name).is_none()) {
            Some(unknown) => {
                let names = jobs.iter().map(|job| job.name.as_str());
                diagnostics.push(super::unknown_job(unknown, names));
                None
            }
            None => Some(expanded::processed(&loaded.composed, &loaded.configuration, &how.jobs)),
        }
    });
    Checked { value, diagnostics, sources }
}

fn options(request: &Request) -> LoadOptions {
    LoadOptions { inputs: request.inputs.clone(), ..LoadOptions::default() }
}

fn planned(pipeline: Pipeline, diagnostics: &Diagnostics) -> Planned {
    let definition = pipeline.to_definition();
    let notes = match pipeline.jobs.is_empty() {
        true => {
            diagnostics.iter().filter(|one| one.severity == Severity::Note).map(|one| one.message.clone()).collect()
        }
        false => Vec::new(),
    };
    let pipeline = Arc::new(pipeline);
    let described = Arc::clone(&pipeline);
    let place = move |job: &str, need: Option<&str>| {
        let source = pipeline.source(pipeline.job(job)?)?;
        place_of(source, need)
    };
    let details = move |_: &PipelineDefinition| {
        described.jobs.iter().map(|job| (job.name.to_string(), details(&described, job))).collect()
    };
    Planned { definition, place: Box::new(place), details: Box::new(details), notes }
}

/// What a plan tells of a job beyond its place.
fn details(pipeline: &Pipeline, job: &CreatedJob) -> Value {
    let mut all = Map::new();
    all.insert("when".to_owned(), json!(when_word(job.when)));
    if let Some(source) = pipeline.source(job) {
        all.insert("allow_failure".to_owned(), json!(job.allow_failure == AllowFailure::Is(true)));
        if source.name != job.name {
            all.insert("of".to_owned(), json!(source.name.as_str()));
        }
        if let Some(start_in) = &job.start_in {
            all.insert("start_in".to_owned(), json!(start_in.text.as_str()));
        }
        let variables = own_variables(source, job);
        if !variables.is_empty() {
            all.insert("variables".to_owned(), Value::Object(variables));
        }
        if let Some(scope) = pipeline.scope(job) {
            if let Some(environment) = scope.environment() {
                all.insert("environment".to_owned(), json!(environment));
            }
            if let Some(tags) = source.tags.as_ref().filter(|tags| !tags.is_empty()) {
                all.insert("tags".to_owned(), tags.iter().map(|tag| scope.expand_once(&tag.value)).collect());
            }
        }
        if source.is_bridge() {
            let child = pipeline.children.get(&job.name);
            let jobs = child.map(|child| child.jobs.iter().map(|job| job.name.to_string()).collect::<Vec<_>>());
            all.insert("trigger".to_owned(), json!({ "jobs": jobs }));
        }
    }
    Value::Object(all)
}

/// A job's own variables as they are written, with those of its row of the matrix and of the rule that held.
fn own_variables(source: &Job, job: &CreatedJob) -> Map<String, Value> {
    let written = |variables: Option<&Variables>| {
        let list = variables.map(|variables| variables.list.as_slice()).unwrap_or_default();
        list.iter().map(|variable| (variable.name.to_string(), json!(variable.value.as_str()))).collect::<Vec<_>>()
    };
    let mut all: Map<String, Value> = written(source.variables.as_deref()).into_iter().collect();
    let row = job.instance.iter().flat_map(|instance| &instance.variables);
    all.extend(row.map(|(name, value)| (name.to_string(), json!(value.as_str()))));
    all.extend(written(job.rule_variables.as_deref()));
    all
}

fn when_word(when: When) -> &'static str {
    match when {
        When::OnSuccess => "on_success",
        When::OnFailure => "on_failure",
        When::Always => "always",
        When::Manual => "manual",
        When::Delayed => "delayed",
        When::Never => "never",
    }
}

/// Jobs that need each other in a cycle, whatever the rules say. Unknown names are the configuration's own checks.
fn cycles(configuration: &Configuration, diagnostics: &mut Diagnostics) {
    let needed = |job: &Job| -> Vec<String> {
        let names = job.needs.iter().flat_map(|needs| needs.iter()).filter_map(need_name);
        let mut names: Vec<String> =
            names.filter(|name| configuration.jobs.get(name).is_some()).map(SmolStr::to_string).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let jobs = configuration.jobs.iter().map(|job| PlannedJob {
        name: job.name.to_string(),
        waits: Waits::Jobs(needed(job)),
        ..PlannedJob::default()
    });
    let definition = PipelineDefinition { jobs: jobs.collect(), ..PipelineDefinition::default() };
    let place = |job: &str, need: Option<&str>| place_of(configuration.jobs.get(job)?, need);
    let mut found = Diagnostics::new();
    graph_of(&definition, &place, &mut found);
    // What is only clumsy here may be needed where rules leave jobs out.
    found.into_iter().filter(|one| one.severity == Severity::Error).for_each(|one| diagnostics.push(one));
}

fn place_of(job: &Job, need: Option<&str>) -> Option<Span> {
    let mut needs = job.needs.iter().flat_map(|needs| needs.iter());
    match need {
        Some(name) => needs.find(|need| need_name(need).is_some_and(|need| need == name)).map(|need| need.span),
        None => Some(job.span),
    }
}

/// The name of the job that is needed, if it is one of this pipeline.
fn need_name(need: &Need) -> Option<&SmolStr> {
    match &need.what {
        NeedWhat::Job { name, .. } => Some(&name.value),
        _ => None,
    }
}

/// What the server would know of this checkout and request (docs/gitlab-ci.md, local values).
pub fn pipeline_context(surroundings: &Surroundings, config_path: &str) -> Result<PipelineContext, Diagnostic> {
    let source = source(surroundings)?;
    let full_ref = surroundings.full_ref();
    let git_ref = match full_ref.strip_prefix("refs/tags/") {
        Some(tag) => GitRef::Tag { name: tag.to_owned(), message: String::new() },
        None => GitRef::Branch(full_ref.strip_prefix("refs/heads/").unwrap_or(&full_ref).to_owned()),
    };
    let commit = surroundings.commit();
    let server = surroundings.server().map(|url| Server { url, ..Server::default() }).unwrap_or_default();
    let request = &surroundings.request;
    let default_branch = surroundings.default_branch().to_owned();
    let is_protected = git_ref.is_tag() || git_ref.name() == default_branch;
    let created_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let from_pairs = |(name, value): &(String, String)| Variable::public(name.as_str(), value.as_str());
    Ok(PipelineContext {
        merge_request: (source == Source::MergeRequestEvent).then(|| MergeRequest {
            iid: 1,
            source_branch: git_ref.name().to_owned(),
            target_branch: default_branch.clone(),
            diff_base_sha: surroundings.fork_point().unwrap_or_default(),
            title: commit.title().to_owned(),
            description: commit.description().to_owned(),
            ..MergeRequest::default()
        }),
        changes: changes(source, &git_ref, surroundings.changes()),
        source,
        git_ref,
        is_protected,
        project: context::Project {
            id: surroundings.project_id().into(),
            path: surroundings.project_path(),
            default_branch,
            visibility: "private".to_owned(),
            git_depth: 20,
            timeout: 3600,
            ..context::Project::default()
        },
        server,
        user: User {
            id: 1,
            name: commit.author_name.clone(),
            email: commit.author_email.clone(),
            login: commit.login().to_owned(),
        },
        commit: surroundings.facts.commit.is_some().then(|| Commit {
            author: format!("{} <{}>", commit.author_name, commit.author_email),
            before_sha: before(source, &full_ref, &commit),
            sha: commit.sha,
            message: commit.message,
            timestamp: commit.committed_at,
        }),
        ids: PipelineIds { id: 1, iid: 1, created_at },
        schedule: (source == Source::Schedule).then(|| "local schedule".to_owned()),
        variables: OutsideVariables {
            project: request
                .secrets
                .iter()
                .map(|(name, value)| Variable::masked(name.as_str(), value.expose()))
                .collect(),
            pipeline: request.variables.iter().map(from_pairs).collect(),
            ..OutsideVariables::default()
        },
        config_path: config_path.to_owned(),
    })
}

fn source(surroundings: &Surroundings) -> Result<Source, Diagnostic> {
    let Some(word) = surroundings.request.event.as_deref() else { return Ok(Source::Push) };
    // The names that other languages have for the same.
    let known = match word {
        "pull_request" | "merge_request" => Some(Source::MergeRequestEvent),
        word => Source::from_word(word),
    };
    known.ok_or_else(|| {
        let words = Source::ALL.map(Source::as_str);
        Diagnostic::error(
            codes::BAD_REQUEST,
            Span::start_of(FileId::default()),
            format!("GitLab knows no event `{word}`"),
        )
        .help(did_you_mean(word, words).unwrap_or_else(|| format!("it knows {}", words.join(", "))))
    })
}

/// The commit before: of a push to a branch alone, zeros for everything else, as on the server.
fn before(source: Source, full_ref: &str, commit: &crate::local::facts::Commit) -> String {
    let zeros = || "0".repeat(commit.sha.len());
    let is_push = source == Source::Push && full_ref.starts_with("refs/heads/");
    if is_push { commit.parent.clone().unwrap_or_else(zeros) } else { zeros() }
}

/// What `changes` compares with: of a push or a merge request the work since the fork point; everything else counts as changed,
/// as on the server.
fn changes(source: Source, git_ref: &GitRef, changes: Arc<Changes>) -> Arc<dyn ChangedFiles> {
    let compares = matches!(source, Source::Push | Source::MergeRequestEvent) && !git_ref.is_tag();
    Arc::new(LocalChanges { compares, changes })
}

#[derive(Debug)]
struct LocalChanges {
    compares: bool,
    changes: Arc<Changes>,
}

impl ChangedFiles for LocalChanges {
    fn changed(&self) -> Option<Arc<[String]>> {
        if self.compares { self.changes.pushed() } else { None }
    }

    fn since(&self, reference: &str) -> Result<Option<Arc<[String]>>, UnknownRef> {
        let name = reference.strip_prefix("refs/heads/").unwrap_or(reference);
        match self.changes.since(name) {
            Some(files) => Ok(Some(files)),
            None => Err(UnknownRef(reference.into())),
        }
    }
}
