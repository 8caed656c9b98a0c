//! How values are written in the file, for the JSON Schema: where the check lets more than one kind through, or less than a type.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A form: a type that is there for its schema alone.
macro_rules! form {
    ($(#[$doc:meta])* $name:ident, $schema:tt) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

form! {
    /// Text; numbers and truths count as the text they are written with.
    Scalar, {"type": ["string", "number", "boolean"]}
}
form! {
    /// Text that is not empty.
    Filled, {"type": ["string", "number", "boolean"], "pattern": "\\S"}
}
form! {
    /// A truth, or a reference that makes one.
    Truth, {"anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "\\$\\{"}]}
}
form! {
    /// Variables.
    Variables, {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "maxLength": 255},
        "additionalProperties": {"anyOf": [{"type": ["string", "number", "boolean"]}, {"const": null}]}
    }
}
form! {
    /// An image reference, or a text with references.
    Image, {
        "type": "string",
        "pattern": "\\$\\{|^([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]([a-z0-9._-]*[a-z0-9])?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-fA-F]{64})?$"
    }
}
form! {
    /// One command or a list of them.
    Script, {
        "anyOf": [
            {
                "type": ["string", "number", "boolean"],
                "pattern": "\\S",
                "not": {"type": "string", "pattern": "\\$\\{secrets\\."}
            },
            {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": ["string", "number", "boolean"],
                    "pattern": "\\S",
                    "not": {"type": "string", "pattern": "\\$\\{secrets\\."}
                }
            }
        ]
    }
}
form! {
    /// Globs relative to the workspace, one at least.
    Paths, {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": ["string", "number", "boolean"],
            "pattern": "\\S",
            "not": {"type": "string", "pattern": "^/|(^|/)\\.\\.(/|$)"}
        }
    }
}
form! {
    /// Texts, none of them empty.
    Texts, {"type": "array", "items": {"type": ["string", "number", "boolean"], "pattern": "\\S"}}
}
form! {
    /// Texts, none of them empty and one at least.
    SomeTexts, {"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"], "pattern": "\\S"}}
}
form! {
    /// Names of jobs.
    Names, {"type": "array", "items": {"type": ["string", "number", "boolean"]}}
}
form! {
    /// A folder.
    Folder, {"type": "string", "pattern": "\\S", "not": {"pattern": "(^|/)\\.\\.(/|$)"}}
}
form! {
    /// A length of time.
    Length, {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "\\$\\{|^\\s*([Nn][Ee][Vv][Ee][Rr]|[0-9]+|([0-9]+ *[A-Za-z]+[ ,]*)+)\\s*$"}
        ]
    }
}
form! {
    /// An address, or a text with references.
    Address, {"type": "string", "pattern": "\\$\\{|^[Hh][Tt][Tt][Pp][Ss]?://[^\\s/]"}
}
form! {
    /// The name of a host, or a text with references.
    Host, {
        "type": ["string", "number", "boolean"],
        "pattern": "\\$\\{|^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$"
    }
}
form! {
    /// Processors.
    Processors, {
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": "^\\s*[0-9]*\\.?[0-9]+m?\\s*$"}]
    }
}
form! {
    /// Bytes.
    Bytes, {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "string", "pattern": "^\\s*[0-9]*\\.?[0-9]+ *([Bb]|[KkMmGgTt][Ii]?[Bb]?)?\\s*$"}
        ]
    }
}
form! {
    /// Axes with their values, and what is added to and taken from their combinations.
    Combinations, {
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength": 255},
        "properties": {
            "include": {"$ref": "#/$defs/MatrixCombinations", "description": "Combinations that are added."},
            "exclude": {"$ref": "#/$defs/MatrixCombinations", "description": "Combinations that are left out."},
            "fail_fast": {
                "anyOf": [{"type": "boolean"}, {"type": "string", "pattern": "\\$\\{"}],
                "default": true,
                "description": "Whether the first failure ends the others."
            },
            "max_parallel": {
                "anyOf": [{"type": "integer", "minimum": 1, "maximum": 4_294_967_295_u32}, {"type": "string", "pattern": "\\$\\{"}],
                "description": "How many run at the same time."
            }
        },
        "additionalProperties": {
            "anyOf": [
                {"type": "string", "pattern": "^\\s*\\$\\{"},
                {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": true,
                    "items": {"type": ["string", "number", "boolean"], "pattern": "\\S"}
                }
            ]
        }
    }
}
form! {
    /// Combinations of a matrix.
    MatrixCombinations, {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    }
}

/// A whole number from `MIN` to `MAX`, or a text with references that makes one.
pub(super) struct Whole<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("Whole{MIN}To{MAX}"))
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "integer", "minimum": MIN, "maximum": MAX}, {"type": "string", "pattern": "\\$\\{"}]
        })
    }
}

/// A mapping of one entry at least, whose keys are names.
pub(super) struct Named<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("Named{}", T::schema_name()))
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z0-9_][A-Za-z0-9_-]*$", "maxLength": 255},
            "additionalProperties": value
        })
    }
}

/// The schema of the language: nothing may be null but the value of a variable.
pub(super) fn schema<T: JsonSchema>() -> serde_json::Value {
    let mut generator = SchemaGenerator::default();
    generator.subschema_for::<NamedCombinations>();
    let mut schema = generator.into_root_schema_for::<T>().to_value();
    without_null(&mut schema);
    schema
}

/// The form that a matrix refers to by name.
struct NamedCombinations;

impl JsonSchema for NamedCombinations {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("MatrixCombinations")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        MatrixCombinations::json_schema(generator)
    }
}

/// An optional key is left out, not null. The depth is that of the types.
fn without_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(only)] = choices.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            object
                .iter_mut()
                .filter(|(key, _)| *key != "default" && *key != "const")
                .for_each(|(_, value)| without_null(value));
        }
        _ => {}
    }
}
