//! What the texts of one job can ask.

use std::cell::Cell;

use super::super::plan::Leg;
use super::{Ended, Run};
use crate::parser::expression::{Context, Object, StatusCheck, Value};
use crate::parser::variables::{Hierarchy, Source};
use crate::pipeline::JobStatus;

/// A job of a run, at a moment.
pub(super) struct Scene<'a> {
    pub(super) run: &'a Run,
    pub(super) leg: &'a Leg,
    /// `None`: nothing has run, and what depends on results is open.
    pub(super) ended: Option<&'a Ended>,
    /// Whether something was asked that is open.
    pub(super) open: Cell<bool>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(run: &'a Run, leg: &'a Leg, ended: Option<&'a Ended>) -> Self {
        Self { run, leg, ended, open: Cell::new(false) }
    }

    /// The variables of the job.
    pub(super) fn hierarchy(&self) -> Hierarchy {
        let mut hierarchy = self.run.base.clone();
        for (name, value) in self.run.pipeline.jobs.get(self.leg.job).into_iter().flat_map(|job| &job.environment) {
            hierarchy.set(Source::Job, name.as_str(), value.as_str());
        }
        hierarchy
    }

    fn axis(&self, name: &str) -> Option<Value> {
        self.leg.values.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str().into())
    }

    /// How those that the job waits for ended.
    fn needs(&self, ended: &Ended) -> impl Iterator<Item = Option<JobStatus>> {
        let needs = self.run.pipeline.jobs.get(self.leg.job).map(|job| job.depends_on.as_slice()).unwrap_or_default();
        needs.iter().map(|need| ended.get(&need.name).map(|end| end.status))
    }
}

impl Context for Scene<'_> {
    fn named(&self, name: &str) -> Option<Value> {
        match name {
            "secrets" => {
                self.open.set(self.open.get() || self.ended.is_none());
                Some(whole(&self.run.secrets))
            }
            "pipeline" => Some(whole(&self.run.about)),
            "matrix" => {
                let values = self.leg.values.iter().map(|(axis, value)| (axis.as_str(), Value::from(value.as_str())));
                Some(Value::object(values))
            }
            "job" => {
                self.open.set(self.open.get() || self.ended.is_none());
                Some(self.ended.map(Ended::all).unwrap_or_default())
            }
            _ => None,
        }
    }

    fn member(&self, name: &str, key: &str) -> Option<Option<Value>> {
        match (name, self.ended) {
            ("secrets", _) => {
                let value = self.run.secrets.get(key).cloned();
                self.open.set(self.open.get() || (self.ended.is_none() && value.is_none()));
                Some(value)
            }
            ("pipeline", _) => Some(self.run.about.get(key).cloned()),
            ("matrix", _) => Some(self.axis(key)),
            ("job", Some(ended)) => Some(ended.value(key)),
            ("job", None) => {
                self.open.set(true);
                Some(None)
            }
            _ => None,
        }
    }

    fn status(&self, check: StatusCheck, _: &[Value]) -> Option<bool> {
        let Some(ended) = self.ended else {
            self.open.set(self.open.get() || check != StatusCheck::Always);
            return Some(true);
        };
        Some(match check {
            StatusCheck::Always => true,
            StatusCheck::Cancelled => self.needs(ended).any(|status| status == Some(JobStatus::Cancelled)),
            StatusCheck::Failure => self.needs(ended).any(|status| status == Some(JobStatus::Failed)),
            StatusCheck::Success => self.needs(ended).all(|status| status == Some(JobStatus::Success)),
        })
    }
}

fn whole(object: &Object) -> Value {
    Value::Object(std::sync::Arc::new(object.clone()))
}
