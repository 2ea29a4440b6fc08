use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use proptest::prelude::*;
use weir_config::rules::Direction;
use weir_config::tables::TableEntry;

use super::{
    Editor, EntryCounters, Feedback, Full, Outcome, Table, TableCounters, TableOp, Tables,
};
use crate::counters::Tally;
use crate::packet::{Address, Network};
use crate::time::Instant;

const ALL: u32 = u32::MAX;

/// `!10.0.0.0/8 60`: `!`, a prefix or an address, a time-out in seconds.
fn entry(text: &str) -> TableEntry {
    let (text, timeout) = match text.split_once(' ') {
        Some((text, timeout)) => (text, Some(timeout.parse().unwrap())),
        None => (text, None),
    };
    let (not, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
    let net = text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()));
    TableEntry { not, net, timeout }
}

fn entries(text: &[&str]) -> Vec<TableEntry> {
    text.iter().map(|text| entry(text)).collect()
}

fn editor(text: &[&str]) -> Editor {
    let mut editor = Editor::new(1, true, Instant(0));
    editor.add(Instant(0), &entries(text), ALL).unwrap();
    editor
}

fn network(ip: IpAddr) -> Network {
    if ip.is_ipv6() { Network::Ipv6 } else { Network::Ipv4 }
}

fn contains(table: &Table, text: &str, now: Instant) -> bool {
    let ip: IpAddr = text.parse().unwrap();
    table.contains(ip.into(), network(ip), now)
}

fn listed(table: &Table, now: Instant) -> Vec<String> {
    let not = |not| if not { "!" } else { "" };
    table.entries(now).iter().map(|entry| format!("{}{}", not(entry.not), entry.net)).collect()
}

#[test]
fn the_longest_prefix_decides_and_families_are_apart() {
    let editor = editor(&[
        "10.0.0.0/8",
        "!10.1.0.0/16",
        "10.1.2.0/24",
        "!10.1.2.3",
        "2001:db8::/32",
        "!2001:db8::1",
        "::/0",
        "!::ffff:10.0.0.0/104",
    ]);
    let table = editor.table();
    for (address, is_in) in [
        ("10.200.0.1", true),
        ("10.1.0.1", false),
        ("10.1.2.4", true),
        ("10.1.2.3", false),
        ("11.0.0.0", false),
        ("2001:db8::2", true),
        ("2001:db8::1", false),
        ("1::1", true),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(contains(table, address, Instant(0)), is_in, "{address}");
    }
    assert!(!table.contains(Address::v4([10, 200, 0, 1]), Network::Arp, Instant(0)));
    assert!(editor.table().lookup(Address::v4([10, 1, 0, 1]), Network::Ipv4, Instant(0)).is_some());
}

#[test]
fn every_length_of_one_address_can_be_held_at_once() {
    for full in [32, 128] {
        let address: IpAddr = if full == 32 {
            Ipv4Addr::new(10, 99, 255, 1).into()
        } else {
            "2001:db8:aaaa:5555::1".parse().unwrap()
        };
        let mut editor = Editor::new(1, false, Instant(0));
        let nested: Vec<TableEntry> = (0..=full)
            .map(|length| TableEntry {
                not: length % 2 == 1,
                net: IpNet::new(address, length).unwrap(),
                timeout: None,
            })
            .collect();
        editor.add(Instant(0), &nested, ALL).unwrap();
        for (length, gone) in (0..=full).zip(&nested).rev() {
            let found = editor.table().longest(address, Instant(0)).unwrap();
            assert_eq!((found.net.prefix_len(), found.not), (length, length % 2 == 1));
            assert_eq!(editor.delete(Instant(0), &[*gone]).deleted, 1);
        }
        assert!(editor.table().longest(address, Instant(0)).is_none());
        assert_eq!(editor.table().footprint(), 0);
    }
}

