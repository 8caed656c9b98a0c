//! What holds between jobs, whatever rules come to: stages, needs, dependencies, jobs that stop environments.

use std::collections::{HashMap, HashSet};

use smol_str::{SmolStr, format_smolstr};

use super::codes;
use super::job::{LONGEST_NAME, is_key_of_jobs};
use super::model::{
    Configuration, IncludeSource, Job, Jobs, MatrixRow, Name, Need, NeedWhat, Parallel, Rule, TriggerInclude,
    TriggerTarget,
};
use super::place::At;
use super::values::{Checker, is_null, key_text};
use crate::parser::diagnostics::{Diagnostic, did_you_mean, nearest};

/// Needs of one job unless the operator of GitLab allows more.
const USUAL_NEEDS: usize = 50;
/// A list of findings that is longer than this gets no more suggestions: each costs a look at all names.
const SUGGESTIONS: usize = 100;

/// The checks between jobs. Where a part of the configuration could not be had (`incomplete`), what is not here may be there.
pub(super) fn check(configuration: &Configuration, incomplete: bool, checker: &mut Checker<'_>) {
    let stages = configuration.stages.iter().enumerate().map(|(at, stage)| (stage.value.as_str(), at)).collect();
    let unmade = Jobs::new(std::mem::take(&mut checker.unmade));
    let mut cross = Cross { configuration, unmade: &unmade, stages, incomplete, checker };
    for job in configuration.jobs.iter().chain(&unmade) {
        cross.job(job);
    }
}

struct Cross<'c, 'k, 'd> {
    configuration: &'c Configuration,
    /// Jobs with errors that keep them from being any. Those who name them are not wrong.
    unmade: &'c Jobs,
    stages: HashMap<&'c str, usize>,
    incomplete: bool,
    checker: &'k mut Checker<'d>,
}

impl<'c> Cross<'c, '_, '_> {
    fn job(&mut self, job: &'c Job) {
        if job.node.as_mapping().is_none() {
            return;
        }
        let stage = self.stage(job);
        for dependency in job.dependencies.as_deref().unwrap_or_default() {
            self.named(job, stage, dependency, "dependencies");
        }
        if let Some(needs) = &job.needs {
            self.needs(job, stage, needs);
        }
        for rule in job.rules.as_deref().unwrap_or_default() {
            if let Some(needs) = &rule.needs {
                self.needs(job, stage, needs);
            }
        }
        if let Some(TriggerTarget::Include(includes)) = job.trigger().map(|trigger| &trigger.target) {
            self.artifacts(job, stage, includes);
        }
        if let Some(on_stop) = job.environment.as_deref().and_then(|environment| environment.on_stop.as_ref()) {
            self.on_stop(job, on_stop);
        }
        self.duplicate_pipelines(job);
    }

    fn stage(&mut self, job: &Job) -> Option<usize> {
        let stage = self.stages.get(job.stage.value.as_str()).copied();
        if stage.is_none() && !self.incomplete && !stage_is_guessed(job) {
            let names = || self.configuration.stages.iter().map(|stage| stage.value.as_str());
            let help = (self.checker.out.len() < SUGGESTIONS).then(|| {
                did_you_mean(&job.stage.value, names())
                    .unwrap_or_else(|| format!("available stages: {}", names().collect::<Vec<_>>().join(", ")))
            });
            let what = format!("has the stage `{}`, which does not exist", job.stage.value);
            self.checker.error_help(codes::UNKNOWN_STAGE, job.stage.span, At::job(&job.name), what, help);
        }
        stage
    }

    fn named(&mut self, job: &Job, stage: Option<usize>, dependency: &Name, key: &str) {
        match self.find(&dependency.value) {
            Some(other) => self.not_later(job, stage, other, dependency, key),
            None if self.incomplete => {}
            None => self.unknown(job, dependency, key),
        }
    }

    /// The jobs that make the files of a child pipeline.
    fn artifacts(&mut self, job: &Job, stage: Option<usize>, includes: &[TriggerInclude]) {
        for include in includes {
            if let IncludeSource::Artifact { job: maker, .. } = &include.source {
                let span = include.node.get("job").map_or(include.span, |node| node.span);
                self.named(job, stage, &Name { value: maker.clone(), span }, "trigger");
            }
        }
    }

