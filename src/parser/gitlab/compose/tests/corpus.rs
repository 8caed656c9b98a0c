//! GitLab's own cases.

use super::super::inputs;
use super::*;

/// The case's error, with what disagrees about it.
fn verdict(case: &Json, errors: &[String]) -> Option<String> {
    let ok = case["ok"].as_bool().unwrap();
    match (ok, errors.is_empty()) {
        (true, false) => Some(format!("refused: {errors:?}")),
        (false, true) => Some(format!("accepted, GitLab says {}{}", case["error"], case["errors"])),
        _ => None,
    }
}

fn report(table: &str, total: usize, wrong: &[String]) {
    println!("{table}: {} of {total}", total - wrong.len());
    assert!(wrong.is_empty(), "{table}: {} of {total} disagree\n{}", wrong.len(), wrong.join("\n"));
}

fn yaml(value: &Json) -> String {
    serde_yaml::to_string(value).unwrap()
}

/// Stages that are injected are no matter of these tables.
fn simple(table: &str) {
    let cases = cases(table);
    let mut wrong = Vec::new();
    for case in &cases {
        let (root, errors) = composed(case["yaml"].as_str().unwrap(), &BTreeMap::new(), &ComposeContext::default());
        let problem = verdict(case, &errors).or_else(|| {
            let root = root.unwrap_or_default();
            (case["ok"] == true && root != case["result"]).then(|| format!("{root} instead of {}", case["result"]))
        });
        wrong.extend(problem.map(|problem| format!("{}: {problem}", case["name"])));
    }
    report(table, cases.len(), &wrong);
}

#[test]
fn extends_as_gitlab() {
    simple("gitlab/official/extends.json");
}

#[test]
fn references_as_gitlab() {
    simple("gitlab/official/references.json");
}

/// Cases of these limits are of GitLab's own settings that are constants here.
const CONSTANT_LIMITS: [&str; 4] = ["blocks", "functions in a block", "bytes of a text", "bytes of an expression"];

#[test]
fn inputs_as_gitlab() {
    let cases = cases("gitlab/official/inputs.json");
    let mut wrong = Vec::new();
    let mut total = 0;
    for case in &cases {
        let has_constant = |limit: &str| case["limits"].get(limit).is_some();
        if case["version_note"].is_string()
            || case["differs"].is_string()
            || CONSTANT_LIMITS.iter().any(|l| has_constant(l))
        {
            continue;
        }
        total += 1;
        wrong.extend(input_case(case).map(|problem| format!("{}: {problem}", case["name"])));
    }
    report("inputs", total, &wrong);
}

fn input_case(case: &Json) -> Option<String> {
    let mut context = ComposeContext::default();
    for variable in case["variables"].as_array().into_iter().flatten() {
        let text = |key: &str| variable[key].as_str().unwrap_or_default().to_owned();
        let masked = variable["masked"] == true;
        context.variables.insert(text("key"), IncludeVariable { value: text("value"), masked });
    }
    for (name, value) in case["inputs"].as_object().into_iter().flatten() {
        context.inputs.insert(name.clone(), Given::Value(value.clone()));
    }
    let result = &case["result"];
    if case["spec"].get("subject").is_some() && case.get("header").is_none() && case["yaml"].is_null() {
        return rule_case(case, &context);
    }
    let header = match (case.get("header"), &case["spec"]) {
        (Some(header), _) => yaml(header) + "---\n",
        (None, Json::Null) => String::new(),
        (None, spec) => yaml(&serde_json::json!({"spec": {"inputs": spec}})) + "---\n",
    };
    let documents = case["name"].as_str()?.starts_with("documents");
    let (root, errors) = match case["yaml"].as_str() {
        Some(text) => composed(&(header.clone() + text), &BTreeMap::new(), &context),
        None => return header_case(case, &header),
    };
    if case["name"] == "empty file" || documents && result["content"].as_object().is_some_and(serde_json::Map::is_empty)
    {
        // A file without content is refused when the jobs are looked for.
        return errors.is_empty().then(|| "accepted".to_owned());
    }
    if case["name"].as_str()?.contains("has spec")
        || documents && header.is_empty() && case["yaml"].as_str()?.contains("website:\n")
    {
        // The input has no value, and nothing asks for it in GitLab's case.
        return None;
    }
    let want = if documents { &result["content"] } else { result };
    verdict(case, &errors).or_else(|| {
        let root = root.unwrap_or_default();
        (case["ok"] == true && root != *want).then(|| format!("{root} instead of {want}"))
    })
}

