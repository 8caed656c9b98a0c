//! The jobs of a pipeline.
//!
//! Source: gitlabhq `lib/gitlab/ci/pipeline/seed/build.rb` and `lib/gitlab/ci/pipeline/chain`.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use smol_str::SmolStr;

use super::super::compose::EDGES;
use super::super::config::Completeness;
use super::super::config::model::{self, AllowFailure, Configuration, Job, Need, NeedWhat, Parallel, Rule, When};
use super::circles;
use super::codes;
use super::context::PipelineContext;
use super::matrix::{self, Instance};
use super::policy;
use super::rules::{Evaluator, NoProjects, Projects, RuleError};
use super::scope::{JobScope, Shared};
use super::variables::{Collection, Variable, merge};
use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::Files;

/// A pipeline that an event creates.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name, if the file gives one, variables replaced.
    pub name: Option<String>,
    /// Its jobs in the order of the file; those of `parallel` in place of theirs.
    pub jobs: Vec<CreatedJob>,
    /// What it was made of.
    pub configuration: Arc<Configuration>,
    /// What it was made for.
    pub context: Arc<PipelineContext>,
    /// Variables that all its jobs share.
    pub shared: Arc<Shared>,
    /// What cancels it.
    pub auto_cancel: model::AutoCancel,
    /// Downstream pipelines of the jobs that start one from files of this project, by the job's name.
    pub children: HashMap<SmolStr, Pipeline>,
    by_name: HashMap<SmolStr, usize>,
}

/// A job of a pipeline.
#[derive(Clone, Debug)]
pub struct CreatedJob {
    /// Its name as the forge shows it.
    pub name: SmolStr,
    /// The job of the configuration, a place in [`Configuration::jobs`].
    pub source: usize,
    /// Its place in `parallel`.
    pub instance: Option<Arc<Instance>>,
    /// When it starts. Never [`When::Never`].
    pub when: When,
    /// How long a delayed one waits.
    pub start_in: Option<Box<model::Timeout>>,
    /// Whether it may fail.
    pub allow_failure: AllowFailure,
    /// Variables of the rule that held.
    pub rule_variables: Option<Arc<model::Variables>>,
    /// What it waits for; `None`: the earlier stages.
    pub needs: Option<Arc<[CreatedNeed]>>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: bool,
}

/// A job that another waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedNeed {
    /// Its name as the forge shows it.
    pub name: SmolStr,
    /// Whether its artifacts come along.
    pub artifacts: bool,
    /// Whether it may be absent; if it is, it is not in the list.
    pub optional: bool,
}

impl Pipeline {
    /// The job of this name.
    pub fn job(&self, name: &str) -> Option<&CreatedJob> {
        self.by_name.get(name).and_then(|at| self.jobs.get(*at))
    }

    /// The configuration's job that a created one was made of.
    pub fn source(&self, job: &CreatedJob) -> Option<&Job> {
        self.configuration.jobs.as_slice().get(job.source)
    }

    /// What a job sees of variables.
    pub fn scope<'a>(&'a self, job: &'a CreatedJob) -> Option<JobScope<'a>> {
        Some(JobScope {
            shared: &self.shared,
            job: self.source(job)?,
            name: &job.name,
            instance: job.instance.as_deref(),
            rule: job.rule_variables.as_deref(),
            when: job.when,
        })
    }
}

/// The pipeline of a configuration; where the event starts none, one without jobs and a note.
///
/// Errors are findings; the pipeline then holds what could be made.
pub fn create(
    configuration: Arc<Configuration>,
    context: Arc<PipelineContext>,
    files: &dyn Files,
    diagnostics: &mut Diagnostics,
) -> Pipeline {
    create_with(configuration, context, files, &NoProjects, diagnostics)
}

