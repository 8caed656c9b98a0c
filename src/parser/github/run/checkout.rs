//! `actions/checkout` of the own repository, which is done without the action.

use super::step::{Checkout, CheckoutSubmodules};

/// The checkout that `uses` with these inputs means; `None` where it is another action or another repository.
pub fn recognise(
    uses: &str,
    with: &[(String, String)],
    repository: &str,
    ref_of_run: (&str, &str),
) -> Option<Checkout> {
    let (action, _) = uses.split_once('@')?;
    if !action.trim_end_matches('/').eq_ignore_ascii_case("actions/checkout") {
        return None;
    }
    let input = |name: &str| {
        let found = with.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).unwrap_or_default()
    };
    let wanted = input("repository");
    if !wanted.is_empty() && !wanted.eq_ignore_ascii_case(repository) {
        return None;
    }
    let (git_ref, sha) = ref_of_run;
    let reference = input("ref");
    let short = git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref);
    let is_own = reference.is_empty() || reference == git_ref || reference == short || reference == sha;
    Some(Checkout {
        uses: uses.to_owned(),
        reference: if is_own { String::new() } else { reference.to_owned() },
        path: input("path").to_owned(),
        clean: !is_no(input("clean")),
        fetch_depth: input("fetch-depth").parse().unwrap_or(1),
        fetch_tags: is_yes(input("fetch-tags")),
        submodules: match input("submodules") {
            text if text.eq_ignore_ascii_case("recursive") => CheckoutSubmodules::Recursive,
            text if is_yes(text) => CheckoutSubmodules::Yes,
            _ => CheckoutSubmodules::No,
        },
        lfs: is_yes(input("lfs")),
        without_effect: WITHOUT_EFFECT
            .iter()
            .filter(|name| !input(name).is_empty())
            .map(|name| (*name).to_owned())
            .collect(),
    })
}

/// Inputs that mean nothing where the repository is at hand.
const WITHOUT_EFFECT: [&str; 5] = ["ssh-key", "ssh-known-hosts", "filter", "sparse-checkout", "github-server-url"];

fn is_yes(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn is_no(text: &str) -> bool {
    text.eq_ignore_ascii_case("false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const RUN: (&str, &str) = ("refs/heads/main", "abc");

    #[test]
    fn the_own_repository_is_known_by_its_name_or_by_none() {
        assert!(recognise("actions/checkout@v4", &[], "o/r", RUN).is_some());
        assert!(recognise("Actions/Checkout@main", &with(&[("repository", "O/R")]), "o/r", RUN).is_some());
        assert_eq!(recognise("actions/checkout@v4", &with(&[("repository", "o/other")]), "o/r", RUN), None);
        assert_eq!(recognise("actions/checkout-x@v4", &[], "o/r", RUN), None);
    }

    #[test]
    fn the_ref_of_the_run_needs_no_fetch() {
        for (text, left) in [("", ""), ("main", ""), ("refs/heads/main", ""), ("abc", ""), ("v1", "v1")] {
            let checkout = recognise("actions/checkout@v4", &with(&[("ref", text)]), "o/r", RUN).unwrap();
            assert_eq!(checkout.reference, left, "{text}");
        }
        let checkout = recognise(
            "actions/checkout@v4",
            &with(&[("Path", "a"), ("fetch-depth", "0"), ("submodules", "recursive"), ("ssh-key", "k")]),
            "o/r",
            RUN,
        )
        .unwrap();
        assert_eq!((checkout.path.as_str(), checkout.fetch_depth, checkout.clean), ("a", 0, true));
        assert_eq!(checkout.submodules, CheckoutSubmodules::Recursive);
        assert_eq!(checkout.without_effect, ["ssh-key"]);
    }
}
