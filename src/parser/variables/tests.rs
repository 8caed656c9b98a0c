use super::*;
use crate::parser::expression::{Budget, Object, Value};

fn context() -> Object {
    let json = serde_json::json!({
        "secrets": { "API_KEY": "sk-1" },
        "matrix": { "python_version": "3.9" },
        "job": { "build": { "status": "success", "artifacts": { "count": 2 } } },
        "pipeline": { "name": "demo" }
    });
    let value = crate::parser::expression::from_json(&json);
    match value {
        Value::Object(object) => (*object).clone(),
        _ => Object::default(),
    }
}

fn hierarchy() -> Hierarchy {
    let mut hierarchy = Hierarchy::new();
    for (source, name, value) in [
        (Source::System, "BRANCH_NAME", "feature/a/b"),
        (Source::System, "CI", "true"),
        (Source::System, "PATH", "/bin"),
        (Source::Global, "STAGE", "prod"),
        (Source::Global, "URL", "https://${HOST:-localhost}/${STAGE}"),
        (Source::Global, "A", "${B}"),
        (Source::Global, "B", "${C}"),
        (Source::Global, "C", "${A}"),
        (Source::Job, "PATH", "${PATH}:/opt/bin"),
        (Source::Job, "DEBUG", "1"),
        (Source::Job, "EMPTY", ""),
        (Source::Runtime, "HOST", "example.org"),
    ] {
        hierarchy.set(source, name, value);
    }
    hierarchy
}

fn resolved(text: &str, style: Style, secrets: bool) -> Result<String, Vec<VariableError>> {
    let (hierarchy, context) = (hierarchy(), context());
    Resolver::new(&hierarchy, &context, secrets, Budget::default()).resolve(&Text::parse(text, style)?)
}

#[test]
fn every_form_has_its_value() {
    for (text, want) in [
        ("no reference $HOME {x}", "no reference $HOME {x}"),
        ("${BRANCH_NAME}", "feature/a/b"),
        ("${TIMEOUT:-300}", "300"),
        ("${EMPTY:-300}", "300"),
        ("${CI:-300}", "true"),
        ("${DEBUG:+--verbose}", "--verbose"),
        ("${NOPE:+--verbose}", ""),
        (r"${BRANCH_NAME/\//-}", "feature-a-b"),
        (r"${BRANCH_NAME//\//-}", "feature-a-b"),
        ("${BRANCH_NAME/feature/${STAGE}}", "prod/a/b"),
        ("${NOPE:-${ALSO:-${STAGE}}}", "prod"),
        ("${URL}", "https://example.org/prod"),
        ("${PATH}", "/bin:/opt/bin"),
        ("${{ env.STAGE == 'prod' }}", "true"),
        ("${{ env.URL + '/x' }}", "https://example.org/prod/x"),
        ("${matrix.python_version}", "3.9"),
        ("${job.build.status}/${job.build.artifacts.count}", "success/2"),
        ("${pipeline.name}", "demo"),
        ("${env.STAGE}", "prod"),
        ("$${STAGE}", "${STAGE}"),
        ("${secrets.API_KEY}", "sk-1"),
        ("${{ '}}' }}", "}}"),
    ] {
        assert_eq!(resolved(text, Style::Value, true).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn a_shells_own_variables_are_left_to_it() {
    for (text, want) in [
        ("echo ${NOPE} ${X:-y} ${STAGE} ${#A} ${!x}", "echo ${NOPE} ${X:-y} ${STAGE} ${#A} ${!x}"),
        ("test ${matrix.python_version} = ${{ matrix.python_version }}", "test 3.9 = 3.9"),
        ("echo ${open", "echo ${open"),
    ] {
        assert_eq!(resolved(text, Style::Script, false).as_deref(), Ok(want), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_way_out() {
    use VariableErrorKind::{Cycle, Expression, Required, Secret, Syntax, Undefined};
    for (text, kind, at, message, help) in [
        (
            "x ${BRANCH_NAMES}",
            Undefined,
            2..17,
            "variable `BRANCH_NAMES` is not defined",
            "did you mean `BRANCH_NAME`?",
        ),
        (
            "${matrix.python}",
            Undefined,
            0..16,
            "variable `matrix.python` is not defined",
            "did you mean `matrix.python_version`?",
        ),
        (
            "${A}",
            Cycle,
            0..4,
            "variables refer to each other in a circle: A -> B -> C -> A",
            "write the value of `A` out",
        ),
        ("${NOPE:?say which}", Required, 0..18, "variable `NOPE` has no value: say which", ""),
        (
            "${secrets.API_KEY}",
            Secret,
            0..18,
            "`secrets.API_KEY` stands where a secret may not",
            "put it into `environment`",
        ),
        ("${{ secrets.API_KEY }}", Secret, 4..11, "Unrecognized named-value: 'secrets'", ""),
        ("a ${STAGE", Syntax, 2..9, "the reference is never closed", "close it with `}`"),
        ("${STAGE|x}", Syntax, 0..10, "`|x` is nothing that can be done with a variable", "a default is"),
        ("${STAGE/x}", Syntax, 0..10, "`${STAGE/x}` does not say what is replaced", "write `${NAME/what/with}`"),
        ("${1A}", Syntax, 0..5, "`${1A}` names no variable", "a reference is written"),
        ("${{ 1 + }}", Expression, 6..7, "Unexpected end of expression: '+'", ""),
    ] {
        let errors = resolved(text, Style::Value, false).unwrap_err();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert_eq!((errors[0].kind, errors[0].at.clone(), errors[0].message.as_str()), (kind, at, message), "{text}");
        assert!(errors[0].help.as_deref().unwrap_or("").contains(help), "{text}: {:?}", errors[0].help);
    }
}

#[test]
fn values_that_double_themselves_come_to_an_end() {
    let mut hierarchy = Hierarchy::new();
    hierarchy.set(Source::Global, "V0", "xxxxxxxxxx");
    for i in 1..60 {
        hierarchy.set(Source::Global, format!("V{i}"), format!("${{V{}}}${{V{}}}", i - 1, i - 1));
    }
    let context = Object::default();
    let resolver = Resolver::new(&hierarchy, &context, false, Budget::default());
    for text in ["${V29}", "${V59}"] {
        let errors = resolver.resolve(&Text::parse(text, Style::Value).unwrap()).unwrap_err();
        assert_eq!(errors[0].kind, VariableErrorKind::Limit);
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics_or_hangs(text in "(\\$\\{|\\}|\\$|\\{|[A-Za-z_./:+?'-]|\\\\|\\$\\{\\{|\\}\\}|é){0,40}") {
        for style in [Style::Value, Style::Script] {
            let _ = resolved(&text, style, true);
        }
    }
}
