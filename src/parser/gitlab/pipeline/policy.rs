//! `only` and `except`.
//!
//! Source: gitlabhq `lib/gitlab/ci/build/policy`.

use super::super::config::model::{Name, Policy};
use super::context::{GitRef, PipelineContext, Source};
use super::rules::Evaluator;
use crate::parser::expression::gitlab::Lookup;
use crate::parser::expression::regex::Pattern;

/// Whether a job with these is part of the pipeline. Without either: in pipelines of branches and tags.
pub fn includes(
    only: Option<&Policy>,
    except: Option<&Policy>,
    context: &PipelineContext,
    evaluator: &Evaluator<'_>,
    lookup: &dyn Lookup,
) -> bool {
    let only_holds = match only {
        None => refs_default(context),
        Some(only) => parts(only, true, context, evaluator, lookup).into_iter().flatten().all(|holds| holds),
    };
    let excepted = except.is_some_and(|except| {
        parts(except, false, context, evaluator, lookup).into_iter().flatten().any(|holds| holds)
    });
    only_holds && !excepted
}

/// Which of the parts that are there hold.
fn parts(
    policy: &Policy,
    is_only: bool,
    context: &PipelineContext,
    evaluator: &Evaluator<'_>,
    lookup: &dyn Lookup,
) -> [Option<bool>; 4] {
    let refs = match &policy.refs {
        Some(refs) => Some(refs.iter().any(|name| names(name, context))),
        None => is_only.then(|| refs_default(context)),
    };
    let variables = policy
        .variables
        .as_ref()
        .map(|conditions| conditions.iter().any(|condition| evaluator.condition(&condition.text, lookup)));
    let changes = policy.changes.as_ref().map(|globs| evaluator.has_changes(globs, lookup));
    // There is no cluster here.
    let kubernetes = policy.kubernetes.then_some(false);
    [refs, variables, changes, kubernetes]
}

fn is_branch(context: &PipelineContext) -> bool {
    context.merge_request.is_none() && matches!(context.git_ref, GitRef::Branch(_)) && !is_request(context)
}

fn is_tag(context: &PipelineContext) -> bool {
    context.merge_request.is_none() && context.git_ref.is_tag()
}

fn is_request(context: &PipelineContext) -> bool {
    context.merge_request.is_some()
}

fn refs_default(context: &PipelineContext) -> bool {
    is_branch(context) || is_tag(context)
}

/// Whether a name, pattern or keyword means this pipeline.
pub fn names(name: &Name, context: &PipelineContext) -> bool {
    let (pattern, path) = match name.value.split_once('@') {
        Some((pattern, path)) => (pattern, Some(path)),
        None => (name.value.as_str(), None),
    };
    path.is_none_or(|path| path == context.project.path) && names_ref(pattern, context)
}

fn names_ref(pattern: &str, context: &PipelineContext) -> bool {
    if is_tag(context) && pattern == "tags"
        || is_branch(context) && pattern == "branches"
        || is_source(pattern, context.source)
    {
        return true;
    }
    if !is_branch(context) && !is_tag(context) {
        return false;
    }
    let git_ref = context.git_ref.name();
    match Pattern::looks_slashed(pattern).then(|| Pattern::slashed(pattern)) {
        Some(Ok(pattern)) => pattern.is_match(git_ref),
        Some(Err(_)) | None => pattern == git_ref,
    }
}

/// `push`, `pushes`, `merge_requests`, ...
fn is_source(word: &str, source: Source) -> bool {
    let name = source.as_str();
    let name = name.strip_suffix("_event").unwrap_or(name);
    let Some(plural) = word.strip_prefix(name) else { return false };
    plural.is_empty() || plural == if name.ends_with("sh") { "es" } else { "s" }
}
