//! Text to its value.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use smol_str::SmolStr;

use super::syntax::{Operation, Segment, Style, Text};
use super::{Hierarchy, VariableError, VariableErrorKind};
use crate::parser::diagnostics::nearest;
use crate::parser::expression::{Budget, Context, Expr, ExprError, FileHasher, Object, StatusCheck, Value, evaluate};

/// Resolves text against a hierarchy and a context.
pub struct Resolver<'a> {
    hierarchy: &'a Hierarchy,
    /// What has dots: `secrets`, `matrix`, `job`, `pipeline`; the host functions of expressions.
    context: &'a dyn Context,
    /// Whether `secrets.X` may stand here.
    secrets_allowed: bool,
    budget: Budget<'a>,
    known: RefCell<HashMap<(usize, SmolStr), Result<SmolStr, VariableError>>>,
}

/// Variables that refer to variables.
const MAX_DEPTH: usize = 32;
/// Bytes a value may have.
const MAX_SIZE: usize = 1 << 20;
/// Names a message lists.
const LISTED: usize = 12;

/// One variable that is being resolved: its name and the place of its source.
type Path = Vec<(usize, SmolStr)>;

impl<'a> Resolver<'a> {
    /// A resolver. `secrets_allowed`: whether what is resolved goes to a process's environment and nowhere else.
    pub fn new(hierarchy: &'a Hierarchy, context: &'a dyn Context, secrets_allowed: bool, budget: Budget<'a>) -> Self {
        Self { hierarchy, context, secrets_allowed, budget, known: RefCell::default() }
    }

