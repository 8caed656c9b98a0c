//! Whether a ref and the changed files pass an event's filters.

use super::pattern::Patterns;

/// The filters of one event, compiled. Of each kind there is one form or none.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// `branches` or `branches-ignore`.
    pub branches: Option<Rule>,
    /// `tags` or `tags-ignore`.
    pub tags: Option<Rule>,
    /// `paths` or `paths-ignore`.
    pub paths: Option<Rule>,
}

/// One filter.
#[derive(Clone, Debug)]
pub enum Rule {
    /// Only what matches.
    Only(Patterns),
    /// Not where all of it matches.
    Ignore(Patterns),
}

/// The ref that filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A branch: the one that was pushed, or the one that a pull request goes into.
    Branch(&'a str),
    /// A tag.
    Tag(&'a str),
}

impl<'a> Subject<'a> {
    /// What a full ref is about.
    pub fn of_ref(git_ref: &'a str) -> Self {
        match git_ref.strip_prefix("refs/tags/") {
            Some(tag) => Subject::Tag(tag),
            None => Subject::Branch(git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref)),
        }
    }
}

impl Rule {
    fn passes<S: AsRef<str>>(&self, names: &[S]) -> bool {
        match self {
            Rule::Only(patterns) => patterns.match_any(names),
            Rule::Ignore(patterns) => !patterns.ignore_all(names),
        }
    }
}

impl Filters {
    /// Why a push or pull request of this ref with these changed files starts nothing; `None` where it passes.
    ///
    /// Filters of branches alone keep tags out, and the other way round. Paths do not count for tags, nor where it is not known what
    /// changed.
    pub fn refuse(&self, subject: Subject<'_>, changed: Option<&[String]>) -> Option<String> {
        let (own, other, kind, name) = match subject {
            Subject::Branch(name) => (&self.branches, &self.tags, "branch", name),
            Subject::Tag(name) => (&self.tags, &self.branches, "tag", name),
        };
        match (own, other) {
            (Some(rule), _) if !rule.passes(&[name]) => {
                return Some(format!("its filters do not let the {kind} `{name}` pass"));
            }
            (None, Some(_)) => {
                let asked = if kind == "tag" { "branches" } else { "tags" };
                return Some(format!("it asks for {asked} only, and `{name}` is a {kind}"));
            }
            _ => {}
        }
        match (&self.paths, changed, subject) {
            (Some(rule), Some(changed), Subject::Branch(_)) if !rule.passes(changed) => {
                Some("none of the changed files passes its `paths` filter".into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(patterns: &[&str]) -> Option<Rule> {
        Some(Rule::Only(Patterns::compile(patterns).unwrap()))
    }

    fn ignore(patterns: &[&str]) -> Option<Rule> {
        Some(Rule::Ignore(Patterns::compile(patterns).unwrap()))
    }

    #[test]
    fn filters_of_branches_keep_tags_out() {
        let branches = Filters { branches: only(&["main", "rel/**"]), ..Filters::default() };
        assert_eq!(branches.refuse(Subject::of_ref("refs/heads/rel/a/b"), None), None);
        assert!(branches.refuse(Subject::of_ref("refs/heads/x"), None).is_some());
        assert!(branches.refuse(Subject::of_ref("refs/tags/main"), None).unwrap().contains("is a tag"));
        let both = Filters { branches: only(&["main"]), tags: ignore(&["v0.*"]), ..Filters::default() };
        assert_eq!(both.refuse(Subject::Tag("v1"), None), None);
        assert!(both.refuse(Subject::Tag("v0.1"), None).is_some());
        assert_eq!(Filters::default().refuse(Subject::Tag("v1"), None), None);
    }

    #[test]
    fn paths_count_for_branches_where_the_changes_are_known() {
        let changed = ["docs/a.md".to_owned(), "src/b.rs".to_owned()];
        let filters = Filters { paths: ignore(&["docs/**"]), ..Filters::default() };
        assert_eq!(filters.refuse(Subject::Branch("main"), Some(&changed)), None);
        assert!(filters.refuse(Subject::Branch("main"), Some(&changed[..1])).is_some());
        assert_eq!(filters.refuse(Subject::Tag("v1"), Some(&changed[..1])), None);
        assert_eq!(filters.refuse(Subject::Branch("main"), None), None);
    }
}
