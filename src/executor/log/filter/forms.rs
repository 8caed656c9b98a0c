//! The forms in which a secret can appear in a log besides its own: base64 and URL-encoded.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

/// Encoded forms of shorter secrets are left alone: they would hide ordinary text.
const SHORTEST_ENCODED: usize = 8;

/// What `encodeURI`-like encoders leave alone in a query component.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const LOOSE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'#').add(b'%');

/// All forms of `secret` that must not appear, its own first. May hold duplicates.
pub(super) fn of(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec()];
    if secret.len() < SHORTEST_ENCODED {
        return forms;
    }
    forms.extend(base64_forms(secret.as_bytes()));
    for set in [COMPONENT, LOOSE] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        if encoded != secret {
            forms.push(encoded.to_lowercase_escapes().into_bytes());
            forms.push(encoded.into_bytes());
        }
    }
    forms
}

/// The characters that `secret` alone decides, for each of the three ways it can lie in base64's groups of three bytes,
/// in both alphabets; and to the end of the text, for a secret that is the last thing in it.
fn base64_forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for lead in 0..3_usize {
        let mut bytes = vec![0_u8; lead];
        bytes.extend_from_slice(secret);
        // Characters touched by the bytes before: 0, 2 or 3; a last incomplete group is touched by what follows.
        let skip = [0, 2, 3][lead];
        let bits = bytes.len() * 8;
        let whole = bits / 6;
        for text in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
            forms.push(text.as_bytes()[skip..].to_vec());
            forms.push(text.trim_end_matches('=').as_bytes()[skip..].to_vec());
        }
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            let core = &text.as_bytes()[skip..whole];
            if core.len() >= SHORTEST_ENCODED {
                forms.push(core.to_vec());
            }
        }
    }
    forms
}

trait LowercaseEscapes {
    /// `%2F` as `%2f`; everything else as it is.
    fn to_lowercase_escapes(&self) -> String;
}

impl LowercaseEscapes for String {
    fn to_lowercase_escapes(&self) -> String {
        let mut out = String::with_capacity(self.len());
        let mut left = 0;
        for c in self.chars() {
            if c == '%' {
                left = 3;
            }
            out.push(if left > 0 { c.to_ascii_lowercase() } else { c });
            left = usize::saturating_sub(left, 1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_at_every_alignment() {
        let secret = "correct horse";
        for lead in ["", "x", "xy", "xyz"] {
            for tail in ["", "z", "zz"] {
                let text = STANDARD_NO_PAD.encode(format!("{lead}{secret}{tail}"));
                assert!(
                    of(secret).iter().any(|form| text.contains(std::str::from_utf8(form).unwrap())),
                    "{lead}…{tail}: {text}"
                );
            }
        }
    }

    #[test]
    fn a_secret_at_the_end_is_covered_with_its_padding() {
        let text = STANDARD.encode("us:correct horse");
        let longest = of("correct horse")
            .into_iter()
            .filter(|form| text.as_bytes().windows(form.len()).any(|window| window == form))
            .max_by_key(Vec::len);
        assert!(text.ends_with("=") && text.as_bytes().ends_with(&longest.unwrap()), "{text}");
    }

    #[test]
    fn url_forms_in_both_cases() {
        let forms = of("a/b c+d=e&f");
        for want in ["a%2Fb%20c%2Bd%3De%26f", "a%2fb%20c%2bd%3de%26f", "a/b%20c+d=e&f"] {
            assert!(forms.iter().any(|f| f == want.as_bytes()), "{want}");
        }
    }

    #[test]
    fn short_secrets_have_no_encoded_forms() {
        assert_eq!(of("abc"), vec![b"abc".to_vec()]);
    }
}
