//! The agent goes on while jobs burn the machine down.
//!
//! A job may use every core and all memory. The forge takes a job for dead when it hears nothing of it, so the threads
//! that speak to forges come before what jobs do, and the kernel looks for other victims first when memory is short.

use std::cell::Cell;
use std::fs;
use std::io;

use tokio::runtime::{Builder, Runtime};

/// Threads that do nothing but wait for forges, shims and the engine.
const WORKERS: usize = 2;

/// How much those come before others.
const NICE: i32 = -5;

/// How much the kernel's search for a victim should look elsewhere first, of 1000.
const OOM_SCORE: &str = "-500";

/// The runtime of the agent: few threads, and those that wait for the network come before what jobs do, where this user
/// may arrange it. Blocking work (packing, hashing) has no such privilege.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(64)
        .thread_name("forgehand")
        .enable_all()
        // A thread inherits from the one that starts it, and the same pool serves workers and blocking work.
        .on_thread_start(|| set_nice(0))
        // Only workers park: that is what tells them from the others.
        .on_thread_park(come_first)
        .build()
}

/// Lets the calling thread come first, once.
fn come_first() {
    thread_local!(static DONE: Cell<bool> = const { Cell::new(false) });
    if !DONE.replace(true) {
        set_nice(NICE);
    }
}

/// Shields this process from the kernel's search for memory. Only root may; for others nothing happens.
pub fn shield_from_oom() {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", OOM_SCORE) {
        tracing::debug!(%error, "the agent is not shielded from the kernel's out-of-memory killer");
    }
}

/// On Linux this is about the calling thread alone, and inherited by what it starts. Refused without privilege.
fn set_nice(nice: i32) {
    let _ = rustix::process::setpriority_process(None, nice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_work_does_not_come_before_what_jobs_do() {
        let runtime = runtime().unwrap();
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        runtime.block_on(async {
            let waiting = tokio::spawn(async move {
                // A worker comes first from its first rest on.
                while is_root && nice() != NICE {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                let blocking = tokio::task::spawn_blocking(nice).await.unwrap();
                assert_eq!(blocking, 0, "although a worker that comes first started it");
            });
            waiting.await.unwrap();
        });
    }
}
