//! `uses` of steps and of jobs.

use super::Converter;
use crate::parser::document::Span;
use crate::parser::github::codes;
use crate::parser::github::dialect::Dialect;

impl Converter<'_, '_> {
    /// Tells what is wrong with an action's name.
    pub(super) fn check_action(&mut self, uses: &str, span: Span) {
        // An expression in it was refused already.
        if uses.starts_with("docker://") || uses.contains("${{") || is_local(uses) {
            return;
        }
        if self.dialect.takes_addresses() && (uses.starts_with("https://") || uses.starts_with("http://")) {
            return;
        }
        if owner_and_repository(uses).is_none() {
            let message = format!("Expected format {{org}}/{{repo}}[/path]@ref. Actual '{uses}'");
            let help = if uses.contains('@') {
                "name the owner too, as in `actions/checkout@v4`; a local action begins with `./`"
            } else {
                "say which version: a commit id, a tag or a branch after `@`, as in `actions/checkout@v4`"
            };
            self.error_with(codes::USES, span, message, Some(help));
        }
    }

    /// Tells what is wrong with a called workflow's name.
    pub(super) fn check_called(&mut self, uses: &str, span: Span) {
        if self.dialect.takes_addresses() && uses.contains("://") {
            return;
        }
        let problem =
            if is_local(uses) { local_problem(uses, self.dialect) } else { remote_problem(uses, self.dialect) };
        if let Some((problem, help)) = problem {
            self.error_with(codes::USES, span, format!("Invalid workflow reference '{uses}': {problem}"), Some(help));
        }
    }
}

/// A problem, and what to do about it.
type Problem = (&'static str, &'static str);

const NO_VERSION: Problem = (
    "no version specified",
    "say which: `owner/repository/.github/workflows/x.yml@v1`; a workflow of this repository begins with `./`",
);
const EXTENSION: Problem = (
    "workflow file should have either a '.yml' or '.yaml' file extension",
    "write the path of the file: `.github/workflows/x.yml`",
);
const TOP_LEVEL: Problem = (
    "workflows must be defined at the top level of the .github/workflows/ directory",
    "move the file right into `.github/workflows`",
);

/// What is wrong with the path of a workflow of this repository.
fn local_problem(uses: &str, dialect: Dialect) -> Option<Problem> {
    let (is_self, path) = (uses.starts_with("$/"), uses.get(2..).unwrap_or_default());
    if uses.contains('@') {
        let help = "take `@…` out: it is that of the commit that runs";
        return Some(match is_self {
            true => ("cannot specify version when calling self repository workflows", help),
            false => ("cannot specify version when calling local workflows", help),
        });
    }
    if !has_extension(path) {
        return Some(EXTENSION);
    }
    match in_folder(path, dialect) {
        None if is_self => Some((
            "self repository workflows must be rooted in '.github/workflows'",
            "move the file into `.github/workflows`",
        )),
        None => Some((
            "local workflow references must be rooted in '.github/workflows'",
            "move the file into `.github/workflows`; the path begins at the root of the repository",
        )),
        Some(name) => name_problem(name),
    }
}

/// What is wrong with a workflow of another repository.
fn remote_problem(uses: &str, dialect: Dialect) -> Option<Problem> {
    let path = match uses.split_once('@') {
        None | Some((_, "")) => return Some(NO_VERSION),
        Some((_, version)) if version.contains('@') => {
            return Some(("too many '@' in workflow reference", "name one version, after one `@`"));
        }
        Some((path, _)) => path,
    };
    // Owner, repository, and what is left.
    let start = FOLDERS.iter().filter(|(_, is_of)| is_of(dialect)).find_map(|(folder, _)| path.find(folder));
    let Some((repository, path)) = start.and_then(|start| path.split_at_checked(start)) else {
        let help = "write `owner/repository/.github/workflows/x.yml@v1`";
        return Some(("references to workflows must be rooted in '.github/workflows'", help));
    };
    if repository.split('/').filter(|part| !part.is_empty()).count() != 2 {
        return Some((
            "references to workflows must be prefixed with format 'owner/repository/' or './' for local workflows",
            "write `owner/repository/.github/workflows/x.yml@v1`",
        ));
    }
    if !has_extension(path) {
        return Some(EXTENSION);
    }
    name_problem(in_folder(path, dialect).unwrap_or_default())
}

/// Whether a dialect has a folder.
type IsIn = fn(Dialect) -> bool;

/// Folders of workflows, and whose they are.
const FOLDERS: [(&str, IsIn); 4] = [
    (".github/workflows/", |_| true),
    (".github/workflows-lab/", |_| true),
    (".gitea/workflows/", |dialect| dialect != Dialect::GitHub),
    (".forgejo/workflows/", |dialect| dialect != Dialect::GitHub),
];

/// The rest of a path that lies in a folder of workflows.
fn in_folder(path: &str, dialect: Dialect) -> Option<&str> {
    FOLDERS.iter().filter(|(_, is_of)| is_of(dialect)).find_map(|(folder, _)| path.strip_prefix(folder))
}

fn has_extension(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

fn name_problem(name: &str) -> Option<Problem> {
    match name {
        ".yml" | ".yaml" => Some(("invalid workflow file name", "give the file a name before its ending")),
        _ if name.contains('/') => Some(TOP_LEVEL),
        _ => None,
    }
}

/// Whether `uses` names something in the same repository.
pub(super) fn is_local(uses: &str) -> bool {
    ["./", ".\\", "$/"].iter().any(|start| uses.starts_with(start))
}

/// Owner and repository of an action elsewhere.
pub(super) fn owner_and_repository(uses: &str) -> Option<(&str, &str)> {
    let (path, version) = uses.split_once('@')?;
    if version.is_empty() || version.contains('@') {
        return None;
    }
    let mut parts = path.split(['/', '\\']).filter(|part| !part.is_empty());
    Some((parts.next()?, parts.next()?))
}
