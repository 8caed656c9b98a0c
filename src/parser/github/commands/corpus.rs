//! The corpus of commands, command files and problem matchers.

use serde_json::Value;

use super::*;

fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/../shared/corpus/github/commands/{file}", env!("CARGO_MANIFEST_DIR"));
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => {
            eprintln!("note: no corpus");
            Vec::new()
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[test]
fn lines() {
    for case in cases("command_lines.json") {
        let known: Vec<String> = list(&case["registered"]).iter().map(|name| text(name).to_owned()).collect();
        let found = line::parse(text(&case["input"]), &|name| known.iter().any(|k| k == name));
        let expected = &case["expected"];
        let Some(found) = found else {
            assert!(expected.is_null(), "{}", case["name"]);
            continue;
        };
        assert_eq!(found.name, expected["command"], "{}", case["name"]);
        assert_eq!(found.data, expected["data"], "{}", case["name"]);
        let properties: serde_json::Map<String, Value> =
            found.properties.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        assert_eq!(Value::Object(properties), expected["properties"], "{}", case["name"]);
    }
}

#[test]
fn sequences() {
    for case in cases("command_sequences.json") {
        let name = text(&case["name"]);
        let is_yes = |value: &Value| value.as_str().is_some_and(|text| matches!(text, "1" | "true" | "TRUE"));
        let settings = ReaderSettings {
            debug: is_yes(&case["input"]["variables"]["ACTIONS_STEP_DEBUG"]),
            unsecure_commands: name == "command_sequences.stop",
            unsecure_tokens: is_yes(&case["input"]["env"]["ACTIONS_ALLOW_UNSECURE_STOPCOMMAND_TOKENS"]),
            workspace: "/w".into(),
        };
        let mut reader = Reader::new(settings, Matchers::default());
        let lines: Vec<Value> = list(&case["input"]["lines"]);
        let heard: Vec<Heard> = lines.iter().map(|line| reader.line(text(line))).collect();
        let expected = &case["expected"];
        for (heard, step) in heard.iter().zip(list(expected)) {
            assert_eq!(!heard.show, step["processed"], "{name}: {step}");
        }
        if expected == "error" {
            assert!(reader.finish().failed, "{name}");
        } else if let Some(result) = expected["command_result"].as_str() {
            assert_eq!(reader.finish().failed, result == "failed", "{name}");
        } else if let Some(echo) = expected["echo"].as_bool() {
            let shown = !reader.line("::save-state name=a::b").spoken.is_empty();
            assert_eq!(shown, echo, "{name}");
        } else if expected["matcher_added"].is_string() {
            assert_eq!(heard[0].matcher_file.as_deref(), Some("/some-container-directory/my-matcher.json"));
        }
    }
}

#[test]
fn annotation_columns() {
    for case in cases("annotation_columns.json") {
        let mut reader = Reader::new(ReaderSettings::default(), Matchers::default());
        reader.line(text(&case["input"]));
        let issue = &reader.finish().issues[0];
        let get = |key: &str| match key {
            "line" => issue.place.line.clone(),
            "endLine" => issue.place.end_line.clone(),
            "col" => issue.place.column.clone(),
            "endColumn" => issue.place.end_column.clone(),
            _ => panic!("{key}"),
        };
        for (key, value) in case["expected"]["present"].as_object().unwrap() {
            assert_eq!(get(key).as_deref(), value.as_str(), "{} {key}", case["name"]);
        }
        for key in list(&case["expected"]["absent"]) {
            assert_eq!(get(text(&key)), None, "{} {key}", case["name"]);
        }
    }
}

#[test]
fn command_files() {
    for case in cases("command_files.json") {
        let input = &case["input"];
        let mut bytes = Vec::new();
        if input["utf8_bom"] == true {
            bytes.extend_from_slice(b"\xef\xbb\xbf");
        }
        if let Some(content) = input["content"].as_str() {
            bytes.extend_from_slice(content.as_bytes());
        }
        if let Some(size) = input["size_bytes"].as_u64() {
            bytes.resize(usize::try_from(size).unwrap(), b'a');
        }
        let expected = &case["expected"];
        if case["command_file"] == "step_summary" {
            let summary = files::summary(&bytes);
            assert_eq!(matches!(summary, Ok(Some(_))), expected["uploaded"] == true, "{}", case["name"]);
            assert_eq!(summary.is_err(), expected["issues"] == 1, "{}", case["name"]);
            continue;
        }
        let (pairs, problem) = files::pairs(&bytes);
        if let Some(words) = expected["error_contains"].as_str() {
            assert!(problem.unwrap().to_string().contains(words), "{}", case["name"]);
            continue;
        }
        assert_eq!(problem, None, "{}", case["name"]);
        let (refused, kept): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(key, _)| case["command_file"] == "env" && super::reader::is_refused_env(key));
        assert_eq!(refused.len(), expected["issues"].as_u64().unwrap_or(0) as usize, "{}", case["name"]);
        let values: serde_json::Map<String, Value> =
            kept.into_iter().map(|(key, value)| (key, Value::String(value))).collect();
        assert_eq!(Value::Object(values), expected["values"], "{}", case["name"]);
    }
}

