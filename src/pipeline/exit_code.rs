//! What an exit code says, and what to do about it.

/// What else is known of the end of a command, by which codes are told apart that many causes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// The kernel killed something at the memory limit.
    pub out_of_memory: bool,
    /// A time limit passed.
    pub timed_out: bool,
    /// The job was not wanted any more.
    pub cancelled: bool,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// What it means.
    pub meaning: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// Signals of Linux by number, with what they mean for a command of a job.
const SIGNALS: [(i32, &str, &str, &str); 15] = [
    (1, "SIGHUP", "its terminal went away", "start what has to outlive the step with `nohup` or `setsid`"),
    (2, "SIGINT", "it was interrupted", "look for what sent it Ctrl-C: a wrapper that was cancelled, or a `kill -INT`"),
    (3, "SIGQUIT", "it was told to quit with a core dump", "look for a `kill -QUIT`, or a watchdog of the program"),
    (
        4,
        "SIGILL",
        "it met an instruction that this processor does not know",
        "the program or a library was built for another processor: check the image's platform and `-march`",
    ),
    (
        5,
        "SIGTRAP",
        "it ran into a breakpoint or an assertion",
        "run it in a debugger; many runtimes end a failed assertion this way",
    ),
    (
        6,
        "SIGABRT",
        "it gave up by itself: abort(), a failed assertion, an exception nobody caught, a broken heap",
        "the reason is usually in its last lines on standard error",
    ),
    (
        7,
        "SIGBUS",
        "it used memory that is not there",
        "a mapped file was cut short or its disk, or /dev/shm, is full: raise `docker.shm_size`",
    ),
    (8, "SIGFPE", "it divided by zero or overflowed", "a defect of the program: run it in a debugger"),
    (9, "SIGKILL", "it was killed", ""),
    (
        11,
        "SIGSEGV",
        "it crashed: memory that is not its own",
        "a defect of the program or of a library, or another processor or libc than it was built for; run it with a debugger or a sanitizer",
    ),
    (
        13,
        "SIGPIPE",
        "it wrote to a pipe that nobody reads any more",
        "with `set -o pipefail` a `head` or `grep -q` that ends early does this to the command before it; read all of the input",
    ),
    (14, "SIGALRM", "a timer of its own ran out", "it set itself a time limit: look at its options"),
    (15, "SIGTERM", "it was told to end", ""),
    (24, "SIGXCPU", "it used up its processor time", "an `ulimit -t` is set: raise it in `docker.ulimit`, or do less"),
    (25, "SIGXFSZ", "it wrote a file beyond the limit of sizes", "an `ulimit -f` is set: raise it in `docker.ulimit`"),
];

/// What `code` of a command of a job means.
pub fn explain(code: i32, known: Circumstances) -> Explained {
    let explained = |meaning: &str, advice| Explained { meaning: meaning.to_owned(), advice };
    match code {
        0 => explained("it ended well", "nothing"),
        1 => explained(
            "it failed: the code of most programs for any failure, and of a shell for a command that was false",
            "the reason is in the last lines of its output",
        ),
        2 => explained(
            "it failed; many programs say by it that they were called wrongly, shells that the script has a syntax error",
            "check the arguments; `sh -n` finds syntax errors without running anything",
        ),
        125 => explained(
            "the container engine could not do it: `docker run` itself failed, before any command ran",
            "where the step calls `docker` its message says what was wrong: an option, an image, the engine; elsewhere a wrapper (`git bisect run`, `timeout`) means its own failure by it",
        ),
        126 => explained(
            "the command was found and cannot be executed",
            "make the file executable (`git update-index --chmod=+x FILE`), check its first line (`#!`), that it is no folder, that it is built for this processor, and that its disk is not mounted `noexec`",
        ),
        127 => explained(
            "the command, the program in its first line (`#!`) or a library was not found",
            "check its spelling and PATH, install it in the image, or take an image that has it; a script with Windows line ends looks for a program that ends in a carriage return",
        ),
        128 => explained(
            "git's code for a failure it cannot go on from, or an `exit` with something that is no number",
            "git's message says what: access, a missing ref, an unsafe folder, a lock",
        ),
        124 if !known.timed_out => explained(
            "`timeout` ended the command: its time was up",
            "find out what it waited for, or give `timeout` more",
        ),
        137 => killed(known),
        143 => ended(known),
        255 => explained(
            "the code -1: a program that says no more than that it failed; of `ssh`, that the connection failed",
            "its message says what; with ssh check host, key and known_hosts",
        ),
        129..=192 => by_signal(code - 128),
        _ => explained(
            "a code that the program gives its own meaning",
            "look it up in the program's manual, under `exit status`",
        ),
    }
}