    /// The value of a text.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn resolve(&self, text: &Text) -> Result<String, Vec<VariableError>> {
        let mut errors = Vec::new();
        let value = self.text(text, &mut Path::new(), &mut errors);
        if errors.is_empty() { Ok(value) } else { Err(errors) }
    }

    /// The value of an expression, which finds variables under `env`.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub fn evaluate(&self, expr: &Expr) -> Result<Value, ExprError> {
        evaluate(expr, &Scope { resolver: self, path: Path::new() }, &self.budget_now())
    }

    fn text(&self, text: &Text, path: &mut Path, errors: &mut Vec<VariableError>) -> String {
        let mut value = String::new();
        for segment in &text.segments {
            // Inside a variable's value the first error is enough; going on would cost its square, level by level.
            if !path.is_empty() && !errors.is_empty() {
                return String::new();
            }
            match segment {
                Segment::Text(text) => value.push_str(text),
                Segment::Reference { name, operation, at } => {
                    value.push_str(&self.reference(name, operation, at, path, errors));
                }
                Segment::Expr { expr, offset } => {
                    let scope = Scope { resolver: self, path: path.clone() };
                    match evaluate(expr, &scope, &self.budget_now()) {
                        Ok(result) => value.push_str(&result.to_text()),
                        Err(error) => {
                            let kind = if self.is_forbidden(&expr.text) {
                                VariableErrorKind::Secret
                            } else {
                                VariableErrorKind::Expression
                            };
                            let at = offset + error.offset..offset + error.offset + error.len;
                            errors.push(VariableError::new(kind, at, error.message));
                        }
                    }
                }
            }
            if value.len() > MAX_SIZE {
                let message = format!("the value is larger than {MAX_SIZE} bytes");
                errors.push(VariableError::new(VariableErrorKind::Limit, 0..0, message));
                return String::new();
            }
        }
        value
    }

    fn budget_now(&self) -> Budget<'a> {
        Budget { steps: self.budget.steps, bytes: self.budget.bytes, expired: self.budget.expired }
    }

    fn is_forbidden(&self, expression: &str) -> bool {
        !self.secrets_allowed && expression.contains("secrets")
    }

    fn reference(
        &self,
        name: &SmolStr,
        operation: &Operation,
        at: &Range<usize>,
        path: &mut Path,
        errors: &mut Vec<VariableError>,
    ) -> String {
        let mut found = match self.find(name, at, path) {
            Ok(found) => found,
            Err(error) => {
                errors.push(error);
                return String::new();
            }
        };
        let is_set = found.as_ref().is_some_and(|value| !value.is_empty());
        match operation {
            Operation::Default(default) if !is_set => return self.text(default, path, errors),
            Operation::Alternate(text) if is_set => return self.text(text, path, errors),
            Operation::Alternate(_) => return String::new(),
            Operation::Required(message) if !is_set => {
                let message = if message.is_empty() { "it is required" } else { message };
                let message = format!("variable `{name}` has no value: {message}");
                errors.push(VariableError::new(VariableErrorKind::Required, at.clone(), message));
                return String::new();
            }
            Operation::Replace { pattern, with } => {
                if let Some(value) = &mut found {
                    let with = self.text(with, path, errors);
                    let grown = value.matches(pattern.as_str()).count().saturating_mul(with.len());
                    if grown <= MAX_SIZE {
                        *value = value.replace(pattern.as_str(), &with).into();
                    } else {
                        let message = format!("the value is larger than {MAX_SIZE} bytes");
                        errors.push(VariableError::new(VariableErrorKind::Limit, at.clone(), message));
                    }
                }
            }
            _ => {}
        }
        found.map_or_else(
            || {
                errors.push(self.undefined(name, at));
                String::new()
            },
            String::from,
        )
    }

    /// The value of a name, resolved; `None` where no source has it.
    fn find(&self, name: &SmolStr, at: &Range<usize>, path: &mut Path) -> Result<Option<SmolStr>, VariableError> {
        if name.contains('.') {
            return self.dotted(name, at).map(|value| value.map(|value| (&*value.to_text()).into()));
        }
        self.variable(name, at, path)
    }

    fn variable(&self, name: &str, at: &Range<usize>, path: &mut Path) -> Result<Option<SmolStr>, VariableError> {
        // A variable in its own value is that of the next weaker source: `PATH: ${PATH}:/opt/bin`.
        let own = path.last().filter(|(_, last)| last == name).map_or(0, |(layer, _)| layer + 1);
        let Some((layer, raw)) = self.hierarchy.find(name, own) else { return Ok(None) };
        let key = (layer, SmolStr::from(name));
        if path.contains(&key) {
            let begin = path.iter().position(|step| *step == key).unwrap_or(0);
            let names: Vec<&str> = path.iter().skip(begin).map(|(_, name)| name.as_str()).chain([name]).collect();
            let message = format!("variables refer to each other in a circle: {}", names.join(" -> "));
            return Err(VariableError::new(VariableErrorKind::Cycle, at.clone(), message)
                .help(format!("write the value of `{name}` out in one of them")));
        }
        if path.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} variables refer to one another in a row");
            return Err(VariableError::new(VariableErrorKind::Limit, at.clone(), message));
        }
        let known = self.known.borrow().get(&key).cloned();
        let result = match known {
            Some(known) => known,
            None => {
                path.push(key.clone());
                let result = self.value_of(name, raw, path);
                path.pop();
                // What failed because of where it was asked from may do better from elsewhere.
                if result.is_ok() {
                    self.known.borrow_mut().insert(key, result.clone());
                }
                result
            }
        };
        result.map(Some).map_err(|error| VariableError { at: at.clone(), ..error })
    }

    fn value_of(&self, name: &str, raw: &SmolStr, path: &mut Path) -> Result<SmolStr, VariableError> {
        let mut errors = Vec::new();
        let text = match Text::parse(raw, Style::Value) {
            Ok(text) => text,
            Err(found) => {
                errors.extend(found);
                Text { segments: Vec::new() }
            }
        };
        let value = if errors.is_empty() { self.text(&text, path, &mut errors) } else { String::new() };
        match errors.into_iter().next() {
            None => Ok(value.into()),
            Some(error) if error.message.contains("in the value of") => Err(error),
            Some(error) if error.kind == VariableErrorKind::Cycle => Err(error),
            Some(error) => {
                let message = format!("{}, in the value of `{name}`", error.message);
                Err(VariableError { message, ..error })
            }
        }
    }

    /// `secrets.X`, `matrix.x`, `job.build.status`, `env.X`.
    fn dotted(&self, name: &str, at: &Range<usize>) -> Result<Option<Value>, VariableError> {
        let mut names = name.split('.');
        let root = names.next().unwrap_or("");
        if root == "secrets" && !self.secrets_allowed {
            let message = format!("`{name}` stands where a secret may not");
            return Err(VariableError::new(VariableErrorKind::Secret, at.clone(), message).help(
                "put it into `environment` and use that variable: secrets go to processes by their environment only",
            ));
        }
        if root == "env" {
            let name: SmolStr = names.collect::<Vec<_>>().join(".").into();
            return self.variable(&name, at, &mut Path::new()).map(|value| value.map(|value| value.as_str().into()));
        }
        let mut value = self.context.named(root);
        for name in names {
            value = value.and_then(|value| match &value {
                Value::Object(object) => object.get(name).cloned(),
                _ => None,
            });
        }
        Ok(value)
    }

    fn undefined(&self, name: &str, at: &Range<usize>) -> VariableError {
        let message = format!("variable `{name}` is not defined");
        let error = VariableError::new(VariableErrorKind::Undefined, at.clone(), message);
        let known: Vec<SmolStr> = match name.rsplit_once('.') {
            None => self.hierarchy.names().into_iter().map(SmolStr::from).collect(),
            Some((parent, _)) => {
                let members = self.dotted(parent, at).ok().flatten();
                let members = members.or_else(|| self.context.named(parent));
                let members = members.as_ref().and_then(Value::as_object).map(Object::entries).unwrap_or(&[]);
                members.iter().map(|(member, _)| format!("{parent}.{member}").into()).collect()
            }
        };
        if let Some(near) = nearest(name, known.iter().map(SmolStr::as_str)) {
            return error.help(format!("did you mean `{near}`?"));
        }
        let listed: Vec<&str> = known.iter().take(LISTED).map(SmolStr::as_str).collect();
        if listed.is_empty() {
            return error.help(format!("give it a default: `${{{name}:-text}}`"));
        }
        let more = if known.len() > LISTED { ", ..." } else { "" };
        error.help(format!("defined are {}{more}; or give it a default: `${{{name}:-text}}`", listed.join(", ")))
    }
}

