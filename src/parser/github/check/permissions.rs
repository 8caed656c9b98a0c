//! What called workflows may ask for: never more than their caller has.

use smol_str::SmolStr;

use super::DefaultPermissions;
use crate::parser::diagnostics::{Diagnostic, Diagnostics};
use crate::parser::document::Span;
use crate::parser::github::codes;
use crate::parser::github::workflow::convert::PERMISSION_SCOPES;
use crate::parser::github::workflow::model::{Access, PermissionKind, Permissions, Workflow};

/// Characters of a message; GitHub cuts there.
const LONGEST: usize = 500;

/// Permissions by scope, in the order in which GitHub lists them; scopes besides those of the list behind it.
#[derive(Clone)]
struct Granted(Vec<(SmolStr, Access)>);

impl Granted {
    fn all(access: Access) -> Self {
        Self(PERMISSION_SCOPES.iter().map(|scope| (SmolStr::new_static(scope), access)).collect())
    }

    fn of_default(default: DefaultPermissions) -> Self {
        match default {
            DefaultPermissions::Write => Self::all(Access::Write),
            DefaultPermissions::LimitedRead => {
                let read = |scope: &str| (SmolStr::from(scope), Access::Read);
                Self::of_scopes(&[read("contents"), read("packages")])
            }
        }
    }

    fn of(permissions: &Permissions) -> Self {
        match &permissions.kind {
            PermissionKind::ReadAll => Self::all(Access::Read),
            PermissionKind::WriteAll => Self::all(Access::Write),
            PermissionKind::Scopes(scopes) => Self::of_scopes(scopes),
        }
    }

    fn of_scopes(scopes: &[(SmolStr, Access)]) -> Self {
        let mut granted = Self::all(Access::None);
        for (scope, access) in scopes {
            match granted.0.iter_mut().find(|(known, _)| known == scope) {
                Some((_, place)) => *place = *access,
                None => granted.0.push((scope.clone(), *access)),
            }
        }
        granted
    }

    fn access(&self, scope: &str) -> Access {
        self.0.iter().find(|(known, _)| known == scope).map_or(Access::None, |(_, access)| *access)
    }

    /// What `asked` has more than this: what is asked for, and what there is.
    fn lacks(&self, asked: &Granted) -> Option<(String, String)> {
        let more: Vec<&(SmolStr, Access)> =
            asked.0.iter().filter(|(scope, access)| *access > self.access(scope)).collect();
        let list = |of: &dyn Fn(&str, Access) -> Access| {
            let words = more.iter().map(|(scope, access)| format!("{scope}: {}", word(of(scope, *access))));
            words.collect::<Vec<_>>().join(", ")
        };
        (!more.is_empty()).then(|| (list(&|_, access| access), list(&|scope, _| self.access(scope))))
    }
}

fn word(access: Access) -> &'static str {
    match access {
        Access::None => "none",
        Access::Read => "read",
        Access::Write => "write",
    }
}

/// Compares what the called workflows ask for with what they can have.
pub(super) fn check(workflow: &Workflow, default: Option<DefaultPermissions>, diagnostics: &mut Diagnostics) {
    let default = default.map(Granted::of_default);
    descend(workflow, default.as_ref(), diagnostics);
}

/// Goes into the calls of a workflow whose jobs have `given`, where it does not say something else.
fn descend(workflow: &Workflow, given: Option<&Granted>, diagnostics: &mut Diagnostics) {
    let own = workflow.permissions.as_ref().map(Granted::of);
    for job in &workflow.jobs {
        let Some(call) = job.as_call() else { continue };
        let Some(called) = call.workflow.as_deref() else { continue };
        let of_job = job.permissions.as_ref().map(Granted::of);
        let allowed = of_job.as_ref().or(own.as_ref()).or(given);
        if let Some(allowed) = allowed {
            compare(workflow, called, (&call.uses, job.span), allowed, diagnostics);
        }
        descend(called, allowed, diagnostics);
    }
}

fn compare(
    caller: &Workflow,
    called: &Workflow,
    (uses, span): (&str, Span),
    allowed: &Granted,
    diagnostics: &mut Diagnostics,
) {
    let mut tell = |who: String, asked: &Permissions| {
        let Some((wanted, there)) = allowed.lacks(&Granted::of(asked)) else { return };
        let message =
            format!("Error calling workflow '{uses}'. {who} is requesting '{wanted}', but is only allowed '{there}'.");
        // The limit counts what GitHub writes before it.
        let before = format!("{} (Line: {}, Col: {}): ", caller.path, span.line, span.column).chars().count();
        let message = match message.char_indices().nth(LONGEST.saturating_sub(before)) {
            Some((at, _)) => format!("{}[...]", message.get(..at).unwrap_or(&message)),
            None => message,
        };
        let help = "give the calling job these `permissions`, or ask for less in the called workflow";
        let diagnostic = Diagnostic::error(codes::CALL_PERMISSIONS, span, message).help(help);
        diagnostics.push(diagnostic.related(asked.span, "asked for here"));
    };
    if let Some(asked) = &called.permissions {
        tell(format!("The workflow '{uses}'"), asked);
    }
    for job in &called.jobs {
        if let Some(asked) = &job.permissions {
            let name = job.name.as_ref().map_or_else(|| job.id.clone(), |name| name.source());
            tell(format!("The nested job '{name}'"), asked);
        }
    }
}
