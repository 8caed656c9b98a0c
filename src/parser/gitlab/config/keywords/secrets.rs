//! `secrets` and `id_tokens`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::super::codes;
use super::super::model::{IdToken, Spanned};
use super::super::place::At;
use super::super::values::{Checker, as_text, is_null, key_text};
use crate::parser::document::{Node, Value};

/// A vault: its key, the keys below it, and those of them that have to be there.
struct Provider {
    key: &'static str,
    keys: &'static [&'static str],
    required: &'static [&'static str],
    /// Whether a text may stand for the whole.
    text: bool,
    /// Whether the secret has to name a token.
    token: bool,
}

const PROVIDERS: [Provider; 6] = [
    Provider {
        key: "vault",
        keys: &["engine", "path", "field"],
        required: &["engine", "path", "field"],
        text: true,
        token: false,
    },
    Provider { key: "azure_key_vault", keys: &["name", "version"], required: &["name"], text: false, token: false },
    Provider { key: "gcp_secret_manager", keys: &["name", "version"], required: &["name"], text: false, token: true },
    Provider {
        key: "aws_secrets_manager",
        keys: &["secret_id", "version_id", "version_stage", "region", "role_arn", "role_session_name", "field"],
        required: &["secret_id"],
        text: true,
        token: false,
    },
    Provider {
        key: "gitlab_secrets_manager",
        keys: &["name", "source"],
        required: &["name"],
        text: false,
        token: false,
    },
    Provider {
        key: "akeyless",
        keys: &[
            "name",
            "data_key",
            "cert_user_name",
            "public_key_data",
            "csr_data",
            "akeyless_api_url",
            "akeyless_access_type",
            "akeyless_token",
            "uid_token",
            "gcp_audience",
            "azure_object_id",
            "k8s_service_account_token",
            "k8s_auth_config_name",
            "akeyless_access_key",
            "gateway_ca_certificate",
        ],
        required: &[],
        text: false,
        token: false,
    },
];
const KEYS: [&str; 8] = [
    "vault",
    "azure_key_vault",
    "gcp_secret_manager",
    "aws_secrets_manager",
    "gitlab_secrets_manager",
    "akeyless",
    "file",
    "token",
];

impl Checker<'_> {
    /// `secrets`.
    pub fn secrets(&mut self, node: &Node, at: At<'_>) -> Option<Node> {
        for entry in self.mapping(node, at)?.entries() {
            self.secret(&entry.value, at.key(key_text(&entry.key)));
        }
        Some(node.clone())
    }

    fn secret(&mut self, node: &Node, at: At<'_>) {
        if is_null(node) {
            return self.error(codes::MISSING, node.span, at, "is empty");
        }
        let Some(mapping) = self.mapping_of(node, at, &KEYS) else { return };
        let mut named = PROVIDERS.iter().filter_map(|provider| Some((provider, mapping.get(provider.key)?)));
        let (Some((provider, value)), None) = (named.next(), named.next()) else {
            let what = format!("must use exactly one of {}", KEYS[..6].join(", "));
            return self.error(codes::MISSING, node.span, at, what);
        };
        self.provider(provider, value, at.key(provider.key));
        if let Some(file) = mapping.get("file") {
            self.boolean(file, at.key("file"));
        }
        match mapping.get("token") {
            Some(token) => drop(self.text(token, at.key("token"))),
            None if provider.token => self.missing(node.span, at.key("token"), "is missing", None),
            None => {}
        }
    }

    fn provider(&mut self, provider: &Provider, node: &Node, at: At<'_>) {
        match &node.value {
            Value::Mapping(mapping) => {
                self.mapping_of(node, at, provider.keys);
                for key in provider.required {
                    match mapping.get(key).filter(|value| !is_null(value)) {
                        None => self.missing(node.span, at.key(key), "is missing", None),
                        Some(engine) if *key == "engine" => self.engine(engine, at.key(key)),
                        Some(value) => drop(self.required_text(Some(value), node.span, at.key(key))),
                    }
                }
            }
            _ if provider.text && as_text(node).is_some() => {}
            _ => self.wrong_type(node, at, if provider.text { "a text or a mapping" } else { "a mapping" }),
        }
    }

    fn engine(&mut self, node: &Node, at: At<'_>) {
        let Some(mapping) = self.mapping_of(node, at, &["name", "path"]) else { return };
        for key in ["name", "path"] {
            self.required_text(mapping.get(key), node.span, at.key(key));
        }
    }

    /// `id_tokens`.
    pub fn id_tokens(&mut self, node: &Node, at: At<'_>) -> Option<Arc<[IdToken]>> {
        let mapping = self.mapping(node, at)?;
        let mut tokens = Vec::with_capacity(mapping.len());
        for entry in mapping.entries() {
            let key = key_text(&entry.key);
            let below = at.key(key);
            let audience = match self.mapping_of(&entry.value, below, &["aud"]).map(|token| token.get("aud")) {
                Some(Some(audience)) if !is_null(audience) => self.texts_or_text(audience, below.key("aud")),
                None if !is_null(&entry.value) => None,
                _ => {
                    let help = Some("`aud` says for whom the token is".to_owned());
                    self.missing(entry.key.span, below.key("aud"), "is missing", help);
                    None
                }
            };
            let name = Spanned { value: SmolStr::from(key), span: entry.key.span };
            tokens.extend(audience.map(|audience| IdToken { name, audience }));
        }
        Some(tokens.into())
    }
}
