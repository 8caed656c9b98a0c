//! What an image's entrypoint printed before the shim.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt as _;

use super::Docker;
use super::error::EngineError;
use crate::executor::sandbox::shim::ENTERED;

/// Of what is printed, only so many bytes at the end are kept.
const MOST: usize = 256 * 1024;

/// The engine's log is behind what a container prints, under load by some tenths of a second. An entrypoint that sends its streams
/// elsewhere is waited for in vain.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came so far.
#[derive(Default)]
struct Greeting {
    words: Vec<u8>,
    has_entered: [bool; 2],
}

impl Greeting {
    /// Takes a line of the engine's log. Gives whether nothing comes any more.
    fn take(&mut self, line: &LogOutput) -> bool {
        let stream = usize::from(matches!(line, LogOutput::StdErr { .. }));
        let bytes = line.as_ref();
        // Behind it stands what came after the entrypoint; the line before it may have had no end.
        let before = bytes.strip_suffix(ENTERED);
        if !self.has_entered[stream] {
            self.words.extend_from_slice(before.unwrap_or(bytes));
            self.has_entered[stream] = before.is_some();
        }
        self.words.drain(..self.words.len().saturating_sub(MOST));
        self.has_entered == [true; 2]
    }
}

impl Docker {
    /// What the entrypoint of a container printed, both streams in order, until the shim took over or the container ended. Empty where
    /// it is gone.
    ///
    /// # Errors
    /// The engine does not tell.
    pub async fn greeting(&self, container: &str) -> Result<Vec<u8>, EngineError> {
        let options =
            LogsOptions { follow: true, stdout: true, stderr: true, tail: "all".into(), ..LogsOptions::default() };
        let mut lines = std::pin::pin!(self.engine().api().logs(container, Some(options)));
        let mut greeting = Greeting::default();
        let read = async {
            while let Some(line) = lines.next().await {
                if greeting
                    .take(&line.map_err(|error| self.engine().explain("reading the entrypoint's output", error))?)
                {
                    break;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(PATIENCE, read).await {
            Ok(Err(error @ EngineError::NotFound { .. })) => {
                tracing::debug!(%error, "the container of the entrypoint is gone");
                Ok(Vec::new())
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(greeting.words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &str) -> LogOutput {
        LogOutput::StdOut { message: text.to_owned().into() }
    }

    fn err(text: &str) -> LogOutput {
        LogOutput::StdErr { message: text.to_owned().into() }
    }

    #[test]
    fn both_streams_are_read_up_to_the_shim() {
        let entered = String::from_utf8(ENTERED.to_vec()).unwrap();
        let mut greeting = Greeting::default();
        assert!(!greeting.take(&out("one\n")));
        assert!(!greeting.take(&out(&format!("no end{entered}"))));
        assert!(!greeting.take(&err("late\n")));
        assert!(greeting.take(&err(&entered)));
        assert_eq!(String::from_utf8(greeting.words).unwrap(), "one\nno endlate\n");
    }

    #[test]
    fn of_much_the_end_is_kept() {
        let mut greeting = Greeting::default();
        let line = "x".repeat(16 * 1024);
        assert!((0..20).all(|_| !greeting.take(&out(&line))));
        greeting.take(&out("end\n"));
        assert_eq!(greeting.words.len(), MOST);
        assert!(greeting.words.ends_with(b"end\n"));
    }
}
