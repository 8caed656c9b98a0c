//! `spec:include`: files that bring declarations of inputs.

use crate::parser::diagnostics::Diagnostic;
use crate::parser::document::{Node, Schema, Typed};

use super::super::codes;
use super::super::merge::deep_merge;
use super::entry::{Reader, Where};
use super::expand::Work;
use super::place::Place;

impl Work<'_> {
    /// The declarations under `spec:inputs`, with those of `spec:include` below them. `None` where the findings say why.
    pub(super) fn declarations(&mut self, header: &Node, place: &Place) -> Option<Option<Node>> {
        let Some(body) = header.get("spec") else { return Some(None) };
        let own = body.get("inputs").filter(|inputs| !inputs.is_null(Schema::Ruby)).cloned();
        let Some(include) = body.get("include") else { return Some(own) };
        let items = match (include.as_sequence(), include.typed(Schema::Ruby)) {
            (Some(items), _) => items.to_vec(),
            (None, Some(Typed::Text(_))) => vec![include.clone()],
            _ => {
                let message = format!("`spec:include` is a list or a text, not {}", include.kind(Schema::Ruby));
                self.diagnostics.push(Diagnostic::error(codes::SPEC, include.span, message));
                return None;
            }
        };
        let mut below: Option<Node> = None;
        let before = self.diagnostics.len();
        for item in &items {
            let includes =
                Reader { context: self.context, diagnostics: &mut self.diagnostics }.read(item, Where::Header);
            for include in includes {
                let Some((found, _)) = self.fetch(&include, place) else { continue };
                let content = &found.content;
                for entry in content.as_mapping().into_iter().flat_map(|mapping| mapping.entries()) {
                    if entry.key.as_scalar().is_none_or(|key| key.text != "inputs") {
                        let name = entry.key.as_scalar().map_or("", |key| key.text.as_str());
                        let message = format!("a file that a header includes brings `inputs` alone, not `{name}`");
                        self.diagnostics.push(Diagnostic::error(codes::SPEC, entry.key.span, message));
                    }
                }
                let inputs = content.get("inputs").filter(|inputs| !inputs.is_null(Schema::Ruby));
                below = match (below, inputs) {
                    (Some(below), Some(inputs)) => Some(deep_merge(&below, inputs)),
                    (below, inputs) => inputs.cloned().or(below),
                };
            }
        }
        if self
            .diagnostics
            .iter()
            .skip(before)
            .any(|finding| finding.severity == crate::parser::diagnostics::Severity::Error)
        {
            return None;
        }
        Some(match (below, own) {
            (Some(below), Some(own)) => Some(deep_merge(&below, &own)),
            (below, own) => own.or(below),
        })
    }
}
