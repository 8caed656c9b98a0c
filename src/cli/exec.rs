//! `forgehand exec`: a pipeline of a checkout, here and now.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use miette::IntoDiagnostic as _;

use super::config::load_or_explain;
use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines, render};
use crate::agent::signals::{Signal, Signals};
use crate::config::{Config, Locations, Overrides};
use crate::executor::pipeline::Control;
use crate::executor::script::quote;
use crate::local::events::{Narrator, Style};
use crate::local::house::Sandbox;
use crate::local::project::Project;
use crate::local::run::{self, Order, RunError};
use crate::local::{junit, summary};
use crate::pipeline::schedule::PipelineEnd;

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
    after_help = "Ctrl-C once ends the jobs tidily, twice at once. Artifacts land in .forgehand/artifacts, a folder a job.\n\n\
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
    let order = match order(args, &config, locations, global) {
        Ok(order) => order,
        Err(report) => {
            eprintln!("{report:?}");
            return Ok(Verdict::BadInput);
        }
    };
    let includes = order.request.includes.clone();
    let style = if args.json { Style::Json } else { Style::Plain };
    let narrator = Arc::new(Narrator::new(style, Box::new(std::io::stdout())));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().into_diagnostic()?;
    let ran = runtime.block_on(async {
        let control = Control::default();
        let _listener = listen(control.clone())?;
        Ok::<_, std::io::Error>(run::run(order, narrator.clone(), control).await)
    });
    pipelines::note_includes(&includes);
    let report = match ran.into_diagnostic()? {
        Ok(report) => report,
        Err(RunError::Findings(found)) => {
            let (diagnostics, sources) = *found;
            pipelines::tell(&diagnostics, &sources, global);
            return Ok(Verdict::BadInput);
        }
        Err(RunError::Nothing(note)) => {
            eprintln!("note: {note}");
            return Ok(Verdict::Success);
        }
        Err(RunError::BadInput(message)) => return Ok(render::failed(&message, Verdict::BadInput)),
        Err(RunError::Environment(message)) => return Ok(render::failed(&message, Verdict::Environment)),
    };
    if let Some(path) = &args.junit {
        write(path, &junit::report(&report, &narrator.ended()))?;
    }
    let summary = summary::of(&report, &narrator.ended());
    // For people only; a program has had its events.
    let _ = if args.json { Ok(()) } else { std::io::stdout().write_all(summary.as_bytes()) };
    if report.end == PipelineEnd::Failed && !report.run.is_empty() {
        eprintln!("note: `{}` explains what failed and how to run it again", debug_command(&report.run, global));
    }
    Ok(match report.end {
        PipelineEnd::Success => Verdict::Success,
        PipelineEnd::Failed => Verdict::Failed,
        PipelineEnd::Cancelled => Verdict::Cancelled,
    })
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
        strict: args.strict,
        parallel: args.parallel.map_or_else(|| (2 * processors).max(4), usize::from),
        state_dir: locations.state_dir.clone(),
        docker,
        note: Box::new(|text| eprintln!("note: {text}")),
        tell: Box::new(move |diagnostics, sources| pipelines::tell(diagnostics, sources, &global)),
    })
}

/// Ctrl-C and its like, from now on.
fn listen(control: Control) -> std::io::Result<tokio_util::task::AbortOnDropHandle<()>> {
    let mut signals = Signals::of_process()?;
    Ok(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            if signals.recv().await == Signal::Stop {
                control.stop();
            }
        }
    })))
}

fn pair(text: &str) -> Result<(String, String), String> {
    crate::local::request::pair("value of a matrix", text).map_err(|error| error.to_string())
}

fn write(path: &Path, text: &str) -> Result<(), miette::Report> {
    use miette::WrapErr as _;
    std::fs::write(path, text).into_diagnostic().wrap_err_with(|| format!("{} cannot be written", path.display()))
}
