//! Defaults, names of parallel jobs, and the words of errors.

use super::*;

fn right(text: &str) -> Configuration {
    let (configuration, errors) = of(text);
    assert!(errors.is_empty(), "{errors:?}");
    configuration.unwrap()
}

#[test]
fn a_job_has_what_it_inherits() {
    let configuration = right(
        "image: top\ndefault: {tags: [a], before_script: [b]}\n\
         x: {script: ls}\n\
         y: {script: ls, image: own, inherit: {default: [tags]}}\n\
         z: {script: ls, tags: [], inherit: {default: false}}\n\
         t: {trigger: a/b}\n",
    );
    let job = |name: &str| configuration.jobs.get(name).unwrap();
    let image = |name: &str| job(name).image.as_ref().map(|image| image.name.value.to_string());
    assert_eq!(image("x").as_deref(), Some("top"));
    assert_eq!(image("y").as_deref(), Some("own"));
    assert_eq!(image("z"), None);
    assert_eq!(image("t"), None);
    assert!(job("x").before_script.is_some() && job("y").before_script.is_none());
    assert_eq!(job("y").tags.as_ref().map(|tags| tags.len()), Some(1));
    assert_eq!(job("z").tags.as_ref().map(|tags| tags.len()), Some(0));
}

/// Limits and shapes as GitLab's entries have them.
#[test]
fn what_the_server_refuses_is_refused() {
    let cases = [
        (
            "a: {script: x, cache: {fallback_keys: [a, b, c, d, e, f]}}\n",
            "1:39 job `a`: `cache:fallback_keys` has 6 keys",
        ),
        ("a: {script: x, environment: {name: e, kubernetes: {}}}\n", "1:51 job `a`: `environment:kubernetes` is empty"),
        ("workflow: {name: ''}\na: {script: x}\n", "1:18 `workflow:name` is empty"),
        ("a: {trigger: {include: {local: b.yml}}}\n", "1:24 job `a`: `trigger:include` should be a text or a list"),
        (
            "a: {run: [{name: s, script: x}], before_script: y}\n",
            "1:34 job `a` cannot have both `before_script` and `run`",
        ),
        (
            "a: {script: x, pages: {publish: d}, publish: e}\n",
            "1:37 job `a` cannot have both `publish` and `pages:publish`",
        ),
        (
            "a: {script: x, parallel: 2}\nb: {script: x, needs: [a, a 1/2]}\n",
            "2:27 job `b`: `needs` names `a 1/2`, and `a` with all its jobs",
        ),
        ("variables: {A: {description: yes}}\na: {script: x}\n", "1:30 `variables:A:description` should be a text"),
    ];
    for (text, words) in cases {
        let (_, errors) = of(text);
        assert!(errors.len() == 1 && errors[0].starts_with(words), "{text}: {errors:?}");
    }
    let big = right("variables: {A: 12345678901234567890, B: -9223372036854775809, C: 1e20}\na: {script: x}\n");
    let values: Vec<&str> = big.variables.list.iter().map(|one| one.value.as_str()).collect();
    assert_eq!(values, ["12345678901234567890", "-9223372036854775809", "1e20"]);
    right("variables: {A: {description: 1}}\na: {script: x, cache: {fallback_keys: [a, b, c, d, e]}}\n");
}

/// What GitLab makes of them: lists that it composes of entries are flattened, and nothing is no entry.
#[test]
fn nested_lists_are_one_list() {
    let configuration = right(
        "default: {services: [[a], b]}\n\
         x: {script: ls, cache: [[{key: k, paths: [p]}], null]}\n\
         y: {script: ls, services: [null, [[c]]], needs: [[x], null]}\n\
         z: {script: ls, needs: [{job: x, parallel: {matrix: [{A: b}]}}]}\n",
    );
    let job = |name: &str| configuration.jobs.get(name).unwrap();
    let services = |name: &str| -> Vec<String> {
        let services = job(name).services.iter().flat_map(|services| services.iter());
        services.map(|service| service.image.name.value.to_string()).collect()
    };
    assert_eq!((services("x"), services("y")), (vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]));
    assert_eq!(job("x").cache.as_ref().map(|caches| caches.len()), Some(1));
    assert_eq!(job("y").needs.as_ref().map(|needs| needs.len()), Some(1));
}

#[test]
fn all_errors_in_one_pass() {
    let (_, errors) =
        of("a: {scirpt: ls}\nb: {script: ls, stage: tset, needs: [c, d], retry: 9}\nc: {script: ls, imge: x}\n");
    assert_eq!(
        errors,
        [
            "1:1 job `a` has no `script`, `run` or `trigger`",
            "1:5 job `a` contains an unknown key: `scirpt`",
            "2:52 job `b`: `retry` should be a whole number from 0 to 2, not `9`",
            "3:17 job `c` contains an unknown key: `imge`",
            "2:24 job `b` has the stage `tset`, which does not exist",
            "2:41 job `b`: `needs` names the unknown job `d`",
        ]
    );
}

