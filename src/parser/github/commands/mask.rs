//! What is hidden when a value is.

/// The texts to hide for a secret or for `::add-mask::`: the value without the white space around it, and each of its lines. A value of
/// white space alone hides nothing.
pub fn texts(value: &str) -> Vec<String> {
    let whole = value.trim();
    let mut texts: Vec<String> = Vec::new();
    if !whole.is_empty() {
        texts.push(whole.to_owned());
    }
    for line in whole.split(['\r', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        if !texts.iter().any(|known| known == line) {
            texts.push(line.to_owned());
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_and_each_line() {
        assert_eq!(texts("one"), ["one"]);
        assert_eq!(texts("one\r\n\r\n  two \n"), ["one\r\n\r\n  two", "one", "two"]);
        assert!(texts(" \n ").is_empty());
    }
}
