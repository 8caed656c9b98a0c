//! What may stand under a keyword.

use super::*;

/// The value of a keyword, inside the smallest configuration that holds it.
fn around(entry: &str, value: &Json, case: &Json) -> Option<Json> {
    let job = |key: &str, value: Json| serde_json::json!({"rspec": {"script": "ls", key: value}});
    let nested = |keys: &[&str]| {
        let mut value = value.clone();
        for key in keys.iter().rev() {
            value = serde_json::json!({ *key: value });
        }
        let Some((key, value)) = value.as_object().and_then(|object| object.iter().next()) else { return Json::Null };
        job(key, value.clone())
    };
    let context = &case["context"];
    Some(match entry {
        "job" | "bridge" => {
            let name = context["job"].as_str().unwrap();
            let mut file = serde_json::json!({ name: value });
            if name.starts_with('.') {
                file["visible"] = serde_json::json!({"script": "ls"});
            }
            if context["workflow_has_rules"] == true {
                file["workflow"] = serde_json::json!({"rules": [{"when": "always"}]});
            }
            file
        }
        "root" => value.clone(),
        "jobs" => value.clone(),
        "hidden job" => serde_json::json!({".rspec": value, "test": {"script": "ls"}}),
        "default" => {
            let mut file = serde_json::json!({"default": value, "test": {"script": "ls"}});
            for (key, value) in context["top"].as_object().into_iter().flatten() {
                file[key] = value.clone();
            }
            file
        }
        "workflow" | "stages" => serde_json::json!({entry: value, "test": {"script": "ls", "stage": ".pre"}}),
        "auto_cancel" => serde_json::json!({"workflow": {"auto_cancel": value}, "test": {"script": "ls"}}),
        "stage" => {
            let name = value.as_str().unwrap_or("x");
            serde_json::json!({"stages": [name], "rspec": {"script": "ls", "stage": value}})
        }
        "script" => serde_json::json!({"rspec": {"script": value}}),
        "reports" => nested(&["artifacts", "reports"]),
        "coverage_report" => nested(&["artifacts", "reports", "coverage_report"]),
        "service" => job("services", serde_json::json!([value])),
        "pull_policy" => job("image", serde_json::json!({"name": "x", "pull_policy": value})),
        "need" => job("needs", serde_json::json!([value])),
        "trigger" => serde_json::json!({"rspec": {"trigger": value}}),
        "trigger:forward" => serde_json::json!({"rspec": {"trigger": {"project": "a/b", "forward": value}}}),
        "release:assets" | "release:assets:links" | "release:assets:links:link" => {
            let assets = match entry {
                "release:assets" => value.clone(),
                "release:assets:links" => serde_json::json!({"links": value}),
                _ => serde_json::json!({"links": [value]}),
            };
            job("release", serde_json::json!({"tag_name": "v1", "description": "x", "assets": assets}))
        }
        "cache:key:prefix" => job("cache", serde_json::json!({"key": {"files": ["a"], "prefix": value}})),
        "environment:kubernetes" => job("environment", serde_json::json!({"name": "x", "kubernetes": value})),
        "id_tokens:NAME" => nested(&["id_tokens", "TOKEN"]),
        "inputs:NAME of a job" => nested(&["inputs", "name"]),
        "publish" => serde_json::json!({"pages": {"script": "ls", "publish": value}}),
        "rule" | "rules" => {
            let rules = if entry == "rule" { serde_json::json!([value]) } else { value.clone() };
            let workflow =
                value.get("auto_cancel").is_some() || case["allowed_when"] == serde_json::json!(["always", "never"]);
            match workflow {
                true => serde_json::json!({"workflow": {"rules": rules}, "test": {"script": "ls"}}),
                false => job("rules", rules),
            }
        }
        "changes" | "exists" => job("rules", serde_json::json!([{entry: value, "when": "always"}])),
        "policy" => job("only", value.clone()),
        "inherit_variables" => nested(&["inherit", "variables"]),
        "duration" => nested(&["artifacts", "expire_in"]),
        "variable" | "variables" => {
            let variables = if entry == "variable" { serde_json::json!({"VARIABLE_1": value}) } else { value.clone() };
            match case["allowed_keys"].as_array() {
                None => job("rules", serde_json::json!([{"variables": variables, "when": "always"}])),
                Some(keys) if keys.iter().any(|key| key == "xyz") => return None,
                Some(_) => serde_json::json!({"variables": variables, "test": {"script": "ls"}}),
            }
        }
        _ if !entry.contains(':') => job(entry, value.clone()),
        _ => nested(&entry.split(':').collect::<Vec<_>>()),
    })
}

/// The jobs that a case's `needs` and `dependencies` name are not in it: that they are unknown is no matter here.
fn is_alone(error: &str) -> bool {
    error.contains("names the unknown job") || error.contains("which does not exist")
}

/// Cases about one class of GitLab that mean another thing in a whole configuration.
fn apart(entry: &str, value: &Json, case: &Json) -> bool {
    let text = value.to_string();
    match entry {
        // In a configuration null counts as not written.
        "pull_policy" => value.is_null(),
        // The older limit on files, and the older one on names of workflows.
        "cache:key:files" => case["feature"].as_str().is_some_and(|feature| feature.starts_with("older")),
        "workflow" => text == r#"{"name":""}"# && case["valid"] == false,
        // The spec does not ask the class that checks the assets.
        "release" => value["assets"].is_array(),
        // The default's type is checked when the whole is processed, not by the class of the spec.
        "inputs:NAME of a job" => {
            case["valid"] == true && value["type"].as_str().is_some_and(|kind| kind != "string")
                || value.get("options").is_some() && value["default"] == "default_value"
                || value.get("regex").is_some()
        }
        // Only what `kind`, `pages_job`, `inherits` say is asserted, on values that are no whole jobs.
        "job" => case["valid"] == true && ["script", "run", "trigger"].iter().all(|key| value.get(*key).is_none()),
        // What makes this class refuse it makes another class of it.
        "bridge" => value.get("script").is_some(),
        // The limit can be lifted for include:rules; not here.
        "exists" => case["no_path_limit"] == true,
        // What this context allows exists in no place of a configuration.
        "needs" => case["context"].get("allowed").is_some(),
        _ => false,
    }
}

fn table(path: &str, value_key: &str) {
    let cases = cases(path);
    let (mut wrong, mut total) = (Vec::new(), 0);
    for case in &cases {
        let entry = case["entry"].as_str().unwrap();
        let value = &case[value_key];
        // `include` and what stands under it is composed before; the matter of its own tests.
        if case["disputed"] == true || entry.starts_with("include") || apart(entry, value, case) {
            continue;
        }
        let text = match case["yaml"].as_str() {
            Some(yaml) => format!("test: {{script: ls}}\nvariables:\n  {}\n", yaml.replace('\n', "\n  ")),
            None => match around(entry, value, case) {
                Some(file) => serde_json::to_string(&file).unwrap(),
                None => continue,
            },
        };
        total += 1;
        let errors: Vec<String> = of(&text).1.into_iter().filter(|error| !is_alone(error)).collect();
        let valid = case["valid"].as_bool().unwrap();
        if valid != errors.is_empty() {
            wrong.push(format!("{} | {value} | GitLab: {valid} {} | {errors:?}", case["name"], case["errors"]));
        }
    }
    report(path, total, &wrong, 0.985);
}

#[test]
fn keywords_as_gitlab() {
    table("gitlab/official/entries.json", "value");
}

#[test]
fn keywords_of_rules_as_gitlab() {
    table("gitlab/official/entries_rules.json", "config");
}