#[test]
fn feedback_is_that_of_pf() {
    use Feedback::{Added, Changed, Conflict, Deleted, Duplicate, Unchanged};
    let mut editor = editor(&["10.0.0.1", "!10.0.0.2"]);
    let now = Instant(0);
    let request = entries(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.3", "!10.0.0.3"]);
    let outcome = editor.add(now, &request, ALL).unwrap();
    assert_eq!(outcome.feedback, [Unchanged, Conflict, Added, Duplicate, Duplicate]);
    assert_eq!((outcome.added, outcome.is_change()), (1, true));

    let outcome = editor.delete(now, &entries(&["!10.0.0.1", "!10.0.0.2", "10.0.0.9"]));
    assert_eq!(outcome.feedback, [Conflict, Deleted, Unchanged]);
    assert_eq!(listed(editor.table(), now), ["10.0.0.1/32", "10.0.0.3/32"]);

    let outcome =
        editor.replace(now, &entries(&["!10.0.0.1", "10.0.0.7", "10.0.0.7"]), ALL).unwrap();
    assert_eq!(outcome.feedback, [Changed, Added, Duplicate]);
    assert_eq!((outcome.added, outcome.deleted, outcome.changed), (1, 1, 1));
    assert_eq!(outcome.gone, entries(&["10.0.0.3"]));
    assert_eq!(listed(editor.table(), now), ["!10.0.0.1/32", "10.0.0.7/32"]);

    let before = Arc::clone(editor.table());
    let outcome = editor.replace(now, &entries(&["10.0.0.7", "!10.0.0.1"]), ALL).unwrap();
    assert!(!outcome.is_change());
    assert!(Arc::ptr_eq(&before, editor.table()), "what changes nothing makes no snapshot");
    assert_eq!(editor.flush(now), 2);
    assert!(editor.is_empty() && listed(editor.table(), now).is_empty());
}

#[test]
fn a_request_that_does_not_fit_changes_nothing() {
    let mut editor = editor(&["10.0.0.1", "10.0.0.2"]);
    let now = Instant(0);
    let refused = editor.add(now, &entries(&["10.0.0.2", "10.0.0.3", "10.0.0.4"]), 3);
    assert_eq!(refused, Err(Full { needed: 4, room: 3 }));
    let refused = editor.replace(now, &entries(&["10.1.0.1", "10.1.0.2"]), 1);
    assert_eq!(refused, Err(Full { needed: 2, room: 1 }));
    assert_eq!(listed(editor.table(), now), ["10.0.0.1/32", "10.0.0.2/32"]);
    // What makes the table smaller is let through although it is too large still.
    assert_eq!(editor.replace(now, &entries(&["10.0.0.1"]), 0).unwrap().deleted, 1);
}

#[test]
fn an_entry_expires_by_itself_and_uncovers_the_one_below() {
    let mut editor = editor(&["10.0.0.0/8", "!10.0.0.0/9 30", "!10.0.0.1 60", "10.0.0.2 1"]);
    let at = Instant::from_secs;
    let snapshot = Arc::clone(editor.table());
    assert!(!contains(&snapshot, "10.0.0.1", at(59)));
    assert!(!contains(&snapshot, "10.1.0.1", at(29)));
    assert!(contains(&snapshot, "10.1.0.1", at(31)), "the /9 has expired");
    assert!(!contains(&snapshot, "10.0.0.1", at(31)), "the host has not");
    assert!(contains(&snapshot, "10.0.0.1", at(61)));
    assert_eq!(snapshot.entries(at(61)).len(), 1);

    let next = editor.next_expiry().unwrap();
    assert!(next >= at(1) && next.since(at(1)) < Duration::from_millis(68), "{next:?}");
    assert_eq!(editor.sweep(at(31)), 2);
    assert_eq!(editor.sweep(at(31)), 0);
    assert_eq!(editor.len(), 2);

    // Naming it again makes its time begin anew.
    let outcome = editor.add(at(31), &entries(&["!10.0.0.1 60"]), ALL).unwrap();
    assert_eq!(outcome.feedback, [Feedback::Changed]);
    assert!(!contains(editor.table(), "10.0.0.1", at(90)));
    assert!(contains(editor.table(), "10.0.0.1", at(92)));
    // Not swept yet, and yet gone.
    let outcome = editor.add(at(92), &entries(&["10.0.0.1"]), ALL).unwrap();
    assert_eq!(outcome.feedback, [Feedback::Added]);
    assert_eq!(editor.next_expiry(), None);
}

#[test]
fn expire_takes_what_was_not_cleared_lately() {
    let at = Instant::from_secs;
    let mut editor = editor(&["10.0.0.1", "10.0.0.2"]);
    editor.add(at(50), &entries(&["10.0.0.3"]), ALL).unwrap();
    assert_eq!(editor.zero_entries(at(60), &entries(&["10.0.0.2", "10.9.9.9"])).cleared, 1);
    let outcome = editor.expire(at(100), Duration::from_secs(60));
    assert_eq!(outcome.gone, entries(&["10.0.0.1"]));
    assert_eq!(editor.expire(at(100), Duration::from_secs(60)), Outcome::default());
    editor.zero(at(200));
    assert_eq!(editor.expire(at(230), Duration::from_secs(30)).deleted, 0);
    assert_eq!(editor.expire(at(231), Duration::from_secs(30)).deleted, 2);
}

#[test]
fn ids_are_dense_and_used_again() {
    let mut editor = Editor::new(1, true, Instant(0));
    for round in 0..50_u8 {
        let all: Vec<TableEntry> = (0..100).map(|i| entry(&format!("10.0.{round}.{i}"))).collect();
        editor.replace(Instant(0), &all, ALL).unwrap();
        let mut ids: Vec<u32> =
            editor.table().entries(Instant(0)).iter().map(|entry| entry.hit.entry).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..100).collect::<Vec<_>>());
    }
}

