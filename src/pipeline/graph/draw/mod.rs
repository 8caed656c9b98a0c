//! The graph for people: Mermaid, DOT, text, SVG.
//!
//! Where a whole stage waits for a whole stage the lines of many jobs meet in a point, so that a drawing stays linear in its
//! jobs and needs.

mod svg;
mod wires;

use std::collections::HashSet;
use std::fmt::Write as _;

use super::build::{JobGraph, JobIndex};
use wires::{End, Wires};

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For Markdown on forges.
    Mermaid,
    /// For Graphviz.
    Dot,
    /// For a terminal.
    Ascii,
    /// A picture.
    Svg,
}

/// The graph in `format`; ends with a line break.
pub fn draw(graph: &JobGraph, title: &str, format: Format) -> String {
    draw_marked(graph, title, format, &[])
}

/// The same with some jobs marked: those of a [critical path](JobGraph::critical_path).
pub fn draw_marked(graph: &JobGraph, title: &str, format: Format, marked: &[JobIndex]) -> String {
    let wires = Wires::of(graph);
    let marked: HashSet<JobIndex> = marked.iter().copied().collect();
    match format {
        Format::Mermaid => mermaid(graph, &wires, &marked),
        Format::Dot => dot(graph, &wires, title, &marked),
        Format::Ascii => ascii(graph, &wires, &marked),
        Format::Svg => svg::svg(graph, &wires, title, &marked),
    }
}

/// A job or a point in Mermaid and DOT.
fn id(end: End) -> String {
    match end {
        End::Job(job) => format!("j{}", job.0),
        End::Point(at) => format!("p{at}"),
    }
}

fn mermaid(graph: &JobGraph, wires: &Wires, marked: &HashSet<JobIndex>) -> String {
    let shown = |text: &str| -> String {
        text.chars()
            .map(|c| match c {
                '"' => "#quot;".to_owned(),
                '#' => "#35;".to_owned(),
                '<' => "#lt;".to_owned(),
                '>' => "#gt;".to_owned(),
                c if c.is_control() => " ".to_owned(),
                c => c.to_string(),
            })
            .collect()
    };
    let mut out = "flowchart LR\n".to_owned();
    for job in graph.jobs() {
        let _ = writeln!(out, "    j{}[\"{}\"]", job.0, shown(graph.name(job)));
    }
    for (at, point) in wires.points.iter().enumerate() {
        let _ = writeln!(out, "    p{at}([\"{}\"])", shown(&point.stage));
    }
    for (from, to) in wires.all() {
        let _ = writeln!(out, "    {} --> {}", id(from), id(to));
    }
    let marked: Vec<String> =
        graph.jobs().filter(|job| marked.contains(job)).map(|job| format!("j{}", job.0)).collect();
    if !marked.is_empty() {
        let _ = writeln!(
            out,
            "    classDef critical stroke:#c00,stroke-width:3px\n    class {} critical",
            marked.join(",")
        );
    }
    out
}

fn dot(graph: &JobGraph, wires: &Wires, title: &str, marked: &HashSet<JobIndex>) -> String {
    let quoted = |text: &str| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let mut out = format!("digraph {} {{\n    rankdir=LR;\n    node [shape=box];\n", quoted(title));
    for job in graph.jobs() {
        let mark = if marked.contains(&job) { ", color=red, penwidth=2" } else { "" };
        let _ = writeln!(out, "    j{} [label={}{mark}];", job.0, quoted(graph.name(job)));
    }
    for at in 0..wires.points.len() {
        let _ = writeln!(out, "    p{at} [shape=point];");
    }
    for (from, to) in wires.all() {
        let _ = writeln!(out, "    {} -> {};", id(from), id(to));
    }
    out.push_str("}\n");
    out
}

/// A block a level, a line a job with what it waits for; an asterisk marks a job.
fn ascii(graph: &JobGraph, wires: &Wires, marked: &HashSet<JobIndex>) -> String {
    let clean = |text: &str| -> String { text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect() };
    let shown = |end: &End| match end {
        End::Job(job) => clean(graph.name(*job)),
        End::Point(at) => {
            let stage = wires.points.get(*at).map(|point| clean(&point.stage)).unwrap_or_default();
            format!("all of stage {stage}")
        }
    };
    let line = |job: JobIndex| {
        let needs: Vec<String> = wires.to(job).iter().map(shown).collect();
        let after = if needs.is_empty() { String::new() } else { format!("  <- {}", needs.join(", ")) };
        let mark = if marked.contains(&job) { " *" } else { "" };
        format!("{}{mark}{after}", clean(graph.name(job)))
    };
    let mut out = String::new();
    for (number, level) in graph.levels().iter().enumerate() {
        let _ = writeln!(out, "{}", number + 1);
        for (at, job) in level.iter().enumerate() {
            let branch = if at + 1 == level.len() { "`--" } else { "|--" };
            let _ = writeln!(out, "{branch} {}", line(*job));
        }
    }
    out
}
