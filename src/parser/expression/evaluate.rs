//! A tree and its context to a value.

use std::ops::Range;

use super::budget::{Budget, Meter};
use super::compare::{equal, order};
use super::error::{ErrorKind, ExprError};
use super::hash_files::{FileHasher, hash_files};
use super::tree::{Binary, Expr, Node, NodeKind};
use super::{Dialect, Value, functions, methods};

/// What an expression can ask of where it stands.
pub trait Context {
    /// A named value, `github`; `None` where there is none of this name. Names are the same in any case.
    fn named(&self, name: &str) -> Option<Value>;

    /// One member of a named value, where that costs less than the whole: `Some(None)` where the value has none of this name,
    /// `None` where [`Context::named`] has to be asked.
    fn member(&self, name: &str, key: &str) -> Option<Option<Value>> {
        let _ = (name, key);
        None
    }

    /// How things went so far; `None` where that cannot be asked. `arguments` are names of jobs, mostly none.
    fn status(&self, check: StatusCheck, arguments: &[Value]) -> Option<bool> {
        let _ = (check, arguments);
        None
    }

    /// The files that `hashFiles` reads; `None` where there are none to read.
    fn files(&self) -> Option<&dyn FileHasher> {
        None
    }
}

/// A question about how things went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusCheck {
    /// `always()`.
    Always,
    /// `cancelled()`.
    Cancelled,
    /// `failure()`.
    Failure,
    /// `success()`.
    Success,
}

/// The value of an expression.
///
/// # Errors
/// What cannot be evaluated with these values, and what is over the budget.
pub fn evaluate(expr: &Expr, context: &dyn Context, budget: &Budget<'_>) -> Result<Value, ExprError> {
    let Some(root) = &expr.root else { return Ok(Value::Null) };
    let mut evaluation = Evaluation { context, dialect: expr.dialect, meter: Meter::new(budget) };
    evaluation.node(root).map(|result| result.value)
}

/// A value, and whether it came out of `.*`: what is asked of such a list is asked of each item.
struct Found {
    value: Value,
    filtered: bool,
}

impl From<Value> for Found {
    fn from(value: Value) -> Self {
        Self { value, filtered: false }
    }
}

struct Evaluation<'a> {
    context: &'a dyn Context,
    dialect: Dialect,
    meter: Meter<'a>,
}

