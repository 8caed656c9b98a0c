//! Text to its value.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;

use smol_str::SmolStr;

use super::syntax::{Operation, Segment, Style, Text};
use super::{Hierarchy, Source, VariableError, VariableErrorKind};
use crate::parser::diagnostics::nearest;
use crate::parser::expression::{Budget, Context, ErrorKind, Expr, FileHasher, Object, StatusCheck, Value, evaluate};

/// Resolves text against a hierarchy and a context.
pub struct Resolver<'a> {
    hierarchy: &'a Hierarchy,
    /// What has dots: `secrets`, `matrix`, `job`, `pipeline`; the host functions of expressions.
    context: &'a dyn Context,
    /// Whether `secrets.X` may stand here.
    secrets_allowed: bool,
    budget: Budget<'a>,
    known: RefCell<HashMap<(usize, SmolStr), Known>>,
    /// Whether what is being resolved has asked for a secret.
    secret: Cell<bool>,
    /// Variables that may still be resolved.
    left: Cell<u32>,
}

/// A value that was resolved before.
#[derive(Clone)]
struct Known {
    value: SmolStr,
    secret: bool,
}

/// A text's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// It.
    pub value: String,
    /// Whether a secret went into it.
    pub secret: bool,
}

/// Variables that refer to variables.
const MAX_DEPTH: usize = 32;
/// Bytes a value may have.
const MAX_SIZE: usize = 1 << 20;
/// Variables that one resolver works out. Each is worked out once, unless variables ask for all variables.
const MAX_WORK: u32 = 200_000;
/// Names a message lists.
const LISTED: usize = 12;

/// One variable that is being resolved: its name and the place of its source.
type Path = Vec<(usize, SmolStr)>;

impl<'a> Resolver<'a> {
    /// A resolver. `secrets_allowed`: whether what is resolved goes to a process's environment and nowhere else.
    pub fn new(hierarchy: &'a Hierarchy, context: &'a dyn Context, secrets_allowed: bool, budget: Budget<'a>) -> Self {
        Self {
            hierarchy,
            context,
            secrets_allowed,
            budget,
            known: RefCell::default(),
            secret: Cell::new(false),
            left: Cell::new(MAX_WORK),
        }
    }

    /// The value of a text.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn resolve(&self, text: &Text) -> Result<String, Vec<VariableError>> {
        self.resolve_marked(text).map(|resolved| resolved.value)
    }

    /// The value of a text, and whether a secret went into it.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn resolve_marked(&self, text: &Text) -> Result<Resolved, Vec<VariableError>> {
        let mut errors = Vec::new();
        self.secret.set(false);
        let value = self.text(text, &mut Path::new(), &mut errors);
        if errors.is_empty() { Ok(Resolved { value, secret: self.secret.get() }) } else { Err(errors) }
    }

    /// The value of a variable; nothing where there is none of this name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn value(&self, name: &str) -> Result<Resolved, VariableError> {
        self.secret.set(false);
        let value = self.variable(name, &(0..0), &mut Path::new())?.unwrap_or_default();
        Ok(Resolved { value: value.into(), secret: self.secret.get() })
    }

    /// The value of an expression, which finds variables under `env`.
    ///
    /// # Errors
    /// What cannot be evaluated.
    pub fn evaluate(&self, expr: &Expr) -> Result<Value, VariableError> {
        self.expression(expr, 0, &Path::new())
    }

    fn expression(&self, expr: &Expr, offset: usize, path: &Path) -> Result<Value, VariableError> {
        let scope = Scope { resolver: self, path: path.clone(), failed: RefCell::default() };
        let result = evaluate(expr, &scope, &self.budget_now());
        // A variable that cannot be resolved is no null.
        if let Some(failed) = scope.failed.take() {
            return Err(VariableError { at: offset..offset + expr.text.len(), ..failed });
        }
        result.map_err(|error| {
            let is_secret = error.kind == ErrorKind::UnknownName && error.message.ends_with("'secrets'");
            let kind = if is_secret { VariableErrorKind::Secret } else { VariableErrorKind::Expression };
            let at = offset + error.offset..offset + error.offset + error.len;
            VariableError::new(kind, at, error.message)
        })
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
                Segment::Expr { expr, offset } => match self.expression(expr, *offset, path) {
                    Ok(result) => value.push_str(&result.to_text()),
                    Err(error) => errors.push(error),
                },
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
        // What comes from outside the file is text: a branch may be called whatever somebody likes.
        if layer == Source::Runtime as usize || layer == Source::System as usize {
            return Ok(Some(raw.clone()));
        }
        if let Some(known) = self.known.borrow().get(&key) {
            self.secret.set(self.secret.get() || known.secret);
            return Ok(Some(known.value.clone()));
        }
        let Some(left) = self.left.get().checked_sub(1) else {
            let message = format!("more than {MAX_WORK} variables would have to be worked out");
            return Err(VariableError::new(VariableErrorKind::Limit, at.clone(), message));
        };
        self.left.set(left);
        let outer = self.secret.replace(false);
        path.push(key.clone());
        let result = self.value_of(name, raw, path);
        path.pop();
        let secret = self.secret.get();
        self.secret.set(outer || secret);
        // What failed because of where it was asked from may do better from elsewhere, and is not kept.
        match result {
            Ok(value) => {
                self.known.borrow_mut().insert(key, Known { value: value.clone(), secret });
                Ok(Some(value))
            }
            Err(error) => Err(VariableError { at: at.clone(), ..error }),
        }
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
        let mut value = match names.clone().next().and_then(|first| self.context.member(root, first)) {
            Some(member) => {
                names.next();
                member
            }
            None => self.context.named(root),
        };
        self.secret.set(self.secret.get() || root == "secrets");
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
    /// What is wrong with a variable that was asked for.
    failed: RefCell<Option<VariableError>>,
}

impl Scope<'_, '_> {
    /// Whether `name` is what holds secrets.
    fn is_secrets(name: &str) -> bool {
        name.eq_ignore_ascii_case("secrets")
    }
}

impl Context for Scope<'_, '_> {
    fn named(&self, name: &str) -> Option<Value> {
        if Self::is_secrets(name) {
            self.resolver.secret.set(true);
            return if self.resolver.secrets_allowed { self.resolver.context.named(name) } else { None };
        }
        if !name.eq_ignore_ascii_case("env") {
            return self.resolver.context.named(name);
        }
        // All variables hold the one whose value asks for them; each way through them would have to be gone.
        if let Some((_, own)) = self.path.first() {
            let message = format!("the value of `{own}` asks for all variables, itself among them");
            let error = VariableError::new(VariableErrorKind::Cycle, 0..0, message);
            self.failed.borrow_mut().get_or_insert(error.help("name those that are meant: `env.NAME`"));
            return Some(Value::Null);
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

    fn member(&self, name: &str, key: &str) -> Option<Option<Value>> {
        if Self::is_secrets(name) {
            self.resolver.secret.set(true);
            return if self.resolver.secrets_allowed { self.resolver.context.member(name, key) } else { None };
        }
        if !name.eq_ignore_ascii_case("env") {
            return self.resolver.context.member(name, key);
        }
        match self.resolver.variable(key, &(0..0), &mut self.path.clone()) {
            Ok(value) => Some(value.map(|value| value.as_str().into())),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                Some(None)
            }
        }
    }

    fn status(&self, check: StatusCheck, arguments: &[Value]) -> Option<bool> {
        self.resolver.context.status(check, arguments)
    }

    fn files(&self) -> Option<&dyn FileHasher> {
        self.resolver.context.files()
    }
}
