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
fn filters_that_exclude_each_other() {
    let on = |filters: &str| format!("on:\n  push: {{{filters}}}\njobs: {{a: {{runs-on: x, steps: [{{run: x}}]}}}}\n");
    let (lines, said) =
        lints(&on("branches: [a], branches-ignore: [b], paths: [x], paths-ignore: [y]"), codes::BOTH_FILTERS);
    assert_eq!(lines, [2, 2]);
    assert!(said.contains("both `branches` and `branches-ignore`") && said.contains("begins with `!`"), "{said}");
    assert_eq!(lints(&on("branches: [a], tags-ignore: [b], paths: [x]"), codes::BOTH_FILTERS).0, [0; 0]);
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
    assert_eq!(lines, [6, 7, 10]);
    assert!(said.contains("a/b@<commit> # v1") && said.contains("git ls-remote https://github.com/a/b main"), "{said}");
    assert!(said.contains("docker://alpine@sha256:<digest> # 3"), "{said}");
    let (lines, said) = lints(
        &job(
            "      - uses: docker://ghcr.io:443/a/b\n      - uses: docker://a@sha256:0000000000000000000000000000000000000000000000000000000000000000\n      - uses: https://gitea.com/a/b@v4\n",
        ),
        codes::UNPINNED,
    );
    assert_eq!(lines, [6, 8]);
    assert!(said.contains("docker://ghcr.io:443/a/b@sha256:<digest> # latest"), "{said}");
    assert!(said.contains("git ls-remote https://gitea.com/a/b v4"), "{said}");
}

#[test]
fn what_names_no_action_is_only_an_error() {
    let checked = check("w.yml", &job("      - uses: a@b\n"), &NoFiles, &CheckOptions::default());
    let codes: Vec<_> = checked.diagnostics.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [codes::USES]);
}

/// The lines of steps, counted from 0, on which a lint speaks.
fn steps_with(steps: &[&str], code: Code) -> Vec<usize> {
    let text: String = steps.iter().map(|step| format!("      - {step}\n")).collect();
    lints(&job(&text), code).0.iter().map(|line| *line as usize - 6).collect()
}

#[test]
fn all_that_strangers_write_in_scripts() {
    let found = [
        "run: echo ${{ toJSON(github.event) }}",
        "run: echo ${{ toJSON(github) }}",
        "run: echo ${{ toJSON(github.event.issue) }}",
        "run: echo ${{ fromJSON(toJSON(github.event)).issue.title }}",
        "run: echo ${{ github['event']['issue']['title'] }}",
        "run: echo ${{ github.event.issue.title || 'none' }}",
        "run: echo ${{ format('{0}', github.event.comment.body) }}",
        "run: echo ${{ github.event_name == 'push' && github.head_ref }}",
        "{run: \"echo ${{ env.TITLE }}\", env: {TITLE: \"${{ github.event.issue.title }}\"}}",
        "{run: \"echo ${{ env.T }}\", env: {T: \"x ${{ github.event.issue.title }}\"}}",
    ];
    assert_eq!(steps_with(&found, codes::INJECTION), (0..found.len()).collect::<Vec<_>>());
    let (_, said) = lints(&job("      - run: echo ${{ toJSON(github.event) }}\n"), codes::INJECTION);
    assert!(said.contains("EVENT_JSON: ${{ toJSON(github.event) }}") && said.contains("\"$EVENT_JSON\""), "{said}");
    let (_, said) = lints(&job(&format!("      - {}\n", found[8])), codes::INJECTION);
    assert!(said.contains("write `\"$TITLE\"` in the script"), "{said}");
}

#[test]
fn what_is_made_of_strangers_words_and_is_none_of_them() {
    let silent = [
        "run: echo ${{ contains(github.event.comment.body, 'x') }}",
        "run: echo ${{ github.event.issue.title == 'x' }}",
        "run: echo ${{ !github.event.issue.body }}",
        "run: echo ${{ startsWith(github.event.issue.title, 'x') && 'a' || 'b' }}",
        "run: echo ${{ case(github.head_ref == 'x', 'a', 'b') }}",
        "run: echo ${{ hashFiles(github.head_ref) }}",
        "run: echo ${{ github.event.issue.number }} ${{ github.event }} ${{ toJSON(github.event.repository.id) }}",
        "run: echo ${{ toJSON(github.event.pull_request.user.login) }}",
        "{run: \"echo ${{ env.N }}\", env: {N: \"${{ github.event.issue.number }}\"}}",
        "{run: \"echo $TITLE\", env: {TITLE: \"${{ github.event.issue.title }}\"}}",
        "{if: \"contains(github.event.issue.title, 'x')\", run: echo}",
    ];
    assert_eq!(steps_with(&silent, codes::INJECTION), [0_usize; 0]);
    let text =
        job("      - run: echo ${{ toJSON(github) }}\n").replace("on: push", "on: [schedule, workflow_dispatch]");
    assert!(lints(&text, codes::INJECTION).0.is_empty());
}

