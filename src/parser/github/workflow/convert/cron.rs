//! Whether a schedule's five fields can be read, as GitHub reads them.

struct Field {
    min: f64,
    max: f64,
    names: &'static [&'static str],
    first_name: u8,
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { min: 0.0, max: 59.0, names: &[], first_name: 0 },
    Field { min: 0.0, max: 23.0, names: &[], first_name: 0 },
    Field { min: 1.0, max: 31.0, names: &[], first_name: 0 },
    Field { min: 1.0, max: 12.0, names: MONTHS, first_name: 1 },
    Field { min: 0.0, max: 6.0, names: DAYS, first_name: 0 },
];

/// Whether these are five fields of minute, hour, day, month and weekday, in their ranges.
pub fn is_valid(cron: &str) -> bool {
    // A blank at an end is in daily use, and GitHub takes it.
    let parts: Vec<&str> = split(cron.trim_matches(' '));
    parts.len() == FIELDS.len() && parts.iter().zip(&FIELDS).all(|(part, field)| field.accepts(part, true))
}

/// Split at runs of blanks.
fn split(cron: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = cron;
    while let Some(at) = rest.find(' ') {
        parts.push(rest.get(..at).unwrap_or(""));
        rest = rest.get(at..).unwrap_or("").trim_start_matches(' ');
    }
    parts.push(rest);
    parts
}

impl Field {
    fn accepts(&self, text: &str, separators: bool) -> bool {
        if text == "*" || self.named(text).is_some() {
            return true;
        }
        if text.contains(',') {
            return separators && text.split(',').all(|part| !part.is_empty() && self.accepts(part, true));
        }
        if let Some((start, step)) = text.split_once('/') {
            let is_step = number(step).is_some_and(|step| step > 0.0);
            return separators
                && is_step
                && !start.is_empty()
                && self.accepts(start, true)
                && self.accepts(step, false);
        }
        if let Some((start, end)) = text.split_once('-') {
            return separators
                && !start.is_empty()
                && !end.is_empty()
                && self.accepts(start, false)
                && self.accepts(end, false)
                && self.value(start).zip(self.value(end)).is_some_and(|(start, end)| end >= start);
        }
        number(text).is_some_and(|number| (self.min..=self.max).contains(&number))
    }

    fn named(&self, text: &str) -> Option<f64> {
        let at = self.names.iter().position(|name| text.eq_ignore_ascii_case(name))?;
        u8::try_from(at).ok().map(|at| f64::from(at + self.first_name))
    }

    fn value(&self, text: &str) -> Option<f64> {
        self.named(text).or_else(|| number(text))
    }
}

/// A number as JavaScript's `+text` reads digits.
fn number(text: &str) -> Option<f64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_in_their_ranges() {
        for good in [
            "* * * * *",
            "0 0 1 1 0",
            "*/15 3-5 1,15 JAN-mar sun",
            "0  4 * * 1-5",
            "1-5/2 * * * *",
            "0 0 * * SAT",
            "0 0 * * * ",
        ] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "*/0 * * * *",
            "5-3 * * * *",
            "a * * * *",
            "@daily",
            "1,,2 * * * *",
            "1/2/3 * * * *",
            "$cron",
            "1-2-3 * * * *",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }
}
