//! The corpus of expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::*;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpus/");

/// The cases of a file or of all files right in a folder; none where the corpus is absent.
fn cases(path: &str) -> Vec<Json> {
    let path = std::path::Path::new(CORPUS).join(path);
    let files = if path.is_dir() {
        let entries = std::fs::read_dir(&path).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
    } else {
        vec![path]
    };
    let mut cases = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            println!("note: {} is absent, nothing is checked", file.display());
            continue;
        };
        cases.extend(serde_json::from_str::<Vec<Json>>(&text).unwrap());
    }
    cases
}

fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

#[test]
fn every_expression_of_github_has_the_official_result() {
    let mut wrong = Vec::new();
    for case in cases("github/expressions") {
        let text = case["expr"].as_str().unwrap();
        let result = eval_json(text, Dialect::GitHub, case.get("context").unwrap_or(&Json::Null));
        let good = match (&result, case.get("error").and_then(Json::as_str)) {
            (Ok(value), None) => same(value, &case["result"]),
            (Err(error), Some(official)) => place(official).is_none_or(|place| place == error.position(text)),
            _ => false,
        };
        if !good {
            wrong.push(format!(
                "{}: {text}\n  ours {result:?}\n  official {} {}",
                case["name"], case["result"], case["error"]
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The position that an official message names, where the official implementations agree on it.
fn place(message: &str) -> Option<usize> {
    let (what, place) = message.split_once(" Located at position ")?;
    if !place.contains(" within ") || what.starts_with("Unrecognized function") {
        return None;
    }
    place.split_once(' ')?.0.parse().ok()
}

#[test]
fn where_act_differs_the_official_value_counts() {
    for case in cases("github/expressions/differs") {
        let result = eval_json(case["expr"].as_str().unwrap(), Dialect::GitHub, &case["context"]).unwrap();
        assert!(same(&result, &case["official"]["result"]), "{}: {result}", case["expr"]);
    }
}

#[test]
fn templates_put_values_into_text() {
    for case in cases("github/expressions/templates/interpolate.json") {
        let template = Template::parse(case["template"].as_str().unwrap(), Dialect::GitHub).unwrap();
        let context = from_json(&case["context"]);
        let text = template.evaluate_text(context.as_object().unwrap(), &Budget::default()).unwrap();
        assert_eq!(text, case["result"].as_str().unwrap());
    }
    for case in cases("github/expressions/templates/rewrite.json") {
        let text = case["template"].as_str().unwrap();
        let template = Template::parse(text, Dialect::GitHub).unwrap();
        assert_eq!(template.as_expr().is_some(), text.starts_with("${{"), "{text}");
    }
}

struct Status(Option<String>);

impl Context for Status {
    fn named(&self, _: &str) -> Option<Value> {
        None
    }

    fn status(&self, check: StatusCheck, _: &[Value]) -> Option<bool> {
        let status = self.0.as_deref().unwrap_or("success");
        Some(match check {
            StatusCheck::Always => true,
            StatusCheck::Cancelled => status == "cancelled",
            StatusCheck::Failure => status == "failure",
            StatusCheck::Success => status == "success",
        })
    }
}

#[test]
fn status_functions_ask_the_host() {
    for case in cases("github/expressions/status") {
        let embedded = case.get("embedded_in_composite").is_some_and(|it| it == true);
        let key = if embedded { "action_status" } else { "job_status" };
        let status = Status(case[key].as_str().map(str::to_owned));
        let expr = parse(case["expr"].as_str().unwrap(), Dialect::GitHub).unwrap();
        let value = evaluate(&expr, &status, &Budget::default()).unwrap();
        assert_eq!(to_json(&value), case["result"], "{case}");
    }
}

pub(crate) struct Texts(pub BTreeMap<String, String>);

impl FileHasher for Texts {
    fn files(&self) -> Result<Arc<[String]>, String> {
        Ok(self.0.keys().cloned().collect())
    }

    fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String> {
        Ok(Some(Sha256::digest(self.0.get(path).ok_or("no such file")?).into()))
    }

    fn workspace(&self) -> Option<&str> {
        Some("/w/s")
    }
}

impl Context for Texts {
    fn named(&self, _: &str) -> Option<Value> {
        None
    }

    fn files(&self) -> Option<&dyn FileHasher> {
        Some(self)
    }
}

fn hash_of(files: &[(&str, &str)], call: &str) -> String {
    let files = Texts(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect());
    let expr = parse(call, Dialect::GitHub).unwrap();
    evaluate(&expr, &files, &Budget::default()).unwrap().to_text().to_string()
}

fn digest_of(texts: &[&str]) -> String {
    let mut all = Sha256::new();
    texts.iter().for_each(|text| all.update(Sha256::digest(text)));
    hex::encode(all.finalize())
}

#[test]
fn hash_files_is_the_digest_of_digests_in_the_order_of_the_walk() {
    let files =
        [("a.txt", "1"), ("a/z.txt", "2"), ("b/c.lock", "3"), ("b/d/e.lock", "4"), ("src/x.rs", "5"), (".hid/f", "6")];
    for (call, texts) in [
        ("hashFiles('**')", &["6", "2", "1", "3", "4", "5"][..]),
        ("hashFiles('**/*.lock')", &["3", "4"]),
        ("hashFiles('**/*.lock', '!b/d/**')", &["3"]),
        ("hashFiles('**/*.lock', '!**/d/*', 'b/d/e.lock')", &["3", "4"]),
        ("hashFiles('src', 'a.txt')", &["5", "1"]),
        ("hashFiles('b/?.lock')", &["3"]),
        ("hashFiles('[ab]/**')", &["2", "3", "4"]),
        ("hashFiles('[!a]/c*')", &["3"]),
        ("hashFiles('a*')", &["2", "1"]),
        ("hashFiles('a.txt/')", &[]),
        ("hashFiles('b/')", &["3", "4"]),
        ("hashFiles('/w/s/a.txt', '/w/s/b/**/')", &["1", "3", "4"]),
        ("hashFiles('/w/other/a.txt', '/w/sa.txt', '~/a.txt')", &[]),
    ] {
        let want = if texts.is_empty() { String::new() } else { digest_of(texts) };
        assert_eq!(hash_of(&files, call), want, "{call}");
    }
    for pattern in ["../a.txt", "b/../a.txt", "b/./c.lock", "!b/.."] {
        let expr = parse(&format!("hashFiles('{pattern}')"), Dialect::GitHub).unwrap();
        let error = evaluate(&expr, &Texts(BTreeMap::new()), &Budget::default()).unwrap_err();
        assert!(error.to_string().contains("not allowed"), "{pattern}: {error}");
    }
    for case in cases("github/expressions/hashfiles") {
        let files = case["files"].as_object().unwrap();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str().unwrap())).collect();
        // The corpus has act's value, which is the official one for one file or none.
        let call = case["expr"].as_str().unwrap();
        let want = match call {
            "hashFiles('./for-hashing-1.txt')" => digest_of(&["Hello\n"]),
            "hashFiles('./for-hashing-*.txt')" => digest_of(&["Hello\n", "World!\n"]),
            _ => String::new(),
        };
        assert_eq!(hash_of(&files, call), want, "{call}");
    }
}

#[test]
fn native_adds_arithmetic_and_operations() {
    let context = serde_json::json!({
        "env": { "WORKER_COUNT": "4", "BRANCH_NAME": "feature/x", "TEST_TARGETS": "unit,e2e", "EMPTY": "" },
        "job": { "build": { "artifacts": { "count": 3 }, "status": "success" } },
        "matrix": { "versions": ["3.9", "3.10"] }
    });
    for (text, want) in [
        ("env.WORKER_COUNT * 2", serde_json::json!(8)),
        ("1 + 2 * 3 - 4 / 2", 5.into()),
        ("(1 + 2) * 3 % 5", 4.into()),
        ("1 -1", 0.into()),
        ("2-1", 1.into()),
        ("-(2)", (-2).into()),
        ("'deploy-' + env.BRANCH_NAME", "deploy-feature/x".into()),
        ("'n' + 1 + true + null", "n1true".into()),
        ("env.TEST_TARGETS.split(',')", serde_json::json!(["unit", "e2e"])),
        ("env.TEST_TARGETS.split(',').length", 2.into()),
        ("env.TEST_TARGETS.split(',')[1].upper()", "E2E".into()),
        ("env.EMPTY.split(',').length", 0.into()),
        ("'abc'.length + matrix.versions.length", 5.into()),
        ("matrix.versions + matrix.versions.reverse()", serde_json::json!(["3.9", "3.10", "3.10", "3.9"])),
        ("matrix.versions.join(' ')", "3.9 3.10".into()),
        ("job.build.artifacts.count > 2 && job.build.status == 'success'", true.into()),
        ("format('v{}.{}-{0}', 1, 2)", "v1.2-1".into()),
        ("env.BRANCH_NAME.replace('/', '-').slice(0, 4)", "feat".into()),
        ("'a,b,a'.split(',').unique().sort().join('')", "ab".into()),
        ("env.BRANCH_NAME.startsWith('feature/')", true.into()),
        ("\"it\" + 's'", "its".into()),
        ("1e-1 + 1", 1.1.into()),
    ] {
        match eval_json(text, Dialect::Native, &context) {
            Ok(value) => assert!(same(&value, &want), "{text}: {value}, not {want}"),
            Err(error) => panic!("{text}: {error}"),
        }
    }
    for (text, at, word) in [
        ("env.BRANCH_NAME * 2", 0, "'feature/x' is not a number"),
        ("1 / 0", 4, "division by zero"),
        ("matrix.versions.upper()", 0, "an array has no `upper()`"),
        ("matrix + 1", 0, "an object and a number cannot be added"),
        ("env.A.split()", 6, "Too few parameters supplied: 'split'"),
        ("1 + ", 2, "Unexpected end of expression: '+'"),
    ] {
        let error = eval_json(text, Dialect::Native, &context).unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (at, word), "{text}");
    }
}

/// As the documentation counts them.
#[test]
fn levels_are_counted_by_sign_and_chains_of_conditions_are_one() {
    let chain = |sign: &str, values: usize| vec!["1"; values].join(sign);
    let is_read = |text: &str| match eval_json(text, Dialect::Native, &Json::Null) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::TooDeep, "{text:.40}: {error}");
            false
        }
    };
    for sign in [" + ", " - ", " * ", " / ", " == ", " <= "] {
        assert!(is_read(&chain(sign, 200)) && !is_read(&chain(sign, 201)), "{sign}");
    }
    for sign in [" && ", " || "] {
        assert!(is_read(&chain(sign, 1_000)), "{sign}");
        assert!(is_read(&format!("1{sign}{}", chain(" + ", 199))), "{sign}");
        assert!(!is_read(&format!("1{sign}{}", chain(" + ", 200))), "{sign}");
    }
}

