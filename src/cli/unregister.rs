//! `forgehand unregister`: removes a registration, here and at its forge.

use clap::Args;

use super::config::{load_or_explain, verdict_of};
use super::forge_calls::{ForgeCalls, Removal};
use super::register::reload_running_agent;
use super::wiring::Forges;
use super::{Verdict, block_on, render};
use crate::config::edit::ConfigEditor;
use crate::config::{Config, Credentials, Locations, Overrides, RegistrationConfig};

/// Arguments of `forgehand unregister`.
#[derive(Clone, Debug, Args)]
pub struct UnregisterArgs {
    /// The registration. May be left out where there is only one.
    #[arg(long)]
    name: Option<String>,
    /// Remove all registrations.
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// Remove the runner at the forge for every machine that uses its token, not only for this one.
    #[arg(long)]
    runner: bool,
    /// Remove it here even where the forge cannot be told.
    #[arg(long)]
    force: bool,
}

/// Runs `forgehand unregister`.
pub fn run(args: &UnregisterArgs, locations: &Locations) -> Result<Verdict, miette::Report> {
    block_on(unregister(args, locations, &Forges))
}

async fn unregister<C: ForgeCalls>(args: &UnregisterArgs, locations: &Locations, forges: &C) -> Verdict {
    let config = match load_or_explain(locations, &Overrides::none()) {
        Ok(config) => config,
        Err(verdict) => return verdict,
    };
    let chosen = match choose(args, &config) {
        Ok(chosen) => chosen,
        Err(message) => return render::failed(&message, Verdict::BadInput),
    };
    let mut verdict = Verdict::Success;
    for registration in chosen {
        let removed = remove(args, registration, locations, forges).await;
        verdict = if verdict == Verdict::Success { removed } else { verdict };
    }
    reload_running_agent(&locations.state_dir);
    verdict
}

fn choose<'c>(args: &UnregisterArgs, config: &'c Config) -> Result<Vec<&'c RegistrationConfig>, String> {
    let known = || config.registrations.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match (&args.name, config.registrations.as_slice()) {
        (_, []) => Err("there is no registration".to_owned()),
        (Some(name), _) => match config.registration(name) {
            Some(registration) => Ok(vec![registration]),
            None => Err(format!("there is no registration `{name}`; there are: {}", known())),
        },
        (None, all) if args.all || all.len() == 1 => Ok(all.iter().collect()),
        (None, _) => {
            Err(format!("name the registration with --name, or remove all with --all; there are: {}", known()))
        }
    }
}

/// The forge first: once the token is gone here, nobody can tell it any more.
async fn remove<C: ForgeCalls>(
    args: &UnregisterArgs,
    registration: &RegistrationConfig,
    locations: &Locations,
    forges: &C,
) -> Verdict {
    let name = &registration.name;
    let credentials = match Credentials::open(&locations.state_dir) {
        Ok(credentials) => credentials,
        Err(error) => return render::failed(&error, Verdict::Environment),
    };
    let removal = if args.runner { Removal::Runner } else { Removal::ThisMachine };
    let told = match credentials.get(name) {
        Ok(Some(record)) => forges.unregister(registration, &record, removal).await,
        Ok(None) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    match told {
        Err(message) if !args.force => {
            return render::failed(
                &format!("`{name}` stays: {message} (--force removes it here all the same)"),
                Verdict::Environment,
            );
        }
        Err(message) => eprintln!("warning: the forge was not told: {message}"),
        Ok(()) => {}
    }
    let edited = ConfigEditor::open(&locations.config_file).and_then(|mut editor| {
        editor.remove(name)?;
        editor.save()
    });
    if let Err(error) = edited {
        return render::failed(&error, verdict_of(&error));
    }
    match credentials.remove(name) {
        Ok(_) => render::result(&format!("unregistered `{name}`\n")),
        Err(error) => render::failed(&error, Verdict::Environment),
    }
}

#[cfg(test)]
mod tests {
    use super::super::forge_calls::fakes::{OneGoodToken, house};
    use super::*;

    fn args(name: Option<&str>, force: bool) -> UnregisterArgs {
        UnregisterArgs { name: name.map(str::to_owned), all: false, runner: false, force }
    }

    fn names(locations: &Locations) -> Vec<String> {
        let config = crate::config::load(&locations.config_file, &Overrides::none()).unwrap();
        config.registrations.into_iter().map(|one| one.name).collect()
    }

    #[tokio::test]
    async fn a_registration_goes_here_only_when_its_forge_knows_or_the_user_insists() {
        let (_folder, locations) = house(&[("main", "good"), ("far", "slow")]);
        assert_eq!(unregister(&args(None, false), &locations, &OneGoodToken).await, Verdict::BadInput);
        assert_eq!(unregister(&args(Some("x"), false), &locations, &OneGoodToken).await, Verdict::BadInput);
        assert_eq!(unregister(&args(Some("far"), false), &locations, &OneGoodToken).await, Verdict::Environment);
        assert_eq!(names(&locations), ["main", "far"]);
        assert_eq!(unregister(&args(Some("main"), false), &locations, &OneGoodToken).await, Verdict::Success);
        assert_eq!(unregister(&args(None, true), &locations, &OneGoodToken).await, Verdict::Success);
        assert!(names(&locations).is_empty());
        assert!(Credentials::open(&locations.state_dir).unwrap().names().unwrap().is_empty());
    }
}
