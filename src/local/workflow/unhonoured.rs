//! What a workflow asks for and a local run cannot give.

use super::book::WorkflowBook;
use super::job::of_labels;
use crate::executor::sandbox::docker::{self, Role};
use crate::executor::sandbox::place::Place;
use crate::local::house::Sandbox;
use crate::local::unhonoured::Unhonoured;
use crate::local::worker::Bench;
use crate::parser::github::container;
use crate::parser::github::workflow::model::{Job, JobKind, StepKind, StepsJob};
use crate::parser::github::workflow::token::Token;
use crate::pipeline::definition::Protocol;

impl WorkflowBook {
    /// What the jobs of the workflow's file ask for in vain.
    pub fn unhonoured(&self, bench: &Bench) -> Unhonoured {
        let mut found = Unhonoured::default();
        for job in &self.workflow().jobs {
            of_job(job, bench, &mut found);
        }
        found
    }
}

fn of_job(job: &Job, bench: &Bench, found: &mut Unhonoured) {
    let name = job.id.as_str();
    if job.permissions.is_some() {
        found.add("permissions", "there is no token that they could restrict: `github.token` is empty", name);
    }
    match &job.kind {
        JobKind::Steps(steps) => of_steps(steps, name, bench, found),
        JobKind::Call(call) if !call.uses.starts_with("./") && !call.uses.starts_with("$/") => {
            found.add(
                format!("uses: {}", call.uses),
                "workflows of other repositories are not fetched; the job fails",
                name,
            );
        }
        JobKind::Call(_) => {}
    }
}

fn of_steps(job: &StepsJob, name: &str, bench: &Bench, found: &mut Unhonoured) {
    if job.environment.is_some() {
        found.add(
            "environment",
            "no forge is told, nobody approves; its secrets and variables are those of the run",
            name,
        );
    }
    if job.snapshot.is_some() {
        found.add("snapshot", "no image of the machine is kept", name);
    }
    let in_containers = bench.house.sandbox == Sandbox::Docker;
    if !in_containers && job.container.is_some() {
        found.add("container", "the host executor has none; the steps are processes of this machine", name);
    }
    if !in_containers && job.services.is_some() {
        found.add("services", "the host executor starts none", name);
    }
    if in_containers && job.container.is_none() && bench.image.is_none() {
        let labels = job.runs_on.as_ref().map(labels).unwrap_or_default();
        let is_known = labels.iter().any(|label| label.contains("${{")) || of_labels(&labels, &bench.labels).is_some();
        if !is_known {
            let why = "no image stands for it; the job fails. Name one with --image or in `[exec.labels]`";
            found.add(format!("runs-on: {}", labels.join(", ")), why, name);
        }
    }
    if in_containers {
        let services = job.services.as_deref().and_then(Token::as_mapping).unwrap_or_default();
        let of_job = job.container.as_deref().into_iter().map(|container| (container, Role::Job));
        for (container, role) in of_job.chain(services.iter().map(|service| (&service.value, Role::Service))) {
            of_container(container, role, bench, name, found);
        }
    }
    for step in &job.steps {
        let StepKind::Uses(uses) = &step.kind else { continue };
        if !is_checkout(&uses.action) {
            found.add(format!("uses: {}", uses.action), "actions are not run by this version; the step fails", name);
        }
    }
}

/// What a container or a service asks for besides its image and is not given here. What an expression makes is not known yet:
/// the job's log tells it.
fn of_container(container: &Token, role: Role, bench: &Bench, job: &str, found: &mut Unhonoured) {
    let text = |token: &Token| Some(token.source().to_string()).filter(|text| !text.contains("${{"));
    let list = |key: &str| -> Vec<String> {
        container.get(key).and_then(Token::as_sequence).unwrap_or_default().iter().filter_map(text).collect()
    };
    let options = container.get("options").and_then(text).and_then(|line| container::options(&line).ok());
    let mut options = options.unwrap_or_default();
    let volumes = list("volumes");
    options.container.volumes.extend(volumes.iter().filter_map(|volume| container::volume(volume).ok()));
    options.ports.extend(list("ports").iter().filter_map(|port| container::ports(port).ok()).flatten());
    let image =
        container.get("image").map_or_else(|| container.source().to_string(), |image| image.source().to_string());
    if let Place::Docker(place) = &bench.house.tools.place {
        for (what, why) in docker::refused(&options.container, &place.settings, role, &image) {
            found.add(what, why, job);
        }
    }
    if role == Role::Job && !options.ports.is_empty() {
        found.add("ports", "ports of the job's own container are not published", job);
    }
    if options.ports.iter().any(|port| port.protocol == Protocol::Udp) {
        found.add("ports", "a service's UDP ports are reached by its name, not at localhost", job);
    }
}

/// The labels as they are written; what an expression makes is not known yet.
fn labels(runs_on: &Token) -> Vec<String> {
    let token = runs_on.get("labels").unwrap_or(runs_on);
    match token.as_sequence() {
        Some(items) => items.iter().map(|item| item.source().to_string()).collect(),
        None => vec![token.source().to_string()],
    }
}

fn is_checkout(action: &str) -> bool {
    action.split_once('@').is_some_and(|(name, _)| name.trim_end_matches('/').eq_ignore_ascii_case("actions/checkout"))
}
