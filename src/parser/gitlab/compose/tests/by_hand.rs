//! What a user notices, case by case.

use super::*;

fn errors(text: &str, others: &[(&str, &str)]) -> Vec<String> {
    composed(text, &files(others), &ComposeContext::default()).1
}

fn tree(text: &str, others: &[(&str, &str)]) -> Json {
    let (tree, errors) = composed(text, &files(others), &ComposeContext::default());
    assert!(errors.is_empty(), "{errors:?}");
    tree.unwrap()
}

#[test]
fn whole_numbers_have_no_limit_and_a_block_may_end_with_a_bar() {
    let text = "spec: {inputs: {i: {default: 12345678901234567890}}}\n---\nj: {script: 'x $[[ inputs.i | ]]'}\n";
    assert_eq!(tree(text, &[])["j"]["script"], "x 12345678901234567890");
    let found = errors("spec: {inputs: {i: {description: true}}}\n---\nj: {script: x}\n", &[]);
    assert!(found.iter().any(|error| error.contains("`description`")), "{found:?}");
}

#[test]
fn a_file_that_stands_alone_is_not_copied() {
    let text = "a: {b: [1, 2]}\nstages: [x]\n";
    let checked = compose_bytes("r.yml", text.as_bytes(), &files(&[]), &Offline, &ComposeContext::default());
    let root = checked.value.unwrap().root;
    let crate::parser::document::Value::Mapping(inner) = &root.get("a").unwrap().value else { panic!() };
    assert!(!inner.is_shared());
}

#[test]
fn stages_get_their_edges() {
    assert_eq!(tree("stages: [a, .post, b]\n", &[])["stages"], serde_json::json!([".pre", "a", "b", ".post"]));
    assert_eq!(tree("stages: []\n", &[])["stages"], serde_json::json!([]));
}

#[test]
fn errors_of_all_files_come_in_one_pass() {
    let found = errors(
        "include: [a.yml, b.yml, c.yml]\njob:\n  extends: .bsae\n  script: [!reference [job, none]]\n",
        &[("a.yml", ".base: {script: x}\n"), ("b.yml", "x: [\n"), ("c.yml", "other:\n  extends: [.base, .nope]\n")],
    );
    let places: Vec<&str> = found.iter().map(|error| error.split_once(' ').unwrap().0).collect();
    assert_eq!(places, ["b.yml:2:1", "c.yml:2:20", ".gitlab-ci.yml:3:12", ".gitlab-ci.yml:4:29"], "{found:?}");
}

#[test]
fn a_near_name_is_suggested() {
    let text = "include: ci/biuld.yml\n";
    let checked = compose_bytes(
        "r.yml",
        text.as_bytes(),
        &files(&[("ci/build.yml", "x: 1\n")]),
        &Offline,
        &ComposeContext::default(),
    );
    let finding = checked.diagnostics.iter().next().unwrap();
    assert_eq!((finding.code, finding.help.as_deref()), (codes::INCLUDE_MISSING, Some("did you mean `ci/build.yml`?")));
}

#[test]
fn a_path_beside_the_including_file_is_not_meant() {
    let text = "include: ci/all.yml\n";
    let present = files(&[("ci/all.yml", "include: one.yml\n"), ("ci/one.yml", "x: 1\n")]);
    let checked = compose_bytes("r.yml", text.as_bytes(), &present, &Offline, &ComposeContext::default());
    let finding = checked.diagnostics.iter().next().unwrap();
    assert!(finding.help.as_deref().unwrap().contains("`ci/one.yml`"), "{finding:?}");
    assert_eq!(checked.sources.name(finding.span.file), "ci/all.yml");
}

#[test]
fn patterns_name_files() {
    let others = [("ci/a.yml", "a: 1\n"), ("ci/x/b.yml", "b: 1\n"), ("ci/x/y/c.yml", "c: 1\n"), ("ci/n.txt", "n: 1\n")];
    let keys = |pattern: &str| -> Vec<String> {
        tree(&format!("include: '{pattern}'\n"), &others).as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys("ci/*.yml"), ["a"]);
    assert_eq!(keys("/ci/**.yml"), ["a", "b", "c"]);
    assert_eq!(keys("ci/**/*.yml"), ["b", "c"]);
    assert_eq!(keys("ci/none*.yml"), [""; 0]);
}

