//! The types of inputs.

use crate::parser::document::{Entry, Node, Schema, Span, Typed, Value, big_whole, ruby_float_text};

/// The type of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Text. Numbers and truths become text.
    #[default]
    String,
    /// A number.
    Number,
    /// A truth.
    Boolean,
    /// A list.
    Array,
}

impl Kind {
    /// All by name.
    pub(super) const ALL: [(&'static str, Self); 4] =
        [("array", Self::Array), ("boolean", Self::Boolean), ("number", Self::Number), ("string", Self::String)];

    /// The name.
    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("string", |(name, _)| name)
    }

    /// With its article, for messages.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::String => "text",
            Self::Number => "a number",
            Self::Boolean => "a boolean (`true` or `false`)",
            Self::Array => "a list",
        }
    }

    /// The value as this type has it; `None` where it is of another.
    ///
    /// Text for another type than text is read as JSON, as forms and command lines give it.
    pub(super) fn coerce(self, value: &Node) -> Option<Node> {
        if self == Self::String {
            return text_of(value).map(|text| Node::text(text, value.span));
        }
        let read = match value.typed(Schema::Ruby) {
            Some(Typed::Text(text)) => from_json(&serde_json::from_str(text).ok()?, value.span),
            _ => value.clone(),
        };
        let fits = match (self, read.typed(Schema::Ruby)) {
            (Self::Number, Some(Typed::Int(_) | Typed::Float(_))) | (Self::Boolean, Some(Typed::Bool(_))) => true,
            (Self::Array, None) => read.as_sequence().is_some(),
            _ => false,
        };
        fits.then_some(read)
    }
}

/// A scalar as Ruby's `to_s` writes it; `None` for lists and mappings.
pub(super) fn text_of(value: &Node) -> Option<String> {
    Some(match value.typed(Schema::Ruby)? {
        Typed::Null => String::new(),
        Typed::Bool(truth) => truth.to_string(),
        Typed::Int(number) => number.to_string(),
        Typed::Float(number) => {
            let whole = value.as_scalar().and_then(|scalar| big_whole(&scalar.text));
            whole.unwrap_or_else(|| ruby_float_text(number).to_string())
        }
        Typed::Symbol(name) => name.into_owned(),
        Typed::Time(text) | Typed::Text(text) => text.to_owned(),
    })
}

/// Any value as text inside of text: lists and mappings as JSON.
pub(super) fn text_in_text(value: &Node) -> String {
    text_of(value).unwrap_or_else(|| to_json(value).to_string())
}

/// A node of JSON that stands at `span`.
pub(in super::super) fn from_json(value: &serde_json::Value, span: Span) -> Node {
    match value {
        serde_json::Value::Null => Node::plain("", span),
        serde_json::Value::Bool(truth) => Node::plain(if *truth { "true" } else { "false" }, span),
        serde_json::Value::Number(number) => Node::plain(number.to_string(), span),
        serde_json::Value::String(text) => Node::text(text.as_str(), span),
        serde_json::Value::Array(items) => {
            Node::sequence(items.iter().map(|item| from_json(item, span)).collect(), span)
        }
        serde_json::Value::Object(map) => {
            let entry = |(key, value): (&String, &serde_json::Value)| Entry {
                key: Node::text(key.as_str(), span),
                value: from_json(value, span),
            };
            Node::mapping(map.iter().map(entry).collect(), span)
        }
    }
}

/// A node as JSON, for texts.
pub(in super::super) fn to_json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Sequence(items) => items.iter().map(to_json).collect(),
        Value::Mapping(mapping) => {
            let entry = |entry: &Entry| Some((text_of(&entry.key)?, to_json(&entry.value)));
            serde_json::Value::Object(mapping.entries().iter().filter_map(entry).collect())
        }
        Value::Scalar(_) => match node.typed(Schema::Ruby) {
            None | Some(Typed::Null) => serde_json::Value::Null,
            Some(Typed::Bool(truth)) => truth.into(),
            Some(Typed::Int(number)) => number.into(),
            Some(Typed::Float(number)) => number.into(),
            Some(Typed::Symbol(name)) => name.into_owned().into(),
            Some(Typed::Time(text) | Typed::Text(text)) => text.into(),
        },
    }
}