/// Counts one packet of a pass rule for the address.
fn pass(counters: &mut TableCounters, tables: &Tables, id: u32, address: [u8; 4]) {
    let table = tables.get(id).unwrap();
    let hit = table.lookup(Address::v4(address), Network::Ipv4, Instant(0));
    counters.evaluated(id, hit.is_some_and(|hit| !hit.not));
    counters.count(id, hit, false, Direction::Out, TableOp::Pass, 100);
}

fn counted(counters: &TableCounters, tables: &Tables, id: u32) -> Vec<Option<u64>> {
    let packets = |counters: EntryCounters| counters.tallies[1][TableOp::Pass as usize].packets;
    let table = tables.get(id).unwrap();
    let all = table.entries(Instant(0));
    all.iter().map(|entry| counters.entry(id, table.uid(), entry.hit).map(packets)).collect()
}

#[test]
fn counters_belong_to_an_entry_not_to_its_id() {
    let mut editor = editor(&["10.0.0.1", "10.0.0.2"]);
    let mut counters = TableCounters::default();
    let mut tables = Tables::new(vec![Arc::clone(editor.table())]);
    drop(counters.take_up(&tables));
    pass(&mut counters, &tables, 0, [10, 0, 0, 1]);
    pass(&mut counters, &tables, 0, [10, 0, 0, 2]);
    pass(&mut counters, &tables, 0, [10, 0, 0, 2]);
    pass(&mut counters, &tables, 0, [10, 0, 0, 9]);
    assert_eq!(counted(&counters, &tables, 0), [Some(1), Some(2)]);
    let tally = counters.table(0).unwrap();
    assert_eq!((tally.matches, tally.no_match), (3, 1));
    assert_eq!(tally.tallies[1][2], Tally { packets: 3, bytes: 300 });
    assert_eq!(tally.tallies[1][3], Tally { packets: 1, bytes: 100 }, "XPass");

    // The same id for another address; an entry with `!`; the rest goes on.
    editor.replace(Instant(0), &entries(&["10.0.0.2", "10.0.0.3", "!10.0.0.4"]), ALL).unwrap();
    tables = Tables::new(vec![Arc::clone(editor.table())]);
    drop(counters.take_up(&tables));
    assert_eq!(counted(&counters, &tables, 0), [Some(2), None, None]);
    for host in 2..=4 {
        pass(&mut counters, &tables, 0, [10, 0, 0, host]);
    }
    assert_eq!(counted(&counters, &tables, 0), [Some(3), Some(1), None]);

    // Zeroing all, and one.
    editor.zero_entries(Instant(0), &entries(&["10.0.0.2"]));
    tables = Tables::new(vec![Arc::clone(editor.table())]);
    drop(counters.take_up(&tables));
    assert_eq!(counted(&counters, &tables, 0), [None, Some(1), None]);
    pass(&mut counters, &tables, 0, [10, 0, 0, 2]);
    editor.zero(Instant(0));
    tables = Tables::new(vec![Arc::clone(editor.table())]);
    drop(counters.take_up(&tables));
    assert_eq!(counted(&counters, &tables, 0), [None, None, None]);
    assert_eq!(counters.table(0).unwrap().matches, 0);
    pass(&mut counters, &tables, 0, [10, 0, 0, 2]);
    assert_eq!(counted(&counters, &tables, 0), [Some(1), None, None]);

    // Asked for by the id of a table that has another one since.
    let other = Editor::new(8, true, Instant(0));
    let both = Tables::new(vec![Arc::clone(other.table()), Arc::clone(editor.table())]);
    drop(counters.take_up(&both));
    assert_eq!(counted(&counters, &tables, 0), [None, None, None]);
}

