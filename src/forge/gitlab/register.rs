//! From a token to a registration and back. (protocols: GitLab 1.)

use std::time::Duration;

use http::{Method, StatusCode, header};
use jiff::Timestamp;
use url::Url;

use super::client::{Answer, Api, ApiError, Call, Caller};
use super::info::Info;
use super::settings::GitLabSettings;
use super::wire::{RegisterRequest, RunnerResponse, TokenBody, VerifyRequest};
use crate::forge::RunnerToken;
use crate::outbound::{Outbound, Patience};
use crate::pipeline::Secret;

/// What a token is, by its form. (1.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// `glrt-`, `glrtr-`: already a runner's; is verified, not registered.
    Runner,
    /// `GR1348941…`: registers a new runner.
    Registration,
    /// Without a prefix: an old runner's or an instance's own registration token.
    Unknown,
}

impl TokenKind {
    /// The kind of `token`.
    pub fn of(token: &str) -> Self {
        if token.starts_with("glrt-") || token.starts_with("glrtr-") {
            TokenKind::Runner
        } else if token.starts_with("GR1348941") {
            TokenKind::Registration
        } else {
            TokenKind::Unknown
        }
    }
}

/// What only a registration token can set; with a runner token it is the server's. (1.4)
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    /// Name shown to people.
    pub description: String,
    /// Tags of jobs to take; empty: untagged jobs.
    pub tags: Vec<String>,
}

/// A registration that the server knows.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The runner's id at the server; very old servers do not tell.
    pub runner_id: Option<u64>,
    /// The token for everything from now on.
    pub token: RunnerToken,
}

/// Whether a token is good.
#[derive(Clone, Debug)]
pub enum Verified {
    /// It is.
    Valid(Registered),
    /// The server does not know it (any more).
    Refused(String),
    /// The runner has no owner and gets no jobs.
    Orphaned(String),
}

/// What to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unregister {
    /// The runner with all its machines.
    Runner,
    /// This machine only; the runner and its token stay. Right for tokens made in the UI.
    ThisMachine,
}

/// Why a registration could not be made, changed or removed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegisterError {
    /// No usable answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server said no.
    #[error("{remote} {what} ({said}); {hint}")]
    Refused {
        /// Scheme, host and port.
        remote: String,
        /// What it did, `does not know this token`.
        what: &'static str,
        /// Its own words.
        said: String,
        /// What to do.
        hint: &'static str,
    },
    /// The arguments do not go together.
    #[error("{0}")]
    Arguments(&'static str),
}

/// Makes a registration: a runner token is verified, a registration token creates a runner. `settings.token` is the
/// token as given; the token to keep is in the answer.
pub async fn register(
    outbound: &Outbound,
    settings: &GitLabSettings,
    options: &RegisterOptions,
) -> Result<Registered, RegisterError> {
    go_together(&settings.token, options)?;
    match TokenKind::of(settings.token.expose()) {
        TokenKind::Runner => by_verifying(outbound, settings).await,
        TokenKind::Registration => by_registering(outbound, settings, options).await,
        // Old tokens have no prefix. One that is a runner's verifies; else it is tried as a registration token.
        TokenKind::Unknown => match verify(outbound, settings).await? {
            Verified::Valid(registered) => Ok(registered),
            Verified::Refused(_) | Verified::Orphaned(_) => by_registering(outbound, settings, options).await,
        },
    }
}

/// Whether the token and the options go together, which needs no server to see.
pub fn go_together(token: &Secret, options: &RegisterOptions) -> Result<(), RegisterError> {
    if TokenKind::of(token.expose()) == TokenKind::Runner && !options.tags.is_empty() {
        return Err(RegisterError::Arguments(
            "labels of a runner with a glrt- token are set in GitLab's own settings of the runner; leave `--labels` out",
        ));
    }
    Ok(())
}

