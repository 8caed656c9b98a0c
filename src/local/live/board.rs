//! What the live view shows: the jobs at work, a line each, and one for all. Knows no terminal and no clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::text::{columns, fit, last_writing, pad, tame};
use crate::local::events::seconds;
use crate::pipeline::JobStatus;

/// The widest that names of jobs and steps are shown.
const WIDEST_JOB: usize = 32;
const WIDEST_STEP: usize = 24;
/// How much of a job's last line is kept, in bytes.
const KEPT: usize = 1024;
/// The pictures of what goes on.
const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const SPINNER_MS: u128 = 100;

/// What is known before it begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    /// How many jobs there are, at least.
    pub jobs: usize,
    /// How long each of them took before, by name.
    pub durations: HashMap<String, Duration>,
    /// How long all of it took before.
    pub total: Option<Duration>,
}

/// The state of a run as people want it.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    expected: Expected,
    jobs: Vec<Row>,
    ended: usize,
    failed: usize,
    color: bool,
    is_ending: bool,
}

/// A job that runs or waits.
#[derive(Debug)]
struct Row {
    job: String,
    began: Instant,
    steps: Vec<String>,
    last: String,
    /// Until when it waits.
    waits: Option<Instant>,
}

impl Board {
    /// Nothing has begun.
    pub fn new(now: Instant, color: bool) -> Self {
        Self {
            began: now,
            expected: Expected::default(),
            jobs: Vec::new(),
            ended: 0,
            failed: 0,
            color,
            is_ending: false,
        }
    }

    /// What is to come.
    pub fn expect(&mut self, expected: Expected) {
        self.expected = expected;
    }

    /// The run is being ended.
    pub fn ending(&mut self) {
        self.is_ending = true;
    }

    /// A job begins, perhaps again.
    pub fn started(&mut self, job: &str, now: Instant) {
        match self.row(job) {
            Some(row) => {
                row.waits = None;
                row.steps.clear();
            }
            None => self.jobs.push(Row {
                job: job.to_owned(),
                began: now,
                steps: Vec::new(),
                last: String::new(),
                waits: None,
            }),
        }
    }

    /// A job waits for its delay or its next try.
    pub fn waits(&mut self, job: &str, delay: Duration, reason: &str, now: Instant) {
        if self.row(job).is_none() {
            self.started(job, now);
        }
        if let Some(row) = self.row(job) {
            row.steps.clear();
            row.waits = Some(now + delay);
            row.last = reason.to_owned();
        }
    }

    /// A step of a job begins.
    pub fn step_started(&mut self, job: &str, step: &str) {
        if let Some(row) = self.row(job) {
            row.steps.push(step.to_owned());
        }
    }

    /// A step of a job has ended.
    pub fn step_ended(&mut self, job: &str, step: &str) {
        if let Some(row) = self.row(job)
            && let Some(at) = row.steps.iter().rposition(|running| running == step)
        {
            row.steps.remove(at);
        }
    }

    /// A job has written a line.
    pub fn line(&mut self, job: &str, text: &str) {
        let Some(row) = self.row(job) else { return };
        let shown = last_writing(text);
        if shown.trim().is_empty() {
            return;
        }
        row.last.clear();
        row.last.push_str(&shown[..shown.floor_char_boundary(KEPT)]);
    }

    /// A job has its final status.
    pub fn ended(&mut self, job: &str, status: JobStatus) {
        self.jobs.retain(|row| row.job != job);
        self.ended += 1;
        self.failed += usize::from(status == JobStatus::Failed);
    }

    fn row(&mut self, job: &str) -> Option<&mut Row> {
        self.jobs.iter_mut().find(|row| row.job == job)
    }

    /// The lines to draw, at most `rows` of at most `columns`.
    pub fn lines(&self, now: Instant, columns: usize, rows: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let room = rows.saturating_sub(1);
        let shown = if self.jobs.len() <= room { self.jobs.len() } else { room.saturating_sub(1) };
        let (job, step) = self.widths(shown);
        for row in self.jobs.iter().take(shown) {
            lines.push(fit(&self.of_job(row, now, (job, step)), columns));
        }
        let hidden = self.jobs.len() - shown;
        if hidden > 0 && room > 0 {
            lines.push(fit(&self.dim(&format!("… and {hidden} more")), columns));
        }
        lines.push(fit(&self.of_all(now), columns));
        lines
    }

    fn widths(&self, shown: usize) -> (usize, usize) {
        let widest = |texts: &mut dyn Iterator<Item = usize>, most: usize| texts.max().unwrap_or(0).min(most);
        let jobs = || self.jobs.iter().take(shown);
        (
            widest(&mut jobs().map(|row| columns(&tame(&row.job, false))), WIDEST_JOB),
            widest(&mut jobs().filter_map(|row| row.steps.last()).map(|step| columns(&tame(step, false))), WIDEST_STEP),
        )
    }

