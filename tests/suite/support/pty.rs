//! Programs on a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What no program writes: it tells that all before it was read.
pub const LAST: &[u8] = b"\x1b]7777;the end\x07";

/// A program and the two ends of its terminal.
pub struct OnTerminal {
    pub child: Child,
    pub ours: File,
    pub its: File,
}

/// Starts a program on a terminal of its own, of so many rows and columns.
pub fn start(mut command: Command, (rows, columns): (u16, u16)) -> OnTerminal {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let its = open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    command.stdin(Stdio::from(its.try_clone().unwrap()));
    command.stdout(Stdio::from(its.try_clone().unwrap())).stderr(Stdio::from(its.try_clone().unwrap()));
    // SAFETY: two bare system calls between fork and exec.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
    OnTerminal { child: command.spawn().unwrap(), ours: File::from(ours), its: File::from(its) }
}

/// Runs a program to its end; all that its terminal was told.
pub fn told(command: Command) -> (ExitStatus, String) {
    let OnTerminal { mut child, mut ours, mut its } = start(command, (24, 100));
    let reader = std::thread::spawn(move || {
        let (mut told, mut buffer) = (Vec::new(), [0; 4096]);
        while !told.ends_with(LAST) {
            let read = ours.read(&mut buffer).unwrap();
            told.extend_from_slice(&buffer[..read]);
        }
        told
    });
    let status = child.wait().unwrap();
    its.write_all(LAST).unwrap();
    let told = reader.join().unwrap();
    (status, String::from_utf8_lossy(&told).into_owned())
}
