//! What the legs of a matrix are called.

use super::Combination;
use crate::parser::expression::Value;

/// The most characters a job's name has; what is longer ends in three dots.
const LIMIT: usize = 100;

/// The name of a leg: `job (a, b)`. Lists and mappings give their insides, nothing and empty texts are left out.
pub fn leg_name(job: &str, combination: &Combination) -> String {
    let mut parts = Vec::new();
    for (_, value) in &combination.values {
        leaves(value, &mut parts, 0);
    }
    if parts.is_empty() { cut(job) } else { cut(&format!("{job} ({})", parts.join(", "))) }
}

/// The deepest that values are looked into.
const DEPTH: usize = 50;

fn leaves(value: &Value, parts: &mut Vec<String>, depth: usize) {
    if depth > DEPTH {
        return;
    }
    match value {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| leaves(item, parts, depth + 1)),
        Value::Object(object) => object.entries().iter().for_each(|(_, item)| leaves(item, parts, depth + 1)),
        leaf => {
            let text = leaf.to_text();
            if !text.is_empty() {
                parts.push(text.to_string());
            }
        }
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= LIMIT {
        return name.to_owned();
    }
    name.chars().take(LIMIT - 3).chain("...".chars()).collect()
}
