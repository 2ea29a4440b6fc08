//! Nanoseconds a look-up in a table of a million prefixes, and what changing it costs, beside the
//! standard library's ordered set and a plain list in the same run.
//! `cargo bench -p weir-engine --bench table`.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant as Clock;

use ipnet::IpNet;
use weir_config::tables::TableEntry;
use weir_engine::Instant;
use weir_engine::packet::{Address, Network};
use weir_engine::table::{Editor, Table};

const ENTRIES: usize = 1_000_000;
const LOOKUPS: usize = 1 << 20;
const NOW: Instant = Instant(0);

fn main() {
    let mut random = Random(1);
    let mixed: Vec<IpNet> = (0..ENTRIES)
        .map(|i| if i % 2 == 0 { random.v4(8..=32) } else { random.v6(20..=128) })
        .collect();
    let hosts: Vec<IpNet> = (0..ENTRIES).map(|_| random.v4(32..=32)).collect();
    let routes: Vec<IpNet> = (0..ENTRIES).map(|_| random.v4(16..=24)).collect();
    println!("{ENTRIES} entries each");
    for (name, nets) in
        [("IPv4 and IPv6 mixed", &mixed), ("IPv4 hosts", &hosts), ("IPv4 /16 to /24", &routes)]
    {
        println!("{name}");
        table(nets, &mut random);
        ordered_set(nets, &mut random);
    }
    list(&mixed[..1000], &mut random);
}

fn table(nets: &[IpNet], random: &mut Random) {
    let entries: Vec<TableEntry> =
        nets.iter().map(|&net| TableEntry { not: false, net, timeout: None }).collect();
    let mut editor = Editor::new(1, false, NOW);
    let begin = Clock::now();
    editor.replace(NOW, &entries, u32::MAX).expect("room");
    println!("  table: built in {:?}", begin.elapsed());
    let bytes = editor.table().footprint() / nets.len();
    println!("  table: {bytes} bytes an entry");
    let anywhere = addresses(random, Random::address);
    let within = addresses(random, |random| random.within(nets));
    for (name, addresses) in [("random addresses", &anywhere), ("addresses in entries", &within)] {
        report(&format!("table: {name}"), addresses, |(address, network)| {
            editor.table().contains(*address, *network, NOW)
        });
    }
    for (name, addresses) in [("random addresses", &anywhere), ("addresses in entries", &within)] {
        let groups: Vec<_> = addresses.chunks_exact(Table::GROUP).collect();
        report_groups(&format!("table, in groups: {name}"), Table::GROUP, &groups, |group| {
            let hits = editor.table().lookup_group(group.iter().copied(), NOW);
            hits.iter().flatten().filter(|hit| !hit.not).count()
        });
    }
    let begin = Clock::now();
    let changes = 10_000;
    // A worker holds the old snapshot, as it does in life.
    let mut held = [editor.table().clone(), editor.table().clone()];
    for entry in &entries[..changes] {
        editor.delete(NOW, std::slice::from_ref(entry));
        held[0] = editor.table().clone();
        editor.add(NOW, std::slice::from_ref(entry), u32::MAX).expect("room");
        held[1] = editor.table().clone();
    }
    assert_eq!(held[1].len(), editor.len());
    let each = begin.elapsed() / (2 * changes as u32);
    println!("  table: {each:?} for a change of one entry and its snapshot");
}

/// What one would write without a trie: the set asked once for each length that is there.
fn ordered_set(nets: &[IpNet], random: &mut Random) {
    let mut lengths: Vec<(bool, u8)> =
        nets.iter().map(|net| (net.addr().is_ipv6(), net.prefix_len())).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths.reverse();
    let set: BTreeSet<IpNet> = nets.iter().map(IpNet::trunc).collect();
    let addresses: Vec<IpAddr> = (0..LOOKUPS / 64).map(|_| random.within_ip(nets)).collect();
    report("BTreeSet, each length: addresses in entries", &addresses, |address| {
        lengths.iter().any(|&(v6, length)| {
            v6 == address.is_ipv6()
                && IpNet::new(*address, length).is_ok_and(|net| set.contains(&net.trunc()))
        })
    });
}

