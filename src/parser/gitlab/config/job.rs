//! One job: its keys by one match, then what holds among them, then what it inherits.

use smol_str::SmolStr;

use super::duration::{Allowed, MONTH, WEEK};
use super::keywords::needs::AllowedNeeds;
use super::keywords::rules::RulesOf;
use super::model::{Defaults, Inherit, Job, JobKind, Name, Need, NeedWhat, Spanned, When};
use super::place::At;
use super::values::{Checker, as_text, is_null, key_text, shown};
use super::{Completeness, codes};
use crate::parser::document::{Entry, Mapping, Node, Span, Value};

/// Keys of every job.
const COMMON_KEYS: [&str; 15] = [
    "extends",
    "stage",
    "only",
    "except",
    "rules",
    "variables",
    "inherit",
    "allow_failure",
    "when",
    "needs",
    "resource_group",
    "environment",
    "interruptible",
    "parallel",
    "manual_confirmation",
];
/// Keys of jobs that a runner runs.
const RUNNER_KEYS: [&str; 24] = [
    "script",
    "before_script",
    "after_script",
    "image",
    "services",
    "artifacts",
    "cache",
    "tags",
    "retry",
    "timeout",
    "dependencies",
    "start_in",
    "hooks",
    "coverage",
    "release",
    "id_tokens",
    "secrets",
    "run",
    "pages",
    "publish",
    "identity",
    "dast_configuration",
    "inputs",
    "trigger",
];
const RUNNER_WHEN: [&str; 5] = ["on_success", "on_failure", "always", "manual", "delayed"];
const BRIDGE_WHEN: [&str; 4] = ["on_success", "on_failure", "always", "manual"];
/// Characters of a name.
pub(super) const LONGEST_NAME: usize = 255;

/// Keys that the checks among keys look at again.
#[derive(Default)]
struct Seen<'n> {
    script: Option<&'n Entry>,
    run: Option<&'n Entry>,
    trigger: Option<&'n Entry>,
    rules: bool,
    only: Option<&'n Entry>,
    except: Option<&'n Entry>,
    start_in: Option<&'n Entry>,
    publish: Option<&'n Entry>,
}

