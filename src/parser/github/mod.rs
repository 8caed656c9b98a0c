//! GitHub, Gitea and Forgejo workflows.