#[test]
fn counters_follow_their_table_to_another_id() {
    let first = editor(&["10.0.0.1"]);
    let mut second = Editor::new(2, false, Instant(0));
    second.add(Instant(0), &entries(&["10.0.0.1"]), ALL).unwrap();
    let mut counters = TableCounters::default();
    let both = Tables::new(vec![Arc::clone(first.table()), Arc::clone(second.table())]);
    drop(counters.take_up(&both));
    pass(&mut counters, &both, 0, [10, 0, 0, 1]);
    pass(&mut counters, &both, 1, [10, 0, 0, 1]);
    pass(&mut counters, &both, 1, [10, 0, 0, 1]);
    assert_eq!(counted(&counters, &both, 1), [None], "declared without `counters`");

    let swapped = Tables::new(vec![Arc::clone(second.table()), Arc::clone(first.table())]);
    drop(counters.take_up(&swapped));
    assert_eq!(counters.table(0).unwrap().matches, 2);
    assert_eq!(counters.table(1).unwrap().matches, 1);
    assert_eq!(counted(&counters, &swapped, 1), [Some(1)]);
    drop(counters.take_up(&Tables::default()));
    assert_eq!(counters.table(0), None);
}

/// The most bytes that a table may take for an entry.
const BOUND: usize = 104;

fn assert_bounded(name: &str, nets: impl Iterator<Item = IpNet>) {
    let mut all: Vec<TableEntry> =
        nets.map(|net| TableEntry { not: false, net, timeout: None }).collect();
    let mut editor = Editor::new(1, false, Instant(0));
    editor.replace(Instant(0), &all, ALL).unwrap();
    let bytes = editor.table().footprint();
    assert!(bytes <= BOUND * editor.len() as usize, "{name}: {bytes} for {}", editor.len());
    assert!(editor.len() as usize > all.len() / 2, "{name}: too many are the same");
    // Taken out again from the other end, in two halves, and nothing stays.
    let half = all.split_off(all.len() / 2);
    editor.delete(Instant(0), &half);
    let bytes = editor.table().footprint();
    assert!(bytes <= BOUND * editor.len() as usize, "{name}, half: {bytes}");
    editor.delete(Instant(0), &all);
    assert_eq!((editor.len(), editor.table().footprint()), (0, 0), "{name}");
}

#[test]
fn hostile_entries_stay_within_the_bound() {
    let v6 = |bits: u128, length| IpNet::new(Ipv6Addr::from(bits).into(), length).unwrap();
    let count = 30_000_u128;
    assert_bounded("pairs that part at the last bit", {
        (0..count).map(|i| v6(((i / 2 * 0x9e37_79b9_7f4a_7c15) << 40) | (i % 2), 128))
    });
    assert_bounded("nested in all lengths", {
        (0..count).map(|i| v6((i / 129) << 100, 28 + (i % 101) as u8))
    });
    assert_bounded("a chain of bits", {
        (0..count).map(|i| v6(1 << (i % 128) | (i / 128) << 110, 128))
    });
    assert_bounded("the next to each other", (0..count).map(|i| v6(i, 128)));
    assert_bounded("one at every step", {
        (0..count).map(|i| v6((i / 22) << 112 | 1 << (i % 22 * 5), 128))
    });
}

