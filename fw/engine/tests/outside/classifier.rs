//! The classifier against its contract, read rule by rule.

use weir_engine::classifier::{Classifier, Key, Limits, Region, Rule, SMALL, TooComplex};

use crate::random::Random;

const MAPPED: u128 = 0xffff << 32;
const NET6: u128 = 0x2001_0db8 << 96;

/// Everything that the contract says of one packet.
fn check(rules: &[Rule], classifier: &Classifier, key: &Key) {
    let candidates: Vec<u32> = classifier.candidates(key).collect();
    assert!(candidates.is_sorted_by(|a, b| a < b), "not ascending: {candidates:?}");
    let holds: Vec<bool> =
        rules.iter().map(|rule| rule.regions.iter().any(|region| region.holds(key))).collect();
    for &candidate in &candidates {
        assert!(holds[candidate as usize], "{candidate} has no region that holds {key:x?}");
    }
    let mut decided = [u32::MAX; 16];
    for (rule, _) in rules.iter().zip(&holds).filter(|(rule, holds)| **holds && rule.exact) {
        for (place, decided) in decided.iter_mut().enumerate() {
            if rule.places & 1 << place != 0 {
                *decided = rule.rank.unwrap_or(u32::MAX).min(*decided);
            }
        }
    }
    for (number, (rule, _)) in
        (0_u32..).zip(rules.iter().zip(&holds)).filter(|(_, (_, holds))| **holds)
    {
        let matters = rule.rank.is_none_or(|rank| {
            (0..16).any(|place| rule.places & 1 << place != 0 && rank <= decided[place])
        });
        assert!(
            !matters || candidates.binary_search(&number).is_ok(),
            "{number} is missing for {key:x?}: {candidates:?}\n{rule:x?}"
        );
    }
}

/// What rules and packets are drawn from.
struct Draw {
    random: Random,
    /// Few values make many rules meet.
    bits: u32,
    ports: Vec<u16>,
}

impl Draw {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let bits = random.one_of(&[3, 8, 16, 32]);
        let ports = (0..random.one_of(&[1, 3, 40])).map(|_| random.next() as u16).collect();
        Self { random, bits, ports }
    }

    fn address(&mut self, ipv6: bool) -> u128 {
        let low = self.random.next() & ((1 << self.bits) - 1);
        let low = u128::from(low) << if self.random.below(2) == 0 { 32 - self.bits } else { 0 };
        match (ipv6, self.random.below(2)) {
            (false, _) => MAPPED | low,
            (true, 0) => NET6 | low << 64,
            (true, _) => NET6 | low,
        }
    }

    fn addresses(&mut self, ipv6: bool) -> (u128, u128) {
        let (address, width) = (self.address(ipv6), if ipv6 { 128 } else { 32 });
        match self.random.below(6) {
            0 => (0, u128::MAX),
            1 => (address, address),
            2 => {
                let other = self.address(ipv6);
                (address.min(other), address.max(other))
            }
            _ => {
                let host = (1_u128 << self.random.below(width)) - 1;
                (address & !host, address | host)
            }
        }
    }

    fn port(&mut self) -> u16 {
        if self.random.below(8) == 0 {
            self.random.next() as u16
        } else {
            let known = self.random.below(self.ports.len());
            self.ports[known]
        }
    }

    fn ports(&mut self) -> (u16, u16) {
        let (a, b) = (self.port(), self.port());
        match self.random.below(4) {
            0 | 1 => (0, u16::MAX),
            2 => (a, a),
            _ => (a.min(b), a.max(b)),
        }
    }

    fn region(&mut self) -> Region {
        let ipv6 = self.random.below(3) == 0;
        let (source, destination) = (self.addresses(ipv6), self.addresses(ipv6));
        let both = self.random.below(8) == 0;
        let ports = [self.ports(), self.ports()];
        let protocol = self.random.one_of(&[(0, 255), (6, 6), (17, 17), (6, 17), (250, 255)]);
        Region {
            source: source.0..=source.1,
            destination: destination.0..=destination.1,
            ports: ports.map(|(low, high)| low..=high),
            protocol: protocol.0..=protocol.1,
            opens: self.random.one_of(&[None, None, Some(true), Some(false)]),
            ipv4: both || !ipv6,
            ipv6: both || ipv6,
        }
    }

    fn rules(&mut self, count: usize) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for number in 0..count {
            let regions = match self.random.below(8) {
                0 => (0..self.random.below(5)).map(|_| self.region()).collect(),
                1 if number > 0 => rules[self.random.below(number)].regions.clone(),
                2 if self.random.below(10) == 0 => vec![Region::ALL],
                _ => vec![self.region()],
            };
            rules.push(Rule {
                regions,
                places: self.random.one_of(&[3, 1, 2, 7, 0x8000, 0]),
                exact: self.random.below(4) > 0,
                rank: (self.random.below(4) > 0).then(|| self.random.below(count * 2) as u32),
            });
        }
        rules
    }

    /// A packet that lies at the border of something, as most mistakes do.
    fn key(&mut self, rules: &[Rule]) -> Key {
        let mut region = || {
            let rule = self.random.below(rules.len());
            rules[rule].regions.first().cloned().unwrap_or(Region::ALL)
        };
        let [a, b, c] = [region(), region(), region()];
        let ipv6 = if a.ipv4 && a.ipv6 { self.random.below(2) == 0 } else { a.ipv6 };
        let source = self.near(*a.source.start(), *a.source.end(), ipv6);
        let from = if self.random.below(3) == 0 { &b } else { &a };
        let destination = self.near(*from.destination.start(), *from.destination.end(), ipv6);
        let from = if self.random.below(3) == 0 { &c } else { &a };
        let ports = [0, 1].map(|i| {
            let (low, high) = (*from.ports[i].start(), *from.ports[i].end());
            match self.random.below(6) {
                0 => low.wrapping_sub(1),
                1 => high.wrapping_add(1),
                2 => low,
                3 => high,
                4 => self.random.next() as u16,
                _ => self.port(),
            }
        });
        let protocol = self.random.one_of(&[6, 6, 17, 1, 0, 255, *from.protocol.start()]);
        Key { source, destination, ipv6, ports, protocol, opens: self.random.below(2) == 0 }
    }

    fn near(&mut self, low: u128, high: u128, ipv6: bool) -> u128 {
        let address = match self.random.below(6) {
            0 => low.wrapping_sub(1),
            1 => high.wrapping_add(1),
            2 => low,
            3 => high,
            4 => self.address(ipv6),
            _ => {
                let within = u128::from(self.random.next()) << self.random.below(65);
                low + within % (high - low).max(1)
            }
        };
        if ipv6 { address } else { MAPPED | address & 0xffff_ffff }
    }
}

