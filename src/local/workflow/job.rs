//! One job of a workflow in the words of the model.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::steps::WorkflowSteps;
use crate::forge::{Assignment, RunnerFacts};
use crate::local::house::Sandbox;
use crate::parser::github::run::{ContainerSpec, Leg};
use crate::pipeline::definition::{
    Attempts, ImageSpec, JobDirs, JobOptions, LogSpec, MaskWord, RegistryAuth, RegistryCredential, ServiceSpec,
    SourceSpec, Timeouts,
};
use crate::pipeline::{JobFailure, PipelineJob, Variable, Variables};

/// How long the machine may take to make a job's place.
const PREPARE: Duration = Duration::from_secs(30 * 60);

/// A job and the steps that were made for it.
pub struct WorkflowJob {
    /// What it asks for.
    pub leg: Leg,
    /// Its steps.
    pub steps: Arc<Mutex<WorkflowSteps>>,
}

/// What the machine gives its jobs.
pub struct Offer<'a> {
    /// Where they live.
    pub sandbox: Sandbox,
    /// The image of jobs that name none.
    pub image: Option<&'a str>,
    /// The images that stand for labels of `runs-on`.
    pub labels: &'a BTreeMap<String, String>,
    /// The sources.
    pub snapshot: PathBuf,
}

/// The job in the words of the model.
///
/// # Errors
/// It asks for what cannot be had here.
pub fn define(
    leg: &Leg,
    assignment: &Assignment,
    facts: &RunnerFacts,
    offer: Offer<'_>,
) -> Result<PipelineJob, JobFailure> {
    let builds = facts.builds_dir.clone();
    let repository = assignment.project_path.rsplit('/').next().unwrap_or("project");
    let project = format!("{builds}/{repository}/{repository}");
    let in_containers = offer.sandbox == Sandbox::Docker;
    let mut warnings = Vec::new();
    let image = if in_containers { Some(image(leg, &offer)?) } else { None };
    let mut auth = RegistryAuth::default();
    let containers = leg.container.iter().chain(leg.services.iter().map(|(_, service)| service));
    for container in containers.filter(|_| in_containers) {
        warn(container, &mut warnings);
        auth.job.extend(credential(container));
    }
    let env = leg.container.iter().flat_map(|container| &container.env);
    let variables = env.map(|(name, value)| Variable::plain(name.as_str(), value.as_str())).collect();
    Ok(PipelineJob {
        key: assignment.key.clone(),
        id: assignment.id.clone(),
        name: leg.name.clone(),
        stage: String::new(),
        owner: assignment.owner.clone(),
        variables: Variables::new(variables, None),
        dirs: JobDirs { builds, temp: format!("{project}.tmp"), project, also_at: None },
        image,
        services: match in_containers {
            true => leg.services.iter().map(|(name, container)| service(name, container)).collect(),
            false => Vec::new(),
        },
        registry_auth: auth,
        // An empty work tree; `actions/checkout` fills it from the snapshot.
        sources: SourceSpec { snapshot: Some(offer.snapshot), ..SourceSpec::none() },
        steps: Vec::new(),
        caches: Vec::new(),
        artifacts: Vec::new(),
        dependencies: Vec::new(),
        timeouts: Timeouts {
            job: leg.timeout,
            prepare: Some(PREPARE),
            get_sources: None,
            script: None,
            after_script: Duration::from_secs(300),
            services: Some(Duration::from_secs(30)),
        },
        attempts: Attempts { get_sources: 1, restore_cache: 1, download_artifacts: 1, executor: 1 },
        // A local run is the user's own: its log is not cut.
        log: LogSpec { mask_word: MaskWord::Stars, ..LogSpec::plain(u64::MAX / 2) },
        options: JobOptions::default(),
        warnings,
        labels: Vec::new(),
    })
}

fn image(leg: &Leg, offer: &Offer<'_>) -> Result<ImageSpec, JobFailure> {
    let named = leg.container.as_ref().map(|container| container.image.as_str());
    let named = named.or_else(|| of_labels(&leg.runs_on.labels, offer.labels)).or(offer.image);
    let Some(name) = named else {
        return Err(JobFailure::configuration(format!(
            "no image stands for `runs-on: {}`: name one with --image or in the configuration (`[exec.labels]`), or run with \
             --executor host",
            leg.runs_on.labels.join(", ")
        )));
    };
    Ok(ImageSpec { name: name.trim_start_matches("docker://").to_owned(), ..ImageSpec::default() })
}

/// The image of the first label that has one.
pub fn of_labels<'a>(labels: &[String], images: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let image = |label: &String| images.iter().find(|(known, _)| known.eq_ignore_ascii_case(label));
    labels.iter().find_map(image).map(|(_, image)| image.as_str())
}

fn service(name: &str, container: &ContainerSpec) -> ServiceSpec {
    let words = |line: &Option<String>| -> Vec<String> {
        line.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
    };
    let entrypoint = words(&container.entrypoint);
    ServiceSpec {
        image: ImageSpec {
            name: container.image.trim_start_matches("docker://").to_owned(),
            entrypoint: (!entrypoint.is_empty()).then_some(entrypoint),
            ..ImageSpec::default()
        },
        command: words(&container.command),
        aliases: vec![name.to_owned()],
        variables: container.env.iter().map(|(name, value)| Variable::plain(name.as_str(), value.as_str())).collect(),
    }
}

fn credential(container: &ContainerSpec) -> Option<RegistryCredential> {
    let credentials = container.credentials.as_ref()?;
    let first = container.image.split('/').next().unwrap_or_default();
    let is_host = first.contains(['.', ':']) && container.image.contains('/');
    Some(RegistryCredential {
        registry: if is_host { first.to_owned() } else { "docker.io".to_owned() },
        username: credentials.username.clone(),
        password: credentials.password.clone(),
    })
}

/// What a container asks for and does not get here.
fn warn(container: &ContainerSpec, warnings: &mut Vec<String>) {
    let image = &container.image;
    if !container.ports.is_empty() {
        warnings.push(format!("{image}: ports are not published; services are reached by their names"));
    }
    if !container.volumes.is_empty() {
        warnings.push(format!("{image}: `volumes` are not mounted in a local run"));
    }
    if !container.options.is_empty() {
        warnings.push(format!("{image}: `options: {}` has no effect in a local run", container.options));
    }
}