#[test]
fn an_evaluation_ends_within_its_budget() {
    let long = format!("join(fromJSON('[{}]'), '')", vec!["1"; 5_000].join(","));
    let doubled = "'x'.replace('x','xxxxxxxxxx')".to_owned() + &".replace('x','xxxxxxxxxx')".repeat(9);
    for (text, budget) in [
        (long.as_str(), Budget { bytes: 100, ..Budget::default() }),
        (doubled.as_str(), Budget::default()),
        ("1 + 1", Budget { steps: 2, ..Budget::default() }),
        ("1", Budget { expired: Some(&|| true), ..Budget::default() }),
    ] {
        let error = eval_json_within(text, Dialect::Native, &Json::Null, &budget).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Budget, "{text:.40}: {error}");
    }
}

#[test]
fn what_an_expression_uses_is_known_without_running_it() {
    let text = "github.event['inputs'].*.x == env[matrix.key] && contains(a.b, format('{0}', 1))";
    let expr = parse(text, Dialect::GitHub).unwrap();
    let usage = analysis::usage(&expr);
    let names: Vec<_> = usage.names.iter().map(|name| (&text[name.whole.clone()], name.path.len())).collect();
    assert_eq!(names, [("github.event['inputs'].*.x", 4), ("env[matrix.key]", 1), ("matrix.key", 1), ("a.b", 1)]);
    assert!(usage.names[0].is("GitHub", &["event", "inputs"]));
    assert_eq!(usage.functions.iter().map(|function| function.name).collect::<Vec<_>>(), ["contains", "format"]);
    assert_eq!(analysis::static_type(&expr), analysis::Type::Bool);
    let constant = parse("join(fromJSON('[1,2]'), '-')", Dialect::GitHub).unwrap();
    assert_eq!(analysis::constant(&constant).unwrap().as_text(), Some("1-2"));
}

