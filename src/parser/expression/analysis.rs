//! What an expression uses, and what it makes, without running it.

use std::ops::Range;

use smol_str::SmolStr;

use super::tree::{Binary, Expr, Node, NodeKind};
use super::{Budget, Context, ErrorKind, ExprError, Value, evaluate};

/// What an expression uses, in the order of its text.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Named values.
    pub names: Vec<NameUse>,
    /// Functions, those of methods not among them.
    pub functions: Vec<FunctionUse>,
}

/// A use of a named value.
#[derive(Clone, Debug)]
pub struct NameUse {
    /// Its name as it is written.
    pub name: SmolStr,
    /// The members that are asked of it, as far as they are known: `github.event.inputs` has `event` and `inputs`.
    pub path: Vec<Step>,
    /// The bytes of the expression that the name alone takes.
    pub at: Range<usize>,
    /// The bytes that name and path take.
    pub whole: Range<usize>,
}

/// One member of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A member of this name: `.a`, `['a']`, `[0]`.
    Key(SmolStr),
    /// All members.
    All,
    /// A member whose name is computed.
    Computed,
}

impl Step {
    /// The member that a key names.
    pub(super) fn of_key(key: &Node) -> Self {
        match &key.kind {
            NodeKind::Literal(value) if value.is_primitive() => Step::Key((&*value.to_text()).into()),
            _ => Step::Computed,
        }
    }
}

/// A use of a named value, lent by its expression: what costs nothing to look at.
#[derive(Clone, Copy, Debug)]
pub struct NameRef<'a> {
    /// Its name as it is written.
    pub name: &'a SmolStr,
    /// The first members that are asked of it; `None`: all, a computed one, or none.
    members: [Option<&'a str>; MEMBERS],
}

/// Members that a [`NameRef`] knows.
const MEMBERS: usize = 4;

impl<'a> NameRef<'a> {
    /// The member at this place of its path, where it is known by name.
    pub fn member(&self, at: usize) -> Option<&'a str> {
        self.members.get(at).copied().flatten()
    }
}

/// Calls `visit` with each use of a named value, in no order.
pub fn each_name<'a>(expr: &'a Expr, visit: &mut dyn FnMut(NameRef<'a>)) {
    if let Some(root) = &expr.root {
        each_name_of(root, visit);
    }
}

/// The depth of the tree is limited when it is parsed.
fn each_name_of<'a>(node: &'a Node, visit: &mut dyn FnMut(NameRef<'a>)) {
    let mut members = [None; MEMBERS];
    if let Some((name, _)) = lent_path(node, &mut members, visit) {
        return visit(NameRef { name, members });
    }
    node.children().for_each(|child| each_name_of(child, visit));
}

/// The name at the beginning of a path, and how many members were asked of it; what keys use is visited on the way.
fn lent_path<'a>(
    node: &'a Node,
    members: &mut [Option<&'a str>; MEMBERS],
    visit: &mut dyn FnMut(NameRef<'a>),
) -> Option<(&'a SmolStr, usize)> {
    match &node.kind {
        NodeKind::Name(name) => Some((name, 0)),
        NodeKind::Index(target, key) => {
            let (name, at) = lent_path(target, members, visit)?;
            match &key.kind {
                NodeKind::Literal(value) => {
                    if let Some(slot) = members.get_mut(at) {
                        *slot = value.as_text();
                    }
                }
                _ => each_name_of(key, visit),
            }
            Some((name, at + 1))
        }
        NodeKind::All(target) => {
            let (name, at) = lent_path(target, members, visit)?;
            // What is behind it belongs to each of many.
            Some((name, at + MEMBERS))
        }
        _ => None,
    }
}

/// Whether an expression uses a named value, whatever the case.
pub fn uses_name(expr: &Expr, name: &str) -> bool {
    let mut is_used = false;
    each_name(expr, &mut |used| is_used |= used.name.eq_ignore_ascii_case(name));
    is_used
}

/// Whether an expression calls a function that satisfies `test`; it is given the name as it is defined, and how many arguments.
pub fn calls(expr: &Expr, test: &dyn Fn(&str, usize) -> bool) -> bool {
    expr.root.as_ref().is_some_and(|root| calls_in(root, test))
}

/// The depth of the tree is limited when it is parsed.
fn calls_in(node: &Node, test: &dyn Fn(&str, usize) -> bool) -> bool {
    matches!(&node.kind, NodeKind::Call(name, arguments) if test(name, arguments.len()))
        || node.children().any(|child| calls_in(child, test))
}

/// A use of a function.
#[derive(Clone, Debug)]
pub struct FunctionUse {
    /// Its name as it is defined.
    pub name: &'static str,
    /// How many arguments it is given.
    pub arguments: usize,
    /// The bytes of the call.
    pub at: Range<usize>,
}

/// What an expression makes, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Nothing.
    Null,
    /// A truth.
    Bool,
    /// A number.
    Number,
    /// Text.
    Text,
    /// A list.
    Array,
    /// Keys and values.
    Object,
    /// It depends.
    Any,
}

