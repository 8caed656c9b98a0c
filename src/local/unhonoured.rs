//! What a pipeline asks for and a local run cannot give, said once before it starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is not honoured and why, with the jobs that ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unhonoured {
    found: BTreeMap<(String, String), Vec<String>>,
}

/// Jobs that a line names.
const NAMED: usize = 5;

impl Unhonoured {
    /// `what`, as it is written in the file, is not honoured in `job`: `why`, and what happens in its place.
    pub fn add(&mut self, what: impl Into<String>, why: impl Into<String>, job: &str) {
        let jobs = self.found.entry((what.into(), why.into())).or_default();
        if jobs.last().is_none_or(|last| last != job) {
            jobs.push(job.to_owned());
        }
    }

    /// Whether everything is honoured.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// A line for each, without a newline at the end.
    pub fn to_text(&self) -> String {
        let mut text = String::from("not everything that this file asks for is done in a local run:");
        for ((what, why), jobs) in &self.found {
            let named: Vec<String> = jobs.iter().take(NAMED).map(|job| format!("`{job}`")).collect();
            let more = jobs.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            // Writing to a text does not fail.
            let _ = write!(text, "\n  `{what}` of {}{more}: {why}", named.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_for_all_jobs() {
        let mut unhonoured = Unhonoured::default();
        for number in 0..7 {
            unhonoured.add("release", "no release is made", &format!("j{number}"));
        }
        unhonoured.add("environment", "nothing is told a forge", "j0");
        let text = unhonoured.to_text();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("`release` of `j0`, `j1`, `j2`, `j3`, `j4` and 2 more: no release is made"), "{text}");
    }
}