#[test]
fn files_that_include_each_other_are_said_as_a_way() {
    let found = errors("include: a.yml\n", &[("a.yml", "include: b.yml\n"), ("b.yml", "include: a.yml\n")]);
    assert_eq!(found, ["b.yml:1:10 the file includes itself: a.yml -> b.yml -> a.yml"]);
}

#[test]
fn a_component_of_this_very_commit_is_here() {
    let mut context = ComposeContext::default();
    for (name, value) in [("CI_SERVER_FQDN", "git.example.com"), ("CI_PROJECT_PATH", "g/p"), ("CI_COMMIT_SHA", "abc")] {
        context.variables.insert(name.to_owned(), value.into());
    }
    let text =
        "include:\n  - component: $CI_SERVER_FQDN/$CI_PROJECT_PATH/lint@$CI_COMMIT_SHA\n    inputs: {as: check}\n";
    let template = "spec:\n  inputs: {as: }\n  component: [name, reference]\n---\n$[[ inputs.as ]]:\n  script: $[[ component.name ]] $[[ component.reference ]]\n";
    let (tree, errors) = composed(text, &files(&[("templates/lint/template.yml", template)]), &context);
    assert_eq!(errors, [""; 0]);
    assert_eq!(tree.unwrap(), serde_json::json!({"check": {"script": "lint abc"}}));
}

#[test]
fn what_cannot_be_had_is_a_note_or_an_error() {
    let text = "include:\n  - template: Jobs/Build.gitlab-ci.yml\njob:\n  extends: .from-there\n  script: [!reference [.there, x]]\n";
    let mut context = ComposeContext::default();
    let checked = compose_bytes("r.yml", text.as_bytes(), &files(&[]), &Offline, &context);
    assert!(!checked.diagnostics.has_errors(), "{:?}", checked.diagnostics);
    assert!(checked.value.unwrap().incomplete);
    context.unavailable = Unavailable::Error;
    let checked = compose_bytes("r.yml", text.as_bytes(), &files(&[]), &Offline, &context);
    let finding = checked.diagnostics.iter().find(|finding| finding.severity == Severity::Error).unwrap();
    assert_eq!((finding.code, finding.span.line, finding.span.column), (codes::INCLUDE_UNAVAILABLE, 2, 15));
}

#[test]
fn what_the_rules_of_an_include_leave_out_may_be_there_for_another_event() {
    let text =
        "include:\n  - local: a.yml\n    rules:\n      - if: $X == \"y\"\njob: {extends: .from-there, script: [x]}\n";
    let files = files(&[("a.yml", ".from-there: {tags: [t]}\n")]);
    for (event, incomplete) in [(Event::This, false), (Event::Any, true)] {
        let context = ComposeContext { event, ..ComposeContext::default() };
        let checked = compose_bytes("r.yml", text.as_bytes(), &files, &Offline, &context);
        assert_eq!(checked.diagnostics.has_errors(), !incomplete, "{:?}", checked.diagnostics);
        assert_eq!(checked.value.unwrap().incomplete, incomplete);
    }
}