async fn by_verifying(outbound: &Outbound, settings: &GitLabSettings) -> Result<Registered, RegisterError> {
    let remote = Api::new(outbound.clone(), &settings.url)?.remote();
    match verify(outbound, settings).await? {
        Verified::Valid(registered) => Ok(registered),
        Verified::Refused(said) => Err(RegisterError::Refused {
            remote,
            what: "does not know this token",
            said,
            hint: "create a runner in GitLab's settings (CI/CD, Runners) and use the token shown there",
        }),
        Verified::Orphaned(said) => Err(RegisterError::Refused {
            remote,
            what: "has no owner for this runner",
            said,
            hint: "create a new runner in GitLab and use its token",
        }),
    }
}

/// `POST runners`. (1.3)
async fn by_registering(
    outbound: &Outbound,
    settings: &GitLabSettings,
    options: &RegisterOptions,
) -> Result<Registered, RegisterError> {
    let api = Api::new(outbound.clone(), &settings.url)?;
    let info = Info::of(settings);
    let tag_list = options.tags.join(",");
    let body = RegisterRequest {
        info: &info,
        token: settings.token.expose(),
        description: &options.description,
        tag_list: &tag_list,
        run_untagged: options.tags.is_empty(),
        locked: true,
        paused: false,
    };
    let call = Call::new(Method::POST, "runners", Caller::Runner(&settings.token)).json(&body).answered_with_json();
    let answer = api.send(call).await?;
    let refused = |what, hint| RegisterError::Refused { remote: api.remote(), what, said: answer.said(), hint };
    match answer.status {
        StatusCode::CREATED => {
            let response: RunnerResponse = answer.json(&api, "the registration")?;
            registered(&api, response, None)
        }
        StatusCode::FORBIDDEN => Err(refused(
            "does not know this registration token",
            "create a runner in GitLab's settings (CI/CD, Runners) and use the glrt- token shown there",
        )),
        StatusCode::GONE => Err(refused(
            "does not allow registration tokens",
            "create a runner in GitLab's settings (CI/CD, Runners) and use the glrt- token shown there",
        )),
        StatusCode::BAD_REQUEST => Err(refused("refuses the registration", "correct what it names and try again")),
        _ => Err(refused("did not take the registration", "try again later")),
    }
}

/// Asks whether the registration's token is good, and tells the server what this runner can do. An `Err` means that the
/// token may be good: nothing must be removed because of it. (1.2)
pub async fn verify(outbound: &Outbound, settings: &GitLabSettings) -> Result<Verified, RegisterError> {
    let api = Api::new(outbound.clone(), &settings.url)?;
    let answer = api.send(verification(settings)).await?;
    match answer.status {
        StatusCode::OK => {
            // Very old servers answer the plain text `200`. An HTML page is somebody else.
            let response = if answer.is_json() {
                answer.json(&api, "the verification")?
            } else if answer.body.trim_ascii() == b"200" {
                RunnerResponse::default()
            } else {
                return Err(nonsense(&api, &answer).into());
            };
            registered(&api, response, Some(&settings.token)).map(Verified::Valid)
        }
        StatusCode::FORBIDDEN => Ok(Verified::Refused(answer.said())),
        StatusCode::UNPROCESSABLE_ENTITY => Ok(Verified::Orphaned(answer.said())),
        _ => Err(RegisterError::Refused {
            remote: api.remote(),
            what: "cannot say whether the token is good",
            said: answer.said(),
            hint: "check the address, and try again later",
        }),
    }
}

fn verification(settings: &GitLabSettings) -> Call<'_> {
    let info = Info::of(settings);
    let body = VerifyRequest { info: &info, token: settings.token.expose(), system_id: &settings.system_id };
    Call::new(Method::POST, "runners/verify", Caller::Runner(&settings.token)).json(&body).answered_with_json()
}

