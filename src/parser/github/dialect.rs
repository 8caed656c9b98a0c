//! Whose workflows these are.

/// Whose workflows these are. Gitea's and Forgejo's are GitHub's language with less strictness and a few words more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// GitHub.
    #[default]
    GitHub,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
}

impl Dialect {
    /// Names that mean the context `github` too.
    pub fn context_aliases(self) -> &'static [&'static str] {
        match self {
            Dialect::GitHub => &[],
            Dialect::Gitea => &["gitea"],
            Dialect::Forgejo => &["gitea", "forge", "forgejo"],
        }
    }

    /// Whether a key that GitHub does not know is passed over without an error.
    pub fn ignores_unknown_keys(self) -> bool {
        // Forgejo validates strictly, Gitea's server reads what it knows.
        self == Dialect::Gitea
    }

    /// Whether a key is known at the top of a workflow, besides GitHub's.
    pub fn knows_root_key(self, key: &str) -> bool {
        self == Dialect::Forgejo && key == "enable-openid-connect"
    }

    /// Whether a job may leave out `runs-on`: Gitea gives such a job to any runner.
    pub fn needs_runs_on(self) -> bool {
        self != Dialect::Gitea
    }

    /// Whether `uses` may be an address, `https://host/owner/action@ref`.
    pub fn takes_addresses(self) -> bool {
        self != Dialect::GitHub
    }

    /// Whether `schedule` takes `@daily` and the like.
    pub fn takes_cron_words(self) -> bool {
        self != Dialect::GitHub
    }

    /// Who that is.
    pub fn forge(self) -> &'static str {
        match self {
            Dialect::GitHub => "GitHub",
            Dialect::Gitea => "Gitea",
            Dialect::Forgejo => "Forgejo",
        }
    }
}
