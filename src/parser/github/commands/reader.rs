//! Hears the lines of one step.

use std::fmt;

use super::issue::{Issue, Level};
use super::line::{self, Command};
use super::matcher::{MatchedLine, Matchers};
use super::{files, mask};

/// What a reader needs to know of its job.
#[derive(Clone, Debug, Default)]
pub struct ReaderSettings {
    /// Debug lines are shown and commands echoed (`ACTIONS_STEP_DEBUG`).
    pub debug: bool,
    /// `set-env` and `add-path` are heeded (`ACTIONS_ALLOW_UNSECURE_COMMANDS` in the job's environment).
    pub unsecure_commands: bool,
    /// Any token may end `stop-commands` (`ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS`).
    pub unsecure_tokens: bool,
    /// The work tree as the step sees it: paths below it are told relative to it.
    pub workspace: String,
}

/// What a step's output set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// Outputs, later ones of a name over earlier ones.
    pub outputs: Vec<(String, String)>,
    /// State for the later stages of the same action.
    pub state: Vec<(String, String)>,
    /// Environment for the steps that follow (`set-env`, where it is heeded).
    pub env: Vec<(String, String)>,
    /// Folders for PATH, in the order in which they were added.
    pub path: Vec<String>,
    /// Errors, warnings and notices.
    pub issues: Vec<Issue>,
    /// A command could not be processed: the step has failed whatever its exit code.
    pub failed: bool,
    /// Texts that are hidden since.
    pub masks: Vec<String>,
    /// Deprecated commands that were used.
    pub deprecated: Vec<&'static str>,
    /// The problem matchers after this step, where it changed them.
    pub matchers: Option<Matchers>,
}

/// What is to be done about a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Whether the line itself is shown, as the process wrote it.
    pub show: bool,
    /// Lines of ours to show in its place or after it.
    pub spoken: Vec<Spoken>,
    /// Texts to hide from now on; before anything of this line is shown.
    pub mask: Vec<String>,
    /// A problem matcher to read from this file, a path as the step sees it: hand its text to [`Reader::add_matcher`].
    pub matcher_file: Option<String>,
}

/// A line of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// A group begins.
    Group(String),
    /// It ends.
    EndGroup,
    /// An error, a warning, a notice.
    Issue(Issue),
    /// A debug line.
    Debug(String),
    /// A command as it was written.
    Echo(String),
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spoken::Group(title) => write!(f, "##[group]{title}"),
            Spoken::EndGroup => f.write_str("##[endgroup]"),
            Spoken::Issue(issue) => write!(f, "##[{}]{}", issue.level.as_str(), issue.message),
            Spoken::Debug(text) => write!(f, "##[debug]{text}"),
            Spoken::Echo(line) => f.write_str(line),
        }
    }
}

/// Hears the lines of one step, standard output and standard error alike.
#[derive(Clone, Debug)]
pub struct Reader {
    settings: ReaderSettings,
    echo: bool,
    /// While commands are stopped: what starts them again.
    stopped: Option<String>,
    matchers: Matchers,
    effects: Effects,
}

/// The commands there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    SetOutput,
    SaveState,
    SetEnv,
    AddPath,
    AddMask,
    Debug,
    Issue(Level),
    Group,
    EndGroup,
    Echo,
    AddMatcher,
    RemoveMatcher,
    StopCommands,
}

const NAMES: [(&str, Name); 15] = [
    ("set-output", Name::SetOutput),
    ("save-state", Name::SaveState),
    ("set-env", Name::SetEnv),
    ("add-path", Name::AddPath),
    ("add-mask", Name::AddMask),
    ("debug", Name::Debug),
    ("notice", Name::Issue(Level::Notice)),
    ("warning", Name::Issue(Level::Warning)),
    ("error", Name::Issue(Level::Error)),
    ("group", Name::Group),
    ("endgroup", Name::EndGroup),
    ("echo", Name::Echo),
    ("add-matcher", Name::AddMatcher),
    ("remove-matcher", Name::RemoveMatcher),
    ("stop-commands", Name::StopCommands),
];

fn named(name: &str) -> Option<Name> {
    NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, command)| *command)
}

/// A token of more characters than this is hidden from the log.
const SHOWN_TOKEN: usize = 6;

