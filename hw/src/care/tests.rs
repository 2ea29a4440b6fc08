//! Steps on a device that answers from a list.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::sys::ethtool::{Driver, Hash, Table};

/// A NIC whose settings are what was last written, within what it can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    tables: BTreeMap<Table, Vec<u32>>,
    hash: Option<Hash>,
    fields: BTreeMap<u32, u64>,
    affinity: BTreeMap<u32, String>,
    /// Whether the neighbour is offered pause frames, where that is not what is set.
    offers: Option<bool>,
}

#[derive(Default)]
struct Double {
    driver: &'static str,
    state: RefCell<State>,
    interrupts: Vec<(u32, String)>,
    /// The driver cannot change its key.
    fixed_key: bool,
    /// What each write of this answers.
    broken: Option<(&'static str, i32)>,
    /// What a write answers that changes whether pause frames are negotiated.
    negotiation: Option<i32>,
    /// Somebody has set the indirection table: no queue that it names can be taken away.
    table_is_set: bool,
    /// An interrupt that stays where it is.
    stuck: std::cell::Cell<Option<u32>>,
    writes: RefCell<Vec<&'static str>>,
}

impl Double {
    fn wrote(&self, what: &'static str) -> io::Result<()> {
        match self.broken {
            Some((broken, code)) if broken == what => Err(io::Error::from_raw_os_error(code)),
            _ => {
                self.writes.borrow_mut().push(what);
                Ok(())
            }
        }
    }
}

const fn name(table: Table) -> &'static str {
    match table {
        Table::Rings => "rings",
        Table::Channels => "channels",
        Table::Pause => "pause",
        Table::Coalesce => "coalesce",
    }
}

impl Device for Double {
    fn driver(&self) -> Driver {
        Driver { name: self.driver.to_owned(), bus: String::new() }
    }

    fn read(&self, table: Table) -> io::Result<Vec<u32>> {
        self.state.borrow().tables.get(&table).cloned().map_or_else(lack, Ok)
    }

    fn write(&self, table: Table, words: &[u32]) -> io::Result<()> {
        self.wrote(name(table))?;
        let State { tables, hash, .. } = &mut *self.state.borrow_mut();
        let Some(known) = tables.get_mut(&table) else { return lack() };
        if let Some(code) = self.negotiation.filter(|_| table == Table::Pause)
            && words[1] != known[1]
        {
            return Err(io::Error::from_raw_os_error(code));
        }
        assert_eq!(words.len(), table.words());
        if matches!(table, Table::Rings | Table::Channels) {
            assert_eq!(words[1..5], known[1..5], "maxima are not to be set");
            assert!((1..5).all(|i| words[i + 4] <= words[i]), "{words:?}");
        }
        let named = hash.as_ref().and_then(|hash| hash.table.iter().max());
        if table == Table::Channels && self.table_is_set && named.is_some_and(|&n| n >= words[8]) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        *known = words.to_vec();
        Ok(())
    }

    fn renegotiate(&self) -> io::Result<()> {
        self.wrote("link")?;
        let mut state = self.state.borrow_mut();
        state.offers = state.tables.get(&Table::Pause).map(|pause| pause[2..] != [0, 0]);
        Ok(())
    }

    fn hash(&self) -> io::Result<Hash> {
        self.state.borrow().hash.clone().map_or_else(lack, Ok)
    }

    fn set_hash(&self, hash: &Hash) -> io::Result<()> {
        self.wrote("hash")?;
        let mut state = self.state.borrow_mut();
        let Some(known) = &mut state.hash else { return lack() };
        if !hash.key.is_empty() && self.fixed_key || hash.transform != known.transform {
            return lack();
        }
        if !hash.key.is_empty() {
            known.key.clone_from(&hash.key);
        }
        if !hash.table.is_empty() {
            assert_eq!(hash.table.len(), known.table.len());
            known.table.clone_from(&hash.table);
        }
        Ok(())
    }

    fn flow_fields(&self, flow: u32) -> io::Result<u64> {
        self.state.borrow().fields.get(&flow).copied().map_or_else(lack, Ok)
    }

