//! What became of a job against what was expected, by the rules of the cases' format.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use forgehand::emulator::JobView;
use forgehand::emulator::world::job::Artifact;

use super::case::{Entry, Expected, ExpectedArtifact};
use crate::support::JobLog;

/// Everything that is not as expected, each as a readable text.
pub fn differences(expected: &Expected, job: &JobView, log: &JobLog) -> Vec<String> {
    let mut found = Differences { expected, list: Vec::new() };
    found.value("state", &expected.state.as_str(), &job.state);
    if expected.state == "failed" {
        found.value("failure_reason", &expected.failure_reason, &job.failure_reason);
        found.value("exit_code", &expected.exit_code, &job.exit_code);
    }
    found.lines("output", &expected.output, log.output("step_script"));
    found.lines("after_output", &expected.after_output, log.output("after_script"));
    found.lines("echo", &expected.echo, log.echo("step_script"));
    found.lines("after_echo", &expected.after_echo, log.echo("after_script"));
    for (section, lines) in &expected.other_steps {
        found.lines(section, lines, log.output(section));
    }
    found.sections(log);
    if let Some(timestamps) = expected.timestamps {
        found.value("timestamps", &timestamps, &log.has_timestamps);
    }
    found.artifacts(&job.artifacts);
    if !found.is_free("sections") {
        found.list.extend(log.faults.iter().map(|fault| format!("section {fault}")));
    }
    if !found.list.is_empty() {
        found.list.push(format!("its log:\n{}", indent(&log.text)));
    }
    found.list
}

struct Differences<'a> {
    expected: &'a Expected,
    list: Vec<String>,
}

impl Differences<'_> {
    fn is_free(&self, field: &str) -> bool {
        self.expected.any.iter().any(|name| name == field)
    }

    fn value<T: PartialEq + Debug>(&mut self, field: &str, expected: &T, seen: &T) {
        if !self.is_free(field) && expected != seen {
            self.list.push(format!("{field}: expected {expected:?}, got {seen:?}"));
        }
    }

    fn lines(&mut self, field: &str, expected: &[String], mut seen: Vec<String>) {
        if self.is_free(field) {
            return;
        }
        let mut expected = expected.to_vec();
        if self.expected.sorted.iter().any(|name| name == field) {
            expected.sort();
            seen.sort();
        }
        if let [only] = &expected[..]
            && is_summary(only)
        {
            seen = vec![summary(&seen)];
        }
        if expected != seen {
            self.list.push(format!("{field}:\n{}", diff(&expected, &seen)));
        }
    }

    fn sections(&mut self, log: &JobLog) {
        let mut expected: Vec<String> = self.expected.sections.clone();
        let mut seen: Vec<String> = log.section_names().into_iter().map(str::to_owned).collect();
        // A case that wants output of a step that its recorded runner never reached says that ours is to do better.
        if !self.expected.output.is_empty() && !expected.iter().any(|name| name == "step_script") {
            return;
        }
        // Where it is free whether something is uploaded, so is the section for it.
        if self.is_free("artifacts") {
            for list in [&mut expected, &mut seen] {
                list.retain(|name| !name.starts_with("upload_artifacts_on_"));
            }
        }
        self.lines("sections", &expected, seen);
    }

    fn artifacts(&mut self, uploaded: &[Artifact]) {
        if self.is_free("artifacts") {
            return;
        }
        for expected in &self.expected.artifacts {
            let Some(artifact) = uploaded.iter().find(|artifact| artifact.artifact_type == expected.artifact_type)
            else {
                self.list.push(format!("artifacts: no `{}` was uploaded", expected.artifact_type));
                continue;
            };
            self.artifact(expected, artifact);
        }
        let wanted =
            |artifact: &&Artifact| self.expected.artifacts.iter().any(|e| e.artifact_type == artifact.artifact_type);
        let extra: Vec<&str> = uploaded
            .iter()
            .filter(|artifact| !wanted(artifact))
            .map(|artifact| artifact.artifact_type.as_str())
            .collect();
        if !extra.is_empty() {
            self.list.push(format!("artifacts: uploaded but not expected: {}", extra.join(", ")));
        }
    }

    fn artifact(&mut self, expected: &ExpectedArtifact, artifact: &Artifact) {
        let kind = &expected.artifact_type;
        if (&expected.format, &expected.filename) != (&artifact.format, &artifact.filename) {
            self.list.push(format!(
                "artifact `{kind}`: expected {} as {}, got {} as {}",
                expected.filename, expected.format, artifact.filename, artifact.format
            ));
        }
        if let Some(entries) = &expected.entries {
            match zip_entries(&artifact.path) {
                Ok(seen) if seen == *entries => {}
                Ok(seen) => {
                    let text = |entries: &BTreeMap<String, Entry>| -> Vec<String> {
                        entries.iter().map(|(name, entry)| format!("{name}: {entry:?}")).collect()
                    };
                    self.list.push(format!("artifact `{kind}`:\n{}", diff(&text(entries), &text(&seen))));
                }
                Err(error) => self.list.push(format!("artifact `{kind}` cannot be read: {error}")),
            }
        }
        if let Some(text) = &expected.text {
            match unpacked(artifact) {
                Ok(seen) if seen == *text => {}
                Ok(seen) => self.list.push(format!("artifact `{kind}`: expected {text:?}, got {seen:?}")),
                Err(error) => self.list.push(format!("artifact `{kind}` cannot be read: {error}")),
            }
        }
    }
}

