//! The transparent retry. (protocols: GitLab 0.)
//!
//! A busy answer (408, 429, 500, 502, 503, 504, from 512 on) is tried again, at most [`ATTEMPTS`] times in all, after
//! the wait that the server asks for or a growing one with jitter. No answer at all is not tried again here: the
//! caller knows whether repeating is harmless. After the last attempt the last answer is handed over as it is.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::breaker::BreakerChange;
use super::{Outbound, OutboundError, remote_of};

/// How often a request is sent at most.
pub const ATTEMPTS: u32 = 5;
/// The first wait of those that grow.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest of them.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Who waits for a remote that is left alone looks again after this long at the earliest: another may be probing it.
const SHORTEST_REST: Duration = Duration::from_millis(100);

/// Time and chance, passed in so that tests need neither.
pub trait Pace: Send + Sync + 'static {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// Waits.
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// A number from 0 up to, not including, 1.
    fn chance(&self) -> f64;
}

/// The machine's own.
pub(super) struct RealPace;

impl Pace for RealPace {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(wait))
    }

    fn chance(&self) -> f64 {
        rand::random()
    }
}

/// How much trouble one request is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How often it is sent at most.
    pub attempts: u32,
    /// How long one attempt may take until the headers of the answer are there, the request's body included.
    pub answer_within: Duration,
    /// The longest wait before another attempt. A server that asks for more is not waited for: its answer, with its
    /// wish, goes to the caller.
    pub longest_wait: Duration,
    /// How long to wait in all for a remote that is left alone by everybody. Zero: the caller is told at once.
    pub through_rests: Duration,
}

impl Patience {
    /// Five attempts, each answered within `answer_within`.
    pub const fn of(answer_within: Duration) -> Self {
        Self {
            attempts: ATTEMPTS,
            answer_within,
            longest_wait: Duration::from_secs(120),
            through_rests: Duration::ZERO,
        }
    }

    /// One attempt.
    pub const fn once(self) -> Self {
        Self { attempts: 1, ..self }
    }
}

impl Outbound {
    /// Sends a request, again where the answer says that the server is busy. `build` makes it anew for each attempt.
    ///
    /// Cancel-safe in that nothing here is left behind; whether the server has acted nobody can know.
    pub async fn send_with_retry<B>(&self, patience: Patience, build: B) -> Result<reqwest::Response, OutboundError>
    where
        B: Fn(&reqwest::Client) -> Result<reqwest::Request, OutboundError> + Send + Sync,
    {
        let (mut attempt, mut rested) = (1, Duration::ZERO);
        loop {
            let response = match self.send_once(patience.answer_within, &build).await {
                // Others found out that the remote does not answer; this request has not been sent yet.
                Err(OutboundError::Resting { wait, .. }) if rested + wait <= patience.through_rests => {
                    rested += wait.max(SHORTEST_REST);
                    self.pace().sleep(wait.max(SHORTEST_REST)).await;
                    continue;
                }
                other => other?,
            };
            if attempt >= patience.attempts || !is_busy(response.status()) {
                return Ok(response);
            }
            let wait = wait_before_next(response.headers(), attempt, self.pace().now(), self.pace().chance());
            if wait > patience.longest_wait {
                return Ok(response);
            }
            tracing::debug!(status = response.status().as_u16(), attempt, ?wait, "the server is busy; asking again");
            drop(response);
            self.pace().sleep(wait).await;
            attempt += 1;
        }
    }

