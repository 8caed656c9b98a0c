//! Workflows of so many jobs that two threads read them.

use std::fmt::Write as _;

use super::*;

const JOBS: usize = 300;
const HEAD: &str = "on: push\njobs:\n";

/// Jobs by their numbers; `other` may say something else than usual.
fn workflow(other: impl Fn(usize) -> Option<String>) -> String {
    (0..JOBS).fold(HEAD.to_owned(), |mut text, job| {
        let usual = || format!("  job-{job}:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make {job}\n");
        text.push_str(&other(job).unwrap_or_else(usual));
        text
    })
}

fn checked(text: &str) -> Checked<Workflow> {
    check("ci.yml", text, &NoFiles, &CheckOptions::default())
}

/// The first line of a text in the file, from 1.
fn line(text: &str, part: &str) -> u64 {
    let at = text.find(part).unwrap();
    text[..at].matches('\n').count() as u64 + 1
}

#[test]
fn jobs_keep_their_order_and_their_places() {
    let text = workflow(|_| None);
    let checked = checked(&text);
    assert!(errors(&checked).is_empty(), "{:?}", errors(&checked));
    let jobs = checked.value.unwrap().jobs;
    let found: Vec<_> = jobs.iter().map(|job| (job.id.to_string(), u64::from(job.span.line))).collect();
    let wanted: Vec<_> = (0..JOBS).map(|job| (format!("job-{job}"), line(&text, &format!("  job-{job}:\n")))).collect();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_wrong_in_any_of_them_is_told_once_in_the_order_of_the_file() {
    let wrong = [3, 149, 150, 299];
    let text = workflow(|job| {
        wrong.contains(&job).then(|| {
            format!("  job-{job}:\n    runs-on: ubuntu-latest\n    script-{job}: x\n    steps:\n      - run: make\n")
        })
    });
    let wanted: Vec<_> = wrong
        .iter()
        .map(|job| {
            let key = format!("script-{job}");
            ("ci.yml".to_owned(), line(&text, &format!("    {key}:")), 5, format!("Unexpected value '{key}'"))
        })
        .collect();
    assert_eq!(errors(&checked(&text)), wanted);
}

#[test]
fn a_key_that_comes_twice_is_found_wherever_both_stand() {
    let text = workflow(|job| (job == 299).then(|| "  JOB-7:\n    runs-on: x\n    steps: [{run: make}]\n".to_owned()));
    let checked = checked(&text);
    let at = line(&text, "  JOB-7:");
    assert_eq!(errors(&checked), [("ci.yml".to_owned(), at, 3, "'JOB-7' is already defined".to_owned())]);
    assert_eq!(checked.value.unwrap().jobs.len(), JOBS - 1);
}

#[test]
fn too_many_levels_are_told_once() {
    let deep = format!("{}{}", "[".repeat(60), "]".repeat(60));
    let text = workflow(|job| {
        let value = if [20, 280].contains(&job) { &deep } else { "x" };
        Some(format!(
            "  job-{job}:\n    runs-on: x\n    strategy: {{matrix: {{a: [{value}]}}}}\n    steps: [{{run: make}}]\n"
        ))
    });
    let found = errors(&checked(&text));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].1, found[0].3.as_str()), (line(&text, "[[["), "Maximum object depth exceeded"));
}

#[test]
fn jobs_that_anchors_share_are_read_in_full() {
    let mut text = HEAD.to_owned();
    text.push_str("  job-0: &all\n    runs-on: ubuntu-latest\n    steps:\n      - run: make\n");
    (1..JOBS).for_each(|job| writeln!(text, "  job-{job}: *all").unwrap());
    let checked = checked(&text);
    assert!(errors(&checked).is_empty(), "{:?}", errors(&checked));
    let jobs = checked.value.unwrap().jobs;
    assert_eq!(jobs.len(), JOBS);
    assert!(jobs.iter().all(|job| job.steps().len() == 1));
}

#[test]
fn an_action_of_a_moving_tag_is_told_where_it_stands_first() {
    let text = workflow(|job| {
        let uses = if job >= 140 { "other/action@main" } else { "own/action@v1" };
        Some(format!("  job-{job}:\n    runs-on: x\n    steps: [{{uses: {uses}}}]\n"))
    });
    let checked = checked(&text);
    let warned = checked.diagnostics.iter().filter(|finding| finding.message.contains("action@"));
    let found: Vec<u64> = warned.map(|finding| u64::from(finding.span.line)).collect();
    assert_eq!(found, [line(&text, "own/action"), line(&text, "other/action")]);
}
