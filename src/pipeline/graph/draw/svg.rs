//! A picture: a column a level, a box a job.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::wires::{End, Wires};
use crate::pipeline::graph::build::{JobGraph, JobIndex};

const CHARACTER: usize = 8;
const PADDING: usize = 24;
const BOX: usize = 32;
const ROW: usize = 48;
const GAP: usize = 80;
const MARGIN: usize = 20;

/// A box, in pixels. A point is one without a size.
#[derive(Clone, Copy, Default)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// Where all of it stands.
struct Layout {
    jobs: Vec<Place>,
    points: Vec<Place>,
    width: usize,
    height: usize,
}

impl Layout {
    fn of(graph: &JobGraph, wires: &Wires) -> Self {
        let levels = graph.levels();
        let width_of = |job: &JobIndex| graph.name(*job).chars().count() * CHARACTER + PADDING;
        let mut jobs = vec![Place::default(); graph.len()];
        let mut x = MARGIN;
        for level in &levels {
            for (row, job) in level.iter().enumerate() {
                if let Some(place) = jobs.get_mut(job.0) {
                    *place = Place { x, y: MARGIN + row * ROW + BOX / 2, width: width_of(job) };
                }
            }
            x += level.iter().map(width_of).max().unwrap_or(0) + GAP;
        }
        let height = MARGIN * 2 + levels.iter().map(Vec::len).max().unwrap_or(0) * ROW;
        let point = |jobs: &[Place], first: Option<&JobIndex>| {
            let right = first.and_then(|job| jobs.get(job.0)).copied().unwrap_or_default();
            Place { x: right.x.saturating_sub(GAP / 2), y: right.y, width: 0 }
        };
        let points = wires.points.iter().map(|meeting| point(&jobs, meeting.to.first())).collect();
        Self { jobs, points, width: x.saturating_sub(GAP) + MARGIN, height }
    }

    fn place(&self, end: End) -> Place {
        let place = match end {
            End::Job(job) => self.jobs.get(job.0),
            End::Point(at) => self.points.get(at),
        };
        place.copied().unwrap_or_default()
    }
}

pub(super) fn svg(graph: &JobGraph, wires: &Wires, title: &str, marked: &HashSet<JobIndex>) -> String {
    let layout = Layout::of(graph, wires);
    let (width, height) = (layout.width, layout.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"monospace\" font-size=\"13\">\n<title>{}</title>\n<g fill=\"none\" stroke=\"#888\">\n",
        escaped(title)
    );
    for (from, to) in wires.all() {
        let (from, to) = (layout.place(from), layout.place(to));
        let start = from.x + from.width;
        let bend = (start + to.x) / 2;
        let _ = writeln!(out, "<path d=\"M{start},{} C{bend},{} {bend},{1} {},{1}\"/>", from.y, to.y, to.x);
    }
    for place in &layout.points {
        let _ = writeln!(out, "<circle cx=\"{}\" cy=\"{}\" r=\"3\"/>", place.x, place.y);
    }
    out.push_str("</g>\n<g fill=\"#f6f8fa\" stroke=\"#444\">\n");
    for (job, Place { x, y, width }) in graph.jobs().zip(&layout.jobs) {
        let top = y.saturating_sub(BOX / 2);
        let mark = if marked.contains(&job) { " stroke=\"#c00\"" } else { "" };
        let _ = writeln!(out, "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{BOX}\" rx=\"6\"{mark}/>");
    }
    out.push_str("</g>\n<g text-anchor=\"middle\">\n");
    for (job, Place { x, y, width }) in graph.jobs().zip(&layout.jobs) {
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", x + width / 2, y + 5, escaped(graph.name(job)));
    }
    out.push_str("</g>\n</svg>\n");
    out
}

fn escaped(text: &str) -> String {
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
