//! A workflow from text, as plainly as can be: what is wrong with it is another's matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::parser::document::{FileId, Merge, Node, Options, Schema, Span, Typed, node, read};
use crate::parser::expression::{Dialect, Template, parse};
use crate::parser::github::workflow::model::*;

pub fn workflow(path: &str, files: &BTreeMap<String, String>) -> Arc<Workflow> {
    let root =
        read(FileId(0), &files[path], Options { merge: Merge::None, limits: Default::default() }).unwrap().remove(0);
    let jobs = entries(root.get("jobs")).map(|(key, node)| job(key, node, files)).collect();
    Arc::new(Workflow {
        path: path.into(),
        name: root.get("name").and_then(text).map(Into::into),
        run_name: None,
        events: events(root.get("on").unwrap()),
        permissions: None,
        env: token(&root, "env"),
        defaults: defaults(&root),
        concurrency: token(&root, "concurrency"),
        jobs,
    })
}

fn text(node: &Node) -> Option<&str> {
    node.as_scalar().map(|scalar| scalar.text.as_str())
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = node.and_then(Node::as_mapping).map(|mapping| mapping.entries()).unwrap_or_default();
    entries.iter().filter_map(|entry| Some((text(&entry.key)?, &entry.value)))
}

fn texts(node: &Node) -> Vec<smol_str::SmolStr> {
    match node.as_sequence() {
        Some(items) => items.iter().filter_map(text).map(Into::into).collect(),
        None => text(node).map(Into::into).into_iter().collect(),
    }
}

fn scalar(text: &str, span: Span) -> Token {
    if text.contains("${{") {
        let kind = TokenKind::Template(Arc::new(Template::parse(text, Dialect::GitHub).unwrap()));
        return Token { span, kind };
    }
    Token::text(text, span)
}

fn value(node: &Node) -> Token {
    let span = node.span;
    let kind = match &node.value {
        node::Value::Scalar(text) => match node.typed(Schema::Core) {
            Some(Typed::Null) => TokenKind::Null,
            Some(Typed::Bool(truth)) => TokenKind::Bool(truth),
            Some(Typed::Int(number)) => TokenKind::Number(number as f64),
            Some(Typed::Float(number)) => TokenKind::Number(number),
            _ => return scalar(&text.text, span),
        },
        node::Value::Sequence(items) => TokenKind::Sequence(items.iter().map(value).collect()),
        node::Value::Mapping(mapping) => {
            let pair =
                |entry: &node::Entry| Pair { key: scalar(text(&entry.key).unwrap(), span), value: value(&entry.value) };
            TokenKind::Mapping(mapping.entries().iter().map(pair).collect())
        }
    };
    Token { span, kind }
}

fn token(node: &Node, key: &str) -> Option<Token> {
    node.get(key).filter(|node| !node.is_null(Schema::Core)).map(value)
}

fn string(node: &Node, key: &str) -> Option<Token> {
    node.get(key).and_then(|node| Some(scalar(text(node)?, node.span)))
}

fn events(node: &Node) -> Vec<Event> {
    let event = |name: &str, node: Option<&Node>| Event {
        name: name.into(),
        span: Span::start_of(FileId(0)),
        filters: EventFilters::default(),
        detail: match name {
            "workflow_dispatch" => EventDetail::Dispatch(inputs(node)),
            "workflow_call" => EventDetail::Call(CallInterface {
                inputs: inputs(node),
                secrets: entries(node.and_then(|node| node.get("secrets")))
                    .map(|(name, node)| CallSecret { name: name.into(), required: is_true(node, "required") })
                    .collect(),
                outputs: entries(node.and_then(|node| node.get("outputs")))
                    .map(|(name, node)| (name.into(), string(node, "value").unwrap()))
                    .collect(),
            }),
            _ => EventDetail::None,
        },
    };
    match node.as_mapping() {
        Some(_) => entries(Some(node)).map(|(name, node)| event(name, Some(node))).collect(),
        None => texts(node).iter().map(|name| event(name, None)).collect(),
    }
}

fn is_true(node: &Node, key: &str) -> bool {
    matches!(node.get(key).and_then(|node| node.typed(Schema::Core)), Some(Typed::Bool(true)))
}

