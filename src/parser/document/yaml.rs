//! A tree as YAML again, for definitions that are shown resolved.

use serde_yaml::{Mapping, Value};

use super::node::{self, Node};
use super::scalar::{Schema, Typed, big_whole};

/// A node as YAML, its plain scalars as `schema` reads them. Keys that are no scalars are left out. The limit on the levels of
/// documents bounds the depth of this.
pub fn to_yaml(node: &Node, schema: Schema) -> Value {
    match &node.value {
        node::Value::Sequence(items) => Value::Sequence(items.iter().map(|item| to_yaml(item, schema)).collect()),
        node::Value::Mapping(mapping) => {
            let named = mapping.entries().iter().filter_map(|entry| Some((entry.key.as_scalar()?, &entry.value)));
            let all: Mapping = named.map(|(key, value)| (key.text.as_str().into(), to_yaml(value, schema))).collect();
            Value::Mapping(all)
        }
        node::Value::Scalar(scalar) => match node.typed(schema) {
            Some(Typed::Null) => Value::Null,
            Some(Typed::Bool(truth)) => truth.into(),
            Some(Typed::Int(number)) => number.into(),
            Some(Typed::Float(number)) => match big_whole(&scalar.text).filter(|_| schema == Schema::Ruby) {
                // As text: other programs' numbers end at 64 bits.
                Some(digits) => digits.into(),
                None => number.into(),
            },
            // Ruby's symbols are names like any other where a configuration has them.
            Some(Typed::Symbol(name)) => name.as_ref().into(),
            _ => scalar.text.as_str().into(),
        },
    }
}
