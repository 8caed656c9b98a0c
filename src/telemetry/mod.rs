//! The agent's own log: on standard error, a line an event, for people or for machines.
//!
//! A JSON line has `timestamp`, `level`, `component`, `message`, and, inside a job's span, `job_id` and
//! `correlation_id`; further fields of the event and of its spans stand beside them. Secrets cannot get in: their type
//! has no form that a log line takes ([`crate::pipeline::Secret`]), and no part of the program logs payloads,
//! environments or URLs with credentials.

mod beside;
mod lines;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::config::{LogFormat, LogLevel};

pub use beside::{Diverted, divert};

/// What the log shows, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important events of our own that are shown. Of others' crates only warnings are.
    pub level: LogLevel,
    /// Text or JSON.
    pub format: LogFormat,
    /// Whether text is coloured.
    pub color: bool,
}

/// Sends the log of this process to standard error from now on. Only the first call counts.
pub fn install(settings: LogSettings) {
    // An error means that a log is installed already: it stays.
    let _ = tracing::subscriber::set_global_default(subscriber(settings, beside::writer));
}

/// Whether text on standard error is to be coloured when the user has not said.
pub fn stderr_has_color() -> bool {
    io::stderr().is_terminal() && may_color()
}

/// Whether a terminal is to be coloured when the user has not said.
pub fn may_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A log that writes to `writer`.
fn subscriber<W>(settings: LogSettings, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let levels = Targets::new()
        .with_default(LevelFilter::WARN.min(filter(settings.level)))
        .with_target("forgehand", filter(settings.level));
    let layer =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(settings.color).fmt_fields(JsonFields::new());
    let registry = Registry::default().with(levels);
    match settings.format {
        LogFormat::Json => Box::new(registry.with(layer.event_format(lines::Json { clock: jiff::Timestamp::now }))),
        LogFormat::Text => Box::new(registry.with(layer.event_format(lines::Text { clock: jiff::Timestamp::now }))),
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, events: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let settings = LogSettings { level, format, color: false };
        let subscriber = subscriber(settings, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn a_job_with_trouble() {
        let span = tracing::info_span!("job", job_id = %42, correlation_id = "c0ffee", registration = "main");
        let _inside = span.enter();
        tracing::warn!(attempt = 2, path = "a \"b\"\nc", "the stage failed");
    }

    #[test]
    fn a_json_line_says_when_where_which_job_and_what() {
        let text = logged(LogFormat::Json, LogLevel::Info, a_job_with_trouble);
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["component"], "telemetry::tests");
        assert_eq!((&line["job_id"], &line["correlation_id"]), (&"42".into(), &"c0ffee".into()));
        assert_eq!(line["message"], "the stage failed");
        assert_eq!((&line["attempt"], &line["path"]), (&2.into(), &"a \"b\"\nc".into()));
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn a_text_line_is_one_line_whatever_is_in_it() {
        let text = logged(LogFormat::Text, LogLevel::Info, a_job_with_trouble);
        assert_eq!(text.lines().count(), 1, "{text}");
        let (_time, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "WARN  telemetry::tests: the stage failed attempt=2 path=\"a \\\"b\\\"\\nc\" correlation_id=c0ffee \
             job_id=42 registration=main\n"
        );
    }

    #[test]
    fn the_level_is_ours_and_others_are_heard_only_when_they_warn() {
        let text = logged(LogFormat::Text, LogLevel::Info, || {
            tracing::debug!("quiet");
            tracing::info!(target: "hyper::client", "chatter");
            tracing::warn!(target: "hyper::client", "trouble");
        });
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("hyper::client: trouble"));
        let text = logged(LogFormat::Text, LogLevel::Error, || tracing::warn!(target: "hyper::client", "trouble"));
        assert!(text.is_empty());
    }
}
