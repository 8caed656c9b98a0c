//! Any text as an expression of each language: no panic, no hang.
#![no_main]

use forgehand::parser::expression::{Budget, Dialect, Template, eval_json_within, gitlab};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let context = serde_json::json!({ "a": { "b": [1, "two", null] }, "c": "text", "d": 1.5 });
    for dialect in [Dialect::GitHub, Dialect::Native] {
        let budget = Budget { steps: 100_000, bytes: 1 << 20, expired: None };
        let _ = eval_json_within(text, dialect, &context, &budget);
        let _ = Template::parse(text, dialect);
    }
    let _ = gitlab::eval_json(text, &context);
});
