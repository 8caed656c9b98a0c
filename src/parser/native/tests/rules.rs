//! Every rule of the language, a row each: where its error stands, what it says, what it offers.
//!
//! `§` marks the place; it is taken out before the text is read.

mod job;
mod parts;
mod pipeline;
mod references;
mod step;

use super::given;
use crate::parser::diagnostics::Code;
use crate::parser::native::{codes, inspect};

/// Where the lines of a row go.
#[derive(Clone)]
enum In {
    /// They are the file.
    File,
    /// Beside `name` and `jobs` of a good pipeline.
    Pipeline,
    /// In a job that has good steps.
    Job,
    /// In a job as its all.
    BareJob,
    /// In a step that has a name and nothing else.
    Step,
    /// In a step that has a name and a script.
    Scripted,
}

impl In {
    fn file(&self, lines: &str) -> String {
        let indented = |by: usize| {
            let lines: Vec<String> = lines.lines().map(|line| format!("{}{line}", " ".repeat(by))).collect();
            lines.join("\n")
        };
        match self {
            In::File => lines.to_owned(),
            In::Pipeline => format!("name: demo\n{lines}\njobs:\n  a:\n    steps: [{{name: one, script: x}}]\n"),
            In::Job => format!("name: demo\njobs:\n  build:\n    steps: [{{name: one, script: x}}]\n{}\n", indented(4)),
            In::BareJob => format!("name: demo\njobs:\n  build:\n{}\n", indented(4)),
            In::Step => format!("name: demo\njobs:\n  build:\n    steps:\n    - name: one\n{}\n", indented(6)),
            In::Scripted => {
                format!("name: demo\njobs:\n  build:\n    steps:\n    - name: one\n      script: x\n{}\n", indented(6))
            }
        }
    }

    /// What every message ends with.
    fn context(&self) -> &'static str {
        match self {
            In::File | In::Pipeline => "",
            In::Job | In::BareJob => ", in job `build`",
            In::Step | In::Scripted => ", in job `build`, step `one`",
        }
    }
}

type Row = (In, &'static str, Code, &'static str, &'static str);

/// What of a row does not hold.
fn problem((place, lines, code, message, help): &Row) -> Option<String> {
    let marked = place.file(lines);
    let before = marked.split('§').next()?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next()?.chars().count() + 1;
    let text = marked.replace('§', "");
    let checked = inspect("forgehand.yml", &text, &given());
    let found: Vec<_> = checked
        .diagnostics
        .iter()
        .map(|it| (it.span.line as usize, it.span.column as usize, it.code.0, it.message.as_str()))
        .collect();
    // Rows of whole files say all of their message.
    let message = format!("{message}{}", place.context());
    if found != [(line, column, code.0, message.as_str())] {
        return Some(format!("wanted {:?}\n found {found:?}\n{text}", (line, column, code.0, message)));
    }
    let said = checked.diagnostics.iter().next().and_then(|it| it.help.clone()).unwrap_or_default();
    (said.is_empty() || !said.contains(help)).then(|| format!("help: {said}\n{message}\n{text}"))
}

fn rows() -> Vec<Row> {
    [pipeline::rows(), job::rows(), parts::rows(), step::rows(), references::rows()].concat()
}

#[test]
fn every_rule_says_where_what_and_what_to_do() {
    let problems: Vec<String> = rows().iter().filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n---\n"));
}

#[test]
fn a_file_that_is_no_yaml_is_told_where_it_breaks() {
    let checked = inspect("forgehand.yml", "name: [\n", &given());
    let found: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, it.code.0)).collect();
    assert_eq!(found, [(2, codes::SYNTAX.0)]);
}

#[test]
fn a_bad_schedule_is_told() {
    let text = In::Pipeline.file("triggers: [{event: schedule, cron: every day}]");
    let checked = inspect("forgehand.yml", &text, &given());
    let found: Vec<_> = checked.diagnostics.iter().map(|it| (it.span.line, it.span.column, it.code.0)).collect();
    assert_eq!(found, [(2, 36, codes::BAD_CRON.0)]);
    let finding = checked.diagnostics.iter().next().unwrap();
    assert!(finding.message.starts_with("`every day` is no schedule"), "{}", finding.message);
    assert!(finding.help.as_deref().unwrap().contains("30 4 * * 1-5"));
}

/// Variables that double sixty times.
#[test]
fn what_grows_beyond_all_limits_is_told_at_the_variable_that_does() {
    let mut text = "name: p\nglobal_env:\n  V0: xxxxxxxxxx\n".to_owned();
    for at in 1..60 {
        text += &format!("  V{at}: '${{V{0}}}${{V{0}}}'\n", at - 1);
    }
    text += "jobs: {a: {steps: [{name: s, script: x}]}}\n";
    let checked = inspect("forgehand.yml", &text, &given());
    let first = checked.diagnostics.iter().next().unwrap();
    assert_eq!(first.code.0, codes::TOO_MUCH.0);
    // 10 * 2^17 is the first above 2^20.
    assert_eq!((first.span.line, first.span.column), (3 + 17, 8), "{}", first.message);
    assert!(first.message.starts_with("the value is larger than 1048576 bytes"), "{}", first.message);
    assert!(first.help.as_deref().unwrap().contains("write the value out"));
}

#[test]
fn all_codes_have_a_row() {
    let source = include_str!("../codes.rs");
    let all = source.split("Code(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let told: std::collections::HashSet<&str> = rows().iter().map(|row| row.2.0).collect();
    // Each of these has a test of its own: above, or where the graph and the times are looked at.
    let elsewhere = [codes::BAD_CRON.0, codes::TOO_MUCH.0, codes::RESOURCES.0];
    let missing: Vec<&str> = all.filter(|code| !told.contains(code) && !elsewhere.contains(code)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}
