//! What is given against what is declared.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::{Node, Schema, Span};
use crate::parser::expression::regex::Pattern;

use super::super::{ComposeContext, codes};
use super::{Arguments, Declared, Kind, Spec, rules, value};

/// The value of every declared input; `None` where one of them is wrong or missing. `at` is where values are given.
pub(in super::super) fn values(
    spec: &Spec,
    given: &Arguments,
    at: Span,
    context: &ComposeContext,
    diagnostics: &mut Diagnostics,
) -> Option<BTreeMap<SmolStr, Node>> {
    let before = diagnostics.len();
    let name_of = |name: &Node| name.as_scalar().map(|name| name.text.clone()).unwrap_or_default();
    for (name, _) in given {
        let text = name_of(name);
        if !spec.inputs.iter().any(|input| input.name == text) {
            let message = format!("there is no input `{text}`");
            let names = spec.inputs.iter().map(|input| input.name.as_str());
            let help = did_you_mean(&text, names.clone()).or_else(|| Some(listed(names)));
            diagnostics.push(Diagnostic::error(codes::INPUT_UNKNOWN, name.span, message).maybe_help(help));
        }
    }
    let mut values = BTreeMap::new();
    for declared in rules::order(spec) {
        let value = given.iter().find(|(name, _)| name_of(name) == declared.name).map(|(_, value)| value);
        let value = value.filter(|value| !value.is_null(Schema::Ruby));
        let mut one = One { declared, given: value, at, values: &values, context, diagnostics };
        if let Some(value) = one.value() {
            values.insert(declared.name.clone(), value);
        }
    }
    (diagnostics.len() == before).then_some(values)
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => "the file declares no inputs".to_owned(),
        false => format!("the file declares {}", names.join(", ")),
    }
}

struct One<'a> {
    declared: &'a Declared,
    given: Option<&'a Node>,
    at: Span,
    values: &'a BTreeMap<SmolStr, Node>,
    context: &'a ComposeContext,
    diagnostics: &'a mut Diagnostics,
}

impl One<'_> {
    fn value(&mut self) -> Option<Node> {
        let declared = self.declared;
        let rule = rules::matching(&declared.rules, self.values, self.context);
        let may_default = declared.rules.iter().any(|rule| rule.default.is_some() || rule.condition.is_none());
        let default = rule.and_then(|rule| rule.default.as_ref()).or(declared.default.as_ref());
        let options = rule.and_then(|rule| rule.options.as_ref()).or(declared.options.as_ref());
        if self.given.is_none() && declared.default.is_none() && !may_default {
            let message = format!("the input `{}` needs a value: it has no default", declared.name);
            let help = format!("give it under `inputs:` of the include, or with `--input {}=…`", declared.name);
            let finding = Diagnostic::error(codes::INPUT_VALUE, self.at, message).help(help);
            self.diagnostics.push(finding.related(declared.span, "declared here"));
            return None;
        }
        if let Some(default) = default {
            self.checked(default, options, true)?;
        }
        match (self.given, default) {
            (Some(given), _) => self.checked(given, options, false),
            (None, Some(default)) => declared.kind.coerce(default),
            (None, None) => Some(match declared.kind {
                Kind::String => Node::text("", declared.span),
                Kind::Number | Kind::Boolean | Kind::Array => Node::plain("", declared.span),
            }),
        }
    }

    /// The value as the input's type has it, if it is allowed.
    fn checked(&mut self, value: &Node, options: Option<&Node>, is_default: bool) -> Option<Node> {
        let declared = self.declared;
        let (name, kind) = (&declared.name, declared.kind);
        let what = if is_default { "the default" } else { "the value" };
        let code = if is_default { codes::INPUT_SPEC } else { codes::INPUT_VALUE };
        let Some(coerced) = kind.coerce(value) else {
            let message = format!(
                "{what} of the input `{name}` is {}; it must be {}",
                value.kind(Schema::Ruby),
                kind.described()
            );
            let finding = Diagnostic::error(code, value.span, message);
            self.diagnostics.push(finding.related(declared.span, "declared here"));
            return None;
        };
        let problem = self.not_an_option(&coerced, options).or_else(|| self.not_matching(&coerced));
        match problem {
            None => Some(coerced),
            Some((problem, help)) => {
                let message = format!("{what} of the input `{name}`: {problem}");
                let finding = Diagnostic::error(code, value.span, message).maybe_help(help);
                self.diagnostics.push(finding.related(declared.span, "declared here"));
                None
            }
        }
    }

    fn not_an_option(&self, value: &Node, options: Option<&Node>) -> Option<(String, Option<String>)> {
        let options = options?.as_sequence()?;
        let texts: Vec<String> = options.iter().map(value::text_in_text).collect();
        let kind = self.declared.kind;
        let wrong = match kind {
            Kind::Boolean => {
                return Some(("`options` go with texts, numbers and lists only".to_owned(), None));
            }
            Kind::Array => {
                let items = value.as_sequence().unwrap_or_default();
                items.iter().find(|item| !options.iter().any(|option| option.same(item, Schema::Ruby)))
            }
            Kind::String => (!texts.iter().any(|text| value::text_of(value).as_ref() == Some(text))).then_some(value),
            Kind::Number => (!options.iter().any(|option| option.same(value, Schema::Ruby))).then_some(value),
        };
        let text = value::text_in_text(wrong?);
        let near = did_you_mean(&text, texts.iter().map(String::as_str));
        let help = near.unwrap_or_else(|| format!("choose one of {}", texts.join(", ")));
        Some((format!("`{text}` is not among the options"), Some(help)))
    }

    fn not_matching(&self, value: &Node) -> Option<(String, Option<String>)> {
        let regex = self.declared.regex.as_ref()?;
        if self.declared.kind != Kind::String {
            let kind = self.declared.kind.name();
            return Some((format!("`regex` goes with texts only, and the type is {kind}"), None));
        }
        let pattern = regex.as_scalar()?.text.as_str();
        match Pattern::raw(pattern) {
            Err(error) => Some((format!("`{pattern}` is no regular expression (RE2): {error}"), None)),
            Ok(compiled) => {
                let text = value::text_of(value).unwrap_or_default();
                (!compiled.is_match(&text)).then(|| (format!("`{text}` does not match `{pattern}`"), None))
            }
        }
    }
}
