//! `ports` of a service: `80`, `8080:80`, `127.0.0.1:8080:80/udp`, `8000-8002:80-82`.

use std::ops::RangeInclusive;

use crate::pipeline::definition::{PortSpec, Protocol};

/// Most ports of one range.
const MOST: usize = 1000;

/// The ports that one item names.
///
/// # Errors
/// It is no port.
pub fn ports(text: &str) -> Result<Vec<PortSpec>, String> {
    let wrong = || format!("`{text}` is no port, like `80`, `8080:80` or `8080:80/udp`");
    let (numbers, protocol) = match text.trim().split_once('/') {
        None => (text.trim(), Protocol::Tcp),
        Some((numbers, "tcp")) => (numbers, Protocol::Tcp),
        Some((numbers, "udp")) => (numbers, Protocol::Udp),
        Some(_) => return Err(wrong()),
    };
    // An address of the machine before them says nothing here: a job has its services at its loopback address.
    let mut parts = numbers.rsplitn(3, ':');
    let inner = range(parts.next().unwrap_or_default()).ok_or_else(wrong)?;
    let outer = match parts.next() {
        None | Some("") => None,
        Some(outer) => Some(range(outer).ok_or_else(wrong)?),
    };
    let count = inner.clone().count();
    if count > MOST || outer.as_ref().is_some_and(|outer| outer.clone().count() != count) {
        return Err(wrong());
    }
    let spec = |(index, port)| PortSpec {
        published: outer.as_ref().and_then(|outer| outer.clone().nth(index)),
        port,
        protocol,
    };
    Ok(inner.enumerate().map(spec).collect())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(Option<u16>, u16)> {
        ports(text).unwrap().into_iter().map(|port| (port.published, port.port)).collect()
    }

    #[test]
    fn ports_as_docker_writes_them() {
        assert_eq!(read("80"), [(None, 80)]);
        assert_eq!(read("8080:80"), [(Some(8080), 80)]);
        assert_eq!(read("127.0.0.1:8080:80"), [(Some(8080), 80)]);
        assert_eq!(read("127.0.0.1::80"), [(None, 80)]);
        assert_eq!(read("8000-8001:80-81/tcp"), [(Some(8000), 80), (Some(8001), 81)]);
        assert_eq!(ports("53:53/udp").unwrap()[0].protocol, Protocol::Udp);
        for wrong in ["", "x", "0", "70000", "80-70", "1-3:1-2", "80/sctp", "1-60000"] {
            assert!(ports(wrong).is_err(), "{wrong}");
        }
    }
}
