//! Whatever is written: no panic and no hang.

use proptest::prelude::*;

use super::*;

const WORKFLOW: &str = "name: ${{ x }}\non:\n  push: {branches: [main]}\n  workflow_dispatch:\n    inputs:\n      a: {type: choice, options: [x]}\npermissions: read-all\nenv: &e {A: \"${{ github.ref }}\", B: 1.10}\njobs:\n  a:\n    runs-on: [self-hosted, \"${{ matrix.os }}\"]\n    strategy: {matrix: {os: [x, y], include: [{os: z, n: 1}]}, max-parallel: 2}\n    outputs: {o: \"${{ steps.s.outputs.x }}\"}\n    env: *e\n    steps:\n      - id: s\n        run: |\n          echo ${{ github.event.issue.title }}\n          echo ::set-output name=x::1\n        background: true\n      - wait: s\n      - uses: actions/checkout@v4\n        if: always() && ${{ true }}\n      - parallel: [{run: a}, {run: b}]\n  b:\n    needs: [a]\n    if: needs.a.outputs.o == 'x' || failure()\n    uses: ./.github/workflows/b.yml\n    with: {x: 1}\n    secrets: inherit\n";

fn run(text: &str) {
    let files = std::collections::BTreeMap::from([(".github/workflows/b.yml".to_owned(), text.to_owned())]);
    for dialect in [Dialect::GitHub, Dialect::Gitea, Dialect::Forgejo] {
        let checked =
            check(".github/workflows/w.yml", text, &files, &CheckOptions { dialect, ..CheckOptions::default() });
        // Places lie in the text.
        for finding in checked.diagnostics.iter() {
            assert!(finding.span.line > 0 && finding.span.column > 0, "{finding:?}");
        }
    }
}

#[test]
fn the_workflow_that_is_mutated_is_almost_right() {
    let checked = check("w.yml", WORKFLOW, &NoFiles, &CheckOptions { lints: false, ..CheckOptions::default() });
    let found: Vec<String> = errors(&checked).into_iter().map(|error| error.3).collect();
    assert_eq!(found, ["Unrecognized named-value: 'x'. Located at position 1 within expression: x"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_workflows_are_read_to_their_end(
        edits in prop::collection::vec((0..WORKFLOW.len(), prop_oneof![
            Just(String::new()), Just("${{".to_owned()), Just("}}".to_owned()), Just("\n".to_owned()), Just(" ".to_owned()),
            Just("'".to_owned()), Just("[".to_owned()), Just("{".to_owned()), Just("*e".to_owned()), Just("&z ".to_owned()),
            Just("- ".to_owned()), Just(": ".to_owned()), Just("~".to_owned()), Just("ü".to_owned()), Just("!!int ".to_owned()),
        ], 0..12usize), 1..6)
    ) {
        let mut text = WORKFLOW.to_owned();
        for (at, with, cut) in edits {
            let from = at.min(text.len());
            let to = (from + cut).min(text.len());
            if text.is_char_boundary(from) && text.is_char_boundary(to) {
                text.replace_range(from..to, &with);
            }
        }
        run(&text);
    }
}

#[test]
fn huge_circles_and_chains_take_no_time() {
    let mut text = String::from("on: push\njobs:\n");
    for at in 0..20_000 {
        text += &format!("  j{at}:\n    needs: [j{}]\n    runs-on: x\n    steps: [{{run: a}}]\n", (at + 1) % 20_000);
    }
    let checked = check("w.yml", &text, &NoFiles, &CheckOptions::default());
    assert!(checked.diagnostics.has_errors());
    let chain = text.replace("needs: [j0]\n", "needs: []\n");
    let checked = check("w.yml", &chain, &NoFiles, &CheckOptions::default());
    assert!(!checked.diagnostics.has_errors(), "{:?}", errors(&checked));
}

#[test]
fn workflows_that_call_each_other_end() {
    let call = |to: &str| {
        format!("on: [push, workflow_call]\njobs:\n  a:\n    uses: ./{to}.yml\n  b:\n    uses: ./{to}.yml\n")
    };
    let mut files: std::collections::BTreeMap<String, String> =
        (0..30).map(|at| (format!("w{at}.yml"), call(&format!("w{}", at + 1)))).collect();
    files.insert("self.yml".into(), call("self"));
    let found = errors(&check("w0.yml", &files["w0.yml"], &files, &CheckOptions::default()));
    assert!(found.iter().any(|error| error.3 == "Nested reusable workflow depth exceeded 10."), "{found:?}");
    let found = errors(&check("self.yml", &files["self.yml"], &files, &CheckOptions::default()));
    assert!(found.iter().any(|error| error.3.contains("never end")), "{found:?}");
}
