use std::time::Duration;

use super::draw::{Format, draw, draw_marked};
use super::resources::{Demand, Excess, Kind, ResourceConflict, amount};
use super::*;
use crate::pipeline::{PipelineDefinition, PlannedJob, ResourceRequest, Waits};

fn definition(jobs: &[(&str, &[&str])]) -> PipelineDefinition {
    let jobs = jobs.iter().map(|(name, needs)| PlannedJob {
        name: (*name).to_owned(),
        stage: String::new(),
        waits: Waits::Jobs(needs.iter().map(|need| (*need).to_owned()).collect()),
        ..PlannedJob::default()
    });
    PipelineDefinition { name: "p".into(), stages: Vec::new(), jobs: jobs.collect(), ..PipelineDefinition::default() }
}

fn staged(jobs: &[(&str, &str)], stages: &[&str]) -> PipelineDefinition {
    let jobs = jobs.iter().map(|(name, stage)| PlannedJob {
        name: (*name).to_owned(),
        stage: (*stage).to_owned(),
        waits: Waits::EarlierStages,
        ..PlannedJob::default()
    });
    let stages = stages.iter().map(|stage| (*stage).to_owned()).collect();
    PipelineDefinition { name: "p".into(), stages, jobs: jobs.collect(), ..PipelineDefinition::default() }
}

fn graph(definition: &PipelineDefinition) -> JobGraph {
    JobGraph::build(definition).unwrap().0
}

fn names(graph: &JobGraph, jobs: &[JobIndex]) -> Vec<String> {
    jobs.iter().map(|job| graph.name(*job).to_owned()).collect()
}

fn problems(jobs: &[(&str, &[&str])]) -> Vec<GraphProblem> {
    match JobGraph::build(&definition(jobs)) {
        Ok((_, problems)) | Err(problems) => problems,
    }
}

const DIAMOND: &[(&str, &[&str])] =
    &[("build", &[]), ("unit", &["build"]), ("lint", &["build"]), ("deploy", &["unit", "lint"])];

#[test]
fn levels_of_a_diamond() {
    let graph = graph(&definition(DIAMOND));
    let levels: Vec<_> = graph.levels().iter().map(|level| names(&graph, level)).collect();
    assert_eq!(levels, [vec!["build"], vec!["unit", "lint"], vec!["deploy"]]);
}

#[test]
fn stages_wait_for_stages_even_past_an_empty_one() {
    let definition = staged(
        &[("a", "build"), ("b", "build"), ("late", "deploy"), ("first", ".pre")],
        &[".pre", "build", "test", "deploy"],
    );
    let graph = graph(&definition);
    assert_eq!(names(&graph, &graph.needs(JobIndex(2))), ["a", "b", "first"]);
    let levels: Vec<_> = graph.levels().iter().map(|level| names(&graph, level)).collect();
    assert_eq!(levels, [vec!["first"], vec!["a", "b"], vec!["late"]]);
    assert_eq!(names(&graph, &graph.dependents(JobIndex(0))), ["late"]);
}

#[test]
fn whole_stages_cost_no_edge_for_each_pair() {
    let names: Vec<String> = (0..20_000).map(|n| format!("job{n}")).collect();
    let jobs: Vec<(&str, &str)> =
        names.iter().enumerate().map(|(n, name)| (name.as_str(), if n < 10_000 { "build" } else { "test" })).collect();
    let graph = graph(&staged(&jobs, &["build", "test"]));
    assert!(graph.graph.edge_count() < 50_000, "{} edges", graph.graph.edge_count());
    assert_eq!(graph.levels().len(), 2);
}

#[test]
fn a_wrong_name_is_told_with_the_names_there_are() {
    let found = problems(&[("build", &[]), ("test", &["biuld"])]);
    let [problem] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(problem.to_string(), "job `test` waits for `biuld`, which is no job");
    assert_eq!(problem.help(), "did you mean `build`? the jobs are `build`");
    assert!(problem.is_error());
}

#[test]
fn a_job_cannot_wait_for_itself_and_says_how_to_mend_it() {
    let found = problems(&[("a", &["a"])]);
    assert_eq!(found, [GraphProblem::OfItself { job: "a".into() }]);
    assert_eq!(found[0].help(), "remove `a` from its own list");
}

#[test]
fn the_shortest_cycle_is_told_with_two_ways_out() {
    let found = problems(&[("a", &["b"]), ("b", &["c", "a"]), ("c", &["d"]), ("d", &["a"])]);
    let [problem] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(problem.to_string(), "dependency cycle: a -> b -> a");
    assert!(problem.help().contains("remove one dependency") && problem.help().contains("split `a`"));
}

#[test]
fn cycles_apart_are_told_apart() {
    let found = problems(&[("a", &["b"]), ("b", &["a"]), ("x", &["y"]), ("y", &["z"]), ("z", &["x"])]);
    let told: Vec<String> = found.iter().map(GraphProblem::to_string).collect();
    assert_eq!(told.len(), 2);
    assert!(told[1].ends_with("x -> y -> z -> x"), "{told:?}");
}

