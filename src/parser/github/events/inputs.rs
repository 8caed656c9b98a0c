//! Inputs of `workflow_dispatch` and `workflow_call`: declared types, defaults, what was given.

use crate::parser::document::Span;
use crate::parser::expression::{Object, Value, text_to_number};
use crate::parser::github::contexts::Names;
use crate::parser::github::workflow::model::{Input, InputType};

/// What is wrong with what a workflow is started or called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartProblem {
    /// One sentence.
    pub message: String,
    /// Where the workflow says what it takes.
    pub at: Option<Span>,
}

impl From<String> for StartProblem {
    fn from(message: String) -> Self {
        Self { message, at: None }
    }
}

/// The `inputs` context of what was given as text on the command line to an event that stands at `at`. All that is wrong is told.
pub fn given_inputs(declared: &[Input], given: &[(String, String)], at: Span) -> Result<Value, Vec<StartProblem>> {
    let given = given.iter().map(|(key, value)| (key.as_str(), Value::text(value.as_str())));
    resolve(declared, &Object::new(given), &Names::default(), Some(at))
}

/// The `inputs` context of a called workflow. All that is wrong is told.
pub fn call_inputs(declared: &[Input], given: Option<&Value>, names: &Names<'_>) -> Result<Value, String> {
    let empty = Object::default();
    let inputs = resolve(declared, given.and_then(Value::as_object).unwrap_or(&empty), names, None);
    inputs.map_err(|problems| problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; "))
}

fn resolve(
    declared: &[Input],
    given: &Object,
    names: &Names<'_>,
    at: Option<Span>,
) -> Result<Value, Vec<StartProblem>> {
    let mut problems = Vec::new();
    let mut values = Vec::with_capacity(declared.len());
    for (key, _) in given.entries() {
        if !declared.iter().any(|input| input.name.eq_ignore_ascii_case(key)) {
            let known: Vec<&str> = declared.iter().map(|input| input.name.as_str()).collect();
            let known =
                if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
            problems.push(StartProblem { message: format!("the input `{key}` is not declared; {known}"), at });
        }
    }
    for input in declared {
        match value(input, given.get(&input.name), names) {
            Ok(value) => values.push((input.name.as_str(), value)),
            Err(message) => problems.push(StartProblem { message, at: Some(input.span) }),
        }
    }
    if problems.is_empty() { Ok(Value::object(values)) } else { Err(problems) }
}

fn value(input: &Input, given: Option<&Value>, names: &Names<'_>) -> Result<Value, String> {
    if let Some(given) = given {
        return typed(input, given);
    }
    if let Some(default) = &input.default {
        return typed(input, &names.value(default)?);
    }
    if input.required {
        return Err(format!("the input `{}` is required and not given", input.name));
    }
    Ok(match input.kind {
        InputType::Bool => Value::Bool(false),
        InputType::Number => Value::Number(0.0),
        InputType::Choice => Value::text(input.options.first().map_or("", |option| option.as_str())),
        InputType::Text | InputType::Environment => Value::text(""),
    })
}

fn typed(input: &Input, value: &Value) -> Result<Value, String> {
    let wrong = |what: &str| Err(format!("the input `{}` takes {what}, not `{}`", input.name, value.to_text()));
    match (input.kind, value) {
        (InputType::Bool, Value::Bool(_)) | (InputType::Number, Value::Number(_)) => Ok(value.clone()),
        (InputType::Bool, Value::Text(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" | "" => Ok(Value::Bool(false)),
            _ => wrong("true or false"),
        },
        (InputType::Number, Value::Text(text)) => {
            let number = text_to_number(text);
            if number.is_nan() { wrong("a number") } else { Ok(Value::Number(number)) }
        }
        (InputType::Bool, Value::Null) => Ok(Value::Bool(false)),
        (InputType::Number, Value::Null) => Ok(Value::Number(0.0)),
        (InputType::Bool, _) => wrong("true or false"),
        (InputType::Number, _) => wrong("a number"),
        (InputType::Choice, value) => {
            let text = value.to_text();
            let is_known = input.options.is_empty() || input.options.iter().any(|option| **option == *text);
            if is_known { Ok(Value::Text(text)) } else { wrong(&format!("one of {}", input.options.join(", "))) }
        }
        (InputType::Text | InputType::Environment, value) if value.is_primitive() => Ok(Value::Text(value.to_text())),
        (InputType::Text | InputType::Environment, _) => wrong("a text"),
    }
}