/// Whether a header is accepted.
fn header_case(case: &Json, header: &str) -> Option<String> {
    let requires = case["result"]["required"].as_bool();
    if requires.is_some() || case["name"].as_str()?.contains("feature is off") {
        return None;
    }
    let text = format!("{header}x: 1\n");
    let (mut sources, mut diagnostics) =
        (crate::parser::document::Sources::new(), crate::parser::diagnostics::Diagnostics::new());
    let loaded = load::load("t.yml", text.as_bytes(), None, &ForgeLimits::default(), &mut sources, &mut diagnostics)?;
    let header = loaded.header?;
    let body = header.get("spec");
    let declared = body.and_then(|body| body.get("inputs")).cloned();
    // A case of one rule alone does not declare the input that its condition looks at.
    let env = inputs::value::from_json(&serde_json::json!({"env": null}), Span::start_of(FileId(0)));
    let declared = match case["name"].as_str()?.starts_with("header: one rule") {
        true => declared.map(|declared| merge::deep_merge(&env, &declared)),
        false => declared,
    };
    let accepted = inputs::header::spec(&header, declared.as_ref(), &mut diagnostics).is_some();
    let include = body.and_then(|body| body.get("include"));
    if include.is_some() {
        let present = files(&[
            ("inputs.yml", "inputs:\n"),
            ("path/to/file.yml", "inputs:\n"),
            ("path/to/file1.yml", "inputs:\n"),
            ("path/to/file2.yml", "inputs:\n"),
        ]);
        let (_, errors) = composed(&text, &present, &ComposeContext::default());
        return verdict(case, &errors);
    }
    match (case["ok"] == true, accepted) {
        (true, false) => Some(format!("refused: {:?}", diagnostics.iter().map(|d| &d.message).collect::<Vec<_>>())),
        (false, true) => Some(format!("accepted, GitLab says {}", case["errors"])),
        _ => None,
    }
}

/// Which rule of an input holds.
fn rule_case(case: &Json, context: &ComposeContext) -> Option<String> {
    let nowhere = Span::start_of(FileId(0));
    let rules = case["spec"]["subject"]["rules"].as_array().cloned().unwrap_or_default();
    let part = |rule: &Json, key: &str| {
        rule.get(key).filter(|value| !value.is_null()).map(|value| inputs::value::from_json(value, nowhere))
    };
    let rules: Vec<inputs::Rule> = rules
        .iter()
        .map(|rule| inputs::Rule {
            condition: part(rule, "if"),
            options: part(rule, "options"),
            default: part(rule, "default"),
        })
        .collect();
    let values = case["inputs"].as_object().into_iter().flatten();
    let values = values.map(|(name, value)| (name.as_str().into(), inputs::value::from_json(value, nowhere))).collect();
    let rule = inputs::rules::matching(&rules, &values, context);
    let got = |node: Option<&Node>| node.map(to_json).unwrap_or_default();
    for (key, want) in case["result"].as_object()? {
        let node = rule.and_then(|rule| if key == "options" { rule.options.as_ref() } else { rule.default.as_ref() });
        if got(node) != *want {
            return Some(format!("{key}: {} instead of {want}", got(node)));
        }
    }
    None
}

#[test]
fn includes_as_gitlab() {
    let cases = cases("gitlab/official/includes.json");
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(include_case(case).map(|problem| format!("{}: {problem}", case["name"])));
    }
    report("includes", cases.len(), &wrong);
}

fn texts(value: &Json) -> BTreeMap<String, String> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(path, text)| (path.clone(), text.as_str().unwrap().to_owned()))
        .collect()
}

fn include_context(case: &Json) -> ComposeContext {
    let mut context = ComposeContext { is_child: case["pipeline"] == "child", ..ComposeContext::default() };
    for (name, value) in case["variables"].as_object().into_iter().flatten() {
        context.variables.insert(name.clone(), value.as_str().unwrap_or_default().into());
    }
    context.limits.enforced = true;
    if let Some(most) = case["limits"]["includes"].as_u64() {
        context.limits.includes = usize::try_from(most).unwrap();
    }
    if let Some(most) = case["limits"]["bytes in all"].as_u64() {
        context.limits.total_bytes = usize::try_from(most).unwrap();
    }
    context
}

fn include_case(case: &Json) -> Option<String> {
    let context = include_context(case);
    let mut present = texts(&case["files"]);
    let mut remote = Elsewhere { addresses: texts(&case["remote_files"]), ..Elsewhere::default() };
    for (project, files) in case["projects"].as_object().into_iter().flatten() {
        if !case["may_not_read"].as_array().is_some_and(|list| list.contains(&Json::from(project.as_str()))) {
            remote.projects.insert(project.clone(), texts(files));
        }
    }
    let name = case["name"].as_str()?;
    // Times and name look-ups are of the program that fetches.
    if case["limits"]["seconds"].is_u64() || name.contains("loopback") {
        return None;
    }
    let rest = case["rest"].as_object().cloned().unwrap_or_default();
    let include = if case["include"].is_string() && case["include"].as_str()?.starts_with("HOST") {
        Json::Null
    } else {
        case["include"].clone()
    };
    if case["in_header"] == true {
        return header_include_case(case, include, &present, &remote, &context);
    }
    if case["result"].get("locations").is_some() || case["ok"] == false && name.starts_with("locations") {
        return location_case(case, &include, &context, &present);
    }
    if name.starts_with("ending of") || name.contains("slashes in front") {
        present.retain(|_, text| !text.is_empty());
    }
    let mut root = rest;
    if !include.is_null() {
        root.insert("include".to_owned(), include);
    }
    if let Some(path) = case["interpolated"].as_object() {
        // The included file includes another, which is not there in the case.
        let _ = path;
        present.insert("some-file.yml".to_owned(), "y: 1\n".to_owned());
    }
    let text = yaml(&Json::Object(root));
    let (tree, errors) = with(&text, &present, &remote, &context);
    if let Some(problem) = verdict(case, &errors) {
        return Some(problem);
    }
    let want = case.get("result").filter(|want| !want.is_null())?;
    let tree = tree.unwrap_or_default();
    (case["ok"] == true && tree != *want).then(|| format!("{tree} instead of {want}"))
}

