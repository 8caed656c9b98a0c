//! The JSON Schema that is shipped is the one that the types make.

use crate::parser::native::schema;

#[test]
fn the_schema_that_is_shipped_is_that_of_the_types() {
    let shipped = include_str!("../../../../docs/forgehand.schema.json");
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert!(shipped == made, "docs/forgehand.schema.json: run `forgehand lint --schema > docs/forgehand.schema.json`");
}