#[test]
fn a_remote_file_must_be_what_integrity_says() {
    let mut remote = Elsewhere::default();
    let url = "https://example.com/ci.yml";
    remote.addresses.insert(url.to_owned(), "a: 1\n".to_owned());
    // echo 'a: 1' | openssl dgst -sha256 -binary | base64
    let text = |digest: &str| format!("include:\n  - remote: {url}\n    integrity: sha256-{digest}\n");
    let run = |text: &str| with(text, &files(&[]), &remote, &ComposeContext::default());
    let (_, errors) = run(&text("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    assert!(errors[0].contains("another than `integrity` says"), "{errors:?}");
    let digest = errors[0].rsplit_once("sha256-").unwrap().1.trim_end_matches('`').to_owned();
    assert_eq!(run(&text(&digest)).0, Some(serde_json::json!({"a": 1})));
    assert!(run("include:\n  - remote: https://example.com/ci.yml\n    integrity: md5-x\n").1[0].contains("in Base64"));
}

#[test]
fn inputs_are_converted_to_what_is_declared() {
    let text = "spec:\n  inputs:\n    n: {type: number}\n    b: {type: boolean, default: false}\n    s:\n---\nn: $[[ inputs.n ]]\nb: $[[ inputs.b ]]\ns: $[[ inputs.s ]]\n";
    let mut context = ComposeContext::default();
    for (name, value) in [("n", "3"), ("b", "true"), ("s", "010")] {
        context.inputs.insert(name.to_owned(), Given::Text(value.to_owned()));
    }
    let (tree, errors) = composed(text, &files(&[]), &context);
    assert_eq!(errors, [""; 0]);
    assert_eq!(tree.unwrap(), serde_json::json!({"n": 3, "b": true, "s": "010"}));
}

#[test]
fn byte_order_marks_and_encodings() {
    let compose = |bytes: &[u8]| {
        let checked = compose_bytes("r.yml", bytes, &files(&[]), &Offline, &ComposeContext::default());
        let errors: Vec<String> =
            checked.diagnostics.iter().map(|f| format!("{}:{} {}", f.span.line, f.span.column, f.message)).collect();
        (checked.value.map(|composed| to_json(&composed.root)), errors)
    };
    let want = Some(serde_json::json!({"ä": 1}));
    assert_eq!(compose("\u{FEFF}ä: 1\n".as_bytes()), (want.clone(), vec![]));
    let utf16: Vec<u8> = "\u{FEFF}ä: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(compose(&utf16), (want.clone(), vec![]));
    let big: Vec<u8> = "\u{FEFF}ä: 1\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(compose(&big), (want, vec![]));
    assert_eq!(utf16_text(&utf16).as_deref(), Some("ä: 1\n"));
    assert_eq!(utf16_text(&big).as_deref(), Some("ä: 1\n"));
    assert_eq!(utf16_text(b"a: 1\n"), None);
    assert_eq!(utf16_text(b"\xFF\xFE\x00\xD8"), None);
    let (_, errors) = compose(b"a: 1\nb: \xE4\n");
    assert!(errors[0].starts_with("2:4 ") && errors[0].contains("UTF-8"), "{errors:?}");
}

#[test]
fn growth_without_end_is_stopped() {
    let mut doubling = "a0: [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let one = format!("!reference [a{}]", n - 1);
        doubling += &format!("a{n}: [{}]\n", vec![one; 10].join(", "));
    }
    assert!(errors(&doubling, &[]).iter().any(|error| error.contains("expand to more than")));
    let chain: String = (0..5_000).map(|n| format!("a{n}: !reference [a{}]\n", n + 1)).collect();
    assert!(errors(&(chain + "a5000: x\n"), &[]).iter().any(|error| error.contains("more than 200")));
    let nest: String = (0..5_000).map(|n| format!("a{n}: [!reference [a{}]]\n", n + 1)).collect();
    assert!(errors(&(nest + "a5000: x\n"), &[]).iter().any(|error| error.contains("more than 200")));
    let chain: String = (0..5_000).map(|n| format!("a{n}: {{extends: a{}}}\n", n + 1)).collect();
    let found = errors(&(chain + "a5000: {x: 1}\n"), &[]);
    assert!(found.len() == 1 && found[0].contains("chain of 12 jobs"), "{found:?}");
    let twice = "include: [b.yml, b.yml]\n";
    let others: Vec<(String, String)> =
        (0..40).map(|n| (format!("f{n}.yml"), format!("include: [f{0}.yml, f{0}.yml]\n", n + 1))).collect();
    let mut others: BTreeMap<String, String> = others.into_iter().collect();
    others.insert("b.yml".to_owned(), "include: f0.yml\n".to_owned());
    others.insert("f40.yml".to_owned(), "x: 1\n".to_owned());
    let (_, found) = composed(twice, &others, &ComposeContext::default());
    assert!(found.iter().any(|error| error.contains("more than 1000 includes")), "{found:?}");
}

#[test]
fn symbols_are_keys_like_any_other() {
    assert_eq!(tree("job:\n  :script: x\n", &[]), serde_json::json!({"job": {"script": "x"}}));
}
