//! A job's and a step's settings, worked out.

use std::time::Duration;

use super::super::model::{Artifacts, Cache, Deployment, Environment, Job, Service, Step};
use super::super::plan::Leg;
use super::scene::Scene;
use super::{Ended, Run, RunError};
use crate::parser::expression::Budget;
use crate::parser::variables::{Hierarchy, Resolver, Source, Style, Text, VariableError};
use crate::pipeline::{Secret, Variable};

/// What a job needs before its first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// The image of its steps that name none.
    pub image: String,
    /// Its variables.
    pub environment: Vec<Variable>,
    /// Containers beside it.
    pub services: Vec<ServiceSettings>,
    /// Folders that are kept.
    pub caches: Vec<Cache>,
    /// What it gives away: its own, or the pipeline's.
    pub artifacts: Option<Artifacts>,
    /// Where it deploys to.
    pub deployment: Option<Deployment>,
}

/// A container beside a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Its image.
    pub image: String,
    /// The name it is reached by, besides that of its image.
    pub alias: Option<String>,
    /// Its own variables.
    pub environment: Vec<Variable>,
    /// In place of its image's command; empty: that.
    pub command: Vec<String>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSettings {
    /// Its name.
    pub name: String,
    /// Its commands; none where it has an action.
    pub script: Vec<String>,
    /// What is done in place of commands.
    pub action: Option<String>,
    /// Its image.
    pub image: String,
    /// Its variables, all sources together.
    pub environment: Vec<Variable>,
    /// Where it works.
    pub working_directory: String,
    /// How long one try may take.
    pub timeout: Duration,
    /// How often it is tried again.
    pub retry_count: u32,
    /// Whether the steps after it run all the same when it fails.
    pub continue_on_failure: bool,
}

impl Run {
    /// What a job needs before its first step. `ended`: how the jobs before it ended.
    ///
    /// # Errors
    /// All that cannot be worked out.
    pub fn job(&self, leg: &Leg, ended: &Ended) -> Result<JobSettings, RunError> {
        let scene = Scene::new(self, leg, Some(ended));
        let hierarchy = scene.hierarchy();
        let mut work = Work::new(&hierarchy, &scene);
        let Some(job) = self.pipeline.jobs.get(leg.job) else { return Err(RunError { problems: Vec::new() }) };
        let settings = JobSettings {
            image: self.image(&mut work, job, None),
            environment: work.environment(),
            services: job.services.iter().map(|service| work.service(service, &hierarchy, &scene)).collect(),
            caches: job.cache.iter().map(|cache| work.cache(cache)).collect(),
            artifacts: job.artifacts.as_ref().or(self.pipeline.artifacts.as_ref()).map(|kept| work.artifacts(kept)),
            deployment: job.deployment.as_ref().map(|deployment| work.deployment(deployment)),
        };
        work.end(settings)
    }

    /// What a step does, right before it. `step`: its place in its job.
    ///
    /// # Errors
    /// All that cannot be worked out.
    pub fn step(&self, leg: &Leg, step: usize, ended: &Ended) -> Result<StepSettings, RunError> {
        let scene = Scene::new(self, leg, Some(ended));
        let mut hierarchy = scene.hierarchy();
        let job = self.pipeline.jobs.get(leg.job);
        let Some((job, step)) = job.and_then(|job| Some((job, job.steps.get(step)?))) else {
            return Err(RunError { problems: Vec::new() });
        };
        for (name, value) in &step.environment {
            hierarchy.set(Source::Step, name.as_str(), value.as_str());
        }
        let mut work = Work::new(&hierarchy, &scene);
        let settings = StepSettings {
            name: step.name.clone(),
            script: step.script.iter().map(|line| work.text("script", line, Style::Script)).collect(),
            action: step.action.as_ref().map(|action| work.setting("action", action)),
            image: self.image(&mut work, job, Some(step)),
            environment: work.environment(),
            working_directory: work.setting("working_directory", &step.working_directory),
            timeout: Duration::from_secs(step.timeout.into()),
            retry_count: step.retry_count,
            continue_on_failure: step.continue_on_failure,
        };
        work.end(settings)
    }