impl NameUse {
    /// Whether it is `name` and its path begins with `path`, whatever the case.
    pub fn is(&self, name: &str, path: &[&str]) -> bool {
        self.name.eq_ignore_ascii_case(name)
            && path.len() <= self.path.len()
            && path
                .iter()
                .zip(&self.path)
                .all(|(want, step)| matches!(step, Step::Key(key) if key.eq_ignore_ascii_case(want)))
    }
}

/// What an expression uses.
pub fn usage(expr: &Expr) -> Usage {
    let mut usage = Usage::default();
    if let Some(root) = &expr.root {
        collect(root, &mut usage);
        usage.names.sort_by_key(|name| name.at.start);
        usage.functions.sort_by_key(|function| function.at.start);
    }
    usage
}

/// The depth of the tree is limited when it is parsed, so that this may call itself.
fn collect(node: &Node, usage: &mut Usage) {
    if let Some((name, at, path)) = path_of(node) {
        usage.names.push(NameUse { name: name.clone(), at, path, whole: node.at.clone() });
        keys_of(node, usage);
        return;
    }
    if let NodeKind::Call(name, arguments) = &node.kind {
        usage.functions.push(FunctionUse { name, arguments: arguments.len(), at: node.at.clone() });
    }
    node.children().for_each(|child| collect(child, usage));
}

/// The use of a named value that a node is, where it is one and no more: `a`, `a.b`, `a[b]`.
pub fn name_use(node: &Node) -> Option<NameUse> {
    path_of(node).map(|(name, at, path)| NameUse { name: name.clone(), at, path, whole: node.at.clone() })
}

/// What the keys of a path use: `a[b.c]` uses `b` too.
fn keys_of(node: &Node, usage: &mut Usage) {
    match &node.kind {
        NodeKind::Index(target, key) => {
            keys_of(target, usage);
            collect(key, usage);
        }
        NodeKind::All(target) => keys_of(target, usage),
        _ => {}
    }
}

fn path_of(node: &Node) -> Option<(&SmolStr, Range<usize>, Vec<Step>)> {
    match &node.kind {
        NodeKind::Name(name) => Some((name, node.at.clone(), Vec::new())),
        NodeKind::Index(target, key) => {
            let (name, at, mut path) = path_of(target)?;
            path.push(Step::of_key(key));
            Some((name, at, path))
        }
        NodeKind::All(target) => {
            let (name, at, mut path) = path_of(target)?;
            path.push(Step::All);
            Some((name, at, path))
        }
        _ => None,
    }
}

/// What an expression makes, as far as that is known without running it.
pub fn static_type(expr: &Expr) -> Type {
    expr.root.as_ref().map_or(Type::Null, type_of)
}

pub(super) fn type_of(node: &Node) -> Type {
    match &node.kind {
        NodeKind::Literal(value) => of_value(value),
        NodeKind::Name(_) | NodeKind::Index(..) => Type::Any,
        NodeKind::All(_) => Type::Array,
        NodeKind::Not(_) => Type::Bool,
        NodeKind::Minus(_) => Type::Number,
        NodeKind::Call(name, arguments) => of_call(name, arguments),
        NodeKind::Method(_, name, _) => match name.as_str() {
            "contains" | "startsWith" | "endsWith" => Type::Bool,
            "indexOf" | "length" => Type::Number,
            "join" | "lower" | "upper" | "trim" | "replace" => Type::Text,
            "keys" | "sort" | "split" | "unique" | "values" => Type::Array,
            _ => Type::Any,
        },
        NodeKind::Binary(binary, left, right) => match binary {
            Binary::Add => match (type_of(left), type_of(right)) {
                (Type::Number, Type::Number) => Type::Number,
                (Type::Array, Type::Array) => Type::Array,
                (Type::Text, _) | (_, Type::Text) => Type::Text,
                _ => Type::Any,
            },
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => Type::Number,
            _ => Type::Bool,
        },
        NodeKind::And(sides) | NodeKind::Or(sides) => common(sides.iter()),
    }
}

