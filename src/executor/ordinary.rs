//! What the agent starts must not come before other programs as the agent itself does.

use std::io;

/// Takes the agent's privileges away from a child of it between fork and exec, so that git or a job's process is as
/// likely a victim as any other. Safe there: no allocation, no lock.
pub(in crate::executor) fn be_ordinary() -> io::Result<()> {
    // Refused without privilege, and then there is nothing to take away.
    let _ = rustix::process::setpriority_process(None, 0);
    // Raising one's own score is always allowed.
    let file = rustix::fs::open("/proc/self/oom_score_adj", rustix::fs::OFlags::WRONLY, rustix::fs::Mode::empty());
    if let Ok(file) = file {
        let _ = rustix::io::write(&file, b"0");
    }
    Ok(())
}