impl Evaluation<'_> {
    /// The depth of the tree is limited when it is parsed, so that this may call itself.
    fn node(&mut self, node: &Node) -> Result<Found, ExprError> {
        self.meter.steps(1)?;
        Ok(match &node.kind {
            NodeKind::Literal(value) => value.clone().into(),
            NodeKind::Name(name) => match self.context.named(name) {
                Some(value) => value.into(),
                None => {
                    let message = format!("Unrecognized named-value: '{name}'");
                    return Err(ExprError::new(ErrorKind::UnknownName, node.at.start, node.at.len(), message));
                }
            },
            NodeKind::Index(target, key) => self.index(target, key)?,
            NodeKind::All(target) => self.all(target)?,
            NodeKind::Call(name, arguments) => return self.call(name, arguments, &node.at),
            NodeKind::Method(target, name, arguments) => {
                let target = self.node(target)?.value;
                let arguments = self.values(arguments)?;
                let result = methods::call(&target, name, &arguments, &mut self.meter);
                result.map_err(|problem| self.failed(&node.at, problem))?.into()
            }
            NodeKind::Not(side) => Value::Bool(!self.node(side)?.value.truth()).into(),
            NodeKind::Minus(side) => {
                let value = self.node(side)?.value;
                Value::Number(-number(&value, &side.at)?).into()
            }
            NodeKind::Binary(binary, left, right) => {
                let left_value = self.node(left)?.value;
                let right_value = self.node(right)?.value;
                self.binary(*binary, &left_value, &right_value, left, right)?.into()
            }
            NodeKind::And(sides) => return self.first(sides, |truth| !truth),
            NodeKind::Or(sides) => return self.first(sides, |truth| truth),
        })
    }

    fn values(&mut self, nodes: &[Node]) -> Result<Vec<Value>, ExprError> {
        nodes.iter().map(|node| self.node(node).map(|found| found.value)).collect()
    }

    /// The first side whose truth `decides`, else the last.
    fn first(&mut self, sides: &[Node], decides: fn(bool) -> bool) -> Result<Found, ExprError> {
        let mut last = Found::from(Value::Null);
        for side in sides {
            last = self.node(side)?;
            if decides(last.value.truth()) {
                break;
            }
        }
        Ok(last)
    }

    fn call(&mut self, name: &str, arguments: &[Node], at: &Range<usize>) -> Result<Found, ExprError> {
        if name == "case" {
            return self.case(arguments);
        }
        let values = self.values(arguments)?;
        if let Some(result) = functions::call(name, &values, self.dialect, &mut self.meter) {
            return result.map(Found::from).map_err(|problem| self.failed(at, problem));
        }
        let failed = |problem: String| self.failed(at, problem);
        let check = match name {
            "hashFiles" => return self.hash_files(&values).map(Found::from).map_err(failed),
            "always" => StatusCheck::Always,
            "cancelled" => StatusCheck::Cancelled,
            "failure" => StatusCheck::Failure,
            "success" => StatusCheck::Success,
            other => return Err(failed(format!("Unrecognized function: '{other}'"))),
        };
        match self.context.status(check, &values) {
            Some(truth) => Ok(Value::Bool(truth).into()),
            None => Err(ExprError::new(
                ErrorKind::UnknownFunction,
                at.start,
                at.len(),
                format!("Unrecognized function: '{name}'"),
            )),
        }
    }

    /// What a function says is wrong, at its call.
    fn failed(&self, at: &Range<usize>, problem: String) -> ExprError {
        let kind = if self.meter.spent() { ErrorKind::Budget } else { ErrorKind::Evaluation };
        ExprError::new(kind, at.start, at.len(), problem)
    }

    fn hash_files(&self, patterns: &[Value]) -> Result<Value, String> {
        let files = self.context.files().ok_or("hashFiles cannot be used here: there are no files yet")?;
        let patterns: Vec<_> = patterns.iter().map(Value::to_text).collect();
        hash_files(patterns.iter().map(|pattern| &**pattern), files).map(Value::from)
    }

    /// Pairs of condition and value, and a default; only what is needed is evaluated.
    fn case(&mut self, arguments: &[Node]) -> Result<Found, ExprError> {
        let (pairs, default) = arguments.as_chunks::<2>();
        for [condition, value] in pairs {
            match self.node(condition)?.value {
                Value::Bool(true) => return self.node(value),
                Value::Bool(false) => {}
                _ => {
                    let message = "case predicate must evaluate to a boolean value";
                    return Err(ExprError::evaluation(condition.at.clone(), message));
                }
            }
        }
        default.first().map_or(Ok(Value::Null.into()), |default| self.node(default))
    }

    fn index(&mut self, target: &Node, key: &Node) -> Result<Found, ExprError> {
        if let (NodeKind::Name(name), NodeKind::Literal(Value::Text(key))) = (&target.kind, &key.kind)
            && let Some(value) = self.context.member(name, key)
        {
            self.meter.steps(2)?;
            return Ok(value.unwrap_or_default().into());
        }
        let found = self.node(target)?;
        let key = self.node(key)?.value;
        match (&found.value, found.filtered) {
            (Value::Array(items), true) => {
                self.meter.bytes(items.len() * 16)?;
                let members = items.iter().filter_map(|item| member(item, &key)).collect();
                Ok(Found { value: Value::array(members), filtered: true })
            }
            (value, _) => {
                let member = member(value, &key);
                let property = || match self.dialect {
                    Dialect::Native => key.as_text().and_then(|key| methods::property(value, key)),
                    Dialect::GitHub => None,
                };
                Ok(member.or_else(property).unwrap_or_default().into())
            }
        }
    }

    fn all(&mut self, target: &Node) -> Result<Found, ExprError> {
        let found = self.node(target)?;
        let mut members = Vec::new();
        match &found.value {
            Value::Array(items) if found.filtered => {
                for item in items.iter() {
                    self.spread(item, &mut members)?;
                }
            }
            value => self.spread(value, &mut members)?,
        }
        Ok(Found { value: Value::array(members), filtered: true })
    }

    fn spread(&mut self, value: &Value, members: &mut Vec<Value>) -> Result<(), ExprError> {
        let before = members.len();
        match value {
            Value::Array(items) => members.extend(items.iter().cloned()),
            Value::Object(object) => members.extend(object.entries().iter().map(|(_, value)| value.clone())),
            _ => {}
        }
        self.meter.bytes((members.len() - before) * 16)
    }

    fn binary(
        &mut self,
        binary: Binary,
        left: &Value,
        right: &Value,
        left_node: &Node,
        right_node: &Node,
    ) -> Result<Value, ExprError> {
        use std::cmp::Ordering::{Greater, Less};
        let size = left.as_text().map_or(8, str::len).min(right.as_text().map_or(8, str::len));
        self.meter.steps(size / 64)?;
        Ok(match binary {
            Binary::Equal => equal(left, right).into(),
            Binary::NotEqual => (!equal(left, right)).into(),
            Binary::Greater => (order(left, right) == Some(Greater)).into(),
            Binary::Less => (order(left, right) == Some(Less)).into(),
            Binary::GreaterOrEqual => (equal(left, right) || order(left, right) == Some(Greater)).into(),
            Binary::LessOrEqual => (equal(left, right) || order(left, right) == Some(Less)).into(),
            Binary::Add => {
                let at = left_node.at.start..right_node.at.end;
                methods::add(left, right, &mut self.meter)?.map_err(|problem| ExprError::evaluation(at, problem))?
            }
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Remainder => {
                let (a, b) = (number(left, &left_node.at)?, number(right, &right_node.at)?);
                if b == 0.0 && matches!(binary, Binary::Divide | Binary::Remainder) {
                    return Err(ExprError::evaluation(right_node.at.clone(), "division by zero"));
                }
                Value::Number(match binary {
                    Binary::Subtract => a - b,
                    Binary::Multiply => a * b,
                    Binary::Divide => a / b,
                    _ => a % b,
                })
            }
        })
    }
}

/// A side of arithmetic: a number, or text that is one.
fn number(value: &Value, at: &Range<usize>) -> Result<f64, ExprError> {
    let number = value.to_number();
    if number.is_nan() && !matches!(value, Value::Number(_)) {
        let shown = match value {
            Value::Text(text) => format!("'{}'", text.chars().take(40).collect::<String>()),
            other => other.kind().to_owned(),
        };
        return Err(ExprError::evaluation(at.clone(), format!("{shown} is not a number")));
    }
    Ok(number)
}

/// What `value` has under `key`.
fn member(value: &Value, key: &Value) -> Option<Value> {
    match value {
        Value::Object(object) if key.is_primitive() => object.get(&key.to_text()).cloned(),
        Value::Array(items) => {
            let index = key.to_number().floor();
            // NaN fails both comparisons.
            if !(index >= 0.0 && index < items.len() as f64) {
                return None;
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the length")]
            items.get(index as usize).cloned()
        }
        _ => None,
    }
}