fn agree(seeds: std::ops::Range<u64>, count: usize, keys: usize) {
    for seed in seeds {
        let mut draw = Draw::new(seed);
        let count = 1 + draw.random.below(count);
        let rules = draw.rules(count);
        let classifier = match Classifier::build(&rules, &Limits::default()) {
            Ok(classifier) => classifier,
            Err(error) => panic!("seed {seed}, {count} rules: {error}"),
        };
        for _ in 0..keys {
            check(&rules, &classifier, &draw.key(&rules));
        }
    }
}

#[test]
fn agrees_with_the_rules_read_one_by_one_few_rules() {
    agree(0..10_000, 12, 80);
}

#[test]
fn agrees_with_the_rules_read_one_by_one_some_rules() {
    agree(100_000..100_500, 200, 400);
}

#[test]
fn agrees_with_the_rules_read_one_by_one_many_rules() {
    agree(200_000..200_010, 2_000, 3_000);
}

#[test]
fn no_rules_no_candidates() {
    let classifier = Classifier::build(&[], &Limits::default()).unwrap();
    let mut draw = Draw::new(1);
    let key = draw.key(&[rule(Region::ALL, Some(0))]);
    assert_eq!(classifier.candidates(&key).count(), 0);
}

fn rule(region: Region, rank: Option<u32>) -> Rule {
    Rule { regions: vec![region], places: 1, exact: true, rank }
}

/// Rules whose regions overlap in two dimensions in every way: a wide range of each.
fn overlapping(count: usize, ranked: bool) -> Vec<Rule> {
    let mut random = Random(7);
    let mut half = || {
        let low = MAPPED | u128::from(random.next() as u32 >> 1);
        low..=low + 0x7fff_ffff
    };
    (0..count as u32)
        .map(|number| {
            let region = Region { source: half(), destination: half(), ..Region::ALL };
            rule(region, ranked.then_some(number))
        })
        .collect()
}

