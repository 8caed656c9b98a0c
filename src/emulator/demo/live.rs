//! The live view: log lines on standard output, progress on the terminal's standard error (where there is one).

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::table::{duration, paint};
use crate::emulator::{JobView, PipelineView};
use crate::pipeline::JobStatus;

/// How far each job's log has been shown.
pub type Offsets = HashMap<u64, u64>;

/// What has been shown of a pipeline.
#[derive(Debug)]
pub struct Live {
    offsets: Offsets,
    states: HashMap<u64, &'static str>,
    pending: HashMap<u64, Vec<u8>>,
    progress: Option<(MultiProgress, ProgressBar)>,
    bars: HashMap<u64, ProgressBar>,
    width: usize,
}

impl Live {
    /// Nothing shown yet.
    pub fn new() -> Self {
        let progress = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style("{bar:30.green} {pos}/{len} jobs  {elapsed}"));
            (all, bar)
        });
        let (states, pending, bars) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { offsets: Offsets::new(), states, pending, progress, bars, width: 0 }
    }

    /// How far each job's log has been shown.
    pub fn offsets(&self) -> Offsets {
        self.offsets.clone()
    }

    /// A line of the demo's own.
    pub fn say(&self, text: &str) {
        self.print(&format!("{} {text}", paint("36;1", "demo")));
    }

    /// Shows what is new.
    pub fn update(&mut self, view: &PipelineView, pieces: Vec<(u64, Vec<u8>)>) {
        self.width = view.jobs.iter().map(|job| job.name.chars().count()).max().unwrap_or_default();
        for (id, bytes) in pieces {
            let Some(job) = view.jobs.iter().find(|job| job.id == id) else { continue };
            *self.offsets.entry(id).or_default() += bytes.len() as u64;
            self.pending.entry(id).or_default().extend_from_slice(&bytes);
            self.show_log(job);
        }
        for job in &view.jobs {
            self.show_state(job);
        }
        if let Some((_, bar)) = &self.progress {
            bar.set_length(view.jobs.len() as u64);
            bar.set_position(view.jobs.iter().filter(|job| job.has_ended()).count() as u64);
        }
    }

    /// Takes the progress off the terminal.
    pub fn finish(&mut self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
        if let Some((_, bar)) = &self.progress {
            bar.finish_and_clear();
        }
    }

    fn show_log(&mut self, job: &JobView) {
        let Some(pending) = self.pending.get_mut(&job.id) else { return };
        let mut bytes = std::mem::take(pending);
        // The last line may be half there; after the end nothing more comes.
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            _ if job.has_ended() => bytes.len(),
            Some(at) => at + 1,
            None => 0,
        };
        *pending = bytes.split_off(whole);
        let prefix = paint("34", &format!("{:width$} |", job.name, width = self.width));
        for line in String::from_utf8_lossy(&bytes).lines() {
            let text = readable(line);
            if !text.is_empty() {
                self.print(&format!("{prefix} {text}"));
            }
        }
    }

    fn show_state(&mut self, job: &JobView) {
        let before = self.states.insert(job.id, job.state);
        if before != Some(job.state) && (job.status == JobStatus::Running || job.has_ended()) {
            let took = job.duration.filter(|_| job.has_ended()).map(|time| format!(" after {}", duration(time)));
            self.say(&format!("job {} is {}{}", job.name, job.state, took.unwrap_or_default()));
        }
        let Some((all, _)) = &self.progress else { return };
        if job.status == JobStatus::Running && !self.bars.contains_key(&job.id) {
            let bar = all.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {msg}  {elapsed}"));
            bar.set_message(job.name.clone());
            self.bars.insert(job.id, bar);
        }
        if let Some(bar) = self.bars.get(&job.id) {
            bar.tick();
            if job.has_ended() {
                bar.finish_and_clear();
            }
        }
    }

    fn print(&self, line: &str) {
        // A closed pipe is no failure of the pipeline: the exit code says how that went.
        let write = || {
            let _ = writeln!(std::io::stdout(), "{line}");
        };
        match &self.progress {
            Some((all, _)) => all.suspend(write),
            None => write(),
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A line of a job's log for people: without its time, section markers and escape codes.
fn readable(line: &str) -> String {
    let line = without_time(line);
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['\x1b', '\r']) {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        rest = &escape[1..];
        if let Some(code) = escape.strip_prefix("\x1b[") {
            let end = code.find(|c: char| c.is_ascii_alphabetic()).map_or(code.len(), |end| end + 1);
            rest = &code[end..];
        } else if escape.starts_with('\r') {
            // What stood before is overwritten on a terminal, and a marker is not for people.
            out.clear();
        }
    }
    out.push_str(rest);
    out.trim_end().to_owned()
}

/// A line without the 32 bytes of time and stream, where it begins with them.
fn without_time(line: &str) -> &str {
    let bytes = line.as_bytes();
    let has_time = bytes.len() >= 32
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && (bytes[10], bytes[26], bytes[27]) == (b'T', b'Z', b' ')
        && matches!(bytes[30], b'O' | b'E')
        && matches!(bytes[31], b' ' | b'+');
    if has_time { line.get(32..).unwrap_or(line) } else { line }
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn lines_are_for_people() {
        assert_eq!(readable("2026-08-22T10:11:12.123456Z 01O \x1b[32;1m$ make\x1b[0;m"), "$ make");
        assert_eq!(readable("section_start:1:get_sources\r\x1b[0K"), "");
        assert_eq!(readable("section_end:1:a\r\x1b[0Ksection_start:1:b\r\x1b[0K\x1b[36;1mTitle\x1b[0;m"), "Title");
        assert_eq!(readable("10%\r100%"), "100%");
        assert_eq!(readable("plain"), "plain");
    }
}
