//! Asking for jobs. (protocols: GitLab 2.)

use std::future::Future;
use std::pin::pin;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Api, ApiError, Call, Caller, Wants};
use super::convert::owner;
use super::pace::PollYield;
use super::wire::{JobHead, JobRequest, JobResponse};
use super::{GitLab, convert};
use crate::forge::{Assignment, PollError, Polled};
use crate::outbound::{OutboundError, Patience};
use crate::pipeline::{ForgeInstance, JobId, JobKey, Owner, ProjectId, Trust};

/// The largest job taken.
const PAYLOAD_LIMIT: u64 = 32 * 1024 * 1024;
/// How long the server may hold a poll: far above what servers do, as the official runner.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);
/// A poll this young may be in the middle of being given a job; an older one is being held, and a held one is ended
/// without a job. (2.4)
const YOUNG: Duration = Duration::from_secs(2);
/// A poll that took so long was held.
const HELD: Duration = Duration::from_secs(1);
/// So many polls in a row may be answered at once with news before the server is asked at the usual pace: a busy queue,
/// whose jobs other runners take, has news all the time.
const MOST_UNHELD: u32 = 5;
/// The queue's version is some digits; what is longer is none, and would push the request over the server's limit.
const LONGEST_LAST_UPDATE: usize = 1024;

pub(super) async fn poll(forge: &GitLab, stop: &CancellationToken) -> Result<Polled, PollError> {
    let nothing = Ok(Polled::Nothing { pause: Duration::ZERO });
    let Some(_right) = forge.requests.enter(stop).await else { return nothing };
    if stop.is_cancelled() {
        return nothing;
    }
    let begun = Instant::now();
    let token = &forge.settings.token;
    if token.expose().trim().is_empty() {
        return Err(PollError::Refused(format!(
            "the registration `{}` has no token; register it again",
            forge.settings.name
        )));
    }
    let last_update = forge.last_update.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = JobRequest {
        info: &forge.info,
        token: token.expose(),
        system_id: &forge.settings.system_id,
        last_update: last_update.as_deref(),
    };
    let mut call = Call::new(Method::POST, "jobs/request", Caller::Runner(token)).json(&body).answered_with_json();
    // Sent once: the poll loop asks again after a busy answer, and `begun` is when this very question was asked.
    call.patience = Patience::of(ANSWER_WITHIN).once();
    let sent = last_update.as_deref();
    let Some(started) = unless_stopped(forge.api.start(&call), begun, stop).await else { return nothing };
    // From here on the answer is ours whatever happens: it may hold a job.
    let answer = match started {
        Ok((response, own_id)) => forge.api.read(response, own_id, Wants::Body(PAYLOAD_LIMIT)).await,
        Err(error) => Err(error),
    };
    let answer = answer.map_err(|error| no_answer(forge, &error))?;
    understand(forge, &answer, sent, begun.elapsed())
}

/// Waits for `call` and, when `stop` comes, only as long as it is young.
async fn unless_stopped<T>(call: impl Future<Output = T>, begun: Instant, stop: &CancellationToken) -> Option<T> {
    let mut call = pin!(call);
    tokio::select! {
        biased;
        done = &mut call => return Some(done),
        () = stop.cancelled() => {}
    }
    let left = YOUNG.saturating_sub(begun.elapsed());
    tokio::time::timeout(left, call).await.ok()
}

fn no_answer(forge: &GitLab, error: &ApiError) -> PollError {
    forge.requests.note(PollYield::Nothing);
    let retry_after = match error {
        ApiError::Outbound(OutboundError::Resting { wait, .. }) => Some(*wait),
        ApiError::Outbound(_) | ApiError::Address { .. } | ApiError::Nonsense { .. } => None,
    };
    PollError::Unavailable { message: error.to_string(), retry_after }
}

