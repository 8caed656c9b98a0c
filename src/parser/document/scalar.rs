//! What plain text means: numbers, truths, nothing.

use std::borrow::Cow;

use smol_str::{SmolStr, format_smolstr};

use super::node::{Scalar, Style};

/// Whose reading of plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Ruby's Psych, which GitLab uses: YAML 1.1 with Ruby's additions (symbols, commas in numbers).
    Ruby,
    /// YAML 1.2's core schema, which GitHub and the native language use.
    Core,
}

/// What a scalar means.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed<'a> {
    /// Nothing.
    Null,
    /// A truth.
    Bool(bool),
    /// A whole number that 64 bits hold.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A name with a leading colon, without it (Ruby).
    Symbol(Cow<'a, str>),
    /// A date or a time, as it is written (Ruby).
    Time(&'a str),
    /// Text.
    Text(&'a str),
}

impl Typed<'_> {
    /// What kind of thing it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Typed::Null => "nothing",
            Typed::Bool(_) => "a boolean",
            Typed::Int(_) | Typed::Float(_) => "a number",
            Typed::Symbol(_) => "a symbol",
            Typed::Time(_) => "a date",
            Typed::Text(_) => "text",
        }
    }
}

impl Scalar {
    /// What the text means in `schema` under a tag.
    pub fn typed_with(&self, schema: Schema, tag: Option<&str>) -> Typed<'_> {
        let text = self.text.as_str();
        match tag.and_then(|tag| tag.strip_prefix("tag:yaml.org,2002:").or((tag == "!").then_some("str"))) {
            Some("str") => Typed::Text(text),
            Some("null") => Typed::Null,
            Some("int" | "float" | "bool") => plain(text, schema),
            _ if self.style != Style::Plain => Typed::Text(text),
            _ => plain(text, schema),
        }
    }
}

/// Whether a text that stands without quotes is read as something else than text; an empty one is not asked about.
pub fn is_other_than_text(text: &str, schema: Schema) -> bool {
    !text.is_empty() && !matches!(plain(text, schema), Typed::Text(_))
}

fn plain(text: &str, schema: Schema) -> Typed<'_> {
    // Most words of a pipeline are neither numbers nor one of the short words: one look at the first byte tells.
    let Some(first) = text.bytes().next() else { return Typed::Null };
    match schema {
        Schema::Ruby => ruby(text, first),
        Schema::Core => core(text, first),
    }
}

fn core(text: &str, first: u8) -> Typed<'_> {
    match first {
        b'~' if text.len() == 1 => Typed::Null,
        b'n' | b'N' if matches!(text, "null" | "Null" | "NULL") => Typed::Null,
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Typed::Bool(true),
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Typed::Bool(false),
        b'0'..=b'9' | b'+' | b'-' | b'.' => core_number(text).unwrap_or(Typed::Text(text)),
        _ => Typed::Text(text),
    }
}

fn core_number(text: &str) -> Option<Typed<'_>> {
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Typed::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(Typed::Float(f64::NAN)),
        _ => {}
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) && !unsigned.is_empty() {
        return Some(text.parse().map_or_else(|_| Typed::Float(text.parse().unwrap_or(f64::INFINITY)), Typed::Int));
    }
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let points = mantissa.bytes().filter(|byte| *byte == b'.').count();
    let exponent = &unsigned[mantissa.len()..];
    let exponent_ok = exponent.is_empty() || {
        let digits = exponent[1..].trim_start_matches(['+', '-']);
        exponent[1..].len() - digits.len() <= 1
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let number = digits > 0 && points <= 1 && digits + points == mantissa.len() && exponent_ok;
    number.then(|| text.parse().map_or(Typed::Text(text), Typed::Float))
}

fn radix(digits: &str, radix: u32) -> Option<Typed<'static>> {
    let number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    number.then(|| i64::from_str_radix(digits, radix).map_or(Typed::Float(f64::INFINITY), Typed::Int))
}

/// Psych's `ScalarScanner`, in the order of its tests.
fn ruby(text: &str, first: u8) -> Typed<'_> {
    if first == b':' {
        return ruby_symbol(text);
    }
    let may_be_number = first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.');
    if !may_be_number {
        return ruby_word(text);
    }
    ruby_number(text).unwrap_or(Typed::Text(text))
}

fn ruby_word(text: &str) -> Typed<'_> {
    if text.len() > 5 {
        return Typed::Text(text);
    }
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if text == "~" || is(&["null"]) {
        Typed::Null
    } else if is(&["yes", "true", "on"]) {
        Typed::Bool(true)
    } else if is(&["no", "false", "off"]) {
        Typed::Bool(false)
    } else {
        Typed::Text(text)
    }
}