/// Whether something makes it a job.
enum Made<'n> {
    /// It is one.
    Job(Seen<'n>),
    /// It has no `script`, `run` or `trigger`.
    Not(Seen<'n>),
}

/// Whether a mapping has what makes it a job.
pub(super) fn is_job(node: &Node) -> bool {
    node.as_mapping().is_some_and(|mapping| ["script", "run", "trigger"].iter().any(|key| mapping.get(key).is_some()))
}

/// Whether a key is one of jobs.
pub(super) fn is_key_of_jobs(key: &str) -> bool {
    COMMON_KEYS.iter().chain(&RUNNER_KEYS).any(|known| *known == key)
}

impl Checker<'_> {
    /// A job that is not hidden; `None` where it is no job.
    pub fn job(&mut self, entry: &Entry, defaults: &Defaults) -> Option<Job> {
        let name = SmolStr::from(key_text(&entry.key));
        let at = At::job(&name);
        let Some(mapping) = entry.value.as_mapping() else {
            self.no_job(entry, at);
            self.unmade.push(empty(&name, &entry.key.span, &entry.value));
            return None;
        };
        let mut job = empty(&name, &entry.key.span, &entry.value);
        let (seen, is_made) = match self.kind(mapping, at, &mut job) {
            Made::Job(seen) => (seen, true),
            Made::Not(seen) if self.no_job(entry, at) => (seen, false),
            Made::Not(_) => return None,
        };
        match job.kind {
            JobKind::Runner if is_made => self.runner_keys(mapping, at, &RUNNER_KEYS[..23], &mut job),
            // Mostly `script` or `trigger` is missing because it is misspelt.
            JobKind::Runner => self.runner_keys(mapping, at, &RUNNER_KEYS, &mut job),
            JobKind::Trigger(_) | JobKind::Bridge => self.bridge_keys(mapping, at, &mut job),
        }
        self.among_keys(&seen, at, &mut job);
        inherit(&mut job, defaults);
        if !is_made {
            self.unmade.push(job);
            return None;
        }
        Some(job)
    }

    /// Which kind it is, and the keys that others depend on.
    fn kind<'n>(&mut self, mapping: &'n Mapping, at: At<'_>, job: &mut Job) -> Made<'n> {
        let mut seen = Seen::default();
        let mut needs = None;
        for entry in mapping.entries() {
            match key_text(&entry.key) {
                "script" => seen.script = Some(entry),
                "run" => seen.run = Some(entry),
                "trigger" => seen.trigger = Some(entry),
                "needs" => needs = Some(&entry.value),
                "rules" => seen.rules = !is_null(&entry.value),
                "only" => seen.only = Some(entry),
                "except" => seen.except = Some(entry),
                "start_in" => seen.start_in = Some(entry),
                "publish" => seen.publish = Some(entry),
                _ => {}
            }
        }
        for (key, other) in [("script", seen.script), ("run", seen.run)] {
            if let (Some(_), Some(trigger)) = (other, seen.trigger) {
                let what = format!("cannot have both `{key}` and `trigger`");
                let help = Some("a trigger has no commands: make two jobs of it".to_owned());
                self.error_help(codes::CONFLICT, trigger.key.span, at, what, help);
            }
        }
        if let (Some(_), Some(run)) = (seen.script, seen.run) {
            self.error(codes::CONFLICT, run.key.span, at, "cannot have both `script` and `run`");
        }
        for key in ["before_script", "after_script"] {
            if let (Some(entry), Some(_)) = (mapping.entry(key), seen.run) {
                self.error(codes::CONFLICT, entry.key.span, at, format_args!("cannot have both `{key}` and `run`"));
            }
        }
        if seen.script.is_some() || seen.run.is_some() {
            return Made::Job(seen);
        }
        if let Some(trigger) = seen.trigger {
            let trigger = self.trigger(&trigger.value, at.key("trigger"));
            job.kind = trigger.map_or(JobKind::Bridge, JobKind::Trigger);
            return Made::Job(seen);
        }
        if needs.is_some_and(has_upstream) {
            job.kind = JobKind::Bridge;
            return Made::Job(seen);
        }
        if self.completeness == Completeness::Part
            && mapping.entries().iter().any(|entry| is_key_of_jobs(key_text(&entry.key)))
        {
            let help = Some(
                "it makes a job where what is left out has it; with `--include-from HOST` includes are fetched"
                    .to_owned(),
            );
            self.perhaps(codes::NO_SCRIPT, job.span, at, "has no `script`, `run` or `trigger`", help);
            return Made::Job(seen);
        }
        // What it extends was complained about, and may have it.
        if self.bases_wrong && mapping.get("extends").is_some() {
            return Made::Job(seen);
        }
        Made::Not(seen)
    }

    /// `more`: keys that the job might have had beside those of all jobs.
    fn runner_keys(&mut self, mapping: &Mapping, at: At<'_>, more: &[&str], job: &mut Job) {
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "script" => job.script = self.filled_script(value, below),
                "before_script" => job.before_script = self.script(value, below),
                "after_script" => job.after_script = self.script(value, below),
                "image" => job.image = self.image(value, below),
                "services" => job.services = self.services(value, below),
                "artifacts" => job.artifacts = self.artifacts(value, below),
                "cache" => job.cache = self.caches(value, below),
                "tags" => job.tags = self.tags(value, below),
                "retry" => job.retry = self.retry(value, below),
                "timeout" => job.timeout = self.timeout(value, below).map(Box::new),
                "dependencies" => job.dependencies = self.names(value, below),
                "when" => job.when = self.when(value, below, &RUNNER_WHEN),
                "needs" => job.needs = self.needs(value, below, AllowedNeeds::JOB),
                "allow_failure" => job.allow_failure = self.allow_failure(value, below, true),
                "parallel" => job.parallel = self.parallel(value, below, true),
                "hooks" => job.hooks = self.hooks(value, below),
                "coverage" => job.coverage = self.coverage(value, below).map(Box::new),
                "release" => job.release = self.release(value, below).map(Box::new),
                "id_tokens" => job.id_tokens = self.id_tokens(value, below),
                "secrets" => job.secrets = self.secrets(value, below).map(Box::new),
                "run" => job.run = self.run(value, below).map(Box::new),
                "pages" => job.pages = self.pages(value, below).map(Box::new),
                "identity" => job.identity = self.identity(value, below).map(Box::new),
                "dast_configuration" => job.dast_configuration = self.dast_configuration(value, below).map(Box::new),
                "inputs" => job.inputs = self.job_inputs(value, below),
                "publish" | "start_in" | "trigger" => {}
                _ if self.common_key(entry, at, job) => {}
                _ => self.unknown_job_key(entry, at, more),
            }
        }
    }

    fn bridge_keys(&mut self, mapping: &Mapping, at: At<'_>, job: &mut Job) {
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "trigger" => {}
                "when" => job.when = self.when(value, below, &BRIDGE_WHEN),
                "needs" => {
                    job.needs = self.needs(value, below, AllowedNeeds::BRIDGE);
                    self.one_upstream(job.needs.as_deref().unwrap_or_default(), value, below);
                }
                "allow_failure" => job.allow_failure = self.allow_failure(value, below, false),
                "parallel" => job.parallel = self.parallel(value, below, false),
                _ if self.common_key(entry, at, job) => {}
                _ => self.unknown_job_key(entry, at, &["trigger"]),
            }
        }
    }

    /// Keys that mean the same in every job; whether it is one.
    fn common_key(&mut self, entry: &Entry, at: At<'_>, job: &mut Job) -> bool {
        let key = key_text(&entry.key);
        let (below, value) = (at.key(key), &entry.value);
        match key {
            "extends" => drop(self.texts_or_text(value, below)),
            "stage" => {
                if let Some(stage) = self.name(value, below) {
                    job.stage = stage;
                }
            }
            "only" => job.only = self.policy(value, below),
            "except" => job.except = self.policy(value, below),
            "rules" => job.rules = self.rules(value, below, RulesOf::Job),
            "variables" => job.variables = self.job_variables(value, below),
            "inherit" => job.inherit = self.inherit(value, below),
            "resource_group" => job.resource_group = self.name(value, below).map(Box::new),
            "environment" => job.environment = self.environment(value, below),
            "interruptible" => job.interruptible = self.boolean(value, below),
            "manual_confirmation" => job.manual_confirmation = self.name(value, below).map(Box::new),
            _ => return false,
        }
        true
    }

    fn unknown_job_key(&mut self, entry: &Entry, at: At<'_>, more: &[&str]) {
        let known: Vec<&str> = COMMON_KEYS.iter().chain(more).copied().collect();
        self.unknown_key(entry, at, &known);
    }

    /// Says so; and whether it is meant as a job nevertheless.
    fn no_job(&mut self, entry: &Entry, at: At<'_>) -> bool {
        let key = key_text(&entry.key);
        let near = crate::parser::diagnostics::did_you_mean(key, super::root::ROOT_KEYS);
        let misplaced = misplaced(key, &entry.value);
        let is_meant = near.is_none() && misplaced.is_none();
        let help = misplaced
            .or(near)
            .unwrap_or_else(|| "a job that only others extend has a name that begins with a dot".to_owned());
        let what = match &entry.value.value {
            Value::Mapping(_) => "has no `script`, `run` or `trigger`".to_owned(),
            _ => format!("should be a mapping with `script`, `run` or `trigger`, not {}", shown(&entry.value)),
        };
        self.error_help(codes::NO_SCRIPT, entry.key.span, at, what, Some(help));
        is_meant
    }

    /// `tags`.
    pub fn tags(&mut self, node: &Node, at: At<'_>) -> Option<std::sync::Arc<[Name]>> {
        const MOST: usize = 50;
        let tags = self.names(node, at)?;
        if tags.len() >= MOST {
            let what = format!("has {} tags, and must have fewer than {MOST}", tags.len());
            self.error(codes::TOO_MANY, node.span, at, what);
        }
        Some(tags)
    }

    /// `timeout`.
    pub fn timeout(&mut self, node: &Node, at: At<'_>) -> Option<super::model::Timeout> {
        self.duration(node, at, Allowed { limit: Some(MONTH), ..Allowed::default() })
    }

    fn one_upstream(&mut self, needs: &[Need], node: &Node, at: At<'_>) {
        let upstream = needs.iter().filter(|need| matches!(need.what, NeedWhat::Upstream { .. })).count();
        if upstream > 1 {
            self.error(codes::TOO_MANY, node.span, at, "can name one pipeline of another project at most");
        }
    }

    fn among_keys(&mut self, seen: &Seen<'_>, at: At<'_>, job: &mut Job) {
        if let Some(publish) = seen.publish {
            job.publish = self.publish(&publish.value, at.key("publish"), job.deploys_pages()).map(Box::new);
            if job.pages.as_ref().is_some_and(|pages| pages.get("publish").is_some()) {
                self.error(codes::CONFLICT, publish.key.span, at, "cannot have both `publish` and `pages:publish`");
            }
        }
        if seen.rules {
            for (key, entry) in [("only", seen.only), ("except", seen.except), ("start_in", seen.start_in)] {
                if let Some(entry) = entry.filter(|entry| !is_null(&entry.value)) {
                    let what = "may not be used together with `rules`";
                    self.error(codes::CONFLICT, entry.key.span, at.key(key), what);
                }
            }
        }
        self.start_in(seen, at, job);
        self.dependencies_in_needs(at, job);
    }

    fn start_in(&mut self, seen: &Seen<'_>, at: At<'_>, job: &mut Job) {
        let at = at.key("start_in");
        let delayed = job.when.as_ref().filter(|when| when.value == When::Delayed);
        let written = seen.start_in.filter(|entry| !is_null(&entry.value));
        match (delayed, written) {
            (Some(_), Some(entry)) if !seen.rules => {
                let allowed = Allowed { limit: Some(WEEK), ..Allowed::default() };
                job.start_in = self.duration(&entry.value, at, allowed).map(Box::new);
            }
            (Some(when), None) => {
                let help = Some("say how long it waits, like `start_in: 30 minutes`".to_owned());
                self.missing(when.span, at, "is missing: `when: delayed` needs it", help);
            }
            (None, Some(entry)) if !seen.rules && when_is_known(job) => {
                let help = Some("add `when: delayed`, or remove `start_in`".to_owned());
                self.perhaps(codes::CONFLICT, entry.key.span, at, "belongs to `when: delayed` alone", help);
            }
            _ => {}
        }
    }

    fn dependencies_in_needs(&mut self, at: At<'_>, job: &Job) {
        let (Some(dependencies), Some(needs)) = (job.dependencies.as_deref(), job.needs.as_deref()) else { return };
        if dependencies.is_empty() || needs.is_empty() {
            return;
        }
        let needed: std::collections::HashSet<&str> = needs
            .iter()
            .filter_map(|need| match &need.what {
                NeedWhat::Job { name, .. } => Some(name.value.as_str()),
                _ => None,
            })
            .collect();
        for dependency in dependencies.iter().filter(|dependency| !needed.contains(dependency.value.as_str())) {
            let what = format!("names `{}`, which is not among its `needs`", dependency.value);
            let help = Some(format!("add `{}` to `needs`, or remove it here", dependency.value));
            self.error_help(codes::DEPENDENCY_WITHOUT_NEED, dependency.span, at.key("dependencies"), what, help);
        }
    }
}

