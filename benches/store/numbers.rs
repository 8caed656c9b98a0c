//! Work that is done by a process of its own, and what it says about it.

use std::collections::BTreeMap;
use std::process::Command;

use crate::Failure;

/// What was measured, by name: seconds and bytes.
#[derive(Clone, Debug, Default)]
pub struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    pub fn set(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), value);
    }

    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(f64::NAN)
    }

    pub fn print(&self) {
        println!("{}", serde_json::json!(self.0));
    }
}

/// Has another process of this program do something.
pub fn of_work(arguments: &[&str]) -> Result<Numbers, Failure> {
    // What was written before is not what is measured.
    rustix::fs::sync();
    let output = Command::new(std::env::current_exe()?).arg("--work").args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Numbers(serde_json::from_slice(&output.stdout)?))
}

pub fn milliseconds(seconds: f64) -> String {
    format!("{:.0} ms", seconds * 1e3)
}

pub fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
