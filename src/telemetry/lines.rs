//! What a line of the log looks like.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Tells the time.
pub(super) type Clock = fn() -> jiff::Timestamp;

/// One JSON object a line.
pub(super) struct Json {
    pub clock: Clock,
}

/// A line for people.
pub(super) struct Text {
    pub clock: Clock,
}

impl<S> FormatEvent<S, JsonFields> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (message, fields) = fields(event);
        let mut line = Map::new();
        line.insert("timestamp".into(), time((self.clock)()).into());
        line.insert("level".into(), event.metadata().level().as_str().to_ascii_lowercase().into());
        line.insert("component".into(), component(event).into());
        // A field of the event wins over one of a span, an inner span over an outer one.
        for (name, value) in spans(context).into_iter().chain(fields) {
            line.insert(name, value);
        }
        line.insert("message".into(), message.into());
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

impl<S> FormatEvent<S, JsonFields> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (message, fields) = fields(event);
        let level = event.metadata().level();
        write!(writer, "{} ", time((self.clock)()))?;
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[{}m{level:<5}\x1b[0m ", color(level))?;
        } else {
            write!(writer, "{level:<5} ")?;
        }
        write!(writer, "{}: {}", component(event), one_line(&message))?;
        for (name, value) in fields.into_iter().chain(spans(context)) {
            write!(writer, " {name}={}", short(&value))?;
        }
        writeln!(writer)
    }
}

/// The part of the program that speaks: `agent::poll` for ours, the crate's name for others.
fn component<'e>(event: &'e Event<'_>) -> &'e str {
    let target = event.metadata().target();
    target.strip_prefix("forgehand::").unwrap_or(target)
}

fn time(now: jiff::Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

fn color(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG | Level::TRACE => 2,
    }
}

/// A message is ours, but it may quote what came from outside: no line breaks, no escape sequences.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// A value in a text line: plain where it is one plain word, else as JSON.
fn short(value: &Value) -> String {
    match value.as_str() {
        Some(word) if !word.is_empty() && word.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=') => {
            word.to_owned()
        }
        _ => value.to_string(),
    }
}

/// The fields of all spans the event is in, outer ones first. Spans are few and rarely have more than four fields.
fn spans<S>(context: &FmtContext<'_, S, JsonFields>) -> Map<String, Value>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut all = Map::new();
    for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        let extensions = span.extensions();
        let Some(fields) = extensions.get::<FormattedFields<JsonFields>>() else { continue };
        all.extend(serde_json::from_str::<Map<String, Value>>(fields.as_str()).unwrap_or_default());
    }
    all
}

fn fields(event: &Event<'_>) -> (String, Map<String, Value>) {
    let mut collected = Collected::default();
    event.record(&mut collected);
    (collected.message, collected.fields)
}

#[derive(Default)]
struct Collected {
    message: String,
    fields: Map<String, Value>,
}

impl Collected {
    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            name => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Collected {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}
