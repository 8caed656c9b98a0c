//! What the server has given out itself: tokens and addresses, known by their signatures.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// What an address is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Upload,
    Download,
}

impl Purpose {
    fn as_bytes(self) -> &'static [u8] {
        match self {
            Purpose::Upload => b"upload",
            Purpose::Download => b"download",
        }
    }
}

/// Signs and proves. Its key is random, and goes with the server.
pub(super) struct Signer {
    key: [u8; 32],
}

impl Signer {
    /// With a key that nobody has.
    pub(super) fn new() -> Self {
        Self { key: rand::random() }
    }

    /// A JSON Web Token with these claims. Clients read claims of it, without proving it.
    pub(super) fn token(&self, claims: &Value) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(&claims.to_string()));
        let code = self.mac(&[b"token", signed.as_bytes()]).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(code))
    }

    /// The claims of a token of ours; `None`: it is none. Takes as long whatever the token is.
    pub(super) fn claims(&self, token: &str) -> Option<Value> {
        let (signed, code) = token.rsplit_once('.')?;
        let code = BASE64_URL_SAFE_NO_PAD.decode(code).ok()?;
        self.mac(&[b"token", signed.as_bytes()]).verify_slice(&code).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(signed.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// The query that makes an address good for `purpose` with this number until `expires`, in seconds since 1970.
    pub(super) fn query(&self, purpose: Purpose, id: u64, expires: i64) -> String {
        let code = self.address(purpose, id, expires).finalize().into_bytes();
        format!("exp={expires}&sig={}", hex::encode(code))
    }

    /// Whether the query of an address holds now.
    pub(super) fn holds(&self, purpose: Purpose, id: u64, query: &[(String, String)], now: i64) -> bool {
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let expires = value("exp").and_then(|text| text.parse::<i64>().ok());
        let code = value("sig").and_then(|text| hex::decode(text).ok());
        let (Some(expires), Some(code)) = (expires, code) else { return false };
        self.address(purpose, id, expires).verify_slice(&code).is_ok() && now <= expires
    }

    fn address(&self, purpose: Purpose, id: u64, expires: i64) -> Hmac<Sha256> {
        self.mac(&[purpose.as_bytes(), &id.to_le_bytes(), &expires.to_le_bytes()])
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            // HMAC takes keys of any length; this keeps the compiler content without a panic.
            Err(_) => Hmac::<Sha256>::new(&Default::default()),
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_with_a_bit_changed_is_none_of_ours() {
        let (signer, other) = (Signer::new(), Signer::new());
        let claims = json!({"jti": "x"});
        let token = signer.token(&claims);
        assert_eq!(signer.claims(&token), Some(claims));
        assert_eq!(other.claims(&token), None);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            if let Ok(changed) = String::from_utf8(changed)
                && let Some(claims) = signer.claims(&changed)
            {
                // The last digit of base64 has bits that stand for nothing.
                assert_eq!((at, claims), (token.len() - 1, json!({"jti": "x"})));
            }
        }
        for text in ["", ".", "..", "a.b.c", "Bearer"] {
            assert_eq!(signer.claims(text), None, "{text}");
        }
    }

    #[test]
    fn an_address_is_good_for_one_thing_and_one_time() {
        let signer = Signer::new();
        let parse = |query: &str| -> Vec<(String, String)> {
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
        };
        let query = signer.query(Purpose::Upload, 7, 100);
        assert!(signer.holds(Purpose::Upload, 7, &parse(&query), 100));
        assert!(!signer.holds(Purpose::Upload, 7, &parse(&query), 101), "expired");
        assert!(!signer.holds(Purpose::Upload, 8, &parse(&query), 100), "another number");
        assert!(!signer.holds(Purpose::Download, 7, &parse(&query), 100), "another purpose");
        let later = query.replace("exp=100", "exp=999");
        assert!(!signer.holds(Purpose::Upload, 7, &parse(&later), 100), "another time");
        for wrong in ["", "exp=100", "sig=00", "exp=100&sig=", "exp=100&sig=zz", "exp=x&sig=00"] {
            assert!(!signer.holds(Purpose::Upload, 7, &parse(wrong), 0), "{wrong}");
        }
    }
}
