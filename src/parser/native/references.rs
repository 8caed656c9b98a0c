//! References in texts: written right, defined, of use where they stand, and no secret where none may stand.

use std::ops::Range;

use super::check::{Check, Place, ResultUse, listed};
use super::codes;
use super::run::ABOUT;
use crate::parser::diagnostics::{did_you_mean, nearest};
use crate::parser::document::{Node, Span, Style};
use crate::parser::expression::analysis::{Step, faults, usage};
use crate::parser::expression::{Context, Expr, ExprError, Object, StatusCheck, Value};
use crate::parser::variables::{
    Operation, Resolver, Segment, Style as TextStyle, Text, VariableError, VariableErrorKind,
};

/// The named values of native expressions.
const ROOTS: [&str; 5] = ["env", "job", "matrix", "pipeline", "secrets"];

impl Check<'_> {
    /// What a text with references makes of the variables that are known now.
    pub(super) fn resolved(&mut self, node: &Node, text: &str) -> Option<String> {
        let parsed = match Text::parse(text, TextStyle::Value) {
            Ok(parsed) => parsed,
            Err(errors) => {
                errors.into_iter().for_each(|error| self.variable_error(node, error));
                return None;
            }
        };
        // Said in the words that all references are checked with.
        let before = self.diagnostics.len();
        self.segments(node, &parsed, Place::Setting);
        if self.diagnostics.len() > before {
            return None;
        }
        let nothing = Object::default();
        let result = Resolver::new(&self.hierarchy, &nothing, false, Default::default()).resolve(&parsed);
        result.map_err(|errors| errors.into_iter().for_each(|error| self.variable_error(node, error))).ok()
    }

    /// What a text comes to where that is known now, whatever the run is.
    pub(super) fn known(&self, text: &str) -> Option<String> {
        let parsed = Text::parse(text, TextStyle::Value).ok()?;
        let nothing = Object::default();
        Resolver::new(&self.hierarchy, &nothing, false, Default::default()).resolve(&parsed).ok()
    }

    pub(super) fn variable_error(&mut self, node: &Node, error: VariableError) {
        let code = match error.kind {
            VariableErrorKind::Undefined | VariableErrorKind::Required => codes::UNDEFINED_VARIABLE,
            VariableErrorKind::Cycle => codes::VARIABLE_CYCLE,
            VariableErrorKind::Secret => codes::SECRET_PLACE,
            VariableErrorKind::Expression => codes::BAD_EXPRESSION,
            VariableErrorKind::Syntax => codes::BAD_REFERENCE,
            VariableErrorKind::Limit => codes::TOO_MUCH,
        };
        let help = error.help.unwrap_or_else(|| match error.kind {
            VariableErrorKind::Expression => "the language is described in docs/expressions.md".to_owned(),
            VariableErrorKind::Limit => "write the value out, or build it where it is used".to_owned(),
            _ => "references are described in docs/native.md".to_owned(),
        });
        self.error(code, part_of(node, error.at), error.message, help);
    }

    /// Checks the references of a text: written right, defined, and no secret where none may stand.
    pub(super) fn references(&mut self, node: &Node, text: &str, place: Place) {
        if !text.contains("${") {
            return;
        }
        let style = if place == Place::Script { TextStyle::Script } else { TextStyle::Value };
        match Text::parse(text, style) {
            Ok(parsed) => self.segments(node, &parsed, place),
            Err(errors) => errors.into_iter().for_each(|error| self.variable_error(node, error)),
        }
    }

    /// The depth of references is limited when they are parsed, so that this may call itself.
    fn segments(&mut self, node: &Node, text: &Text, place: Place) {
        for segment in &text.segments {
            match segment {
                Segment::Text(_) => {}
                Segment::Expr { expr, offset } => self.names(node, expr, *offset, place),
                Segment::Reference { name, operation, at } => {
                    let needs_it = match operation {
                        Operation::Default(inner) | Operation::Alternate(inner) => {
                            self.segments(node, inner, place);
                            false
                        }
                        Operation::Replace { with, .. } => {
                            self.segments(node, with, place);
                            true
                        }
                        Operation::Plain => true,
                        // Whether it is there is seen when the pipeline runs.
                        Operation::Required(_) => false,
                    };
                    let path: Vec<&str> = name.split('.').collect();
                    if let [root, _, ..] = path.as_slice()
                        && !ROOTS.contains(root)
                    {
                        self.no_root(part_of(node, at.clone()), root);
                        continue;
                    }
                    self.path(node, &path, at.clone(), place, needs_it);
                }
            }
        }
    }

    fn no_root(&mut self, span: Span, root: &str) {
        let help = nearest(root, ROOTS).map(|near| format!("did you mean `{near}`?"));
        let help = help.unwrap_or_else(|| format!("named values are {}; a variable is `env.{root}`", listed(&ROOTS)));
        self.error(codes::UNDEFINED_VARIABLE, span, format!("`{root}` is no named value"), help);
    }

    /// Reports what is wrong with an expression whose text begins at `offset` of the node's.
    pub(super) fn expression_error(&mut self, node: &Node, offset: usize, error: ExprError) {
        let at = part_of(node, offset + error.offset..offset + error.offset + error.len);
        let help = "the language is described in docs/expressions.md".to_owned();
        self.error(codes::BAD_EXPRESSION, at, error.message, help);
    }

    /// Reports variables that refer to each other in a circle, each circle once, and values beyond the limits.
    pub(super) fn value_of(&mut self, node: &Node, name: &str) {
        if !self.hierarchy.get(name).is_some_and(|value| value.contains("${")) {
            return;
        }
        let Ok(text) = Text::parse(&format!("${{{name}}}"), TextStyle::Value) else { return };
        let errors = Resolver::new(&self.hierarchy, &Anything, true, Default::default()).resolve(&text).err();
        for error in errors.into_iter().flatten() {
            match error.kind {
                VariableErrorKind::Cycle if !error.message.contains(" -> ") => {
                    let is_new = self.circles.insert(vec![name.to_owned()]);
                    let _ = is_new.then(|| self.error(codes::VARIABLE_CYCLE, node.span, error.message, error.help));
                }
                VariableErrorKind::Cycle => {
                    let mut members: Vec<String> =
                        error.message.split(": ").last().unwrap_or_default().split(" -> ").map(str::to_owned).collect();
                    members.sort_unstable();
                    members.dedup();
                    // Those that lead into a circle are not in it.
                    if members.iter().any(|member| member == name) && self.circles.insert(members) {
                        self.error(codes::VARIABLE_CYCLE, node.span, error.message, error.help);
                    }
                }
                VariableErrorKind::Limit => {
                    let help = "write the value out, or build it where it is used".to_owned();
                    self.error(codes::TOO_MUCH, node.span, error.message, error.help.unwrap_or(help));
                }
                _ => {}
            }
        }
    }

    /// Checks what an expression names, and whether it can be evaluated at all.
    pub(super) fn names(&mut self, node: &Node, expr: &Expr, offset: usize, place: Place) {
        for fault in faults(expr) {
            self.expression_error(node, offset, fault);
        }
        for name in usage(expr).names {
            let mut path = vec![name.name.as_str()];
            path.extend(name.path.iter().map_while(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                _ => None,
            }));
            let at = offset + name.whole.start..offset + name.whole.end;
            if let Some((root, _)) = path.split_first()
                && !ROOTS.contains(root)
            {
                self.no_root(part_of(node, offset + name.at.start..offset + name.at.end), root);
                continue;
            }
            self.path(node, &path, at.clone(), place, false);
            // What an object lacks is null in an expression, and may be asked for; yet mostly its name is a slip of the pen.
            if let ["env", name, ..] = path.as_slice()
                && !self.is_defined(name)
            {
                let message = format!("variable `{name}` is not defined: `env.{name}` is null");
                let help = self.variables_help(name, &format!("env.{name}"));
                self.warning(codes::UNDEFINED_VARIABLE, part_of(node, at), message, help);
            }
        }
    }

    fn path(&mut self, node: &Node, path: &[&str], at: Range<usize>, place: Place, needs_it: bool) {
        let span = part_of(node, at);
        match path {
            ["secrets", ..] if place != Place::Environment => {
                let message = format!("`{}` stands where a secret may not", path.join("."));
                self.error(codes::SECRET_PLACE, span, message, SECRET_HELP.to_owned());
            }
            ["secrets"] => {
                let help = "name one: `secrets.KEY`".to_owned();
                self.error(codes::BAD_REFERENCE, span, "`secrets` alone is no value", help);
            }
            ["matrix", axis, ..] if !self.axes.iter().flatten().any(|known| known == axis) => {
                let axes = self.axes.clone().unwrap_or_default();
                self.unknown(span, &format!("matrix.{axis}"), axis, &axes, "axes");
            }
            ["pipeline", member, ..] if !ABOUT.contains(member) => {
                self.unknown(span, &format!("pipeline.{member}"), member, &ABOUT, "members of `pipeline`");
            }
            ["job", job, ..] if self.jobs.binary_search(job).is_err() => {
                let jobs = self.jobs.clone();
                self.unknown(span, &format!("job.{job}"), job, &jobs, "jobs");
            }
            ["job", job, rest @ ..] => self.result(span, job, rest),
            [name] | ["env", name] if needs_it && !self.is_defined(name) => {
                let help = self.variables_help(name, name);
                self.error(codes::UNDEFINED_VARIABLE, span, format!("variable `{name}` is not defined"), help);
            }
            [name] | ["env", name] if matches!(place, Place::Setting | Place::Script) && self.holds_secret(name) => {
                let message = format!("`{name}` holds a secret, and stands where a secret may not");
                self.error(codes::SECRET_PLACE, span, message, SECRET_HELP.to_owned());
            }
            _ => {}
        }
    }

    /// A result of a job that there is.
    fn result(&mut self, span: Span, job: &str, rest: &[&str]) {
        match rest {
            [] | ["status"] | ["artifacts"] | ["artifacts", "count"] => {}
            ["artifacts", member, ..] => {
                self.unknown(
                    span,
                    &format!("job.{job}.artifacts.{member}"),
                    member,
                    &["count"],
                    "members of `artifacts`",
                );
                return;
            }
            [member, ..] => {
                self.unknown(
                    span,
                    &format!("job.{job}.{member}"),
                    member,
                    &["status", "artifacts"],
                    "members of a job",
                );
                return;
            }
        }
        let context = self.context();
        self.results.push(ResultUse { job: self.job_at, of: job.to_owned(), span, context });
    }

    /// Whether a variable is there; in its own value it is that of a weaker source.
    fn is_defined(&self, name: &str) -> bool {
        match self.own {
            Some((own, source)) if own == name => self.hierarchy.has_below(name, source),
            _ => self.hierarchy.get(name).is_some(),
        }
    }

    /// Whether a secret goes into a variable's value.
    fn holds_secret(&self, name: &str) -> bool {
        if !self.hierarchy.get(name).is_some_and(|value| value.contains("${")) {
            return false;
        }
        let resolver = Resolver::new(&self.hierarchy, &Anything, true, Default::default());
        resolver.value(name).is_ok_and(|resolved| resolved.secret)
    }

    fn variables_help(&self, name: &str, whole: &str) -> String {
        let names = self.hierarchy.names();
        let names: Vec<&str> =
            names.into_iter().filter(|known| !self.bad_names.contains(known) && *known != name).collect();
        self.help_for(whole, name, &names, "variables")
    }

    fn unknown(&mut self, span: Span, whole: &str, name: &str, known: &[&str], what: &str) {
        let help = self.help_for(whole, name, known, what);
        self.error(codes::UNDEFINED_VARIABLE, span, format!("variable `{whole}` is not defined"), help);
    }

    fn help_for(&self, whole: &str, name: &str, known: &[&str], what: &str) -> String {
        let default = match whole.strip_prefix("env.") {
            Some(name) => format!("a default is written `env.{name} || 'text'`"),
            None => format!("a default is written `${{{whole}:-text}}`"),
        };
        did_you_mean(name, known.iter().copied()).unwrap_or_else(|| match known {
            [] => format!("there are no {what} here; {default}"),
            known => format!("the {what} are {}; {default}", listed(known)),
        })
    }
}

