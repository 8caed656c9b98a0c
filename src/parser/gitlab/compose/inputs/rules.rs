//! Rules of inputs: what may be chosen depends on other inputs.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::Regex;
use smol_str::SmolStr;

use crate::parser::diagnostics::{Diagnostic, Diagnostics, did_you_mean};
use crate::parser::document::Node;

use super::super::condition::Condition;
use super::super::{ComposeContext, codes};
use super::{Declared, Rule, Spec, value};

/// An input in a condition. `None` never happens: the pattern is constant.
static INPUT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\$\[\[\s*inputs\.([A-Za-z0-9_-]+)\s*\]\]").ok());

/// The inputs that the conditions of an input's rules look at.
fn needs(declared: &Declared) -> Vec<(SmolStr, &Node)> {
    let conditions = declared.rules.iter().filter_map(|rule| rule.condition.as_ref());
    let found = conditions.flat_map(|node| {
        let text = node.as_scalar().map_or("", |scalar| scalar.text.as_str());
        let names = INPUT.iter().flat_map(move |pattern| pattern.captures_iter(text));
        names.filter_map(move |found| Some((SmolStr::from(found.get(1)?.as_str()), node)))
    });
    found.collect()
}

/// The inputs in an order in which every one comes after those it looks at; those in a circle are left out.
pub(super) fn order(spec: &Spec) -> Vec<&Declared> {
    let mut levels: Vec<&Declared> = spec.inputs.iter().filter(|input| input.rules.is_empty()).collect();
    let mut waiting: Vec<&Declared> = spec.inputs.iter().filter(|input| !input.rules.is_empty()).collect();
    loop {
        let is_waiting: std::collections::HashSet<SmolStr> = waiting.iter().map(|input| input.name.clone()).collect();
        let (later, ready): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|input| needs(input).iter().any(|(name, _)| is_waiting.contains(name)));
        if ready.is_empty() {
            return levels;
        }
        levels.extend(ready);
        waiting = later;
    }
}

/// Whether the rules look at inputs that do not exist, or at each other in a circle; says so.
pub(super) fn check(spec: &Spec, diagnostics: &mut Diagnostics) -> bool {
    let known: HashMap<&str, &Declared> = spec.inputs.iter().map(|input| (input.name.as_str(), input)).collect();
    let before = diagnostics.len();
    for input in &spec.inputs {
        for (name, condition) in needs(input) {
            if !known.contains_key(name.as_str()) {
                let message = format!("a rule of the input `{}` looks at `{name}`, which is no input", input.name);
                let help = did_you_mean(&name, known.keys().copied());
                diagnostics.push(Diagnostic::error(codes::INPUT_SPEC, condition.span, message).maybe_help(help));
            }
        }
    }
    let ordered = order(spec);
    if ordered.len() < spec.inputs.len()
        && let Some(first) = spec.inputs.iter().find(|input| !ordered.iter().any(|other| other.name == input.name))
    {
        let message = format!("the rules of inputs look at each other in a circle: {}", circle(first, &known));
        diagnostics.push(Diagnostic::error(codes::INPUT_SPEC, first.span, message));
    }
    diagnostics.len() > before
}

/// The circle that is reached from an input that waits for itself.
fn circle(first: &Declared, known: &HashMap<&str, &Declared>) -> String {
    let mut names: Vec<&str> = vec![&first.name];
    let mut at = first;
    loop {
        let next = needs(at).into_iter().find_map(|(name, _)| known.get(name.as_str()).copied());
        let Some(next) = next.filter(|next| !next.rules.is_empty()) else { break };
        if let Some(from) = names.iter().position(|name| *name == next.name) {
            names.push(&next.name);
            return names.split_off(from).join(" -> ");
        }
        names.push(&next.name);
        at = next;
    }
    names.join(" -> ")
}

/// The rule that holds: the first whose condition does, or that has none. A condition that cannot be understood does not hold.
pub(in super::super) fn matching<'a>(
    rules: &'a [Rule],
    inputs: &BTreeMap<SmolStr, Node>,
    context: &ComposeContext,
) -> Option<&'a Rule> {
    let texts: BTreeMap<String, String> =
        inputs.iter().map(|(name, node)| (name.to_string(), value::text_in_text(node))).collect();
    rules.iter().find(|rule| {
        let Some(condition) = &rule.condition else { return true };
        let text = condition.as_scalar().map_or("", |scalar| scalar.text.as_str());
        Condition::parse(text).is_ok_and(|condition| condition.holds(&context.variables, &texts))
    })
}
