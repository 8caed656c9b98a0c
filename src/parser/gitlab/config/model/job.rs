//! Jobs and what they inherit.

use std::sync::Arc;

use smol_str::SmolStr;

use super::container::{Image, Service};
use super::decide::{Policy, Rule};
use super::files::{Artifacts, Cache};
use super::needs::{Need, Parallel};
use super::run::{AllowFailure, Environment, Hooks, IdToken, Retry, Script, Timeout, When};
use super::trigger::Trigger;
use super::variables::{JobInput, Variables};
use super::{Name, Spanned};
use crate::parser::document::{Node, Schema, Span, Typed};

/// What `default:` (or the top of the file) hands to every job that does not refuse it.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Lines before `script`.
    pub before_script: Option<Script>,
    /// Lines after the job.
    pub after_script: Option<Script>,
    /// The image.
    pub image: Option<Arc<Image>>,
    /// The services.
    pub services: Option<Arc<[Service]>>,
    /// The caches.
    pub cache: Option<Arc<[Cache]>>,
    /// The artifacts.
    pub artifacts: Option<Arc<Artifacts>>,
    /// The tags.
    pub tags: Option<Arc<[Name]>>,
    /// The retries.
    pub retry: Option<Arc<Retry>>,
    /// The time limit.
    pub timeout: Option<Box<Timeout>>,
    /// Whether a newer pipeline may cancel.
    pub interruptible: Option<bool>,
    /// Hooks.
    pub hooks: Option<Arc<Hooks>>,
    /// Tokens.
    pub id_tokens: Option<Arc<[IdToken]>>,
    /// `identity`.
    pub identity: Option<Box<Name>>,
}

/// A job that is not hidden. What few jobs have is boxed: there may be many jobs.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: SmolStr,
    /// Where its name stands.
    pub span: Span,
    /// All it says, after `extends`; defaults are not in it.
    pub node: Node,
    /// What it does.
    pub kind: JobKind,
    /// Its stage. Where none is written: `test`, at the place of the job's name.
    pub stage: Name,
    /// Its commands; `None` for triggers and `run`.
    pub script: Option<Script>,
    /// Lines before them.
    pub before_script: Option<Script>,
    /// Lines after the job.
    pub after_script: Option<Script>,
    /// `run`: functions in place of `script`.
    pub run: Option<Box<Node>>,
    /// Its image.
    pub image: Option<Arc<Image>>,
    /// Its services.
    pub services: Option<Arc<[Service]>>,
    /// Its own variables.
    pub variables: Option<Arc<Variables>>,
    /// What it inherits.
    pub inherit: Inherit,
    /// Its tags.
    pub tags: Option<Arc<[Name]>>,
    /// Whether it may fail; `None`: a manual job without rules may.
    pub allow_failure: Option<AllowFailure>,
    /// When it starts; `None`: on success.
    pub when: Option<Spanned<When>>,
    /// How long a delayed one waits.
    pub start_in: Option<Box<Timeout>>,
    /// Whether it is created, and how.
    pub rules: Option<Arc<[Rule]>>,
    /// `only`; `None` where nothing is written: branches and tags, unless the job or the workflow has rules.
    pub only: Option<Arc<Policy>>,
    /// `except`.
    pub except: Option<Arc<Policy>>,
    /// What it waits for in place of earlier stages.
    pub needs: Option<Arc<[Need]>>,
    /// Whose artifacts it gets; `None`: those of all earlier stages.
    pub dependencies: Option<Arc<[Name]>>,
    /// What it leaves.
    pub artifacts: Option<Arc<Artifacts>>,
    /// Its caches; empty: none though there are default ones.
    pub cache: Option<Arc<[Cache]>>,
    /// Its retries.
    pub retry: Option<Arc<Retry>>,
    /// Its time limit.
    pub timeout: Option<Box<Timeout>>,
    /// Whether a newer pipeline may cancel it.
    pub interruptible: Option<bool>,
    /// One at a time of a name.
    pub resource_group: Option<Box<Name>>,
    /// Where it deploys to.
    pub environment: Option<Arc<Environment>>,
    /// The release it makes.
    pub release: Option<Box<Node>>,
    /// Hooks.
    pub hooks: Option<Arc<Hooks>>,
    /// Tokens.
    pub id_tokens: Option<Arc<[IdToken]>>,
    /// Secrets from vaults, as written.
    pub secrets: Option<Box<Node>>,
    /// The pattern that finds the coverage in the log, with its slashes.
    pub coverage: Option<Box<Name>>,
    /// How many of it there are.
    pub parallel: Option<Parallel>,
    /// `pages`, as written: a truth or keys. See [`Job::deploys_pages`].
    pub pages: Option<Box<Node>>,
    /// `publish`, the older way to say what pages publishes.
    pub publish: Option<Box<Name>>,
    /// What is asked before a manual job starts.
    pub manual_confirmation: Option<Box<Name>>,
    /// `identity`.
    pub identity: Option<Box<Name>>,
    /// `dast_configuration`, as written.
    pub dast_configuration: Option<Box<Node>>,
    /// Inputs of the job.
    pub inputs: Option<Arc<[JobInput]>>,
}

impl Job {
    /// Whether it has rules that count (not null).
    pub fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Its downstream pipeline, if it starts one.
    pub fn trigger(&self) -> Option<&Arc<Trigger>> {
        match &self.kind {
            JobKind::Trigger(trigger) => Some(trigger),
            JobKind::Runner | JobKind::Bridge => None,
        }
    }

    /// Whether it deploys GitLab Pages: `pages: true` or keys under it, or the name `pages` without `pages: false`.
    pub fn deploys_pages(&self) -> bool {
        let Some(pages) = &self.pages else { return self.name == "pages" };
        match pages.typed(Schema::Ruby) {
            Some(Typed::Bool(is)) => is,
            Some(_) => self.name == "pages",
            None => true,
        }
    }

    /// Whether it starts or mirrors another pipeline and no runner sees it.
    pub fn is_bridge(&self) -> bool {
        !matches!(self.kind, JobKind::Runner)
    }
}

/// What a job does.
#[derive(Clone, Debug)]
pub enum JobKind {
    /// A runner runs it.
    Runner,
    /// It starts another pipeline.
    Trigger(Arc<Trigger>),
    /// It mirrors another project's pipeline (`needs: pipeline`).
    Bridge,
}

/// `inherit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inherit {
    /// Which keys of `default`.
    pub default: Inherited,
    /// Which global variables.
    pub variables: Inherited,
}

/// What is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inherited {
    /// Everything.
    #[default]
    All,
    /// Nothing.
    Nothing,
    /// These.
    Only(Arc<[SmolStr]>),
}

impl Inherited {
    /// Whether this name is.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Only(names) => names.iter().any(|known| known == name),
        }
    }
}
