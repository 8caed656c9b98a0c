//! Whose text an expression's value is made of.
//!
//! `contains(github.event.issue.title, 'x')` uses the title and makes `true` or `false`: nothing of the title is in its value.

use smol_str::SmolStr;

use super::analysis::{Step, Type, type_of};
use super::tree::{Expr, Node, NodeKind};

/// A named value, or a part of one, whose text can become part of an expression's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name as it is written.
    pub name: SmolStr,
    /// The members that are asked of it, as far as they are known.
    pub path: Vec<Step>,
    /// All that is below the path is in the value too, as JSON.
    pub is_json: bool,
}

impl Origin {
    /// Whether it is `name` and its path begins with `path`, whatever the case.
    pub fn is(&self, name: &str, path: &[&str]) -> bool {
        let is_key = |want: &&str, step: &Step| matches!(step, Step::Key(key) if key.eq_ignore_ascii_case(want));
        self.name.eq_ignore_ascii_case(name)
            && path.len() <= self.path.len()
            && path.iter().zip(&self.path).all(|(want, step)| is_key(want, step))
    }

    /// As one writes it, with `toJSON` where all of it is meant.
    pub fn written(&self) -> String {
        let members = self.path.iter().map(|member| match member {
            Step::Key(key) => format!(".{key}"),
            Step::All => ".*".to_owned(),
            Step::Computed => "[…]".to_owned(),
        });
        let path = format!("{}{}", self.name, members.collect::<String>());
        if self.is_json { format!("toJSON({path})") } else { path }
    }

    fn member(mut self, member: Step) -> Option<Self> {
        // JSON is text: it has no members.
        if self.is_json {
            return None;
        }
        self.path.push(member);
        Some(self)
    }
}

/// The named values whose text can become part of the expression's value, in the order of its text.
pub fn origins(expr: &Expr) -> Vec<Origin> {
    expr.root.as_ref().map(of_node).unwrap_or_default()
}

/// The depth of the tree is limited when it is parsed, so that this may call itself.
fn of_node(node: &Node) -> Vec<Origin> {
    if matches!(type_of(node), Type::Bool | Type::Number | Type::Null) {
        return Vec::new();
    }
    match &node.kind {
        NodeKind::Name(name) => vec![Origin { name: name.clone(), path: Vec::new(), is_json: false }],
        NodeKind::Index(target, key) => members(of_node(target), &Step::of_key(key)),
        NodeKind::All(target) => members(of_node(target), &Step::All),
        // Of `a && b`, `a` is the value only where it counts as false, which no text but the empty one does.
        NodeKind::And(sides) => sides.last().map(of_node).unwrap_or_default(),
        NodeKind::Call("case", arguments) => {
            let (pairs, default) = arguments.as_chunks::<2>();
            pairs.iter().map(|[_, value]| value).chain(default).flat_map(of_node).collect()
        }
        NodeKind::Call("toJson", arguments) => {
            let all = arguments.iter().flat_map(of_node);
            all.map(|origin| Origin { is_json: true, ..origin }).collect()
        }
        NodeKind::Call("fromJson", arguments) => {
            let all = arguments.iter().flat_map(of_node);
            all.map(|origin| Origin { is_json: false, ..origin }).collect()
        }
        NodeKind::Call("hashFiles", _) => Vec::new(),
        NodeKind::Literal(_)
        | NodeKind::Call(..)
        | NodeKind::Method(..)
        | NodeKind::Or(_)
        | NodeKind::Binary(..)
        | NodeKind::Not(_)
        | NodeKind::Minus(_) => node.children().flat_map(of_node).collect(),
    }
}

fn members(targets: Vec<Origin>, member: &Step) -> Vec<Origin> {
    targets.into_iter().filter_map(|target| target.member(member.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, parse};
    use super::*;

    fn of(text: &str) -> Vec<String> {
        origins(&parse(text, Dialect::GitHub).unwrap()).iter().map(Origin::written).collect()
    }

    #[test]
    fn text_goes_through_what_hands_it_on() {
        for (text, want) in [
            ("github.event.issue.title", &["github.event.issue.title"][..]),
            ("github['event'].commits[0].message", &["github.event.commits.0.message"]),
            ("format('{0} {1}', a.b, c)", &["a.b", "c"]),
            ("join(a.*.b, ', ')", &["a.*.b"]),
            ("a || b", &["a", "b"]),
            ("a.x == 'y' && b || c", &["b", "c"]),
            ("case(a == 'x', b, c)", &["b", "c"]),
            ("toJSON(github.event)", &["toJSON(github.event)"]),
            ("fromJSON(toJSON(github.event)).issue.title", &["github.event.issue.title"]),
            ("fromJSON(a)[b.c]", &["a.[…]"]),
        ] {
            let want: Vec<String> = want.iter().map(|path| path.replace(".[…]", "[…]")).collect();
            assert_eq!(of(text), want, "{text}");
        }
    }

    #[test]
    fn truths_numbers_and_choices_are_nobodys_text() {
        for text in [
            "contains(a, 'x')",
            "a == 'x'",
            "!a",
            "startsWith(a, 'x') && 'yes' || 'no'",
            "case(a, 'b', 'c')",
            "hashFiles(a)",
            "toJSON(a).b",
            "(a != '') || (b > 3)",
        ] {
            assert!(of(text).is_empty(), "{text}: {:?}", of(text));
        }
    }
}
