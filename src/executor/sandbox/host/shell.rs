//! A shell on this machine, on a terminal of its own: what is typed in it (Ctrl-C too) is its own affair.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::Command;

use crate::executor::sandbox::terminal::{ShellRequest, Terminal, Window};

/// Starts a shell in a folder of this machine.
///
/// # Errors
/// There is no terminal to be had, no shell, or no such folder.
pub fn open_shell(request: &ShellRequest, window: Window) -> io::Result<Terminal> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    tcsetwinsize(&ours, size(window))?;
    let its = open(ptsname(&ours, Vec::new())?, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    let [program, arguments @ ..] = request.command();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(&request.cwd)
        .envs(request.env.iter().map(|(name, value)| (name, value.expose())))
        .stdin(Stdio::from(its.try_clone()?))
        .stdout(Stdio::from(its.try_clone()?))
        .stderr(Stdio::from(its))
        .kill_on_drop(true);
    // SAFETY: between fork and exec the closure makes two bare system calls; it allocates nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    // Its ends of the terminal are the child's alone from here on: the last one that closes ends what we read.
    drop(command);
    // SAFETY: the AsyncFd owns the descriptor, which is neither taken out nor replaced: it stays open and the same.
    let ours = Arc::new(unsafe { AsyncFd::register(File::from(ours)) }?);
    let resized = Arc::clone(&ours);
    Ok(Terminal {
        output: Box::pin(Side(Arc::clone(&ours))),
        input: Box::pin(Side(ours)),
        resize: Box::new(move |window| {
            let _ = tcsetwinsize(resized.get_ref(), size(window));
            Box::pin(std::future::ready(()))
        }),
        _keep: Some(Box::new(child)),
    })
}

fn size((columns, rows): Window) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Our side of the terminal.
struct Side(Arc<AsyncFd<File>>);

impl AsyncRead for Side {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match guard.try_io(|file| file.get_ref().read(buffer.initialize_unfilled())) {
                Ok(Ok(read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // Nobody has the other side open any more.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Side {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|file| file.get_ref().write(bytes)) {
                return Poll::Ready(done);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::pipeline::Secret;

    #[tokio::test]
    async fn a_shell_has_folder_environment_and_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let request = ShellRequest {
            env: vec![("MARK".into(), Secret::new("found")), ("PS1".into(), Secret::new("> "))],
            path: vec!["/first".into()],
            cwd: folder.path().to_string_lossy().into_owned(),
            ..ShellRequest::default()
        };
        let mut terminal = open_shell(&request, (77, 33)).unwrap();
        let typed = b"tty -s && stty size && echo is:$MARK:$PWD:${PATH%%:*}; exit\n";
        terminal.input.write_all(typed).await.unwrap();
        let mut shown = Vec::new();
        terminal.output.read_to_end(&mut shown).await.unwrap();
        let shown = String::from_utf8_lossy(&shown);
        assert!(shown.contains("33 77"), "{shown}");
        assert!(shown.contains(&format!("is:found:{}:/first", folder.path().display())), "{shown}");
    }
}
