//! Which forge an address and a token belong to.
//!
//! The token's prefix says it without a request. Else the forges' own registration calls are tried, so that a server that
//! offers only the runner API is enough.

use http::{Method, StatusCode};
use url::Url;

use super::gitlab::client::{Api, Call, Caller};
use crate::outbound::{Outbound, OutboundError, Patience};
use crate::pipeline::Secret;

/// A kind of forge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectedForge {
    /// GitLab.
    GitLab,
    /// GitHub or GitHub Enterprise.
    GitHub,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
}

impl DetectedForge {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            DetectedForge::GitLab => "GitLab",
            DetectedForge::GitHub => "GitHub",
            DetectedForge::Gitea => "Gitea",
            DetectedForge::Forgejo => "Forgejo",
        }
    }

    /// Whether this version can serve it.
    pub fn is_supported(self) -> bool {
        matches!(self, DetectedForge::GitLab)
    }
}

/// Why no forge can be served.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DetectError {
    /// Found, but not ours yet.
    #[error("{url} is a {}, which this version of forgehand cannot serve yet; GitLab it can", .forge.as_str())]
    NotYet {
        /// The address.
        url: String,
        /// What it is.
        forge: DetectedForge,
    },
    /// Nothing answered like a forge.
    #[error("{url} does not answer like a forge ({said}); check the address, or name the forge with `--forge`")]
    Unknown {
        /// The address.
        url: String,
        /// What happened instead.
        said: String,
    },
}

/// The forge by the prefix of its token, without a request.
pub fn by_token(token: &str) -> Option<DetectedForge> {
    ["glrt-", "glrtr-", "GR1348941"].iter().any(|prefix| token.starts_with(prefix)).then_some(DetectedForge::GitLab)
}

/// Refuses a forge that cannot be served yet, by its name.
pub fn supported(forge: DetectedForge, url: &Url) -> Result<DetectedForge, DetectError> {
    if forge.is_supported() { Ok(forge) } else { Err(DetectError::NotYet { url: shown(url), forge }) }
}

/// The forge at `url` that `token` is for; an error where it is none that can be served.
pub async fn detect(outbound: &Outbound, url: &Url, token: &Secret) -> Result<DetectedForge, DetectError> {
    if let Some(forge) = by_token(token.expose()) {
        return supported(forge, url);
    }
    if url.host_str().is_some_and(|host| host == "github.com" || host.ends_with(".ghe.com")) {
        return supported(DetectedForge::GitHub, url);
    }
    let said = match asks_like_gitlab(outbound, url, token).await {
        Ok(true) => return Ok(DetectedForge::GitLab),
        Ok(false) => "neither the calls of GitLab nor those of Gitea".to_owned(),
        Err(said) => said,
    };
    if let Some(forge) = asks_like_gitea(outbound, url).await {
        return supported(forge, url);
    }
    Err(DetectError::Unknown { url: shown(url), said })
}

/// GitLab's verification: 200 for a runner's token, 403 with JSON for any other.
async fn asks_like_gitlab(outbound: &Outbound, url: &Url, token: &Secret) -> Result<bool, String> {
    let api = Api::new(outbound.clone(), url).map_err(|error| error.to_string())?;
    let body = serde_json::json!({ "token": token.expose() });
    let mut call = Call::new(Method::POST, "runners/verify", Caller::Runner(token)).json(&body).answered_with_json();
    call.patience = call.patience.once();
    let answer = api.send(call).await.map_err(|error| error.to_string())?;
    Ok(match answer.status {
        StatusCode::OK => answer.is_json() || answer.body.trim_ascii() == b"200",
        StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => answer.is_json() && answer.message().is_some(),
        _ => false,
    })
}

/// Gitea's ping, then the version that only Forgejo has.
async fn asks_like_gitea(outbound: &Outbound, url: &Url) -> Option<DetectedForge> {
    let base = super::gitlab::client::instance(url);
    let at = |path: &str| Url::parse(&format!("{}/{path}", base.as_str())).ok();
    let ping = at("api/actions/ping.v1.PingService/Ping")?;
    if !answers_json(outbound, Method::POST, &ping).await {
        return None;
    }
    let forgejo = at("api/forgejo/v1/version")?;
    let is_forgejo = answers_json(outbound, Method::GET, &forgejo).await;
    Some(if is_forgejo { DetectedForge::Forgejo } else { DetectedForge::Gitea })
}

async fn answers_json(outbound: &Outbound, method: Method, url: &Url) -> bool {
    let patience = Patience::of(std::time::Duration::from_secs(30)).once();
    let sent = outbound
        .send_with_retry(patience, |client| {
            let mut request = client.request(method.clone(), url.clone());
            if method == Method::POST {
                request = request.json(&serde_json::json!({ "data": "forgehand" }));
            }
            request.build().map_err(|error| OutboundError::Transport(outbound.explain(&error, url)))
        })
        .await;
    sent.is_ok_and(|response| {
        let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        response.status() == StatusCode::OK && kind.is_some_and(|kind| kind.starts_with("application/json"))
    })
}

fn shown(url: &Url) -> String {
    super::gitlab::client::instance(url).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_enough() {
        for token in ["glrt-t1_abc", "glrtr-abc", "GR1348941abc"] {
            assert_eq!(by_token(token), Some(DetectedForge::GitLab), "{token}");
        }
        assert_eq!(by_token("AABBCC"), None);
    }

    #[tokio::test]
    async fn a_forge_that_is_not_done_is_refused_by_its_name() {
        let outbound = Outbound::new(crate::outbound::OutboundSettings::default()).unwrap();
        let url = Url::parse("https://github.com/a/b").unwrap();
        let error = detect(&outbound, &url, &Secret::new("AABB")).await.unwrap_err();
        assert!(error.to_string().contains("GitHub"), "{error}");
    }
}
