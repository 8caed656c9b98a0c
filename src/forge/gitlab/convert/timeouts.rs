//! How long and how often. (protocols: GitLab 9.10.)

use std::time::Duration;

use super::Context;
use crate::forge::gitlab::wire::JobResponse;
use crate::pipeline::definition::{Attempts, Timeouts};
use crate::pipeline::duration::in_words;

const DEFAULT_JOB: Duration = Duration::from_secs(7200);
const DEFAULT_AFTER_SCRIPT: Duration = Duration::from_secs(300);
/// A timeout beyond this is a mistake, and more than clocks can add.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The time limit of the whole job.
pub(super) fn job_timeout(payload: &JobResponse) -> Duration {
    match u64::try_from(payload.runner_info.timeout) {
        Ok(0) | Err(_) => DEFAULT_JOB,
        Ok(seconds) => Duration::from_secs(seconds).min(LONGEST),
    }
}

pub(super) fn timeouts(cx: &Context<'_>, warnings: &mut Vec<String>) -> Timeouts {
    let job = job_timeout(cx.payload);
    let script = stage_timeout(cx, "RUNNER_SCRIPT_TIMEOUT", job, warnings);
    let after_script = stage_timeout(cx, "RUNNER_AFTER_SCRIPT_TIMEOUT", job, warnings).unwrap_or(DEFAULT_AFTER_SCRIPT);
    Timeouts {
        job,
        prepare: cx.settings.prepare_timeout,
        get_sources: cx.settings.get_sources_timeout,
        script,
        after_script,
        services: cx.settings.services_timeout,
    }
}

/// A stage's own limit; what is no duration is told and has no effect.
fn stage_timeout(cx: &Context<'_>, name: &str, job: Duration, warnings: &mut Vec<String>) -> Option<Duration> {
    let text = cx.variables.content(name)?.expose().trim().to_owned();
    if text.is_empty() {
        return None;
    }
    match parse_go_duration(&text) {
        Some(Duration::ZERO) => None,
        Some(limit) => {
            if limit > job {
                warnings.push(format!(
                    "{name} ({text}) is longer than the job's own timeout ({}), which applies",
                    in_words(job)
                ));
            }
            Some(limit)
        }
        None => {
            warnings.push(format!("{name} {text:?} is no duration such as 30m or 1h10m and has no effect"));
            None
        }
    }
}

pub(super) fn attempts(cx: &Context<'_>, warnings: &mut Vec<String>) -> Attempts {
    let mut read = |name: &str| {
        let Some(text) = cx.variables.content(name).map(|text| text.expose().trim().to_owned()) else { return 1 };
        if text.is_empty() {
            return 1;
        }
        let number = text.parse::<i64>().unwrap_or(0);
        let used = u32::try_from(number.clamp(1, 10)).unwrap_or(1);
        if i64::from(used) != number {
            warnings.push(format!("{name} {text:?} is not a number from 1 to 10; {used} is used"));
        }
        used
    };
    Attempts {
        get_sources: read("GET_SOURCES_ATTEMPTS"),
        restore_cache: read("RESTORE_CACHE_ATTEMPTS"),
        download_artifacts: read("ARTIFACT_DOWNLOAD_ATTEMPTS"),
        executor: read("EXECUTOR_JOB_SECTION_ATTEMPTS"),
    }
}

/// A duration as Go writes it: `30m`, `1h10m`, `1.5h`, `500ms`, `0`. Negative ones are none.
pub(super) fn parse_go_duration(text: &str) -> Option<Duration> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = 0.0_f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    if text.is_empty() || total > LONGEST.as_secs_f64() {
        return None;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, want) in [
            ("30m", Some(1800.0)),
            ("1h10m", Some(4200.0)),
            ("1.5h", Some(5400.0)),
            ("500ms", Some(0.5)),
            ("0", Some(0.0)),
            ("0s", Some(0.0)),
            ("10", None),
            ("-5m", None),
            ("m", None),
            ("5 m", None),
            ("", None),
            ("1d", None),
            ("1e9h", None),
            ("99999999999999999999h", None),
            ("..s", None),
        ] {
            assert_eq!(parse_go_duration(text).map(|d| d.as_secs_f64()), want, "{text}");
        }
    }
}