fn list(nets: &[IpNet], random: &mut Random) {
    let addresses: Vec<IpAddr> = (0..LOOKUPS / 64).map(|_| random.within_ip(nets)).collect();
    println!("{} entries", nets.len());
    report("list: addresses in entries", &addresses, |address| {
        let holding = nets.iter().filter(|net| net.contains(address));
        holding.max_by_key(|net| net.prefix_len()).is_some()
    });
}

fn addresses(
    random: &mut Random,
    mut one: impl FnMut(&mut Random) -> (Address, Network),
) -> Vec<(Address, Network)> {
    (0..LOOKUPS).map(|_| one(random)).collect()
}

/// Prints the median and the best of pieces that are short enough to be done in one go on a machine
/// with other work, and long enough that no cache holds what they touch.
fn report<A>(name: &str, addresses: &[A], mut contains: impl FnMut(&A) -> bool) {
    report_groups(name, 1, addresses, |address| usize::from(contains(address)));
}

/// The same for questions of `each` addresses; `contains` counts those that were found.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn report_groups<A>(
    name: &str,
    each: usize,
    questions: &[A],
    mut contains: impl FnMut(&A) -> usize,
) {
    const PIECE: usize = 4096;
    let mut found = 0;
    let mut times = Vec::new();
    for piece in questions.chunks_exact(PIECE / each) {
        let begin = Clock::now();
        found += black_box(piece).iter().map(&mut contains).sum::<usize>();
        times.push(begin.elapsed().as_secs_f64() * 1e9 / PIECE as f64);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "  {name}: {:.1} ns, at best {:.1}, {} % found",
        times[times.len() / 2],
        times[0],
        found * 100 / (questions.len() * each)
    );
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn length(&mut self, lengths: &std::ops::RangeInclusive<u8>) -> u8 {
        let span = u64::from(lengths.end() - lengths.start()) + 1;
        lengths.start() + (self.next() % span) as u8
    }

    fn v4(&mut self, lengths: std::ops::RangeInclusive<u8>) -> IpNet {
        let length = self.length(&lengths);
        IpNet::new(self.v4_address(), length).expect("a length of IPv4").trunc()
    }

    fn v6(&mut self, lengths: std::ops::RangeInclusive<u8>) -> IpNet {
        let length = self.length(&lengths);
        IpNet::new(self.v6_address(), length).expect("a length of IPv6").trunc()
    }

    fn v4_address(&mut self) -> IpAddr {
        Ipv4Addr::from(self.next() as u32).into()
    }

    /// Within `2000::/3`.
    fn v6_address(&mut self) -> IpAddr {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        Ipv6Addr::from(bits >> 3 | 1 << 125).into()
    }

    /// Of either family.
    fn address(&mut self) -> (Address, Network) {
        if self.next() & 1 == 0 {
            (self.v4_address().into(), Network::Ipv4)
        } else {
            (self.v6_address().into(), Network::Ipv6)
        }
    }

    fn within(&mut self, nets: &[IpNet]) -> (Address, Network) {
        let ip = self.within_ip(nets);
        (ip.into(), if ip.is_ipv6() { Network::Ipv6 } else { Network::Ipv4 })
    }

    fn within_ip(&mut self, nets: &[IpNet]) -> IpAddr {
        let net = nets[self.next() as usize % nets.len()];
        match net {
            IpNet::V4(net) => {
                let host = self.next() as u32 & !u32::from(net.netmask());
                Ipv4Addr::from(u32::from(net.network()) | host).into()
            }
            IpNet::V6(net) => {
                let bits = u128::from(self.next()) << 64 | u128::from(self.next());
                Ipv6Addr::from(u128::from(net.network()) | bits & !u128::from(net.netmask())).into()
            }
        }
    }
}