/// [`create`] where other projects are known.
pub fn create_with(
    configuration: Arc<Configuration>,
    context: Arc<PipelineContext>,
    files: &dyn Files,
    projects: &dyn Projects,
    diagnostics: &mut Diagnostics,
) -> Pipeline {
    let root: Vec<Variable> = configuration.variables.list.iter().map(Variable::from).collect();
    let mut shared = Shared::new(&context, root);
    let evaluator = Evaluator::new(files, projects, &*context.changes);
    let mut auto_cancel = configuration.workflow.auto_cancel.clone().unwrap_or_default();
    let starts = workflow(&configuration, &mut shared, &mut auto_cancel, &evaluator, diagnostics);
    let circles = RefCell::default();
    let mut work =
        Work { configuration: &configuration, context: &context, shared: &shared, evaluator: &evaluator, circles };
    let mut jobs = if starts { work.jobs(diagnostics) } else { Vec::new() };
    let first = || configuration.jobs.iter().next().map(|job| job.span);
    if starts && jobs.is_empty() && !diagnostics.has_errors() {
        note_empty(first(), "no job is part of this pipeline: none of their rules holds for this event", diagnostics);
    } else if !jobs.is_empty() && jobs.iter().all(|job| is_at_edge(&configuration, job)) {
        jobs.clear();
        let message = "only jobs in `.pre` and `.post` are part of this pipeline, which alone make none";
        note_empty(first(), message, diagnostics);
    }
    for error in evaluator.errors.borrow_mut().drain(..) {
        diagnostics.push(Diagnostic::note(codes::RULE, error.span, error.message));
    }
    let name = configuration.workflow.name.as_ref().map(|name| super::scope::expand_name(&shared, &name.value));
    drop(evaluator);
    if let Some(name) = &name {
        // As on the server it is known when jobs run, not yet when their rules are asked.
        shared.add_predefined(Variable::public("CI_PIPELINE_NAME", name));
    }
    let by_name = jobs.iter().enumerate().map(|(at, job)| (job.name.clone(), at)).collect();
    let shared = Arc::new(shared);
    Pipeline { name, jobs, configuration, context, shared, auto_cancel, children: HashMap::new(), by_name }
}

/// Whether a job is in one of the two stages that the server does not count when it asks whether there is a pipeline.
fn is_at_edge(configuration: &Configuration, created: &CreatedJob) -> bool {
    let job = configuration.jobs.as_slice().get(created.source);
    job.is_some_and(|job| EDGES.contains(&job.stage.value.as_str()))
}

fn note_empty(span: Option<crate::parser::document::Span>, message: &str, diagnostics: &mut Diagnostics) {
    let span = span.unwrap_or_else(|| crate::parser::document::Span::start_of(crate::parser::document::FileId(0)));
    diagnostics.push(Diagnostic::note(codes::NO_PIPELINE, span, message));
}

/// Whether `workflow:rules` let the event start a pipeline; the rule that holds adds its variables.
fn workflow(
    configuration: &Configuration,
    shared: &mut Shared,
    auto_cancel: &mut model::AutoCancel,
    evaluator: &Evaluator<'_>,
    diagnostics: &mut Diagnostics,
) -> bool {
    let Some(rules) = &configuration.workflow.rules else { return true };
    let rule = match evaluator.first(rules, &*shared) {
        Ok(rule) => rule,
        Err(error) => {
            diagnostics.push(undecidable(&error, "`workflow:rules`"));
            return false;
        }
    };
    let never = |rule: &&Rule| rule.when.as_ref().is_some_and(|when| when.value == When::Never);
    let Some(rule) = rule.filter(|rule| !never(rule)) else {
        let span = rule.map(|rule| rule.span).or_else(|| rules.first().map(|rule| rule.span));
        note_empty(span, "`workflow:rules` start no pipeline for this event", diagnostics);
        return false;
    };
    if let Some(variables) = &rule.variables {
        let over: Vec<Variable> = variables.list.iter().map(Variable::from).collect();
        shared.set_root(merge(&shared.root, &over));
    }
    if let Some(rule) = &rule.auto_cancel {
        auto_cancel.on_new_commit = rule.on_new_commit.clone().or(auto_cancel.on_new_commit.take());
        auto_cancel.on_job_failure = rule.on_job_failure.clone().or(auto_cancel.on_job_failure.take());
    }
    true
}

fn undecidable(error: &RuleError, place: &str) -> Diagnostic {
    Diagnostic::error(codes::RULE, error.span, format!("{place}: {}", error.message))
}

struct Work<'a> {
    configuration: &'a Configuration,
    context: &'a PipelineContext,
    shared: &'a Shared,
    evaluator: &'a Evaluator<'a>,
    circles: RefCell<circles::Told>,
}

/// What a job is created as.
struct Decision<'r> {
    rule: Option<&'r Rule>,
    when: When,
}