#[test]
fn a_cycle_by_way_of_a_stage_is_found() {
    let mut definition = staged(&[("a", "build"), ("b", "test")], &["build", "test"]);
    definition.jobs[0].waits = Waits::Jobs(vec!["b".into()]);
    let found = JobGraph::build(&definition).unwrap_err();
    assert_eq!(found, [GraphProblem::Cycle { jobs: vec!["a".into(), "b".into()] }]);
}

#[test]
fn needless_and_doubled_names_are_no_errors() {
    let found = problems(&[("a", &[]), ("b", &["a"]), ("c", &["a", "b", "b"])]);
    assert!(found.iter().all(|problem| !problem.is_error()));
    let told: Vec<String> = found.iter().map(GraphProblem::to_string).collect();
    assert!(told.contains(&"job `c` names `b` twice".to_owned()), "{told:?}");
    assert!(told.contains(&"job `c` need not name `a`: `b` waits for it already".to_owned()), "{told:?}");
}

#[test]
fn the_critical_path_follows_durations() {
    let graph = graph(&definition(DIAMOND));
    let seconds = |s| Some(Duration::from_secs(s));
    let durations = Durations { known: vec![seconds(10), seconds(5), seconds(50), seconds(1)], ..Durations::equal() };
    let path = graph.critical_path(&durations);
    assert_eq!(names(&graph, &path.jobs), ["build", "lint", "deploy"]);
    assert_eq!(path.total, Duration::from_secs(61));
    assert!((graph.parallelism(&durations) - 66.0 / 61.0).abs() < 1e-9);
    assert_eq!(names(&graph, &graph.critical_path(&Durations::equal()).jobs), ["build", "unit", "deploy"]);
}

#[test]
fn estimates_make_durations_and_what_has_none_is_as_long_as_the_others_are_on_average() {
    let mut definition = definition(DIAMOND);
    assert!(!Durations::estimated(&definition).are_known());
    definition.jobs[0].estimate = Some(Duration::from_secs(10));
    definition.jobs[2].estimate = Some(Duration::from_secs(50));
    let durations = Durations::estimated(&definition);
    assert!(durations.are_known());
    assert_eq!(durations.of(JobIndex(2)), Duration::from_secs(50));
    assert_eq!(durations.of(JobIndex(3)), Duration::from_secs(30));
}

#[test]
fn a_failure_takes_all_with_it_that_wait() {
    let graph = graph(&definition(DIAMOND));
    assert_eq!(names(&graph, &graph.blast_radius(JobIndex(1))), ["deploy"]);
    assert_eq!(graph.blast_radius(JobIndex(0)).len(), 3);
}

#[test]
fn time_limits_that_cannot_hold_are_found() {
    let graph = graph(&definition(DIAMOND));
    let durations = Durations { known: Vec::new(), guess: Duration::from_secs(60) };
    let late = graph.infeasible(&durations, Duration::from_secs(150));
    assert_eq!(late.len(), 1);
    assert_eq!((graph.name(late[0].job), late[0].ends), ("deploy", Duration::from_secs(180)));
}

#[test]
fn what_jobs_ask_for_is_summed_by_level() {
    let graph = graph(&definition(DIAMOND));
    let ask = |cpus: u64| ResourceRequest { cpu_millis: Some(cpus * 1_000), memory: Some(1 << 30), disk: None };
    let asks = [ask(1), ask(3), ask(2), ask(9)];
    let limit = ResourceRequest { cpu_millis: Some(4_000), memory: Some(8 << 30), disk: None };
    let excess = |asked| vec![Excess { kind: Kind::Cpu, asked, limit: 4_000 }];
    assert_eq!(
        graph.conflicts(&asks, &limit),
        [
            ResourceConflict::TooBig { job: JobIndex(3), excess: excess(9_000) },
            ResourceConflict::Hotspot { level: 1, jobs: vec![JobIndex(1), JobIndex(2)], excess: excess(5_000) },
        ]
    );
    assert_eq!(excess(4_500)[0].to_string(), "4.5 processors, and there are 4");
    assert_eq!(graph.demand(&asks)[1], Demand { cpu_millis: 5_000, memory: 2 << 30, disk: 0 });
    assert_eq!(graph.conflicts(&asks, &ResourceRequest::default()), []);
    for (value, want) in [(4_000_000_000, "4 GB"), (512 << 20, "512 MiB"), (1_500, "1500 bytes"), (0, "0 bytes")] {
        assert_eq!(amount(Kind::Memory, value), want);
    }
}

