//! `triggers`: whether an event starts a pipeline.

use globset::GlobBuilder;

use super::model::{Event, Pipeline, Trigger};

/// What happened.
pub struct Occasion<'a> {
    /// Its kind.
    pub event: Event,
    /// The branch: the one that was pushed, the one that a merge request goes into, the one that a schedule or a person runs.
    pub branch: Option<&'a str>,
    /// The tag, where one was pushed.
    pub tag: Option<&'a str>,
    /// The files that changed; `None`: nobody knows, and all patterns hold.
    pub changed: &'a dyn Fn() -> Option<std::sync::Arc<[String]>>,
}

/// All events by the names that they have in the file.
pub const EVENTS: [(&str, Event); 5] = [
    ("push", Event::Push),
    ("tag", Event::Tag),
    ("merge_request", Event::MergeRequest),
    ("schedule", Event::Schedule),
    ("manual", Event::Manual),
];

/// Whether an event starts a pipeline. Without triggers everything does.
///
/// # Errors
/// It does not: why, one sentence.
pub fn start(pipeline: &Pipeline, occasion: &Occasion<'_>) -> Result<(), String> {
    if pipeline.triggers.is_empty() {
        return Ok(());
    }
    let same = pipeline.triggers.iter().filter(|trigger| trigger.event == occasion.event);
    let mut reasons = Vec::new();
    for trigger in same {
        match refusal(trigger, occasion) {
            None => return Ok(()),
            Some(reason) => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        let mut names: Vec<&str> = pipeline.triggers.iter().map(|trigger| trigger.event.name()).collect();
        names.dedup();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return Err(format!("its triggers are {}, not `{}`", names.join(", "), occasion.event.name()));
    }
    Err(format!("its trigger for `{}` {}", occasion.event.name(), reasons.join(", or ")))
}

fn refusal(trigger: &Trigger, occasion: &Occasion<'_>) -> Option<String> {
    let outside = |globs: &[String], what: &str, name: Option<&str>| {
        let is_in = globs.is_empty() || name.is_some_and(|name| matches(globs, name));
        (!is_in).then(|| format!("is for the {what} {}, not `{}`", listed(globs), name.unwrap_or_default()))
    };
    let by_name = outside(&trigger.branches, "branches", occasion.branch)
        .filter(|_| occasion.event != Event::Tag)
        .or_else(|| outside(&trigger.tags, "tags", occasion.tag));
    if by_name.is_some() || trigger.paths.is_empty() {
        return by_name;
    }
    let changed = (occasion.changed)()?;
    let touched = changed.iter().any(|path| matches(&trigger.paths, path));
    (!touched).then(|| format!("is for changes of {}, and none of them changed", listed(&trigger.paths)))
}

fn listed(globs: &[String]) -> String {
    globs.iter().map(|glob| format!("`{glob}`")).collect::<Vec<_>>().join(", ")
}

/// Whether a name is what one of the globs says: `*` stays within a folder, `**` does not.
fn matches(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| compile(glob).is_ok_and(|glob| glob.compile_matcher().is_match(name)))
}

/// A glob of branches, tags or paths.
pub(super) fn compile(glob: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::native::{Given, read};

    fn started(triggers: &str, event: Event, branch: Option<&str>, tag: Option<&str>) -> Result<(), String> {
        let text = format!("name: p\ntriggers: {triggers}\njobs:\n  a: {{steps: [{{name: s, script: x}}]}}\n");
        let pipeline = read("forgehand.yml", &text, &Given::default()).value.unwrap();
        let changed = || Some(std::sync::Arc::from(["docs/a/b.md".to_owned()]));
        start(&pipeline, &Occasion { event, branch, tag, changed: &changed })
    }

    #[test]
    fn triggers_say_what_starts_a_pipeline() {
        let yes = Ok(());
        let no = |reason: &str| Err(reason.to_owned());
        for (triggers, event, branch, tag, want) in [
            ("[]", Event::Schedule, Some("main"), None, yes.clone()),
            ("[{event: push}]", Event::Push, Some("x"), None, yes.clone()),
            ("[{event: push}]", Event::Manual, Some("x"), None, no("its triggers are `push`, not `manual`")),
            ("[{event: push, branches: ['release/*']}]", Event::Push, Some("release/1"), None, yes.clone()),
            (
                "[{event: push, branches: ['release/*', main]}]",
                Event::Push,
                Some("release/1/2"),
                None,
                no("its trigger for `push` is for the branches `release/*`, `main`, not `release/1/2`"),
            ),
            ("[{event: push, branches: ['release/**']}]", Event::Push, Some("release/1/2"), None, yes.clone()),
            ("[{event: tag, tags: ['v*']}]", Event::Tag, None, Some("v1"), yes.clone()),
            (
                "[{event: tag, tags: ['v*']}]",
                Event::Tag,
                None,
                Some("x1"),
                no("its trigger for `tag` is for the tags `v*`, not `x1`"),
            ),
            ("[{event: push, paths: ['docs/**']}]", Event::Push, Some("x"), None, yes.clone()),
            (
                "[{event: push, paths: ['src/**']}]",
                Event::Push,
                Some("x"),
                None,
                no("its trigger for `push` is for changes of `src/**`, and none of them changed"),
            ),
            ("[{event: push, branches: [a]}, {event: push, branches: [x]}]", Event::Push, Some("x"), None, yes),
        ] {
            assert_eq!(started(triggers, event, branch, tag), want, "{triggers}");
        }
    }
}
