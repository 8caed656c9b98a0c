//! What the log looks like and what is hidden in it. (protocols: GitLab 4.5 to 4.7, 10.5.)

use super::Context;
use crate::pipeline::Secret;
use crate::pipeline::definition::{LogSpec, MaskWord};

/// Prefixes of GitLab's own tokens. (10.5)
const TOKEN_PREFIXES: [&str; 13] = [
    "gloas-",
    "gldt-",
    "glrt-",
    "glcbt-",
    "glrtr-",
    "glptt-",
    "glft-",
    "glimt-",
    "glagent-",
    "glsoat-",
    "glffct-",
    "_gitlab_session=",
    "gltok-",
];

/// A credential shorter than this is not hidden where nobody asked for it: it would hide ordinary words.
const SHORTEST_TOKEN: usize = 8;

pub(super) fn log(cx: &Context<'_>, warnings: &mut Vec<String>) -> LogSpec {
    let debug = |name: &str, warnings: &mut Vec<String>| {
        let wanted = super::parse_bool(&cx.variables.value(name)) == Some(true);
        if wanted && cx.settings.debug_trace_disabled {
            warnings.push(format!("{name} is disabled on this runner and has no effect"));
        }
        wanted && !cx.settings.debug_trace_disabled
    };
    let sections = cx.payload.features.trace_sections;
    LogSpec {
        sections,
        script_sections: sections && cx.flags.is_on("FF_SCRIPT_SECTIONS"),
        timestamps: cx.flags.is_on("FF_TIMESTAMPS"),
        trace_commands: debug("CI_DEBUG_TRACE", warnings),
        services: debug("CI_DEBUG_SERVICES", warnings),
        mask: phrases(cx),
        mask_word: MaskWord::Bracketed,
        mask_prefixes: prefixes(cx),
        limit: cx.settings.output_limit,
    }
}

/// Texts to hide, the longest first: values of masked variables as they were sent and as the job sees them (those that
/// no process can be given, too), and the tokens of the job, marked or not.
fn phrases(cx: &Context<'_>) -> Vec<Secret> {
    let payload = cx.payload;
    let mut phrases: Vec<String> = Vec::new();
    let mut add = |text: &str| {
        let text = text.trim();
        if !text.is_empty() && !phrases.iter().any(|known| known == text) {
            phrases.push(text.to_owned());
        }
    };
    for variable in payload.variables.iter().chain(payload.services.iter().flat_map(|s| &s.variables)) {
        if variable.masked {
            add(variable.value.expose());
        }
    }
    for variable in cx.variables.iter().filter(|variable| variable.masked) {
        add(variable.value.expose());
    }
    add(payload.token.expose());
    let passwords = payload.credentials.iter().map(|credential| &credential.password);
    let tokens = payload.dependencies.iter().map(|dependency| &dependency.token);
    for token in passwords.chain(tokens).filter(|token| token.expose().len() >= SHORTEST_TOKEN) {
        add(token.expose());
    }
    if let Some((_, decoded)) = password_of(&payload.git_info.repo_url)
        && decoded.len() >= SHORTEST_TOKEN
    {
        add(&decoded);
    }
    for (written, decoded) in cx.settings.proxy_environment.iter().filter_map(|(_, value)| password_of(value)) {
        add(&written);
        add(&decoded);
    }
    phrases.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    phrases.into_iter().map(Secret::new).collect()
}

/// The password in a URL, as it stands there and as it is meant.
fn password_of(url: &Secret) -> Option<(String, String)> {
    let url = url::Url::parse(url.expose()).ok()?;
    let written = url.password()?;
    Some((written.to_owned(), percent_encoding::percent_decode_str(written).decode_utf8_lossy().into_owned()))
}

fn prefixes(cx: &Context<'_>) -> Vec<String> {
    let mut prefixes = vec!["glpat-".to_owned()];
    if cx.flags.is_on("FF_MASK_ALL_DEFAULT_TOKENS") {
        prefixes.extend(TOKEN_PREFIXES.iter().map(|prefix| (*prefix).to_owned()));
    }
    for prefix in &cx.payload.features.token_mask_prefixes {
        let prefix = prefix.trim();
        if !prefix.is_empty() && !prefixes.iter().any(|known| known == prefix) {
            prefixes.push(prefix.to_owned());
        }
    }
    prefixes
}