impl Reader {
    /// For a step that begins, with the problem matchers of its job.
    pub fn new(settings: ReaderSettings, mut matchers: Matchers) -> Self {
        matchers.reset();
        let echo = settings.debug;
        Self { settings, echo, stopped: None, matchers, effects: Effects::default() }
    }

    /// What the step set.
    pub fn finish(self) -> Effects {
        self.effects
    }

    /// Hears a line, without its newline.
    pub fn line(&mut self, line: &str) -> Heard {
        if let Some(heard) = self.command(line) {
            return heard;
        }
        match self.matchers.line(line, &self.settings.workspace) {
            MatchedLine::Nothing => Heard { show: true, ..Heard::default() },
            MatchedLine::Remark(remark) => {
                let spoken = if self.settings.debug { vec![Spoken::Debug(remark)] } else { Vec::new() };
                Heard { show: true, spoken, ..Heard::default() }
            }
            MatchedLine::Issue { issue, remarks } => {
                self.effects.issues.push(issue.clone());
                let mut spoken = vec![Spoken::Issue(issue)];
                if self.settings.debug {
                    spoken.extend(remarks.into_iter().map(Spoken::Debug));
                }
                Heard { spoken, ..Heard::default() }
            }
        }
    }

    /// Adds a problem matcher that [`Heard::matcher_file`] asked for. An error fails the step and is told.
    pub fn add_matcher(&mut self, text: Result<String, String>) -> Heard {
        match text.and_then(|text| self.matchers.add(&text)) {
            Ok(()) => {
                self.effects.matchers = Some(self.matchers.clone());
                Heard::default()
            }
            Err(problem) => self.fail(format!("Unable to process command 'add-matcher' successfully. {problem}")),
        }
    }

    fn command(&mut self, line: &str) -> Option<Heard> {
        if !line.contains("::") && !line.contains("##[") {
            return None;
        }
        if let Some(token) = &self.stopped {
            // Only the token is heard, and it is shown.
            line::parse(line, &|name| name.eq_ignore_ascii_case(token))?;
            self.stopped = None;
            return Some(Heard { spoken: vec![Spoken::Echo(line.to_owned())], ..Heard::default() });
        }
        let command = line::parse(line, &|name| named(name).is_some())?;
        let name = named(&command.name)?;
        let is_echoed = self.echo && !matches!(name, Name::Debug | Name::Issue(_) | Name::AddMask);
        let mut heard = match self.carry_out(name, &command) {
            Ok(heard) => heard,
            Err(problem) => {
                let told =
                    if matches!(name, Name::AddMask | Name::Issue(_) | Name::Debug) { &command.name } else { line };
                self.fail(format!("Unable to process command '{told}' successfully. {problem}"))
            }
        };
        let already = matches!(name, Name::Group | Name::EndGroup | Name::StopCommands);
        if is_echoed && !already {
            heard.spoken.insert(0, Spoken::Echo(line.to_owned()));
        } else if name == Name::StopCommands {
            heard.spoken.push(Spoken::Echo(line.to_owned()));
        }
        if name == Name::AddMask && self.echo {
            heard.spoken.push(Spoken::Echo("::add-mask::***".to_owned()));
        }
        Some(heard)
    }

