//! Is somebody listening there? Asked from inside the sandbox, whose network the agent is not in.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::dns::Resolver;

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// Of one attempt.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Whatever is asked for.
const LONGEST: Duration = Duration::from_secs(3600);

/// Tries until a connection is accepted or the time is over; then says what the last attempt met. Blocks.
pub fn tcp(host: &str, port: u16, timeout: Duration) -> Option<String> {
    let until = Instant::now() + timeout.min(LONGEST);
    loop {
        let met = attempt(host, port, until)?;
        if Instant::now() + AGAIN >= until {
            return Some(met);
        }
        std::thread::sleep(AGAIN);
    }
}

fn attempt(host: &str, port: u16, until: Instant) -> Option<String> {
    // Read each time: a service's address may become known while we wait.
    let addresses = match Resolver::of_sandbox().resolve(host, until) {
        Ok(addresses) => addresses,
        Err(why) => return Some(why),
    };
    let mut met = format!("{host} has no address");
    for address in addresses {
        match connect(address, port, until) {
            Ok(()) => return None,
            Err(error) => met = format!("{host} ({address}) port {port}: {error}"),
        }
    }
    Some(met)
}

fn connect(address: IpAddr, port: u16, until: Instant) -> std::io::Result<()> {
    let left = until.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), ATTEMPT);
    TcpStream::connect_timeout(&SocketAddr::new(address, port), left).map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_port_is_found_and_a_closed_one_is_explained() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = open.local_addr().unwrap().port();
        assert_eq!(tcp("127.0.0.1", port, Duration::from_secs(5)), None);
        drop(open);
        let met = tcp("127.0.0.1", port, Duration::ZERO).unwrap();
        assert!(met.contains("127.0.0.1") && met.contains("refused"), "{met}");
    }
}