fn ruby_symbol(text: &str) -> Typed<'_> {
    let name = &text[1..];
    if name.is_empty() {
        return Typed::Text(text);
    }
    let unquoted = ['"', '\''].into_iter().find_map(|quote| name.strip_prefix(quote)?.strip_suffix(quote));
    Typed::Symbol(Cow::Borrowed(unquoted.unwrap_or(name)))
}

fn ruby_number(text: &str) -> Option<Typed<'_>> {
    if begins_with_year(text) && (is_date(text) || is_time(text)) {
        return Some(Typed::Time(text));
    }
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case(".inf") {
        return Some(Typed::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
    }
    if text.eq_ignore_ascii_case(".nan") {
        return Some(Typed::Float(f64::NAN));
    }
    let sign = if negative { -1 } else { 1 };
    if let Some(number) = sexagesimal(unsigned, sign) {
        return Some(number);
    }
    ruby_integer(unsigned, sign).or_else(|| ruby_float(unsigned, sign))
}

/// `1:30`, `1:30:05`, `1:30.5`: base 60.
fn sexagesimal(unsigned: &str, sign: i64) -> Option<Typed<'static>> {
    if !unsigned.contains(':') {
        return None;
    }
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let parts: Vec<&str> = whole.split(':').collect();
    let (head, tail) = parts.split_first()?;
    let head_ok =
        head.starts_with(|c: char| c.is_ascii_digit()) && head.chars().all(|c| c.is_ascii_digit() || c == '_');
    let tail_ok = (1..=2).contains(&tail.len())
        && tail.iter().all(|part| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']));
    let fraction_ok = fraction.is_none_or(|fraction| fraction.chars().all(|c| c.is_ascii_digit() || c == '_'));
    if !head_ok || !tail_ok || !fraction_ok {
        return None;
    }
    let mut total: i64 = 0;
    for (at, part) in parts.iter().enumerate() {
        // Ruby weighs places by their distance from the third, so `1:30` is 1 h 30: 5400 (Psych's quirk).
        let weight = 60_i64.pow(u32::try_from(2_usize.abs_diff(at)).unwrap_or(0));
        total = total.checked_add(part.replace('_', "").parse::<i64>().ok()?.checked_mul(weight)?)?;
    }
    match fraction {
        None => Some(Typed::Int(total * sign)),
        Some(fraction) => {
            let fraction: f64 = format!("0.{}", fraction.replace('_', "")).parse().unwrap_or(0.0);
            Some(Typed::Float((total as f64 + fraction) * sign as f64))
        }
    }
}

/// A float as Ruby writes it: with a point, and an exponent from 10^16 on.
pub fn ruby_float_text(number: f64) -> SmolStr {
    if number.is_nan() {
        return SmolStr::new_static("NaN");
    }
    if number.is_infinite() {
        return SmolStr::new_static(if number > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let point = if mantissa.contains('.') { "" } else { ".0" };
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
        return format_smolstr!("{mantissa}{point}e{sign}{digits:0>2}");
    }
    format_smolstr!("{number:?}")
}

/// The digits of a whole number in base ten that 64 bits do not hold, for Ruby's numbers have no limit.
pub fn big_whole(text: &str) -> Option<String> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_whole = unsigned.starts_with(|c: char| matches!(c, '1'..='9'))
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '_' | ','));
    let digits = || unsigned.chars().filter(char::is_ascii_digit);
    (is_whole && digits().count() > 18).then(|| text.chars().take_while(|c| *c == '-').chain(digits()).collect())
}

fn ruby_integer(unsigned: &str, sign: i64) -> Option<Typed<'static>> {
    let is_digits = |digits: &str, ok: fn(char) -> bool| {
        !digits.is_empty() && digits.chars().all(|c| ok(c) || matches!(c, '_' | ','))
    };
    let (digits, base) = if let Some(digits) = unsigned.strip_prefix("0b") {
        (is_digits(digits, |c| matches!(c, '0' | '1')).then_some(digits)?, 2)
    } else if let Some(digits) = unsigned.strip_prefix("0x") {
        (is_digits(digits, |c| c.is_ascii_hexdigit()).then_some(digits)?, 16)
    } else if unsigned.len() > 1 && unsigned.starts_with('0') {
        (is_digits(&unsigned[1..], |c| matches!(c, '0'..='7')).then_some(&unsigned[1..])?, 8)
    } else {
        let grouped = unsigned.starts_with(|c: char| c.is_ascii_digit()) && is_digits(unsigned, |c| c.is_ascii_digit());
        let separated = unsigned.contains("__") || unsigned.contains(",,") || unsigned.ends_with(['_', ',']);
        (if grouped && !separated { unsigned } else { return None }, 10)
    };
    let digits: String = digits.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    if digits.is_empty() {
        return Some(Typed::Int(0));
    }
    let number = i64::from_str_radix(&digits, base).ok().and_then(|number| number.checked_mul(sign));
    Some(number.map_or_else(|| Typed::Float(digits.parse::<f64>().unwrap_or(f64::INFINITY) * sign as f64), Typed::Int))
}