/// How long to wait after an answer without a job. (2.3, 2.4)
///
/// Asked again at once is a server that held the poll: it ends one to say that there is something now, and holds the next
/// when there is nothing. The same holds where the queue's version is new: the server read it before it searched, so that
/// a job may have come since, and the next question costs it nothing when none has.
fn pause(forge: &GitLab, answer: &Answer, sent: Option<&str>, took: Duration) -> Duration {
    let usual = forge.settings.check_interval.saturating_sub(took);
    let is_news = match answer.header("X-GitLab-Last-Update").filter(|text| !text.is_empty()) {
        Some(update) => Some(update) != sent,
        // The server's front ended the poll itself; it holds none that carries no version.
        None => sent.is_some(),
    };
    if !is_news {
        forge.unheld.store(0, Ordering::Relaxed);
        return usual;
    }
    if took >= HELD {
        forge.unheld.store(0, Ordering::Relaxed);
        return Duration::ZERO;
    }
    soon(forge, usual)
}

/// At once, but not too often in a row: then `usual`.
fn soon(forge: &GitLab, usual: Duration) -> Duration {
    let in_a_row = forge.unheld.fetch_add(1, Ordering::Relaxed);
    if in_a_row < MOST_UNHELD { Duration::ZERO } else { usual }
}

/// The table of 2.2.
fn understand(forge: &GitLab, answer: &Answer, sent: Option<&str>, took: Duration) -> Result<Polled, PollError> {
    if let Some(update) = answer.header("X-GitLab-Last-Update").filter(|text| !text.is_empty()) {
        let known = (update.len() <= LONGEST_LAST_UPDATE).then(|| update.to_owned());
        *forge.last_update.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
    let busy = crate::outbound::retry::is_busy(answer.status);
    forge.requests.note(match answer.status {
        StatusCode::CREATED => PollYield::Job,
        _ if busy => PollYield::Busy,
        _ => PollYield::Nothing,
    });
    let unavailable = |what: &str| PollError::Unavailable {
        message: format!("{} answered {} to the request for a job{what}", forge.api.remote(), answer.said()),
        retry_after: answer.retry_after,
    };
    match answer.status {
        StatusCode::CREATED => {
            forge.unheld.store(0, Ordering::Relaxed);
            assignment(&forge.api, &forge.instance, answer).map(|job| Polled::Job(Box::new(job)))
        }
        StatusCode::NO_CONTENT => Ok(Polled::Nothing { pause: pause(forge, answer, sent, took) }),
        StatusCode::FORBIDDEN => Err(PollError::Refused(format!(
            "{} refuses the registration `{}` ({}): its token was revoked or the runner deleted; register it again",
            forge.api.remote(),
            forge.settings.name,
            answer.said()
        ))),
        // Another runner was faster with a job; there may be more.
        StatusCode::CONFLICT => {
            Ok(Polled::Nothing { pause: soon(forge, forge.settings.check_interval.saturating_sub(took)) })
        }
        StatusCode::UNPROCESSABLE_ENTITY => Err(unavailable("; a runner without an owner gets no jobs")),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Err(unavailable("; the request is too large, shorten the registration's labels"))
        }
        StatusCode::SERVICE_UNAVAILABLE => Err(unavailable("; it is not available at the moment")),
        _ => Err(unavailable("")),
    }
}

/// A job from its answer. One whose details cannot be read is taken all the same, on behalf of nobody trusted, so that
/// its failure can be reported: it is ours, and nobody else will run it.
fn assignment(api: &Api, forge: &ForgeInstance, answer: &Answer) -> Result<Assignment, PollError> {
    let unusable =
        |error: &dyn std::fmt::Display| PollError::Unavailable { message: error.to_string(), retry_after: None };
    let head: JobHead = answer.json(api, "the request for a job").map_err(|error| unusable(&error))?;
    if head.id <= 0 || head.token.is_empty() {
        return Err(unusable(&format!("{} handed out a job without an id or a token", api.remote())));
    }
    let id = JobId::new(head.id.to_string());
    let key = JobKey::of(forge, &id, head.token.expose());
    let payload = convert::parse(&answer.body).ok();
    let owner = match &payload {
        Some(payload) => owner::owner(forge, payload),
        None => Owner { forge: forge.clone(), project: ProjectId::new("unknown"), trust: Trust::Fork },
    };
    let payload: JobResponse = payload.unwrap_or_default();
    Ok(Assignment {
        key,
        id,
        name: payload.job_info.name,
        project_path: payload.job_info.project_full_path,
        owner,
        payload: answer.body.clone(),
        correlation_id: answer.request_id.clone(),
    })
}
