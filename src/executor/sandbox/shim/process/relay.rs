//! Ports of services at the job's loopback address: what connects there is passed on to the service, as if both ran on one
//! machine. The services of GitHub's workflows are reached so by jobs that are no container themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::dns::Resolver;

/// Relays of one shim.
pub const MOST: usize = 64;
/// Connections of one relay at the same time; more are closed at once.
const CONNECTIONS: usize = 512;
/// How long the service may take to accept one.
const CONNECT: Duration = Duration::from_secs(10);
/// Pause after an accept that failed, so that it cannot burn a processor.
const AFTER_ERROR: Duration = Duration::from_millis(100);
const STACK: usize = 128 << 10;

/// Who is passed on to.
struct Target {
    host: String,
    port: u16,
    connections: AtomicUsize,
}

/// Listens at `listen` (0: at any free port) and passes on to `host`. Returns the port. Ends with the process.
pub fn start(listen: u16, host: String, port: u16) -> io::Result<u16> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, listen))?;
    let bound = first.local_addr()?.port();
    let target = Arc::new(Target { host, port, connections: AtomicUsize::new(0) });
    // `localhost` may be either; a sandbox without IPv6 has one less.
    let second = TcpListener::bind((Ipv6Addr::LOCALHOST, bound)).ok();
    for listener in std::iter::once(first).chain(second) {
        let target = target.clone();
        thread("relay", move || accept(&listener, &target))?;
    }
    Ok(bound)
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(STACK).spawn(work).map(drop)
}

fn accept(listener: &TcpListener, target: &Arc<Target>) {
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(AFTER_ERROR);
            continue;
        };
        if target.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            target.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let passed_on = target.clone();
        let started = thread("relay", move || {
            // What goes wrong, both ends see as a closed connection.
            let _ = pass_on(&stream, &passed_on);
            passed_on.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            target.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn pass_on(client: &TcpStream, target: &Target) -> io::Result<()> {
    let service = &connect(target)?;
    // It counts as a connection until both ways have ended.
    std::thread::scope(|scope| {
        let back = std::thread::Builder::new().name("relay".into()).stack_size(STACK);
        back.spawn_scoped(scope, || {
            let (mut from_service, mut to_client) = (service, client);
            let copied = io::copy(&mut from_service, &mut to_client);
            let _ = client.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
        })?;
        let (mut from_client, mut to_service) = (client, service);
        let copied = io::copy(&mut from_client, &mut to_service);
        // A client that is gone hears no answer: the service need not give one.
        let _ = service.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both });
        copied.map(drop)
    })
}

fn connect(target: &Target) -> io::Result<TcpStream> {
    let until = Instant::now() + CONNECT;
    // Read each time: a service that was started again has another address.
    let addresses = Resolver::of_sandbox().resolve(&target.host, until).map_err(io::Error::other)?;
    let mut met = io::Error::other(format!("{} has no address", target.host));
    for address in addresses {
        match reach(address, target.port, until) {
            Ok(stream) => return Ok(stream),
            Err(error) => met = error,
        }
    }
    Err(met)
}

fn reach(address: IpAddr, port: u16, until: Instant) -> io::Result<TcpStream> {
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    TcpStream::connect_timeout(&SocketAddr::new(address, port), left)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn both_ways_are_passed_on_until_each_side_has_said_all() {
        let service = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = service.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = service.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            write!(stream, "heard {said}").unwrap();
        });
        let bound = start(0, "127.0.0.1".into(), port).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", bound)).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "heard hello");
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_and_a_dead_service_a_closed_connection() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(start(port, "127.0.0.1".into(), 1).is_err());
        drop(taken);
        let bound = start(0, "127.0.0.1".into(), port).unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", bound)).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
}