    fn carry_out(&mut self, name: Name, command: &Command) -> Result<Heard, String> {
        let mut heard = Heard::default();
        match name {
            Name::SetOutput => {
                self.effects.outputs.push((required(command, "name")?, command.data.clone()));
                self.deprecated("set-output");
            }
            Name::SaveState => {
                self.effects.state.push((required(command, "name")?, command.data.clone()));
                self.deprecated("save-state");
            }
            Name::SetEnv => {
                self.insecure("set-env")?;
                let key = required(command, "name")?;
                if is_refused_env(&key) {
                    return Err(refused_env(&key));
                }
                self.effects.env.push((key, command.data.clone()));
            }
            Name::AddPath => {
                self.insecure("add-path")?;
                self.effects.path.extend(files::paths(command.data.as_bytes()));
            }
            Name::AddMask => {
                heard.mask = mask::texts(&command.data);
                self.effects.masks.extend(heard.mask.iter().cloned());
                if heard.mask.is_empty() {
                    heard.spoken.push(
                        self.issue(Level::Warning, "Can't add secret mask for empty string in ##[add-mask] command."),
                    );
                }
            }
            Name::Debug if self.settings.debug => heard.spoken.push(Spoken::Debug(command.data.clone())),
            Name::Debug => {}
            Name::Issue(level) => {
                let mut issue = Issue::of_command(level, command);
                issue.file = issue.file.map(|file| below(&file, &self.settings.workspace));
                self.effects.issues.push(issue.clone());
                heard.spoken.push(Spoken::Issue(issue));
            }
            Name::Group => heard.spoken.push(Spoken::Group(command.data.clone())),
            Name::EndGroup => heard.spoken.push(Spoken::EndGroup),
            Name::Echo => self.echo = on_or_off(&command.data)?,
            Name::AddMatcher => {
                if command.data.trim().is_empty() {
                    return Err("The path of the matcher's file is missing: ::add-matcher::PATH".into());
                }
                heard.matcher_file = Some(command.data.clone());
            }
            Name::RemoveMatcher => match (command.property("owner"), command.data.as_str()) {
                (Some(owner), "") => {
                    self.matchers.remove(owner);
                    self.effects.matchers = Some(self.matchers.clone());
                }
                (None, file) if !file.is_empty() => {
                    return Err("Name the matcher by its owner: ::remove-matcher owner=NAME::".into());
                }
                _ => return Err("Either an owner or a file must be named, not both".into()),
            },
            Name::StopCommands => heard.mask = self.stop(&command.data)?,
        }
        Ok(heard)
    }

    /// Stops commands until `token` comes; the texts to hide.
    fn stop(&mut self, token: &str) -> Result<Vec<String>, String> {
        let is_weak = token.is_empty() || token.eq_ignore_ascii_case("pause-logging") || named(token).is_some();
        if is_weak && !self.settings.unsecure_tokens {
            return Err(format!(
                "Invalid token '{token}' for stop-commands: it must not be empty or the name of a command; take a random one"
            ));
        }
        self.stopped = Some(token.to_owned());
        Ok(if token.chars().count() > SHOWN_TOKEN { vec![token.to_owned()] } else { Vec::new() })
    }

    fn insecure(&self, name: &str) -> Result<(), String> {
        if self.settings.unsecure_commands {
            return Ok(());
        }
        let file = if name == "set-env" { "GITHUB_ENV" } else { "GITHUB_PATH" };
        Err(format!(
            "The `{name}` command is disabled: write to the file ${file} instead, or set ACTIONS_ALLOW_UNSECURE_COMMANDS to true in the job's env"
        ))
    }

    fn deprecated(&mut self, name: &'static str) {
        if !self.effects.deprecated.contains(&name) {
            self.effects.deprecated.push(name);
        }
    }

    fn issue(&mut self, level: Level, message: impl Into<String>) -> Spoken {
        let issue =
            Issue { level, message: message.into(), title: None, code: None, file: None, place: Default::default() };
        self.effects.issues.push(issue.clone());
        Spoken::Issue(issue)
    }

    fn fail(&mut self, message: String) -> Heard {
        self.effects.failed = true;
        let spoken = vec![self.issue(Level::Error, message)];
        Heard { spoken, ..Heard::default() }
    }
}

fn required(command: &Command, name: &str) -> Result<String, String> {
    command
        .property(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("Required field '{name}' is missing in ##[{}] command.", command.name))
}

fn on_or_off(data: &str) -> Result<bool, String> {
    match data.trim().to_ascii_lowercase().as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!(
            "Invalid echo command value. Possible values can be: 'on', 'off'. Current value is: '{other}'."
        )),
    }
}

/// `file` relative to `workspace`, where it lies below.
pub(super) fn below(file: &str, workspace: &str) -> String {
    let workspace = workspace.trim_end_matches('/');
    match file.strip_prefix(workspace).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) if !workspace.is_empty() => rest.to_owned(),
        _ => file.to_owned(),
    }
}

/// Whether a step may not set this variable for those that follow.
pub fn is_refused_env(key: &str) -> bool {
    key.eq_ignore_ascii_case("NODE_OPTIONS")
}

/// Why not.
pub fn refused_env(key: &str) -> String {
    format!("Can't store {key} output parameter using '$GITHUB_ENV' command.")
}
