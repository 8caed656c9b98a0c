//! A job log that can be read.

use std::sync::Mutex;

use crate::executor::log::{StageLog, Tone};

/// Collects everything; lines of the runner's own as they are.
#[derive(Default)]
pub(crate) struct TestLog(Mutex<String>);

impl TestLog {
    /// All that was logged.
    pub(crate) fn text(&self) -> String {
        self.0.lock().expect("no test panicked here").clone()
    }
}

impl StageLog for TestLog {
    fn say(&self, tone: Tone, line: &str) {
        let head = match tone {
            Tone::Plain | Tone::Notice => "",
            Tone::Warning => "WARNING: ",
            Tone::Error => "ERROR: ",
        };
        self.0.lock().expect("no test panicked here").push_str(&format!("{head}{line}\n"));
    }

    fn output(&self, bytes: &[u8]) {
        self.0.lock().expect("no test panicked here").push_str(&String::from_utf8_lossy(bytes));
    }
}
