//! Which addresses jobs' networks get: a range that nothing on this machine uses, cut into small nets.
//!
//! The engine's own pools hold about thirty networks; thirty jobs at once use them up.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Prefix of a job's network: 13 containers beside the gateway.
pub const DEFAULT_PREFIX: u8 = 28;
/// Second bytes of `10.x.0.0/16` that are tried when no range is configured, rarely used ones first.
const CANDIDATES: std::ops::RangeInclusive<u8> = 201..=254;

/// The range that networks are cut from, and which parts of it are in use.
#[derive(Clone, Debug)]
pub struct Subnets {
    range: Ipv4Net,
    prefix: u8,
    taken: BTreeSet<u32>,
    next: u32,
}

/// One small net of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Its place in the range.
    pub index: u32,
    /// Its addresses.
    pub net: Ipv4Net,
}

impl Subnets {
    /// Nets of `prefix` bits from `range`.
    pub fn new(range: Ipv4Net, prefix: u8) -> Self {
        let prefix = prefix.clamp(range.prefix_len(), 30);
        Self { range: range.trunc(), prefix, taken: BTreeSet::new(), next: 0 }
    }

    /// The range that nets are cut from.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// How many containers fit into one net beside the gateway.
    pub fn room(&self) -> usize {
        (1usize << (32 - self.prefix)).saturating_sub(3)
    }

    /// How many nets there are in all.
    pub fn count(&self) -> u32 {
        1u32.checked_shl(u32::from(self.prefix - self.range.prefix_len())).unwrap_or(u32::MAX)
    }

    /// Takes a net that is free, the one longest unused first, so that what still lingers of an old one (ARP entries,
    /// connection tracking) does not meet a new job. `None`: all are in use.
    pub fn take(&mut self) -> Option<Subnet> {
        let count = self.count();
        for step in 0..count {
            let index = (u64::from(self.next) + u64::from(step)) % u64::from(count);
            let index = index as u32; // below `count`
            if self.taken.insert(index) {
                self.next = (index + 1) % count;
                return Some(Subnet { index, net: self.at(index) });
            }
        }
        None
    }

    /// Gives a net back.
    pub fn give_back(&mut self, index: u32) {
        self.taken.remove(&index);
    }

    /// Marks what overlaps `net` as used by others.
    pub fn exclude(&mut self, net: &Ipv4Net) {
        if !overlaps(&self.range, net) {
            return;
        }
        let (first, last) = (self.index_of(net.network()), self.index_of(net.broadcast()));
        self.taken.extend(first..=last);
    }

    fn index_of(&self, address: Ipv4Addr) -> u32 {
        let (first, last) = (u32::from(self.range.network()), u32::from(self.range.broadcast()));
        (u32::from(address).clamp(first, last) - first) >> (32 - self.prefix)
    }

    fn at(&self, index: u32) -> Ipv4Net {
        let address = u32::from(self.range.network()) + (index << (32 - self.prefix));
        // The prefix was clamped to at most 30.
        Ipv4Net::new(Ipv4Addr::from(address), self.prefix).unwrap_or(self.range)
    }
}

/// A /16 that overlaps none of `used`. `None`: all are used.
pub fn free_range(used: &[Ipv4Net]) -> Option<Ipv4Net> {
    CANDIDATES
        .filter_map(|second| Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), 16).ok())
        .find(|candidate| !used.iter().any(|net| overlaps(candidate, net)))
}

/// Whether two nets share an address.
pub fn overlaps(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

/// The nets of the machine's routing table (`/proc/net/route`); the default route is none of them.
pub fn routes(table: &str) -> Vec<Ipv4Net> {
    table.lines().skip(1).filter_map(route).filter(|net| net.prefix_len() > 0).collect()
}

fn route(line: &str) -> Option<Ipv4Net> {
    let mut fields = line.split_whitespace();
    // Addresses are printed as the machine holds them: in network order, read as a number of this machine.
    let address = |text: &str| u32::from_str_radix(text, 16).ok().map(|n| Ipv4Addr::from(n.to_ne_bytes()));
    let destination = address(fields.nth(1)?)?;
    let mask = address(fields.nth(5)?)?;
    Ipv4Net::with_netmask(destination, mask).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_that_a_route_touches_is_left_alone() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     tun0\t0000C90A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let used = routes(table);
        assert_eq!(used, [net("10.201.0.0/16")]);
        assert_eq!(free_range(&used), Some(net("10.202.0.0/16")));
        assert_eq!(free_range(&[net("10.0.0.0/8")]), None);
        assert_eq!(free_range(&[net("10.201.7.0/24"), net("10.202.0.0/15")]), Some(net("10.204.0.0/16")));
    }

    #[test]
    fn a_net_given_back_is_the_last_to_be_taken_again() {
        let mut subnets = Subnets::new(net("10.201.0.0/26"), 28);
        let first = subnets.take().unwrap();
        subnets.give_back(first.index);
        let rest: Vec<u32> = std::iter::from_fn(|| subnets.take()).map(|subnet| subnet.index).collect();
        assert_eq!(rest, [1, 2, 3, 0]);
        assert_eq!(subnets.take(), None);
    }

    #[test]
    fn what_others_use_is_never_taken() {
        let mut subnets = Subnets::new(net("10.201.0.0/26"), 28);
        subnets.exclude(&net("10.201.0.16/29"));
        subnets.exclude(&net("10.201.0.32/28"));
        subnets.exclude(&net("192.168.0.0/16"));
        let taken: Vec<u32> = std::iter::from_fn(|| subnets.take()).map(|subnet| subnet.index).collect();
        assert_eq!(taken, [0, 3]);
        assert_eq!(subnets.room(), 13);
    }

    proptest! {
        #[test]
        fn nets_taken_never_overlap(give_back in prop::collection::vec(any::<bool>(), 1..60)) {
            let mut subnets = Subnets::new(net("10.201.0.0/24"), 28);
            let mut held: Vec<Subnet> = Vec::new();
            for give_back in give_back {
                if give_back && !held.is_empty() {
                    subnets.give_back(held.remove(0).index);
                } else if let Some(subnet) = subnets.take() {
                    prop_assert!(held.iter().all(|other| !overlaps(&other.net, &subnet.net)));
                    prop_assert!(net("10.201.0.0/24").contains(&subnet.net));
                    held.push(subnet);
                }
            }
        }
    }
}