fn of_call(name: &str, arguments: &[Node]) -> Type {
    match name {
        "contains" | "startsWith" | "endsWith" | "always" | "cancelled" | "failure" | "success" => Type::Bool,
        "format" | "join" | "toJson" | "hashFiles" => Type::Text,
        "case" => {
            let (pairs, default) = arguments.as_chunks::<2>();
            common(pairs.iter().map(|[_, value]| value).chain(default))
        }
        _ => Type::Any,
    }
}

fn common<'a>(nodes: impl Iterator<Item = &'a Node>) -> Type {
    let mut types = nodes.map(type_of);
    let first = types.next().unwrap_or(Type::Null);
    if types.all(|other| other == first) { first } else { Type::Any }
}

fn of_value(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(_) => Type::Number,
        Value::Text(_) => Type::Text,
        Value::Array(_) => Type::Array,
        Value::Object(_) => Type::Object,
    }
}

/// What goes wrong whatever the named values are: arithmetic with what is no number, a division by zero, a call that fails.
pub fn faults(expr: &Expr) -> Vec<ExprError> {
    let mut faults = Vec::new();
    if let Some(root) = &expr.root
        && is_constant(expr, root, &mut faults)
    {
        faults.extend(value_of(expr, root).err());
    }
    faults.retain(|fault| fault.kind != ErrorKind::Budget);
    faults
}

/// Whether a node uses nothing from outside. What is constant below one that is not is evaluated; the depth of the tree is limited
/// when it is parsed, so that this may call itself.
fn is_constant(expr: &Expr, node: &Node, faults: &mut Vec<ExprError>) -> bool {
    let outside = match &node.kind {
        NodeKind::Name(_) => true,
        NodeKind::Call(name, _) => ASKING.contains(name),
        _ => false,
    };
    let constant: Vec<bool> = node.children().map(|child| is_constant(expr, child, faults)).collect();
    if !outside && constant.iter().all(|constant| *constant) {
        return true;
    }
    let known = node.children().zip(constant).filter(|(_, constant)| *constant);
    for (child, _) in known {
        match value_of(expr, child) {
            Err(fault) => faults.push(fault),
            Ok(value) => faults.extend(no_operand(node, child, &value)),
        }
    }
    false
}

/// Why a value is of no use to the arithmetic it stands in.
fn no_operand(node: &Node, child: &Node, value: &Value) -> Option<ExprError> {
    use Binary::{Divide, Multiply, Remainder, Subtract};
    let NodeKind::Binary(binary @ (Subtract | Multiply | Divide | Remainder), _, right) = &node.kind else {
        return None;
    };
    let number = value.to_number();
    if number.is_nan() && !matches!(value, Value::Number(_)) {
        let shown: String = value.as_text().map_or_else(|| value.kind().to_owned(), |text| format!("'{text}'"));
        let shown: String = shown.chars().take(40).collect();
        return Some(ExprError::evaluation(child.at.clone(), format!("{shown} is not a number")));
    }
    let divides = matches!(binary, Divide | Remainder) && right.at == child.at;
    (divides && number == 0.0).then(|| ExprError::evaluation(child.at.clone(), "division by zero"))
}

fn value_of(expr: &Expr, node: &Node) -> Result<Value, ExprError> {
    let part = Expr { text: expr.text.clone(), dialect: expr.dialect, root: Some(node.clone()) };
    evaluate(&part, &Nothing, &Budget { steps: 100_000, bytes: 1 << 20, expired: None })
}

/// Functions that ask something of where the expression stands.
const ASKING: [&str; 5] = ["hashFiles", "always", "cancelled", "failure", "success"];

/// A context without anything.
struct Nothing;

impl Context for Nothing {
    fn named(&self, _: &str) -> Option<Value> {
        None
    }
}

/// The value of an expression that uses no named value and asks nothing of where it stands.
pub fn constant(expr: &Expr) -> Option<Value> {
    let usage = usage(expr);
    if !usage.names.is_empty() || usage.functions.iter().any(|function| ASKING.contains(&function.name)) {
        return None;
    }
    let budget = Budget { steps: 100_000, bytes: 1 << 20, expired: None };
    evaluate(expr, &Nothing, &budget).ok()
}