    fn set_flow_fields(&self, flow: u32, fields: u64) -> io::Result<()> {
        self.wrote("fields")?;
        self.state.borrow_mut().fields.insert(flow, fields);
        Ok(())
    }

    fn interrupts(&self) -> io::Result<Vec<(u32, String)>> {
        if self.interrupts.is_empty() { lack() } else { Ok(self.interrupts.clone()) }
    }

    fn affinity(&self, interrupt: u32) -> io::Result<String> {
        Ok(self.state.borrow().affinity[&interrupt].clone())
    }

    fn set_affinity(&self, interrupt: u32, cpus: &str) -> io::Result<()> {
        self.wrote("affinity")?;
        if self.stuck.get() == Some(interrupt) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let mut state = self.state.borrow_mut();
        let Some(known) = state.affinity.get_mut(&interrupt) else {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        };
        cpus.clone_into(known);
        Ok(())
    }
}

/// As an ixgbe is found: eight queues, short rings, flow control, a random key.
fn ixgbe() -> Double {
    let mut coalesce = vec![0; 23];
    (coalesce[1], coalesce[10]) = (1, 1);
    let tables = BTreeMap::from([
        (Table::Rings, vec![0, 4096, 0, 0, 4096, 512, 0, 0, 512]),
        (Table::Channels, vec![0, 0, 0, 1, 63, 0, 0, 1, 8]),
        (Table::Pause, vec![0, 1, 1, 1]),
        (Table::Coalesce, coalesce),
    ]);
    let hash = Hash {
        table: (0..128).map(|i| i % 8).collect(),
        key: (0..40).collect(),
        function: Hash::TOEPLITZ,
        transform: 0,
    };
    let interrupts = (0..8).map(|queue| (40 + queue, format!("eth0-TxRx-{queue}")));
    let interrupts: Vec<_> = interrupts.chain([(48, "eth0".to_owned())]).collect();
    let affinity = interrupts.iter().map(|(number, _)| (*number, "0-7".to_owned())).collect();
    let fields = BTreeMap::from([(1, 0xf0), (2, 0x30), (5, 0xf0), (6, 0x30)]);
    let state = RefCell::new(State { tables, hash: Some(hash), fields, affinity, offers: None });
    Double { driver: "ixgbe", state, interrupts, ..Double::default() }
}

/// With the interrupts where the workers are.
fn care(device: &Double, wishes: &Wishes, cpus: &[u32]) -> Report {
    for_workers(cpus.len(), device, wishes, cpus)
}

/// Before it is opened, and after.
fn for_workers(workers: usize, device: &Double, wishes: &Wishes, cpus: &[u32]) -> Report {
    let mut report = super::care(device, wishes, workers);
    let after = point(device, wishes, cpus);
    report.undo.extend(after.undo);
    report.warnings.extend(after.warnings);
    report.lacks.extend(after.lacks);
    report
}

