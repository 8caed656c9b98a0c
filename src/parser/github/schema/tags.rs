//! Tags on scalars: YAML's own, where they fit.

use crate::parser::document::{Node, Schema, Style, Typed};

const YAML: &str = "tag:yaml.org,2002:";

/// What to do about a tag that has no place here.
pub(super) fn help(tag: &str) -> String {
    match tag.strip_prefix('!').filter(|name| !name.is_empty()) {
        Some(_) => format!("to YAML, `!` begins a tag: write `\"{tag} …\"` in quotes, or inside of `${{{{ }}}}`"),
        None => "take the tag out; text that looks like something else stands in quotes".to_owned(),
    }
}

/// What is wrong with a tag, in the official parser's words.
pub(super) fn problem(node: &Node, tag: &str) -> Option<String> {
    let scalar = node.as_scalar()?;
    let kind = match tag.strip_prefix(YAML) {
        Some("str") => return None,
        Some(kind @ ("int" | "float" | "bool" | "null")) => kind,
        _ if tag == "!" => return None,
        _ => return Some(format!("Unexpected tag '{tag}'")),
    };
    let (line, column) = (node.span.line, node.span.column);
    let style = match scalar.style {
        Style::Plain => None,
        Style::Quoted => Some("Quoted"),
        Style::Block => Some("Literal"),
    };
    if let Some(style) = style {
        return Some(format!(
            "The scalar style '{style}' on line {line} and column {column} is not valid with the tag '{tag}'"
        ));
    }
    let fits = matches!(
        (kind, scalar.typed_with(Schema::Core, None)),
        ("int", Typed::Int(_))
            | ("float", Typed::Int(_) | Typed::Float(_))
            | ("bool", Typed::Bool(_))
            | ("null", Typed::Null)
    );
    (!fits).then(|| {
        format!("The value '{}' on line {line} and column {column} is invalid for the type '{tag}'", scalar.text)
    })
}
