use super::*;
use crate::parser::expression::Value;

fn from_json(json: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(json).map(|json| crate::parser::expression::from_json(&json))
}

fn matrix(json: &str) -> Result<Vec<String>, MatrixError> {
    let value = from_json(json).unwrap();
    let all = Matrix::of(&value)?.combinations()?;
    Ok(all.iter().map(|combination| leg_name("m", combination)).collect())
}

fn shown(combination: &Combination) -> String {
    let pairs = combination.values.iter().map(|(key, value)| format!("{key}={}", value.to_text()));
    pairs.collect::<Vec<_>>().join(" ")
}

fn combinations(json: &str) -> Vec<String> {
    let all = Matrix::of(&from_json(json).unwrap()).unwrap().combinations().unwrap();
    all.iter().map(shown).collect()
}

#[test]
fn the_last_vector_changes_fastest() {
    assert_eq!(
        matrix(r#"{"x": [1, 2], "y": ["a", true]}"#).unwrap(),
        ["m (1, a)", "m (1, true)", "m (2, a)", "m (2, true)"]
    );
}

#[test]
fn the_documentations_example_of_include() {
    let json = r#"{"fruit": ["apple", "pear"], "animal": ["cat", "dog"], "include": [
        {"color": "green"}, {"color": "pink", "animal": "cat"}, {"fruit": "apple", "shape": "circle"},
        {"fruit": "banana"}, {"fruit": "banana", "animal": "cat"}]}"#;
    assert_eq!(
        combinations(json),
        [
            "fruit=apple animal=cat color=pink shape=circle",
            "fruit=apple animal=dog color=green shape=circle",
            "fruit=pear animal=cat color=pink",
            "fruit=pear animal=dog color=green",
            "fruit=banana",
            "fruit=banana animal=cat",
        ]
    );
}

#[test]
fn exclude_compares_as_expressions_do_and_looks_into_objects() {
    assert_eq!(combinations(r#"{"x": [1, 2], "exclude": [{"x": "1"}]}"#), ["x=2"]);
    assert_eq!(combinations(r#"{"os": ["Linux", "mac"], "exclude": [{"OS": "LINUX"}]}"#), ["os=mac"]);
    let json = r#"{"v": [{"node": 12, "npm": 6}, {"node": 14, "npm": 6}], "exclude": [{"v": {"node": 12}}]}"#;
    assert_eq!(matrix(json).unwrap(), ["m (14, 6)"]);
}

#[test]
fn include_alone_is_a_matrix() {
    assert_eq!(combinations(r#"{"include": [{"a": 1}, {"b": 2}]}"#), ["a=1", "b=2"]);
}

#[test]
fn what_is_wrong_is_told_in_githubs_words() {
    for (json, words) in [
        (r#"{"x": []}"#, "Matrix vector 'x' does not contain any values"),
        ("{}", "Matrix must define at least one vector"),
        (r#"{"x": [1], "exclude": [{"y": 1}]}"#, "Matrix exclude key 'y' does not match any key within the matrix"),
        (r#"{"x": [1], "exclude": [{}]}"#, "Matrix exclude filter must not be empty"),
        (r#"{"x": [1], "include": [{}]}"#, "Matrix include mapping does not contain any values"),
        (r#"{"x": 1}"#, "the matrix has `x`, which must be a list, not a number"),
        ("[]", "must be a mapping of lists"),
    ] {
        let error = matrix(json).unwrap_err().to_string();
        assert!(error.contains(words), "{json}: {error}");
    }
}

#[test]
fn two_hundred_and_fifty_six_are_enough() {
    let vector = |count: usize| {
        let items: Vec<String> = (0..count).map(|item| item.to_string()).collect();
        format!("[{}]", items.join(","))
    };
    let json = |count: usize| format!(r#"{{"x": {}, "y": {}}}"#, vector(16), vector(count));
    assert_eq!(combinations(&json(16)).len(), 256);
    assert_eq!(matrix(&json(17)), Err(MatrixError::TooMany));
    let huge = format!(r#"{{"a": {0}, "b": {0}, "c": {0}, "d": {0}}}"#, vector(1000));
    assert_eq!(matrix(&huge), Err(MatrixError::TooMany));
}

#[test]
fn long_names_are_cut() {
    let combination = Combination { values: vec![("x".into(), Value::text("a".repeat(200)))] };
    let name = leg_name("job", &combination);
    assert_eq!(name.len(), 100);
    assert!(name.ends_with("aaa..."));
}
