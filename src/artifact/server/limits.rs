//! How much jobs may ask of the server.

use std::time::Duration;

/// How much jobs may ask of the server. What passes a limit is refused with a word on which one it is; the job goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one entry. That of GitHub for a whole repository.
    pub entry_bytes: u64,
    /// Entries that one job may have begun and not finished.
    pub job_uploads: usize,
    /// Bytes of these on the disk, for one job.
    pub job_bytes: u64,
    /// Bytes of these on the disk, for all jobs.
    pub upload_bytes: u64,
    /// Blocks of these, for one job: each is a file.
    pub job_blocks: u64,
    /// Bytes of entries on the disk that are being fetched, or were.
    pub download_bytes: u64,
    /// Those among them that one job has had brought.
    pub job_download_bytes: u64,
    /// Addresses to fetch from that hold for one job; with more its oldest are forgotten.
    pub job_tickets: usize,
    /// Bytes of the disk that are left alone.
    pub reserve_bytes: u64,
    /// How long an entry that was begun may lie there without a word.
    pub idle: Duration,
    /// How long the next bytes of a request may take.
    pub pause: Duration,
    /// How long a whole request may take.
    pub request: Duration,
    /// How long a peer may take next to nothing of what is sent to it.
    pub unread: Duration,
    /// Requests of one job at the same time.
    pub job_requests: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Those among them from one address.
    pub peer_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes: 10 << 30,
            job_uploads: 256,
            job_bytes: 20 << 30,
            upload_bytes: 40 << 30,
            job_blocks: 200_000,
            download_bytes: 40 << 30,
            job_download_bytes: 20 << 30,
            job_tickets: 4096,
            reserve_bytes: 1 << 30,
            idle: Duration::from_secs(5 * 60),
            pause: Duration::from_secs(30),
            request: Duration::from_secs(60 * 60),
            unread: Duration::from_secs(60),
            job_requests: 256,
            connections: 1024,
            peer_connections: 256,
        }
    }
}
