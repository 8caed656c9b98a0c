//! GitLab's own tables: variables, rules, only and except, matrix.

use std::sync::Arc;

use serde_json::{Value, json};
use smol_str::SmolStr;

use super::{Tally, cases, official_context, variables};
use crate::parser::diagnostics::Diagnostics;
use crate::parser::document::NoFiles;
use crate::parser::gitlab::compose::{ComposeContext, Offline, compose_bytes};
use crate::parser::gitlab::config::{self, Configuration, model};
use crate::parser::gitlab::pipeline::rules::{Comparisons, Evaluator, Projects};
use crate::parser::gitlab::pipeline::scope::Shared;
use crate::parser::gitlab::pipeline::variables::reference::{Doubled, Piece, pieces};
use crate::parser::gitlab::pipeline::variables::{Collection, Expansion, Variable, inherit, merge};
use crate::parser::gitlab::pipeline::{matrix, policy};

/// The configuration of a text; what is wrong with it is left aside.
fn configuration(text: &str) -> Configuration {
    let composed = compose_bytes("case", text.as_bytes(), &NoFiles, &Offline, &ComposeContext::default());
    config::check(&composed.value.expect(text).root, &mut Diagnostics::new()).expect(text)
}

fn same(got: &Value, want: &Value) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("got {got}, want {want}")) }
}

fn as_map<'v>(list: impl IntoIterator<Item = &'v Variable>) -> Value {
    Value::Object(list.into_iter().map(|v| (v.key.to_string(), json!(v.value))).collect())
}

fn variables_case(case: &Value) -> Option<Result<(), String>> {
    let list = variables(&case["variables"]);
    let all: Collection = list.iter().cloned().collect();
    let flag = |name: &str, usual| case["options"][name].as_bool().unwrap_or(usual);
    let how = Expansion {
        keep_undefined: flag("keep_undefined", false),
        file_references: flag("expand_file_refs", true),
        raw_references: flag("expand_raw_refs", true),
    };
    Some(match case["kind"].as_str()? {
        "expand_all" => same(&as_map(all.sort_and_expand_all(how).0.iter()), &case["expect"]),
        // Refusing masked variables is up to who asks: includes do.
        "expand_text" if case["options"]["fail_on_masked"] == true => return None,
        "expand_text" => same(&json!(all.expand_text(case["text"].as_str()?, how)), &case["expanded"]),
        "last_wins" => same(&as_map(all.iter()), &case["expect"]),
        "sort" => match all.sorted() {
            Ok(order) => same(&json!(order.iter().map(|v| &v.key).collect::<Vec<_>>()), &case["sorted"]),
            Err(_) => same(&json!(true), &case["cycle"]),
        },
        "cycle_check" => same(&json!(all.sorted().is_err()), &case["cycle"]),
        "references" => {
            let names = list.first().map(Variable::references).unwrap_or_default();
            same(&if names.is_empty() { Value::Null } else { json!(names) }, &case["references"])
        }
        "possible_reference" => {
            let any = pieces(case["text"].as_str()?, Doubled::Nothing).any(|p| matches!(p, Piece::Reference { .. }));
            // The server's look is a quick one: it may say yes for nothing, never no for a reference.
            if any && case["possible_reference"] == false { Err("a reference".into()) } else { Ok(()) }
        }
        "merge" => same(&as_map(&merge(&list, &variables(&case["with_variables"]))), &case["expect"]),
        "inherit" => {
            let inherited = match &case["inherit"] {
                Value::Bool(true) => model::Inherited::All,
                Value::Array(names) => {
                    model::Inherited::Only(names.iter().map(|name| SmolStr::new(name.as_str().unwrap())).collect())
                }
                _ => model::Inherited::Nothing,
            };
            same(&as_map(&inherit(&list, &variables(&case["own_variables"]), &inherited)), &case["expect"])
        }
        _ => return None,
    })
}

#[test]
fn variables_sort_and_expand_as_gitlab_has_it() {
    let mut tally = Tally::default();
    for case in cases("gitlab/official/variables.json") {
        if let Some(result) = variables_case(&case) {
            tally.add(case["name"].as_str().unwrap(), result);
        }
    }
    tally.end("variables", 100.0);
}

#[derive(Debug)]
struct CaseProjects(Value);

impl Projects for CaseProjects {
    fn paths(&self, project: &str, reference: Option<&str>) -> Result<Arc<[String]>, Option<String>> {
        let Some(known) = self.0.get(project) else { return Err(Some(format!("project {project}"))) };
        let reference = reference.or(known["default_branch"].as_str()).unwrap_or_default();
        let Some(paths) = known["branches"].get(reference) else { return Err(Some(format!("ref {reference}"))) };
        let mut paths: Vec<String> = paths.as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect();
        paths.sort();
        Ok(paths.into())
    }
}

