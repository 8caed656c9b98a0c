//! Text that nobody would write: it must end, quickly and without a panic.

use proptest::prelude::*;

use super::*;

/// Texts to start from.
fn seeds() -> Vec<String> {
    let mut seeds: Vec<String> = ["gitlab/official/references.json", "gitlab/official/extends.json"]
        .into_iter()
        .flat_map(cases)
        .filter_map(|case| Some(case["yaml"].as_str()?.to_owned()))
        .collect();
    seeds.push(
        "spec:\n  inputs:\n    a: {type: array, default: [1, 2]}\n---\ninclude: other.yml\nx: [$[[ inputs.a ]]]\n"
            .to_owned(),
    );
    seeds.push("include:\n  - local: other.yml\n    rules: [{if: $A, exists: [x]}]\n    inputs: {a: 1}\nx: &x {<<: {y: 1}}\nz: *x\n".to_owned());
    seeds
}

/// Pieces that mean something.
const PIECES: [&str; 20] = [
    "&a ",
    "*a",
    "<<: *a\n",
    "!reference [x, y]",
    "extends: [x, test]\n",
    "$[[ inputs.a ]]",
    "include: other.yml\n",
    "---\n",
    "\t",
    "\"",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "\n",
    "  ",
    "- ",
    "\u{1}",
    "ü",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn mutations_end(seed in 0..1_000_usize, changes in proptest::collection::vec((0..10_000_usize, 0..PIECES.len(), 0..12_usize), 1..8)) {
        let seeds = seeds();
        let mut text = seeds[seed % seeds.len()].clone();
        for (at, piece, cut) in changes {
            let bound = |at: usize, text: &str| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let from = bound(at % (text.len() + 1), &text);
            let to = bound(from + cut, &text).max(from);
            text.replace_range(from..to, PIECES[piece]);
        }
        let other = text.clone();
        let present = files(&[("other.yml", &other)]);
        let mut context = ComposeContext::default();
        context.inputs.insert("a".to_owned(), Given::Text("[1]".to_owned()));
        let started = std::time::Instant::now();
        let checked = compose_bytes("root.yml", text.as_bytes(), &present, &Offline, &context);
        prop_assert!(started.elapsed().as_secs() < 5, "{text}");
        prop_assert!(checked.value.is_some() || checked.diagnostics.has_errors(), "nothing, and no reason: {text}");
    }
}
