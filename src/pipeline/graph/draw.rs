//! The graph for people: Mermaid, DOT, text, SVG.

use std::fmt::Write as _;

use super::build::{JobGraph, JobIndex};

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
    match format {
        Format::Mermaid => mermaid(graph),
        Format::Dot => dot(graph, title),
        Format::Ascii => ascii(graph),
        Format::Svg => svg(graph, title),
    }
}

/// Edges from what is waited for to what waits, without those that others imply by way of a whole stage.
fn edges(graph: &JobGraph) -> impl Iterator<Item = (JobIndex, JobIndex)> + '_ {
    graph.jobs().flat_map(|job| graph.needs(job).into_iter().map(move |need| (need, job)))
}

fn mermaid(graph: &JobGraph) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for job in graph.jobs() {
        let name: String = graph
            .name(job)
            .chars()
            .map(|c| match c {
                '"' => "#quot;".to_owned(),
                '#' => "#35;".to_owned(),
                '<' => "#lt;".to_owned(),
                '>' => "#gt;".to_owned(),
                c if c.is_control() => " ".to_owned(),
                c => c.to_string(),
            })
            .collect();
        let _ = writeln!(out, "    j{}[\"{name}\"]", job.0);
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(out, "    j{} --> j{}", from.0, to.0);
    }
    out
}

fn dot(graph: &JobGraph, title: &str) -> String {
    let quoted = |text: &str| {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    };
    let mut out = format!("digraph {} {{\n    rankdir=LR;\n    node [shape=box];\n", quoted(title));
    for job in graph.jobs() {
        let _ = writeln!(out, "    j{} [label={}];", job.0, quoted(graph.name(job)));
    }
    for (from, to) in edges(graph) {
        let _ = writeln!(out, "    j{} -> j{};", from.0, to.0);
    }
    out.push_str("}\n");
    out
}

/// A block a level, a line a job with what it waits for.
fn ascii(graph: &JobGraph) -> String {
    let clean = |job: &JobIndex| graph.name(*job).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let levels = graph.levels();
    let mut out = String::new();
    for (number, level) in levels.iter().enumerate() {
        let _ = writeln!(out, "{}", number + 1);
        for (at, job) in level.iter().enumerate() {
            let branch = if at + 1 == level.len() { "`--" } else { "|--" };
            let needs: Vec<String> = graph.needs(*job).iter().map(clean).collect();
            let after = if needs.is_empty() { String::new() } else { format!("  <- {}", needs.join(", ")) };
            let _ = writeln!(out, "{branch} {}{after}", clean(job));
        }
    }
    out
}

/// Where the boxes of the picture stand, in pixels.
mod metrics {
    pub(super) const CHARACTER: usize = 8;
    pub(super) const PADDING: usize = 24;
    pub(super) const BOX: usize = 32;
    pub(super) const ROW: usize = 48;
    pub(super) const GAP: usize = 80;
    pub(super) const MARGIN: usize = 20;
}

fn svg(graph: &JobGraph, title: &str) -> String {
    use metrics::{BOX, CHARACTER, GAP, MARGIN, PADDING, ROW};
    let levels = graph.levels();
    let width_of = |job: &JobIndex| graph.name(*job).chars().count() * CHARACTER + PADDING;
    let mut places = vec![(0, 0, 0); graph.len()];
    let mut x = MARGIN;
    for level in &levels {
        for (row, job) in level.iter().enumerate() {
            places[job.0] = (x, MARGIN + row * ROW, width_of(job));
        }
        x += level.iter().map(width_of).max().unwrap_or(0) + GAP;
    }
    let width = x.saturating_sub(GAP) + MARGIN;
    let height = MARGIN * 2 + levels.iter().map(Vec::len).max().unwrap_or(0) * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"13\">\n<title>{}</title>\n",
        xml(title)
    );
    for (from, to) in edges(graph) {
        let ((from_x, from_y, from_width), (to_x, to_y, _)) = (places[from.0], places[to.0]);
        let (x1, y1, y2) = (from_x + from_width, from_y + BOX / 2, to_y + BOX / 2);
        let (bend1, bend2) = (x1 + GAP / 2, to_x.saturating_sub(GAP / 2));
        let _ = writeln!(
            out,
            "<path d=\"M{x1},{y1} C{bend1},{y1} {bend2},{y2} {to_x},{y2}\" fill=\"none\" stroke=\"#888\"/>"
        );
    }
    for job in graph.jobs() {
        let (x, y, width) = places[job.0];
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX}\" rx=\"6\" fill=\"#f6f8fa\" stroke=\"#444\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x + width / 2,
            y + BOX / 2 + 5,
            xml(graph.name(job)),
        );
    }
    out.push_str("</svg>\n");
    out
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
