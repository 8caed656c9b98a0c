//! `forgehand exec`: a pipeline of a checkout, here and now.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};
use futures_util::FutureExt as _;
use miette::IntoDiagnostic as _;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::config::load_or_explain;
use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines, render};
use crate::agent::signals::{Signal, Signals};
use crate::config::{Config, Locations, Overrides};
use crate::executor::on_failure::FailureHook;
use crate::executor::pipeline::Control;
use crate::executor::script::quote;
use crate::local::events::{Look, Narrator, Style};
use crate::local::house::Sandbox;
use crate::local::live::{Live, Size};
use crate::local::project::Project;
use crate::local::run::{self, Order, Report, RunError};
use crate::local::shell::ShellOnFailure;
use crate::local::{junit, summary, watch};
use crate::pipeline::schedule::PipelineEnd;
use crate::telemetry;

/// Where jobs live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExecutorArg {
    /// Containers.
    Docker,
    /// Processes of this machine, without any isolation.
    Host,
}

/// Arguments of `forgehand exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Ctrl-C once ends the jobs tidily, twice at once. SIGUSR1 pauses, and resumes. Artifacts land in .forgehand/artifacts, a folder a job.\n\n\
                        Exit codes: 0 success; 1 the pipeline failed; 2 the file or the arguments are wrong; 3 the \
                        environment is (no engine, no disk); 130 cancelled."
)]
pub struct ExecArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// Run only this job; may be given more than once. A manual job that is named runs.
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// With --job: also what these jobs need.
    #[arg(long, requires = "jobs")]
    needs: bool,
    /// The image of jobs that name none.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Where jobs run.
    #[arg(long, value_name = "KIND", default_value = "docker")]
    executor: ExecutorArg,
    /// How many jobs run at a time [default: twice the processors, at least 4].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: Option<u16>,
    /// Only the jobs of a matrix that have this value; may be given more than once.
    #[arg(long = "matrix", value_name = "KEY=VALUE", value_parser = pair)]
    matrix: Vec<(String, String)>,
    /// What the file asks for and a local run cannot give is an error.
    #[arg(long)]
    strict: bool,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Run it again whenever files change that git does not ignore; a run that is not over is ended first.
    #[arg(long)]
    watch: bool,
    /// When a step fails, open a shell where it ran; then try it again, go on, or give it up.
    #[arg(long)]
    shell_on_failure: bool,
    /// Write a JUnit report of the jobs.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs `forgehand exec`.
pub fn run(args: &ExecArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return Ok(verdict),
    };
    if args.shell_on_failure
        && let Some(problem) = no_shell(args)
    {
        return Ok(render::failed(&problem, Verdict::BadInput));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().into_diagnostic()?;
    let exec = Exec { args, config, locations, global, asked: CancellationToken::new(), now: Arc::default() };
    let _listener = exec.listen(&runtime).into_diagnostic()?;
    let verdict = runtime.block_on(if args.watch { exec.watch().boxed() } else { exec.once().boxed() });
    // Nothing that still reads or writes somewhere is waited for.
    runtime.shutdown_background();
    verdict
}

/// Why no shell can be opened when a step fails.
fn no_shell(args: &ExecArgs) -> Option<&'static str> {
    if args.json {
        Some("--shell-on-failure is for a person at a terminal, --json for a program: leave one of them out")
    } else if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        Some("--shell-on-failure needs a terminal: standard input and output must be one")
    } else if is_dumb() {
        Some("--shell-on-failure needs a terminal that can be drawn on, and TERM says that this one cannot: set TERM")
    } else {
        None
    }
}

/// Whether the terminal takes lines only.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

/// What is run now, for whoever ends it.
type Now = Arc<Mutex<Option<(Control, Arc<Narrator>)>>>;

/// One call of the command.
struct Exec<'a> {
    args: &'a ExecArgs,
    config: Config,
    locations: &'a Locations,
    global: &'a GlobalArgs,
    /// A signal has asked for the end.
    asked: CancellationToken,
    now: Now,
}