/// `[digits with _ and ,] . [digits] [e sign digits]`: the point must be there, the exponent's sign too.
fn ruby_float(unsigned: &str, sign: i64) -> Option<Typed<'static>> {
    let (whole, rest) = unsigned.split_once('.')?;
    let whole_ok = whole.is_empty()
        || whole.starts_with(|c: char| c.is_ascii_digit())
            && whole.chars().all(|c| c.is_ascii_digit() || matches!(c, '_' | ','));
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let exponent_ok = exponent
        .is_none_or(|exponent| exponent.strip_prefix(['+', '-']).is_some_and(|text| !text.is_empty() && digits(text)));
    if !whole_ok || !digits(fraction) || !exponent_ok || whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: String = whole.chars().filter(char::is_ascii_digit).collect();
    let exponent = exponent.map(|exponent| format!("e{exponent}")).unwrap_or_default();
    let number: f64 = format!("{whole}.{fraction}0{exponent}").parse().ok()?;
    Some(Typed::Float(number * sign as f64))
}

/// Whether a text begins as dates and times do, with a year and a dash. Most numbers do not.
fn begins_with_year(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    digits.get(4) == Some(&b'-') && digits.iter().take(4).all(u8::is_ascii_digit)
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), [year, month, day] if year.len() == 4
        && year.bytes().all(|b| b.is_ascii_digit()) && in_range(month, 12) && in_range(day, 31))
}

fn in_range(text: &str, most: u32) -> bool {
    (1..=2).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<u32>().is_ok_and(|number| number <= most)
}

fn is_time(text: &str) -> bool {
    let Some(at) = text.find(['T', 't', ' ']) else { return false };
    let (date, time) = (&text[..at], text[at + 1..].trim_start());
    let date = date.strip_prefix('-').unwrap_or(date);
    let parts: Vec<&str> = date.split('-').collect();
    let date_ok = parts.len() == 3
        && parts[0].len() == 4
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let clock: Vec<&str> = time.splitn(3, ':').collect();
    date_ok
        && clock.len() == 3
        && in_range(clock[0], 99)
        && clock[1].len() == 2
        && clock[1].bytes().all(|b| b.is_ascii_digit())
        && clock[2].len() >= 2
        && clock[2].as_bytes()[..2].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, schema: Schema) -> Typed<'_> {
        plain(text, schema)
    }

    #[test]
    fn ruby_reads_yaml_1_1() {
        for (text, want) in [
            ("yes", Typed::Bool(true)),
            ("Off", Typed::Bool(false)),
            ("~", Typed::Null),
            ("NULL", Typed::Null),
            ("y", Typed::Text("y")),
            ("010", Typed::Int(8)),
            ("0x1F", Typed::Int(31)),
            ("0b101", Typed::Int(5)),
            ("1_000", Typed::Int(1000)),
            ("1,000", Typed::Int(1000)),
            ("-12", Typed::Int(-12)),
            ("1:30", Typed::Int(5400)),
            ("1:30:05", Typed::Int(5405)),
            ("1.5", Typed::Float(1.5)),
            ("1.", Typed::Float(1.0)),
            ("1e3", Typed::Text("1e3")),
            ("1.0e+3", Typed::Float(1000.0)),
            (".5", Typed::Float(0.5)),
            (".", Typed::Text(".")),
            ("-", Typed::Text("-")),
            ("1.2.3", Typed::Text("1.2.3")),
            ("09", Typed::Text("09")),
            ("2024-01-31", Typed::Time("2024-01-31")),
            ("2024-01-31 10:00:00", Typed::Time("2024-01-31 10:00:00")),
            (":sym", Typed::Symbol("sym".into())),
            ("-.inf", Typed::Float(f64::NEG_INFINITY)),
            ("build", Typed::Text("build")),
        ] {
            assert_eq!(of(text, Schema::Ruby), want, "{text}");
        }
    }

    #[test]
    fn core_reads_yaml_1_2() {
        for (text, want) in [
            ("yes", Typed::Text("yes")),
            ("True", Typed::Bool(true)),
            ("010", Typed::Int(10)),
            ("0o10", Typed::Int(8)),
            ("0x1f", Typed::Int(31)),
            ("1_000", Typed::Text("1_000")),
            ("1e3", Typed::Float(1000.0)),
            ("1.5", Typed::Float(1.5)),
            ("-.5e-1", Typed::Float(-0.05)),
            ("1.2.3", Typed::Text("1.2.3")),
            ("1e", Typed::Text("1e")),
            ("+", Typed::Text("+")),
            ("null", Typed::Null),
            ("2024-01-31", Typed::Text("2024-01-31")),
            (":sym", Typed::Text(":sym")),
        ] {
            assert_eq!(of(text, Schema::Core), want, "{text}");
        }
    }
}
