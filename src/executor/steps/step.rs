//! What a [`StepProgram`](super::StepProgram) and whoever runs it hand each other.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::executor::log::{StepStatus, Tone};
use crate::pipeline::definition::{ImageSpec, SubmoduleStrategy};
use crate::pipeline::{JobFailure, Secret};

/// A step's place in its job, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepNumber(pub u32);

/// Where the job lives, known before its first step. Paths are as the job's processes see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPlace {
    /// The work tree.
    pub project: String,
    /// The job's folder beside it.
    pub temp: String,
    /// Where tools of earlier jobs lie, where the job has a folder for them.
    pub tool_cache: Option<String>,
    /// The id of the job's container, where it has one.
    pub container: Option<String>,
    /// The id of the job's network, where it has one of its own.
    pub network: Option<String>,
    /// Ids of the service containers, in the order of the job's services.
    pub services: Vec<String>,
    /// For each service, in order: its ports, and where the job finds them at its loopback address.
    pub service_ports: Vec<Vec<(u16, u16)>>,
    /// What the place is called.
    pub host_name: String,
}

/// What a program wants done before its first step.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// Texts to hide, besides those of the job.
    pub hide: Vec<Secret>,
    /// Files to lay down: a path below the job's temporary folder, as its processes see it, and the content.
    pub files: Vec<(String, Vec<u8>)>,
}

/// The work tree, for programs that look into it.
#[derive(Clone, Debug)]
pub struct WorkTree {
    /// The folder on this machine. As trustworthy as the job: to be opened by handle, its links not to be followed out.
    pub root: PathBuf,
}

/// What to do now.
#[derive(Clone, Debug)]
pub enum Next {
    /// Run this step. Ask again when it has ended; at once where it runs in the background.
    Start(Box<ReadyStep>),
    /// This step will not run: tell, and ask again.
    Over(StepReport),
    /// Wait until one of these has ended, then ask again.
    Wait(Vec<StepNumber>),
    /// End these, and ask again when all have ended.
    Cancel(Vec<StepNumber>),
    /// All steps are over, and so it went.
    End(Result<(), JobFailure>),
}

/// A step, all of it decided.
#[derive(Clone, Debug)]
pub struct ReadyStep {
    /// Which.
    pub number: StepNumber,
    /// How often it was started before.
    pub attempt: u32,
    /// How often it is started again by itself where it fails. Nobody is asked about a failure before the last.
    pub tries_left: u32,
    /// The name the forge shows.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// Laid over the job's own variables.
    pub env: Vec<(String, Secret)>,
    /// Folders in front of PATH, the first one first.
    pub path: Vec<String>,
    /// Files for what the step hands on: made empty before it, read after it ([`StepEnded::files`], in this order), then
    /// removed. Below the job's temporary folder, as its processes see them.
    pub files: Vec<String>,
    /// How long it may take; the job's own limit holds besides.
    pub timeout: Option<Duration>,
    /// Runs beside the steps that follow.
    pub background: bool,
    /// How long to wait before it begins: a step that is tried again.
    pub pause: Duration,
    /// Its own image.
    pub image: Option<StepImage>,
    /// Lines of ours before its output.
    pub remarks: Vec<Remark>,
}

/// The image of one step, in a container that shares work tree and network with the job's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepImage {
    /// Which.
    pub image: ImageSpec,
    /// The container is made for this step alone; otherwise all steps of the image share one.
    pub fresh: bool,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Work {
    /// Runs a script.
    Script(Script),
    /// Lays the job's sources into the work tree.
    Checkout(Checkout),
}

/// A script and the shell that reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its text.
    pub text: String,
    /// The ending of its file's name, with the dot; may be empty.
    pub extension: String,
    /// Programs to try: the first that exists is the shell.
    pub programs: Vec<String>,
    /// The shell's arguments; `{0}` in them is the script's file.
    pub arguments: Vec<String>,
    /// Where it runs: absolute, or below the work tree; empty: the work tree.
    pub working_directory: String,
}

/// A checkout of the job's own sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkout {
    /// Where they go, below the work tree; empty: the work tree itself.
    pub path: String,
    /// What is there already goes.
    pub clean: bool,
    /// Which submodules come with them.
    pub submodules: SubmoduleStrategy,
}

/// A line of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// How it is shown.
    pub tone: Tone,
    /// The line.
    pub text: String,
}

impl Remark {
    /// As it is.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { tone: Tone::Plain, text: text.into() }
    }
}

/// What is to be done about a line.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// It is shown, as it was written.
    pub show: bool,
    /// To hide from now on, in this line, too.
    pub hide: Vec<Secret>,
    /// Lines of ours, behind it or in its place.
    pub say: Vec<Remark>,
    /// A file, as the step sees it, to read and hand to [`StepProgram::file`](super::StepProgram::file).
    pub read: Option<String>,
}

impl Heard {
    /// The line is shown, nothing else.
    pub fn shown() -> Self {
        Self { show: true, ..Self::default() }
    }
}

/// How a step's process ended, with what it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepEnded {
    /// How.
    pub end: StepEnd,
    /// The content of [`ReadyStep::files`], in that order; empty where nothing was written or the file is gone.
    pub files: Vec<Vec<u8>>,
    /// What is wrong with these files (no plain file, too long): the step did not hand on what it meant to.
    pub problems: Vec<String>,
}

/// How a step's process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// With this exit code; 128 and the signal's number after a signal.
    Code(i32),
    /// Killed at the memory limit of its container; a shell would say 137.
    OutOfMemory,
    /// Its time was up.
    TimedOut,
    /// It was ended because the job, or the step, was not wanted any more.
    Cancelled,
    /// It could not be started or followed: why.
    Broken(String),
}

impl Default for StepEnd {
    fn default() -> Self {
        Self::Code(0)
    }
}

impl StepEnd {
    /// The exit code, where a process ended with one.
    pub fn code(&self) -> Option<i32> {
        match self {
            StepEnd::Code(code) => Some(*code),
            StepEnd::OutOfMemory => Some(137),
            StepEnd::TimedOut | StepEnd::Cancelled | StepEnd::Broken(_) => None,
        }
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// Which.
    pub number: StepNumber,
    /// Its name.
    pub name: String,
    /// What became of it, before anything that makes its failure not count.
    pub status: StepStatus,
    /// Its failure, if it failed, is the job's.
    pub counts: bool,
    /// The exit code, where a process ended with one.
    pub exit_code: Option<i32>,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// Lines of ours behind its output.
    pub remarks: Vec<Remark>,
}
