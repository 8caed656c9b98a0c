//! The functions of blocks: `expand_vars`, `truncate(0,8)`, `posix_escape`, `split(',')`.

use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::{Node, Schema, Typed};

use super::super::{ComposeContext, variables};
use super::access::Fault;

const NAMES: [&str; 4] = ["expand_vars", "truncate", "posix_escape", "split"];

/// A function as a block calls it.
enum Function<'a> {
    ExpandVars,
    Truncate { offset: usize, length: usize },
    PosixEscape,
    Split { separator: &'a str },
}

/// The value that a function makes of another.
pub(super) fn apply(call: &str, value: &Node, context: &ComposeContext) -> Result<Node, Fault> {
    let function = Function::parse(call).ok_or_else(|| unknown(call))?;
    let Some(Typed::Text(text)) = value.typed(Schema::Ruby) else {
        let name = call.split('(').next().unwrap_or(call);
        let message = format!("`{name}` takes text, not {}", value.kind(Schema::Ruby));
        return Err(Fault::new(message));
    };
    let node = |text: String| Node::text(text, value.span);
    match function {
        Function::ExpandVars => expand(text, context).map(node),
        Function::Truncate { offset, length } => Ok(node(text.chars().skip(offset).take(length).collect())),
        Function::PosixEscape => Ok(node(posix_escape(text))),
        Function::Split { separator: "" } => Err(Fault::new("`split` takes a separator that is not empty")),
        Function::Split { separator } => {
            let parts = text.split(separator).map(str::trim).filter(|part| !part.is_empty());
            Ok(Node::sequence(parts.map(|part| Node::text(part, value.span)).collect(), value.span))
        }
    }
}

impl<'a> Function<'a> {
    fn parse(call: &'a str) -> Option<Self> {
        match call {
            "expand_vars" => return Some(Self::ExpandVars),
            // `posix_quote` is what the first release with it called it.
            "posix_escape" | "posix_quote" => return Some(Self::PosixEscape),
            _ => {}
        }
        if let Some(inner) = call.strip_prefix("split('").and_then(|rest| rest.strip_suffix("')")) {
            return (!inner.contains('\'')).then_some(Self::Split { separator: inner });
        }
        // GitLab's pattern lets the closing parenthesis be left out.
        let inner = call.strip_prefix("truncate(")?;
        let (offset, length) = inner.strip_suffix(')').unwrap_or(inner).split_once(',')?;
        let number = |text: &str| {
            let text = text.trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(usize::MAX))
        };
        Some(Self::Truncate { offset: number(offset)?, length: number(length)? })
    }
}

fn unknown(call: &str) -> Fault {
    let name = call.split('(').next().unwrap_or(call);
    let help = match name {
        "truncate" => "write `truncate(offset,length)` with two whole numbers".to_owned(),
        "split" => "write `split(',')` with the separator in single quotes".to_owned(),
        "expand_vars" | "posix_escape" => format!("write `{name}` without arguments"),
        _ => did_you_mean(name, NAMES).unwrap_or_else(|| format!("functions are {}", NAMES.join(", "))),
    };
    Fault { message: format!("no function matches `{call}`"), help: Some(help) }
}

fn expand(text: &str, context: &ComposeContext) -> Result<String, Fault> {
    let mut masked = None;
    let expanded = variables::expand(text, |name| {
        let variable = context.variables.get(name)?;
        if variable.masked {
            masked.get_or_insert_with(|| name.to_owned());
        }
        Some(variable.value.clone())
    });
    match masked {
        None => Ok(expanded.into_owned()),
        Some(name) => Err(Fault::new(format!("`expand_vars`: the masked variable `{name}` cannot be expanded"))),
    }
}

/// Text as one word of a POSIX shell, as Ruby's `Shellwords.escape` writes it.
fn posix_escape(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("'\n'"),
            'A'..='Z' | 'a'..='z' | '0'..='9' | '_' | '-' | '.' | ',' | ':' | '+' | '/' | '@' => out.push(c),
            _ => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out
}
