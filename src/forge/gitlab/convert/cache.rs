//! Caches. (protocols: GitLab 3.10, 7.1, 7.4.)

use sha2::{Digest, Sha256};

use super::sources::clean_path;
use super::{Context, artifacts, when_of};
use crate::pipeline::JobFailure;
use crate::pipeline::definition::CacheSpec;

/// The caches that hold anything. One whose key says nothing is left out with a warning.
pub(super) fn caches(cx: &Context<'_>, warnings: &mut Vec<String>) -> Result<Vec<CacheSpec>, JobFailure> {
    let mut caches = Vec::new();
    for cache in &cx.payload.cache {
        if cache.paths.is_empty() && !cache.untracked {
            continue;
        }
        // Without a name to keep it under a cache is neither looked for nor kept; its stages say so.
        let key = key(cx, &main_key(cx, &cache.key), warnings).unwrap_or_default();
        let (pull, push) = policy(cx, &cache.policy)?;
        let mut fallback_keys: Vec<String> = Vec::new();
        let fallbacks =
            cache.fallback_keys.iter().map(|text| cx.variables.expand(text)).chain(global_fallback(cx, warnings));
        for text in fallbacks.filter(|text| !text.trim().is_empty()) {
            match self::key(cx, &text, warnings) {
                Some(fallback) if fallback != key && !fallback_keys.contains(&fallback) => fallback_keys.push(fallback),
                Some(_known) => {}
                None => warnings.push(format!("the fallback key {text:?} says nothing that can name a cache")),
            }
        }
        let files = artifacts::selection(&cache.paths, &[], cache.untracked);
        let when = when_of(&cache.when, "a cache")?;
        caches.push(CacheSpec { key, fallback_keys, files, pull, push, when });
    }
    Ok(caches)
}

fn main_key(cx: &Context<'_>, given: &str) -> String {
    // A key that was given but comes to nothing is no key: the cache is left out, not put under another's name.
    if !given.is_empty() {
        return cx.variables.expand(given);
    }
    clean_path(&format!("{}/{}", cx.payload.job_info.name, cx.payload.git_info.ref_name))
}

/// The key a cache is kept under. (7.1)
fn key(cx: &Context<'_>, raw: &str, warnings: &mut Vec<String>) -> Option<String> {
    if cx.flags.is_on("FF_HASH_CACHE_KEYS") && !raw.is_empty() {
        return Some(hex::encode(Sha256::digest(raw.as_bytes())));
    }
    let clean = sanitized(raw)?;
    if clean != raw {
        warnings.push(format!("the cache key {raw:?} is used as {clean:?}"));
    }
    Some(clean)
}

/// `raw` as a relative path that leads nowhere else; `None` where nothing is left.
fn sanitized(raw: &str) -> Option<String> {
    let slashes =
        raw.replace("%2f", "/").replace("%2F", "/").replace("%2e", ".").replace("%2E", ".").replace('\\', "/");
    let clean = clean_path(&slashes);
    let mut parts: Vec<&str> = clean.split('/').collect();
    while let Some(last) = parts.pop() {
        let last = last.trim_end();
        if !last.is_empty() {
            parts.push(last);
            break;
        }
    }
    // A part that was more than dots may be dots now.
    let key = clean_path(&parts.join("/"));
    (!key.is_empty() && !key.contains('\0')).then_some(key)
}

/// Whether it is restored and whether it is saved. (7.4)
fn policy(cx: &Context<'_>, given: &str) -> Result<(bool, bool), JobFailure> {
    match cx.variables.expand(given).trim() {
        "" | "pull-push" => Ok((true, true)),
        "pull" => Ok((true, false)),
        "push" => Ok((false, true)),
        other => Err(JobFailure::configuration(format!(
            "`policy: {other}` of a cache is unknown; use pull-push, pull or push"
        ))),
    }
}

/// `CACHE_FALLBACK_KEY`, which must not reach into the caches of protected refs, however it is spelt. (7.4)
fn global_fallback(cx: &Context<'_>, warnings: &mut Vec<String>) -> Option<String> {
    let text = cx.variables.value("CACHE_FALLBACK_KEY");
    // What cleaning takes away at the end would hide the suffix.
    let cleaned = sanitized(&text);
    let mut spellings = std::iter::once(text.as_str()).chain(cleaned.as_deref());
    if spellings.any(|key| key.trim_end_matches(['.', ' ']).ends_with("-protected")) {
        warnings.push("CACHE_FALLBACK_KEY must not end in `-protected` and has no effect".to_owned());
        return None;
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_nowhere_else() {
        for (raw, want) in [
            ("npm-3-protected", Some("npm-3-protected")),
            ("a/b", Some("a/b")),
            ("../../etc", Some("etc")),
            ("a/../../b", Some("b")),
            ("%2e%2E%2fx", Some("x")),
            (r"a\..\b", Some("b")),
            ("/a//b/", Some("a/b")),
            ("key  ", Some("key")),
            ("a/  ", Some("a")),
            ("a/.. ", None),
            ("..", None),
            ("  ", None),
            ("", None),
        ] {
            assert_eq!(sanitized(raw).as_deref(), want, "{raw:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_key_has_a_part_that_climbs(raw in r"[a./\\% 2eEfF\t]{0,20}") {
            if let Some(key) = sanitized(&raw) {
                proptest::prop_assert!(key.split('/').all(|part| !part.is_empty() && part != "." && part != ".."), "{key:?}");
            }
        }
    }
}
