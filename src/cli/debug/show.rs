//! What is known of jobs, for people.

use std::fmt::Write as _;

use super::super::render;
use super::findings::Sandbox;
use super::look::Seen;
use crate::executor::evidence::{ContainerEvidence, Disk, EnvKind, Evidence};
use crate::state::{Moved, Transition};

/// The jobs in a table, each with what is wrong below.
pub fn list(jobs: &[Seen], now: jiff::Timestamp) -> String {
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            let place = job.run.as_ref().map_or_else(|| job.record.registration.clone(), |_| "exec".to_owned());
            let found = job.findings.first().map(|finding| format!("{}: {}", finding.code, finding.message));
            let exit = job.exit.as_ref().map(|(code, explained)| format!("exit code {code}: {}", explained.meaning));
            vec![
                job.name.clone(),
                render::plain(&job.record.name),
                place,
                job.record.status.to_string(),
                render::since(job.record.ended_at.unwrap_or(job.record.accepted_at), now),
                render::plain(&found.or(exit).or_else(|| job.record.reason.clone()).unwrap_or_default()),
            ]
        })
        .collect();
    render::table(&["JOB", "NAME", "OF", "STATUS", "AGO", "FINDING"], &rows) + "\nMore about one: forgehand debug JOB\n"
}

/// Everything about one job.
pub fn job(job: &Seen, now: jiff::Timestamp) -> String {
    let mut text = String::new();
    head(&mut text, job, now);
    findings(&mut text, job);
    failure(&mut text, job);
    timeline(&mut text, &job.details.transitions);
    if let Some(evidence) = &job.evidence {
        surroundings(&mut text, evidence);
    }
    reproduction(&mut text, job);
    text
}

// Writing to a text does not fail: the results below are not looked at.

fn head(text: &mut String, job: &Seen, now: jiff::Timestamp) {
    let record = &job.record;
    let _ =
        writeln!(text, "Job {} `{}` of {}", job.name, render::plain(&record.name), render::plain(&record.project_path));
    match &job.run {
        Some(run) => {
            let file = render::plain(&run.record.file);
            let _ = writeln!(text, "  run of {file} in {}", render::plain(&run.record.project.to_string_lossy()));
        }
        None => {
            let _ = writeln!(text, "  registration {}, key {}", record.registration, record.key);
        }
    }
    let attempt = match job.attempt() {
        1 => String::new(),
        attempt => format!(", try {attempt}"),
    };
    let took = record.started_at.zip(record.ended_at).map(|(from, to)| format!(", took {}", render::since(from, to)));
    let _ = writeln!(
        text,
        "  {} ({}{attempt}), {} ago{}",
        record.status,
        record.phase,
        render::since(record.ended_at.unwrap_or(record.accepted_at), now),
        took.unwrap_or_default()
    );
    if job.sandbox == Sandbox::Runs {
        text.push_str("  its container runs\n");
    }
}

fn findings(text: &mut String, job: &Seen) {
    if job.findings.is_empty() {
        return;
    }
    text.push_str("\nFindings:\n");
    for finding in &job.findings {
        let _ = writeln!(text, "  {}: {}\n    {}", finding.code, render::plain(&finding.message), finding.help);
    }
}

fn failure(text: &mut String, job: &Seen) {
    let Some(evidence) = &job.evidence else {
        if let Some((code, explained)) = &job.exit {
            let _ = writeln!(text, "\nExit code {code}: {}\n  {}", explained.meaning, explained.advice);
        }
        return;
    };
    let _ = writeln!(text, "\nWhat failed:\n  stage {}: {}", evidence.stage.name(), render::plain(&evidence.message));
    if let Some(step) = &evidence.step {
        let _ =
            writeln!(text, "  step {} `{}`, in {}", step.number, render::plain(&step.name), render::plain(&step.cwd));
    }
    if let Some((code, explained)) = &job.exit {
        let _ = writeln!(text, "  exit code {code}: {}\n    {}", explained.meaning, explained.advice);
    }
    if !evidence.log_tail.is_empty() {
        text.push_str("\nLast lines of the log:\n");
        tail(text, &evidence.log_tail, 15);
    }
}

fn tail(text: &mut String, lines: &[String], most: usize) {
    let lines: Vec<String> = lines.iter().map(|line| readable(line)).filter(|line| !line.is_empty()).collect();
    for line in lines.iter().skip(lines.len().saturating_sub(most)) {
        let _ = writeln!(text, "  | {line}");
    }
}

/// A line of a job's log without what only the forge's pages make use of: section markers, colours.
fn readable(line: &str) -> String {
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c != '\x1b' {
            text.push(c);
            continue;
        }
        // `ESC [ ... letter`
        for c in rest.by_ref().skip_while(|c| *c == '[') {
            if c.is_ascii_alphabetic() {
                break;
            }
        }
    }
    if text.starts_with("section_start:") || text.starts_with("section_end:") {
        return String::new();
    }
    render::plain(&text)
}

fn timeline(text: &mut String, lines: &[Transition]) {
    let Some(first) = lines.first() else { return };
    let _ = writeln!(text, "\nTimeline, from {}:", first.at.strftime("%Y-%m-%d %H:%M:%S UTC"));
    for line in lines {
        let passed = line.at.as_millisecond() - first.at.as_millisecond();
        let _ = writeln!(text, "  {:>10.3}s  {}", passed as f64 / 1000.0, render::plain(&told(&line.moved)));
    }
}

