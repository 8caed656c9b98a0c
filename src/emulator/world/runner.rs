//! Runners and their managers (machines).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Knowledge, random_text};

/// What a runner is made of.
#[derive(Clone, Debug, Default)]
pub struct RunnerSpec {
    /// The name people see.
    pub description: String,
    /// The only projects whose jobs it gets; empty: all.
    pub projects: Vec<u64>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether jobs without tags are not for it.
    pub only_tagged: bool,
    /// Whether it gets no jobs for now.
    pub paused: bool,
    /// Its token; made up (`glrt-...`) when `None`.
    pub token: Option<String>,
    /// For how long the token is valid; `None`: for ever.
    pub lifetime: Option<Duration>,
}

/// A runner.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Its id.
    pub id: u64,
    /// What it is.
    pub spec: RunnerSpec,
    /// The token it authenticates with.
    pub token: String,
    /// When the token stops working.
    pub expires_at: Option<SystemTime>,
    /// Its machines by system id.
    pub managers: BTreeMap<String, Manager>,
    /// Changes whenever a job for it is queued.
    pub queue: u64,
}

/// One machine of a runner.
#[derive(Clone, Debug)]
pub struct Manager {
    /// What it said about itself last.
    pub info: Value,
    /// When it was heard of last.
    pub seen_at: SystemTime,
}

impl Runner {
    /// The opaque queue value of `X-GitLab-Last-Update` (protocols: GitLab 2.3).
    pub fn queue_value(&self) -> String {
        format!("{:016x}", (self.id << 32 | self.queue).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Whether the token is past its time.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether it may run jobs of `project`.
    pub fn serves(&self, project: u64) -> bool {
        self.spec.projects.is_empty() || self.spec.projects.contains(&project)
    }

    /// Whether it may run a job with these tags: it has them all.
    pub fn takes(&self, tags: &[String]) -> bool {
        let is_untagged = tags.is_empty() && self.spec.only_tagged;
        !is_untagged && tags.iter().all(|tag| self.spec.tags.contains(tag))
    }

    /// When the token expires, as the API writes it.
    pub fn expiry_text(&self) -> Value {
        match self.expires_at.map(jiff::Timestamp::try_from) {
            Some(Ok(at)) => Value::String(at.to_string()),
            _ => Value::Null,
        }
    }
}

impl Knowledge {
    /// Makes a runner and returns its id and token.
    pub fn add_runner(&mut self, spec: RunnerSpec) -> (u64, String) {
        let id = self.next_id();
        let token = spec.token.clone().unwrap_or_else(|| format!("glrt-{}", random_text(20)));
        let expires_at = spec.lifetime.map(|lifetime| SystemTime::now() + lifetime);
        let managers = BTreeMap::new();
        self.runners.insert(id, Runner { id, spec, token: token.clone(), expires_at, managers, queue: 1 });
        (id, token)
    }

    /// The runner whose valid token this is.
    pub fn runner_by_token(&self, token: &str) -> Option<&Runner> {
        let now = SystemTime::now();
        self.runners.values().find(|runner| runner.token == token && !runner.is_expired(now))
    }

    /// Notes that a machine of runner `id` was heard of.
    pub fn heard_of(&mut self, id: u64, system_id: &str, info: &Value) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        let name = if system_id.is_empty() { "<legacy>" } else { system_id };
        runner.managers.insert(name.to_owned(), Manager { info: info.clone(), seen_at: SystemTime::now() });
    }

    /// Gives runner `id` a new token, which is returned; the old one stops working.
    pub fn reset_token(&mut self, id: u64, lifetime: Option<Duration>) -> Option<String> {
        let runner = self.runners.get_mut(&id)?;
        runner.token = format!("glrt-{}", random_text(20));
        runner.expires_at = lifetime.map(|lifetime| SystemTime::now() + lifetime);
        Some(runner.token.clone())
    }

    /// Tells every runner that could get a job of `project` (or only `runner`) that its queue changed.
    pub fn bump_queues(&mut self, project: u64, only: Option<u64>) {
        for runner in self.runners.values_mut() {
            if only.is_none_or(|id| id == runner.id) && runner.serves(project) {
                runner.queue += 1;
            }
        }
    }
}
