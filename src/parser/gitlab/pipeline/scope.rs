//! Which variables a job's rules, patterns and names see, looked up one by one: no list is made for a job.
//!
//! From weak to strong: predefined ones, the file's, the job's own, who started it, instance, group, project, pipeline,
//! schedule.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;

use smol_str::SmolStr;

use super::super::config::model::{self, Job, When};
use super::context::PipelineContext;
use super::job_variables::environment_slug;
use super::matrix::Instance;
use super::predefined;
use super::variables::reference::may_refer;
use super::variables::{Variable, expand_text};
use crate::parser::expression::gitlab::Lookup;

/// The variables that are the same for all jobs of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Those under the file's: predefined.
    pub under: Vec<Variable>,
    /// Those over the file's, weakest first.
    pub over: Vec<Variable>,
    /// The file's, with those of the workflow rule that held.
    pub root: Vec<Variable>,
    under_by_key: HashMap<SmolStr, usize>,
    over_by_key: HashMap<SmolStr, usize>,
    root_by_key: HashMap<SmolStr, usize>,
}

impl Shared {
    /// Those of `context`, with `root` of the file.
    pub fn new(context: &PipelineContext, root: Vec<Variable>) -> Self {
        let under = predefined::of_pipeline(context);
        let mut over = predefined::of_user(context);
        over.extend(context.variables.iter().cloned());
        let by_key = |list: &[Variable]| list.iter().enumerate().map(|(at, v)| (v.key.clone(), at)).collect();
        let (under_by_key, over_by_key) = (by_key(&under), by_key(&over));
        let root_by_key = by_key(&root);
        Self { under, over, root, under_by_key, over_by_key, root_by_key }
    }

    /// The same with other variables of the file.
    pub fn set_root(&mut self, root: Vec<Variable>) {
        self.root_by_key = root.iter().enumerate().map(|(at, v)| (v.key.clone(), at)).collect();
        self.root = root;
    }

    /// One predefined variable more.
    pub fn add_predefined(&mut self, variable: Variable) {
        self.under_by_key.insert(variable.key.clone(), self.under.len());
        self.under.push(variable);
    }

    fn find<'a>(list: &'a [Variable], by_key: &HashMap<SmolStr, usize>, name: &str) -> Option<&'a Variable> {
        by_key.get(name).and_then(|at| list.get(*at))
    }
}

impl Lookup for Shared {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        let found = Self::find(&self.over, &self.over_by_key, name)
            .or_else(|| Self::find(&self.root, &self.root_by_key, name))
            .or_else(|| Self::find(&self.under, &self.under_by_key, name));
        found.map(|variable| Cow::Borrowed(variable.value.as_str()))
    }

    fn is_raw(&self, name: &str) -> bool {
        let found =
            Self::find(&self.over, &self.over_by_key, name).or_else(|| Self::find(&self.root, &self.root_by_key, name));
        found.is_some_and(|variable| variable.raw)
    }
}

/// What one job sees.
#[derive(Clone, Copy, Debug)]
pub struct JobScope<'a> {
    /// What all see.
    pub shared: &'a Shared,
    /// The job.
    pub job: &'a Job,
    /// Its name in the pipeline.
    pub name: &'a str,
    /// Its place in `parallel`.
    pub instance: Option<&'a Instance>,
    /// Variables of the rule that held.
    pub rule: Option<&'a model::Variables>,
    /// When it starts.
    pub when: When,
}

impl JobScope<'_> {
    fn of_file(&self, name: &str) -> Option<&str> {
        let row = self.instance.and_then(|instance| instance.variables.iter().find(|(key, _)| key == name));
        let own = || self.job.variables.as_ref().and_then(|own| own.get(name));
        let rule = self.rule.and_then(|rule| rule.get(name)).map(|variable| variable.value.as_str());
        rule.or_else(|| row.map(|(_, value)| value.as_str())).or_else(|| own().map(|own| own.value.as_str())).or_else(
            || {
                let root = Shared::find(&self.shared.root, &self.shared.root_by_key, name)?;
                self.job.inherit.variables.has(name).then_some(root.value.as_str())
            },
        )
    }

    fn of_job(&self, name: &str) -> Option<Cow<'_, str>> {
        let environment = self.job.environment.as_ref();
        Some(match name {
            "CI_JOB_NAME" => Cow::Borrowed(self.name),
            "CI_JOB_NAME_SLUG" => Cow::Owned(predefined::slug(self.name)),
            "CI_JOB_GROUP_NAME" => Cow::Borrowed(group_name(self.name)),
            "CI_JOB_STAGE" => Cow::Borrowed(self.job.stage.value.as_str()),
            "CI_JOB_MANUAL" if matches!(self.when, When::Manual | When::Delayed) => Cow::Borrowed("true"),
            "CI_NODE_INDEX" => Cow::Owned(self.instance?.index.to_string()),
            "CI_NODE_TOTAL" => Cow::Owned(self.instance.map_or(1, |instance| instance.total).to_string()),
            "CI_ENVIRONMENT_NAME" => Cow::Owned(self.environment().filter(|name| !name.trim().is_empty())?),
            "CI_ENVIRONMENT_ACTION" => Cow::Borrowed(environment?.action.as_str()),
            "CI_ENVIRONMENT_TIER" => Cow::Borrowed(environment?.deployment_tier.as_deref()?),
            "CI_ENVIRONMENT_URL" => Cow::Borrowed(environment?.url.as_deref()?),
            _ => return None,
        })
    }

    /// A text with its references replaced, also those in the values; what is not known stays.
    pub fn expand(&self, text: &str) -> String {
        expand_deep(self, text)
    }

    /// A text with its references replaced, those in the values not; what is not known stays.
    pub fn expand_once(&self, text: &str) -> String {
        expand_text(text, |name| self.variable(name)).into_owned()
    }

    /// The name of the job's environment; what is not known is left out.
    pub fn environment(&self) -> Option<String> {
        Some(expand_name(&WithoutEnvironment(self), &self.job.environment.as_ref()?.name.value))
    }

    /// The name of the job's resource group; what is not known is left out.
    pub fn resource_group(&self) -> Option<String> {
        let slug = self.environment().map(|name| environment_slug(&name));
        Some(expand_name(&WithSlug(self, slug), &self.job.resource_group.as_ref()?.value))
    }
}

