//! Any text with `${…}` in it, and any value of a variable: no panic, no hang.
#![no_main]

use forgehand::parser::expression::{Budget, Object};
use forgehand::parser::gitlab::pipeline::variables::{Collection, Expansion, Variable};
use forgehand::parser::variables::{Hierarchy, Resolver, Source, Style, Text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut hierarchy = Hierarchy::new();
    for (source, name, value) in
        [(Source::System, "CI", "true"), (Source::Global, "A", text), (Source::Job, "B", "${A}${A:-$B}")]
    {
        hierarchy.set(source, name, value);
    }
    let context = Object::default();
    for style in [Style::Value, Style::Script] {
        if let Ok(text) = Text::parse(text, style) {
            let budget = Budget { steps: 100_000, bytes: 1 << 20, expired: None };
            let _ = Resolver::new(&hierarchy, &context, false, budget).resolve(&text);
        }
    }
    let variables = [("A", text), ("B", "$A${C}"), ("C", "%A%$B")].map(|(key, value)| Variable::public(key, value));
    let _ = variables.into_iter().collect::<Collection>().sort_and_expand_all(Expansion::FOR_RUNNER);
});
