//! Nanoseconds a look-up for rule sets of several kinds and sizes, beside the rules tried one by
//! one; time and memory to build. `cargo bench -p weir-engine --bench classify [KIND]`.

#![allow(clippy::cast_precision_loss)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use weir_engine::classifier::{Classifier, Key, Limits, Region, Rule};

const REPEATS: usize = 60;
const KEYS: usize = 1 << 13;
const MAPPED: u128 = 0xffff << 32;
/// Well-known ports.
const PORTS: [u16; 12] = [22, 25, 53, 80, 110, 123, 143, 443, 465, 993, 3306, 8080];

fn main() {
    let kinds: [(&str, Kind); 10] = [
        ("mixed", mixed),
        ("mixed v6", mixed6),
        ("rack", rack),
        ("rack v6", rack6),
        ("acl", acl),
        ("fw", firewall),
        ("ipc", chains),
        ("blocklist", blocklist),
        ("wide", wide),
        ("match wide", match_wide),
    ];
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    println!("kind           rules  look-up  linear  reported  worst     build   memory");
    for (name, kind) in kinds {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        let sizes: &[usize] = match name {
            "blocklist" => &[10, 100, 1_000, 10_000, 100_000, 1_000_000],
            _ => &[10, 100, 1_000, 10_000, 100_000],
        };
        for &count in sizes {
            measure(name, count, kind);
        }
    }
}

type Kind = fn(&mut Random, usize) -> Vec<Rule>;

fn measure(name: &str, count: usize, kind: Kind) {
    let mut random = Random(count as u64);
    let rules = kind(&mut random, count);
    let begin = Instant::now();
    let classifier = match Classifier::build(&rules, &Limits::default()) {
        Ok(classifier) => classifier,
        Err(error) => {
            println!("{name:12} {count:>7}  refused after {:?}: {error}", begin.elapsed());
            return;
        }
    };
    let build = begin.elapsed();
    let keys: Vec<Key> = (0..KEYS).map(|_| key(&mut random, &rules)).collect();
    let counts: Vec<usize> = keys.iter().map(|key| classifier.candidates(key).count()).collect();
    let reported = counts.iter().sum::<usize>() as f64 / KEYS as f64;
    let worst = counts.iter().max().copied().unwrap_or_default();
    let best = minimum(REPEATS, || {
        let mut sum = 0;
        for key in &keys {
            for rule in classifier.candidates(black_box(key)) {
                sum += rule;
            }
        }
        black_box(sum);
    });
    let tried = (1_000_000 / count).clamp(1, KEYS);
    let linear = minimum(2, || {
        let mut sum = 0;
        for key in &keys[..tried] {
            for (number, rule) in rules.iter().enumerate() {
                if rule.regions.iter().any(|region| region.holds(black_box(key))) {
                    sum += number;
                }
            }
        }
        black_box(sum);
    });
    println!(
        "{name:12} {count:>7} {:>6.1} ns {:>7.0} {reported:>9.2} {worst:>6} {:>6.0} ms {:>6.0} KiB",
        best.as_secs_f64() * 1e9 / KEYS as f64,
        linear.as_secs_f64() * 1e9 / tried as f64,
        build.as_secs_f64() * 1e3,
        classifier.memory() as f64 / 1024.0,
    );
}

fn minimum(repeats: usize, mut work: impl FnMut()) -> Duration {
    (0..repeats)
        .map(|_| {
            let begin = Instant::now();
            work();
            begin.elapsed()
        })
        .min()
        .unwrap_or_default()
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A prefix of some length within another; the addresses are those of one family.
    fn prefix(&mut self, ipv6: bool, within: (u128, u32), lengths: &[u32]) -> (u128, u128) {
        let width = if ipv6 { 128 } else { 32 };
        let length = self.one_of(lengths).max(within.1);
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        let free = low_bits(width - within.1);
        let address = within.0 & !free | random & free;
        let host = low_bits(width - length);
        (address & !host, address | host)
    }
}

