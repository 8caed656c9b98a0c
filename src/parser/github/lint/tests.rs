//! Each lint where it has to speak, and where it has to be silent.

use crate::parser::diagnostics::{Code, Severity};
use crate::parser::document::NoFiles;
use crate::parser::github::{CheckOptions, check, codes};

/// Lines on which a lint speaks, and all that it says.
fn lints(text: &str, code: Code) -> (Vec<u32>, String) {
    let checked = check("w.yml", text, &NoFiles, &CheckOptions::default());
    assert!(!checked.diagnostics.has_errors(), "{:?}", checked.diagnostics);
    let found: Vec<_> = checked.diagnostics.iter().filter(|finding| finding.code == code).collect();
    assert!(found.iter().all(|finding| finding.severity == Severity::Warning));
    let said =
        found.iter().map(|finding| format!("{} {}\n", finding.message, finding.help.clone().unwrap_or_default()));
    (found.iter().map(|finding| finding.span.line).collect(), said.collect())
}

fn job(steps: &str) -> String {
    format!("on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n{steps}")
}

#[test]
fn text_of_strangers_in_scripts() {
    let (lines, said) = lints(
        &job(
            "      - run: echo '${{ github.event.issue.title }}'\n      - run: echo \"$T\"\n        env: {T: \"${{ github.event.issue.title }}\"}\n      - run: git log ${{ github.head_ref }}\n      - run: echo ${{ github.event.issue.number }} ${{ github.sha }}\n      - uses: actions/github-script@0000000000000000000000000000000000000000\n        with: {script: \"x('${{ github.event.comment.body }}')\"}\n      - run: echo ${{ join(github.event.commits.*.message) }}\n",
        ),
        codes::INJECTION,
    );
    assert_eq!(lines, [6, 9, 12, 13]);
    assert!(said.contains("env: { TITLE: ${{ github.event.issue.title }} }") && said.contains("\"$TITLE\""), "{said}");
    assert!(said.contains("HEAD_REF"), "{said}");
}

#[test]
fn code_of_strangers_with_rights() {
    let text = |event: &str, git_ref: &str| {
        format!(
            "on: {event}\njobs:\n  a:\n    runs-on: x\n    steps:\n      - uses: actions/checkout@0000000000000000000000000000000000000000\n        with: {{ref: \"{git_ref}\"}}\n"
        )
    };
    let head = "${{ github.event.pull_request.head.sha }}";
    assert_eq!(lints(&text("pull_request_target", head), codes::UNTRUSTED_CHECKOUT).0, [7]);
    assert_eq!(
        lints(&text("workflow_run", "${{ github.event.workflow_run.head_sha }}"), codes::UNTRUSTED_CHECKOUT).0,
        [7]
    );
    assert_eq!(
        lints(&text("pull_request_target", "refs/pull/${{ github.event.number }}/merge"), codes::UNTRUSTED_CHECKOUT).0,
        [7]
    );
    assert!(lints(&text("pull_request", head), codes::UNTRUSTED_CHECKOUT).0.is_empty());
    assert!(lints(&text("pull_request_target", "main"), codes::UNTRUSTED_CHECKOUT).0.is_empty());
}

#[test]
fn actions_that_can_change() {
    let (lines, said) = lints(
        &job(
            "      - uses: a/b@v1\n      - uses: a/b/c@main\n      - uses: a/b@0123456789abcdef0123456789abcdef01234567\n      - uses: ./x\n      - uses: docker://alpine:3\n",
        ),
        codes::UNPINNED,
    );
    assert_eq!(lines, [6, 7]);
    assert!(said.contains("a/b@<commit> # v1") && said.contains("git ls-remote https://github.com/a/b main"), "{said}");
}

#[test]
fn printed_secrets() {
    let (lines, _) = lints(
        &job(
            "      - run: echo ${{ secrets.A }}\n      - run: echo ${{ secrets.A }} | docker login --password-stdin\n      - run: echo \"${{ secrets.A || 'x' }}\" > file\n      - run: login ${{ secrets.A }}\n      - run: echo \"$TOKEN\"\n        env: {TOKEN: \"${{ secrets.T }}\"}\n      - run: echo \"$TOKEN_NAME\"\n        env: {TOKEN: \"${{ secrets.T }}\"}\n      - run: x '${{ toJSON(secrets) }}'\n",
        ),
        codes::SECRET_PRINTED,
    );
    assert_eq!(lines, [6, 10, 14]);
}

#[test]
fn names_that_are_not_there() {
    let text = "on: push\njobs:\n  build:\n    runs-on: x\n    outputs: {version: \"${{ steps.verson.outputs.v }}\"}\n    steps:\n      - run: echo ${{ steps.version.outputs.v }}\n      - id: version\n        run: echo\n      - run: echo ${{ steps.version.outputs.v }}\n  test:\n    needs: build\n    runs-on: ${{ matrix.so }}\n    strategy: {matrix: {os: [a]}}\n    steps:\n      - run: echo ${{ needs.build.outputs.verison }} ${{ needs.biuld.result }} ${{ needs.build.outputs.version }}\n      - run: echo ${{ matrix.os }} ${{ inputs.x }}\n";
    let (lines, said) = lints(text, codes::UNKNOWN_STEP);
    assert_eq!(lines, [5, 7]);
    assert!(said.contains("did you mean `version`?") && said.contains("comes later"), "{said}");
    let (lines, said) = lints(text, codes::UNKNOWN_OUTPUT);
    assert_eq!(lines, [16, 16]);
    assert!(said.contains("did you mean `version`?") && said.contains("did you mean `build`?"), "{said}");
    let (lines, said) = lints(text, codes::UNKNOWN_NAME);
    assert_eq!(lines, [13, 17]);
    assert!(said.contains("did you mean `os`?"), "{said}");
}

#[test]
fn conditions_that_are_decided() {
    let (lines, said) = lints(
        &job(
            "      - {run: a, if: false}\n      - {run: a, if: true}\n      - {run: a, if: \"${{ github.ref == 'x' }} && true\"}\n      - {run: a, if: github.ref == 'x'}\n      - {run: a, if: \"false && github.ref\"}\n      - {run: a, if: always()}\n",
        ),
        codes::CONSTANT_CONDITION,
    );
    assert_eq!(lines, [6, 8, 10]);
    assert!(said.contains("never runs") && said.contains("inside one `${{ }}`"), "{said}");
}

#[test]
fn deprecated_commands() {
    let (lines, said) = lints(
        &job(
            "      - run: echo \"::set-output name=a::b\"\n      - run: echo '::add-path::/x'\n      - run: echo ::notice::x\n",
        ),
        codes::DEPRECATED_COMMAND,
    );
    assert_eq!(lines, [6, 7]);
    assert!(said.contains("\"$GITHUB_OUTPUT\"") && said.contains("\"$GITHUB_PATH\""), "{said}");
}
