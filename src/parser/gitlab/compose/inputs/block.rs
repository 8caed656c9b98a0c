//! One `$[[ ]]`.

use crate::parser::document::Node;

use super::super::ComposeContext;
use super::access::{self, Fault};
use super::{Values, functions};

/// Functions in a block.
const MOST_FUNCTIONS: usize = 3;

/// What stands in the place of a block; `None`: the block itself, which is replaced when the job is made (`matrix`).
pub(super) fn value(data: &str, values: &Values, context: &ComposeContext) -> Result<Option<Node>, Fault> {
    // As Ruby splits it, in which nothing at the end is no part.
    let mut parts = data.trim_end_matches(|c: char| c == '|' || c.is_whitespace()).split('|').map(str::trim);
    let way = parts.next().unwrap_or_default();
    if way.split('.').next() == Some("matrix") {
        return Ok(None);
    }
    let mut value = access::value(way, values)?;
    let calls: Vec<&str> = parts.collect();
    if calls.len() > MOST_FUNCTIONS {
        return Err(Fault::new(format!("more than {MOST_FUNCTIONS} functions in one block")));
    }
    for call in calls {
        value = functions::apply(call, &value, context)?;
    }
    Ok(Some(value))
}