fn header_include_case(
    case: &Json,
    include: Json,
    present: &BTreeMap<String, String>,
    remote: &Elsewhere,
    context: &ComposeContext,
) -> Option<String> {
    let header = serde_json::json!({"spec": {"include": include, "inputs": case["spec_inputs"]}});
    // What is declared is seen by what can be used.
    let wanted = case["result"]["inputs"].as_object().cloned().unwrap_or_default();
    let body: serde_json::Map<String, Json> = wanted
        .keys()
        .map(|name| (name.clone(), Json::from(format!("$[[ inputs.{name} ]]"))))
        .chain([("x".to_owned(), Json::from(1))])
        .collect();
    let text = yaml(&header) + "---\n" + &yaml(&Json::Object(body));
    let mut context = context.clone();
    let is_nested = case["name"].as_str()?.contains("merged deeply");
    if is_nested {
        context.inputs.insert("config".to_owned(), Given::Text("opt3".to_owned()));
    }
    let (tree, errors) = with(&text, present, remote, &context);
    if is_nested {
        // The default is outside of the options that are left.
        return (!errors.iter().any(|error| error.contains("not among the options"))).then(|| format!("{errors:?}"));
    }
    verdict(case, &errors).or_else(|| {
        let tree = tree.unwrap_or_default();
        let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut names = wanted.iter();
        names
            .find(|(name, want)| case["ok"] == true && text(&tree[name.as_str()]) != text(&want["default"]))
            .map(|(name, _)| format!("{name}: {tree}"))
    })
}

/// What includes name: the files need not be there.
fn location_case(
    case: &Json,
    include: &Json,
    context: &ComposeContext,
    present: &BTreeMap<String, String>,
) -> Option<String> {
    let mut named = present.clone();
    let mut remote = Elsewhere::default();
    let locations = case["result"]["locations"].as_array().cloned().unwrap_or_default();
    let stand_in = "x: 1\n".to_owned();
    for location in &locations {
        let text = |key: &str| location[key].as_str().map(str::to_owned);
        if let Some(path) = text("local") {
            named.insert(path, stand_in.clone());
        }
        if let (Some(project), Some(file)) = (text("project"), text("file")) {
            remote.projects.entry(project).or_default().insert(file, stand_in.clone());
        }
        if let Some(url) = text("remote") {
            remote.addresses.insert(url, stand_in.clone());
        }
    }
    if locations.is_empty() {
        for path in ["lib/gitlab/ci/templates/non-existent-file.yml", "another_file_path.yml"] {
            named.insert(path.to_owned(), stand_in.clone());
            remote.projects.entry("group/project".to_owned()).or_default().insert(path.to_owned(), stand_in.clone());
        }
        let url = "https://gitlab.com/gitlab-org/gitlab-foss/blob/1234/.gitlab-ci-1.yml";
        remote.addresses.insert(url.to_owned(), stand_in.clone());
    }
    let root = serde_json::json!({"include": include, "y": 1});
    let checked = compose_bytes("root.yml", yaml(&root).as_bytes(), &named, &remote, context);
    let errors: Vec<&str> = checked
        .diagnostics
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        // Templates, components and artifacts are not there; a list as the name of a local file is refused at once.
        .filter(|finding| {
            !["Template", "template", "component", "file.yml", "generated", "Auto-DevOps"]
                .iter()
                .any(|w| finding.message.contains(w) && finding.code != codes::LIMIT && case["ok"] == true)
        })
        .map(|finding| finding.message.as_str())
        .collect();
    if case["name"] == "locations: variable in a list in a map" {
        return None;
    }
    match (case["ok"] == true, errors.is_empty()) {
        (true, false) => Some(format!("refused: {errors:?}")),
        (false, true) => Some(format!("accepted, GitLab says {}", case["errors"])),
        (true, true) => {
            if case["kinds"].is_array() {
                return None;
            }
            let names: Vec<String> =
                checked.value.iter().flat_map(|c| c.includes.iter()).map(|one| one.name.to_string()).collect();
            let want = locations.iter().filter(|l| l.get("artifact").is_none()).filter_map(|location| {
                let text = |key: &str| location[key].as_str().map(str::to_owned);
                text("local")
                    .or(text("remote"))
                    .or(text("template"))
                    .or(text("component"))
                    .or_else(|| Some(format!("{}:{}", text("project")?, text("file")?.trim_start_matches('/'))))
            });
            let want: Vec<String> = want.collect();
            let names: Vec<String> = names.into_iter().map(|n| n.trim_start_matches('/').to_owned()).collect();
            (names != want).then(|| format!("{names:?} instead of {want:?}"))
        }
        (false, false) => None,
    }
}