/// Reaches the server, once and within a time, and tells the time it has. It is asked to verify the token, since servers
/// that serve nothing but the runners' calls are servers, too; what it says to that does not matter here.
pub async fn contact(
    outbound: &Outbound,
    settings: &GitLabSettings,
    within: Duration,
) -> Result<Option<Timestamp>, ApiError> {
    let api = Api::new(outbound.clone(), &settings.url)?;
    let mut call = verification(settings);
    call.patience = Patience::of(within).once();
    let (response, _own_id) = api.start(&call).await?;
    let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp()))
}

/// Removes the runner or this machine at the server. What is not there any more counts as removed.
pub async fn unregister(outbound: &Outbound, settings: &GitLabSettings, what: Unregister) -> Result<(), RegisterError> {
    let api = Api::new(outbound.clone(), &settings.url)?;
    let (path, system_id) = match what {
        Unregister::Runner => ("runners", None),
        Unregister::ThisMachine => ("runners/managers", Some(settings.system_id.as_str())),
    };
    let body = TokenBody { token: settings.token.expose(), system_id };
    let call = Call::new(Method::DELETE, path, Caller::Runner(&settings.token)).json(&body);
    let answer = api.send(call).await?;
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND if what == Unregister::ThisMachine => Ok(()),
        StatusCode::FORBIDDEN => Err(RegisterError::Refused {
            remote: api.remote(),
            what: "does not know this runner (any more)",
            said: answer.said(),
            hint: "remove the registration here only",
        }),
        _ => Err(RegisterError::Refused {
            remote: api.remote(),
            what: "did not remove the runner",
            said: answer.said(),
            hint: "try again later, or remove it in GitLab's settings",
        }),
    }
}

/// Replaces the registration's token. The old one is worth nothing from then on: keep the new one before anything else.
pub async fn reset_token(
    outbound: &Outbound,
    settings: &GitLabSettings,
    now: &Secret,
) -> Result<RunnerToken, RegisterError> {
    let api = Api::new(outbound.clone(), &settings.url)?;
    let body = TokenBody { token: now.expose(), system_id: None };
    let path = "runners/reset_authentication_token";
    // Once: a repetition after a lost answer would be refused, and its failure hide what happened.
    let mut call = Call::new(Method::POST, path, Caller::Runner(now)).json(&body).answered_with_json();
    call.patience = call.patience.once();
    let answer = api.send(call).await?;
    if answer.status == StatusCode::CREATED {
        let response: RunnerResponse = answer.json(&api, "the renewal of the token")?;
        return registered(&api, response, None).map(|registered| registered.token);
    }
    Err(RegisterError::Refused {
        remote: api.remote(),
        what: "did not renew the runner's token",
        said: answer.said(),
        hint: "it is tried again; if the token expires, register the runner again",
    })
}

/// The address as it is kept in the configuration.
pub fn clean_url(url: &Url) -> String {
    super::client::instance(url).as_str().to_owned()
}

fn nonsense(api: &Api, answer: &Answer) -> ApiError {
    ApiError::Nonsense {
        remote: api.remote(),
        call: "the verification".to_owned(),
        status: answer.status,
        why: "its content is not JSON".to_owned(),
    }
}

fn registered(api: &Api, response: RunnerResponse, known: Option<&Secret>) -> Result<Registered, RegisterError> {
    let token = match known {
        Some(token) if response.token.is_empty() => token.clone(),
        _ => response.token,
    };
    if token.is_empty() {
        return Err(RegisterError::Refused {
            remote: api.remote(),
            what: "gave no token",
            said: "an answer without `token`".to_owned(),
            hint: "check the address",
        });
    }
    let token = RunnerToken {
        token,
        obtained_at: api.outbound().pace().now(),
        // Go's zero time means the same as null.
        expires_at: response.token_expires_at.parse::<Timestamp>().ok().filter(|at| at.as_second() > 0),
    };
    Ok(Registered { runner_id: u64::try_from(response.id).ok().filter(|id| *id > 0), token })
}
