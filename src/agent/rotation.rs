//! Tokens that expire are replaced before they do.

use std::sync::Arc;
use std::time::Duration;

use super::registration::{ExpiringToken, Registrar};

/// Pause after a token could not be replaced.
const TRY_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Longest time that is slept at a stretch, so that a clock that was set wrong is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// When a token is to be replaced: after three quarters of its life (protocols: GitLab 1.5).
pub fn due(token: &ExpiringToken) -> jiff::Timestamp {
    let life = token.expires_at.as_second().saturating_sub(token.obtained_at.as_second()).max(0);
    let at = token.obtained_at.as_second().saturating_add(life / 4 * 3);
    jiff::Timestamp::from_second(at).unwrap_or(token.expires_at)
}

/// Waits until a token is due and replaces it; returns then. Never returns when there is nothing to replace: to be
/// dropped and begun again when registrations change. Dropped in the middle of a replacement, the registrar finishes or
/// has not begun: it writes the new token before it returns.
pub async fn rotate_next<G: Registrar>(registrar: &Arc<G>, clock: fn() -> jiff::Timestamp) {
    loop {
        let next = registrar.expiring().await.into_iter().min_by_key(due);
        let Some(token) = next else { return std::future::pending().await };
        let wait = due(&token).as_second().saturating_sub(clock().as_second());
        if wait > 0 {
            tokio::time::sleep(Duration::from_secs(wait.unsigned_abs()).min(LONGEST_SLEEP)).await;
            continue; // look again: somebody else may have replaced it
        }
        let registration = token.registration.as_str();
        match registrar.rotate(registration).await {
            Ok(()) => {
                tracing::info!(registration, "the token was replaced before it expired");
                return;
            }
            Err(error) => {
                tracing::error!(registration, error, expires_at = %token.expires_at, "the token cannot be replaced; trying again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_replaced_after_three_quarters_of_its_life() {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let token = |from, to| ExpiringToken { registration: "r".into(), obtained_at: at(from), expires_at: at(to) };
        assert_eq!(due(&token(1000, 1400)), at(1300));
        assert_eq!(due(&token(1000, 500)), at(1000), "one that is over already: at once");
    }
}