/// What a job sees before it is known what its environment is called.
struct WithoutEnvironment<'a>(&'a JobScope<'a>);

impl Lookup for WithoutEnvironment<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        match name.starts_with("CI_ENVIRONMENT_") {
            true => None,
            false => self.0.variable(name),
        }
    }

    fn is_raw(&self, name: &str) -> bool {
        self.0.is_raw(name)
    }
}

impl Lookup for JobScope<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        let shared = self.shared;
        if let Some(over) = Shared::find(&shared.over, &shared.over_by_key, name) {
            return Some(Cow::Borrowed(&over.value));
        }
        if let Some(value) = self.of_file(name) {
            return Some(Cow::Borrowed(value));
        }
        match Shared::find(&shared.under, &shared.under_by_key, name) {
            Some(under) => Some(Cow::Borrowed(&under.value)),
            None => self.of_job(name),
        }
    }

    fn is_raw(&self, name: &str) -> bool {
        let shared = self.shared;
        if let Some(over) = Shared::find(&shared.over, &shared.over_by_key, name) {
            return over.raw;
        }
        let is_of_row = || self.instance.is_some_and(|one| one.variables.iter().any(|(key, _)| key == name));
        match self.rule.and_then(|rule| rule.get(name)) {
            Some(rule) => rule.expand == Some(false),
            None if is_of_row() => false,
            None => match self.job.variables.as_ref().and_then(|own| own.get(name)) {
                Some(own) => own.expand == Some(false),
                None => Shared::find(&shared.root, &shared.root_by_key, name).is_some_and(|root| root.raw),
            },
        }
    }
}

/// What a job sees once its environment is there.
struct WithSlug<'a>(&'a JobScope<'a>, Option<String>);

impl Lookup for WithSlug<'_> {
    fn variable(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.variable(name).or_else(|| match name {
            "CI_ENVIRONMENT_SLUG" => self.1.as_deref().map(Cow::Borrowed),
            _ => None,
        })
    }

    fn is_raw(&self, name: &str) -> bool {
        self.0.is_raw(name)
    }
}

/// References in values in values; deeper ones than anybody writes are a circle.
const DEEPEST: usize = 16;
/// Bytes of values that come into one text, and references on the way to them; those after that stay.
const LONGEST: usize = 256 << 10;

/// A text with its references replaced, also those in the values. What is not known stays in the text and is left out of the
/// values, as on the server.
pub fn expand_deep(lookup: &dyn Lookup, text: &str) -> String {
    expand_within(lookup, text, Place { depth: 0, keeps_unknown: true }, &Cell::new(LONGEST)).into_owned()
}

/// [`expand_deep`] that leaves out what is not known.
pub fn expand_name(lookup: &dyn Lookup, text: &str) -> String {
    expand_within(lookup, text, Place { depth: 0, keeps_unknown: false }, &Cell::new(LONGEST)).into_owned()
}

/// Where references stand that are replaced.
#[derive(Clone, Copy)]
struct Place {
    /// In how many values.
    depth: usize,
    /// Whether those to what is not known stay.
    keeps_unknown: bool,
}

fn expand_within<'t>(lookup: &dyn Lookup, text: &'t str, place: Place, left: &Cell<usize>) -> Cow<'t, str> {
    expand_text(text, |name| {
        let Some(value) = lookup.variable(name) else {
            return if place.keeps_unknown { None } else { Some(Cow::Borrowed("")) };
        };
        left.set(left.get().checked_sub(1 + value.len())?);
        match may_refer(&value) && place.depth < DEEPEST && !lookup.is_raw(name) {
            true => {
                let inner = Place { depth: place.depth + 1, keeps_unknown: false };
                Some(Cow::Owned(expand_within(lookup, &value, inner, left).into_owned()))
            }
            false => Some(value),
        }
    })
}

/// The name under which jobs of `parallel` are shown as one.
pub fn group_name(name: &str) -> &str {
    if let Some((group, rest)) = name.rsplit_once(": [")
        && rest.ends_with(']')
    {
        return group;
    }
    let Some((group, number)) = name.rsplit_once(' ') else { return name };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    match number.split_once(['/', ':', '\\']) {
        Some((index, total)) if is_number(index) && is_number(total) => group,
        _ => name,
    }
}
