//! `$NAME`, `${NAME}` and `%NAME%` in the texts that are read before there are jobs: paths of includes and inputs.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// The spellings of a variable; `$$` and `%%` stand for themselves. `None` never happens: the pattern is constant.
static SPELLINGS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\$\$|%%|\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}|%([A-Za-z_][A-Za-z0-9_]*)%").ok()
});

/// The text with what `value` says in place of each variable; `None` from it leaves the variable as it is written.
pub(super) fn expand<'a>(text: &'a str, mut value: impl FnMut(&str) -> Option<String>) -> Cow<'a, str> {
    let Some(spellings) = SPELLINGS.as_ref().filter(|_| text.contains(['$', '%'])) else { return Cow::Borrowed(text) };
    spellings.replace_all(text, |found: &Captures<'_>| {
        let written = found.get(0).map_or("", |all| all.as_str());
        let name = (1..=3).find_map(|group| found.get(group));
        name.and_then(|name| value(name.as_str())).unwrap_or_else(|| written.to_owned())
    })
}