impl Exec<'_> {
    async fn once(&self) -> Result<Verdict, miette::Report> {
        let order = match order(self.args, &self.config, self.locations, self.global) {
            Ok(order) => order,
            Err(report) => {
                eprintln!("{report:?}");
                return Ok(Verdict::BadInput);
            }
        };
        let round = Round::new(self)?;
        self.tell(round.run(order).await, &round.narrator)
    }

    /// Runs it again and again, as files change, until a signal asks for the end.
    async fn watch(&self) -> Result<Verdict, miette::Report> {
        let project = Project::containing(&self.args.file.path)?;
        let own: Vec<&Path> = self.args.junit.as_deref().into_iter().collect();
        let mut changes = watch::start(&project, &own).await.map_err(|error| miette::miette!("{error}"))?;
        loop {
            let round = Round::new(self)?;
            let mut changed = None;
            match order(self.args, &self.config, self.locations, self.global) {
                Err(report) => eprintln!("{report:?}"),
                Ok(order) => {
                    let mut running = std::pin::pin!(round.run(order));
                    let ended = tokio::select! {
                        ended = &mut running => ended,
                        Some(files) = changes.recv() => {
                            changed = Some(files);
                            round.start_again().await;
                            running.await
                        }
                    };
                    if changed.is_none() || self.asked.is_cancelled() {
                        self.tell(ended, &round.narrator)?;
                    }
                }
            }
            if changed.is_none() && !self.asked.is_cancelled() {
                eprintln!("waiting for files to change; Ctrl-C ends");
                tokio::select! {
                    files = changes.recv() => changed = files,
                    () = self.asked.cancelled() => {}
                }
            }
            let Some(files) = changed.filter(|_| !self.asked.is_cancelled()) else { return Ok(Verdict::Cancelled) };
            round.narrator.changed(&files);
        }
    }

    /// Says how it went.
    fn tell(&self, ran: Result<Report, RunError>, narrator: &Narrator) -> Result<Verdict, miette::Report> {
        let report = match ran {
            Ok(report) => report,
            Err(RunError::Findings(found)) => {
                let (diagnostics, sources) = *found;
                pipelines::tell(diagnostics, &sources, self.global);
                return Ok(Verdict::BadInput);
            }
            Err(RunError::Nothing(note)) => {
                eprintln!("note: {note}");
                return Ok(Verdict::Success);
            }
            Err(RunError::Stopped) => return Ok(Verdict::Cancelled),
            Err(RunError::BadInput(message)) => return Ok(render::failed(&message, Verdict::BadInput)),
            Err(RunError::Environment(message)) => return Ok(render::failed(&message, Verdict::Environment)),
        };
        if let Some(path) = &self.args.junit {
            write(path, &junit::report(&report, &narrator.ended()))?;
        }
        let summary = summary::of(&report, &narrator.ended());
        // For people only; a program has had its events.
        let _ = if self.args.json { Ok(()) } else { std::io::stdout().write_all(summary.as_bytes()) };
        if report.end == PipelineEnd::Failed && !report.run.is_empty() {
            let command = debug_command(&report.run, self.global);
            eprintln!("note: `{command}` explains what failed and how to run it again");
        }
        Ok(match report.end {
            PipelineEnd::Success => Verdict::Success,
            PipelineEnd::Failed => Verdict::Failed,
            PipelineEnd::Cancelled => Verdict::Cancelled,
        })
    }

    /// Ctrl-C and its like, from now on.
    fn listen(&self, runtime: &Runtime) -> std::io::Result<AbortOnDropHandle<()>> {
        let _inside = runtime.enter();
        let mut signals = Signals::of_process()?;
        let (asked, now) = (self.asked.clone(), Arc::clone(&self.now));
        Ok(AbortOnDropHandle::new(runtime.spawn(async move {
            loop {
                match signals.recv().await {
                    Signal::Stop => {}
                    // SIGUSR1, which is no order to hand over where nobody follows.
                    Signal::HandOver => {
                        turn_pause(&now);
                        continue;
                    }
                    Signal::Reload => continue,
                }
                let words = match asked.is_cancelled() {
                    false => "ending the jobs tidily; once more ends them at once",
                    true => "ending the jobs at once",
                };
                asked.cancel();
                let now = now.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let Some((control, narrator)) = now {
                    control.stop();
                    narrator.ending(words);
                }
            }
        })))
    }
}

/// Pauses the run of now, or resumes it.
fn turn_pause(now: &Now) {
    let Some((control, narrator)) = now.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
    narrator.say(match control.turn_pause() {
        true => "paused: no further job is started, those that run go on; SIGUSR1 again resumes",
        false => "resumed",
    });
}

/// One run.
struct Round {
    control: Control,
    narrator: Arc<Narrator>,
    shell: Option<Arc<ShellOnFailure>>,
    now: Now,
    _log_stands_above: telemetry::Diverted,
}

