//! Commands to a running agent, over a socket in its state directory.
//!
//! One JSON object a line: the caller sends one [`Command`] and gets one or more [`Answer`]s; the last of them ends the
//! conversation. Only who may write to the state directory can connect.

mod client;
mod protocol;
mod server;

pub use client::{Client, ControlError};
pub use protocol::{Answer, Command};
pub use server::{ControlRequest, ControlServer, Progress};

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The longest line that either side reads. A status with a thousand jobs has a quarter of it.
const MAX_LINE: u64 = 1 << 20;

/// A path to `socket` that is short enough for a socket's address, whatever the state directory is called; good as long
/// as the folder's handle lives.
fn short_path(socket: &Path) -> io::Result<(PathBuf, File)> {
    let folder = File::open(socket.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let name = socket.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name), folder))
}
