//! Lengths of time as people write them.

/// Whether a text is a length of time: numbers with units, a number of seconds, or `never`.
pub(super) fn is_length(text: &str) -> bool {
    let text = text.trim();
    if text.eq_ignore_ascii_case("never") {
        return true;
    }
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let after = rest.get(digits..).unwrap_or("").trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit = after.get(..letters).unwrap_or("").to_ascii_lowercase();
        // A number alone is seconds, and stands alone.
        let known = if unit.is_empty() { digits == text.len() } else { UNITS.contains(&unit.as_str()) };
        if digits == 0 || digits > 9 || !known {
            return false;
        }
        any = true;
        rest = after.get(letters..).unwrap_or("").trim_start_matches([' ', ',']);
    }
    any
}

const UNITS: [&str; 27] = [
    "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes", "h", "hr", "hrs", "hour",
    "hours", "d", "day", "days", "w", "week", "weeks", "mo", "mos", "month", "months", "year", "years",
];

#[cfg(test)]
mod tests {
    use super::is_length;

    #[test]
    fn lengths_of_time() {
        for good in ["7 days", "1h 30m", "1h30m", "90", "90s", "never", "1 week, 2 days", "2 mos"] {
            assert!(is_length(good), "{good}");
        }
        for bad in ["garbage", "", "7 moons", "days", "-1 day", "1 2", "1.5h"] {
            assert!(!is_length(bad), "{bad}");
        }
    }
}
