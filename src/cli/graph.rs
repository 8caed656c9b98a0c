//! `forgehand graph`: a pipeline's jobs and what they wait for, drawn.

use clap::{Args, ValueEnum};

use super::pipeline_args::{FileArgs, RequestArgs};
use super::{GlobalArgs, Verdict, pipelines, render};
use crate::config::Locations;
use crate::pipeline::graph::{Durations, draw};

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    request: RequestArgs,
    /// How it is drawn.
    #[arg(long, value_name = "FORMAT", default_value = "ascii")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For Markdown on forges.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// For a terminal.
    Ascii,
    /// A picture.
    Svg,
}

/// Prints the drawing.
pub fn run(args: &GraphArgs, locations: &Locations, global: &GlobalArgs) -> Result<Verdict, miette::Report> {
    let Some(read) = pipelines::plan(&args.file, &args.request, locations, global) else {
        return Ok(Verdict::BadInput);
    };
    let plan = read.value;
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let format = match args.format {
        Format::Mermaid => draw::Format::Mermaid,
        Format::Dot => draw::Format::Dot,
        Format::Ascii => draw::Format::Ascii,
        Format::Svg => draw::Format::Svg,
    };
    // Where nothing is known of how long jobs take, any chain would be as good as another.
    let durations = Durations::estimated(&plan.definition);
    let critical = durations.are_known().then(|| plan.graph.critical_path(&durations).jobs);
    let drawing = draw::draw_marked(&plan.graph, &plan.definition.name, format, &critical.unwrap_or_default());
    Ok(render::result(&drawing))
}