    fn needs(&mut self, job: &'c Job, stage: Option<usize>, needs: &[Need]) {
        if needs.len() > USUAL_NEEDS
            && let Some(need) = needs.get(USUAL_NEEDS)
        {
            let message = format!(
                "job `{}`: `needs` names {} jobs, more than the usual limit of {USUAL_NEEDS}",
                job.name,
                needs.len()
            );
            self.checker.out.push(Diagnostic::warning(codes::MANY_NEEDS, need.span, message));
        }
        self.duplicates(job, needs);
        for need in needs {
            let NeedWhat::Job { name, matrix } = &need.what else { continue };
            match self.find(&name.value) {
                Some(other) => {
                    self.not_later(job, stage, other, name, "needs");
                    self.long_name(job, other, name);
                    if let Some(rows) = matrix {
                        self.matrix(job, other, name, rows, need.optional);
                    }
                }
                None if need.optional || self.incomplete => {}
                None => self.unknown(job, name, "needs"),
            }
        }
    }

    /// A job of `parallel` that is needed by its own name, beside all of them.
    fn parts_of_wholes(&mut self, job: &Job, needs: &[Need]) {
        let named = |need: &'_ Need| match &need.what {
            NeedWhat::Job { name, matrix } => Some((name.clone(), matrix.is_some())),
            _ => None,
        };
        let named: Vec<(Name, bool)> = needs.iter().filter_map(named).collect();
        let wholes: HashSet<&str> =
            named.iter().filter(|(_, is_part)| !is_part).map(|(name, _)| name.value.as_str()).collect();
        for (name, is_part) in &named {
            let Some(other) = self.find(&name.value).filter(|other| other.parallel.is_some()) else { continue };
            if (*is_part || other.name != name.value) && wholes.contains(other.name.as_str()) {
                let what = format!("names `{}`, and `{}` with all its jobs", name.value, other.name);
                self.checker.error(codes::DUPLICATE_NEED, name.span, At::job(&job.name).key("needs"), what);
            }
        }
    }

    fn duplicates(&mut self, job: &Job, needs: &[Need]) {
        if needs.len() < 2 {
            return;
        }
        let mut seen: HashSet<SmolStr> = HashSet::with_capacity(needs.len());
        self.parts_of_wholes(job, needs);
        for need in needs {
            let NeedWhat::Job { name, matrix } = &need.what else { continue };
            let twice = match matrix {
                None => !seen.insert(name.value.clone()),
                Some(rows) => {
                    let mut twice = false;
                    matrix_names(&name.value, rows, |name| twice |= !seen.insert(name));
                    twice
                }
            };
            if twice {
                let what = format!("names `{}` twice", name.value);
                self.checker.error(codes::DUPLICATE_NEED, name.span, At::job(&job.name).key("needs"), what);
            }
        }
    }

    /// The rows that a need picks have to be there, and what it takes from the job's own matrix too.
    fn matrix(&mut self, job: &Job, other: &Job, name: &Name, rows: &[MatrixRow], optional: bool) {
        if let Some(missing) = unknown_variable(job, rows) {
            let what = format!("names `{missing}`, which is not in the job's own matrix");
            let span = rows.first().map_or(name.span, |row| row.span);
            self.checker.error(codes::UNKNOWN_MATRIX_VARIABLE, span, At::job(&job.name).key("needs"), what);
            return;
        }
        let has_expression = rows
            .iter()
            .flat_map(|row| &row.variables)
            .flat_map(|(_, values)| values)
            .any(|value| value.contains("$[["));
        // A job that has no rows is needed as it is.
        if has_expression || optional || self.incomplete || other.parallel.is_none() {
            return;
        }
        let mut known = HashSet::new();
        if let Some(Parallel::Matrix(rows)) = &other.parallel {
            matrix_names(&other.name, rows, |name| {
                known.insert(name);
            });
        }
        let mut unknown = None;
        matrix_names(&other.name, rows, |name| {
            if !known.contains(&name) && unknown.is_none() {
                unknown = Some(name);
            }
        });
        if let Some(unknown) = unknown {
            let help = did_you_mean(&unknown, known.iter().map(SmolStr::as_str));
            let what = format!("names `{unknown}`, which the matrix of `{}` does not make", other.name);
            let at = At::job(&job.name);
            self.checker.error_help(codes::UNKNOWN_NEED, name.span, at.key("needs"), what, help);
        }
    }

    fn long_name(&mut self, job: &Job, other: &Job, name: &Name) {
        let mut longest = 0;
        match &other.parallel {
            None => return,
            Some(Parallel::Number(count)) => longest = format!("{} {count}/{count}", other.name).chars().count(),
            // Rows have few variables and values; names near the limit are rare enough not to look at all.
            Some(Parallel::Matrix(rows)) => {
                for row in rows.iter() {
                    let values =
                        row.variables.iter().map(|(_, values)| values.iter().map(|value| value.chars().count()).max());
                    let values: usize = values.map(|longest| longest.unwrap_or(0) + 2).sum();
                    longest = longest.max(other.name.chars().count() + 2 + values);
                }
            }
        }
        if longest > LONGEST_NAME {
            let what = format!(
                "names `{}`, one of whose jobs has a name of {longest} characters (at most {LONGEST_NAME})",
                other.name
            );
            self.checker.error(codes::WRONG_NAME, name.span, At::job(&job.name).key("needs"), what);
        }
    }

    fn not_later(&mut self, job: &Job, stage: Option<usize>, other: &Job, name: &Name, key: &str) {
        // A stage that is not written may be in what is left out.
        let unknown = |job: &Job| job.stage.span == job.span;
        if self.incomplete && (unknown(job) || unknown(other)) {
            return;
        }
        let there = self.stages.get(other.stage.value.as_str()).copied();
        if let (Some(here), Some(there)) = (stage, there)
            && there > here
            && !stage_is_guessed(job)
            && !stage_is_guessed(other)
        {
            let what = format!(
                "names `{}`, whose stage `{}` comes after the stage `{}` of this job",
                name.value, other.stage.value, job.stage.value
            );
            let help = Some(format!("move `{}` to an earlier stage, or `{}` to a later one", other.name, job.name));
            self.checker.error_help(codes::LATER_STAGE, name.span, At::job(&job.name).key(key), what, help);
        }
    }

    fn unknown(&mut self, job: &Job, name: &Name, key: &str) {
        if self.may_be_part(&name.value) {
            return;
        }
        let suggest = self.checker.out.len() < SUGGESTIONS;
        let help = suggest.then(|| did_you_mean(&name.value, self.names())).flatten();
        let help = help.or_else(|| {
            let few = suggest && self.names().count() <= 20;
            few.then(|| {
                let names: Vec<&str> = self.names().collect();
                format!("jobs: {}", names.join(", "))
            })
        });
        let code = if key == "needs" { codes::UNKNOWN_NEED } else { codes::UNKNOWN_DEPENDENCY };
        let what = match name.value.starts_with('.') {
            true => format!("names `{}`; a hidden job does not run", name.value),
            false => format!("names the unknown job `{}`", name.value),
        };
        self.checker.error_help(code, name.span, At::job(&job.name).key(key), what, help);
    }

    fn on_stop(&mut self, job: &Job, on_stop: &Name) {
        let (environment, name) = (job.environment.as_deref(), &on_stop.value);
        let other = self.by_name(name);
        if other.is_some_and(|other| is_unread(other, "environment", other.environment.is_some())) {
            return;
        }
        let what = match other.map(|other| other.environment.as_deref()) {
            None if self.incomplete => return,
            None => format!("names the unknown job `{name}`"),
            Some(None) => format!("names the job `{name}`, which has no environment"),
            Some(Some(other)) if Some(&other.name.value) != environment.map(|own| &own.name.value) => {
                format!("names the job `{name}`, whose environment is another one: `{}`", other.name.value)
            }
            Some(Some(other)) if other.action != "stop" => {
                format!("names the job `{name}`, whose environment has no `action: stop`")
            }
            Some(Some(_)) => return,
        };
        let suggest = self.checker.out.len() < SUGGESTIONS && other.is_none();
        let help = suggest.then(|| did_you_mean(name, self.names())).flatten();
        let at = At::job(&job.name);
        self.checker.error_help(codes::WRONG_ON_STOP, on_stop.span, at.key("environment").key("on_stop"), what, help);
    }

    /// GitLab's own warning about pipelines that come twice.
    fn duplicate_pipelines(&mut self, job: &Job) {
        if self.configuration.workflow.rules.is_some() {
            return;
        }
        let Some(last) = job.rules.as_deref().and_then(<[Rule]>::last) else { return };
        let Some(when) = last.when.as_ref().filter(|when| when.value != super::model::When::Never) else { return };
        let alone = last.condition.is_none()
            && last.changes.is_none()
            && last.exists.is_none()
            && last.start_in.is_none()
            && last.allow_failure.is_none()
            && last.variables.is_none()
            && last.needs.is_none()
            && last.interruptible.is_none();
        if alone {
            let message = format!(
                "job `{}` may run in two pipelines of one push: its last rule holds always, and there is no `workflow:rules`",
                job.name
            );
            self.checker.out.push(
                Diagnostic::warning(codes::DUPLICATE_PIPELINES, when.span, message)
                    .help("add `workflow:rules`, or a condition to the rule"),
            );
        }
    }

    fn by_name(&self, name: &str) -> Option<&'c Job> {
        self.configuration.jobs.get(name).or_else(|| self.unmade.get(name))
    }

    /// The names that might be meant.
    fn names(&self) -> impl Iterator<Item = &'c str> {
        self.configuration.jobs.iter().chain(self.unmade).map(|job| job.name.as_str())
    }

    /// Whether it is the name of one of parallel jobs, and what makes them could not be read.
    fn may_be_part(&self, name: &str) -> bool {
        let bases = name.match_indices(": [").chain(name.rmatch_indices(' ').take(1));
        let mut bases = bases.filter_map(|(at, _)| self.by_name(&name[..at]));
        bases.any(|base| is_unread(base, "parallel", base.parallel.is_some()))
    }

    /// The job of this name, or the one that makes a parallel job of this name.
    fn find(&self, name: &str) -> Option<&'c Job> {
        if let Some(job) = self.by_name(name) {
            return Some(job);
        }
        if name.ends_with(']') {
            // The values may hold the separator too: the shortest base that fits counts.
            let mut bases = name.match_indices(": [").filter_map(|(at, _)| self.by_name(&name[..at]));
            return bases.find(|job| match &job.parallel {
                Some(Parallel::Matrix(rows)) => {
                    let mut found = false;
                    matrix_names(&job.name, rows, |made| found |= made == name);
                    found
                }
                _ => false,
            });
        }
        let (base, numbers) = name.rsplit_once(' ')?;
        let (number, total) = numbers.split_once('/')?;
        let (number, total): (u32, u32) = (number.parse().ok()?, total.parse().ok()?);
        self.by_name(base).filter(|job| job.parallel == Some(Parallel::Number(total)) && (1..=total).contains(&number))
    }
}