fn rules_case(case: &Value) -> Result<(), String> {
    let mut rules = case["rules"].clone();
    if case["internal_needs"] == true {
        for need in rules[0]["needs"].as_array_mut().unwrap() {
            let name = need["name"].take();
            *need = json!({ "job": name });
        }
    }
    let when = case["context"]["job_when"].as_str().unwrap_or("on_success");
    let mut job = json!({ "script": "x", "when": when });
    if !rules.is_null() {
        job["rules"] = rules;
    }
    let configuration = configuration(&json!({ "job": job }).to_string());
    let job = configuration.jobs.get("job").ok_or("no job")?;
    let context = official_context(&case["context"]);
    let files = case["context"]["files"].as_array();
    let files: std::collections::BTreeMap<String, String> =
        files.into_iter().flatten().map(|path| (path.as_str().unwrap().to_owned(), String::new())).collect();
    let projects = CaseProjects(case["context"]["projects"].clone());
    let mut limits = Comparisons::default();
    if let Some(most) = case["context"]["max_pattern_comparisons"].as_u64() {
        limits = Comparisons { changes: most as usize, exists: most as usize };
    }
    let evaluator = Evaluator::new(&files, &projects, &*context.changes).limits(limits);
    let shared = Shared::new(&context, Vec::new());
    let want = &case["result"];
    let Some(rules) = &job.rules else { return same(&json!(when), &want["when"]) };
    let rule = match evaluator.first(rules, &shared) {
        Ok(rule) => rule,
        Err(_) if case.get("error").is_some() => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    let Some(rule) = rule else { return same(&json!("never"), &want["when"]) };
    let got = rule.when.as_ref().map_or(when, |when| when.value.as_str());
    same(&json!(got), &want["when"])?;
    same(&json!(rule.allow_failure), want.get("allow_failure").unwrap_or(&Value::Null))?;
    same(&json!(rule.start_in.as_ref().map(|s| &s.text)), want.get("start_in").unwrap_or(&Value::Null))?;
    same(&json!(rule.needs.as_ref().map_or(0, |n| n.len())), &json!(want["needs"].as_array().map_or(0, Vec::len)))
}

#[test]
fn rules_hold_as_gitlab_has_it() {
    let mut tally = Tally::default();
    for case in cases("gitlab/official/rules.json") {
        // Evaluated, such a rule does not hold; here the configuration's check refuses it before.
        if case["rules"].to_string().contains("=!") {
            continue;
        }
        tally.add(case["name"].as_str().unwrap(), rules_case(&case));
    }
    tally.end("rules", 100.0);
}

fn policy_case(case: &Value) -> Result<(), String> {
    let key = if case.get("only").is_some() { "only" } else { "except" };
    let mut job = json!({ "script": "x" });
    job[key] = case[key].clone();
    let configuration = configuration(&json!({ "job": job }).to_string());
    let job = configuration.jobs.get("job").ok_or("no job")?;
    let context = official_context(&case["context"]);
    let evaluator = Evaluator::new(&NoFiles, &crate::parser::gitlab::pipeline::rules::NoProjects, &*context.changes);
    let shared = Shared::new(&context, Vec::new());
    let runs = policy::includes(job.only.as_deref(), job.except.as_deref(), &context, &evaluator, &shared);
    // A case tells whether one part matches; the refs that are implied do not count for others.
    let only_refs = case["only"].is_array() || case["only"].get("refs").is_some();
    let implied = key == "only" && !only_refs && context.merge_request.is_some();
    let matches = if key == "except" { !runs } else { runs };
    if implied {
        let globs: Vec<SmolStr> =
            case["only"]["changes"].as_array().into_iter().flatten().map(|g| g.as_str().unwrap().into()).collect();
        return same(&json!(evaluator.has_changes(&globs, &shared)), &case["matches"]);
    }
    same(&json!(matches), &case["matches"])
}

#[test]
fn only_and_except_match_as_gitlab_has_it() {
    let mut tally = Tally::default();
    for case in cases("gitlab/official/only_except.json") {
        tally.add(case["name"].as_str().unwrap(), policy_case(&case));
    }
    tally.end("only and except", 100.0);
}

fn pairs(value: &Value) -> Vec<(SmolStr, SmolStr)> {
    let map = value.as_object().cloned().unwrap_or_default();
    map.iter().map(|(k, v)| (k.as_str().into(), super::scalar(v).into())).collect()
}

fn matrix_case(case: &Value) -> Option<Result<(), String>> {
    if let (Some(text), Some(row)) = (case["value"].as_str(), case.get("matrix_variables")) {
        let got = matrix::interpolate(text, &pairs(row));
        return Some(match got {
            Ok(got) => same(&json!(got), &case["result"]),
            Err(_) => same(&json!(false), &case["ok"]),
        });
    }
    let jobs = case["jobs"].as_array().filter(|jobs| !jobs.is_empty())?;
    if case["ok"] == false {
        return None;
    }
    let name = case["job"].as_str()?;
    let text = json!({ name: { "script": "x", "parallel": case["parallel"] } }).to_string();
    let configuration = configuration(&text);
    let job = configuration.jobs.get(name)?;
    let made = matrix::instances(name, job.parallel.as_ref()?);
    let got: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
    let want: Vec<&str> = jobs.iter().filter_map(|job| job["name"].as_str()).collect();
    if got != want {
        return Some(Err(format!("got {got:?}, want {want:?}")));
    }
    Some((|| {
        for ((_, instance), want) in made.iter().zip(jobs) {
            same(&json!([instance.index, instance.total]), &json!([want["instance"], want["total"]]))?;
        }
        Ok(())
    })())
}

#[test]
fn matrices_make_the_jobs_that_gitlab_makes() {
    let mut tally = Tally::default();
    for case in cases("gitlab/official/matrix.json") {
        if let Some(result) = matrix_case(&case) {
            tally.add(case["name"].as_str().unwrap(), result);
        }
    }
    tally.end("matrix", 100.0);
}