    fn of_job(&self, row: &Row, now: Instant, (job, step): (usize, usize)) -> String {
        let (status, time) = match row.waits {
            Some(until) => {
                (self.paint("33", "waiting"), format!("in {}", seconds(until.saturating_duration_since(now))))
            }
            None => (self.paint("36", "running"), self.time_of(row, now)),
        };
        let name = pad(&tame(&row.job, false), job);
        let step = match step {
            0 => String::new(),
            width => format!("  {}", pad(&tame(row.steps.last().map_or("", String::as_str), false), width)),
        };
        let last = tame(&row.last, self.color);
        format!("{status}  {name}{step}  {time:>7}  {}", self.dim(&last))
    }

    fn time_of(&self, row: &Row, now: Instant) -> String {
        let passed = seconds(now.saturating_duration_since(row.began));
        match self.expected.durations.get(&row.job) {
            Some(usual) => format!("{passed} of ~{}", seconds(*usual)),
            None => passed,
        }
    }

    fn of_all(&self, now: Instant) -> String {
        let passed = now.saturating_duration_since(self.began);
        let spinner = usize::try_from(passed.as_millis() / SPINNER_MS).unwrap_or(0) % SPINNER.len();
        let picture = SPINNER.get(spinner).copied().unwrap_or(' ');
        let waiting = self.jobs.iter().filter(|row| row.waits.is_some()).count();
        let running = self.jobs.len() - waiting;
        let all = self.expected.jobs.max(self.ended + self.jobs.len());
        let mut parts = vec![format!("{} of {all} jobs", self.ended)];
        if self.failed > 0 {
            parts.push(self.paint("31", &format!("{} failed", self.failed)));
        }
        parts.push(format!("{running} running"));
        if waiting > 0 {
            parts.push(format!("{waiting} waiting"));
        }
        parts.push(seconds(passed));
        let left = self.expected.total.map(|total| total.saturating_sub(passed)).filter(|left| !left.is_zero());
        if self.is_ending {
            parts.push("ending".to_owned());
        } else if let Some(left) = left {
            parts.push(format!("about {} left", seconds(left)));
        }
        format!("{picture} {}", parts.join(", "))
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// In the background, whatever colours it has itself.
    fn dim(&self, text: &str) -> String {
        if text.contains('\x1b') { text.to_owned() } else { self.paint("2", text) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn board(jobs: usize) -> (Board, Instant) {
        let now = Instant::now();
        let mut board = Board::new(now, false);
        for number in 0..jobs {
            board.started(&format!("job {number}"), now);
        }
        (board, now)
    }

    #[test]
    fn a_line_a_job_and_one_for_all() {
        let (mut board, now) = board(2);
        board.expect(Expected {
            jobs: 5,
            durations: HashMap::from([("job 1".to_owned(), 30 * SECOND)]),
            total: Some(100 * SECOND),
        });
        board.step_started("job 0", "script");
        board.line("job 0", "compiling\r\x1b[2Kcompiling 日本");
        board.line("job 0", "  ");
        board.ended("gone", JobStatus::Failed);
        assert_eq!(
            board.lines(now + 10 * SECOND, 80, 24),
            [
                "running  job 0  script    10.0s  compiling 日本",
                "running  job 1          10.0s of ~30.0s  ",
                "⠋ 1 of 5 jobs, 1 failed, 2 running, 10.0s, about 1m30s left",
            ]
        );
    }

    #[test]
    fn one_that_waits_says_why_and_how_long() {
        let (mut board, now) = board(1);
        board.waits("job 0", 5 * SECOND, "it is tried again", now);
        let lines = board.lines(now + SECOND, 80, 24);
        assert_eq!(lines[0], "waiting  job 0  in 4.0s  it is tried again");
        board.started("job 0", now + 5 * SECOND);
        assert!(board.lines(now, 80, 24)[0].starts_with("running  job 0"));
    }

    #[test]
    fn more_jobs_than_rows_and_less_columns_than_words() {
        let (mut board, now) = board(100);
        board.line("job 0", &"日".repeat(200));
        for rows in 1..110 {
            for columns in [1, 7, 20, 200] {
                let lines = board.lines(now, columns, rows);
                assert!(lines.len() <= rows, "{rows}");
                assert!(lines.iter().all(|line| super::columns(line) <= columns), "{columns}");
            }
        }
        assert_eq!(board.lines(now, 80, 10)[8], "… and 92 more");
        assert_eq!(board.lines(now, 80, 1), ["⠋ 0 of 100 jobs, 100 running, 0.0s"]);
    }
}