fn undo(device: &Double, report: Report) {
    for (name, undo) in report.undo.into_iter().rev() {
        undo(device).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn a_nic_that_can_everything_gets_everything_and_gives_it_back() {
    let device = ixgbe();
    let found = device.state.borrow().clone();
    let report = care(&device, &Wishes::default(), &[2, 5]);
    assert_eq!((&report.warnings, &report.lacks), (&vec![], &vec![]));
    let state = device.state.borrow().clone();
    assert_eq!(state.tables[&Table::Channels][8], 2);
    assert_eq!(state.tables[&Table::Rings], [0, 4096, 0, 0, 4096, 4096, 0, 0, 4096]);
    assert_eq!(state.tables[&Table::Pause], [0, 0, 0, 0]);
    let coalesce = &state.tables[&Table::Coalesce];
    assert_eq!((coalesce[1], coalesce[5], coalesce[10]), (10, 0, 0));
    assert_eq!(state.fields.values().copied().collect::<Vec<_>>(), [0xf0; 4]);
    let hash = state.hash.unwrap();
    assert_eq!(hash.key[..4], [0x6d, 0x5a, 0x6d, 0x5a]);
    assert_eq!(hash.table[..4], [0, 1, 0, 1]);
    assert_eq!(state.affinity[&43], "5");
    assert_eq!((&*state.affinity[&40], &*state.affinity[&48]), ("2", "0-7"), "events stay");
    undo(&device, report);
    assert_eq!(*device.state.borrow(), found);
}

#[test]
fn what_is_right_is_left_alone() {
    let device = ixgbe();
    let _kept = care(&device, &Wishes::default(), &[2, 5]);
    device.writes.borrow_mut().clear();
    let again = care(&device, &Wishes::default(), &[2, 5]);
    assert_eq!((again.undo.len(), device.writes.borrow().len()), (0, 0));
    let device = ixgbe();
    let nothing = care(&device, &Wishes { tune: false, ..Wishes::default() }, &[0]);
    assert_eq!((nothing.undo.len(), device.writes.borrow().len()), (0, 0));
}

#[test]
fn a_nic_that_can_nothing_is_not_complained_about() {
    let device = Double { driver: "veth", ..Double::default() };
    let report = care(&device, &Wishes::default(), &[0, 1]);
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(report.lacks.len(), 8, "{:?}", report.lacks);
    let alone = care(&device, &Wishes::default(), &[0]);
    assert_eq!(alone.lacks.len(), 5, "how queues share matters to nobody: {:?}", alone.lacks);
}

#[test]
fn a_failure_is_told_with_what_follows_and_stops_nothing_else() {
    let device = Double { broken: Some(("rings", libc::EBUSY)), ..ixgbe() };
    let found = device.state.borrow().clone();
    let report = care(&device, &Wishes::default(), &[0]);
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(
        warning.starts_with("cannot set ring sizes (") && warning.contains("bursts"),
        "{warning}"
    );
    assert_eq!(device.state.borrow().tables[&Table::Pause], [0, 0, 0, 0]);
    undo(&device, report);
    assert_eq!(*device.state.borrow(), found);
}

#[test]
fn interrupts_that_cannot_be_moved_are_named() {
    let device = Double { broken: Some(("affinity", libc::EIO)), ..ixgbe() };
    let report = care(&device, &Wishes::default(), &[3]);
    assert!(
        report.warnings[0].starts_with("interrupt 47 cannot be moved"),
        "{:?}",
        report.warnings
    );
}

#[test]
fn one_interrupt_that_cannot_go_back_keeps_no_other() {
    let device = ixgbe();
    let report = care(&device, &Wishes::default(), &[3]);
    device.stuck.set(Some(41));
    let (_, undo) =
        report.undo.into_iter().find(|(name, _)| *name == "interrupt affinity").unwrap();
    assert_eq!(undo(&device).unwrap_err().raw_os_error(), Some(libc::EIO));
    let affinity = &device.state.borrow().affinity;
    for queue in 0..8 {
        let expected = if queue == 1 { "3" } else { "0-7" };
        assert_eq!(affinity[&(40 + queue)], expected, "interrupt {}", 40 + queue);
    }
}

#[test]
fn interrupts_go_elsewhere_if_so_wished() {
    let device = ixgbe();
    let _kept = for_workers(4, &device, &Wishes::default(), &[0, 6]);
    let state = device.state.borrow();
    assert_eq!(state.tables[&Table::Channels][8], 4);
    let affinity: Vec<&str> = (40..44).map(|number| &*state.affinity[&number]).collect();
    assert_eq!(affinity, ["0", "6", "0", "6"]);
}

#[test]
fn interrupts_with_strange_names_are_told() {
    let mut device = ixgbe();
    for (number, name) in &mut device.interrupts {
        *name = format!("adapter:{number}:x");
    }
    let report = care(&device, &Wishes::default(), &[3]);
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("none of its 9 interrupts (adapter:40:x ...)"), "{warning}");
}

/// Pause settings of [`ixgbe`], and what becomes of them.
fn pause(found: [u32; 4], negotiation: Option<i32>) -> (Vec<u32>, Report) {
    let device = Double { negotiation, ..ixgbe() };
    device.state.borrow_mut().tables.insert(Table::Pause, found.to_vec());
    let report = care(&device, &Wishes::default(), &[0]);
    let now = device.state.borrow().tables[&Table::Pause].clone();
    (now, report)
}

#[test]
fn pause_frames_are_not_negotiated_where_that_can_be_helped() {
    let (now, _) = pause([0, 1, 0, 0], None);
    assert_eq!(now, [0, 0, 0, 0], "they were off, and offered to the neighbour");
    for code in [libc::EOPNOTSUPP, libc::EINVAL] {
        let (now, report) = pause([0, 1, 1, 1], Some(code));
        assert_eq!((&now[..], &report.warnings[..]), (&[0, 1, 0, 0][..], &[][..]));
        assert!(report.undo.iter().any(|(name, _)| *name == "flow control"));
        let (now, report) = pause([0, 1, 0, 0], Some(code));
        assert_eq!((&now[..], &report.warnings[..]), (&[0, 1, 0, 0][..], &[][..]));
    }
}

#[test]
fn a_driver_that_goes_on_offering_pause_frames_is_made_to_stop() {
    let found = |driver| {
        let device = Double { driver, ..ixgbe() };
        device.state.borrow_mut().offers = Some(true);
        device
    };
    let device = found("igb");
    let report = care(&device, &Wishes::default(), &[0]);
    assert_eq!((device.state.borrow().offers, &report.warnings[..]), (Some(false), &[][..]));
    // Back to what is negotiated, the driver sees to itself.
    device.writes.borrow_mut().clear();
    undo(&device, report);
    assert!(!device.writes.borrow().contains(&"link"));

    let device = found("ixgbe");
    let _kept = care(&device, &Wishes::default(), &[0]);
    assert!(!device.writes.borrow().contains(&"link"), "a link lost for nothing");

    let device = Double { broken: Some(("link", libc::EAGAIN)), ..found("e1000e") };
    let report = care(&device, &Wishes::default(), &[0]);
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("its link is not negotiated anew"), "{warning}");
    assert_eq!(device.state.borrow().tables[&Table::Pause], [0, 0, 0, 0]);
    assert!(report.undo.iter().any(|(name, _)| *name == "flow control"));
}

