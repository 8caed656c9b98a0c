//! `forgehand expand`: the resolved definition of a pipeline file as YAML.

use clap::Args;

use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines};
use crate::config::Locations;
use crate::local::front::{self, Expand};

/// Arguments of `expand`.
#[derive(Debug, Args)]
pub struct ExpandArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// Only this job; may be given more than once.
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// GitLab: stop where the files are merged, before jobs are built; `extends` stays.
    #[arg(long)]
    merged: bool,
}

/// Prints the definition. Secrets are never in it.
pub fn run(args: &ExpandArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    let how = Expand { jobs: args.jobs.clone(), merged: args.merged };
    let read = pipelines::read(&args.file, &args.request, locations, global, |project, file, request| {
        front::expand(project, file, request, &how)
    });
    match read {
        Some(read) => Ok(pipelines::print(&read.value, read.bytes)),
        None => Ok(Verdict::BadInput),
    }
}