/// What the table is compared with: a list, searched from end to end.
#[derive(Clone, Debug, Default)]
struct Naive(Vec<(IpNet, bool, Option<Instant>)>);

impl Naive {
    fn longest(&self, ip: IpAddr, now: Instant) -> Option<(IpNet, bool)> {
        self.0
            .iter()
            .filter(|(net, _, expires)| {
                net.contains(&ip) && expires.is_none_or(|expires| now < expires)
            })
            .max_by_key(|(net, ..)| net.prefix_len())
            .map(|&(net, not, _)| (net, not))
    }

    fn sweep(&mut self, now: Instant) {
        self.0.retain(|(.., expires)| expires.is_none_or(|expires| now < expires));
    }

    fn put(&mut self, now: Instant, entry: &TableEntry) {
        self.0.retain(|(net, ..)| *net != entry.net.trunc());
        self.0.push((entry.net.trunc(), entry.not, deadline(now, entry.timeout)));
    }

    fn get(&self, entry: &TableEntry) -> Option<bool> {
        self.0.iter().find(|(net, ..)| *net == entry.net.trunc()).map(|&(_, not, _)| not)
    }
}

/// Rounded up to ticks of 2^26 ns.
fn deadline(now: Instant, timeout: Option<u32>) -> Option<Instant> {
    let at = now.after(Duration::from_secs(timeout?.into()));
    Some(Instant(at.0.div_ceil(1 << 26) << 26))
}

#[derive(Clone, Debug)]
enum Change {
    Add(Vec<TableEntry>),
    Delete(Vec<TableEntry>),
    Replace(Vec<TableEntry>),
    Wait(u64),
    Sweep,
    Flush,
}

/// Addresses that have much in common: bits are set in a few places only.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..4_u32, 0..3_u32, 0..4_u32)
        .prop_map(|(a, b, c)| IpAddr::V4(Ipv4Addr::from(a << 30 | b << 12 | c)));
    let v6 = (0..3_u128, 0..4_u128, 0..4_u128)
        .prop_map(|(a, b, c)| IpAddr::V6(Ipv6Addr::from(a << 126 | b << 60 | c)));
    prop_oneof![v4, v6, any::<Ipv4Addr>().prop_map(IpAddr::V4)]
}

fn some_entry() -> impl Strategy<Value = TableEntry> {
    (address(), 0..=128_u8, prop::bool::weighted(0.2), prop::option::weighted(0.2, 1..40_u32))
        .prop_map(|(ip, length, not, timeout)| {
            let most = if ip.is_ipv6() { 128 } else { 32 };
            let length = if ip.is_ipv6() { length } else { length % 33 };
            TableEntry { not, net: IpNet::new(ip, length.min(most)).unwrap(), timeout }
        })
}

