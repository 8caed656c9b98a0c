//! Scripts. (protocols: GitLab 3.6, 9.8, 9.9.)

use super::Context;
use crate::pipeline::definition::{PipelineStep, StepKind};

/// The steps in order, the after-step last. A main step without commands has its section all the same.
pub(super) fn steps(cx: &Context<'_>) -> Vec<PipelineStep> {
    let (after, main): (Vec<_>, Vec<_>) = cx.payload.steps.iter().partition(|step| step.name == "after_script");
    let main = main.into_iter().map(|step| PipelineStep {
        name: step.name.to_lowercase(),
        kind: StepKind::Main,
        commands: with_build_scripts(cx, commands(cx, &step.name, &step.script)),
    });
    let fails_job = super::parse_bool(&cx.variables.value("AFTER_SCRIPT_IGNORE_ERRORS")) == Some(false);
    let after = after.into_iter().map(|step| PipelineStep {
        name: "after_script".to_owned(),
        kind: StepKind::After { fails_job },
        commands: step.script.clone(),
    });
    main.chain(after).collect()
}

/// The server writes the release step with references that the runner is to resolve. (10.3)
fn commands(cx: &Context<'_>, name: &str, script: &[String]) -> Vec<String> {
    if name == "release" { script.iter().map(|line| cx.variables.expand(line)).collect() } else { script.to_vec() }
}

fn with_build_scripts(cx: &Context<'_>, commands: Vec<String>) -> Vec<String> {
    let configured = |script: &Option<String>| script.clone().filter(|script| !script.trim().is_empty());
    let before = configured(&cx.settings.pre_build_script);
    let behind = configured(&cx.settings.post_build_script);
    before.into_iter().chain(commands).chain(behind).collect()
}