#[test]
fn secrets_that_reach_the_log() {
    let found = [
        "run: echo '${{ secrets.A }}' >&2",
        "run: echo '${{ secrets.A }}' > /dev/stderr",
        "run: echo ${{ secrets.FOO }} | base64",
        "run: echo ${{ secrets.FOO }} | tee x",
        "{run: 'echo \"${FOO:0:4}\"', env: {FOO: \"${{ secrets.FOO }}\"}}",
        "run: echo \"token=${{ github.token }}\"",
        "run: \"cat <<EOF\\n${{ secrets.FOO }}\\nEOF\\n\"",
        "{run: \"echo ${{ env.FOO }}\", env: {FOO: \"${{ secrets.FOO }}\"}}",
        "run: echo ${{ secrets.A || 'none' }}",
        "{run: 'echo $T', env: {T: \"${{ github.token }}\"}}",
    ];
    assert_eq!(steps_with(&found, codes::SECRET_PRINTED), (0..found.len()).collect::<Vec<_>>());
    let silent = [
        "run: echo ${{ secrets.A != '' }}",
        "run: echo ${{ secrets.A && 'yes' || 'no' }}",
        "run: echo ${{ secrets.A }} | docker login --password-stdin",
        "run: echo 'A=${{ secrets.A }}' >> $GITHUB_ENV",
        "run: \"{\\n  echo ${{ secrets.A }}\\n} > file\"",
        "run: \"cat <<EOF > file\\n${{ secrets.FOO }}\\nEOF\\n\"",
        "run: echo \"::add-mask::${{ secrets.A }}\"",
        "{run: 'echo \"${#FOO} ${FOO:+is set}\"', env: {FOO: \"${{ secrets.FOO }}\"}}",
        "{run: \"echo '$FOO'\", env: {FOO: \"${{ secrets.FOO }}\"}}",
        "{run: 'X=$(echo $FOO | base64)', env: {FOO: \"${{ secrets.FOO }}\"}}",
        "run: login ${{ github.token }}",
    ];
    assert_eq!(steps_with(&silent, codes::SECRET_PRINTED), [0_usize; 0]);
}

/// Whether the only step of a job is said to check out what a stranger proposes.
fn checks_out(event: &str, condition: &str, step: &str) -> bool {
    let condition = if condition.is_empty() { String::new() } else { format!("    if: {condition}\n") };
    let text = format!("on: {event}\njobs:\n  a:\n    runs-on: x\n{condition}    steps:\n      - {step}\n");
    !lints(&text, codes::UNTRUSTED_CHECKOUT).0.is_empty()
}

#[test]
fn code_of_strangers_by_git() {
    for (event, step) in [
        (
            "pull_request_target",
            "run: git fetch origin pull/${{ github.event.number }}/head && git checkout FETCH_HEAD",
        ),
        ("pull_request_target", "run: gh pr checkout ${{ github.event.number }}"),
        ("pull_request_target", "run: git checkout ${{ github.event.pull_request.head.sha }}"),
        ("issue_comment", "run: gh pr checkout ${{ github.event.issue.number }}"),
        (
            "issue_comment",
            "{uses: actions/checkout@v4, with: {ref: \"refs/pull/${{ github.event.issue.number }}/merge\"}}",
        ),
        ("workflow_run", "run: git checkout ${{ github.event.workflow_run.head_sha }}"),
    ] {
        assert!(checks_out(event, "", step), "{step}");
    }
    for (event, step) in [
        ("pull_request", "run: gh pr checkout 1"),
        ("pull_request_target", "run: git fetch origin pull/1/head && git diff FETCH_HEAD"),
        ("pull_request_target", "run: git checkout main"),
        ("pull_request_target", "run: echo ${{ github.event.pull_request.head.sha }}"),
        ("issue_comment", "{uses: actions/checkout@v4, with: {ref: \"${{ github.head_ref || github.ref }}\"}}"),
        ("issues", "run: gh pr checkout 1"),
    ] {
        assert!(!checks_out(event, "", step), "{step}");
    }
}

