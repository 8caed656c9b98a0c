//! Whatever the tree, there is an answer.

use proptest::prelude::*;

use super::*;
use crate::parser::document::{Entry, Span};

const KEYS: [&str; 60] = [
    "script",
    "before_script",
    "after_script",
    "image",
    "services",
    "variables",
    "stages",
    "stage",
    "default",
    "workflow",
    "rules",
    "if",
    "changes",
    "exists",
    "when",
    "start_in",
    "allow_failure",
    "needs",
    "job",
    "artifacts",
    "optional",
    "parallel",
    "matrix",
    "pipeline",
    "project",
    "ref",
    "dependencies",
    "paths",
    "reports",
    "junit",
    "coverage_report",
    "expire_in",
    "cache",
    "key",
    "files",
    "prefix",
    "policy",
    "retry",
    "max",
    "timeout",
    "environment",
    "name",
    "on_stop",
    "action",
    "kubernetes",
    "release",
    "assets",
    "links",
    "trigger",
    "include",
    "forward",
    "inputs",
    "run",
    "secrets",
    "id_tokens",
    "aud",
    "inherit",
    "pages",
    "only",
    "build",
];
const TEXTS: [&str; 24] = [
    "",
    "~",
    "true",
    "1",
    "-1",
    "1.5",
    "99999999999999999999",
    "on_success",
    "manual",
    "delayed",
    "1 day",
    "$VAR",
    "/a(b/i",
    "build",
    "test",
    "build 1/2",
    "build: [a, b]",
    ".hidden",
    "always",
    "$A == \"b\"",
    "$A =~ /(/",
    "a/b",
    "..",
    "2024-01-01",
];

fn span() -> Span {
    Span::start_of(FileId(0))
}

fn tree() -> impl Strategy<Value = Node> {
    let leaf = (0..TEXTS.len(), any::<bool>()).prop_map(|(at, quoted)| match quoted {
        true => Node::text(TEXTS[at], span()),
        false => Node::plain(TEXTS[at], span()),
    });
    leaf.prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| Node::sequence(items, span())),
            prop::collection::vec((0..KEYS.len(), inner), 0..6).prop_map(|entries| {
                let entries =
                    entries.into_iter().map(|(key, value)| Entry { key: Node::plain(KEYS[key], span()), value });
                Node::mapping(entries.collect(), span())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_tree_has_an_answer(root in tree()) {
        checked(&root);
    }

    #[test]
    fn any_job_has_an_answer(keys in prop::collection::vec((0..KEYS.len(), tree()), 0..8)) {
        let entries: Vec<Entry> =
            keys.into_iter().map(|(key, value)| Entry { key: Node::plain(KEYS[key], span()), value }).collect();
        let mut job = entries.clone();
        job.push(Entry { key: Node::plain("script", span()), value: Node::text("ls", span()) });
        let root = vec![
            Entry { key: Node::plain("build", span()), value: Node::mapping(job, span()) },
            Entry { key: Node::plain("default", span()), value: Node::mapping(entries.clone(), span()) },
            Entry { key: Node::plain("workflow", span()), value: Node::mapping(entries, span()) },
        ];
        checked(&Node::mapping(root, span()));
    }
}
