//! `forgehand verify`: asks the forges whether the registrations are still good.

use clap::Args;

use super::config::load_or_explain;
use super::forge_calls::{ForgeCalls, TokenVerdict};
use super::wiring::Forges;
use super::{Verdict, block_on, render};
use crate::config::{Credentials, Locations, Overrides, RegistrationConfig};

/// Arguments of `forgehand verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Only this registration.
    #[arg(long)]
    name: Option<String>,
}

/// Runs `forgehand verify`. Exit code 1 when a forge refuses one, 3 when one could not be asked.
pub fn run(args: &VerifyArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    block_on(verify(args, locations, &Forges))
}

async fn verify<C: ForgeCalls>(args: &VerifyArgs, locations: &Locations, forges: &C) -> Verdict {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return verdict,
    };
    let is_meant = |one: &&RegistrationConfig| args.name.as_ref().is_none_or(|name| *name == one.name);
    let meant: Vec<_> = config.registrations.iter().filter(is_meant).collect();
    if let (Some(name), true) = (&args.name, meant.is_empty()) {
        return render::failed(&format!("there is no registration `{name}`"), Verdict::BadInput);
    }
    let credentials = match Credentials::open(&locations.state_dir) {
        Ok(credentials) => credentials,
        Err(error) => return render::failed(&error, Verdict::Environment),
    };
    let (mut rows, mut refused, mut unknown) = (Vec::new(), false, false);
    for registration in meant {
        let verdict = match credentials.get(&registration.name) {
            Ok(Some(record)) => forges.verify(registration, &record).await,
            Ok(None) => {
                let name = &registration.name;
                TokenVerdict::Refused(format!("it has no token here: run `forgehand register` with `--name '{name}'`"))
            }
            Err(error) => TokenVerdict::Unknown(error.to_string()),
        };
        refused |= matches!(verdict, TokenVerdict::Refused(_) | TokenVerdict::Idle(_));
        unknown |= matches!(verdict, TokenVerdict::Unknown(_));
        rows.push(vec![registration.name.clone(), registration.url.to_string(), told(&verdict)]);
    }
    if rows.is_empty() {
        eprintln!("note: there is no registration; add one with `forgehand register`");
    }
    let printed = render::result(&render::table(&["REGISTRATION", "URL", "VERDICT"], &rows));
    match (refused, unknown) {
        (true, _) => Verdict::Failed,
        (false, true) => Verdict::Environment,
        (false, false) => printed,
    }
}

fn told(verdict: &TokenVerdict) -> String {
    match verdict {
        TokenVerdict::Good => "good".to_owned(),
        TokenVerdict::Refused(said) => format!("refused: {}", render::plain(said)),
        TokenVerdict::Idle(said) => format!("gets no jobs: {}", render::plain(said)),
        TokenVerdict::Unknown(said) => format!("unknown: {}", render::plain(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge_calls::fakes::{OneGoodToken, house};
    use super::*;

    #[tokio::test]
    async fn a_refused_token_is_a_failure_and_a_silent_forge_is_trouble() {
        for (registrations, expected) in [
            (vec![("a", "good")], Verdict::Success),
            (vec![("a", "good"), ("b", "slow")], Verdict::Environment),
            (vec![("a", "bad"), ("b", "slow")], Verdict::Failed),
        ] {
            let (_folder, locations) = house(&registrations);
            assert_eq!(verify(&VerifyArgs { name: None }, &locations, &OneGoodToken).await, expected);
            let unknown = VerifyArgs { name: Some("x".into()) };
            assert_eq!(verify(&unknown, &locations, &OneGoodToken).await, Verdict::BadInput);
        }
    }
}