    fn image(&self, work: &mut Work<'_>, job: &Job, step: Option<&Step>) -> String {
        let written = step.and_then(|step| step.image.as_deref()).or(job.image.as_deref());
        work.setting("image", written.unwrap_or(&self.image))
    }
}

/// Texts of one job or step on their way to values, and what is wrong with them.
struct Work<'a> {
    hierarchy: &'a Hierarchy,
    /// For variables: secrets may.
    values: Resolver<'a>,
    /// For all else: secrets may not.
    settings: Resolver<'a>,
    problems: Vec<(String, VariableError)>,
}

impl<'a> Work<'a> {
    fn new(hierarchy: &'a Hierarchy, scene: &'a Scene<'a>) -> Self {
        Self {
            hierarchy,
            values: Resolver::new(hierarchy, scene, true, Budget::default()),
            settings: Resolver::new(hierarchy, scene, false, Budget::default()),
            problems: Vec::new(),
        }
    }

    fn end<T>(self, settings: T) -> Result<T, RunError> {
        if self.problems.is_empty() { Ok(settings) } else { Err(RunError { problems: self.problems }) }
    }

    fn setting(&mut self, key: &str, text: &str) -> String {
        self.text(key, text, Style::Value)
    }

    fn text(&mut self, key: &str, text: &str, style: Style) -> String {
        if !text.contains("${") {
            return text.to_owned();
        }
        match Text::parse(text, style).and_then(|parsed| self.settings.resolve(&parsed)) {
            Ok(value) => value,
            Err(errors) => {
                self.problems.extend(errors.into_iter().map(|error| (key.to_owned(), error)));
                String::new()
            }
        }
    }

    fn texts(&mut self, key: &str, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.setting(key, text)).collect()
    }

    /// All variables, each with the value of its strongest source.
    fn environment(&mut self) -> Vec<Variable> {
        let names = self.hierarchy.names();
        names.into_iter().filter_map(|name| self.variable(name)).collect()
    }

    fn variable(&mut self, name: &str) -> Option<Variable> {
        match self.values.value(name) {
            Ok(resolved) => Some(Variable {
                value: Secret::new(resolved.value),
                masked: resolved.secret,
                ..Variable::plain(name, "")
            }),
            Err(error) => {
                self.problems.push((name.to_owned(), error));
                None
            }
        }
    }

    /// A service's variables are its own; their values may refer to the job's.
    fn service(&mut self, service: &Service, hierarchy: &Hierarchy, scene: &Scene<'_>) -> ServiceSettings {
        ServiceSettings {
            image: self.setting("services.image", &service.image),
            alias: service.alias.as_ref().map(|alias| self.setting("services.alias", alias)),
            environment: self.own(&service.environment, hierarchy, scene),
            command: self.texts("services.command", &service.command),
        }
    }

    fn own(&mut self, environment: &Environment, hierarchy: &Hierarchy, scene: &Scene<'_>) -> Vec<Variable> {
        let mut hierarchy = hierarchy.clone();
        for (name, value) in environment {
            hierarchy.set(Source::Step, name.as_str(), value.as_str());
        }
        let mut work = Work::new(&hierarchy, scene);
        let variables = environment.keys().filter_map(|name| work.variable(name)).collect();
        self.problems.append(&mut work.problems);
        variables
    }

    fn cache(&mut self, cache: &Cache) -> Cache {
        Cache {
            key: self.setting("cache.key", &cache.key),
            paths: self.texts("cache.paths", &cache.paths),
            fallback_keys: self.texts("cache.fallback_keys", &cache.fallback_keys),
            policy: cache.policy,
        }
    }

    fn artifacts(&mut self, kept: &Artifacts) -> Artifacts {
        Artifacts {
            name: kept.name.as_ref().map(|name| self.setting("artifacts.name", name)),
            paths: self.texts("artifacts.paths", &kept.paths),
            exclude: self.texts("artifacts.exclude", &kept.exclude),
            expire_in: kept.expire_in.as_ref().map(|text| self.setting("artifacts.expire_in", text)),
            when: kept.when,
        }
    }

    fn deployment(&mut self, deployment: &Deployment) -> Deployment {
        Deployment {
            environment: self.setting("deployment.environment", &deployment.environment),
            url: deployment.url.as_ref().map(|url| self.setting("deployment.url", url)),
            strategy: deployment.strategy,
        }
    }
}