#[test]
fn parallel_jobs_are_needed_by_their_names() {
    right(
        "a: {script: ls, parallel: 3}\n\
         m: {script: ls, parallel: {matrix: [{X: [p, q], Y: r}]}}\n\
         b: {script: ls, needs: ['a 2/3', 'm: [q, r]', {job: m, parallel: {matrix: [{X: p, Y: r}]}}]}\n",
    );
    let (_, errors) = of("a: {script: ls, parallel: 3}\n\
         m: {script: ls, parallel: {matrix: [{X: [p, q], Y: r}]}}\n\
         b: {script: ls, needs: ['a 4/3', 'm: [y, r]', {job: m, parallel: {matrix: [{X: z, Y: r}]}}]}\n");
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn values_are_texts_as_ruby_writes_them() {
    let configuration = right("variables: {A: 010, B: 1.0, C: yes, D: 1.0e+20, E: ~, F: '010'}\nx: {script: ls}\n");
    let values: Vec<&str> = configuration.variables.list.iter().map(|variable| variable.value.as_str()).collect();
    assert_eq!(values, ["8", "1.0", "true", "1.0e+20", "", "010"]);
}

#[test]
fn a_part_is_not_blamed_for_what_it_lacks() {
    let root = node(
        "b: {script: ls, stage: other, needs: [elsewhere]}\n\
         c: {extends: .there, image: {entrypoint: ['']}, environment: {url: 'https://a.b'}, release: {tag_name: v1}}\n\
         build: {when: delayed, parallel: {}}\n\
         e: {stage: .pre, script: ls, needs: [c]}\n",
    );
    let mut diagnostics = Diagnostics::new();
    let configuration = check_as(&root, Completeness::Part, &mut diagnostics).unwrap();
    assert_eq!(errors(&diagnostics), [""; 0]);
    // Their scripts are elsewhere: they are jobs all the same.
    assert_eq!(configuration.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["b", "c", "build", "e"]);
    let root = node("varibles: {A: b}\nc: 1\nd: {extends: .there, scirpt: [x]}\n");
    let mut diagnostics = Diagnostics::new();
    check_as(&root, Completeness::Part, &mut diagnostics);
    assert_eq!(
        errors(&diagnostics),
        [
            "1:1 job `varibles` has no `script`, `run` or `trigger`",
            "2:1 job `c` should be a mapping with `script`, `run` or `trigger`, not `1`",
            "3:22 job `d` contains an unknown key: `scirpt`",
        ]
    );
}

#[test]
fn what_the_newest_servers_take_is_right() {
    right("j: {script: ls, retry: {when: [runner_interrupted, runner_external_dependency_failure]}}\n");
    right(
        "j: {script: ls, release: {tag_name: v1, description: d, assets: {links: [{name: a, url: $DOWNLOADS/a.zip}]}}}\n",
    );
}

fn composed(text: &str, unavailable: Unavailable) -> Vec<String> {
    let (_, diagnostics) = findings(".gitlab-ci.yml", text.as_bytes(), &BTreeMap::new(), unavailable);
    errors(&diagnostics)
}

#[test]
fn what_a_reference_stands_for_is_not_complained_about_where_it_is_unknown() {
    let uses = [
        "script: [x], retry: R",
        "script: [x], image: R",
        "script: [x], cache: {key: R}",
        "script: [x], rules: [R]",
        "script: [x], rules: [{if: R}]",
        "script: [x], rules: [{when: R}, {changes: R}]",
        "script: [x], needs: [R]",
        "script: [x], dependencies: R",
        "script: [x], parallel: {matrix: [R]}",
        "script: [x], services: [R], tags: [R]",
        "script: [x], variables: {A: R}",
        "script: R",
        "script: [R, [R]]",
        "run: R",
        "trigger: R",
    ];
    for one in uses {
        let text = format!("a: {{{}}}\n", one.replace('R', "!reference [.t, x]"));
        let unknown = composed(&text, Unavailable::Error);
        assert!(unknown.iter().all(|error| error.contains("!reference")), "{text}: {unknown:?}");
        assert_eq!(unknown.len(), one.matches('R').count(), "{text}: {unknown:?}");
        // In an include that is not at hand it may be right.
        let text = format!("include: {{project: a/b, file: c.yml}}\n{text}");
        assert_eq!(composed(&text, Unavailable::Note), [""; 0], "{text}");
    }
    let text = "default: {retry: !reference [.t, retry], image: !reference [.t, image]}\nstages: !reference [.t, stages]\na: {script: [x]}\n";
    assert_eq!(composed(text, Unavailable::Error).len(), 3, "{:?}", composed(text, Unavailable::Error));
}

#[test]
fn one_mistake_is_one_finding() {
    // The base has the script; it is the name that is wrong.
    let text = ".base: {script: [x]}\na: {extends: .bsae}\nb: {extends: .mid}\n.mid: {extends: .bsae}\n";
    let found = composed(text, Unavailable::Error);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|error| error.contains("extends `.bsae`")), "{found:?}");
    // Every line of a script that is none is told.
    let (_, errors) = of("a:\n  script:\n    - echo a: b\n    - make\n    - {c: d}\n");
    let places: Vec<&str> = errors.iter().filter_map(|error| error.split(' ').next()).collect();
    assert_eq!(places, ["3:7", "5:7"]);
}

