//! From the configuration to a client of the server's kind.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::list::PaginatedListStore;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use url::Url;

use super::list::Listing;
use super::transport::Transport;
use crate::config::remote::{self, RemoteConfig, RemoteEncryption, RemoteUrl};
use crate::outbound::Outbound;
use crate::pipeline::Secret;

/// No key file is larger.
const LONGEST_KEY: u64 = 4 << 10;

/// How often a request is repeated.
const RETRIES: usize = 4;

/// Why a remote store cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// A file that the configuration names.
    #[error(
        "`{path}` (`{key}` of the remote store) cannot be used; see that it is there and that the agent may read it"
    )]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The settings do not go together.
    #[error("{url} (`url` of the remote store) cannot be used: {why}")]
    Settings {
        /// Which store.
        url: String,
        /// Why.
        why: String,
    },
}

/// A client, and what all keys in it begin with.
pub(super) struct Connected {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) listing: Listing,
    pub(super) prefix: String,
}

impl Connected {
    fn new(store: impl ObjectStore + PaginatedListStore, prefix: &str) -> Self {
        let store = Arc::new(store);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { store: store.clone(), listing: Listing::Pages(store), prefix }
    }
}

/// Makes the client. Nothing is sent.
pub(super) fn connect(config: &RemoteConfig, outbound: Outbound) -> Result<Connected, RemoteError> {
    if let Some((key, why)) = config.findings().into_iter().next() {
        return Err(wrong(config, format!("`{key}`: {why}")));
    }
    let transport = Transport::new(outbound);
    match &config.url {
        RemoteUrl::S3(bucket) => s3(config, &bucket.name, &bucket.prefix, transport),
        RemoteUrl::Folder(path) => folder(config, path),
        #[cfg(feature = "gcs")]
        RemoteUrl::Gcs(bucket) => gcs(config, &bucket.name, &bucket.prefix, transport),
        #[cfg(feature = "azure")]
        RemoteUrl::Azure(bucket) => azure(config, &bucket.name, &bucket.prefix, transport),
        #[cfg(not(all(feature = "gcs", feature = "azure")))]
        _ => Err(wrong(config, "this build has no client for it".to_owned())),
    }
}

fn wrong(config: &RemoteConfig, why: String) -> RemoteError {
    RemoteError::Settings { url: config.url.to_string(), why }
}

/// Retries are a part of the time that the call has.
fn retry(config: &RemoteConfig) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 3.0,
        },
        max_retries: RETRIES,
        retry_timeout: Duration::from_secs(config.deadline_seconds),
    }
}

fn s3(config: &RemoteConfig, bucket: &str, prefix: &str, transport: Transport) -> Result<Connected, RemoteError> {
    // With keys of ours nothing of the environment may mix in: the token in it belongs to other keys.
    let mut builder = match &config.access_key_id {
        None => AmazonS3Builder::from_env(),
        Some(id) => {
            let builder = AmazonS3Builder::new().with_access_key_id(id);
            match secret(config)? {
                Some(secret) => builder.with_secret_access_key(secret.expose()),
                None => builder,
            }
        }
    };
    if let Some(token) = &config.session_token {
        builder = builder.with_token(token.0.expose());
    }
    if let Some(region) = config.region.clone().or_else(|| std::env::var("AWS_REGION").ok()) {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint_of(endpoint, bucket, config.path_style));
    }
    for key in [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint] {
        let named = builder.get_config_value(&key).and_then(|endpoint| Url::parse(&endpoint).ok());
        if named.is_some_and(|endpoint| remote::is_open(&endpoint)) && !config.allow_http {
            return Err(wrong(
                config,
                "the endpoint that the environment names has no TLS; set `allow_http = true`, or another one"
                    .to_owned(),
            ));
        }
    }
    let builder = encrypted(builder, config)?
        .with_bucket_name(bucket)
        .with_virtual_hosted_style_request(!config.path_style)
        // One object each: not every server knows the call for many.
        .with_disable_bulk_delete(true)
        .with_retry(retry(config))
        .with_http_connector(transport);
    let store = builder.build().map_err(|error| wrong(config, error.to_string()))?;
    Ok(Connected::new(store, prefix))
}

/// The client wants the bucket in the host's name where it is to be there.
fn endpoint_of(endpoint: &Url, bucket: &str, path_style: bool) -> String {
    let mut full = endpoint.clone();
    if !path_style && let Some(host) = endpoint.host_str().filter(|host| !host.starts_with(&format!("{bucket}."))) {
        // Fails for addresses only, which have no names below them: the request then tells.
        let _ = full.set_host(Some(&format!("{bucket}.{host}")));
    }
    full.as_str().trim_end_matches('/').to_owned()
}

