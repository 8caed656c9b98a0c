//! The bounds of policies, alone and together.

use super::*;

fn named(name: &str, id: &str, age: i64, unused: i64) -> Candidate {
    Candidate { name: name.to_owned(), ..entry(id, age, unused) }
}

#[test]
fn age_and_unused_time_at_their_edges_and_levels() {
    let policies = [RetentionPolicy { max_age_days: Some(4), delete_after_days_unused: Some(2), ..policy("p", "^t-") }];
    // Age, unused, goes at (79 %, 80 %, 90 %): 4, 3, 2 days of age; 48, 36, 24 h unused.
    for (age, unused, goes) in [
        (4 * DAY, 30 * HOUR, [false, true, true]),
        (4 * DAY + 1, 30 * HOUR, [true, true, true]),
        (3 * DAY, 24 * HOUR, [false, false, true]),
        (3 * DAY + 1, 24 * HOUR, [false, true, true]),
        (2 * DAY, 24 * HOUR, [false, false, false]),
        (2 * DAY + 1, 24 * HOUR, [false, false, true]),
        (2 * DAY, 2 * DAY, [false, true, true]),
        (2 * DAY, 36 * HOUR, [false, false, true]),
        (2 * DAY, 36 * HOUR + 1, [false, true, true]),
        (3 * DAY, 48 * HOUR + 1, [true, true, true]),
    ] {
        for (per_cent, goes) in [79, 80, 90].into_iter().zip(goes) {
            let verdict = verdict(&policies, &full(per_cent), named("t-1", "e", age, unused));
            assert_eq!(verdict.deletes(), goes, "{age} s old, {unused} s unused, {per_cent} %: {verdict}");
        }
    }
}

#[test]
fn a_policy_without_bounds_keeps_until_the_emergency() {
    let policies = [policy("keep", "^release-")];
    let release = named("release-1", "e", 900 * DAY, 900 * DAY);
    for per_cent in [0, 80, 94] {
        assert_eq!(verdict(&policies, &full(per_cent), release.clone()).code(), "within_policy", "{per_cent} %");
    }
    assert_eq!(verdict(&policies, &full(95), release).code(), "emergency");
}

#[test]
fn without_required_references_age_does_not_count() {
    let policies = [RetentionPolicy {
        max_age_days: Some(1),
        min_references: 0,
        delete_after_days_unused: Some(9),
        ..policy("p", "")
    }];
    assert_eq!(verdict(&policies, &full(0), entry("e", 99 * DAY, 9 * DAY)).code(), "within_policy");
    assert_eq!(verdict(&policies, &full(0), entry("e", 99 * DAY, 9 * DAY + 1)).code(), "max_unused");
}

#[test]
fn the_newest_of_each_name_in_each_pipeline_of_each_owner_stay() {
    let policies = [RetentionPolicy { max_artifacts_per_pipeline: Some(2), ..policy("two", "") }];
    let of = |id: &str, pipeline: &str, name: &str, days: i64| Candidate {
        pipeline: Some(PipelineKey::new(pipeline)),
        ..named(name, id, days * DAY, days * DAY)
    };
    let elsewhere = Candidate { owner: owner("p", Trust::Fork), ..of("fork", "main", "app", 9) };
    let pinned = Candidate { pinned: true, ..of("pinned", "main", "app", 8) };
    let candidates = vec![
        of("old", "main", "app", 5),
        of("new", "main", "app", 2),
        of("mid", "main", "app", 3),
        pinned,
        of("other-name", "main", "doc", 9),
        of("other-pipeline", "nightly", "app", 9),
        elsewhere,
    ];
    let plan = plan(&policies, &full(0), candidates);
    assert_eq!(gone(&plan), ["old"]);
    assert_eq!(plan.deletions[0].reason(), "policy `two`: its pipeline has 2 newer ones, that many are kept");
    assert_eq!(code(&plan, "pinned"), "pinned");
}