#[test]
fn rules_of_nothing_are_refused_in_the_workflow() {
    let (_, errors) = of("workflow: {rules: []}\na: {script: [x], rules: []}\n");
    assert_eq!(errors, ["1:19 `workflow:rules` is empty, which GitLab's server refuses"]);
}

#[test]
fn the_job_that_makes_a_child_pipeline_is_there_before_it() {
    let child = |job: &str| format!("t: {{trigger: {{include: [{{artifact: a.yml, job: {job}}}]}}}}\n");
    let makers = "make: {script: [x]}\nlate: {script: [x], stage: deploy}\n";
    right(&format!("{}{makers}", child("make")));
    let (_, errors) = of(&format!("{}{makers}", child("late")));
    assert_eq!(
        errors,
        ["1:48 job `t`: `trigger` names `late`, whose stage `deploy` comes after the stage `test` of this job"]
    );
    let (_, errors) = of(&format!("{}{makers}", child("maek")));
    assert_eq!(errors, ["1:48 job `t`: `trigger` names the unknown job `maek`"]);
}

/// A job that lacks its commands is looked at as a whole nevertheless, and counts as there.
#[test]
fn all_errors_of_a_broken_job_come_at_once() {
    let cases: [(&str, &[&str]); 12] = [
        (
            "a: {scirpt: x, needs: [bb], stage: biuld, tags: 5}\n",
            &[
                "1:1 job `a` has no `script`",
                "1:24 job `a`: `needs` names the unknown job `bb`",
                "1:36 job `a` has the stage `biuld`",
                "1:49 job `a`: `tags` should be a list",
                "1:5 job `a` contains an unknown key: `scirpt`",
            ],
        ),
        // Who needs a broken job is right.
        ("a: {stage: build}\nb: {script: x, needs: [a], dependencies: [a]}\n", &["1:1 job `a` has no `script`"]),
        ("a: 5\nb: {script: x, needs: [a]}\n", &["1:1 job `a` should be a mapping"]),
        (
            "a: {scirpt: x, stage: deploy}\nb: {script: x, stage: build, needs: [a]}\n",
            &["1:1 ", "1:5 ", "2:38 job `b`: `needs` names `a`, whose stage `deploy` comes after"],
        ),
        // What could not be read is not compared.
        ("stages: [build]\na: {script: x, stage: [1]}\n", &["2:23 job `a`: `stage` should be text"]),
        ("stages: [build]\na: {script: x, stgae: build}\n", &["2:16 job `a` contains an unknown key: `stgae`"]),
        (
            "a: {script: x, stage: build, needs: [b]}\nb: {script: x, satge: build}\n",
            &["2:16 job `b` contains an unknown key: `satge`"],
        ),
        ("a: {script: x, parallel: many}\nb: {script: x, needs: [a 1/2, 'a: [x]']}\n", &["1:26 job `a`: `parallel`"]),
        (
            "a: {script: x, environment: {name: e, on_stop: b}}\nb: {script: x, environment: [e]}\n",
            &["2:29 job `b`: `environment` should be a text or a mapping"],
        ),
        (
            "a: {script: x, dependencies: [5, bb]}\n",
            &[
                "1:31 job `a`: `dependencies` should be a list of texts",
                "1:34 job `a`: `dependencies` names the unknown",
            ],
        ),
        // Keywords at the wrong place and misspelt ones are no jobs.
        ("retry: {max: 2}\na: {script: x}\n", &["1:1 job `retry` has no `script`"]),
        ("variabels: {A: b}\na: {script: x}\n", &["1:1 job `variabels` has no `script`"]),
    ];
    for (text, expected) in cases {
        let (_, mut errors) = of(text);
        errors.sort();
        let fits = errors.len() == expected.len() && errors.iter().zip(expected).all(|(is, want)| is.starts_with(want));
        assert!(fits, "{text}: {errors:#?}");
    }
}
