//! GitLab: the runner API.
