//! The way to a value in a block: `inputs.name[0].key`.

use smol_str::SmolStr;

use crate::parser::diagnostics::did_you_mean;
use crate::parser::document::Node;

use super::Values;

/// Bytes of a way.
const MOST_BYTES: usize = 1024;
/// Keys of a way.
const MOST_KEYS: usize = 5;
/// Indices behind one key.
const MOST_INDICES: usize = 5;

/// What is wrong with a block, and what to do.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }
}

/// The value a way leads to.
pub(super) fn value(way: &str, values: &Values) -> Result<Node, Fault> {
    if way.len() > MOST_BYTES {
        return Err(Fault::new(format!("a block has more than {MOST_BYTES} bytes")));
    }
    let steps: Vec<&str> = way.splitn(MOST_KEYS, '.').collect();
    let Some((root, rest)) = steps.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        let help = Some("write `$[[ inputs.name ]]`".to_owned());
        return Err(Fault { message: format!("`{way}` names no input"), help });
    };
    let space = match *root {
        "inputs" => &values.inputs,
        "component" => &values.component,
        _ => return Err(unknown(root, way, ["inputs", "component"].into_iter())),
    };
    let mut at: Option<Node> = None;
    for step in rest {
        let (key, indices) = key_and_indices(step, way)?;
        let found = match &at {
            None => space.get(key).cloned(),
            Some(node) => node.get(key).cloned(),
        };
        let Some(mut found) = found else {
            let names: Vec<SmolStr> = match &at {
                None => space.keys().cloned().collect(),
                Some(_) => Vec::new(),
            };
            return Err(unknown(key, way, names.iter().map(SmolStr::as_str)));
        };
        for index in indices {
            found = item(&found, index, way)?;
        }
        at = Some(found);
    }
    at.ok_or_else(|| Fault::new(format!("`{way}` names no input")))
}

fn unknown<'a>(key: &str, way: &str, names: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let message = format!("there is no `{key}` for `{way}`");
    let near = did_you_mean(key, names.clone());
    let listed = || {
        let names: Vec<&str> = names.collect();
        match names.is_empty() {
            true => "declare it under `spec:inputs` in the header of this file".to_owned(),
            false => format!("there is {}", names.join(", ")),
        }
    };
    Fault { message, help: Some(near.unwrap_or_else(listed)) }
}

/// `name[1][0]` as `name` and its indices.
fn key_and_indices<'a>(step: &'a str, way: &str) -> Result<(&'a str, Vec<usize>), Fault> {
    let Some(open) = step.find('[') else { return Ok((step, Vec::new())) };
    let (key, mut rest) = step.split_at(open);
    if key.is_empty() {
        return Err(Fault::new(format!("an index without a key before it in `{way}`")));
    }
    let mut indices = Vec::new();
    while !rest.is_empty() {
        let Some(inner) = rest.strip_prefix('[') else {
            return Err(Fault::new(format!("unexpected text behind an index in `{way}`")));
        };
        let Some((index, behind)) = inner.split_once(']') else {
            return Err(Fault::new(format!("the closing bracket of an index is missing in `{way}`")));
        };
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        match index.parse().ok().filter(|_| is_number) {
            Some(number) => indices.push(number),
            None => return Err(Fault::new(format!("`{index}` is no index of a list in `{way}`"))),
        }
        rest = behind;
    }
    if indices.len() > MOST_INDICES {
        return Err(Fault::new(format!("more than {MOST_INDICES} indices in `{way}`")));
    }
    Ok((key, indices))
}

fn item(node: &Node, index: usize, way: &str) -> Result<Node, Fault> {
    let Some(items) = node.as_sequence() else {
        return Err(Fault::new(format!("an index into what is no list in `{way}`")));
    };
    items.get(index).cloned().ok_or_else(|| {
        Fault::new(format!("the index {index} lies behind the end of the list of {} in `{way}`", items.len()))
    })
}
