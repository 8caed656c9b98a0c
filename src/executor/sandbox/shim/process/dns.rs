//! A resolver of a few lines for probing a job's services: /etc/hosts, then the name servers of /etc/resolv.conf over
//! UDP. A static binary must not load the sandbox's NSS modules, and the agent's resolver would bring a runtime with it.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::super::key::random;

const FILE_LIMIT: u64 = 1 << 20;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a sandbox's files say about names.
pub struct Resolver {
    hosts: Vec<(IpAddr, String)>,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

impl Resolver {
    /// Reads /etc/hosts and /etc/resolv.conf. What is missing counts as empty.
    pub fn of_sandbox() -> Self {
        Self::new(&read("/etc/hosts"), &read("/etc/resolv.conf"))
    }

    fn new(hosts: &str, resolv: &str) -> Self {
        let lines = |text: &str| -> Vec<Vec<String>> {
            let words =
                |line: &str| line.split('#').next().unwrap_or("").split_whitespace().map(str::to_owned).collect();
            text.lines().map(words).filter(|words: &Vec<String>| words.len() > 1).collect()
        };
        let mut resolver = Self { hosts: Vec::new(), servers: Vec::new(), search: Vec::new() };
        for words in lines(hosts) {
            if let Ok(address) = words[0].parse() {
                resolver.hosts.extend(words[1..].iter().map(|name| (address, name.clone())));
            }
        }
        for words in lines(resolv) {
            match words[0].as_str() {
                "nameserver" => resolver.servers.extend(words[1].parse::<IpAddr>()),
                "search" => resolver.search = words[1..].iter().take(6).cloned().collect(),
                _ => {}
            }
        }
        resolver
    }

    /// The addresses of a name, or why there are none.
    pub fn resolve(&self, name: &str, until: Instant) -> Result<Vec<IpAddr>, String> {
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let known = |(_, known): &&(IpAddr, String)| known.eq_ignore_ascii_case(name);
        let local: Vec<IpAddr> = self.hosts.iter().filter(known).map(|(address, _)| *address).collect();
        if !local.is_empty() {
            return Ok(local);
        }
        let mut why = format!("cannot resolve {name}: no name server in /etc/resolv.conf");
        let searched = self.search.iter().filter(|_| !name.ends_with('.')).map(|domain| format!("{name}.{domain}"));
        for candidate in std::iter::once(name.to_owned()).chain(searched) {
            for server in &self.servers {
                match ask_both(&candidate, *server, until) {
                    Ok(found) if !found.is_empty() => return Ok(found),
                    Ok(_) => {
                        why = format!("cannot resolve {name}: {server} knows no such name");
                        break;
                    }
                    Err(error) => why = format!("cannot resolve {name}: {server}: {error}"),
                }
            }
        }
        Err(why)
    }
}

fn read(path: &str) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(FILE_LIMIT).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ask_both(name: &str, server: IpAddr, until: Instant) -> io::Result<Vec<IpAddr>> {
    let found = ask(name, TYPE_A, server, until)?;
    if found.is_empty() { ask(name, TYPE_AAAA, server, until) } else { Ok(found) }
}

fn ask(name: &str, kind: u16, server: IpAddr, until: Instant) -> io::Result<Vec<IpAddr>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Connected: only the server's own datagrams arrive, and a closed port is told.
    socket.connect(SocketAddr::new(server, 53))?;
    let [a, b, ..] = random()?;
    let id = u16::from_be_bytes([a, b]);
    let query =
        query(name, kind, id).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is no host name"))?;
    socket.send(&query)?;
    let until = until.min(Instant::now() + ANSWER_WITHIN);
    let mut answer = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut answer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
            _ => error,
        })?;
        if let Some(found) = parse_answer(&answer[..length], id, kind) {
            return Ok(found);
        }
        if Instant::now() >= until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
        }
    }
}

fn query(name: &str, kind: u16, id: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        out.push(length);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    (out.len() <= 512).then_some(out)
}

/// The addresses in an answer to our question; `None` where it is none.
fn parse_answer(answer: &[u8], id: u16, kind: u16) -> Option<Vec<IpAddr>> {
    let number = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    if number(0)? != id || answer.get(2)? & 0x80 == 0 {
        return None;
    }
    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(answer, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = skip_name(answer, at)?;
        let (this, length) = (number(at)?, usize::from(number(at + 8)?));
        let data = answer.get(at + 10..at + 10 + length)?;
        at += 10 + length;
        if this != kind {
            continue;
        }
        if let Ok(four) = <[u8; 4]>::try_from(data) {
            found.push(IpAddr::from(four));
        } else if let Ok(sixteen) = <[u8; 16]>::try_from(data) {
            found.push(IpAddr::from(sixteen));
        }
    }
    Some(found)
}

fn skip_name(answer: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            // A pointer ends a name; nothing is followed, so nothing can go in circles.
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer_to(query: &[u8]) -> Vec<u8> {
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[7] = 2;
        answer.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 172, 17, 0, 3]);
        answer
    }

    #[test]
    fn an_answer_behind_an_alias_is_read() {
        let query = query("redis", TYPE_A, 7).unwrap();
        let found = parse_answer(&answer_to(&query), 7, TYPE_A).unwrap();
        assert_eq!(found, [IpAddr::from([172, 17, 0, 3])]);
        assert_eq!(parse_answer(&answer_to(&query), 8, TYPE_A), None, "another question's");
    }

    #[test]
    fn a_cut_or_garbled_answer_never_panics() {
        let whole = answer_to(&query("redis.example", TYPE_A, 7).unwrap());
        for cut in 0..whole.len() {
            parse_answer(&whole[..cut], 7, TYPE_A);
            let mut bad = whole.clone();
            bad[cut] = 0xff;
            parse_answer(&bad, 7, TYPE_A);
        }
    }

    #[test]
    fn the_hosts_file_comes_first_and_case_does_not_matter() {
        let hosts = "127.0.0.1 localhost\n10.0.0.9\tDB db.local # remark\nnonsense\n";
        let resolver = Resolver::new(hosts, "search a b\nnameserver 127.0.0.11\noptions ndots:0\n");
        let until = Instant::now();
        assert_eq!(resolver.resolve("db", until).unwrap(), [IpAddr::from([10, 0, 0, 9])]);
        assert_eq!(resolver.resolve("::1", until).unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert_eq!((resolver.servers.len(), resolver.search.len()), (1, 2));
    }

    #[test]
    fn what_cannot_be_a_host_name_is_never_sent() {
        for bad in ["", "a..b", &"x".repeat(64), &"abc.".repeat(200)] {
            assert_eq!(query(bad, TYPE_A, 1), None, "{bad}");
        }
    }
}