/// `20000 lines, crc32 5a9aadd1`, as long output stands in the cases.
fn is_summary(line: &str) -> bool {
    let parsed = line.split_once(" lines, crc32 ").map(|(count, crc)| (count.parse::<usize>().is_ok(), crc.len()));
    parsed == Some((true, 8))
}

fn summary(lines: &[String]) -> String {
    format!("{} lines, crc32 {:08x}", lines.len(), crc32fast::hash(lines.join("\n").as_bytes()))
}

fn diff(expected: &[String], seen: &[String]) -> String {
    let shown = |lines: &[String]| -> Vec<String> { lines.iter().map(|line| format!("{line:?}")).collect() };
    let (expected, seen) = (shown(expected), shown(seen));
    let same_head = expected.iter().zip(&seen).take_while(|(a, b)| a == b).count();
    let rest = (&expected[same_head..], &seen[same_head..]);
    let same_tail = rest.0.iter().rev().zip(rest.1.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = String::new();
    for line in &expected[..same_head] {
        text += &format!("      {line}\n");
    }
    for line in &expected[same_head..expected.len() - same_tail] {
        text += &format!("    - {line}\n");
    }
    for line in &seen[same_head..seen.len() - same_tail] {
        text += &format!("    + {line}\n");
    }
    for line in &expected[expected.len() - same_tail..] {
        text += &format!("      {line}\n");
    }
    text.trim_end().to_owned()
}

fn indent(text: &str) -> String {
    // The end is what tells; a log of twenty thousand lines is not for people.
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(60);
    lines[from..].iter().map(|line| format!("    | {line}\n")).collect()
}

/// The entries of a zip file.
pub fn zip_entries(path: &Path) -> Result<BTreeMap<String, Entry>, Box<dyn std::error::Error>> {
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let mode = file.unix_mode().unwrap_or_default();
        let mut entry = Entry { mode: format!("0o{:o}", mode & 0o7777), ..Entry::default() };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match mode & 0o170_000 {
            0o120_000 => (entry.kind, entry.to) = ("link".to_owned(), Some(text)),
            _ if file.is_dir() => entry.kind = "dir".to_owned(),
            _ => (entry.kind, entry.text) = ("file".to_owned(), Some(text)),
        }
        entries.insert(file.name()?.into_owned(), entry);
    }
    Ok(entries)
}

fn unpacked(artifact: &Artifact) -> std::io::Result<String> {
    let file = File::open(&artifact.path)?;
    let mut text = String::new();
    match artifact.format.as_str() {
        "gzip" => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text)?,
        _ => std::io::BufReader::new(file).read_to_string(&mut text)?,
    };
    Ok(text)
}

#[test]
fn long_output_is_compared_by_count_and_checksum() {
    let lines: Vec<String> = (0..20_000).map(|number| format!("line-{number}")).collect();
    assert_eq!(summary(&lines), "20000 lines, crc32 5a9aadd1");
    assert!(is_summary("20000 lines, crc32 5a9aadd1") && !is_summary("two lines, crc32 and more"));
}

#[test]
fn a_diff_shows_what_is_missing_and_what_is_new() {
    let lines = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    assert_eq!(diff(&lines("a b c"), &lines("a x c")), "      \"a\"\n    - \"b\"\n    + \"x\"\n      \"c\"");
}
