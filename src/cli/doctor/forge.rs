//! Checks of a registration's forge.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::super::forge_calls::TokenVerdict;
use super::{Check, Finding};

/// How wrong this machine's clock may be: certificates and tokens are judged by it.
const SKEW_WARNING: i64 = 30;

/// From here on TLS and signed URLs begin to fail.
const SKEW_FAILURE: i64 = 300;

/// Asks one registration's forge.
pub trait ForgeProbe: Send + Sync {
    /// The registration's name.
    fn registration(&self) -> String;

    /// Reaches the forge, with a call of the runners' API, whatever it says of the token. An error is one sentence that says what failed (name, TLS,
    /// proxy) and names the setting that mends it.
    fn contact(&self) -> BoxFuture<'_, Result<Contact, String>>;

    /// Shows it the token; `None` where there is none.
    fn token(&self) -> BoxFuture<'_, Option<TokenVerdict>>;
}

/// A forge was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Its address, without credentials.
    pub url: String,
    /// What its `Date` header says.
    pub date: Option<jiff::Timestamp>,
    /// This machine's time in the middle between question and answer.
    pub asked_at: jiff::Timestamp,
}

/// The forge can be reached.
pub struct ForgeReachable<P: ?Sized>(pub Arc<P>);

/// The forge knows the token.
pub struct TokenValid<P: ?Sized>(pub Arc<P>);

/// This machine's clock agrees with the forge's.
pub struct ClockAgrees<P: ?Sized>(pub Arc<P>);

/// The three checks of one forge.
pub fn checks<P: ForgeProbe + 'static>(probe: P) -> Vec<Box<dyn Check>> {
    let probe = Arc::new(probe);
    vec![Box::new(ForgeReachable(probe.clone())), Box::new(TokenValid(probe.clone())), Box::new(ClockAgrees(probe))]
}

impl<P: ForgeProbe + ?Sized> Check for ForgeReachable<P> {
    fn name(&self) -> String {
        format!("forge of `{}`", self.0.registration())
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            match self.0.contact().await {
                Ok(contact) => Finding::Ok(format!("{} answers", contact.url)),
                Err(error) => Finding::failed(error, "check `url` and `network` of the registration"),
            }
        })
    }
}

impl<P: ForgeProbe + ?Sized> Check for TokenValid<P> {
    fn name(&self) -> String {
        format!("token of `{}`", self.0.registration())
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            let again = "register again: `forgehand unregister --force`, then `forgehand register`";
            match self.0.token().await {
                None => {
                    let name = self.0.registration();
                    Finding::failed("there is none here", format!("run `forgehand register` with `--name '{name}'`"))
                }
                Some(TokenVerdict::Good) => Finding::Ok("the forge knows it".into()),
                Some(TokenVerdict::Refused(said)) => Finding::failed(format!("the forge refuses it: {said}"), again),
                Some(TokenVerdict::Idle(said)) => Finding::failed(
                    format!("the forge gives it no jobs: {said}"),
                    "assign the runner to a project or group in the forge's settings",
                ),
                Some(TokenVerdict::Unknown(said)) => Finding::warning(
                    format!("the forge did not say: {said}"),
                    "try again when the forge can be reached",
                ),
            }
        })
    }
}

impl<P: ForgeProbe + ?Sized> Check for ClockAgrees<P> {
    fn name(&self) -> String {
        format!("clock and `{}`", self.0.registration())
    }

    fn look(&self) -> BoxFuture<'_, Finding> {
        Box::pin(async {
            match self.0.contact().await {
                Ok(contact) => skew(&contact),
                Err(_) => Finding::warning("the forge cannot be reached", "mend that first"),
            }
        })
    }
}

fn skew(contact: &Contact) -> Finding {
    let Some(date) = contact.date else {
        return Finding::warning(format!("{} does not tell the time", contact.url), "compare the clocks by hand");
    };
    let seconds = contact.asked_at.as_second() - date.as_second();
    let direction = if seconds < 0 { "behind" } else { "ahead" };
    let found = format!("{} s {direction} of {}", seconds.abs(), contact.url);
    let fix = "set this machine's clock by the network, as with `timedatectl set-ntp true`";
    match seconds.abs() {
        0..SKEW_WARNING => Finding::Ok(found),
        SKEW_WARNING..SKEW_FAILURE => Finding::warning(found, fix),
        _ => Finding::failed(found, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Probe {
        contact: Result<Contact, String>,
        token: Option<TokenVerdict>,
    }

    impl ForgeProbe for Probe {
        fn registration(&self) -> String {
            "main".into()
        }

        fn contact(&self) -> BoxFuture<'_, Result<Contact, String>> {
            Box::pin(async { self.contact.clone() })
        }

        fn token(&self) -> BoxFuture<'_, Option<TokenVerdict>> {
            Box::pin(async { self.token.clone() })
        }
    }

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    async fn found(probe: Probe) -> Vec<&'static str> {
        let mut verdicts = Vec::new();
        for check in checks(probe) {
            verdicts.push(match check.look().await {
                Finding::Ok(_) => "ok",
                Finding::Warning { .. } => "warning",
                Finding::Failed { .. } => "failed",
            });
        }
        verdicts
    }

    #[tokio::test]
    async fn reach_token_and_clock_are_judged_apart() {
        let contact = |date| Ok(Contact { url: "https://f".into(), date: Some(at(date)), asked_at: at(10_000) });
        let good = Some(TokenVerdict::Good);
        assert_eq!(found(Probe { contact: contact(10_001), token: good.clone() }).await, ["ok", "ok", "ok"]);
        assert_eq!(found(Probe { contact: contact(10_100), token: None }).await, ["ok", "failed", "warning"]);
        let refused = Some(TokenVerdict::Refused("403".into()));
        assert_eq!(found(Probe { contact: contact(0), token: refused }).await, ["ok", "failed", "failed"]);
        let unknown = Some(TokenVerdict::Unknown("no answer".into()));
        let unreachable = Probe { contact: Err("the name cannot be resolved".into()), token: unknown };
        assert_eq!(found(unreachable).await, ["failed", "warning", "warning"]);
    }

    #[test]
    fn a_clock_that_is_behind_is_told_from_one_that_is_ahead() {
        let contact = Contact { url: "f".into(), date: Some(at(1000)), asked_at: at(400) };
        assert!(matches!(skew(&contact), Finding::Failed { found, .. } if found.contains("600 s behind")));
    }
}
