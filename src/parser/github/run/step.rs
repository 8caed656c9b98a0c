//! What whoever runs steps handles.

use std::time::Duration;

use super::{Conclusion, LegEnd};
use crate::parser::github::commands::{Effects, WrittenFiles};

/// A step of a [`Program`](super::Program): its place in the job, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// What to do now.
#[derive(Clone, Debug)]
pub enum Next {
    /// Run this step and report with [`Program::ended`](super::Program::ended). If [`ReadyStep::background`], ask for the next at
    /// once; else when it has ended.
    Start(Box<ReadyStep>),
    /// This one is over without having run: skipped, or its condition or values were wrong. Ask again.
    Over(StepReport),
    /// Wait until one of these background steps has ended, report it, ask again.
    Wait(Vec<StepId>),
    /// End these background steps (7.5 s grace), report each as it ends, ask again when all have.
    Cancel(Vec<StepId>),
    /// All steps are over.
    End(Box<LegEnd>),
}

/// What the leg's processes find, known when the sandbox is. Paths are as they see them.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The work tree, `GITHUB_WORKSPACE`.
    pub workspace: String,
    /// `RUNNER_TEMP`.
    pub temp: String,
    /// `RUNNER_TOOL_CACHE`.
    pub tool_cache: String,
    /// Folder of the command files; a file a step and kind is named below it.
    pub command_files: String,
    /// The file that holds [`Program::event_json`](super::Program::event_json), `GITHUB_EVENT_PATH`.
    pub event_path: String,
    /// `RUNNER_NAME`.
    pub runner_name: String,
    /// `RUNNER_OS`: `Linux`.
    pub os: String,
    /// `RUNNER_ARCH`: `X64`, `ARM64`.
    pub arch: String,
    /// The job's container and network, where it has such: `job.container.id`, `job.container.network`.
    pub container: Option<(String, String)>,
    /// Services: name, id, network, published ports (container port, host port).
    pub services: Vec<PlacedService>,
    /// Whether the agent's own environment has `CI`.
    pub has_ci: bool,
}

/// A service that is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacedService {
    /// The name it is reached by.
    pub name: String,
    /// The container's id.
    pub id: String,
    /// The network's id or name.
    pub network: String,
    /// Container port and the host's port it is published as.
    pub ports: Vec<(String, String)>,
}

/// A step, all of it evaluated.
#[derive(Clone, Debug)]
pub struct ReadyStep {
    /// Which.
    pub id: StepId,
    /// The name the forge shows, one line.
    pub name: String,
    /// What it does.
    pub kind: ReadyKind,
    /// Its whole environment: the job's and its own values, `GITHUB_*`, `RUNNER_*`, `CI`, command files. Overlays what the sandbox has.
    /// The last of a name counts.
    pub env: Vec<(String, String)>,
    /// Folders to put in front of the sandbox's (or `env`'s) PATH, the first one first.
    pub path: Vec<String>,
    /// The files named in `env`: made empty before the step, read after it ([`StepEnded::files`]), then removed.
    pub files: CommandFilePaths,
    /// How long it may take; `None`: as long as the job.
    pub timeout: Option<Duration>,
    /// Runs beside the following steps.
    pub background: bool,
    /// What its evaluation had to say; for the job's log, before the step.
    pub remarks: Vec<Remark>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum ReadyKind {
    /// A script.
    Script(Script),
    /// The own repository into the work tree; done by us.
    Checkout(Checkout),
    /// Any other action; refused by name until actions run.
    Action(ActionReference),
}

/// A script and how it is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The script's text as it goes into the file, ending in a newline.
    pub text: String,
    /// The shell.
    pub shell: ShellCommand,
    /// Where it starts, absolute or relative to the work tree; empty: the work tree.
    pub working_directory: String,
}

/// A shell's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellCommand {
    /// Programs to try in order: the first that exists is taken. `bash`, then `sh`, where the file names no shell.
    pub programs: Vec<String>,
    /// Its arguments; `{0}` in them stands for the script file.
    pub arguments: Vec<String>,
    /// The script file's ending, `.sh`; may be empty.
    pub extension: &'static str,
}

impl ShellCommand {
    /// The arguments with the script file's path in them.
    pub fn arguments_for(&self, script: &str) -> Vec<String> {
        self.arguments.iter().map(|argument| argument.replace("{0}", script)).collect()
    }
}

/// `actions/checkout` of the own repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// The action as written, `actions/checkout@v4`.
    pub uses: String,
    /// Another ref or commit than the run's; empty: the run's (the work tree as it is).
    pub reference: String,
    /// Where it goes, relative to the work tree; empty: the work tree itself.
    pub path: String,
    /// Whether what is not of the repository is removed.
    pub clean: bool,
    /// How many commits deep; 0: all.
    pub fetch_depth: u32,
    /// Whether tags are there.
    pub fetch_tags: bool,
    /// Whether submodules are there, and theirs.
    pub submodules: CheckoutSubmodules,
    /// Whether LFS files are there.
    pub lfs: bool,
    /// Inputs that have no effect here, for a note.
    pub without_effect: Vec<String>,
}

/// Submodules of a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckoutSubmodules {
    /// None.
    No,
    /// The repository's own.
    Yes,
    /// Theirs too.
    Recursive,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionReference {
    /// As written in `uses`: `owner/name/path@ref`, `./path`, `docker://image`.
    pub uses: String,
    /// Its inputs, evaluated.
    pub with: Vec<(String, String)>,
}

/// The command files of one step, as its processes see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandFilePaths {
    /// `GITHUB_ENV`.
    pub env: String,
    /// `GITHUB_OUTPUT`.
    pub output: String,
    /// `GITHUB_PATH`.
    pub path: String,
    /// `GITHUB_STATE`.
    pub state: String,
    /// `GITHUB_STEP_SUMMARY`.
    pub summary: String,
}

/// How a step's process ended, with what it left.
#[derive(Clone, Debug)]
pub struct StepEnded {
    /// How.
    pub exit: StepExit,
    /// What its output set: [`Reader::finish`](super::super::commands::Reader::finish).
    pub effects: Effects,
    /// What its command files hold.
    pub files: WrittenFiles,
}

/// How a step's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepExit {
    /// With this exit code; a signal as 128 and its number.
    Code(i32),
    /// It took longer than it may.
    TimedOut,
    /// It was ended because the leg, or the step, was cancelled.
    Cancelled,
    /// It could not be started or carried out: why.
    Broken(String),
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// Which.
    pub id: StepId,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub outcome: Conclusion,
    /// The same after `continue-on-error`.
    pub conclusion: Conclusion,
    /// The exit code, where a process ended with one.
    pub exit_code: Option<i32>,
    /// Why it was skipped or failed, one sentence; `None` after success.
    pub reason: Option<String>,
    /// Lines for the job's log.
    pub remarks: Vec<Remark>,
    /// Values to hide from now on.
    pub summary: Option<String>,
}

/// A line of our own for the job's log (stream `command`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// `Error: ...`
    Error(String),
    /// `Warning: ...`
    Warning(String),
    /// Plain.
    Note(String),
}
