//! `permissions`.

use smol_str::SmolStr;

use crate::parser::github::workflow::model::{Access, PermissionKind, Permissions};
use crate::parser::github::workflow::token::Token;

/// The scopes in the order in which GitHub lists them.
pub const SCOPES: [&str; 13] = [
    "actions",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "issues",
    "packages",
    "pages",
    "pull-requests",
    "repository-projects",
    "statuses",
    "security-events",
    "id-token",
];

pub(super) fn read(token: &Token) -> Option<Permissions> {
    let kind = match token.as_text() {
        Some("read-all") => PermissionKind::ReadAll,
        Some("write-all") => PermissionKind::WriteAll,
        Some(_) => return None,
        None => {
            let scopes = token.as_mapping()?.iter().filter_map(|pair| {
                let access = match pair.value.as_text()? {
                    "read" => Access::Read,
                    "write" => Access::Write,
                    _ => Access::None,
                };
                Some((SmolStr::from(pair.key.as_text()?), access))
            });
            PermissionKind::Scopes(scopes.collect())
        }
    };
    Some(Permissions { span: token.span, kind })
}