fn by_signal(number: i32) -> Explained {
    match SIGNALS.iter().find(|(known, ..)| *known == number) {
        Some((_, name, meaning, advice)) => {
            Explained { meaning: format!("{name}, signal {number}: {meaning}"), advice }
        }
        None => Explained {
            meaning: format!("signal {number} ended it"),
            advice: "`kill -l` names the signal; look for what sends it",
        },
    }
}

fn killed(known: Circumstances) -> Explained {
    let (why, advice) = match known {
        Circumstances { out_of_memory: true, .. } => (
            "the kernel killed it at the memory limit of its container (OOMKilled)",
            "raise `docker.memory` of the registration, or let the step use less: fewer parallel jobs (`make -j2`), a smaller heap (`NODE_OPTIONS=--max-old-space-size`, `-Xmx`)",
        ),
        Circumstances { timed_out: true, .. } => (
            "it did not end within its grace when its time was up",
            "find out what it waits for, or raise the time limit; a command that handles SIGTERM could end tidily",
        ),
        Circumstances { cancelled: true, .. } => {
            ("it did not end within its grace when the job was cancelled", "nothing, where the cancel was meant")
        }
        _ => (
            "the container met no memory limit of its own: somebody sent it, or the machine itself was out of memory",
            "look for `kill -9` in the step, `docker kill` from outside, and at `dmesg` of the machine for `Out of memory`",
        ),
    };
    Explained { meaning: format!("SIGKILL, signal 9: {why}"), advice }
}

fn ended(known: Circumstances) -> Explained {
    let (why, advice) = match known {
        Circumstances { timed_out: true, .. } => {
            ("its time was up", "find out what it waits for, or raise the time limit")
        }
        Circumstances { cancelled: true, .. } => ("the job was cancelled", "nothing, where the cancel was meant"),
        _ => (
            "somebody told it to end: a `kill` in the step, or an engine or a machine that was stopped",
            "look for `kill` and `timeout` in the step, and at the engine's log of that time",
        ),
    };
    Explained { meaning: format!("SIGTERM, signal 15: {why}"), advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_told_apart_by_what_else_is_known() {
        let of = |known| explain(137, known).meaning;
        assert!(of(Circumstances { out_of_memory: true, ..Circumstances::default() }).contains("memory limit"));
        assert!(of(Circumstances { timed_out: true, ..Circumstances::default() }).contains("time was up"));
        assert!(of(Circumstances::default()).contains("somebody sent it"));
        assert!(
            explain(143, Circumstances { cancelled: true, ..Circumstances::default() }).meaning.contains("cancelled")
        );
    }

    #[test]
    fn codes_above_128_name_their_signal() {
        for (code, name) in [(130, "SIGINT"), (134, "SIGABRT"), (139, "SIGSEGV"), (141, "SIGPIPE"), (143, "SIGTERM")] {
            assert!(explain(code, Circumstances::default()).meaning.starts_with(name), "{code}");
        }
        assert_eq!(explain(170, Circumstances::default()).meaning, "signal 42 ended it");
        for (code, words) in [(125, "engine"), (126, "cannot be executed"), (127, "not found"), (255, "ssh")] {
            assert!(explain(code, Circumstances::default()).meaning.contains(words), "{code}");
        }
        assert!(explain(77, Circumstances::default()).meaning.contains("own meaning"));
    }
}
