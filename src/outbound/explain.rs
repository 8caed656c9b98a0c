//! What a transport error means, in one sentence for people: what failed, and which setting or check mends it.

use std::error::Error;
use std::io;

use url::Url;

use super::names::NameError;
use super::remote_of;
use super::tls::UntrustedIssuer;

/// What is said when the proxy wants credentials or does not take ours.
pub(super) const PROXY_AUTHENTICATION: &str = "the proxy asks for a user name and password (407); put the right ones into `network.proxy`, as in http://user:password@host:port";

/// What the failure of a request to `url` means, which went through `proxy`.
pub(super) fn explain_via(error: &reqwest::Error, url: &Url, proxy: Option<&str>) -> String {
    let remote = remote_of(url);
    let whom = match proxy {
        Some(proxy) => format!("{remote} (through the proxy {proxy})"),
        None => remote.clone(),
    };
    if let Some(issuer) = find::<UntrustedIssuer>(error) {
        return format!(
            "{remote} shows a certificate of {issuer}, which this machine does not trust; add the certificate of that issuer to `network.ca_files`"
        );
    }
    if let Some(tls) = find::<rustls::Error>(error) {
        return explain_tls(tls, &remote);
    }
    if let Some(name) = find::<NameError>(error) {
        return match proxy {
            Some(proxy) if !name.host.eq_ignore_ascii_case(url.host_str().unwrap_or_default()) => {
                format!("the proxy {proxy} (`network.proxy`) cannot be reached: {name}")
            }
            _ => name.to_string(),
        };
    }
    if let Some(said) = explain_tunnel(error, &remote) {
        return said;
    }
    if error.is_timeout() || find::<io::Error>(error).is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
        return format!("{whom} did not answer in time");
    }
    if let Some(io) = find::<io::Error>(error) {
        return explain_io(io, error.is_connect(), &remote, proxy);
    }
    if error.is_builder() {
        return format!("the request to {whom} cannot be made: {}", innermost(error));
    }
    format!("the exchange with {whom} broke off: {}", innermost(error))
}

fn explain_tls(error: &rustls::Error, remote: &str) -> String {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
    match error {
        Tls::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            format!(
                "the certificate of {remote} has expired; it must be renewed there (or this machine's clock is wrong)"
            )
        }
        Tls::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            format!("the certificate of {remote} is not valid yet; check this machine's clock")
        }
        Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("the certificate of {remote} is for other names; use the address that it was made for")
        }
        Tls::AlertReceived(Alert::CertificateRequired | Alert::HandshakeFailure | Alert::BadCertificate) => format!(
            "{remote} refused the TLS connection ({error}); if it asks for a client certificate, set `network.client_certificate` and `network.client_key`"
        ),
        other => format!("TLS with {remote} failed: {other}"),
    }
}

/// The tunnel's errors have no public type; their texts are all there is, and only the message depends on them.
fn explain_tunnel(error: &reqwest::Error, remote: &str) -> Option<String> {
    let texts: Vec<String> = causes(error).map(|cause| cause.to_string()).collect();
    let says = |words: &str| texts.iter().any(|text| text.contains(words));
    if says("proxy authorization required") || says("proxy authentication required") {
        return Some(PROXY_AUTHENTICATION.to_owned());
    }
    says("unsuccessful tunnel").then(|| {
        format!("the proxy refuses to connect to {remote}; it must be allowed there, or the host be named in `network.no_proxy`")
    })
}

fn explain_io(error: &io::Error, connecting: bool, remote: &str, proxy: Option<&str>) -> String {
    let (whom, check) = match proxy {
        Some(proxy) if connecting => (format!("the proxy {proxy}"), "check `network.proxy`"),
        _ => (remote.to_owned(), "check the address and whether the server runs"),
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("{whom} refuses connections; {check}"),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            format!("there is no way to {whom} from this machine; check its network, or set `network.proxy`")
        }
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            format!("{whom} closed the connection")
        }
        _ if connecting => format!("{whom} cannot be reached: {error}; {check}"),
        _ => format!("the exchange with {whom} broke off: {error}"),
    }
}

/// All causes, also those that `io::Error` hides from `source`.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| {
        if let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            let inner: &(dyn Error + 'static) = inner;
            return Some(inner);
        }
        // The reason why a certificate is refused is not a `source` of the TLS error.
        if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = cause.downcast_ref() {
            let inner: &(dyn Error + 'static) = other.0.as_ref();
            return Some(inner);
        }
        cause.source()
    })
    .take(32)
}

fn find<T: Error + 'static>(error: &reqwest::Error) -> Option<&T> {
    // The innermost counts: an `io::Error` is often only the wrapper of another.
    causes(error).filter_map(|cause| cause.downcast_ref::<T>()).last()
}

fn innermost(error: &reqwest::Error) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
