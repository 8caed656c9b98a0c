//! The names in a certificate, as far as a message needs them.
//!
//! Reads just enough DER to find issuer and subject. The bytes come from the network: every step is checked, nothing is
//! believed, and what cannot be read has no name.

/// Issuer and subject of a certificate, each as its raw DER.
pub(super) struct Names<'a> {
    /// Who signed it.
    pub(super) issuer: &'a [u8],
    /// Whose it is.
    pub(super) subject: &'a [u8],
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// Finds issuer and subject in a certificate.
pub(super) fn names(certificate: &[u8]) -> Option<Names<'_>> {
    let (body, _) = element(certificate, SEQUENCE)?;
    let (mut fields, _) = element(body, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = any(fields)?.2;
    }
    fields = any(fields)?.2; // serial number
    fields = any(fields)?.2; // signature algorithm
    let (issuer, rest) = element(fields, SEQUENCE)?;
    let rest = any(rest)?.2; // validity
    let (subject, _) = element(rest, SEQUENCE)?;
    Some(Names { issuer, subject })
}

/// A name as people know it: common name and organisation, whichever are there.
pub(super) fn readable(name: &[u8]) -> Option<String> {
    // The last bytes of the identifiers 2.5.4.3 and 2.5.4.10.
    let common = attribute(name, &[0x55, 0x04, 0x03]);
    let organisation = attribute(name, &[0x55, 0x04, 0x0a]);
    match (common, organisation) {
        (Some(common), Some(organisation)) if common != organisation => Some(format!("`{common}` ({organisation})")),
        (Some(one), _) | (None, Some(one)) => Some(format!("`{one}`")),
        (None, None) => None,
    }
}

fn attribute(mut name: &[u8], wanted: &[u8]) -> Option<String> {
    while !name.is_empty() {
        let (mut set, rest) = element(name, SET)?;
        name = rest;
        while !set.is_empty() {
            let (pair, others) = element(set, SEQUENCE)?;
            set = others;
            let (id, value) = element(pair, OBJECT_ID)?;
            if id == wanted {
                let (_, text, _) = any(value)?;
                return Some(printable(text));
            }
        }
    }
    None
}

/// Text for a message: no control characters, not endless.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(100).collect()
}

/// The content of the element at the head of `bytes`, which must have this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = any(bytes)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of the element at the head of `bytes`, and what follows it.
fn any(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, after) = rest.split_at(count);
        length = digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit));
        rest = after;
    }
    if rest.len() < length {
        return None;
    }
    let (content, after) = rest.split_at(length);
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_read_from_a_real_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example.com".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "Example Root");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example Ltd");
        let certificate = params.self_signed(&key).unwrap();
        let names = names(certificate.der()).unwrap();
        assert_eq!(readable(names.issuer).unwrap(), "`Example Root` (Example Ltd)");
        assert_eq!(names.issuer, names.subject);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Some(names) = names(&bytes) {
                let _ = readable(names.issuer);
            }
        }
    }
}
