//! `if`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::Converter;
use crate::parser::expression::{Dialect, Expr, Part, Template, analysis, parse};
use crate::parser::github::schema::scope::ScopeSet;
use crate::parser::github::workflow::model::Condition;
use crate::parser::github::workflow::token::{Token, TokenKind};

impl Converter<'_, '_> {
    /// A condition: an expression with or without `${{ }}`, which asks for success where it asks for no status itself.
    pub(super) fn condition(&mut self, token: &Token, scope: ScopeSet) -> Condition {
        let text: SmolStr = match &token.kind {
            TokenKind::Template(template) => as_one_expression(template),
            // What is not closed was told already.
            TokenKind::Text(text) if text.contains("${{") => return self.no_condition(),
            _ => token.source().trim().into(),
        };
        if text.is_empty() {
            return self.no_condition();
        }
        let key = (text, scope);
        let expr = match self.known.conditions.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let Some(expr) = self.reader.condition(&key.0, token.span, scope) else { return self.no_condition() };
                let expr = with_status(expr);
                self.known.conditions.insert(key.clone(), Arc::clone(&expr));
                expr
            }
        };
        Condition { expr, text: Some(key.0), span: Some(token.span) }
    }

    /// Tells what is wrong with a condition whose value nobody needs.
    pub(super) fn check_condition(&mut self, token: &Token, scope: ScopeSet) {
        let _ = self.condition(token, scope);
    }
}

/// A template as the one expression that it is evaluated as: `format('…', …)` where there is text around it.
fn as_one_expression(template: &Template) -> SmolStr {
    if let Some(expr) = template.as_expr() {
        return expr.text.clone();
    }
    let mut format = String::from("format('");
    let mut arguments = String::new();
    let mut count = 0;
    for part in &template.parts {
        match part {
            Part::Text(text) => {
                format.push_str(&text.replace('\'', "''").replace('{', "{{").replace('}', "}}"));
            }
            Part::Expr { expr, .. } => {
                format.push_str(&format!("{{{count}}}"));
                arguments.push_str(", ");
                arguments.push_str(&expr.text);
                count += 1;
            }
        }
    }
    format.push('\'');
    (format + &arguments + ")").into()
}

/// The expression, with `success() &&` before it where it asks for no status.
fn with_status(expr: Expr) -> Arc<Expr> {
    if asks_for_status(&expr) {
        return Arc::new(expr);
    }
    let text = format!("success() && ({})", expr.text);
    // What was an expression alone is one in parentheses too, but for the limit on levels: then it stays as it is.
    Arc::new(parse(&text, Dialect::GitHub).unwrap_or(expr))
}

fn asks_for_status(expr: &Expr) -> bool {
    const STATUS: [&str; 4] = ["success", "failure", "cancelled", "always"];
    // Most conditions do not: a look at the text is enough to know.
    let lower = expr.text.to_ascii_lowercase();
    STATUS.iter().any(|name| lower.contains(name))
        && analysis::usage(expr).functions.iter().any(|function| STATUS.contains(&function.name))
}
