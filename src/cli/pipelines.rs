//! From arguments to what a language says about one pipeline file, with its findings on standard error.

use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict};
use crate::config::Locations;
use crate::local::front::{self, Plan};
use crate::local::history::History;
use crate::local::includes::Includes;
use crate::local::project::{PipelineFile, Project};
use crate::local::request::Request;
use crate::parser::diagnostics::{Checked, Diagnostics, render};
use crate::parser::dialect::Dialect;
use crate::parser::document::Sources;

/// How many warnings of one code are told by a command that is about something else.
const MOST_OF_A_WARNING: usize = 10;

/// What was made of a file.
pub struct Read<T> {
    /// It.
    pub value: T,
    /// The bytes of all files that were read for it.
    pub bytes: usize,
}

/// Nobody reads more than this, and nobody writes so little that so much comes of it.
const MOST_OUTPUT: usize = 16 << 20;
/// How many times what was read may be printed.
const MOST_TIMES: usize = 10;

/// Prints what came of `read` bytes, unless it is so much that they were made to blow up.
pub fn print(text: &str, read: usize) -> Verdict {
    if text.len() > MOST_OUTPUT.max(read.saturating_mul(MOST_TIMES)) {
        eprintln!(
            "error: {} would be printed of the {} that were read, and more than {MOST_TIMES} times as much is refused from {} on: \
             anchors, extends or references repeat the same many times over. `forgehand expand --job NAME` prints one job.",
            super::render::size(text.len() as u64),
            super::render::size(read as u64),
            super::render::size(MOST_OUTPUT as u64),
        );
        return Verdict::BadInput;
    }
    super::render::result(text)
}

/// Reads the file that `args` name and asks `what` of it. `None`: what is wrong has been told.
pub fn read<T>(
    args: &FileArgs,
    request: &RequestArgs,
    locations: &Locations,
    global: &GlobalArgs,
    what: impl FnOnce(&Project, &PipelineFile, &Request) -> Checked<T>,
) -> Option<Read<T>> {
    let mut request = match request.request() {
        Ok(request) => request,
        Err(error) => return told(error),
    };
    request.includes = match args.include.includes(locations) {
        Ok(includes) => includes,
        Err(error) => return told(error),
    };
    let project = match Project::containing(&args.path) {
        Ok(project) => project,
        Err(error) => return told(error),
    };
    let file = match project.pipeline_at(&args.path, args.dialect.map(Dialect::from)) {
        Ok(file) => file,
        Err(error) => return told(error),
    };
    note_unused(file.dialect, &request);
    let checked = what(&project, &file, &request);
    note_includes(&request.includes);
    tell(checked.diagnostics, &checked.sources, global);
    let bytes = checked.sources.bytes();
    checked.value.map(|value| Read { value, bytes })
}

/// The plan of the file that `args` name, with what is known of how long its jobs take.
pub fn plan(args: &FileArgs, request: &RequestArgs, locations: &Locations, global: &GlobalArgs) -> Option<Read<Plan>> {
    read(args, request, locations, global, |project, file, request| {
        let mut checked = front::plan(project, file, request);
        if let Some(plan) = &mut checked.value {
            History::of(&locations.state_dir, project.root(), &file.path).fill(&mut plan.definition);
        }
        checked
    })
}

fn told<T>(error: impl miette::Diagnostic + Send + Sync + 'static) -> Option<T> {
    eprintln!("{:?}", miette::Report::new(error));
    None
}

/// Says what was given and means nothing in the file's language.
pub fn note_unused(dialect: Dialect, request: &Request) {
    let given = [
        ("--input", !request.inputs.is_empty() && dialect == Dialect::Native),
        ("--event-path", request.payload.is_some() && matches!(dialect, Dialect::Native | Dialect::GitLab)),
    ];
    for (flag, _) in given.into_iter().filter(|(_, is_unused)| *is_unused) {
        eprintln!("note: {flag} has no effect on a pipeline of {}", dialect.name());
    }
}

/// Says which included files are not those that their hosts have now.
pub fn note_includes(includes: &Includes) {
    for note in includes.notes() {
        eprintln!("note: {note}");
    }
}

/// Errors and warnings in full; notes are for `lint`, or for those who ask for more.
pub fn tell(mut shown: Diagnostics, sources: &Sources, global: &GlobalArgs) {
    if global.verbose == 0 {
        shown.drop_notes();
    }
    shown.sort();
    let hidden = shown.keep_of_each_warning(MOST_OF_A_WARNING);
    if !shown.is_empty() {
        eprint!("{}", render::all(&shown, sources, render::Look { color: global.color(), width: 120 }));
    }
    for (code, count) in hidden {
        eprintln!("warning: {count} more of {}: `forgehand lint` lists more\n", code.0);
    }
}
