//! Feature flags of the official runner: which count here, and what they say for a job. (protocols: GitLab 16.)
//!
//! The same table stands in docs/gitlab.md; a test compares them.

use std::collections::BTreeMap;

use super::convert::parse_bool;
use super::wire::JobVariable;

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It does what it does in the official runner, or that is always so.
    Honoured,
    /// It has no effect; a job that sets it against its default is told so.
    Ignored,
    /// A job that sets it fails.
    Refused,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// Its value where nobody says otherwise.
    pub default: bool,
    /// What becomes of it.
    pub treatment: Treatment,
    /// Why, for the documentation and for the job that sets it.
    pub note: &'static str,
}

const fn honoured(name: &'static str, default: bool, note: &'static str) -> Flag {
    Flag { name, default, treatment: Treatment::Honoured, note }
}

const fn ignored(name: &'static str, default: bool, note: &'static str) -> Flag {
    Flag { name, default, treatment: Treatment::Ignored, note }
}

/// All flags that are known, in the order of the documentation.
pub const FLAGS: &[Flag] = &[
    honoured("FF_NETWORK_PER_BUILD", false, "each job has a network of its own anyway"),
    honoured("FF_USE_DIRECT_DOWNLOAD", true, "artifacts come straight from object storage on the first attempt"),
    honoured("FF_TIMESTAMPS", true, "time and stream before each line of the log"),
    honoured("FF_SCRIPT_SECTIONS", false, "a folded section for each command of several lines"),
    honoured("FF_MASK_ALL_DEFAULT_TOKENS", true, "the values behind GitLab's token prefixes are hidden"),
    honoured("FF_USE_ADAPTIVE_REQUEST_CONCURRENCY", true, "in the configuration only; polls in parallel as jobs come"),
    honoured("FF_USE_DYNAMIC_TRACE_FORCE_SEND_INTERVAL", false, "signs of life follow the server's interval"),
    honoured("FF_USE_GITALY_CORRELATION_ID", true, "git sends the id of the job request"),
    honoured("FF_HASH_CACHE_KEYS", false, "cache keys are SHA-256 sums"),
    honoured("FF_DISABLE_AUTOMATIC_TOKEN_ROTATION", false, "in the configuration only; tokens are not renewed"),
    honoured("FF_GIT_URLS_WITHOUT_TOKENS", false, "no URL holds a token anyway"),
    honoured("FF_USE_EXPONENTIAL_BACKOFF_STAGE_RETRY", true, "waits between attempts always grow"),
    honoured("FF_POSIXLY_CORRECT_ESCAPES", false, "variables are passed as environment, not as shell text"),
    honoured("FF_USE_INIT_WITH_DOCKER_EXECUTOR", false, "the shim reaps orphaned processes anyway"),
    honoured(
        "FF_CLEAN_UP_FAILED_CACHE_EXTRACT",
        false,
        "a cache that cannot be unpacked leaves the work tree as it was",
    ),
    honoured("FF_ENABLE_BASH_EXIT_CODE_CHECK", false, "a script ends at each command that fails, in every shell"),
    honoured("FF_ENABLE_JOB_CLEANUP", false, "the work tree is removed; with `fetch` cleaned, the next job resets it"),
    honoured("FF_LOG_IMAGES_CONFIGURED_FOR_JOB", false, "in the runner's own log"),
    ignored("FF_USE_FASTZIP", true, "archives have one writer"),
    ignored("FF_SECRET_RESOLVING_FAILS_IF_MISSING", true, "jobs with `secrets` are refused"),
    ignored("FF_USE_GIT_BUNDLE_URIS", true, "repositories come through a local mirror"),
    ignored("FF_USE_GIT_NATIVE_CLONE", false, "repositories come through a local mirror"),
    ignored("FF_USE_GIT_PROACTIVE_AUTH", false, "git authenticates when it is asked to"),
    ignored("FF_USE_PARALLEL_CACHE_TRANSFER", false, "transfers to a bucket (`runner_cache`) are one stream each"),
    ignored("FF_USE_PARALLEL_ARTIFACT_TRANSFER", false, "artifacts are fetched in one stream; only the speed differs"),
    ignored("FF_USE_LEGACY_S3_CACHE_ADAPTER", false, "there is one client for buckets (`runner_cache`)"),
    ignored("FF_USE_LEGACY_GCS_CACHE_ADAPTER", false, "there is one client for buckets (`runner_cache`)"),
    ignored(
        "FF_DISABLE_UMASK_FOR_DOCKER_EXECUTOR",
        false,
        "what the runner puts into the work tree can always be written by any user of the job",
    ),
    ignored("FF_USE_NATIVE_CONTAINER_STOP", false, "the shim ends a step, not the engine"),
    honoured(
        "FF_USE_LEGACY_BASH_EVAL",
        false,
        "in bash a failing command's code becomes 1, as before 18.11; `exit N` stays",
    ),
    ignored("FF_RESOLVE_FULL_TLS_CHAIN", false, "the chain comes from `network.ca_files`"),
    ignored("FF_EXPORT_HIGH_CARDINALITY_METRICS", false, "metrics have labels from closed sets only"),
    ignored("FF_ENABLE_JOB_INPUTS_INTERPOLATION", true, "jobs with `inputs` are refused"),
    ignored("FF_USE_JOB_ROUTER", false, "jobs are requested over plain HTTP"),
    ignored("FF_SCRIPT_TO_STEP_MIGRATION", false, "scripts run as scripts"),
    ignored("FF_CONCRETE", false, "scripts run as scripts"),
    Flag {
        name: "FF_SUSPENDABLE_ENVIRONMENTS",
        default: false,
        treatment: Treatment::Refused,
        note: "environments cannot be suspended",
    },
];

