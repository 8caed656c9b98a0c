//! The work tree: git runs on this machine, the job's own hooks run in its sandbox.
