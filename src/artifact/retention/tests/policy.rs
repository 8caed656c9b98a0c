//! What the operator may write, and which policy decides.

use serde::Deserialize;

use crate::artifact::retention::{Policies, RetentionPolicy};

#[derive(Debug, Deserialize)]
struct File {
    retention: Vec<RetentionPolicy>,
}

fn read(text: &str) -> Result<Vec<RetentionPolicy>, String> {
    toml::from_str::<File>(text).map(|file| file.retention).map_err(|error| error.message().to_owned())
}

#[test]
fn a_policy_needs_a_name_and_a_pattern_only() {
    let policies = read("[[retention]]\nname = \"releases\"\npattern = '^release-v'\n").unwrap();
    assert_eq!(policies, [RetentionPolicy::new("releases", "^release-v".parse().unwrap())]);
    assert!(policies[0].enabled && policies[0].min_references == 1 && policies[0].priority == 0);
}

#[test]
fn what_is_written_is_read_back() {
    let text = "[[retention]]\nname = \"t\"\npattern = \"test-.*\"\nmax_age_days = 7\ndelete_after_days_unused = 2\n\
        max_artifacts_per_pipeline = 3\nmax_total_size = 4096\nsize_threshold = 2048\ngrace_period_hours = 0\n\
        min_references = 0\npriority = -5\nenabled = false\n";
    let policies = read(text).unwrap();
    let back = toml::to_string(&policies[0]).unwrap();
    assert_eq!(toml::from_str::<RetentionPolicy>(&back).unwrap(), policies[0]);
    assert_eq!(text, format!("[[retention]]\n{back}").replace("'", "\""));
}

#[test]
fn a_pattern_that_does_not_compile_is_told_when_the_file_is_read() {
    let error = read("[[retention]]\nname = \"r\"\npattern = \"release-(\"\n").unwrap_err();
    assert!(error.starts_with("`release-(` is no regular expression: unclosed group; write one as in"), "{error}");
    let error = read("[[retention]]\nname = \"r\"\npattern = '(\\w{1000}){1000}'\n").unwrap_err();
    assert!(error.contains("is no regular expression") && !error.contains('\n'), "{error}");
    assert!(read("[[retention]]\nname = \"r\"\npattern = \"r\"\nmax_age = 3\n").unwrap_err().contains("max_age"));
}

#[test]
fn policies_that_cannot_be_told_apart_are_refused() {
    let policy = |name: &str| RetentionPolicy::new(name, "x".parse().unwrap());
    let told = |policies| Policies::new(policies).unwrap_err().to_string();
    assert!(told(vec![policy("a"), policy("a")]).contains("two retention policies are called `a`"));
    assert!(told(vec![policy(" ")]).contains("pattern `x` has no name"));
    let none = RetentionPolicy { max_artifacts_per_pipeline: Some(0), ..policy("n") };
    assert!(told(vec![none]).contains("`n` keeps the newest 0"));
}

#[test]
fn the_highest_priority_decides_and_the_first_of_equals() {
    let policy = |name: &str, pattern: &str, priority, enabled| RetentionPolicy {
        priority,
        enabled,
        ..RetentionPolicy::new(name, pattern.parse().unwrap())
    };
    let policies = Policies::new(vec![
        policy("all", ".*", 1, true),
        policy("first", "^test-", 50, true),
        policy("second", "test", 50, true),
        policy("off", "test", 99, false),
    ])
    .unwrap();
    let decides = |name: &str| policies.deciding(name).map(|policy| policy.name.as_str());
    assert_eq!(decides("test-1"), Some("first"));
    assert_eq!(decides("my-test"), Some("second"));
    assert_eq!(decides("lib"), Some("all"));
    assert_eq!(Policies::default().deciding("lib"), None);
}

#[test]
fn the_schema_names_every_key() {
    let schema = schemars::schema_for!(RetentionPolicy).to_value();
    assert_eq!(schema["required"], serde_json::json!(["name", "pattern"]));
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"].as_object().unwrap().len(), 11);
}