fn low_bits(bits: u32) -> u128 {
    if bits == 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// Half of the packets hit a rule chosen at random, half are anything of the rules' family.
fn key(random: &mut Random, rules: &[Rule]) -> Key {
    let rule = &rules[random.below(rules.len())];
    let region = &rule.regions[random.below(rule.regions.len())];
    let ipv6 = !region.ipv4;
    let mut address = |low: u128, high: u128, anything: bool| {
        let any = u128::from(random.next()) << 64 | u128::from(random.next());
        match (anything || (low, high) == (0, u128::MAX), ipv6) {
            (false, _) => low + any % (high - low).max(1),
            (true, false) => MAPPED | any & 0xffff_ffff,
            (true, true) => NET6 | any >> 16,
        }
    };
    let miss = address(0, u128::MAX, true) & 1 == 0;
    let source = address(*region.source.start(), *region.source.end(), miss);
    let destination = address(*region.destination.start(), *region.destination.end(), miss);
    let mut port = |i: usize| {
        let (low, high) = (*region.ports[i].start(), *region.ports[i].end());
        match (miss, random.below(2)) {
            (true, 0) => random.one_of(&PORTS),
            (true, _) => random.next() as u16,
            (false, _) => low + (random.next() % (u64::from(high - low) + 1)) as u16,
        }
    };
    let ports = [port(0), port(1)];
    let protocol = if miss || region.protocol.start() != region.protocol.end() {
        random.one_of(&[6, 6, 17])
    } else {
        *region.protocol.start()
    };
    Key { source, destination, ipv6, ports, protocol, opens: random.below(2) == 0 }
}

const NET6: u128 = 0x2001 << 112;

/// Ranks as pf's order gives them: quick rules first, then the others from the last to the first.
fn rank(rules: Vec<(Region, bool)>) -> Vec<Rule> {
    let count = rules.len() as u32;
    let mut ranked = Vec::with_capacity(rules.len());
    for (number, (region, quick)) in (0..).zip(rules) {
        ranked.push(Rule {
            regions: vec![region],
            places: 0b1111,
            exact: true,
            rank: Some(if quick { number } else { 2 * count - number }),
        });
    }
    ranked
}

fn any(ipv6: bool) -> Region {
    Region { ipv4: !ipv6, ipv6, ..Region::ALL }
}

/// Ports and protocol: none, well-known, or a range.
fn service(random: &mut Random, region: &mut Region) {
    let port = random.one_of(&PORTS);
    match random.below(8) {
        0 | 1 => {}
        2 => region.protocol = 1..=1,
        3 => {
            region.protocol = 17..=17;
            region.ports[1] = port..=port;
        }
        4 => {
            let (a, b) = (random.next() as u16, random.next() as u16);
            region.protocol = 6..=6;
            region.ports[1] = a.min(b)..=a.max(b);
        }
        5 => {
            let any = random.next() as u16;
            region.protocol = 6..=6;
            region.ports[1] = any..=any;
        }
        _ => {
            region.protocol = 6..=6;
            region.opens = Some(true);
            region.ports[1] = port..=port;
        }
    }
}

/// `block all`, then prefixes of all lengths on one side or both, some rules quick.
fn mixed(random: &mut Random, count: usize) -> Vec<Rule> {
    let lengths: Vec<u32> = (8..=32).collect();
    of_prefixes(random, count, false, (MAPPED, 0), &lengths)
}

fn mixed6(random: &mut Random, count: usize) -> Vec<Rule> {
    let lengths: Vec<u32> = (20..=128).step_by(4).collect();
    of_prefixes(random, count, true, (NET6, 16), &lengths)
}

fn of_prefixes(
    random: &mut Random,
    count: usize,
    ipv6: bool,
    within: (u128, u32),
    lengths: &[u32],
) -> Vec<Rule> {
    let mut rules = vec![(any(ipv6), false)];
    while rules.len() < count {
        let mut region = any(ipv6);
        let sides = 1 + random.below(3);
        if sides & 1 != 0 {
            let (low, high) = random.prefix(ipv6, within, lengths);
            region.source = low..=high;
        }
        if sides & 2 != 0 {
            let (low, high) = random.prefix(ipv6, within, lengths);
            region.destination = low..=high;
        }
        service(random, &mut region);
        rules.push((region, random.below(5) == 0));
    }
    rank(rules)
}

/// A hosting rack: ten rules for each customer's /29, or /64.
fn rack(random: &mut Random, count: usize) -> Vec<Rule> {
    customers(random, count, false, MAPPED | 0xcb00_0000, 8)
}

fn rack6(random: &mut Random, count: usize) -> Vec<Rule> {
    customers(random, count, true, 0x2001_0db8 << 96, 1 << 64)
}

fn customers(random: &mut Random, count: usize, ipv6: bool, net: u128, size: u128) -> Vec<Rule> {
    let mut rules = vec![(any(ipv6), false)];
    for customer in 0..count.div_ceil(10) as u128 {
        let first = net + customer * size;
        let to = Region { destination: first..=first + size - 1, ..any(ipv6) };
        let from = Region { source: first..=first + size - 1, ..any(ipv6) };
        let office =
            random.prefix(ipv6, if ipv6 { (NET6, 16) } else { (MAPPED, 0) }, &[24, 28, 32]);
        let tcp = |port: u16, to: &Region| Region {
            protocol: 6..=6,
            opens: Some(true),
            ports: [0..=u16::MAX, port..=port],
            ..to.clone()
        };
        rules.push((to.clone(), false));
        rules.push((from.clone(), false));
        rules.push((tcp(80, &to), false));
        rules.push((tcp(443, &to), false));
        rules.push((tcp(random.one_of(&PORTS), &to), false));
        rules.push((
            Region { protocol: 17..=17, ports: [0..=u16::MAX, 53..=53], ..to.clone() },
            false,
        ));
        rules.push((Region { protocol: 1..=1, ..to.clone() }, false));
        let admin = Region { source: office.0..=office.1, ..to };
        rules.push((tcp(22, &admin), false));
        rules.push((tcp(3306, &admin), random.below(2) == 0));
        rules.push((tcp(25, &from), true));
    }
    rules.truncate(count);
    rank(rules)
}

/// As in `ClassBench`'s access lists: few networks inside, many peers, mostly both ends given.
fn acl(random: &mut Random, count: usize) -> Vec<Rule> {
    classbench(random, count, [70, 15, 10], [95, 80], &[24, 26, 28, 30, 32, 32, 32])
}

/// As in its firewalls: many wildcards, port ranges on both sides.
fn firewall(random: &mut Random, count: usize) -> Vec<Rule> {
    classbench(random, count, [40, 30, 25], [60, 50], &[16, 20, 24, 32, 32])
}

/// As in its IP chains: of all a bit.
fn chains(random: &mut Random, count: usize) -> Vec<Rule> {
    classbench(random, count, [60, 20, 15], [85, 60], &[8, 12, 16, 20, 24, 28, 32])
}

/// Per cent with both ends, source or destination only; with any source port, any destination port.
fn classbench(
    random: &mut Random,
    count: usize,
    [both, source, destination]: [usize; 3],
    any_port: [usize; 2],
    lengths: &[u32],
) -> Vec<Rule> {
    let sites: Vec<(u128, u32)> = (0..(count / 50).max(2))
        .map(|_| (random.prefix(false, (MAPPED, 0), &[16]).0, random.one_of(&[16, 20])))
        .collect();
    let mut rules = vec![(any(false), false)];
    while rules.len() < count {
        let mut region = any(false);
        let kind = random.below(100);
        if kind < both + source {
            let site = random.one_of(&sites);
            let (low, high) = random.prefix(false, site, lengths);
            region.source = low..=high;
        }
        if kind < both || (both + source..both + source + destination).contains(&kind) {
            let site = random.one_of(&sites);
            let (low, high) = random.prefix(false, site, lengths);
            region.destination = low..=high;
        }
        for (ports, any_port) in region.ports.iter_mut().zip(any_port) {
            if random.below(100) >= any_port {
                let (a, b) = (random.next() as u16, random.next() as u16);
                let port = random.one_of(&PORTS);
                *ports = match random.below(6) {
                    0 => 1024..=u16::MAX,
                    1 => 0..=1023,
                    2 => a.min(b)..=a.max(b),
                    3 => a..=a,
                    _ => port..=port,
                };
            }
        }
        let protocol = random.one_of(&[6, 6, 6, 17, 17, 1, 0]);
        region.protocol = if protocol == 0 { 0..=u8::MAX } else { protocol..=protocol };
        rules.push((region, random.below(3) == 0));
    }
    rank(rules)
}

/// Single hosts that may not come in, then a policy.
fn blocklist(random: &mut Random, count: usize) -> Vec<Rule> {
    let mut rules = vec![(any(false), false)];
    while rules.len() + 1 < count {
        let (low, high) = random.prefix(false, (MAPPED, 0), &[32]);
        rules.push((Region { source: low..=high, ..any(false) }, true));
    }
    rules.push((Region { protocol: 6..=6, ports: [0..=u16::MAX, 443..=443], ..any(false) }, false));
    rank(rules)
}

/// Hostile: a quarter of all addresses and a half of all ports on both sides, in every way.
fn wide(random: &mut Random, count: usize) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(count);
    while rules.len() < count {
        let mut address = || {
            let low = MAPPED | u128::from(random.next() as u32 / 4 * 3);
            low..=low + 0x3fff_ffff
        };
        let (source, destination) = (address(), address());
        let port = random.next() as u16 / 2;
        let ports = [0..=u16::MAX, port..=port + 0x7fff];
        rules.push((Region { source, destination, ports, ..any(false) }, false));
    }
    rank(rules)
}

/// The same, and none hides another.
fn match_wide(random: &mut Random, count: usize) -> Vec<Rule> {
    let mut rules = wide(random, count);
    for rule in &mut rules {
        rule.rank = None;
    }
    rules
}
