//! Text of others on a terminal: its words and colours get through, nothing that moves, hides, asks or sets anything.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Ends all colours.
const RESET: &str = "\x1b[0m";
/// A tab goes to the next multiple of so many columns.
const TAB: usize = 8;
/// Longer numbers of a colour are no colour.
const LONGEST_COLOR: usize = 64;

/// `line` without anything a terminal would obey but colours, and without these unless `color`. Where the line was written over
/// itself (progress), what stood there last.
pub fn tame(line: &str, color: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = last_writing(line).chars().peekable();
    let (mut column, mut is_colored) = (0, false);
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                Some('[') => is_colored |= sequence(&mut chars, color.then_some(&mut out)),
                Some('\0'..='\x1f') | None => {}
                Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&mut chars),
                Some(' '..='/') => skip_intermediates(&mut chars),
                Some(_) => {}
            },
            '\u{9b}' => is_colored |= sequence(&mut chars, color.then_some(&mut out)),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            '\t' => {
                let spaces = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', spaces));
                column += spaces;
            }
            c if c.is_control() || turns_or_hides(c) => {}
            c => {
                out.push(c);
                column += c.width().unwrap_or(0);
            }
        }
    }
    if is_colored {
        out.push_str(RESET);
    }
    out
}

/// What is seen of a line with carriage returns in it.
pub fn last_writing(line: &str) -> &str {
    line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default()
}

/// Reads a control sequence behind its introducer. Whether it was a colour that was kept.
fn sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: Option<&mut String>) -> bool {
    let mut numbers = String::new();
    let mut is_color = true;
    while let Some(c) = chars.peek().copied() {
        match c {
            '0'..='9' | ';' | ':' => numbers.push(c),
            ' '..='?' => is_color = false,
            '@'..='~' => {
                chars.next();
                let is_color = is_color && c == 'm' && numbers.len() <= LONGEST_COLOR;
                let Some(out) = out.filter(|_| is_color) else { return false };
                out.push_str("\x1b[");
                out.push_str(&numbers);
                out.push('m');
                return true;
            }
            // It is broken off here.
            _ => return false,
        }
        chars.next();
    }
    false
}

/// Skips a string for the terminal (a title, the clipboard, a picture) to its end, or to the line's.
fn skip_string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\x07' | '\u{9c}' => return,
            '\x1b' if chars.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

/// Skips the rest of an escape sequence that chooses a character set and the like.
fn skip_intermediates(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
    chars.next();
}

/// Characters that turn the direction of what follows, break lines, or cannot be seen.
fn turns_or_hides(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// How many columns a tame text takes.
pub fn columns(text: &str) -> usize {
    let mut columns = 0;
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\x1b[") {
        columns += before.width();
        rest = behind.split_once('m').map_or("", |(_, rest)| rest);
    }
    columns + rest.width()
}

/// A tame text in at most `width` columns; what was cut shows by an ellipsis.
pub fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let (mut out, mut taken, mut has_color) = (String::new(), 0, false);
    let mut rest = text;
    'parts: loop {
        let (words, sequence, behind) = match rest.find("\x1b[") {
            Some(at) => {
                let (words, tail) = rest.split_at(at);
                let end = tail.find('m').map_or(tail.len(), |end| end + 1);
                let (sequence, behind) = tail.split_at(end);
                (words, sequence, behind)
            }
            None => (rest, "", ""),
        };
        for c in words.chars() {
            let own = c.width().unwrap_or(0);
            if taken + own > room {
                break 'parts;
            }
            taken += own;
            out.push(c);
        }
        out.push_str(sequence);
        has_color |= !sequence.is_empty();
        if behind.is_empty() {
            break;
        }
        rest = behind;
    }
    // Signs that take more room together than one by one.
    while columns(&out) > room && out.pop().is_some() {}
    out.push('…');
    if has_color {
        out.push_str(RESET);
    }
    out
}

/// `text` in exactly `width` columns.
pub fn pad(text: &str, width: usize) -> String {
    let mut text = fit(text, width);
    let missing = width.saturating_sub(columns(&text));
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_and_colours_get_through() {
        for (given, plain) in [
            ("plain", "plain"),
            ("\x1b[2J\x1b[1;1Hgone", "gone"),
            ("a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c", "abc"),
            ("a\x1bP1$r\x1b\\b\x1b_app\x1b\\c", "abc"),
            ("open\x1b]8;;http://x", "open"),
            ("a\x1b(0b\x1b=c\x1bcd", "abcd"),
            ("a\u{9b}2Jb\u{9d}0;x\u{9c}c\u{85}d", "abcd"),
            ("bell\x07 back\x08\x08 nul\0 del\x7f", "bell back nul del"),
            ("\x1b[?25lx\x1b[>4my\x1b[1 qz", "xyz"),
            ("\u{202e}txt.exe\u{2066}", "txt.exe"),
            ("10%\r50%\r100%\r", "100%"),
            ("a\tb\t\tc", "a       b               c"),
            ("broken \x1b[31", "broken "),
            ("twice \x1b[3\x1b[2Jx", "twice x"),
            ("end\x1b", "end"),
        ] {
            assert_eq!(tame(given, true), plain, "{given:?}");
        }
        assert_eq!(
            tame("\x1b[1;31mred\x1b[0m and \x1b[38:5:9mmore", true),
            "\x1b[1;31mred\x1b[0m and \x1b[38:5:9mmore\x1b[0m"
        );
        assert_eq!(tame("\x1b[1;31mred\x1b[0m", false), "red");
    }

    #[test]
    fn what_does_not_fit_is_cut_by_columns() {
        assert_eq!(fit("hello", 5), "hello");
        assert_eq!(fit("hello", 4), "hel…");
        assert_eq!(fit("日本語", 6), "日本語");
        assert_eq!(fit("日本語", 5), "日本…");
        assert_eq!(fit("日本語", 4), "日…");
        assert_eq!(fit("x", 0), "");
        assert_eq!(fit("\x1b[31mhello\x1b[0m", 5), "\x1b[31mhello\x1b[0m");
        assert_eq!(fit("\x1b[31mhello\x1b[0m", 3), "\x1b[31mhe…\x1b[0m");
        assert_eq!(pad("ab", 4), "ab  ");
        for width in 0..20 {
            assert!(columns(&fit("a❤️‍🔥 日本 e\u{301} text 👩‍👩‍👧 more", width)) <= width, "{width}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(line in "(\\PC|[\\x00-\\x1f\\x7f\u{80}-\u{9f}]|\\x1b\\[|\\x1b\\]|[0-9;mJH]){0,40}") {
            let tamed = tame(&line, true);
            let mut rest = tamed.as_str();
            while let Some((before, behind)) = rest.split_once("\x1b[") {
                proptest::prop_assert!(!before.chars().any(char::is_control));
                let numbers = behind.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ';' | ':'));
                proptest::prop_assert!(numbers.starts_with('m'));
                rest = &numbers[1..];
            }
            proptest::prop_assert!(!rest.chars().any(char::is_control));
            proptest::prop_assert!(!tame(&line, false).chars().any(char::is_control));
        }
    }
}