/// What an expression inside text can ask: the context, and variables as `env`.
struct Scope<'r, 'a> {
    resolver: &'r Resolver<'a>,
    path: Path,
}

impl Context for Scope<'_, '_> {
    fn named(&self, name: &str) -> Option<Value> {
        if name.eq_ignore_ascii_case("secrets") && !self.resolver.secrets_allowed {
            return None;
        }
        if !name.eq_ignore_ascii_case("env") {
            return self.resolver.context.named(name);
        }
        let hierarchy = self.resolver.hierarchy;
        let value_of = |name: &str| {
            let value = self.resolver.variable(name, &(0..0), &mut self.path.clone()).ok().flatten()?;
            Some((SmolStr::from(name), value))
        };
        let values = hierarchy.names().into_iter().filter_map(value_of);
        let entries = values.map(|(name, value)| (std::sync::Arc::from(name.as_str()), Value::from(value.as_str())));
        Some(Value::Object(std::sync::Arc::new(Object::exact::<std::sync::Arc<str>>(entries))))
    }

    fn status(&self, check: StatusCheck, arguments: &[Value]) -> Option<bool> {
        self.resolver.context.status(check, arguments)
    }

    fn files(&self) -> Option<&dyn FileHasher> {
        self.resolver.context.files()
    }
}
