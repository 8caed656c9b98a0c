//! Ranges of bytes as HTTP says them.

use std::ops::Range;

/// The bytes that `Content-Range: bytes FIRST-LAST/TOTAL` names, of a part of an upload (RFC 9110 14.4). `None`: it names none.
pub(super) fn content_range(text: &str) -> Option<Range<u64>> {
    let (unit, rest) = text.trim().split_once(' ')?;
    let (range, _total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let end = last.checked_add(1)?;
    (unit.eq_ignore_ascii_case("bytes") && first < end).then_some(first..end)
}

/// What `Range` asks for of `length` bytes (RFC 9110 14.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All: it says nothing that is understood, or several ranges.
    Whole,
    /// These.
    Part(Range<u64>),
    /// Bytes that there are none of.
    Nothing,
}

/// Reads a `Range` header.
pub(super) fn asked(text: Option<&str>, length: u64) -> Asked {
    let spec = text.and_then(|text| text.trim().split_once('=')).filter(|(unit, _)| unit.eq_ignore_ascii_case("bytes"));
    let Some((first, last)) = spec.and_then(|(_, range)| range.trim().split_once('-')) else { return Asked::Whole };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(0)) if first.is_empty() => return Asked::Nothing,
        (None, Some(count)) if first.is_empty() => length.saturating_sub(count)..length,
        _ => return Asked::Whole,
    };
    if range.start < range.end { Asked::Part(range) } else { Asked::Nothing }
}

/// Digits alone: no sign, no blank.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_upload_are_named_without_overflow() {
        assert_eq!(content_range("bytes 0-0/*"), Some(0..1));
        assert_eq!(content_range("bytes 5-9/100"), Some(5..10));
        for wrong in [
            "",
            "bytes",
            "bytes 5/*",
            "bytes 9-5/*",
            "bytes -5/*",
            "bytes 5-/*",
            "bytes */10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-99999999999999999999999/*",
            "bytes +1-+2/*",
            "bytes 0x1-0x2/*",
            "lines 0-1/*",
            "bytes 0-1",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn parts_of_a_download_are_those_that_there_are() {
        let of = |text: &str| asked(Some(text), 10);
        assert_eq!(of("bytes=0-3"), Asked::Part(0..4));
        assert_eq!(of("bytes=8-99"), Asked::Part(8..10));
        assert_eq!(of("bytes=3-"), Asked::Part(3..10));
        assert_eq!(of("bytes=-4"), Asked::Part(6..10));
        assert_eq!(of("bytes=-99"), Asked::Part(0..10));
        assert_eq!(of("bytes=5-18446744073709551615"), Asked::Part(5..10));
        for nothing in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
            assert_eq!(of(nothing), Asked::Nothing, "{nothing}");
        }
        for whole in ["bytes=a-b", "bytes=5-2", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=-", "0-1"] {
            assert_eq!(of(whole), Asked::Whole, "{whole}");
        }
        assert_eq!(asked(None, 10), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
    }
}
