//! What a forge sent to hand over a job, in a file of its own.
//!
//! The payload is full of secrets: it never enters the database, only the agent can read the file, and it goes when the
//! job is over. One line of JSON about the job stands before it, so that the file alone is enough to know whose job it
//! is, whatever becomes of the database.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::dir::StateDir;
use super::durable;
use crate::forge::Assignment;
use crate::pipeline::{JobId, JobKey, Owner};

/// The newest format this version writes and reads.
const VERSION: u32 = 1;

/// Longest file that is read: far over what any forge client takes as an answer.
const MAX_FILE: u64 = 256 << 20;

/// The line before the payload.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    key: JobKey,
    id: JobId,
    name: String,
    project_path: String,
    owner: Owner,
    correlation_id: String,
    registration: String,
    accepted_at: jiff::Timestamp,
}

/// An assignment as it was kept.
pub struct KeptAssignment {
    /// What the forge handed over.
    pub assignment: Assignment,
    /// The registration it came through.
    pub registration: String,
    /// When it came.
    pub accepted_at: jiff::Timestamp,
}

/// Why an assignment file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the assignment file {path} cannot be used: {cause}", path = .path.display())]
pub struct PayloadError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub cause: io::Error,
}

impl PayloadError {
    /// Whether there is no such file.
    pub fn is_absent(&self) -> bool {
        self.cause.kind() == io::ErrorKind::NotFound
    }
}

/// Keeps an assignment, durably, in the folder of its job. Blocking.
pub fn keep(dir: &StateDir, kept: &KeptAssignment) -> Result<(), PayloadError> {
    let job = &kept.assignment;
    let path = dir.assignment(&job.key);
    let header = Header {
        version: VERSION,
        key: job.key.clone(),
        id: job.id.clone(),
        name: job.name.clone(),
        project_path: job.project_path.clone(),
        owner: job.owner.clone(),
        correlation_id: job.correlation_id.clone(),
        registration: kept.registration.clone(),
        accepted_at: kept.accepted_at,
    };
    let written = (|| {
        let header = serde_json::to_vec(&header).map_err(io::Error::other)?;
        dir.make_job(&job.key)?;
        durable::replace(&path, &[&header, b"\n", &job.payload])?;
        durable::sync_folder(&dir.jobs())
    })();
    written.map_err(|cause| PayloadError { path, cause })
}

/// Reads the assignment of a job back. Blocking.
pub fn read(dir: &StateDir, key: &JobKey) -> Result<KeptAssignment, PayloadError> {
    let path = dir.assignment(key);
    let read = (|| {
        let mut content = Vec::new();
        if File::open(&path)?.take(MAX_FILE + 1).read_to_end(&mut content)? as u64 > MAX_FILE {
            return Err(invalid("it is larger than any assignment"));
        }
        parse(key, content)
    })();
    read.map_err(|cause| PayloadError { path, cause })
}

fn parse(key: &JobKey, content: Vec<u8>) -> io::Result<KeptAssignment> {
    let end = content.iter().position(|&b| b == b'\n').ok_or_else(|| invalid("its first line has no end"))?;
    let header: Header = serde_json::from_slice(&content[..end]).map_err(|e| invalid(&e.to_string()))?;
    if header.version != VERSION {
        return Err(invalid("another version of forgehand wrote it"));
    }
    if header.key != *key {
        return Err(invalid("it belongs to another job"));
    }
    Ok(KeptAssignment {
        assignment: Assignment {
            key: header.key,
            id: header.id,
            name: header.name,
            project_path: header.project_path,
            owner: header.owner,
            payload: Bytes::from(content).slice(end + 1..),
            correlation_id: header.correlation_id,
        },
        registration: header.registration,
        accepted_at: header.accepted_at,
    })
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::journal::tests_support::assignment;
    use super::*;

    #[test]
    fn an_assignment_comes_back_byte_for_byte_and_only_the_agent_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let mut job = assignment("7", "token");
        job.payload = Bytes::from_static(b"{\n\"token\": \"\x00\xff\n\"}\n");
        job.name = "build\n{}".into();
        let kept = KeptAssignment {
            assignment: job.clone(),
            registration: "r".into(),
            accepted_at: jiff::Timestamp::UNIX_EPOCH,
        };
        keep(&dir, &kept).unwrap();
        let back = read(&dir, &job.key).unwrap();
        assert_eq!(back.assignment.payload, job.payload);
        assert_eq!((back.assignment.name, back.assignment.owner), (job.name, job.owner));
        assert_eq!(back.registration, "r");
        let mode = std::fs::metadata(dir.assignment(&job.key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_not_one_of_ours_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::open(folder.path()).unwrap();
        let job = assignment("7", "token");
        assert!(read(&dir, &job.key).err().is_some_and(|e| e.is_absent()));
        dir.make_job(&job.key).unwrap();
        for content in ["", "no end", "{}\n", "null\nx"] {
            std::fs::write(dir.assignment(&job.key), content).unwrap();
            let error = read(&dir, &job.key).err().expect(content);
            assert!(!error.is_absent() && error.to_string().contains("assignment"), "{error}");
        }
    }
}