fn encrypted(builder: AmazonS3Builder, config: &RemoteConfig) -> Result<AmazonS3Builder, RemoteError> {
    Ok(match config.encryption {
        RemoteEncryption::Bucket => builder,
        RemoteEncryption::Aes256 => {
            let key = "aws_server_side_encryption".parse::<AmazonS3ConfigKey>();
            builder.with_config(key.map_err(|error| wrong(config, error.to_string()))?, "AES256")
        }
        RemoteEncryption::Kms => builder.with_sse_kms_encryption(config.kms_key_id.clone().unwrap_or_default()),
        RemoteEncryption::Customer => {
            let path = config.customer_key_file.clone().unwrap_or_default();
            let content = read("customer_key_file", &path)?;
            let key = key_of(&content).ok_or_else(|| {
                wrong(config, "the file of `customer_key_file` is no key: 32 random bytes, or 64 hexadecimal digits (`openssl rand -hex 32`)".to_owned())
            })?;
            builder.with_ssec_encryption(base64::engine::general_purpose::STANDARD.encode(key))
        }
    })
}

fn key_of(content: &[u8]) -> Option<[u8; 32]> {
    if let Ok(bytes) = <[u8; 32]>::try_from(content) {
        return Some(bytes);
    }
    let mut bytes = [0; 32];
    hex::decode_to_slice(content.trim_ascii(), &mut bytes).ok()?;
    Some(bytes)
}

fn secret(config: &RemoteConfig) -> Result<Option<Secret>, RemoteError> {
    let Some(path) = &config.secret_access_key_file else {
        return Ok(config.secret_access_key.as_ref().map(|secret| secret.0.clone()));
    };
    let content = read("secret_access_key_file", path)?;
    match std::str::from_utf8(&content).map(str::trim) {
        Ok(secret) if !secret.is_empty() => Ok(Some(Secret::new(secret))),
        Ok(_) | Err(_) => Err(wrong(config, "the file of `secret_access_key_file` holds no text".to_owned())),
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, RemoteError> {
    let unusable = |source| RemoteError::File { key, path: path.to_owned(), source };
    let mut content = Vec::new();
    let file = File::open(path).map_err(unusable)?;
    file.take(LONGEST_KEY).read_to_end(&mut content).map_err(unusable)?;
    Ok(content)
}

/// A folder that is not there is most often a disk that is not mounted: it is not made.
fn folder(config: &RemoteConfig, path: &Path) -> Result<Connected, RemoteError> {
    std::fs::read_dir(path).map_err(|source| RemoteError::File { key: "url", path: path.to_owned(), source })?;
    let store = LocalFileSystem::new_with_prefix(path).map_err(|error| wrong(config, error.to_string()))?;
    Ok(Connected {
        store: Arc::new(store.with_fsync(true)),
        listing: Listing::Folder(path.to_owned()),
        prefix: String::new(),
    })
}

#[cfg(feature = "gcs")]
fn gcs(config: &RemoteConfig, bucket: &str, prefix: &str, transport: Transport) -> Result<Connected, RemoteError> {
    let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry(config))
        .with_http_connector(transport);
    Ok(Connected::new(builder.build().map_err(|error| wrong(config, error.to_string()))?, prefix))
}

#[cfg(feature = "azure")]
fn azure(config: &RemoteConfig, bucket: &str, prefix: &str, transport: Transport) -> Result<Connected, RemoteError> {
    let mut builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_container_name(bucket);
    if let (Some(account), Some(secret)) = (&config.access_key_id, secret(config)?) {
        builder = builder.with_account(account).with_access_key(secret.expose());
    }
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
    }
    let builder = builder.with_retry(retry(config)).with_http_connector(transport);
    Ok(Connected::new(builder.build().map_err(|error| wrong(config, error.to_string()))?, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_in_the_hosts_name_is_put_there_once() {
        let endpoint: Url = "https://objects.example.com:9000".parse().unwrap();
        assert_eq!(endpoint_of(&endpoint, "ci", true), "https://objects.example.com:9000");
        assert_eq!(endpoint_of(&endpoint, "ci", false), "https://ci.objects.example.com:9000");
        let whole: Url = "https://ci.objects.example.com".parse().unwrap();
        assert_eq!(endpoint_of(&whole, "ci", false), "https://ci.objects.example.com");
    }
}