/// Whether a key stands there whose value could not be read. It is complained about already.
fn is_unread(job: &Job, key: &str, is_read: bool) -> bool {
    !is_read && job.node.get(key).is_some_and(|value| !is_null(value))
}

/// Whether the usual stage is that of a job whose own could not be read: its value, or its key.
fn stage_is_guessed(job: &Job) -> bool {
    let is_misspelt = |key: &str| !is_key_of_jobs(key) && nearest(key, ["stage"]).is_some();
    job.stage.span == job.span
        && (is_unread(job, "stage", false)
            || job
                .node
                .as_mapping()
                .is_some_and(|node| node.entries().iter().any(|one| is_misspelt(key_text(&one.key)))))
}

/// The names of the jobs that a matrix makes, `name: [a, b]`, in order. The limit on a matrix bounds their number.
pub(super) fn matrix_names(job: &str, rows: &[MatrixRow], mut take: impl FnMut(SmolStr)) {
    for row in rows {
        let mut places = vec![0; row.variables.len()];
        loop {
            let values = row.variables.iter().zip(&places);
            let values: Vec<&str> =
                values.filter_map(|((_, values), at)| values.get(*at).map(SmolStr::as_str)).collect();
            take(format_smolstr!("{job}: [{}]", values.join(", ")));
            let mut turned = true;
            for (place, (_, values)) in places.iter_mut().zip(&row.variables).rev() {
                *place += 1;
                if *place < values.len() {
                    turned = false;
                    break;
                }
                *place = 0;
            }
            if turned {
                break;
            }
        }
    }
}

/// A variable that `$[[ matrix.X ]]` names and the job's own matrix does not have.
fn unknown_variable(job: &Job, rows: &[MatrixRow]) -> Option<SmolStr> {
    let own = |name: &str| match &job.parallel {
        Some(Parallel::Matrix(rows)) => rows.iter().flat_map(|row| &row.variables).any(|(own, _)| own == name),
        _ => false,
    };
    let values = rows.iter().flat_map(|row| &row.variables).flat_map(|(_, values)| values);
    values.filter(|value| value.contains("$[[")).find_map(|value| {
        value.split("$[[").skip(1).find_map(|part| {
            let name = part.split_once("]]")?.0.trim().strip_prefix("matrix.")?.trim();
            (!own(name)).then(|| SmolStr::from(name))
        })
    })
}
