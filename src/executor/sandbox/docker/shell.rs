//! A shell in a container that runs.

use bollard::exec::{CreateExecOptions, ResizeExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt as _;
use tokio_util::io::StreamReader;

use super::Docker;
use super::engine::CHANGE;
use super::error::EngineError;
use crate::executor::sandbox::terminal::{ShellRequest, Terminal, Window};

impl Docker {
    /// Starts a shell in `container`, as the user that the container's processes are.
    ///
    /// # Errors
    /// The engine says no: the container is gone, or has no shell.
    pub async fn open_shell(
        &self,
        container: &str,
        request: &ShellRequest,
        window: Window,
    ) -> Result<Terminal, EngineError> {
        let engine = self.engine().clone();
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(true),
            env: Some(request.env.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect()),
            cmd: Some(request.command().to_vec()),
            working_dir: Some(request.cwd.clone()),
            ..CreateExecOptions::default()
        };
        let made = engine.call("making a shell", CHANGE, engine.api().create_exec(container, options)).await?;
        let how = StartExecOptions { detach: false, tty: true, ..StartExecOptions::default() };
        let started = engine.call("starting a shell", CHANGE, engine.api().start_exec(&made.id, Some(how))).await?;
        let StartExecResults::Attached { output, input } = started else {
            return Err(EngineError::Protocol {
                what: "starting a shell".into(),
                message: "it runs without us".into(),
            });
        };
        let bytes = output.map(|piece| piece.map(|piece| piece.into_bytes()).map_err(std::io::Error::other));
        let terminal = Terminal {
            output: Box::pin(StreamReader::new(bytes)),
            input,
            resize: Box::new(move |(width, height)| {
                let (engine, id) = (engine.clone(), made.id.clone());
                Box::pin(async move {
                    let size = ResizeExecOptions { width, height };
                    // A shell that has just ended has no size.
                    let _ = engine.call("resizing a shell", CHANGE, engine.api().resize_exec(&id, size)).await;
                })
            }),
            _keep: None,
        };
        (terminal.resize)(window).await;
        Ok(terminal)
    }
}