fn change() -> impl Strategy<Value = Change> {
    let some = || prop::collection::vec(some_entry(), 0..40);
    prop_oneof![
        4 => some().prop_map(Change::Add),
        3 => some().prop_map(Change::Delete),
        1 => some().prop_map(Change::Replace),
        2 => (0..20_000_u64).prop_map(Change::Wait),
        1 => Just(Change::Sweep),
        1 => Just(Change::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_table_is_what_a_naive_list_is(
        changes in prop::collection::vec(change(), 1..25),
        probes in prop::collection::vec(address(), 60),
    ) {
        let mut editor = Editor::new(1, true, Instant(0));
        let mut naive = Naive::default();
        let mut now = Instant(0);
        let mut snapshots = Vec::new();
        for change in changes {
            match change {
                Change::Add(entries) => {
                    naive.sweep(now);
                    let outcome = editor.add(now, &entries, ALL).unwrap();
                    for (entry, feedback) in entries.iter().zip(&outcome.feedback) {
                        let expected = match naive.get(entry) {
                            _ if *feedback == Feedback::Duplicate => Feedback::Duplicate,
                            None => Feedback::Added,
                            Some(not) if not != entry.not => Feedback::Conflict,
                            Some(_) if entry.timeout.is_some() => Feedback::Changed,
                            Some(_) => Feedback::Unchanged,
                        };
                        prop_assert_eq!(*feedback, expected);
                        if matches!(feedback, Feedback::Added | Feedback::Changed) {
                            naive.put(now, entry);
                        }
                    }
                }
                Change::Delete(entries) => {
                    naive.sweep(now);
                    let outcome = editor.delete(now, &entries);
                    for (entry, feedback) in entries.iter().zip(&outcome.feedback) {
                        if *feedback == Feedback::Deleted {
                            prop_assert_eq!(naive.get(entry), Some(entry.not));
                            naive.0.retain(|(net, ..)| *net != entry.net.trunc());
                        }
                    }
                    prop_assert_eq!(editor.len() as usize, naive.0.len());
                }
                Change::Replace(entries) => {
                    let outcome = editor.replace(now, &entries, ALL).unwrap();
                    naive.0.clear();
                    for (entry, feedback) in entries.iter().zip(&outcome.feedback) {
                        if *feedback != Feedback::Duplicate {
                            naive.put(now, entry);
                        }
                    }
                }
                Change::Wait(milliseconds) => now = now.after(Duration::from_millis(milliseconds)),
                Change::Sweep => {
                    editor.sweep(now);
                }
                Change::Flush => {
                    editor.flush(now);
                    naive.0.clear();
                }
            }
            snapshots.push((Arc::clone(editor.table()), naive.clone(), now));
        }
        // Old snapshots have not changed.
        for (table, naive, then) in &snapshots {
            for &ip in &probes {
                for now in [*then, now] {
                    let found = table.longest(ip, now).map(|entry| (entry.net, entry.not));
                    prop_assert_eq!(found, naive.longest(ip, now), "{} at {:?}", ip, now);
                    let hit = table.lookup(ip.into(), network(ip), now);
                    prop_assert_eq!(hit.map(|hit| hit.not), found.map(|(_, not)| not));
                }
            }
            // Together they find what each finds alone.
            for group in probes.chunks(Table::GROUP) {
                let asked = || group.iter().map(|&ip| (ip.into(), network(ip)));
                let together = table.lookup_group(asked(), now);
                let alone: Vec<_> =
                    asked().map(|(address, network)| table.lookup(address, network, now)).collect();
                prop_assert_eq!(&together[..group.len()], alone);
                prop_assert!(together[group.len()..].iter().all(Option::is_none));
            }
            let mut left = naive.clone();
            left.sweep(*then);
            left.0.sort_unstable_by_key(|(net, ..)| (net.network(), net.prefix_len()));
            let left: Vec<_> = left.0.iter().map(|&(net, not, _)| (net, not)).collect();
            let listed = table.entries(*then);
            let listed: Vec<_> = listed.iter().map(|entry| (entry.net, entry.not)).collect();
            prop_assert_eq!(&listed, &left);
            // In pieces they are the same, and from behind whatever prefix.
            for most in [1, 2, 7] {
                let (mut pieces, mut last) = (Vec::new(), None);
                loop {
                    let piece = table.entries_after(last, most, *then);
                    prop_assert!(piece.len() <= most);
                    let Some(end) = piece.last() else { break };
                    last = Some(end.net);
                    pieces.extend(piece.iter().map(|entry| (entry.net, entry.not)));
                }
                prop_assert_eq!(&pieces, &left);
            }
            for &ip in &probes {
                let place = |net: IpNet| (net.addr().is_ipv6(), net.network(), net.prefix_len());
                let behind = left.iter().filter(|(net, _)| place(*net) > place(ip.into()));
                let found = table.entries_after(Some(ip.into()), usize::MAX, *then);
                prop_assert_eq!(found.len(), behind.count());
            }
            prop_assert!(table.footprint() <= BOUND * table.len() as usize);
        }
    }
}
