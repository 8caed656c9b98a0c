//! Words for git that the job's author wrote (`GIT_FETCH_EXTRA_FLAGS` and the like). git runs on the agent's machine, so
//! only options that are known to be harmless are taken: git has options that run programs (`--upload-pack`), read other
//! repositories (`--reference`) or change what git believes (`-c`), and accepts any unambiguous beginning of each.

use super::error::SourcesError;
use super::request::check_refspec;

/// Options of one git command.
struct Allowed {
    /// The variable that the words come from.
    setting: &'static str,
    /// Options without a value.
    plain: &'static [&'static str],
    /// Options with a value, `--x=value` or `--x value`.
    valued: &'static [&'static str],
    /// Letters of short options without a value, which may be written together.
    letters: &'static str,
    /// Letters of short options with a value, `-xVALUE` or `-x VALUE`.
    valued_letters: &'static str,
}

const FETCH: Allowed = Allowed {
    setting: "GIT_FETCH_EXTRA_FLAGS",
    plain: &[
        "--append",
        "--atomic",
        "--force",
        "--ipv4",
        "--ipv6",
        "--keep",
        "--no-auto-gc",
        "--no-auto-maintenance",
        "--no-prune",
        "--no-prune-tags",
        "--no-recurse-submodules",
        "--no-show-forced-updates",
        "--no-tags",
        "--no-write-commit-graph",
        "--porcelain",
        "--progress",
        "--no-progress",
        "--prune",
        "--prune-tags",
        "--quiet",
        "--refetch",
        "--show-forced-updates",
        "--tags",
        "--unshallow",
        "--update-head-ok",
        "--update-shallow",
        "--verbose",
        "--write-commit-graph",
    ],
    valued: &[
        "--deepen",
        "--depth",
        "--filter",
        "--jobs",
        "--negotiation-tip",
        "--refmap",
        "--server-option",
        "--shallow-exclude",
        "--shallow-since",
    ],
    letters: "afkpPqtnv46",
    valued_letters: "jo",
};

const CLEAN: Allowed = Allowed {
    setting: "GIT_CLEAN_FLAGS",
    plain: &["--dry-run", "--force", "--quiet"],
    valued: &["--exclude"],
    letters: "dfnqxX",
    valued_letters: "e",
};

const SUBMODULES: Allowed = Allowed {
    setting: "GIT_SUBMODULE_UPDATE_FLAGS",
    plain: &[
        "--checkout",
        "--force",
        "--init",
        "--merge",
        "--no-fetch",
        "--no-recommend-shallow",
        "--no-single-branch",
        "--progress",
        "--quiet",
        "--rebase",
        "--recommend-shallow",
        "--recursive",
        "--remote",
        "--require-init",
        "--single-branch",
    ],
    valued: &["--depth", "--filter", "--jobs"],
    letters: "fNq",
    valued_letters: "j",
};

/// Checks words for `git fetch`. A word that is no option must be a refspec.
pub(super) fn check_fetch(words: &[String]) -> Result<(), SourcesError> {
    for word in FETCH.check(words)? {
        check_refspec(FETCH.setting, word)?;
    }
    Ok(())
}

/// Checks words for `git clean`. A word that is no option is a pathspec.
pub(super) fn check_clean(words: &[String]) -> Result<(), SourcesError> {
    CLEAN.check(words).map(|_| ())
}

/// Checks words for `git submodule update`, which takes options only.
pub(super) fn check_submodule_update(words: &[String]) -> Result<(), SourcesError> {
    match SUBMODULES.check(words)?.first() {
        None => Ok(()),
        Some(word) => Err(SUBMODULES.refused(word, "is not an option")),
    }
}

/// Whether a fetch with these words leaves the same whether it comes from the remote or from our copy of it.
pub(super) fn mirror_understands(fetch_words: &[String]) -> bool {
    const UNDERSTOOD: &[&str] = &[
        "--force",
        "-f",
        "--no-progress",
        "--no-recurse-submodules",
        "--no-tags",
        "-n",
        "--progress",
        "--prune",
        "-p",
        "--quiet",
        "-q",
        "--tags",
        "-t",
        "--verbose",
        "-v",
    ];
    fetch_words.iter().all(|word| UNDERSTOOD.contains(&word.as_str()))
}

