//! `forgehand.yml`.

use std::collections::HashMap;

use serde_json::Map;

use super::{Expand, Planned, codes, graph_of};
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::parser::diagnostics::{Checked, Diagnostic};
use crate::parser::document::{FileId, Limits, Merge, Options, Span, read as read_document};
use crate::parser::native::{Given, Pipeline, expand as expanded, plan as plan_jobs, read};
use crate::parser::variables::{Hierarchy, Source};

/// The file by itself, its dependencies among what is checked.
pub(super) fn lint(project: &Project, file: &PipelineFile) -> Checked<()> {
    let Checked { value, mut diagnostics, sources } = plan(project, file, &Request::default());
    if let Some(planned) = &value {
        graph_of(&planned.definition, &planned.place, &mut diagnostics);
    }
    Checked { value: value.map(drop), diagnostics, sources }
}

/// The jobs of the pipeline.
pub(super) fn plan(_: &Project, file: &PipelineFile, request: &Request) -> Checked<Planned> {
    let given = Given { runtime: request.variables.clone(), system: Vec::new() };
    let Checked { value, mut diagnostics, sources } = read(&file.path, &file.text, &given);
    let Some(pipeline) = value else { return Checked { value: None, diagnostics, sources } };
    let value = match plan_jobs(&pipeline, &hierarchy(&pipeline, request)) {
        Ok(planned) => {
            let place = places(&pipeline, &planned);
            Some(Planned { definition: planned.definition, place, details: Map::new(), notes: Vec::new() })
        }
        Err((job, problem)) => {
            let span = pipeline.jobs.iter().find(|known| known.name == job).map(|job| job.span);
            let span = span.unwrap_or(Span::start_of(FileId::default()));
            diagnostics.push(Diagnostic::error(codes::UNEVALUATED, span, format!("job `{job}`: {problem}")));
            None
        }
    };
    Checked { value, diagnostics, sources }
}

/// The pipeline with its defaults written out. Values stay as they are written, so no secret can show.
pub(super) fn expand(_: &Project, file: &PipelineFile, request: &Request, how: &Expand) -> Checked<String> {
    let given = Given { runtime: request.variables.clone(), system: Vec::new() };
    let Checked { value, mut diagnostics, sources } = read(&file.path, &file.text, &given);
    let options = Options { merge: Merge::Standard, limits: Limits::default() };
    let root = read_document(FileId::default(), &file.text, options).ok().and_then(|all| all.into_iter().next());
    let value = value.zip(root).and_then(|(pipeline, root)| {
        let names = pipeline.jobs.iter().map(|job| job.name.as_str());
        if let Some(unknown) = how.jobs.iter().find(|name| !names.clone().any(|known| known == name.as_str())) {
            diagnostics.push(super::unknown_job(unknown, names));
            return None;
        }
        expanded(&root, &pipeline, &how.jobs)
    });
    Checked { value, diagnostics, sources }
}

fn hierarchy(pipeline: &Pipeline, request: &Request) -> Hierarchy {
    let mut hierarchy = Hierarchy::new();
    for (name, value) in &pipeline.global_env {
        hierarchy.set(Source::Global, name.as_str(), value.as_str());
    }
    for (name, value) in &request.variables {
        hierarchy.set(Source::Runtime, name.as_str(), value.as_str());
    }
    hierarchy
}

/// Where jobs and their needs stand, by the names of the legs.
fn places(pipeline: &Pipeline, planned: &crate::parser::native::Planned) -> Box<super::Place> {
    let mut jobs: HashMap<String, Span> = HashMap::new();
    let mut needs: HashMap<(String, String), Span> = HashMap::new();
    for (planned, leg) in planned.definition.jobs.iter().zip(&planned.legs) {
        let Some(job) = pipeline.jobs.get(leg.job) else { continue };
        jobs.insert(planned.name.clone(), job.span);
        for need in &job.depends_on {
            needs.insert((planned.name.clone(), need.name.clone()), need.span);
        }
    }
    Box::new(move |job, need| match need {
        Some(need) => needs.get(&(job.to_owned(), need.to_owned())).copied(),
        None => jobs.get(job).copied(),
    })
}