#[test]
fn what_is_shown_and_cannot_be_changed_is_a_failure() {
    for (what, name) in [("pause", "flow control"), ("rings", "ring sizes")] {
        let device = Double { broken: Some((what, libc::EOPNOTSUPP)), ..ixgbe() };
        let report = care(&device, &Wishes::default(), &[0]);
        let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
        assert!(warning.starts_with(&format!("cannot set {name} (refused: ")), "{warning}");
        assert_eq!(report.lacks, [""; 0]);
    }
}

#[test]
fn a_nic_that_waits_for_nothing_and_cannot_wait_is_not_complained_about() {
    let device = |usecs| {
        let device = Double { broken: Some(("coalesce", libc::EOPNOTSUPP)), ..ixgbe() };
        let mut coalesce = vec![0; 23];
        coalesce[1] = usecs;
        device.state.borrow_mut().tables.insert(Table::Coalesce, coalesce);
        device
    };
    let report = care(&device(0), &Wishes::default(), &[0]);
    assert_eq!((&report.lacks[..], &report.warnings[..]), (&["interrupt coalescing"][..], &[][..]));
    let report = care(&device(50), &Wishes::default(), &[0]);
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("cannot set interrupt coalescing (refused: "), "{warning}");
}

#[test]
fn rings_are_as_long_as_a_power_of_two() {
    let device = ixgbe();
    let rings = vec![0, 8160, 0, 0, 511, 512, 0, 0, 128];
    device.state.borrow_mut().tables.insert(Table::Rings, rings);
    let _kept = care(&device, &Wishes::default(), &[0]);
    assert_eq!(device.state.borrow().tables[&Table::Rings], [0, 8160, 0, 0, 511, 4096, 0, 0, 256]);
}

