//! Inputs of `workflow_dispatch` and `workflow_call`.

use smol_str::SmolStr;

use super::Converter;
use crate::parser::github::codes;
use crate::parser::github::workflow::model::{CallInterface, CallSecret, Input, InputType};
use crate::parser::github::workflow::token::{Pair, Token, TokenKind};

impl Converter<'_, '_> {
    pub(super) fn call_interface(&mut self, call: &Token) -> CallInterface {
        let pairs = |key: &str| call.get(key).and_then(Token::as_mapping).unwrap_or_default();
        let secret = |pair: &Pair| {
            let required = pair.value.get("required").and_then(Token::as_bool).unwrap_or(false);
            Some(CallSecret { name: SmolStr::from(pair.key.as_text()?), required })
        };
        let output = |pair: &Pair| Some((SmolStr::from(pair.key.as_text()?), pair.value.get("value")?.clone()));
        CallInterface {
            inputs: call.get("inputs").map(|inputs| self.inputs(inputs, true)).unwrap_or_default(),
            secrets: pairs("secrets").iter().filter_map(secret).collect(),
            outputs: pairs("outputs").iter().filter_map(output).collect(),
        }
    }

    pub(super) fn inputs(&mut self, inputs: &Token, is_call: bool) -> Vec<Input> {
        let pairs = inputs.as_mapping().unwrap_or_default();
        pairs.iter().filter_map(|pair| self.input(pair, is_call)).collect()
    }

    fn input(&mut self, pair: &Pair, is_call: bool) -> Option<Input> {
        let token = &pair.value;
        let kind = match token.get("type").and_then(Token::as_text) {
            Some("boolean") => InputType::Bool,
            Some("number") => InputType::Number,
            Some("choice") => InputType::Choice,
            Some("environment") => InputType::Environment,
            _ => InputType::Text,
        };
        let options: Vec<SmolStr> = token
            .get("options")
            .map(|options| options.texts().map(|(text, _)| text.clone()).collect())
            .unwrap_or_default();
        let default = token.get("default").cloned();
        if let Some(default) = &default {
            self.check_default(default, kind, is_call);
        }
        match (kind, token.get("options").is_some()) {
            (InputType::Choice, _) if options.is_empty() => {
                let help = "list the values to choose from under `options:`";
                self.error_with(codes::INPUT, token.span, "Missing 'options' for choice input", Some(help));
            }
            (InputType::Choice, _) | (_, false) => {}
            _ => {
                let help = "write `type: choice`, or take `options` out";
                self.error_with(
                    codes::INPUT,
                    token.span,
                    "Input type is not 'choice', but 'options' is defined",
                    Some(help),
                );
            }
        }
        Some(Input {
            name: SmolStr::from(pair.key.as_text()?),
            span: pair.key.span,
            kind,
            required: token.get("required").and_then(Token::as_bool).unwrap_or(false),
            default,
            options,
            description: token.get("description").map(Token::source),
        })
    }

    fn check_default(&mut self, default: &Token, kind: InputType, is_call: bool) {
        let (is_good, wanted) = match kind {
            InputType::Bool => (matches!(default.kind, TokenKind::Bool(_)), "BooleanToken"),
            // The official parser lets any value pass as a number's default.
            InputType::Number => (true, "NumberToken"),
            InputType::Text | InputType::Choice | InputType::Environment => {
                (matches!(default.kind, TokenKind::Text(_)), "StringToken")
            }
        };
        if is_good || default.is_expression() && is_call {
            return;
        }
        let message = format!(
            "Unexpected type '{}' encountered while reading 'input default'. The type '{wanted}' was expected.",
            type_name(&default.kind)
        );
        let help = match kind {
            InputType::Bool => "the default of a boolean is `true` or `false`, without quotes",
            _ => "the default of a text stands in quotes where it looks like a number or a truth",
        };
        self.error_with(codes::INPUT, default.span, message, Some(help));
    }
}

/// The official parser's name of a kind.
fn type_name(kind: &TokenKind) -> &'static str {
    match kind {
        TokenKind::Null => "NullToken",
        TokenKind::Bool(_) => "BooleanToken",
        TokenKind::Number(_) => "NumberToken",
        TokenKind::Text(_) => "StringToken",
        TokenKind::Template(_) => "BasicExpressionToken",
        TokenKind::Insert => "InsertExpressionToken",
        TokenKind::Sequence(_) => "SequenceToken",
        TokenKind::Mapping(_) => "MappingToken",
    }
}
