//! Files of so many jobs that two threads read them.

use super::*;

const JOBS: usize = 300;

/// Three lines a job; `other` may give another.
fn text(other: impl Fn(usize) -> Option<&'static str>) -> String {
    (0..JOBS).map(|job| format!("job-{job}:\n  script: make\n  {}\n", other(job).unwrap_or("stage: test"))).collect()
}

#[test]
fn jobs_keep_their_order_and_their_places() {
    let (configuration, errors) = of(&text(|_| None));
    assert_eq!(errors, Vec::<String>::new());
    let jobs = configuration.unwrap().jobs;
    let found: Vec<_> = jobs.iter().map(|job| (job.name.to_string(), job.span.line)).collect();
    let wanted: Vec<_> = (0..JOBS).map(|job| (format!("job-{job}"), u32::try_from(job * 3 + 1).unwrap())).collect();
    assert_eq!(found, wanted);
}

#[test]
fn what_is_wrong_in_any_of_them_is_told_once_in_the_order_of_the_file() {
    let wrong = [2, 149, 150, 299];
    let (configuration, errors) = of(&text(|job| wrong.contains(&job).then_some("scirpt: x")));
    let places: Vec<_> = errors.iter().map(|error| error.split(' ').next().unwrap().to_owned()).collect();
    let wanted: Vec<_> = wrong.iter().map(|job| format!("{}:3", job * 3 + 3)).collect();
    assert_eq!(places, wanted, "{errors:?}");
    let named = |job: usize| errors.iter().any(|error| error.contains(&format!("`job-{job}`")));
    assert!(wrong.into_iter().all(named), "{errors:?}");
    assert_eq!(configuration.unwrap().jobs.len(), JOBS);
}

#[test]
fn needs_across_the_halves_are_known_and_others_are_not() {
    let needs = |job: usize| match job {
        5 => Some("needs: [job-290]"),
        295 => Some("needs: [job-4, job-nowhere]"),
        _ => None,
    };
    let (_, errors) = of(&text(needs));
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(error.contains("job-nowhere"), "{error}");
}