/// Whether what `when` says could be understood; what could not is reported already.
fn when_is_known(job: &Job) -> bool {
    job.when.is_some() || job.node.get("when").is_none_or(is_null)
}

fn has_upstream(needs: &Node) -> bool {
    let is = |node: &Node| node.get("pipeline").is_some() && node.get("job").is_none();
    is(needs) || needs.as_sequence().is_some_and(|items| items.iter().any(is))
}

fn empty(name: &SmolStr, span: &Span, node: &Node) -> Job {
    Job {
        name: name.clone(),
        span: *span,
        node: node.clone(),
        kind: JobKind::Runner,
        stage: Spanned { value: SmolStr::new_static("test"), span: *span },
        script: None,
        before_script: None,
        after_script: None,
        run: None,
        image: None,
        services: None,
        variables: None,
        inherit: Inherit::default(),
        tags: None,
        allow_failure: None,
        when: None,
        start_in: None,
        rules: None,
        only: None,
        except: None,
        needs: None,
        dependencies: None,
        artifacts: None,
        cache: None,
        retry: None,
        timeout: None,
        interruptible: None,
        resource_group: None,
        environment: None,
        release: None,
        hooks: None,
        id_tokens: None,
        secrets: None,
        coverage: None,
        parallel: None,
        pages: None,
        publish: None,
        manual_confirmation: None,
        identity: None,
        dast_configuration: None,
        inputs: None,
    }
}