impl<'a> Work<'a> {
    fn jobs(&mut self, diagnostics: &mut Diagnostics) -> Vec<CreatedJob> {
        let expansions = self.expansions();
        let mut created = Vec::with_capacity(self.configuration.jobs.len());
        let mut wanted: Vec<(usize, &[Need])> = Vec::new();
        for (source, job) in self.configuration.jobs.iter().enumerate() {
            match expansions.get(job.name.as_str()) {
                None => self.job(source, job, job.name.clone(), None, &mut created, &mut wanted, diagnostics),
                Some(instances) => {
                    for (name, instance) in instances {
                        let (name, instance) = (name.clone(), Some(instance.clone()));
                        self.job(source, job, name, instance, &mut created, &mut wanted, diagnostics);
                    }
                }
            }
        }
        self.resolve_needs(&expansions, &mut created, &wanted, diagnostics);
        created
    }

    /// The jobs that `parallel` makes of each that has it.
    fn expansions(&self) -> HashMap<&'a str, Vec<(SmolStr, Arc<Instance>)>> {
        let parallel =
            |job: &'a Job| job.parallel.as_ref().map(|parallel| (job.name.as_str(), instances_of(job, parallel)));
        self.configuration.jobs.iter().filter_map(parallel).collect()
    }

    #[allow(clippy::too_many_arguments, reason = "one call site; the lists are filled together")]
    fn job(
        &self,
        source: usize,
        job: &'a Job,
        name: SmolStr,
        instance: Option<Arc<Instance>>,
        created: &mut Vec<CreatedJob>,
        wanted: &mut Vec<(usize, &'a [Need])>,
        diagnostics: &mut Diagnostics,
    ) {
        let decision = match self.decide(job, &name, instance.as_deref()) {
            Ok(Some(decision)) => decision,
            Ok(None) => return,
            Err(error) => {
                return diagnostics.push(undecidable(&error, &format!("in job `{name}`: a rule cannot be decided")));
            }
        };
        let rule = decision.rule;
        if let Some(needs) = rule.and_then(|rule| rule.needs.as_ref()).or(job.needs.as_ref()) {
            wanted.push((created.len(), needs));
        }
        let allow_failure = match (rule.and_then(|rule| rule.allow_failure), &job.allow_failure) {
            (Some(may), _) => AllowFailure::Is(may),
            (None, Some(written)) => written.clone(),
            (None, None) => AllowFailure::Is(job.when.as_ref().is_some_and(|when| when.value == When::Manual)),
        };
        let rule_variables = rule.and_then(|rule| rule.variables.clone());
        let start_in = rule.and_then(|rule| rule.start_in.clone()).or_else(|| job.start_in.clone());
        let interruptible = rule.and_then(|rule| rule.interruptible).or(job.interruptible).unwrap_or(false);
        let when = decision.when;
        created.push(CreatedJob {
            name,
            source,
            instance,
            when,
            start_in: start_in.filter(|_| when == When::Delayed),
            allow_failure,
            rule_variables,
            needs: None,
            interruptible,
        });
        if let Some(job) = created.last() {
            self.circles.borrow_mut().check(self.configuration, self.shared, job, diagnostics);
        }
    }

    fn decide(&self, job: &'a Job, name: &str, instance: Option<&Instance>) -> Result<Option<Decision<'a>>, RuleError> {
        let written = job.when.as_ref().map_or(When::OnSuccess, |when| when.value);
        let scope = JobScope { shared: self.shared, job, name, instance, rule: None, when: written };
        if let Some(rules) = &job.rules {
            let Some(rule) = self.evaluator.first(rules, &scope)? else { return Ok(None) };
            let when = rule.when.as_ref().map_or(written, |when| when.value);
            return Ok((when != When::Never).then_some(Decision { rule: Some(rule), when }));
        }
        let is_free = job.only.is_none() && job.except.is_none() && self.configuration.workflow.rules.is_some();
        let only = job.only.as_deref();
        let except = job.except.as_deref();
        let is_in = is_free || policy::includes(only, except, self.context, self.evaluator, &scope);
        Ok((is_in && written != When::Never).then_some(Decision { rule: None, when: written }))
    }

    fn resolve_needs(
        &self,
        expansions: &HashMap<&str, Vec<(SmolStr, Arc<Instance>)>>,
        created: &mut [CreatedJob],
        wanted: &[(usize, &[Need])],
        diagnostics: &mut Diagnostics,
    ) {
        let names: HashSet<SmolStr> = created.iter().map(|job| job.name.clone()).collect();
        let mut seen: HashSet<SmolStr> = HashSet::new();
        for (at, needs) in wanted {
            let Some(job) = created.get_mut(*at) else { continue };
            let mut list: Vec<CreatedNeed> = Vec::new();
            seen.clear();
            for need in *needs {
                for name in needed_names(need, expansions, job.instance.as_deref()) {
                    if !names.contains(&name) {
                        if !need.optional {
                            diagnostics.push(self.not_created(job, need, &name, &names));
                        }
                        continue;
                    }
                    if seen.insert(name.clone()) {
                        list.push(CreatedNeed { name, artifacts: need.artifacts, optional: need.optional });
                    }
                }
            }
            job.needs = Some(list.into());
        }
    }

    fn not_created(&self, job: &CreatedJob, need: &Need, name: &str, names: &HashSet<SmolStr>) -> Diagnostic {
        let message = format!("job `{}` needs `{name}`, which this event does not create", job.name);
        let is_known = self.configuration.jobs.get(name).is_some();
        let help = match is_known {
            true => "its `rules`, `only` or `except` leave it out; give both jobs the same, or write `optional: true`"
                .to_owned(),
            false => did_you_mean(name, names.iter().map(SmolStr::as_str))
                .unwrap_or_else(|| "write `optional: true` where it may be absent".to_owned()),
        };
        match self.configuration.completeness {
            Completeness::Part if !is_known => {
                let message = format!("{message}; it may be in an include that is left out");
                Diagnostic::note(codes::NEED_NOT_CREATED, need.span, message).help(help)
            }
            _ => Diagnostic::error(codes::NEED_NOT_CREATED, need.span, message).help(help),
        }
    }
}

fn instances_of(job: &Job, parallel: &Parallel) -> Vec<(SmolStr, Arc<Instance>)> {
    matrix::instances(&job.name, parallel).into_iter().map(|(name, instance)| (name, Arc::new(instance))).collect()
}

/// The names of the jobs that a need means.
fn needed_names(
    need: &Need,
    expansions: &HashMap<&str, Vec<(SmolStr, Arc<Instance>)>>,
    own: Option<&Instance>,
) -> Vec<SmolStr> {
    let NeedWhat::Job { name, matrix } = &need.what else { return Vec::new() };
    match (matrix, expansions.get(name.value.as_str())) {
        (Some(rows), Some(_)) => {
            let row = own.map_or(&[][..], |own| &own.variables);
            let picked = rows.iter().flat_map(matrix::combinations).take(10_000);
            picked
                .map(|combination| {
                    let values: Vec<_> = combination
                        .into_iter()
                        .map(|(key, value)| {
                            let value = matrix::interpolate(&value, row).unwrap_or(value);
                            (key, value)
                        })
                        .collect();
                    matrix::name(&name.value, &values)
                })
                .collect()
        }
        (None, Some(instances)) => instances.iter().map(|(name, _)| name.clone()).collect(),
        // Of a job that is one only, no row is asked.
        (_, None) => vec![name.value.clone()],
    }
}

/// The names of the jobs that `dependencies` names mean.
pub(super) fn dependency_names(pipeline: &Pipeline, names: &[model::Name]) -> Vec<SmolStr> {
    let mut all = Vec::new();
    for name in names {
        if pipeline.job(&name.value).is_some() {
            all.push(name.value.clone());
            continue;
        }
        let of = pipeline.configuration.jobs.position(&name.value);
        all.extend(pipeline.jobs.iter().filter(|job| Some(job.source) == of).map(|job| job.name.clone()));
    }
    all
}

/// All variables of a job before it is known to a server, weakest first.
pub(super) fn variables(
    shared: &Shared,
    job: &Job,
    created: &CreatedJob,
    of_job: Vec<Variable>,
    dotenv: &[Variable],
) -> Collection {
    let mut all: Collection = of_job.into_iter().collect();
    all.extend(shared.under.iter().cloned());
    all.extend(of_file(shared, job, created));
    all.extend(dotenv.iter().cloned());
    all.extend(shared.over.iter().cloned());
    all
}

/// Those that the file gives a job: its own, those it inherits, of its row of the matrix, of the rule that held.
pub fn of_file(shared: &Shared, job: &Job, created: &CreatedJob) -> Vec<Variable> {
    let own: Vec<Variable> = job.variables.iter().flat_map(|own| own.list.iter().map(Variable::from)).collect();
    let row = created.instance.iter().flat_map(|instance| &instance.variables);
    let row: Vec<Variable> = row.map(|(key, value)| Variable::public(key.clone(), value.clone())).collect();
    let rule = created.rule_variables.iter().flat_map(|rule| rule.list.iter().map(Variable::from));
    let file = super::variables::inherit(&shared.root, &merge(&own, &row), &job.inherit.variables);
    merge(&file, &rule.collect::<Vec<_>>())
}