fn told(moved: &Moved) -> String {
    match moved {
        Moved::Accepted { attempt: 1, status, .. } => format!("accepted, {status}"),
        Moved::Accepted { attempt, status, .. } => format!("accepted, {status}, try {attempt}"),
        Moved::Phase { from, to } => format!("{from} -> {to}"),
        Moved::Status { from, to, .. } => format!("{from} -> {to}"),
        Moved::Stage { stage, restarts: 0 } => format!("stage {}", stage.name()),
        Moved::Stage { stage, restarts } => format!("stage {}, after restart {restarts} of the agent", stage.name()),
        Moved::StageFailed { stage, message } => format!("stage {} failed: {message}", stage.name()),
        Moved::Step { number, name } => format!("step {number} `{name}`"),
        Moved::StepEnded { number, name, status, exit_code } => {
            let code = exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
            format!("step {number} `{name}` {}{code}", status.as_str())
        }
        Moved::Refused { what } => format!("refused: {what}"),
    }
}

fn surroundings(text: &mut String, evidence: &Evidence) {
    if let Some(found) = &evidence.container {
        text.push_str("\nContainer, when the job failed:\n");
        container(text, found, evidence.image.as_deref());
    }
    for service in &evidence.services {
        let _ = writeln!(text, "\nService {}:", render::plain(&service.service.join(", ")));
        container(text, service, service.image_name.as_deref());
        tail(text, &service.log_tail, 10);
    }
    if !evidence.disks.is_empty() || evidence.memory_available.is_some() {
        text.push_str("\nMachine, when the job failed:\n");
        for Disk { path, free, size, free_files } in &evidence.disks {
            let files = free_files.map(|files| format!(", room for {files} files")).unwrap_or_default();
            let (free, size) = (render::size(*free), render::size(*size));
            let _ = writeln!(text, "  disk of {}: {free} free of {size}{files}", path.display());
        }
        if let Some(bytes) = evidence.memory_available {
            let _ = writeln!(text, "  memory: {} available", render::size(bytes));
        }
    }
    for gap in &evidence.gaps {
        let _ = writeln!(text, "  not known: {}", render::plain(gap));
    }
}

fn container(text: &mut String, found: &ContainerEvidence, image: Option<&str>) {
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "  {name:<10} {}", render::plain(&value));
        }
    };
    line("id", found.id.chars().take(12).collect());
    let exact = found.image_digest.as_ref().unwrap_or(&found.image_id);
    line("image", image.map_or_else(|| exact.clone(), |image| format!("{image} ({exact})")));
    let oom = if found.oom_killed { ", OOMKilled" } else { "" };
    let code = found.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    line("state", format!("{}{code}{oom}", found.state));
    line("error", found.error.clone().unwrap_or_default());
    line("started", found.started_at.clone().unwrap_or_default());
    line("ended", found.finished_at.clone().unwrap_or_default());
    line("health", [&found.health, &found.health_output].into_iter().flatten().cloned().collect::<Vec<_>>().join(": "));
    line("limits", limits(found));
    line("network", found.networks.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", "));
    for mount in &found.mounts {
        let mode = if mount.read_only { " (read-only)" } else { "" };
        line("mount", format!("{} -> {}{mode}", mount.source, mount.target));
    }
}

fn limits(found: &ContainerEvidence) -> String {
    let limits = &found.limits;
    let bytes = |bytes: i64| render::size(u64::try_from(bytes).unwrap_or(0));
    let parts = [
        limits.memory.map(|memory| format!("memory {}", bytes(memory))),
        limits.nano_cpus.map(|nano| format!("{} processors", nano as f64 / 1e9)),
        limits.pids.map(|pids| format!("{pids} processes")),
        limits.shm_size.map(|size| format!("/dev/shm {}", bytes(size))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn reproduction(text: &mut String, job: &Seen) {
    let Some(made) = &job.reproduction else { return };
    text.push_str("\nRun the step again:\n");
    for command in made.prepare.iter().chain([&made.command]) {
        let _ = writeln!(text, "  {}", render::plain(command));
    }
    if made.shell.is_some() {
        text.push_str("  (to look around: add -it, and put /bin/sh in the place of /forgehand/run)\n");
    }
    if !made.secrets.is_empty() {
        let _ = writeln!(text, "  set before, if they matter: {}", render::plain(&made.secrets.join(" ")));
    }
    for note in &made.notes {
        let _ = writeln!(text, "  note: {}", render::plain(note));
    }
    let left_out = job.evidence.as_ref().and_then(|found| found.step.as_ref());
    let count = left_out.map_or(0, |step| step.env.iter().filter(|entry| entry.kind == EnvKind::Secret).count());
    if count > 0 {
        let _ = writeln!(text, "  note: values of {count} secrets are left out");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_are_shown_without_markers_and_colours() {
        assert_eq!(readable("\x1b[32;1m$ make\x1b[0;m"), "$ make");
        assert_eq!(readable("section_start:1:x\r\x1b[0KExecuting"), "Executing");
        assert_eq!(readable("section_end:1:x\r\x1b[0K"), "");
        assert_eq!(readable("a\x1b"), "a");
    }
}