/// The flags of one job, resolved: configuration, then job variable, then default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<&'static str, bool>,
}

impl Flags {
    /// Resolves all flags; what the job should be told goes to `warnings`.
    pub fn resolve(configured: &BTreeMap<String, bool>, variables: &[JobVariable], warnings: &mut Vec<String>) -> Self {
        let mut values = BTreeMap::new();
        for flag in FLAGS {
            let asked = variables.iter().rev().find(|variable| variable.key == flag.name);
            let mut value = flag.default;
            if let Some(asked) = asked {
                match parse_bool(asked.value.expose()) {
                    Some(wish) => value = wish,
                    None => warnings.push(format!("{} is neither true nor false and is left at {value}", flag.name)),
                }
                if flag.treatment == Treatment::Ignored && value != flag.default {
                    warnings.push(format!("{} has no effect on this runner: {}", flag.name, flag.note));
                }
            }
            values.insert(flag.name, configured.get(flag.name).copied().unwrap_or(value));
        }
        Self { values }
    }

    /// What a flag says; an unknown one says no.
    pub fn is_on(&self, name: &str) -> bool {
        self.values.get(name).copied().unwrap_or(false)
    }

    /// Names and values of all, as they are exported to the job.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, bool)> {
        FLAGS.iter().map(|flag| (flag.name, self.is_on(flag.name)))
    }

    /// A flag that is on although it is refused.
    pub fn refused(&self) -> Option<&'static Flag> {
        FLAGS.iter().find(|flag| flag.treatment == Treatment::Refused && self.is_on(flag.name))
    }
}

/// Whether a variable of this name is a flag, which jobs get resolved and not as they were sent.
pub fn is_flag(name: &str) -> bool {
    FLAGS.iter().any(|flag| flag.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Secret;

    fn variable(key: &str, value: &str) -> JobVariable {
        JobVariable { key: key.into(), value: Secret::new(value), ..JobVariable::default() }
    }

    #[test]
    fn configuration_beats_the_job_and_the_job_the_default() {
        let mut warnings = Vec::new();
        let configured = BTreeMap::from([("FF_TIMESTAMPS".to_owned(), true)]);
        let asked = [variable("FF_TIMESTAMPS", "false"), variable("FF_HASH_CACHE_KEYS", "1")];
        let flags = Flags::resolve(&configured, &asked, &mut warnings);
        assert!(flags.is_on("FF_TIMESTAMPS") && flags.is_on("FF_HASH_CACHE_KEYS"));
        assert!(flags.is_on("FF_USE_DIRECT_DOWNLOAD") && !flags.is_on("FF_SCRIPT_SECTIONS"));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn a_job_is_told_what_has_no_effect_and_what_is_no_answer() {
        let mut warnings = Vec::new();
        let asked =
            [variable("FF_CONCRETE", "true"), variable("FF_TIMESTAMPS", "perhaps"), variable("FF_USE_FASTZIP", "true")];
        Flags::resolve(&BTreeMap::new(), &asked, &mut warnings);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings.iter().any(|w| w.contains("FF_CONCRETE")));
        assert!(warnings.iter().any(|w| w.contains("FF_TIMESTAMPS")));
    }

    #[test]
    fn the_documentation_lists_every_flag_as_it_is_treated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gitlab.md");
        let text = std::fs::read_to_string(path).unwrap();
        for flag in FLAGS {
            let treatment = match flag.treatment {
                Treatment::Honoured => "honoured",
                Treatment::Ignored => "ignored",
                Treatment::Refused => "refused",
            };
            let row = format!("| `{}` | {} | {treatment} | {} |", flag.name, flag.default, flag.note);
            assert!(text.lines().any(|line| line == row), "docs/gitlab.md lacks: {row}");
        }
    }
}
