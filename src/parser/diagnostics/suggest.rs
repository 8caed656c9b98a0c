//! The name that was meant.

/// The nearest of `names` to `word`, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 100 {
        return None;
    }
    let folded = word.to_lowercase();
    let allowed = match word.chars().count() {
        0..=2 => 1,
        3..=5 => 2,
        length => (length / 3).max(2),
    };
    let mut whole_words: Option<&str> = None;
    let distance = |name: &str| strsim::damerau_levenshtein(&folded, &name.to_lowercase());
    let near = names
        .into_iter()
        .filter(|name| *name != word)
        .inspect(|name| {
            let is_shorter = whole_words.is_none_or(|best| name.len() < best.len());
            if is_shorter && has_word(name, &folded) {
                whole_words = Some(name);
            }
        })
        .filter(|name| name.len() <= word.len() + allowed * 4)
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count().max(1))
        .min_by_key(|(distance, name)| (*distance, name.len()))
        .map(|(_, name)| name);
    near.or(whole_words)
}

/// Whether `word` is one of the words that make up `name`: `tag` of `tag_name`.
fn has_word(name: &str, word: &str) -> bool {
    const SHORTEST: usize = 3;
    word.len() >= SHORTEST && name.len() > word.len() && name.split(['_', '-', ':', ' ']).any(|part| part == word)
}

/// "did you mean `x`?", if a name is near.
pub fn did_you_mean<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, names).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["script", "stage", "image", "before_script", "needs"];
        for (word, want) in [
            ("scirpt", Some("script")),
            ("Stage", Some("stage")),
            ("stages", Some("stage")),
            ("need", Some("needs")),
            ("befor_script", Some("before_script")),
            ("banana", None),
            ("x", None),
            ("before", Some("before_script")),
        ] {
            assert_eq!(nearest(word, keys), want, "{word}");
        }
    }
}
