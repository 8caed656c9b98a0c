//! What the operator wrote: `[[store.retention]]` in forgehand.toml.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use regex::{Regex, RegexBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY: u64 = 24 * 3600;

/// Bytes of a compiled pattern. Far more than a list of names needs.
const PATTERN_LIMIT: usize = 1 << 20;

/// A regular expression that names are searched with: `^` and `$` tie it to the whole name. Compiled once, when it is
/// read.
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// Whether it is found in the name. Takes time in proportion to the name, whatever the pattern.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{pattern}` is no regular expression: {reason}; write one as in `^release-v[0-9]+`, with a backslash before a character meant literally"
)]
pub struct PatternError {
    pattern: String,
    reason: String,
}

impl FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let built = RegexBuilder::new(text).size_limit(PATTERN_LIMIT).build();
        built.map(Self).map_err(|error| PatternError { pattern: text.to_owned(), reason: in_one_line(&error) })
    }
}

/// The parser draws the pattern with marks below it; the last line says what is wrong.
fn in_one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for NamePattern {}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for NamePattern {
    fn schema_name() -> Cow<'static, str> {
        "NamePattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "regex" })
    }
}

/// How long artifacts and caches are kept whose names a pattern finds.
///
/// Of the policies that find a name, the one with the highest priority decides alone (of equal ones the first in the
/// file): what is beyond one of its bounds goes, all else stays. One without a bound keeps for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionPolicy {
    /// What reports and the audit call it.
    pub name: String,
    /// A regular expression for the names of artifacts and caches; of what a job left, for the job's name and its
    /// `artifacts:name`. It is searched for: write `^` and `$` for the whole name.
    pub pattern: NamePattern,
    /// Goes when older than this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_days: Option<u32>,
    /// Goes when not used for more than this many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_after_days_unused: Option<u32>,
    /// Of one artifact of one job (or one name) the newest so many stay, for each branch, tag and merge request of a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_artifacts_per_pipeline: Option<u32>,
    /// Bytes that all of them together may take; the longest unused go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_size: Option<u64>,
    /// Bytes of all of them together from which the periods in days are half as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_threshold: Option<u64>,
    /// Hours after the last use in which nothing goes, whatever else holds. Absent: 24.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period_hours: Option<u32>,
    /// References by jobs that protect from going by age. What a job refers to never goes, so more than 1 has the
    /// effect of 1; 0: needs none, the age in days does not count.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub min_references: u32,
    /// The highest of the policies that find a name decides.
    #[serde(default)]
    pub priority: i32,
    /// `false`: as if it were not there.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn one() -> u32 {
    1
}

fn is_one(number: &u32) -> bool {
    *number == 1
}

fn yes() -> bool {
    true
}

impl RetentionPolicy {
    /// A policy without bounds.
    pub fn new(name: impl Into<String>, pattern: NamePattern) -> Self {
        Self {
            name: name.into(),
            pattern,
            max_age_days: None,
            delete_after_days_unused: None,
            max_artifacts_per_pipeline: None,
            max_total_size: None,
            size_threshold: None,
            grace_period_hours: None,
            min_references: one(),
            priority: 0,
            enabled: yes(),
        }
    }

    pub(super) fn max_age(&self) -> Option<Duration> {
        self.max_age_days.filter(|_| self.min_references > 0).map(days)
    }

    pub(super) fn max_unused(&self) -> Option<Duration> {
        self.delete_after_days_unused.map(days)
    }

    pub(super) fn grace(&self) -> Option<Duration> {
        self.grace_period_hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600))
    }
}

pub(super) fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * DAY)
}

/// Why policies cannot stand beside each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A policy without a name cannot be told of.
    #[error(
        "the retention policy with the pattern `{pattern}` has no name; give it one, reports and the audit call it by that"
    )]
    Nameless {
        /// Its pattern.
        pattern: String,
    },
    /// Reports could not tell them apart.
    #[error("two retention policies are called `{name}`; rename one, reports and the audit tell them apart by name")]
    Twice {
        /// Of both.
        name: String,
    },
    /// The newest none: that is no way to say that nothing is kept.
    #[error(
        "the retention policy `{name}` keeps the newest 0 of each pipeline; write at least 1, or `max_age_days = 0` if nothing is to be kept"
    )]
    KeepsNone {
        /// Of the policy.
        name: String,
    },
}

/// The enabled policies, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<RetentionPolicy>);

impl Policies {
    /// Puts policies in order.
    ///
    /// # Errors
    /// A name is missing or given twice, or a count is 0; disabled ones are looked at too.
    pub fn new(policies: Vec<RetentionPolicy>) -> Result<Self, PolicyError> {
        let mut names = HashSet::new();
        for policy in &policies {
            if policy.name.trim().is_empty() {
                return Err(PolicyError::Nameless { pattern: policy.pattern.as_str().to_owned() });
            }
            if !names.insert(policy.name.as_str()) {
                return Err(PolicyError::Twice { name: policy.name.clone() });
            }
            if policy.max_artifacts_per_pipeline == Some(0) {
                return Err(PolicyError::KeepsNone { name: policy.name.clone() });
            }
        }
        let mut enabled: Vec<_> = policies.into_iter().filter(|policy| policy.enabled).collect();
        enabled.sort_by_key(|policy| std::cmp::Reverse(policy.priority));
        Ok(Self(enabled))
    }

    /// The one that decides on this name.
    pub fn deciding(&self, name: &str) -> Option<&RetentionPolicy> {
        self.position(std::iter::once(name)).and_then(|at| self.0.get(at))
    }

    /// The place of the one that decides on something that has these names.
    pub(super) fn position<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
        self.0.iter().position(|policy| names.clone().any(|name| policy.pattern.matches(name)))
    }

    pub(super) fn list(&self) -> &[RetentionPolicy] {
        &self.0
    }
}
