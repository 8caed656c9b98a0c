//! GitLab CI configurations: everything the server does before a runner sees a job.
