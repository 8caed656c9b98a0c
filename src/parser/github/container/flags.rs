//! The flags of `docker create`: how each is written.

/// A flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// Its letter.
    pub letter: Option<char>,
    /// Whether a value follows it.
    pub takes_value: bool,
}

const fn value(name: &'static str) -> Flag {
    Flag { name, letter: None, takes_value: true }
}

const fn short(name: &'static str, letter: char) -> Flag {
    Flag { name, letter: Some(letter), takes_value: true }
}

const fn switch(name: &'static str) -> Flag {
    Flag { name, letter: None, takes_value: false }
}

const fn short_switch(name: &'static str, letter: char) -> Flag {
    Flag { name, letter: Some(letter), takes_value: false }
}

const FLAGS: [Flag; 105] = [
    value("add-host"),
    value("annotation"),
    short("attach", 'a'),
    value("blkio-weight"),
    value("blkio-weight-device"),
    value("cap-add"),
    value("cap-drop"),
    value("cgroup-parent"),
    value("cgroupns"),
    value("cidfile"),
    value("cpu-count"),
    value("cpu-percent"),
    value("cpu-period"),
    value("cpu-quota"),
    value("cpu-rt-period"),
    value("cpu-rt-runtime"),
    short("cpu-shares", 'c'),
    value("cpus"),
    value("cpuset-cpus"),
    value("cpuset-mems"),
    value("device"),
    value("device-cgroup-rule"),
    value("device-read-bps"),
    value("device-read-iops"),
    value("device-write-bps"),
    value("device-write-iops"),
    switch("disable-content-trust"),
    value("dns"),
    value("dns-opt"),
    value("dns-option"),
    value("dns-search"),
    value("domainname"),
    value("entrypoint"),
    short("env", 'e'),
    value("env-file"),
    value("expose"),
    value("gpus"),
    value("group-add"),
    value("health-cmd"),
    value("health-interval"),
    value("health-retries"),
    value("health-start-interval"),
    value("health-start-period"),
    value("health-timeout"),
    short("hostname", 'h'),
    switch("init"),
    short_switch("interactive", 'i'),
    value("io-maxbandwidth"),
    value("io-maxiops"),
    value("ip"),
    value("ip6"),
    value("ipc"),
    value("isolation"),
    value("kernel-memory"),
    short("label", 'l'),
    value("label-file"),
    value("link"),
    value("link-local-ip"),
    value("log-driver"),
    value("log-opt"),
    value("mac-address"),
    short("memory", 'm'),
    value("memory-reservation"),
    value("memory-swap"),
    value("memory-swappiness"),
    value("mount"),
    value("name"),
    value("net"),
    value("net-alias"),
    value("network"),
    value("network-alias"),
    switch("no-healthcheck"),
    switch("oom-kill-disable"),
    value("oom-score-adj"),
    value("pid"),
    value("pids-limit"),
    value("platform"),
    switch("privileged"),
    short("publish", 'p'),
    short_switch("publish-all", 'P'),
    value("pull"),
    short_switch("quiet", 'q'),
    switch("read-only"),
    value("restart"),
    switch("rm"),
    value("runtime"),
    value("security-opt"),
    value("shm-size"),
    value("stop-signal"),
    value("stop-timeout"),
    value("storage-opt"),
    value("sysctl"),
    value("tmpfs"),
    short_switch("tty", 't'),
    value("ulimit"),
    switch("use-api-socket"),
    short("user", 'u'),
    value("userns"),
    value("uts"),
    short("volume", 'v'),
    value("volume-driver"),
    value("volumes-from"),
    short("workdir", 'w'),
    // Of `docker run`, which people write by habit; `create` has always refused it, and so it is named.
    short_switch("detach", 'd'),
    switch("sig-proxy"),
];

/// A flag with the value that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: &'static str,
    /// Its value; of a switch `true` or `false`.
    pub value: String,
}

impl Written {
    /// As one writes it.
    pub fn words(&self) -> String {
        match find(self.name) {
            Some(flag) if flag.takes_value => format!("--{} {}", self.name, self.value),
            _ => format!("--{}", self.name),
        }
    }
}

/// Takes a command line's words apart.
///
/// # Errors
/// What is no flag, or a flag without the value it needs.
pub fn read(words: &[String]) -> Result<Vec<Written>, String> {
    let mut written = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if let Some(long) = word.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let flag = find(name).ok_or_else(|| unknown(name))?;
            let value = match (inline, flag.takes_value) {
                (Some(value), _) => value.to_owned(),
                (None, true) => rest.next().cloned().ok_or_else(|| format!("`--{name}` needs a value"))?,
                (None, false) => "true".to_owned(),
            };
            written.push(Written { name: flag.name, value });
        } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
            read_letters(letters, &mut rest, &mut written)?;
        } else {
            return Err(format!(
                "`{word}` is no option: one begins with a dash, and its value in quotes if it has spaces"
            ));
        }
    }
    Ok(written)
}

/// Switches may stand together, and the last of them may take a value: `-it`, `-uroot`, `-e=A=1`.
fn read_letters<'w>(
    letters: &str,
    rest: &mut impl Iterator<Item = &'w String>,
    written: &mut Vec<Written>,
) -> Result<(), String> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let flag = FLAGS.iter().find(|flag| flag.letter == Some(letter));
        let flag = flag.ok_or_else(|| format!("`-{letter}` is no option of `docker create`"))?;
        if !flag.takes_value {
            written.push(Written { name: flag.name, value: "true".to_owned() });
            continue;
        }
        let inline = letters.as_str();
        let value = match inline.strip_prefix('=').unwrap_or(inline) {
            "" => rest.next().cloned().ok_or_else(|| format!("`-{letter}` needs a value"))?,
            value => value.to_owned(),
        };
        written.push(Written { name: flag.name, value });
        return Ok(());
    }
    Ok(())
}

fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

fn unknown(name: &str) -> String {
    let near = FLAGS.iter().map(|flag| (strsim::osa_distance(flag.name, name), flag.name)).min();
    match near {
        Some((distance, near)) if distance <= 2 => {
            format!("`--{name}` is no option of `docker create`; did you mean `--{near}`?")
        }
        _ => format!("`--{name}` is no option of `docker create`"),
    }
}
