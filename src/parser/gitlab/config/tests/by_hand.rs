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
    let root = node("b: {script: ls, stage: other, needs: [elsewhere]}\n");
    let mut diagnostics = Diagnostics::new();
    check_as(&root, Completeness::Part, &mut diagnostics);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
}

#[test]
fn what_the_newest_servers_take_is_right() {
    right("j: {script: ls, retry: {when: [runner_interrupted, runner_external_dependency_failure]}}\n");
    right(
        "j: {script: ls, release: {tag_name: v1, description: d, assets: {links: [{name: a, url: $DOWNLOADS/a.zip}]}}}\n",
    );
}
