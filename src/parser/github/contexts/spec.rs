//! Evaluated values to what the scheduler and the sandbox take.

use super::names::plain;
use crate::parser::expression::{Object, Value};
use crate::parser::github::run::{ContainerSpec, Credentials, RunsOn};
use crate::pipeline::Secret;

/// `runs-on`.
pub(super) fn runs_on(value: &Value) -> Result<RunsOn, String> {
    let labels = texts(value).map(|labels| RunsOn { labels, group: None });
    let runs_on = match value {
        Value::Object(object) => RunsOn {
            labels: object.get("labels").map(texts).transpose()?.unwrap_or_default(),
            group: text(object, "group")?,
        },
        _ => labels?,
    };
    if runs_on.labels.iter().all(|label| label.trim().is_empty()) && runs_on.group.is_none() {
        return Err("it comes to nothing".into());
    }
    Ok(runs_on)
}

/// What becomes of credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// Both parts have to be there.
    Needed,
    /// Nothing is pulled.
    LeftOut,
}

/// A container; `None` where it has no image.
pub(super) fn container(value: &Value, login: Login) -> Result<Option<ContainerSpec>, String> {
    let object = match value {
        Value::Object(object) => object,
        Value::Null => return Ok(None),
        other => {
            let image = plain(other)?;
            return Ok((!image.trim().is_empty()).then(|| ContainerSpec { image, ..ContainerSpec::default() }));
        }
    };
    let Some(image) = text(object, "image")? else { return Ok(None) };
    let list = |key: &str| object.get(key).map(texts).transpose().map(Option::unwrap_or_default);
    Ok(Some(ContainerSpec {
        image,
        env: pairs(object.get("env"))?,
        ports: list("ports")?,
        volumes: list("volumes")?,
        options: text(object, "options")?.unwrap_or_default(),
        credentials: if login == Login::Needed { credentials(object)? } else { None },
        command: text(object, "command")?,
        entrypoint: text(object, "entrypoint")?,
    }))
}

/// Services by name; those without an image are left out, as on the forge.
pub(super) fn services(value: &Value, login: Login) -> Result<Vec<(String, ContainerSpec)>, String> {
    let mut services = Vec::new();
    for (name, value) in value.as_object().map(Object::entries).unwrap_or_default() {
        let spec = container(value, login).map_err(|problem| format!("`{name}`: {problem}"))?;
        services.extend(spec.map(|spec| (name.to_string(), spec)));
    }
    Ok(services)
}

fn credentials(container: &Object) -> Result<Option<Credentials>, String> {
    let Some(Value::Object(object)) = container.get("credentials") else { return Ok(None) };
    let (username, password) = (text(object, "username")?, text(object, "password")?);
    match (username, password) {
        (Some(username), Some(password)) => Ok(Some(Credentials { username, password: Secret::new(password) })),
        (None, None) => Ok(None),
        (username, _) => {
            let missing = if username.is_none() { "username" } else { "password" };
            Err(format!("`credentials.{missing}` comes to nothing; both are needed"))
        }
    }
}

/// The text of a key; `None` where it comes to nothing.
fn text(object: &Object, key: &str) -> Result<Option<String>, String> {
    let text = object.get(key).map(plain).transpose().map_err(|problem| format!("`{key}`: {problem}"))?;
    Ok(text.filter(|text| !text.trim().is_empty()))
}

/// The texts of a list, or one text.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Null => Ok(Vec::new()),
        other => Ok(vec![plain(other)?]),
    }
}

fn pairs(value: Option<&Value>) -> Result<Vec<(String, String)>, String> {
    let entries = value.and_then(Value::as_object).map(Object::entries).unwrap_or_default();
    entries.iter().map(|(key, value)| Ok((key.to_string(), plain(value)?))).collect()
}
