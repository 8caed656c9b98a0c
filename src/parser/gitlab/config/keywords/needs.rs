//! `needs`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{MatrixRow, Need, NeedWhat, Parallel, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_blank, is_null};
use crate::parser::document::{Mapping, Node, Value};

/// Needs of other pipelines, or of other projects, in one job.
const MOST_OUTSIDE: usize = 5;

/// Which needs may stand in a place.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct AllowedNeeds {
    /// Artifacts of other pipelines and projects.
    outside: bool,
    /// The state of another project's pipeline.
    upstream: bool,
}

impl AllowedNeeds {
    /// In a job that a runner runs.
    pub const JOB: Self = Self { outside: true, upstream: false };
    /// In a trigger.
    pub const BRIDGE: Self = Self { outside: false, upstream: true };
    /// In a rule.
    pub const RULE: Self = Self { outside: false, upstream: false };
}

impl Checker<'_> {
    /// `needs`; nested lists flattened.
    pub fn needs(&mut self, node: &Node, at: At<'_>, allowed: AllowedNeeds) -> Option<Arc<[Need]>> {
        let mut needs = Vec::new();
        match &node.value {
            Value::Sequence(items) => {
                needs.reserve(items.len());
                self.need_list(items, at, &mut needs);
            }
            Value::Mapping(mapping) => needs.extend(self.need_mapping(node, mapping, at)),
            Value::Scalar(_) if is_null(node) => return None,
            Value::Scalar(_) => {
                self.wrong_type(node, at, "a list or a mapping");
                return None;
            }
        }
        self.allowed_needs(&needs, at, allowed);
        self.outside_limit(&needs, node, at);
        Some(needs.into())
    }

    /// The parser's limit of depth bounds the recursion.
    fn need_list(&mut self, items: &[Node], at: At<'_>, needs: &mut Vec<Need>) {
        for item in items {
            match &item.value {
                Value::Sequence(items) => self.need_list(items, at, needs),
                Value::Mapping(mapping) => needs.extend(self.need_mapping(item, mapping, at)),
                Value::Scalar(_) if is_null(item) => {}
                Value::Scalar(_) => match as_text(item) {
                    Some(text) if is_blank(&text) => {
                        self.error(codes::MISSING, item.span, at, "has a blank item");
                    }
                    Some(value) => needs.push(Need {
                        span: item.span,
                        what: NeedWhat::Job { name: Spanned { value, span: item.span }, matrix: None },
                        artifacts: true,
                        optional: false,
                    }),
                    None => self.wrong_type(item, at, "a list of job names (text) and mappings: an item"),
                },
            }
        }
    }

    fn need_mapping(&mut self, node: &Node, mapping: &Mapping, at: At<'_>) -> Option<Need> {
        let has = |key| mapping.get(key).is_some();
        let need = |what, checker: &mut Self| Need {
            span: node.span,
            what,
            artifacts: mapping
                .get("artifacts")
                .and_then(|node| checker.boolean(node, at.key("artifacts")))
                .unwrap_or(true),
            optional: mapping
                .get("optional")
                .and_then(|node| checker.boolean(node, at.key("optional")))
                .unwrap_or(false),
        };
        let what = if has("project") {
            self.mapping_of(node, at, &["project", "ref", "job", "artifacts"]);
            let project = self.need_text(node, mapping, "project", at);
            let job = self.need_text(node, mapping, "job", at);
            let reference = self.need_text(node, mapping, "ref", at);
            NeedWhat::Project { job: job?, project: project?.value, reference: reference?.value }
        } else if has("pipeline") && has("job") {
            self.mapping_of(node, at, &["pipeline", "job", "artifacts"]);
            let job = self.need_text(node, mapping, "job", at);
            let pipeline = self.need_text(node, mapping, "pipeline", at);
            NeedWhat::Pipeline { job: job?, pipeline: pipeline?.value }
        } else if has("pipeline") {
            self.mapping_of(node, at, &["pipeline", "artifacts"]);
            NeedWhat::Upstream { project: self.need_text(node, mapping, "pipeline", at)? }
        } else {
            self.mapping_of(node, at, &["job", "artifacts", "optional", "parallel"]);
            let matrix = mapping.get("parallel").and_then(|node| self.need_matrix(node, at));
            NeedWhat::Job { name: self.need_text(node, mapping, "job", at)?, matrix }
        };
        Some(need(what, self))
    }

    fn need_text(&mut self, node: &Node, mapping: &Mapping, key: &str, at: At<'_>) -> Option<Spanned<SmolStr>> {
        let value = mapping.get(key);
        let text = self.required_text(value, node.span, at.key(key))?;
        Some(Spanned { value: text, span: value.map_or(node.span, |value| value.span) })
    }

    fn need_matrix(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[MatrixRow]>> {
        match self.parallel(node, at.key("parallel"), false)? {
            Parallel::Matrix(rows) => Some(rows),
            Parallel::Number(_) => None,
        }
    }

    fn allowed_needs(&mut self, needs: &[Need], at: At<'_>, allowed: AllowedNeeds) {
        for need in needs {
            let wrong = match &need.what {
                NeedWhat::Job { .. } => continue,
                NeedWhat::Pipeline { .. } | NeedWhat::Project { .. } if allowed.outside => continue,
                NeedWhat::Upstream { .. } if allowed.upstream => continue,
                NeedWhat::Upstream { .. } => "another project's pipeline, which only a job without a script can",
                NeedWhat::Pipeline { .. } => "a job of another pipeline, which only a job with a script can",
                NeedWhat::Project { .. } => "a job of another project, which only a job with a script can",
            };
            self.error(codes::WRONG_VALUE, need.span, at, format_args!("names {wrong}"));
        }
    }

    fn outside_limit(&mut self, needs: &[Need], node: &Node, at: At<'_>) {
        let of = |is: fn(&NeedWhat) -> bool| needs.iter().filter(|need| is(&need.what)).count();
        for (count, what) in [
            (of(|what| matches!(what, NeedWhat::Pipeline { .. })), "other pipelines"),
            (of(|what| matches!(what, NeedWhat::Project { .. })), "other projects"),
        ] {
            if count > MOST_OUTSIDE {
                let what = format!("names {count} jobs of {what}, more than the limit of {MOST_OUTSIDE}");
                self.error(codes::TOO_MANY, node.span, at, what);
            }
        }
    }
}
