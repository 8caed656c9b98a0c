//! Whom we trust and who we are.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use super::{OutboundError, OutboundSettings, issuer};

/// No configuration file with certificates is larger.
const FILE_LIMIT: u64 = 4 * 1024 * 1024;

/// A server's certificate leads to an issuer that nobody told us to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UntrustedIssuer {
    /// The issuer's name, quoted; `None` where the certificate cannot be read.
    pub name: Option<String>,
    /// The certificate is signed by itself.
    pub self_signed: bool,
}

impl fmt::Display for UntrustedIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.self_signed) {
            (Some(name), false) => write!(f, "the issuer {name}"),
            (Some(name), true) => write!(f, "{name}, signed by itself"),
            (None, _) => f.write_str("an issuer without a name"),
        }
    }
}

impl std::error::Error for UntrustedIssuer {}

/// The settings of TLS as read from the disk.
pub(super) struct Tls {
    config: ClientConfig,
    /// The certificates of `ca_files`.
    configured: Vec<CertificateDer<'static>>,
    read_at: SystemTime,
}

impl Tls {
    /// Reads the system's certificate authorities and the configured files.
    pub(super) fn load(settings: &OutboundSettings) -> Result<Self, OutboundError> {
        let read_at = SystemTime::now();
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "one of the system's certificate authorities is left out");
        }
        roots.add_parsable_certificates(system.certs);
        let mut configured = Vec::new();
        for file in &settings.ca_files {
            configured.extend(certificates(file, "network.ca_files")?);
        }
        // What is no authority cannot be added to the roots, but is trusted as it is by the verifier.
        roots.add_parsable_certificates(configured.iter().cloned());
        let config = client_config(roots, configured.clone(), settings)?;
        Ok(Self { config, configured, read_at })
    }

    pub(super) fn config(&self) -> ClientConfig {
        self.config.clone()
    }

    /// Whether one of the configured files is newer than what was read.
    pub(super) fn is_outdated(&self, settings: &OutboundSettings) -> bool {
        let files = settings.ca_files.iter().chain(&settings.client_certificate).chain(&settings.client_key);
        files
            .filter_map(|file| fs::metadata(file).and_then(|meta| meta.modified()).ok())
            .any(|changed| changed > self.read_at)
    }

    /// The configured authorities as PEM.
    pub(super) fn configured_pem(&self) -> Option<String> {
        (!self.configured.is_empty()).then(|| pem_of(&self.configured))
    }

    /// Writes system's and configured authorities as one file for git, whose option replaces the system's.
    pub(super) fn write_bundle(&self, settings: &OutboundSettings) -> Result<Option<PathBuf>, OutboundError> {
        let Some(first) = settings.ca_files.first() else { return Ok(None) };
        let Some(folder) = &settings.bundle_dir else { return Ok(Some(first.clone())) };
        let mut text = pem_of(&rustls_native_certs::load_native_certs().certs);
        text.push_str(&pem_of(&self.configured));
        let digest = hex::encode(&Sha256::digest(text.as_bytes())[..8]);
        let file = folder.join(format!("ca-{digest}.pem"));
        let failed =
            |error: std::io::Error| OutboundError::Settings(format!("{} cannot be written: {error}", file.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        let temporary = folder.join(format!(".ca-{digest}.{}.tmp", std::process::id()));
        fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &file)).map_err(failed)?;
        Ok(Some(file))
    }
}

fn client_config(
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    settings: &OutboundSettings,
) -> Result<ClientConfig, OutboundError> {
    let failed = |what: &str, error: &dyn fmt::Display| OutboundError::Settings(format!("{what}: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = if roots.is_empty() {
        None // plain HTTP needs none; everything else is refused with the issuer's name
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Some(verifier.map_err(|error| failed("the certificate authorities cannot be used", &error))?)
    };
    let verifier = Arc::new(Verifier { inner, trusted, provider: provider.clone() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| failed("TLS cannot be set up", &error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (&settings.client_certificate, &settings.client_key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "network.client_certificate")?;
            let key = private_key(key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                failed("network.client_certificate and network.client_key do not belong together", &error)
            })?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) => return Err(one_of_two("network.client_certificate", "network.client_key")),
        (None, Some(_)) => return Err(one_of_two("network.client_key", "network.client_certificate")),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn one_of_two(given: &str, missing: &str) -> OutboundError {
    OutboundError::Settings(format!("`{given}` is set and `{missing}` is not; set both or neither"))
}

fn read(file: &Path, setting: &str) -> Result<Vec<u8>, OutboundError> {
    let failed = |why: String| OutboundError::Settings(format!("{} (`{setting}`): {why}", file.display()));
    let size = fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_LIMIT {
        return Err(failed(format!("{size} bytes are too many for certificates")));
    }
    fs::read(file).map_err(|error| failed(error.to_string()))
}

fn certificates(file: &Path, setting: &str) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let bytes = read(file, setting)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).collect::<Result<_, _>>().map_err(|error| {
        OutboundError::Settings(format!("{} (`{setting}`) is no PEM file: {error}", file.display()))
    })?;
    if found.is_empty() {
        let name = file.display();
        return Err(OutboundError::Settings(format!("{name} (`{setting}`) holds no certificate in PEM form")));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, OutboundError> {
    let bytes = read(file, "network.client_key")?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        OutboundError::Settings(format!(
            "{} (`network.client_key`) holds no private key in PEM form: {error}",
            file.display()
        ))
    })
}

fn pem_of(certificates: &[CertificateDer<'_>]) -> String {
    use base64::Engine as _;
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(64)); // base64 is ASCII
            text.push_str(line);
            text.push('\n');
            rest = after;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// The usual verifier, except that it names the issuer it does not know, and takes a server certificate that the
/// operator has put into `ca_files` itself (self-signed ones often are), for its name.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refused = match &self.inner {
            Some(inner) => match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
                Ok(verified) => return Ok(verified),
                Err(error) => error,
            },
            None => rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
        };
        let of_issuer = matches!(
            refused,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::Other(_))
        );
        if of_issuer && self.trusted.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match refused {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                let issuer = last_issuer(end_entity, intermediates);
                Err(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(issuer)))))
            }
            other => Err(other),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Follows the chain that the server sent to the issuer that is not in it.
fn last_issuer(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> UntrustedIssuer {
    let Some(mut current) = issuer::names(end_entity) else {
        return UntrustedIssuer { name: None, self_signed: false };
    };
    let alone = current.issuer == current.subject;
    let others: Vec<_> = intermediates.iter().filter_map(|certificate| issuer::names(certificate)).collect();
    for _ in 0..others.len() {
        match others.iter().find(|other| other.subject == current.issuer && other.subject != current.subject) {
            Some(next) => current = issuer::Names { issuer: next.issuer, subject: next.subject },
            None => break,
        }
    }
    UntrustedIssuer { name: issuer::readable(current.issuer), self_signed: alone }
}
