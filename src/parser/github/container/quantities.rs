//! Sizes, times and numbers as `docker create` takes them.

use std::time::Duration;

/// `512m`, `1.5g`, `1024`: bytes.
pub fn bytes(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no size, like `512m` or `2g`");
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let unit = text.get(digits.len()..).unwrap_or_default().trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let value = number * 1024f64.powi(power);
    if !value.is_finite() || !(0.0..9e18).contains(&value) {
        return Err(wrong());
    }
    Ok(value as i64)
}

/// `1.5`: billionths of a processor.
pub fn cpus(text: &str) -> Result<i64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("`{text}` is no number of processors"))?;
    if number.is_finite() && number > 0.0 && number < 1e6 {
        Ok((number * 1e9).round() as i64)
    } else {
        Err(format!("`{text}` is no number of processors"))
    }
}

/// `10s`, `1m30s`, `500ms`: a time in the units of the Go language.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time, like `10s` or `1m30s`");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        total += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(wrong()),
            };
        rest = after;
    }
    match text.is_empty() {
        true => Err(wrong()),
        false => Duration::try_from_secs_f64(total).map_err(|_| wrong()),
    }
}

/// A whole number.
pub fn number(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| format!("`{text}` is no whole number"))
}

/// `true` or `false`, as the Go language reads them.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_times_and_processors_as_docker_reads_them() {
        assert_eq!(bytes("512m"), Ok(512 << 20));
        assert_eq!(bytes("1.5GB"), Ok(3 << 29));
        assert_eq!(bytes("64KiB"), Ok(64 << 10));
        assert_eq!(bytes("1000"), Ok(1000));
        assert!(bytes("1x").is_err() && bytes("").is_err() && bytes("-1").is_err() && bytes("1e30t").is_err());
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(duration("10").is_err() && duration("").is_err() && duration("s").is_err() && duration("1d").is_err());
        assert_eq!(cpus("1.5"), Ok(1_500_000_000));
        assert!(cpus("0").is_err() && cpus("inf").is_err());
    }
}
