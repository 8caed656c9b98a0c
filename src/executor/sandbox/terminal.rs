//! A shell on a terminal in a sandbox, for a person.

use std::pin::Pin;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::executor::script;
use crate::pipeline::Secret;

/// What a shell is to find.
#[derive(Clone, Debug, Default)]
pub struct ShellRequest {
    /// The container; `None`: this machine.
    pub container: Option<String>,
    /// Its environment, over the sandbox's own.
    pub env: Vec<(String, Secret)>,
    /// Folders in front of PATH, the first one first.
    pub path: Vec<String>,
    /// The folder it begins in.
    pub cwd: String,
    /// The file by which earlier commands handed on variables, where the language has one.
    pub env_file: Option<String>,
}

impl ShellRequest {
    /// The program and its arguments. No value of the environment is in it, and none is changed by files of a user's own.
    pub(super) fn command(&self) -> [String; 5] {
        let exports = self.env_file.as_deref().map(script::exports).unwrap_or_default();
        let text = format!(
            "{exports}if [ -n \"$1\" ]; then PATH=\"$1:$PATH\"; export PATH; fi\n\
             if command -v bash >/dev/null 2>&1; then exec bash --norc; else exec sh; fi"
        );
        ["sh".to_owned(), "-c".to_owned(), text, "sh".to_owned(), self.path.join(":")]
    }
}

/// Columns and rows.
pub type Window = (u16, u16);

/// How a new size gets to the shell.
pub type Resize = Box<dyn Fn(Window) -> BoxFuture<'static, ()> + Send + Sync>;

/// A shell that runs. It ends when this goes.
pub struct Terminal {
    /// What it shows; ends with the shell.
    pub output: Pin<Box<dyn AsyncRead + Send>>,
    /// What is typed.
    pub input: Pin<Box<dyn AsyncWrite + Send>>,
    /// Tells it a new size.
    pub resize: Resize,
    /// What has to live as long.
    pub(super) _keep: Option<Box<dyn Send>>,
}