#[test]
fn conditions_that_keep_strangers_out() {
    let step = "{uses: actions/checkout@v4, with: {ref: \"${{ github.event.pull_request.head.sha }}\"}}";
    for condition in [
        "github.event.pull_request.head.repo.full_name == github.repository",
        "github.repository == github.event.pull_request.head.repo.full_name && github.actor != 'x'",
        "\"!github.event.pull_request.head.repo.fork\"",
        "github.event.pull_request.head.repo.fork == false",
        "github.event_name == 'push'",
        "github.event_name != 'pull_request_target'",
    ] {
        assert!(!checks_out("[pull_request_target, push]", condition, step), "{condition}");
    }
    for condition in [
        "github.event.pull_request.head.repo.full_name != github.repository",
        "github.event.pull_request.head.repo.fork",
        "github.actor != 'x'",
        "github.event_name == 'pull_request_target'",
        "github.event.pull_request.head.repo.fork == false || github.actor == 'x'",
    ] {
        assert!(checks_out("[pull_request_target, push]", condition, step), "{condition}");
    }
}

#[test]
fn members_that_contexts_do_not_have() {
    let found = [
        "run: echo ${{ runner.oss }}",
        "run: echo ${{ github.shaa }}",
        "run: echo ${{ job.statuss }}",
        "run: echo ${{ strategy.job_index }}",
        "{run: echo, if: github.branch == 'main'}",
    ];
    assert_eq!(steps_with(&found, codes::UNKNOWN_NAME), [0, 1, 2, 3, 4]);
    let silent = [
        "run: echo ${{ runner.os }} ${{ runner.temp }} ${{ runner.workspace }}",
        "run: echo ${{ github.SHA }} ${{ github.event.anything }} ${{ github[env.X] }} ${{ github.workflow_ref }}",
        "run: echo ${{ job.services.db.ports[80] }} ${{ strategy.job-index }} ${{ env.ANYTHING }} ${{ vars.X }}",
    ];
    assert_eq!(steps_with(&silent, codes::UNKNOWN_NAME), [0_usize; 0]);
    let (lines, said) =
        lints(&job("      - run: echo ${{ env.VERSOIN }}\n        env: {VERSION: 1}\n"), codes::UNKNOWN_NAME);
    assert_eq!(lines, [6]);
    assert!(said.contains("did you mean `VERSION`?"), "{said}");
    let later = job("      - run: ./a\n      - run: echo ${{ env.VERSOIN }}\n        env: {VERSION: 1}\n");
    assert!(lints(&later, codes::UNKNOWN_NAME).0.is_empty());
    let step = job("      - {id: s, run: a}\n      - run: echo ${{ steps.s.version }} ${{ steps.s.outcome }}\n");
    let (lines, said) = lints(&step, codes::UNKNOWN_STEP);
    assert_eq!(lines, [7]);
    assert!(said.contains("steps.s.outputs.version"), "{said}");
}

#[test]
fn events_that_do_not_start_the_workflow() {
    let with = |on: &str, event: &str| {
        let text = job(&format!("      - {{run: a, if: \"github.event_name == '{event}'\"}}\n"));
        lints(&text.replace("on: push", on), codes::CONSTANT_CONDITION)
    };
    let (lines, said) = with("on: push", "pushh");
    assert_eq!(lines, [6]);
    assert!(said.contains("did you mean `push`?"), "{said}");
    assert_eq!(with("on: [push, pull_request]", "schedule").0, [6]);
    assert!(with("on: [push, schedule]", "schedule").0.is_empty());
    assert!(with("on: [workflow_call]", "schedule").0.is_empty());
    let choice = |event: &str| {
        let text = job(&format!("      - {{run: a, if: \"github.ref == 'x' || github.event_name == '{event}'\"}}\n"));
        lints(&text, codes::CONSTANT_CONDITION).0
    };
    assert_eq!(choice("pusch"), [6]);
    assert!(choice("schedule").is_empty());
}

#[test]
fn needs_that_stand_twice() {
    let text = |needs: &str| {
        format!(
            "on: push\njobs:\n  b: {{runs-on: x, steps: [{{run: a}}]}}\n  c: {{needs: {needs}, runs-on: x, steps: [{{run: a}}]}}\n"
        )
    };
    assert_eq!(lints(&text("[b, b]"), codes::REPEATED_NEED).0, [4]);
    assert!(lints(&text("[b]"), codes::REPEATED_NEED).0.is_empty());
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