impl Round {
    fn new(exec: &Exec<'_>) -> Result<Self, miette::Report> {
        let (control, narrator) = (Control::default(), Arc::new(narrator(exec.args, exec.global)));
        let shell = exec.args.shell_on_failure.then(|| ShellOnFailure::new(narrator.clone(), control.pauses().clone()));
        let shell = shell.transpose().into_diagnostic()?.map(Arc::new);
        let writer = Arc::clone(&narrator);
        Ok(Self {
            control,
            narrator,
            shell,
            now: Arc::clone(&exec.now),
            _log_stands_above: telemetry::divert(move |line| writer.log(line)),
        })
    }

    async fn run(&self, order: Order) -> Result<Report, RunError> {
        let order = Order { on_failure: self.shell.clone().map(|shell| shell as Arc<dyn FailureHook>), ..order };
        self.set_now(Some((self.control.clone(), Arc::clone(&self.narrator))));
        let includes = order.request.includes.clone();
        let ran = run::run(order, Arc::clone(&self.narrator), self.control.clone()).await;
        self.set_now(None);
        self.narrator.close();
        pipelines::note_includes(&includes);
        ran
    }

    /// Ends it tidily because another one is to begin. A shell that somebody is in is waited for.
    async fn start_again(&self) {
        if let Some(shell) = &self.shell {
            shell.is_closed().await;
        }
        self.control.stop();
        self.narrator.ending("files have changed: ending the jobs to start again");
    }

    fn set_now(&self, now: Option<(Control, Arc<Narrator>)>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// The command that looks at this run, as it has to be typed here.
fn debug_command(run: &str, global: &GlobalArgs) -> String {
    let state_dir = global.named_state_dir().map(|dir| format!("--state-dir {} ", quote(&dir.to_string_lossy())));
    format!("forgehand {}debug {run}", state_dir.unwrap_or_default())
}

fn order(
    args: &ExecArgs,
    config: &Config,
    locations: &Locations,
    global: &GlobalArgs,
) -> Result<Order, miette::Report> {
    let mut request = args.request.request()?;
    request.matrix.clone_from(&args.matrix);
    request.includes = args.file.include.includes(locations)?;
    let project = Project::containing(&args.file.path)?;
    let file = project.pipeline_at(&args.file.path, args.file.dialect.map(Into::into))?;
    if !project.is_git() {
        eprintln!(
            "note: {} is no git work tree: CI_COMMIT_* are empty, and all its files count",
            project.root().display()
        );
    }
    if args.executor == ExecutorArg::Host {
        eprintln!("note: jobs run as processes of this machine: their images and services are left out");
    }
    pipelines::note_unused(file.dialect, &request);
    let global = global.clone();
    let mut docker = config.docker_defaults().clone();
    docker.image = args.image.clone().or_else(|| config.exec.image.clone()).or(docker.image);
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    Ok(Order {
        project,
        file,
        request,
        jobs: args.jobs.clone(),
        with_needs: args.needs,
        sandbox: match args.executor {
            ExecutorArg::Docker => Sandbox::Docker,
            ExecutorArg::Host => Sandbox::Host,
        },
        image: docker.image.clone(),
        labels: config.exec.labels.clone(),
        cache_server: config.exec.cache_server,
        strict: args.strict,
        parallel: args.parallel.map_or_else(|| (2 * processors).max(4), usize::from),
        state_dir: locations.state_dir.clone(),
        docker,
        note: Box::new(|text| eprintln!("note: {text}")),
        on_failure: None,
        tell: Box::new(move |diagnostics, sources| pipelines::tell(diagnostics.clone(), sources, &global)),
    })
}

/// For programs, for people at a terminal, or for whoever reads lines.
fn narrator(args: &ExecArgs, global: &GlobalArgs) -> Narrator {
    let out = Box::new(std::io::stdout());
    if args.json {
        return Narrator::new(Style::Json, out);
    }
    if !std::io::stdout().is_terminal() {
        return Narrator::new(Style::Plain, out);
    }
    if is_dumb() {
        return Narrator::new(Style::Tame, out);
    }
    let look = Look { color: global.color_on(telemetry::may_color()), verbose: global.verbose > 0 };
    Narrator::live(Live::new(out, Box::new(|| Size::of(std::io::stdout())), look.color), look)
}

fn pair(text: &str) -> Result<(String, String), String> {
    crate::local::request::pair("value of a matrix", text).map_err(|error| error.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), miette::Report> {
    use miette::WrapErr as _;
    std::fs::write(path, text).into_diagnostic().wrap_err_with(|| format!("{} cannot be written", path.display()))
}
