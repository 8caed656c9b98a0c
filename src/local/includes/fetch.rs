//! One file, asked for over HTTP.

use std::time::Duration;

use http::{StatusCode, header};
use url::Url;

use super::allow::{AllowList, named};
use crate::outbound::{Outbound, OutboundError, Patience, read_limited};
use crate::parser::gitlab::compose::RemoteError;

/// How long a connection may take.
pub const CONNECT: Duration = Duration::from_secs(10);
/// How long to wait for an answer, and for the next bytes of it.
pub const ANSWER: Duration = Duration::from_secs(20);
/// How long a whole file may take.
pub const WHOLE: Duration = Duration::from_secs(60);
/// The biggest file, in bytes. GitLab takes 2 MB.
pub const BIGGEST: u64 = 4 << 20;
/// How many redirects are followed.
const REDIRECTS: usize = 5;
/// A busy server is asked again, though nobody waits long for a file.
const PATIENCE: Patience = Patience {
    attempts: 3,
    answer_within: ANSWER,
    longest_wait: Duration::from_secs(5),
    through_rests: Duration::ZERO,
};

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is what it was.
    Same,
    /// The file.
    Body {
        /// Its content.
        bytes: Vec<u8>,
        /// What the server calls this version.
        tag: Option<String>,
    },
}

/// Asks for the file at `url`; with `tag`, whether it is still that version. Redirects are followed to allowed hosts only.
pub async fn get(
    outbound: &Outbound,
    allowed: &AllowList,
    url: &Url,
    tag: Option<String>,
) -> Result<Answer, RemoteError> {
    let mut at = url.clone();
    for _ in 0..=REDIRECTS {
        allowed.admit(&at).map_err(|why| match at == *url {
            true => RemoteError::Unavailable(why),
            false => RemoteError::Unavailable(format!("it redirects to {}, and {why}", named(&at))),
        })?;
        let response = send(outbound, &at, tag.as_deref()).await?;
        let status = response.status();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        match status {
            StatusCode::NOT_MODIFIED if tag.is_some() => return Ok(Answer::Same),
            StatusCode::OK => {
                let tag = text(header::ETAG);
                let bytes = read_limited(outbound, response, BIGGEST).await.map_err(unavailable)?;
                return Ok(Answer::Body { bytes: bytes.to_vec(), tag });
            }
            _ if status.is_redirection() => at = next(&at, text(header::LOCATION))?,
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Err(RemoteError::Missing(format!("{} has no such file", named(&at))));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(closed(&at)),
            _ => return Err(RemoteError::Unavailable(format!("{} answers {status}", named(&at)))),
        }
    }
    Err(RemoteError::Unavailable(format!("{} redirects more than {REDIRECTS} times", named(url))))
}

async fn send(outbound: &Outbound, url: &Url, tag: Option<&str>) -> Result<reqwest::Response, RemoteError> {
    let build = |client: &reqwest::Client| {
        let mut request = client.get(url.clone());
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request.build().map_err(|error| OutboundError::Settings(error.to_string()))
    };
    outbound.send_with_retry(PATIENCE, build).await.map_err(unavailable)
}

fn next(from: &Url, location: Option<String>) -> Result<Url, RemoteError> {
    let to = location.and_then(|location| from.join(&location).ok());
    let to = to.ok_or_else(|| RemoteError::Unavailable(format!("{} redirects to nowhere", named(from))))?;
    // What GitLab says to a stranger who asks for a private project's file.
    if to.path().ends_with("/users/sign_in") { Err(closed(from)) } else { Ok(to) }
}

fn closed(url: &Url) -> RemoteError {
    let host = named(url);
    RemoteError::Missing(format!("{host} gives it to nobody who has not signed in, and nothing here signs in"))
}

#[allow(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn unavailable(error: OutboundError) -> RemoteError {
    RemoteError::Unavailable(error.to_string())
}