    async fn send_once<B>(&self, answer_within: Duration, build: &B) -> Result<reqwest::Response, OutboundError>
    where
        B: Fn(&reqwest::Client) -> Result<reqwest::Request, OutboundError> + Send + Sync,
    {
        let client = self.http();
        let request = build(&client)?;
        let url = request.url().clone();
        let remote = remote_of(&url);
        let breaker = self.breaker(&remote);
        breaker.admit(Instant::now()).map_err(|wait| OutboundError::Resting { remote: remote.clone(), wait })?;
        let sent = tokio::time::timeout(answer_within, client.execute(request)).await;
        let failure = match sent {
            Ok(Ok(response)) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                super::explain::PROXY_AUTHENTICATION.to_owned()
            }
            Ok(Ok(response)) => {
                let gone = matches!(response.status(), StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
                breaker.note(if gone { BreakerChange::Failed } else { BreakerChange::Answered }, Instant::now());
                return Ok(response);
            }
            Ok(Err(error)) => self.explain(&error, &url),
            Err(_elapsed) => format!("{remote} did not answer within {} s", answer_within.as_secs().max(1)),
        };
        breaker.note(BreakerChange::Failed, Instant::now());
        Err(OutboundError::Transport(failure))
    }
}

/// Whether an answer says "later".
pub fn is_busy(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 512..)
}

/// How long the server wants to be left alone, if it says so at `now`.
pub fn wished_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |date: &str| {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
        let wait = Duration::try_from(date.duration_since(now)).ok()?;
        (!wait.is_zero()).then_some(wait)
    };
    if let Some(wait) = text("RateLimit-ResetTime").and_then(until) {
        return Some(wait);
    }
    let after = text("Retry-After")?;
    match after.parse::<u64>() {
        Ok(0) => None,
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => until(after),
    }
}

/// How long to wait after attempt number `attempt` (from 1): what the server wishes, else twice as long each time,
/// between half of it and all of it by `chance`.
pub fn wait_before_next(headers: &HeaderMap, attempt: u32, now: Timestamp, chance: f64) -> Duration {
    wished_wait(headers, now).unwrap_or_else(|| growing_wait(FIRST_WAIT, LONGEST_WAIT, attempt, chance))
}

/// `first` doubled for each attempt after the first, at most `longest`, between half of it and all of it by `chance`.
pub fn growing_wait(first: Duration, longest: Duration, attempt: u32, chance: f64) -> Duration {
    let full = first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(longest);
    full.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_bytes(k.as_bytes()).unwrap(), v.parse().unwrap())).collect()
    }

    #[test]
    fn the_statuses_of_the_protocol_are_busy() {
        for (status, busy) in [
            (408, true),
            (429, true),
            (500, true),
            (501, false),
            (502, true),
            (503, true),
            (504, true),
            (507, false),
            (511, false),
            (512, true),
            (530, true),
            (403, false),
            (201, false),
        ] {
            assert_eq!(is_busy(StatusCode::from_u16(status).unwrap()), busy, "{status}");
        }
    }

    #[test]
    fn the_server_says_how_long() {
        let now: Timestamp = "2026-08-22T10:00:00Z".parse().unwrap();
        let at = "Sat, 22 Aug 2026 10:00:30 GMT";
        for (given, wait) in [
            (headers(&[("ratelimit-resettime", at), ("retry-after", "5")]), Some(30)),
            (headers(&[("ratelimit-resettime", "Sat, 22 Aug 2026 09:00:00 GMT"), ("retry-after", "5")]), Some(5)),
            (headers(&[("retry-after", at)]), Some(30)),
            (headers(&[("retry-after", "0")]), None),
            (headers(&[("retry-after", "-4")]), None),
            (headers(&[("ratelimit-resettime", "soon")]), None),
            (headers(&[]), None),
        ] {
            assert_eq!(wished_wait(&given, now), wait.map(Duration::from_secs), "{given:?}");
        }
    }

    #[test]
    fn waits_grow_with_jitter_up_to_a_limit() {
        let none = HeaderMap::new();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(wait_before_next(&none, 1, now, 0.0), Duration::from_millis(50));
        assert_eq!(wait_before_next(&none, 4, now, 1.0), Duration::from_millis(800));
        assert_eq!(wait_before_next(&none, 90, now, 1.0), LONGEST_WAIT);
    }
}