#[test]
fn too_few_queues_are_said_with_the_consequence() {
    let report = care(&ixgbe(), &Wishes::default(), &[0; 64]);
    assert!(report.warnings[0].contains("63 queue(s) for 64 workers"), "{:?}", report.warnings);
}

#[test]
fn a_table_that_names_more_queues_is_narrowed_and_given_back() {
    for cpus in [&[0][..], &[0, 1]] {
        let device = Double { table_is_set: true, ..ixgbe() };
        let found = device.state.borrow().clone();
        let report = care(&device, &Wishes::default(), cpus);
        assert_eq!((&report.warnings, &report.lacks), (&vec![], &vec![]));
        let workers = cpus.len() as u32;
        assert_eq!(device.state.borrow().tables[&Table::Channels][8], workers);
        let table = device.state.borrow().hash.clone().unwrap().table;
        assert!(table.iter().all(|&queue| queue < workers) && table.contains(&(workers - 1)));
        undo(&device, report);
        assert_eq!(*device.state.borrow(), found);
    }
}

#[test]
fn interrupts_that_were_given_up_need_not_go_back() {
    let device = ixgbe();
    let report = care(&device, &Wishes::default(), &[3]);
    for interrupt in 40..48 {
        device.state.borrow_mut().affinity.remove(&interrupt);
    }
    undo(&device, report);
    assert_eq!(device.state.borrow().affinity.len(), 1);
}

#[test]
fn a_fixed_key_is_a_lack() {
    let device = Double { fixed_key: true, ..ixgbe() };
    let report = care(&device, &Wishes::default(), &[0, 1]);
    assert_eq!(report.lacks, ["hash key"]);
}

#[test]
fn wishes_are_heard() {
    let device = ixgbe();
    device.state.borrow_mut().tables.get_mut(&Table::Coalesce).unwrap()[5] = 9;
    let wishes =
        Wishes { ring: Some(1024), interrupt_usecs: 30, flow_control: true, ..Wishes::default() };
    let report = care(&device, &wishes, &[0]);
    let state = device.state.borrow();
    assert_eq!(state.tables[&Table::Rings][5], 1024);
    assert_eq!(state.tables[&Table::Pause], [0, 1, 1, 1], "it was on");
    assert_eq!((state.tables[&Table::Coalesce][1], state.tables[&Table::Coalesce][5]), (30, 30));
    assert!(report.undo.iter().all(|(name, _)| *name != "flow control"));
}

#[test]
fn fields_that_cannot_be_chosen_are_a_lack() {
    let device = Double { broken: Some(("fields", libc::EINVAL)), ..ixgbe() };
    let report = care(&device, &Wishes::default(), &[0, 1]);
    assert_eq!((&report.warnings[..], &report.lacks[..]), (&[][..], &["hashed fields"][..]));
}

#[test]
fn it_is_told_how_a_nic_deals_out_only_if_that_is_as_it_was_told() {
    let told = |device: &Double| super::dealing(device);
    let device = ixgbe();
    assert_eq!(told(&device), None, "a key of its own");
    let wishes = Wishes { hash_word: 0x1234, ..Wishes::default() };
    let _kept = care(&device, &wishes, &[0, 1, 2]);
    let queues: Vec<u32> = (0..3).cycle().take(128).collect();
    let expected = Dealing { word: 0x1234, queues };
    assert_eq!(told(&device), Some(expected));
    // By addresses alone; another function, or mixed before; a driver that does not tell.
    device.state.borrow_mut().fields.insert(6, 0x30);
    assert_eq!(told(&device), None);
    device.state.borrow_mut().fields.insert(6, 0xf0);
    for (function, transform) in [(2, 0), (0, 0), (Hash::TOEPLITZ, Hash::SYMMETRIC_XOR)] {
        let hash = device.state.borrow().hash.clone().unwrap();
        let other = Hash { function, transform, ..hash.clone() };
        device.state.borrow_mut().hash = Some(other);
        assert_eq!(told(&device), None);
        device.state.borrow_mut().hash = Some(hash);
    }
    assert!(told(&device).is_some());
    assert_eq!(told(&Double { driver: "veth", ..Double::default() }), None);
}