#[test]
fn templates_know_the_place_of_every_error() {
    let errors = Template::parse("a ${{ 1 + }} b ${{ }} c ${{ x", Dialect::Native).unwrap_err();
    let places: Vec<_> = errors.iter().map(|error| (error.offset, error.error.offset)).collect();
    assert_eq!(places, [(6, 2), (19, 0), (24, 0)]);
}

#[test]
fn gitlab_expressions_have_the_servers_value() {
    let mut wrong = Vec::new();
    for case in cases("gitlab/official/expressions.json") {
        if case.get("disputed").is_some() {
            continue;
        }
        let text = case["expr"].as_str().unwrap();
        let parsed = gitlab::parse(text);
        let lookup = JsonLookup(&case);
        let truth = parsed.as_ref().map(|expr| expr.truth(&lookup)).unwrap_or(false);
        let value = parsed.as_ref().ok().map(|expr| match expr.evaluate(&lookup) {
            gitlab::Value::Null => Json::Null,
            gitlab::Value::Bool(truth) => truth.into(),
            gitlab::Value::Text(text) => text.into_owned().into(),
            gitlab::Value::Pattern(_) => "pattern".into(),
        });
        // Tests of the tokenizer alone, and of another limit than the server's.
        let of_tokens =
            ["tokens", "first_token", "max_tokens", "token_kinds"].iter().any(|key| case.get(key).is_some());
        let refused = case.get("error").is_some() || case.get("syntax_error").is_some_and(|it| it == true);
        let good = parsed.is_err() == refused
            && case.get("result").is_none_or(|result| *result == truth)
            && case.get("value").is_none_or(|want| value.as_ref().is_some_and(|value| value == want))
            && case.get("tree").is_none_or(|tree| parsed.as_ref().is_ok_and(|expr| *tree == shown(expr.root(), text)));
        if !good && !of_tokens {
            wrong.push(format!("{}: {text}\n  ours {value:?} {truth} {parsed:?}\n  {case}", case["name"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for case in cases("gitlab/expressions/rules_if.json") {
        let text = case["if"].as_str().unwrap();
        let truth = gitlab::parse(text).map(|expr| expr.truth(&JsonLookup(&case))).unwrap_or(false);
        match case.get("result") {
            Some(result) => assert_eq!(*result, truth, "{text}"),
            // What the peer refuses and GitLab does not: text on the right.
            None => assert!(!text.contains("/ur/") || !truth, "{text}"),
        }
    }
}

struct JsonLookup<'a>(&'a Json);

impl gitlab::Lookup for JsonLookup<'_> {
    fn variable(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.0["variables"].get(name)?.as_str().map(Into::into)
    }

    fn input(&self, name: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.0.get("inputs")?.get(name)?.as_str().map(Into::into)
    }
}

fn shown(node: &gitlab::Node, text: &str) -> String {
    use gitlab::{NodeKind, Operator};
    match &node.kind {
        NodeKind::Not(side) => format!("not({})", shown(side, text)),
        NodeKind::Binary(operator, left, right) => {
            let name = match operator {
                Operator::Equal => "equals",
                Operator::NotEqual => "not_equals",
                Operator::Match => "matches",
                Operator::NoMatch => "not_matches",
                Operator::And => "and",
                Operator::Or => "or",
            };
            format!("{name}({}, {})", shown(left, text), shown(right, text))
        }
        _ => text[node.at.clone()].to_owned(),
    }
}

#[test]
fn patterns_are_those_of_gitlab() {
    let mut wrong = Vec::new();
    for case in cases("gitlab/official/regexp.json") {
        let written = case["pattern"].as_str().unwrap();
        let multiline = case.get("multiline").is_some_and(|it| it == true);
        let written = if multiline { format!("(?m){written}") } else { written.to_owned() };
        let pattern = match case["form"].as_str().unwrap() {
            "raw" => regex::Pattern::raw(&written),
            "slashed" => regex::Pattern::slashed(&written),
            _ => regex::Pattern::ruby(&written),
        };
        let matches = case.get("text").and_then(Json::as_str).zip(pattern.as_ref().ok());
        let good = (pattern.is_ok() == (case["valid"] == true) || written.len() >= 256)
            && matches.is_none_or(|(text, pattern)| case["matches"] == pattern.is_match(text));
        if !good {
            wrong.push(format!("{pattern:?} {case}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn patterns_mean_what_re2_means() {
    for (pattern, text, want) in [
        (r"^\d$", "\u{0663}", false),
        (r"^\w+$", "\u{e9}", false),
        (r"^[\w-]+$", "a-b", true),
        (r"a{,2}", "a{,2}", true),
        (r"x{foo}", "x{foo}", true),
        (r"^[a&&b]+$", "a&b", true),
        (r"^[[a]+$", "[a", true),
        (r"^[]x]+$", "]x", true),
        (r"\Qa.b\E$", "a.b", true),
        (r"\bfoo\b", "a foo b", true),
        (r"^[[:alpha:]_]+$", "ab_", true),
        (r"\<a\>", "<a>", true),
    ] {
        assert_eq!(regex::Pattern::raw(pattern).map(|it| it.is_match(text)), Ok(want), "{pattern}");
    }
}

#[test]
fn the_examples_of_the_documentation_hold() {
    let text = include_str!("../../../docs/expressions.md");
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split(" | ").collect()).filter(|row: &Vec<_>| row.len() == 3).collect();
    assert!(rows.len() > 15);
    for row in rows.iter().skip(2) {
        let example = row[1].trim_matches('`');
        let want: Json = serde_json::from_str(row[2].trim_end_matches(" |").trim_matches('`')).unwrap();
        let value = eval_json(example, Dialect::Native, &Json::Null).unwrap();
        assert!(same(&value, &want), "{example}: {value}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_or_hangs(text in "(\\(|\\)|\\[|\\]|\\.|,|'|[a-z0-9 ]|&&|\\|\\||==|!|\\*|-|\\$|/|=~|format\\(|é){0,60}") {
        for dialect in [Dialect::GitHub, Dialect::Native] {
            let _ = eval_json(&text, dialect, &serde_json::json!({ "a": { "b": [1, "x"] } }));
        }
        let _ = gitlab::eval_json(&text, &serde_json::json!({ "a": "x" }));
        let _ = Template::parse(&text, Dialect::GitHub);
        for pattern in [regex::Pattern::raw(&text), regex::Pattern::slashed(&text), regex::Pattern::ruby(&text)].into_iter().flatten() {
            pattern.is_match("abc");
        }
    }
}

#[test]
fn an_expression_alone_is_told_how_its_job_stands() {
    let of = |text: &str, context: Json| eval_json(text, Dialect::GitHub, &context).unwrap();
    assert_eq!(of("success() && always() && !failure() && !cancelled()", Json::Null), true);
    assert_eq!(of("failure() && always() && !success()", serde_json::json!({"job": {"status": "failure"}})), true);
    assert_eq!(of("cancelled() && !success()", serde_json::json!({"job": {"status": "cancelled"}})), true);
}

#[test]
fn files_are_hashed_where_there_are_some() {
    struct One;
    impl FileHasher for One {
        fn files(&self) -> Result<std::sync::Arc<[String]>, String> {
            Ok(["a.txt".to_owned(), "link.txt".to_owned()].into())
        }
        fn sha256(&self, path: &str) -> Result<Option<[u8; 32]>, String> {
            Ok(Some([0; 32]).filter(|_| path == "a.txt"))
        }
    }
    let of = |text: &str| eval_json_among(text, Dialect::GitHub, &Json::Null, &Budget::default(), Some(&One)).unwrap();
    // The SHA-256 of 32 zero bytes.
    assert_eq!(of("hashFiles('*.txt')"), "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    assert_eq!(of("hashFiles('*.md')"), "");
    // A link to a folder is no file.
    assert_eq!(of("hashFiles('link.*')"), "");
}

#[test]
fn inputs_of_gitlab_come_from_the_context() {
    let context = serde_json::json!({"inputs": {"x": "y", "n": 3}, "V": "y"});
    let of = |text: &str| gitlab::eval_json(text, &context);
    assert_eq!(of(r#"$[[ inputs.x ]] == "y""#).unwrap(), true);
    assert_eq!(of(r#"$[[ inputs.x ]] == $V"#).unwrap(), true);
    assert_eq!(of(r#"$[[ inputs.n ]] == "3""#).unwrap(), true);
    assert!(of(r#"$[[ inputs.z ]] == "y""#).unwrap_err().message.contains("no input `z`"));
}

#[test]
fn an_expression_alone_has_a_mebibyte() {
    // Two texts of 400,000 characters; one alone is within it.
    let context = serde_json::json!({"a": "x".repeat(10_000)});
    let long = format!("format('{}', a)", "{0}".repeat(40));
    let one = format!("startsWith({long}, 'x')");
    assert_eq!(eval_json(&one, Dialect::GitHub, &context).unwrap(), true);
    let two = format!("startsWith({long}, {long})");
    let error = eval_json(&two, Dialect::GitHub, &context).unwrap_err();
    assert_eq!(error.message, "The maximum allowed memory size was exceeded");
}
