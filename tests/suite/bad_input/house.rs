//! A forge with one project and one agent, and the words in which the cases are told.

use std::time::Duration;

use forgehand::emulator::{JobSpec, JobView};
use serde_json::{Value, json};

use crate::support::{Agent, AgentOptions, JobLog, TestForge};

/// The longest a job may take here.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// A forge, a project with the repository of the job cases, an agent.
pub struct House {
    /// The forge.
    pub forge: TestForge,
    /// The agent.
    pub agent: Agent,
    /// The project's id.
    pub project: u64,
}

/// A job that has ended.
pub struct Ended {
    /// What the forge knows of it.
    pub view: JobView,
    /// Its log.
    pub log: JobLog,
}

/// Jobs at once, so that the cases of one agent need not wait for each other.
pub fn several() -> AgentOptions {
    AgentOptions { max_jobs: 4, ..AgentOptions::default() }.env("FORGEHAND_CHECK_INTERVAL", "1s")
}

impl House {
    /// All of it, the agent without a network for its jobs.
    pub fn quick() -> Self {
        Self::with(several().without_network())
    }

    /// All of it, with these options of the agent.
    pub fn with(options: AgentOptions) -> Self {
        let forge = TestForge::start();
        let project = forge.case_project("team/app");
        let agent = Agent::start(&forge, options);
        Self { forge, agent, project }
    }

    /// Queues a job of these commands with `over` laid over its response. It has no work tree unless `over` has variables.
    pub fn queue(&self, commands: &[&str], over: Value) -> u64 {
        self.queue_spec(self.spec(commands, over))
    }

    /// The job of [`Self::queue`], not queued.
    pub fn spec(&self, commands: &[&str], over: Value) -> JobSpec {
        let mut overlay = json!({
            "steps": [step("script", commands)],
            "image": { "name": "case/bash:1" },
            "variables": [{ "key": "GIT_STRATEGY", "value": "none", "public": true }],
        });
        if let (Value::Object(overlay), Value::Object(over)) = (&mut overlay, over) {
            overlay.extend(over);
        }
        JobSpec::new(self.project, "job", overlay)
    }

    /// Queues a job.
    pub fn queue_spec(&self, spec: JobSpec) -> u64 {
        self.forge.queue(spec).expect("the job is queued")
    }

    /// Queues a job that is handed out with this body, made of its id and token.
    pub fn queue_verbatim(&self, body: impl FnOnce(u64, &str) -> String) -> u64 {
        let id = self.queue_spec(JobSpec { held: true, ..self.spec(&["true"], json!({})) });
        if let Some(job) = self.forge.world().know().jobs.get_mut(&id) {
            job.spec.verbatim = Some(body(id, &job.token));
        }
        self.release(id);
        id
    }

    /// Lets a job go out that was held.
    pub fn release(&self, id: u64) {
        let world = self.forge.world();
        let mut know = world.know();
        if let Some(job) = know.jobs.get_mut(&id) {
            job.spec.held = false;
        }
        know.bump_queues(self.project, None);
        drop(know);
        world.changed();
    }

    /// Waits for a job's end.
    pub fn end(&mut self, id: u64) -> Ended {
        let Self { forge, agent, .. } = self;
        let view = agent
            .try_wait(JOB_LIMIT, || forge.job(id).filter(JobView::has_ended))
            .unwrap_or_else(|why| panic!("job {id} does not end: {why}\nits log:\n{}", forge.job_log(id).text));
        Ended { view, log: forge.job_log(id) }
    }

    /// Queues a job and waits for its end.
    pub fn run(&mut self, commands: &[&str], over: Value) -> Ended {
        let id = self.queue(commands, over);
        self.end(id)
    }

    /// Waits until a job's log holds `text`.
    pub fn wait_for_output(&mut self, id: u64, text: &str) {
        let Self { forge, agent, .. } = self;
        agent.wait_until(JOB_LIMIT, &format!("`{text}` in the log of job {id}"), || {
            forge.log_contains(id, text).then_some(())
        });
    }

    /// The agent takes a job and runs it as if nothing had been.
    pub fn assert_goes_on(&mut self) {
        self.run(&["echo all-is-well"], json!({})).succeeded().said("all-is-well");
    }

    /// The agent goes on, ends tidily and leaves nothing; the forge has nothing to complain about.
    pub fn close(mut self) {
        self.assert_goes_on();
        self.close_as_it_is();
    }

    /// The agent ends tidily and leaves nothing; the forge has nothing to complain about.
    pub fn close_as_it_is(mut self) {
        self.agent.stop();
        self.agent.assert_nothing_left();
        self.forge.assert_no_violations();
        let said = self.agent.output();
        assert!(!said.contains("panicked"), "the agent wrote:\n{said}");
    }
}

impl Ended {
    /// It succeeded.
    pub fn succeeded(&self) -> &Self {
        assert_eq!(self.view.state, "success", "{}", self.told());
        self
    }

    /// It failed for this reason.
    pub fn failed(&self, reason: &str) -> &Self {
        let seen = (self.view.state, self.view.failure_reason.as_deref());
        assert_eq!(seen, ("failed", Some(reason)), "{}", self.told());
        self
    }

    /// Its script ended with this.
    pub fn exit_code(&self, code: i64) -> &Self {
        assert_eq!(self.view.exit_code, Some(code), "{}", self.told());
        self
    }

    /// This stands in its log.
    pub fn said(&self, text: &str) -> &Self {
        assert!(self.log.text.contains(text), "no `{text}`: {}", self.told());
        self
    }

    /// This does not stand in its log.
    pub fn kept_quiet_about(&self, text: &str) -> &Self {
        assert!(!self.log.text.contains(text), "`{text}` stands there: {}", self.told());
        self
    }

    fn told(&self) -> String {
        let (view, log) = (&self.view, &self.log.text);
        let lines: Vec<&str> = log.lines().collect();
        let shown = match lines.len() {
            0..400 => log.clone(),
            many => format!("{}\n[...]\n{}", lines[..100].join("\n"), lines[many - 100..].join("\n")),
        };
        let told = (view.id, view.state, &view.failure_reason, view.exit_code);
        format!("(job, state, reason, exit code) is {told:?}; its log of {} bytes:\n{shown}", log.len())
    }
}

/// A step of a job.
pub fn step(name: &str, commands: &[&str]) -> Value {
    json!({ "name": name, "script": commands, "timeout": 3600, "when": "on_success", "allow_failure": false })
}

/// An archive of `paths`, uploaded in any case.
pub fn archive_of(paths: &[&str]) -> Value {
    json!([{
        "name": "", "untracked": false, "paths": paths, "exclude": [], "when": "always", "expire_in": "1 week",
        "artifact_type": "archive", "artifact_format": "zip",
    }])
}