#[test]
fn matcher_files() {
    for case in cases("problem_matcher_config.json") {
        let valid = matcher::parse(&case["input"].to_string()).is_ok();
        assert_eq!(valid, case["expected"]["valid"], "{}", case["name"]);
    }
}

#[test]
fn matched_lines() {
    for case in cases("problem_matcher_lines.json") {
        let mut matchers = Matchers::default();
        matchers.add(&case["input"].to_string()).unwrap();
        for step in list(&case["steps"]) {
            let found = matchers.raw_line(text(&step["line"]));
            match &step["match"] {
                Value::Null if step.as_object().unwrap().contains_key("match") => {
                    assert_eq!(found, None, "{}: {step}", case["name"]);
                }
                Value::Object(expected) => {
                    let found = found.unwrap_or_else(|| panic!("{}: {step}", case["name"]));
                    let get = |key: &str| match key {
                        "severity" => &found.severity,
                        "file" => &found.file,
                        "line" => &found.line,
                        "column" => &found.column,
                        "code" => &found.code,
                        "message" => &found.message,
                        "fromPath" => &found.from_path,
                        _ => panic!("{key}"),
                    };
                    for (key, value) in expected {
                        assert_eq!(get(key).as_deref(), value.as_str(), "{}: {step} {key}", case["name"]);
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn matched_output() {
    for case in cases("problem_matcher_output.json") {
        let name = text(&case["name"]);
        // Markers of composite actions are a matter of the forge's own log, and `some-command` is no command of ours.
        if name.contains("StripCompositeMarkers") || name.contains("ReceiveCommand") {
            continue;
        }
        let settings = ReaderSettings {
            debug: true,
            workspace: "/container/path/to/workspace".into(),
            ..ReaderSettings::default()
        };
        let mut matchers = Matchers::default();
        let mut messages = Vec::new();
        let mut issues = Vec::new();
        let mut reader: Option<Reader> = None;
        // The case's list is the order in which they are asked; the newest is asked first.
        for step in list(&case["input"]).iter().rev().filter(|step| step["add_matcher"].is_object()) {
            matchers.add(&serde_json::json!({"problemMatcher": [step["add_matcher"]]}).to_string()).unwrap();
        }
        for step in list(&case["input"]) {
            if step["add_matcher"].is_object() {
                continue;
            }
            let reader = reader.get_or_insert_with(|| Reader::new(settings.clone(), matchers.clone()));
            let line = text(&step["line"]);
            let heard = reader.line(line);
            for spoken in heard.spoken {
                match spoken {
                    Spoken::Issue(issue) => issues.push(issue),
                    other => messages.push(other.to_string()),
                }
            }
            if heard.show {
                messages.push(line.to_owned());
            }
        }
        let expected = list(&case["expected"]["issues"]);
        assert_eq!(issues.len(), expected.len(), "{name}: {issues:?}");
        for (issue, expected) in issues.iter().zip(expected) {
            let place = &issue.place;
            for (key, found) in [
                ("message", Some(&issue.message)),
                ("code", issue.code.as_ref()),
                ("file", issue.file.as_ref()),
                ("line", place.line.as_ref()),
                ("col", place.column.as_ref()),
            ] {
                if let Some(value) = expected[key].as_str() {
                    assert_eq!(found.map(String::as_str), Some(value), "{name} {key}");
                }
                if list(&expected["absent"]).contains(&Value::from(key)) {
                    assert_eq!(found, None, "{name} {key}");
                }
            }
            if let Some(level) = expected["type"].as_str() {
                assert_eq!(issue.level.as_str(), level, "{name}");
            }
        }
        if let Some(expected) = case["expected"]["messages"].as_array() {
            assert_eq!(messages.len(), expected.len(), "{name}: {messages:?}");
            for (message, expected) in messages.iter().zip(expected) {
                if let Some(equal) = expected["equals"].as_str() {
                    assert_eq!(message, equal, "{name}");
                }
                if let Some(part) = expected["contains"].as_str() {
                    assert!(message.contains(part), "{name}: {message}");
                }
            }
        }
    }
}
