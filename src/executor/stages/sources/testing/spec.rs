//! Assignments.

use crate::pipeline::definition::{SourceSpec, SourceStrategy, SubmoduleStrategy, Submodules};

/// A usual assignment: branch main, 20 commits deep, GitLab's default flags.
pub(crate) fn spec(url: &str, sha: &str) -> SourceSpec {
    SourceSpec {
        strategy: SourceStrategy::Fetch,
        begins_empty: false,
        snapshot: None,
        open_to_all: true,
        url: url.to_owned(),
        credentials: None,
        url_rewrites: Vec::new(),
        ref_name: "main".to_owned(),
        sha: sha.to_owned(),
        refspecs: vec!["+refs/heads/main:refs/remotes/origin/main".to_owned()],
        depth: 20,
        object_format: "sha1".to_owned(),
        checkout: true,
        clean_flags: Some(vec!["-ffdx".to_owned()]),
        fetch_flags: vec!["--prune".to_owned(), "--quiet".to_owned()],
        submodules: Submodules {
            depth_of_tree: SubmoduleStrategy::None,
            depth: 20,
            paths: Vec::new(),
            update_flags: Vec::new(),
        },
        lfs: true,
        pre_script: Vec::new(),
        post_script: Vec::new(),
        user_agent: "forgehand test".to_owned(),
        extra_header: Some("X-Gitaly-Correlation-ID: 0123".to_owned()),
    }
}