/// Takes what the job does not say from the defaults.
/// What to do about a keyword of jobs that stands at the top of the file.
fn misplaced(key: &str, value: &Node) -> Option<String> {
    if super::root::DEFAULT_KEYS.contains(&key) {
        return Some(format!("`{key}` stands in a job, or under `default:` for all of them"));
    }
    // A mapping may well be meant as a job of this name; `stage` is mostly a slip for `stages`.
    let is_keyword = key != "stage" && COMMON_KEYS.iter().chain(&RUNNER_KEYS).any(|known| *known == key);
    (is_keyword && value.as_mapping().is_none()).then(|| format!("`{key}` stands in a job"))
}

fn inherit(job: &mut Job, defaults: &Defaults) {
    macro_rules! take {
        ($($field:ident),*) => {$(
            if job.$field.is_none() && defaults.$field.is_some() && job.inherit.default.has(stringify!($field)) {
                job.$field.clone_from(&defaults.$field);
            }
        )*};
    }
    take!(interruptible);
    if matches!(job.kind, JobKind::Runner) {
        take!(
            before_script,
            after_script,
            image,
            services,
            cache,
            artifacts,
            tags,
            retry,
            timeout,
            hooks,
            id_tokens,
            identity
        );
    }
}

/// Whether a name can be that of a job, and what is wrong with it.
pub(super) fn name_problem(key: &Node) -> Option<String> {
    let Some(name) = as_text(key) else {
        return Some(format!("the name {} of a job is not text", shown(key)));
    };
    if super::values::is_blank(&name) {
        return Some("the name of a job is blank".to_owned());
    }
    let length = name.chars().count();
    (length > LONGEST_NAME)
        .then(|| format!("the name of a job has {length} characters, more than the limit of {LONGEST_NAME}"))
}