#[test]
fn a_total_is_kept_by_the_longest_unused() {
    let policies = [RetentionPolicy { max_total_size: Some(250), max_age_days: Some(30), ..policy("total", "^c-") }];
    let candidates = vec![
        named("c-1", "read", 20 * DAY, 2 * DAY),
        named("c-2", "stale", 10 * DAY, 10 * DAY),
        named("c-3", "fresh", 9 * DAY, 3 * DAY),
        // Over age, so it does not push out another.
        named("c-4", "aged", 31 * DAY, 2 * DAY),
        // Kept by its job, yet counted.
        Candidate { expiry: Expiry::At(ago(-DAY)), ..named("c-5", "wish", 12 * DAY, 12 * DAY) },
        named("x", "another", 6 * DAY, 6 * DAY),
    ];
    let plan = plan(&policies, &full(0), candidates);
    // 100 each: aged goes by age, stale and fresh until no more than 250 are left.
    assert_eq!(gone(&plan), ["stale", "fresh", "aged"]);
    assert_eq!(code(&plan, "stale"), "max_total");
    assert_eq!(code(&plan, "aged"), "max_age");
    assert_eq!(code(&plan, "read"), "within_policy");
    assert_eq!(code(&plan, "wish"), "expires_later");
}

#[test]
fn a_total_exactly_met_takes_nothing() {
    let policies = [RetentionPolicy { max_total_size: Some(200), ..policy("total", "") }];
    let both = vec![entry("a", 9 * DAY, 9 * DAY), entry("b", 9 * DAY, 9 * DAY)];
    assert!(plan(&policies, &full(0), both).deletions.is_empty());
}

#[test]
fn protected_entries_count_in_a_total_and_stay() {
    let policies = [RetentionPolicy { max_total_size: Some(50), ..policy("total", "") }];
    let pinned = Candidate { pinned: true, ..entry("pinned", 90 * DAY, 90 * DAY) };
    let plan = plan(&policies, &full(0), vec![pinned, entry("grace", 2 * DAY, HOUR), entry("free", 2 * DAY, 2 * DAY)]);
    assert_eq!(gone(&plan), ["free"]);
}

#[test]
fn beyond_its_size_threshold_the_periods_of_a_policy_are_halved() {
    let policies = [RetentionPolicy { max_age_days: Some(10), size_threshold: Some(200), ..policy("p", "") }];
    let two = || vec![entry("a", 5 * DAY + 1, 5 * DAY), entry("b", 5 * DAY, 5 * DAY)];
    assert!(plan(&policies, &full(0), two()).deletions.is_empty(), "200 bytes are no more than 200");
    let mut three = two();
    three.push(Candidate { pinned: true, ..entry("c", DAY, DAY) });
    let beyond = plan(&policies, &full(0), three.clone());
    assert_eq!(gone(&beyond), ["a"]);
    assert_eq!(
        beyond.deletions[0].reason(),
        "policy `p`: 5d old, 5d are allowed, half as much as usual: its size threshold is passed"
    );
    // No shorter than half at 90 %.
    assert_eq!(gone(&plan(&policies, &full(90), three)), ["a"]);
}

#[test]
fn what_jobs_leave_is_known_by_its_titles_and_counted_by_its_series() {
    let policies = [
        RetentionPolicy { max_artifacts_per_pipeline: Some(1), ..policy("tests", "^test-") },
        RetentionPolicy { max_artifacts_per_pipeline: Some(1), ..policy("builds", "^[0-9]+/") },
    ];
    let of = |job: u64, titles: &[&str], series: &str| Candidate {
        pipeline: Some(PipelineKey::new("branch main")),
        titles: titles.iter().map(|title| (*title).to_owned()).collect(),
        series: Some(series.to_owned()),
        ..named(&format!("{job}/out.zip"), &job.to_string(), 90 * DAY - job as i64, 90 * DAY - job as i64)
    };
    let candidates = vec![
        of(1, &["test-unit"], "test-unit"),
        of(2, &["test-unit"], "test-unit"),
        of(3, &["report", "test-report-3"], "report"),
        of(4, &["report", "test-report-4"], "report"),
        of(5, &["app"], "app"),
    ];
    let plan = plan(&policies, &full(0), candidates);
    assert_eq!(gone(&plan), ["1", "3"]);
    assert!(plan.deletions.iter().all(|judged| judged.policy.as_deref() == Some("tests")));
    assert!(plan.deletions[0].to_string().starts_with("delete  1/out.zip of test-unit (100 B): "));
}