impl Allowed {
    /// Goes through the words; returns those that are no options.
    fn check<'w>(&self, words: &'w [String]) -> Result<Vec<&'w str>, SourcesError> {
        let mut plain = Vec::new();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word.chars().any(|c| c == '\0' || c == '\n') {
                return Err(self.refused(word, "holds a line break or a null character"));
            }
            if word == "--" {
                plain.extend(words.by_ref());
            } else if word.starts_with("--") {
                self.check_long(word, &mut words)?;
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                self.check_letters(word, letters, &mut words)?;
            } else if word.is_empty() || word == "-" {
                return Err(self.refused(word, "is not an option"));
            } else {
                plain.push(word);
            }
        }
        Ok(plain)
    }

    fn check_long<'w>(&self, word: &str, rest: &mut impl Iterator<Item = &'w str>) -> Result<(), SourcesError> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        if self.valued.contains(&name) {
            return match value.or_else(|| rest.next()) {
                Some(value) if !value.starts_with('-') => Ok(()),
                _ => Err(self.refused(word, "needs a value")),
            };
        }
        match (self.plain.contains(&name), value) {
            (true, None) => Ok(()),
            (true, Some(_)) => Err(self.refused(word, "takes no value")),
            (false, _) => Err(self.unknown(name)),
        }
    }

    fn check_letters<'w>(
        &self,
        word: &str,
        letters: &str,
        rest: &mut impl Iterator<Item = &'w str>,
    ) -> Result<(), SourcesError> {
        for (at, letter) in letters.char_indices() {
            if self.valued_letters.contains(letter) {
                let value = Some(&letters[at + letter.len_utf8()..]).filter(|value| !value.is_empty());
                return match value.or_else(|| rest.next()) {
                    Some(value) if !value.starts_with('-') => Ok(()),
                    _ => Err(self.refused(word, "needs a value")),
                };
            }
            if !self.letters.contains(letter) {
                return Err(self.unknown(&format!("-{letter}")));
            }
        }
        Ok(())
    }

    fn unknown(&self, option: &str) -> SourcesError {
        self.refused(
            option,
            "is not allowed: git runs on the runner's machine, and only options that can neither run programs nor \
             change git's configuration are taken, written in full",
        )
    }

    fn refused(&self, word: &str, problem: &str) -> SourcesError {
        let shown: String = word.chars().filter(|c| !c.is_control()).take(80).collect();
        SourcesError::refused(self.setting, format!("`{shown}` {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_people_use_is_taken() {
        for flags in [
            "--prune --quiet",
            "-pq",
            "--prune --tags --force",
            "--no-tags -j 4 -j4 --jobs=4",
            "--filter=blob:none",
            "--filter tree:0",
            "--depth 1",
            "--server-option ci.skip -o x",
            "+refs/heads/*:refs/remotes/origin/*",
        ] {
            assert!(check_fetch(&words(flags)).is_ok(), "{flags}");
        }
        for flags in ["-ffdx", "-ffdx -e cache/ -e .venv", "-ffd --exclude=target", "-ff -d -X -q", "-ffdx -- a b"] {
            assert!(check_clean(&words(flags)).is_ok(), "{flags}");
        }
        for flags in ["--remote", "--jobs 4 --depth=1 --force", "-f -N"] {
            assert!(check_submodule_update(&words(flags)).is_ok(), "{flags}");
        }
    }

    #[test]
    fn what_could_run_a_program_is_refused_by_name() {
        for flags in [
            "--upload-pack=/tmp/x",
            "--upload-pack /tmp/x",
            "--upl=/tmp/x",
            "-u",
            "--exec=/tmp/x",
            "-c core.sshCommand=x",
            "--config=core.fsmonitor=x",
            "--config-env=a=b",
            "-qc a.b=c",
            "--prune --upload-pack x",
            "ext::sh",
            "--depth --upload-pack",
            "--jobs",
        ] {
            let error = check_fetch(&words(flags)).expect_err(flags);
            assert!(error.to_string().starts_with("GIT_FETCH_EXTRA_FLAGS: "), "{error}");
        }
        for flags in ["--reference /other", "--ref=/x", "--upload-pack=x", "!sh", "-c a=b"] {
            assert!(check_submodule_update(&words(flags)).is_err(), "{flags}");
        }
        for flags in ["-i", "--interactive", "-ffdxi", "--int"] {
            assert!(check_clean(&words(flags)).is_err(), "{flags}");
        }
    }

    #[test]
    fn the_mirror_stands_aside_for_what_it_does_not_understand() {
        assert!(mirror_understands(&words("--prune --quiet")));
        assert!(mirror_understands(&words("--tags -f -v")));
        assert!(!mirror_understands(&words("--prune --filter=blob:none")));
        assert!(!mirror_understands(&words("+refs/heads/x:refs/heads/x")));
    }
}