const SECRET_HELP: &str =
    "put it into `environment` and use that variable in the shell: secrets go to processes by their environment only";

/// A context in which everything there may be has a value.
struct Anything;

impl Context for Anything {
    fn named(&self, _: &str) -> Option<Value> {
        Some(Value::Null)
    }

    fn member(&self, name: &str, _: &str) -> Option<Option<Value>> {
        let job = || {
            let artifacts = Value::object([("count", Value::from(1.0))]);
            Value::object([("status", Value::from("success")), ("artifacts", artifacts)])
        };
        Some(Some(if name == "job" { job() } else { Value::from("x") }))
    }

    fn status(&self, _: StatusCheck, _: &[Value]) -> Option<bool> {
        Some(true)
    }
}

/// The place of some bytes of a node's text, where the text stands in the file as it is.
fn part_of(node: &Node, at: Range<usize>) -> Span {
    let Some(scalar) = node.as_scalar() else { return node.span };
    let one_line = node.span.line == node.span.end_line;
    let length = scalar.text.chars().count();
    let width = node.span.end_column.saturating_sub(node.span.column) as usize;
    let quotes = usize::from(scalar.style == Style::Quoted);
    // With escapes in it the text is shorter than what is written.
    if !one_line || scalar.style == Style::Block || width != length + 2 * quotes {
        return node.span;
    }
    let chars = |range: Range<usize>| scalar.text.get(range).map_or(0, |text| text.chars().count());
    let before = chars(0..at.start) + quotes;
    let (before, part) = (u32::try_from(before), u32::try_from(chars(at).max(1)));
    match (before, part) {
        (Ok(before), Ok(part)) => node.span.part(before, part),
        _ => node.span,
    }
}