#[test]
fn refuses_more_rules_for_the_same_packets_than_a_look_up_may_compare() {
    let limits = Limits { compared: 200, ..Limits::default() };
    let equal = |count| vec![rule(Region::ALL, None); count];
    assert!(Classifier::build(&equal(200), &limits).is_ok());
    let refusal = Classifier::build(&equal(201), &limits).unwrap_err();
    assert_eq!(refusal, TooComplex::Overlap { compared: 201, limit: 200, rule: 0 });
    assert_eq!(
        refusal.to_string(),
        "201 rules (rule 0 is one) overlap so that one packet would be compared with all of them; \
         the most is 200"
    );
}

#[test]
fn refuses_what_takes_too_much_work() {
    let limits = Limits { work: 1_000_000, ..Limits::default() };
    let refusal = Classifier::build(&overlapping(2_000, true), &limits).unwrap_err();
    assert_eq!(refusal, TooComplex::Work(1_000_000));
}

#[test]
fn refuses_what_takes_too_much_memory() {
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let mut draw = Draw::new(3);
    draw.bits = 32;
    let hosts = (0..30_000).map(|number| {
        let host = draw.address(false);
        rule(Region { source: host..=host, ..Region::ALL }, Some(number))
    });
    let refusal = Classifier::build(&hosts.collect::<Vec<_>>(), &limits).unwrap_err();
    assert_eq!(refusal, TooComplex::Memory(1 << 20));
}

#[test]
fn never_refuses_a_small_set() {
    let nothing = Limits { bytes: 0, work: 0, compared: 0 };
    let rules = overlapping(SMALL, false);
    let classifier = Classifier::build(&rules, &nothing).unwrap();
    let mut draw = Draw::new(2);
    for _ in 0..1_000 {
        check(&rules, &classifier, &draw.key(&rules));
    }
    let rules = overlapping(SMALL + 1, false);
    assert!(Classifier::build(&rules, &nothing).is_err());
}

#[test]
fn hostile_sets_are_refused_or_right() {
    let mut refused = Vec::new();
    for (count, ranked) in [(4_500, false), (3_000, true), (300, false)] {
        let rules = overlapping(count, ranked);
        let Ok(classifier) = Classifier::build(&rules, &Limits::default()) else {
            refused.push((count, ranked));
            continue;
        };
        let mut draw = Draw::new(4);
        for _ in 0..300 {
            check(&rules, &classifier, &draw.key(&rules));
        }
    }
    // A thousand of them and more lie over one packet, and none hides another.
    assert_eq!(refused, [(4_500, false)]);
}

#[test]
fn reports_more_rules_than_it_collects_at_once() {
    let mut rules = vec![rule(Region::ALL, None); 100];
    for rule in rules.iter_mut().step_by(3) {
        let whole = rule.regions[0].clone();
        rule.regions.push(Region { protocol: 6..=6, ..whole });
    }
    let classifier = Classifier::build(&rules, &Limits::default()).unwrap();
    let key = Draw::new(5).key(&rules);
    assert_eq!(classifier.candidates(&key).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_rule_of_very_many_regions_is_still_reported() {
    let host = |number: u128| MAPPED + number * 1000;
    let regions =
        (0..500).map(|number| Region { source: host(number)..=host(number), ..Region::ALL });
    let many = Rule { regions: regions.collect(), places: 1, exact: true, rank: Some(0) };
    let rules = [many, rule(Region::ALL, Some(1))];
    let classifier = Classifier::build(&rules, &Limits::default()).unwrap();
    for number in 0..500 {
        let key = Key {
            source: host(number),
            destination: MAPPED,
            ipv6: false,
            ports: [1, 2],
            protocol: 6,
            opens: true,
        };
        assert_eq!(classifier.candidates(&key).next(), Some(0));
        // Between its hosts it must not hide the rule that matches.
        let beside = Key { source: key.source + 1, ..key };
        assert!(classifier.candidates(&beside).any(|rule| rule == 1));
    }
}

#[test]
fn what_another_rule_always_outranks_is_not_reported() {
    let mut rules = vec![rule(Region::ALL, Some(9)), rule(Region::ALL, Some(1))];
    let key = Draw::new(5).key(&rules);
    let candidates = |rules: &[Rule]| {
        let classifier = Classifier::build(rules, &Limits::default()).unwrap();
        classifier.candidates(&key).collect::<Vec<_>>()
    };
    assert_eq!(candidates(&rules), [1]);
    rules[1].places = 2;
    assert_eq!(candidates(&rules), [0, 1]);
    rules[1].places = 3;
    assert_eq!(candidates(&rules), [1]);
    rules[1].exact = false;
    assert_eq!(candidates(&rules), [0, 1]);
    rules[1].exact = true;
    rules[0].rank = None;
    assert_eq!(candidates(&rules), [0, 1]);
}
