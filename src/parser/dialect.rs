//! Which language a file is written in.

/// A language of pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// GitLab CI.
    GitLab,
    /// GitHub workflows.
    GitHub,
    /// Workflows as Gitea runs them.
    Gitea,
    /// Workflows as Forgejo runs them.
    Forgejo,
    /// Our own.
    Native,
}

/// Where each language's files lie in a folder, in the order in which they are looked for. A name that ends in `/` is a folder
/// of workflows.
pub const PLACES: &[(&str, Dialect)] = &[
    ("forgehand.yml", Dialect::Native),
    ("forgehand.yaml", Dialect::Native),
    (".gitlab-ci.yml", Dialect::GitLab),
    (".github/workflows/", Dialect::GitHub),
    (".forgejo/workflows/", Dialect::Forgejo),
    (".gitea/workflows/", Dialect::Gitea),
];

impl Dialect {
    /// The language of a file by its path; `None` where the path says nothing.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.replace('\\', "/");
        let folder = |name: &str| path.contains(&format!("/{name}/")) || path.starts_with(&format!("{name}/"));
        if folder(".github/workflows") {
            return Some(Dialect::GitHub);
        }
        if folder(".forgejo/workflows") {
            return Some(Dialect::Forgejo);
        }
        if folder(".gitea/workflows") {
            return Some(Dialect::Gitea);
        }
        let name = path.rsplit('/').next().unwrap_or(&path);
        match name {
            "forgehand.yml" | "forgehand.yaml" => Some(Dialect::Native),
            _ if name.ends_with(".forgehand.yml") || name.ends_with(".forgehand.yaml") => Some(Dialect::Native),
            _ if name.ends_with(".gitlab-ci.yml") || name.ends_with(".gitlab-ci.yaml") => Some(Dialect::GitLab),
            _ => None,
        }
    }

    /// The language of a file by its first keys, where its path says nothing: `on` and `jobs` make a workflow, `jobs` and
    /// `name` without `on` a native pipeline, anything else GitLab's.
    pub fn of_text(text: &str) -> Self {
        let has = |key: &str| {
            text.lines().any(|line| {
                let line = line.strip_prefix(['"', '\'']).unwrap_or(line);
                line.strip_prefix(key)
                    .is_some_and(|rest| rest.trim_start_matches(['"', '\'']).trim_start().starts_with(':'))
            })
        };
        match (has("jobs"), has("on")) {
            (true, true) => Dialect::GitHub,
            (true, false) if has("name") || has("global_env") => Dialect::Native,
            _ => Dialect::GitLab,
        }
    }

    /// The name people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::GitLab => "GitLab CI",
            Dialect::GitHub => "GitHub Actions",
            Dialect::Gitea => "Gitea Actions",
            Dialect::Forgejo => "Forgejo Actions",
            Dialect::Native => "forgehand",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_keys_tell_the_language() {
        for (path, want) in [
            ("a/.gitlab-ci.yml", Some(Dialect::GitLab)),
            ("x/.github/workflows/ci.yaml", Some(Dialect::GitHub)),
            (".gitea/workflows/ci.yaml", Some(Dialect::Gitea)),
            (".forgejo/workflows/ci.yml", Some(Dialect::Forgejo)),
            ("forgehand.yml", Some(Dialect::Native)),
            ("jobs.yml", None),
        ] {
            assert_eq!(Dialect::of_path(path), want, "{path}");
        }
        assert_eq!(Dialect::of_text("on: push\njobs:\n  a: {}\n"), Dialect::GitHub);
        assert_eq!(Dialect::of_text("\"on\": push\njobs: {}\n"), Dialect::GitHub);
        assert_eq!(Dialect::of_text("name: x\njobs: {}\n"), Dialect::Native);
        assert_eq!(Dialect::of_text("build:\n  script: x\n"), Dialect::GitLab);
    }
}