fn inputs(node: Option<&Node>) -> Vec<Input> {
    let input = |(name, node): (&str, &Node)| Input {
        name: name.into(),
        span: node.span,
        kind: match node.get("type").and_then(text) {
            Some("boolean") => InputType::Bool,
            Some("number") => InputType::Number,
            Some("choice") => InputType::Choice,
            _ => InputType::Text,
        },
        required: is_true(node, "required"),
        default: token(node, "default"),
        options: node.get("options").map(texts).unwrap_or_default(),
        description: None,
    };
    entries(node.and_then(|node| node.get("inputs"))).map(input).collect()
}

fn defaults(node: &Node) -> Option<RunDefaults> {
    let run = node.get("defaults")?.get("run")?;
    Some(RunDefaults {
        shell: string(run, "shell"),
        working_directory: string(run, "working-directory"),
        computed: None,
    })
}

fn condition(node: &Node) -> Condition {
    let written = node.get("if").and_then(text);
    let inner = written.map(|text| text.trim().trim_start_matches("${{").trim_end_matches("}}").trim());
    let asks = |text: &str| ["success(", "failure(", "always(", "cancelled("].iter().any(|name| text.contains(name));
    let whole = match inner {
        None => "success()".to_owned(),
        Some(text) if asks(text) => text.to_owned(),
        Some(text) => format!("success() && ({text})"),
    };
    let expr = Arc::new(parse(&whole, Dialect::GitHub).unwrap());
    Condition { expr, text: inner.map(Into::into), span: None }
}

fn job(key: &str, node: &Node, files: &BTreeMap<String, String>) -> Job {
    let kind = match node.get("uses").and_then(text) {
        Some(uses) => JobKind::Call(Box::new(Call {
            uses: uses.into(),
            span: node.span,
            with: token(node, "with"),
            secrets: match node.get("secrets") {
                None => CallSecrets::None,
                Some(secrets) if text(secrets) == Some("inherit") => CallSecrets::Inherit,
                Some(secrets) => CallSecrets::Named(value(secrets)),
            },
            workflow: uses
                .strip_prefix("./")
                .filter(|path| files.contains_key(*path))
                .map(|path| workflow(path, files)),
        })),
        None => JobKind::Steps(Box::new(StepsJob {
            runs_on: token(node, "runs-on"),
            environment: token(node, "environment"),
            env: token(node, "env"),
            outputs: token(node, "outputs"),
            defaults: defaults(node),
            container: token(node, "container"),
            services: token(node, "services"),
            timeout_minutes: token(node, "timeout-minutes"),
            continue_on_error: token(node, "continue-on-error"),
            steps: node.get("steps").and_then(Node::as_sequence).unwrap_or_default().iter().map(step).collect(),
            ..StepsJob::default()
        })),
    };
    Job {
        id: key.into(),
        span: node.span,
        name: string(node, "name"),
        needs: node.get("needs").map(texts).unwrap_or_default().into_iter().map(|need| (need, node.span)).collect(),
        condition: condition(node),
        permissions: None,
        concurrency: token(node, "concurrency"),
        strategy: token(node, "strategy"),
        kind,
    }
}

fn step(node: &Node) -> Step {
    let control = node.get("wait").map(|ids| Control::Wait(texts(ids)));
    let control = control.or_else(|| node.get("wait-all").map(|_| Control::WaitAll));
    let control = control.or_else(|| node.get("cancel").map(|ids| Control::Cancel(texts(ids))));
    let kind = match (control, node.get("uses").and_then(text)) {
        (Some(control), _) => StepKind::Control(control),
        (None, Some(uses)) => {
            StepKind::Uses(UsesStep { action: uses.into(), span: node.span, with: token(node, "with") })
        }
        (None, None) => StepKind::Run(RunStep {
            script: string(node, "run").unwrap(),
            shell: string(node, "shell"),
            working_directory: string(node, "working-directory"),
        }),
    };
    let id = node.get("id").and_then(text);
    Step {
        id: id.map(Into::into),
        unique_id: id.unwrap_or("__run").into(),
        span: node.span,
        name: string(node, "name"),
        condition: condition(node),
        env: token(node, "env"),
        continue_on_error: token(node, "continue-on-error"),
        timeout_minutes: token(node, "timeout-minutes"),
        background: is_true(node, "background"),
        kind,
    }
}
