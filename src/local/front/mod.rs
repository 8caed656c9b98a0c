//! One face for the languages: what `lint`, `plan`, `graph` and `expand` ask of a pipeline file.
//!
//! Nothing here runs anything, nor fetches but what [`Includes`] allows. [`gitlab`], [`github`], [`native`]: how each language answers.

pub mod codes;
mod fit;
pub mod github;
pub mod gitlab;
pub mod native;

use std::path::Path;

use serde_json::{Map, Value};

use super::includes::Includes;
use super::project::{LocateError, PipelineFile, Project};
use super::request::Request;
use crate::parser::diagnostics::{Checked, Diagnostic, Diagnostics, did_you_mean};
use crate::parser::dialect::Dialect;
use crate::parser::document::{FileId, Sources, Span};
use crate::pipeline::PipelineDefinition;
use crate::pipeline::graph::{GraphProblem, JobGraph};

/// The pipeline that an event makes of a file.
pub struct Plan {
    /// Its jobs.
    pub definition: PipelineDefinition,
    /// Which of them waits for which.
    pub graph: JobGraph,
    /// What there is to say of each job beyond its place.
    pub details: Box<Details>,
    /// What the user should know: why there are no jobs.
    pub notes: Vec<String>,
}

/// What there is to say of each job of a definition beyond its place, by name: worked out for those who ask.
pub type Details = dyn Fn(&PipelineDefinition) -> Map<String, Value>;

/// What the language makes of a file and an event, before the graph is looked at.
pub(super) struct Planned {
    pub(super) definition: PipelineDefinition,
    /// Where a job stands, or a name in its list of needs.
    pub(super) place: Box<Place>,
    pub(super) details: Box<Details>,
    pub(super) notes: Vec<String>,
}

/// Where a job of this name stands, or in its list of needs that name.
pub(super) type Place = PlaceIn<'static>;
/// The same, of something borrowed.
pub(super) type PlaceIn<'a> = dyn Fn(&str, Option<&str>) -> Option<Span> + 'a;

/// Checks a file by itself: no rule is evaluated. What it includes from elsewhere comes from `includes`.
pub fn lint(project: &Project, file: &PipelineFile, includes: &Includes) -> Checked<()> {
    if let Some(finding) = no_text(file) {
        return refused(file, finding);
    }
    match file.dialect {
        Dialect::GitLab => gitlab::lint(project, file, includes),
        Dialect::GitHub | Dialect::Gitea | Dialect::Forgejo => github::lint(project, file),
        Dialect::Native => native::lint(project, file),
    }
}

/// The pipeline that an event makes of a file; its value is `None` where that cannot be.
pub fn plan(project: &Project, file: &PipelineFile, request: &Request) -> Checked<Plan> {
    if let Some(finding) = no_text(file) {
        return refused(file, finding);
    }
    let checked = match file.dialect {
        Dialect::GitLab => gitlab::plan(project, file, request),
        Dialect::GitHub | Dialect::Gitea | Dialect::Forgejo => github::plan(project, file, request),
        Dialect::Native => native::plan(project, file, request),
    };
    let Checked { value, mut diagnostics, sources } = checked;
    let value = value.filter(|_| !diagnostics.has_errors()).and_then(|planned| with_graph(planned, &mut diagnostics));
    Checked { value, diagnostics, sources }
}

/// What the file says when all that can be resolved is, as YAML.
pub fn expand(project: &Project, file: &PipelineFile, request: &Request, how: &Expand) -> Checked<String> {
    if let Some(finding) = no_text(file) {
        return refused(file, finding);
    }
    match file.dialect {
        Dialect::GitLab => gitlab::expand(project, file, request, how),
        Dialect::GitHub | Dialect::Gitea | Dialect::Forgejo => github::expand(project, file, request, how),
        Dialect::Native => native::expand(project, file, request, how),
    }
}

/// How a file is expanded.
#[derive(Clone, Debug, Default)]
pub struct Expand {
    /// Only these jobs; empty: all.
    pub jobs: Vec<String>,
    /// Stop where the files are merged, before jobs are built (GitLab).
    pub merged: bool,
}

fn with_graph(planned: Planned, diagnostics: &mut Diagnostics) -> Option<Plan> {
    let Planned { definition, place, details, notes } = planned;
    let graph = graph_of(&definition, &place, diagnostics)?;
    Some(Plan { definition, graph, details, notes })
}

/// The graph of a definition; what is wrong with it goes to the findings.
pub(super) fn graph_of(
    definition: &PipelineDefinition,
    place: &PlaceIn<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<JobGraph> {
    let (graph, problems) = match JobGraph::build(definition) {
        Ok((graph, problems)) => (Some(graph), problems),
        Err(problems) => (None, problems),
    };
    for problem in problems {
        diagnostics.push(finding(&problem, place));
    }
    graph
}

/// A problem of the graph at the name that makes it.
fn finding(problem: &GraphProblem, place: &PlaceIn<'_>) -> Diagnostic {
    let (job, need) = problem.place();
    let span = place(job, need).or_else(|| place(job, None)).unwrap_or(Span::start_of(FileId::default()));
    let finding = match problem.is_error() {
        true => Diagnostic::error(codes::DEPENDENCIES, span, problem.to_string()),
        false => Diagnostic::note(codes::NEEDLESS, span, problem.to_string()),
    };
    finding.help(problem.help())
}

/// The finding that a file is no text.
pub(super) fn no_text(file: &PipelineFile) -> Option<Diagnostic> {
    let at = file.no_text_at?;
    let before = file.text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let span = Span::point(FileId::default(), number(line), number(column)).part(0, 1);
    let finding = Diagnostic::error(codes::NO_TEXT, span, format!("the file is not UTF-8 text: byte {at} is none"));
    Some(finding.help("save the file as UTF-8"))
}

/// The finding that nothing can be read at a path.
pub fn unreadable(path: &Path, problem: &LocateError) -> Checked<()> {
    let mut sources = Sources::new();
    let file = sources.add(path.display().to_string().as_str(), "");
    let mut diagnostics = Diagnostics::new();
    let help = miette::Diagnostic::help(problem).map(|help| help.to_string());
    diagnostics.push(Diagnostic::error(codes::NO_FILE, Span::start_of(file), problem.to_string()).maybe_help(help));
    Checked { value: None, diagnostics, sources }
}

/// Nothing but one finding.
pub(super) fn refused<T>(file: &PipelineFile, problem: Diagnostic) -> Checked<T> {
    let mut diagnostics = Diagnostics::new();
    diagnostics.push(problem);
    Checked { value: None, diagnostics, sources: sources_of(file) }
}

/// The finding that a job is asked for that is not there.
fn unknown_job<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Diagnostic {
    const SHOWN: usize = 10;
    let span = Span::start_of(FileId::default());
    let listed: Vec<String> = known.clone().into_iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let help = did_you_mean(name, known).unwrap_or_else(|| format!("the jobs are {}", listed.join(", ")));
    Diagnostic::error(codes::UNKNOWN_JOB, span, format!("this pipeline has no job `{name}`")).help(help)
}

/// A file as the first of the sources.
pub(super) fn sources_of(file: &PipelineFile) -> Sources {
    let mut sources = Sources::new();
    sources.add(file.path.as_str(), file.text.as_str());
    sources
}
