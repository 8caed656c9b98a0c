//! `cache`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{Cache, CacheKey};
use super::super::place::At;
use super::super::values::{Checker, as_text, flat_items, is_null, key_text};
use super::artifacts::KEPT_WHEN;
use crate::parser::diagnostics::{Diagnostic, did_you_mean};
use crate::parser::document::{Mapping, Node, Value};

const KEYS: [&str; 7] = ["key", "untracked", "paths", "when", "policy", "unprotect", "fallback_keys"];
const POLICIES: [&str; 3] = ["pull-push", "push", "pull"];
const MOST_CACHES: usize = 4;
const MOST_FALLBACK_KEYS: usize = 5;
const MOST_FILES: usize = 10;
/// What releases before the newest allow, and the newest for `files_commits`.
const FEWER_FILES: usize = 2;

impl Checker<'_> {
    /// `cache`: one or a list.
    pub fn caches(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[Cache]>> {
        match &node.value {
            Value::Sequence(items) => {
                if items.len() > MOST_CACHES {
                    let what = format!("has {} caches, more than the limit of {MOST_CACHES}", items.len());
                    self.error(codes::TOO_MANY, node.span, at, what);
                }
                Some(flat_items(node).filter_map(|item| self.cache(item, at)).collect())
            }
            _ if is_null(node) => None,
            _ => self.cache(node, at).map(|cache| Arc::from([cache])),
        }
    }

    fn cache(&mut self, node: &Node, at: At<'_>) -> Option<Cache> {
        let Some(mapping) = node.as_mapping() else {
            self.wrong_type(node, at, "a mapping or a list of such");
            return None;
        };
        let mut cache = Cache {
            key: None,
            paths: None,
            untracked: None,
            policy: None,
            when: None,
            fallback_keys: None,
            unprotect: None,
            node: node.clone(),
        };
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let (below, value) = (at.key(key), &entry.value);
            match key {
                "key" => cache.key = self.cache_key(value, below),
                "untracked" => cache.untracked = self.boolean(value, below),
                "paths" => cache.paths = self.inside_paths(value, below),
                "when" => cache.when = self.when(value, below, &KEPT_WHEN).map(|when| when.value),
                "policy" => cache.policy = self.policy_of_cache(value, below),
                "unprotect" => cache.unprotect = self.boolean(value, below),
                "fallback_keys" => cache.fallback_keys = self.fallback_keys(value, below),
                _ => self.unknown_key(entry, at, &KEYS),
            }
        }
        Some(cache)
    }

    fn policy_of_cache(&mut self, node: &Node, at: At<'_>) -> Option<SmolStr> {
        let text = self.text(node, at)?;
        if POLICIES.contains(&text.as_str()) || text.contains('$') {
            return Some(text);
        }
        let what = format!("should be a variable or one of {}, not `{text}`", POLICIES.join(", "));
        let help = did_you_mean(&text, POLICIES);
        self.error_help(codes::WRONG_VALUE, node.span, at, what, help);
        None
    }

    fn fallback_keys(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[SmolStr]>> {
        let keys = self.texts(node, at)?;
        if keys.len() > MOST_FALLBACK_KEYS {
            let what = format!("has {} keys, more than the limit of {MOST_FALLBACK_KEYS}", keys.len());
            self.error(codes::TOO_MANY, node.span, at, what);
        }
        Some(keys)
    }

    fn cache_key(&mut self, node: &Node, at: At<'_>) -> Option<CacheKey> {
        match &node.value {
            Value::Mapping(mapping) => self.key_of_files(node, mapping, at),
            _ if is_null(node) => None,
            _ => match as_text(node) {
                Some(text) => {
                    self.key_text(&text, node, at);
                    Some(CacheKey::Text(text))
                }
                None => {
                    self.wrong_type(node, at, "text or a mapping with `files`");
                    None
                }
            },
        }
    }

    fn key_of_files(&mut self, node: &Node, mapping: &Mapping, at: At<'_>) -> Option<CacheKey> {
        self.mapping_of(node, at, &["files", "files_commits", "prefix"]);
        let prefix = mapping.get("prefix").filter(|prefix| !is_null(prefix)).and_then(|prefix| {
            let at = at.key("prefix");
            let text = self.text(prefix, at)?;
            self.key_text(&text, prefix, at);
            Some(text)
        });
        let (key, files) = match (mapping.get("files"), mapping.get("files_commits")) {
            (Some(files), None) => ("files", files),
            (None, Some(files)) => ("files_commits", files),
            (both, _) => {
                let code = if both.is_some() { codes::CONFLICT } else { codes::MISSING };
                self.error(code, node.span, at, "must have exactly one of `files` and `files_commits`");
                return None;
            }
        };
        let at = at.key(key);
        if is_null(files) {
            self.wrong_type(files, at, "a list of texts");
        }
        let span = files.span;
        let files = self.texts(files, at)?;
        let most = if key == "files" { MOST_FILES } else { FEWER_FILES };
        if files.is_empty() {
            self.error(codes::MISSING, span, at, "is empty: it needs at least one file");
        } else if files.len() > most {
            let what = format!("has {} files, more than the limit of {most}", files.len());
            self.error(codes::TOO_MANY, span, at, what);
        } else if files.len() > FEWER_FILES {
            let message = format!(
                "{at} has {} files; GitLab allows {most} since its newest releases, and {FEWER_FILES} before",
                files.len()
            );
            self.out.push(Diagnostic::warning(codes::NEWER_GITLAB, span, message));
        }
        Some(CacheKey::Files { files, prefix, commits: key == "files_commits" })
    }

    fn key_text(&mut self, text: &str, node: &Node, at: At<'_>) {
        let plain = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        if plain.contains('/') {
            let help = Some("`/` separates folders; use `-`, or `$CI_COMMIT_REF_SLUG` for a branch".to_owned());
            self.error_help(codes::WRONG_VALUE, node.span, at, "cannot contain `/`", help);
        } else if plain == "." || plain == ".." {
            self.error(codes::WRONG_VALUE, node.span, at, "cannot be `.` or `..`");
        }
    }
}
