//! The tokens by which a job proves to others who it is: `id_tokens`. Signed with a key of this server's own (Ed25519), which
//! `/oauth/discovery/keys` shows.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

use crate::parser::gitlab::pipeline::PipelineContext;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const KEY_HEADER: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The length of the public key, which ends its description.
const PUBLIC_KEY: usize = 32;
/// How long a token counts, in seconds.
const LIFETIME: i64 = 3600 + 300;

/// Who a job is.
#[derive(Debug)]
pub struct Claims<'a> {
    /// What its pipeline was created for.
    pub context: &'a PipelineContext,
    /// Its id.
    pub job: u64,
    /// For whom the token is.
    pub audience: Vec<String>,
    /// The environment it deploys to.
    pub environment: Option<String>,
}

/// The server's key.
#[derive(Debug)]
pub struct Signer {
    /// Absent where the machine's cryptography refuses: tokens are empty then.
    key: Option<std::sync::Arc<dyn SigningKey>>,
    id: String,
}

impl Signer {
    /// A new key.
    pub fn new() -> Self {
        let secret: [u8; 32] = rand::random();
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from([&KEY_HEADER[..], &secret].concat()));
        let key = rustls::crypto::ring::sign::any_eddsa_type(match &der {
            PrivateKeyDer::Pkcs8(der) => der,
            _ => return Self { key: None, id: String::new() },
        });
        Self { key: key.ok(), id: uuid::Uuid::new_v4().simple().to_string() }
    }

    /// The token of a job: a signed JWT.
    pub fn token(&self, claims: &Claims<'_>) -> String {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.id });
        let text = format!("{}.{}", encode(header), encode(claims.payload()));
        let signer = self.key.as_ref().and_then(|key| key.choose_scheme(&[SignatureScheme::ED25519]));
        let signature = signer.and_then(|signer| signer.sign(text.as_bytes()).ok());
        signature.map(|signature| format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))).unwrap_or_default()
    }

    /// The public half, as JWKs.
    pub fn keys(&self) -> Value {
        let described = self.key.as_ref().and_then(|key| key.public_key());
        let public = described.as_ref().and_then(|der| der.get(der.len().checked_sub(PUBLIC_KEY)?..));
        let key = |bytes: &[u8]| {
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.id,
                "x": URL_SAFE_NO_PAD.encode(bytes) })
        };
        json!({ "keys": public.map(key).into_iter().collect::<Vec<_>>() })
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

impl Claims<'_> {
    fn payload(&self) -> Value {
        let context = self.context;
        let (project, user) = (&context.project, &context.user);
        let (namespace, _) = project.path.rsplit_once('/').unwrap_or(("", &project.path));
        let (kind, folder) = if context.git_ref.is_tag() { ("tag", "tags") } else { ("branch", "heads") };
        let name = context.git_ref.name();
        let now = jiff::Timestamp::now().as_second();
        let mut payload = json!({
            "iss": context.server.url, "aud": match &self.audience[..] {
                [one] => json!(one),
                several => json!(several),
            },
            "sub": format!("project_path:{}:ref_type:{kind}:ref:{name}", project.path),
            "iat": now, "nbf": now - 5, "exp": now + LIFETIME, "jti": uuid::Uuid::new_v4().to_string(),
            "namespace_id": "7", "namespace_path": namespace,
            "project_id": project.id.to_string(), "project_path": project.path, "project_visibility": project.visibility,
            "user_id": user.id.to_string(), "user_login": user.login, "user_email": user.email,
            "pipeline_id": context.ids.id.to_string(), "pipeline_source": context.source.as_str(),
            "job_id": self.job.to_string(), "ref": name, "ref_type": kind, "ref_path": format!("refs/{folder}/{name}"),
            "ref_protected": context.is_protected.to_string(),
            "sha": context.commit.as_ref().map(|commit| commit.sha.as_str()),
        });
        if let Some(environment) = &self.environment {
            payload["environment"] = json!(environment);
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_who_the_job_is_and_is_signed() {
        let signer = Signer::new();
        let context = PipelineContext::default();
        let claims =
            Claims { context: &context, job: 7, audience: vec!["https://vault".to_owned()], environment: None };
        let token = signer.token(&claims);
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts[..] else { panic!("three parts: {token}") };
        let read = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let payload: Value = serde_json::from_slice(&read(payload)).unwrap();
        assert_eq!((&payload["aud"], &payload["job_id"]), (&json!("https://vault"), &json!("7")));
        assert_eq!(payload["sub"], "project_path::ref_type:branch:ref:main");
        let header: Value = serde_json::from_slice(&read(header)).unwrap();
        let keys = signer.keys();
        assert_eq!(header["kid"], keys["keys"][0]["kid"]);
        assert_eq!(read(signature).len(), 64);
        assert_eq!(read(keys["keys"][0]["x"].as_str().unwrap()).len(), PUBLIC_KEY);
    }
}