#[test]
fn drawings_hold_every_job_and_edge_and_no_foreign_markup() {
    let graph = graph(&definition(&[("a", &[]), ("<b> \"x\"", &["a"])]));
    assert_eq!(
        draw(&graph, "p", Format::Mermaid),
        "flowchart LR\n    j0[\"a\"]\n    j1[\"#lt;b#gt; #quot;x#quot;\"]\n    j0 --> j1\n"
    );
    assert!(draw(&graph, "p", Format::Dot).contains("j1 [label=\"<b> \\\"x\\\"\"];\n    j0 -> j1;"));
    for (format, mark) in [
        (Format::Mermaid, "\n    class j1 critical\n"),
        (Format::Dot, "x\\\"\", color=red, penwidth=2];"),
        (Format::Ascii, "\n`-- <b> \"x\" *  <- a\n"),
        (Format::Svg, "stroke=\"#c00\""),
    ] {
        let marked = draw_marked(&graph, "p", format, &[JobIndex(1)]);
        assert_eq!(marked.matches(mark).count(), 1, "{marked}");
    }
    assert_eq!(draw(&graph, "p", Format::Ascii), "1\n`-- a\n2\n`-- <b> \"x\"  <- a\n");
    let svg = draw(&graph, "p", Format::Svg);
    assert!(svg.contains("&lt;b&gt; &quot;x&quot;") && svg.contains("<path"), "{svg}");
}

/// Jobs `j0` to `jN` in stages of the same size.
fn many(jobs: usize, stages: usize) -> PipelineDefinition {
    let stage_names: Vec<String> = (0..stages).map(|at| format!("s{at}")).collect();
    let jobs: Vec<(String, &str)> =
        (0..jobs).map(|at| (format!("j{at}"), stage_names[at * stages / jobs].as_str())).collect();
    let jobs: Vec<(&str, &str)> = jobs.iter().map(|(name, stage)| (name.as_str(), *stage)).collect();
    staged(&jobs, &stage_names.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn drawings_of_whole_stages_are_linear() {
    let few = graph(&many(1_000, 20));
    let lots = graph(&many(10_000, 200));
    for format in [Format::Mermaid, Format::Dot, Format::Ascii, Format::Svg] {
        let (few, lots) = (draw(&few, "p", format).len(), draw(&lots, "p", format).len());
        assert!(lots < few * 13, "{format:?}: {few} and {lots} bytes");
        // A job of the file is at least `j1234: {script: [x], stage: s12}`.
        assert!(lots < 10_000 * 31 * 10, "{format:?}: {lots} bytes");
    }
}

#[test]
fn lines_of_small_stages_are_drawn_and_of_big_ones_meet() {
    let small = draw(&graph(&staged(&[("a", "x"), ("b", "y"), ("c", "z")], &["x", "y", "z"])), "p", Format::Mermaid);
    // What `c` waits for in `x` is implied by `b`.
    assert!(small.ends_with("    j0 --> j1\n    j1 --> j2\n"), "{small}");
    let big = graph(&many(10, 2));
    let mermaid = draw(&big, "p", Format::Mermaid);
    assert!(mermaid.contains("p0([\"s0\"])") && mermaid.contains("j4 --> p0") && mermaid.contains("p0 --> j5"));
    assert_eq!(mermaid.matches("-->").count(), 10);
    assert!(draw(&big, "p", Format::Ascii).contains("|-- j5  <- all of stage s0\n"));
    // A job that needs by name waits for no stage: the jobs before it are waited for as well.
    let mut mixed = staged(&[("a", "x"), ("b", "y"), ("c", "z")], &["x", "y", "z"]);
    mixed.jobs[1].waits = Waits::Jobs(Vec::new());
    assert!(draw(&graph(&mixed), "p", Format::Ascii).contains("c  <- a, b\n"));
}

#[test]
fn a_knot_behind_a_long_chain_needs_no_deep_stack() {
    const LONG: usize = 100_000;
    let needs = |at: usize| if at == 0 { LONG - 1 } else { at - 1 };
    let chain = move || {
        let jobs = (0..LONG).map(|at| PlannedJob {
            name: format!("j{at}"),
            waits: Waits::Jobs(vec![format!("j{}", needs(at))]),
            ..PlannedJob::default()
        });
        let definition = PipelineDefinition { jobs: jobs.collect(), ..PipelineDefinition::default() };
        let found = JobGraph::build(&definition).unwrap_err();
        assert!(matches!(&found[0], GraphProblem::Cycle { jobs } if jobs.len() == LONG));
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(chain).unwrap().join().unwrap();
}

#[test]
fn a_long_cycle_is_found_whole() {
    let names: Vec<String> = (0..5_000).map(|n| format!("j{n}")).collect();
    let jobs: Vec<PlannedJob> = (0..5_000)
        .map(|n| PlannedJob {
            name: names[n].clone(),
            waits: Waits::Jobs(vec![names[(n + 1) % 5_000].clone()]),
            ..PlannedJob::default()
        })
        .collect();
    let definition = PipelineDefinition { jobs, ..PipelineDefinition::default() };
    let Err(found) = JobGraph::build(&definition) else { panic!("a cycle was not found") };
    assert!(matches!(&found[0], GraphProblem::Cycle { jobs } if jobs.len() == 5_000));
}
