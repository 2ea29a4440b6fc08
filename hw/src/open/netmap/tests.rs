//! Both sides of a bridge on strict doubles.

use std::collections::VecDeque;

use super::*;
use crate::netmap::double::{self, Config, Double, Wire};
use crate::port::PortError;

/// Netmap with several regions: one a double.
struct Host {
    regions: Vec<Double>,
    /// MTU of both sides; `None` as pipes have none.
    mtu: Option<u32>,
    /// What a side answers to a region that it does not take.
    refusal: i32,
}

impl Host {
    /// One region with both NICs.
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::strict(&["lan0", "wan0"]);
        config.spare_buffers = BUFFERS + HELD_BUFFERS;
        change(&mut config);
        Self::of(vec![Double::new(config).unwrap()])
    }

    fn of(regions: Vec<Double>) -> Self {
        Self { regions, mtu: Some(1500), refusal: libc::EINVAL }
    }

    /// A region for each NIC.
    fn two_regions(change: impl Fn(&mut Config)) -> Self {
        let regions = [(1, "lan0"), (2, "wan0")].map(|(region, name)| {
            let mut config = Config::strict(&[name]);
            (config.region, config.spare_buffers) = (region, 2048);
            change(&mut config);
            Double::new(config).unwrap()
        });
        Self::of(regions.into())
    }

    fn open(&self, workers: usize) -> Result<Bridge, OpenError> {
        let side = |name| Side { name, mtu: self.mtu, checksum: Checksum::MaybePartial };
        open_bridge(self, [side("lan0"), side("wan0")], workers)
    }

    fn refused(&self, workers: usize) -> String {
        match self.open(workers) {
            Ok(_) => panic!("it was opened"),
            Err(error) => error.to_string(),
        }
    }

    fn wires(&self) -> [Wire; 2] {
        ["lan0", "wan0"]
            .map(|name| self.regions.iter().find_map(|double| double.wire(name)).unwrap())
    }

    /// Buffers in nobody's sight, all regions together.
    fn in_hand(&self) -> u32 {
        self.regions.iter().map(|double| double.audit().in_hand).sum()
    }
}

impl Registrar for Host {
    type Kernel = double::Registration;

    fn register(&self, request: &mut nmreq) -> io::Result<double::Registration> {
        let mut outcome = Err(io::Error::from_raw_os_error(libc::ENXIO));
        for double in &self.regions {
            outcome = double.register(request);
            if outcome.is_err() && ![0, double.region()].contains(&request.nr_arg2) {
                outcome = Err(io::Error::from_raw_os_error(self.refusal));
            }
            if !matches!(&outcome, Err(error) if error.raw_os_error() == Some(libc::ENXIO)) {
                break;
            }
        }
        outcome
    }

    fn map(&self, _kernel: &double::Registration, request: &nmreq) -> io::Result<Arc<Memory>> {
        let region = self.regions.iter().find(|double| double.region() == request.nr_arg2).unwrap();
        Ok(Arc::clone(region.memory()))
    }
}

/// Passes everything on, once.
fn round(
    worker: &mut WorkerPorts,
    queues: &mut [VecDeque<crate::Frame>; 2],
) -> Result<(), PortError> {
    let WorkerPorts { pool, ports, .. } = worker;
    let mut frames = Vec::new();
    for from in 0..2 {
        ports[from].receive(pool, from as u8, &mut frames, 64)?;
        queues[1 - from].extend(frames.drain(..));
    }
    for (port, queue) in ports.iter_mut().zip(queues) {
        port.transmit(pool, queue)?;
        port.flush(pool)?;
    }
    Ok(())
}

/// Ends a worker, as the daemon does.
fn close(mut worker: WorkerPorts, queues: [VecDeque<crate::Frame>; 2]) {
    let WorkerPorts { pool, ports, .. } = &mut worker;
    for frame in queues.into_iter().flatten() {
        pool.release(frame);
    }
    for port in ports {
        port.close(pool);
    }
    pool.drain();
}

#[test]
fn one_worker_has_all_rings_and_copies_nothing() {
    let host = Host::new(|config| {
        (config.nics[0].rx_rings, config.nics[0].tx_rings) = (3, 2);
        config.nics[1].rx_slots = 64;
    });
    let mut bridge = host.open(1).unwrap();
    assert!(bridge.one_region);
    let mut worker = bridge.workers.pop().unwrap();
    assert!(worker.holds);
    let wires = host.wires();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    for ring in 0..3 {
        assert!(wires[0].put(ring, &[ring as u8; 60]));
        assert!(wires[1].put(0, &[7; 1514]));
        for _ in 0..3 {
            round(&mut worker, &mut queues).unwrap();
        }
        assert_eq!(wires[1].take(0).unwrap(), [ring as u8; 60]);
        assert_eq!(wires[0].take(0).unwrap(), [7; 1514]);
    }
    let frames = &mut Vec::new();
    assert!(wires[0].put(1, b"what does it say of its checksum"));
    round(&mut worker, &mut queues).unwrap();
    worker.ports[0].receive(&mut worker.pool, 0, frames, 1).unwrap();
    assert_eq!(frames[0].meta.checksum, Checksum::MaybePartial);
    queues[0].extend(frames.drain(..));
    close(worker, queues);
    assert_eq!(host.in_hand(), 0);
}

#[test]
fn workers_have_a_ring_pair_each() {
    let host = Host::new(|config| {
        for nic in &mut config.nics {
            (nic.rx_rings, nic.tx_rings) = (2, 2);
        }
        config.spare_buffers *= 2;
    });
    let bridge = host.open(2).unwrap();
    let wires = host.wires();
    for (ring, mut worker) in bridge.workers.into_iter().enumerate() {
        assert!(worker.holds);
        let mut queues = [VecDeque::new(), VecDeque::new()];
        assert!(wires[0].put(ring, &[ring as u8; 100]));
        for _ in 0..2 {
            round(&mut worker, &mut queues).unwrap();
        }
        assert_eq!(wires[1].take(ring).unwrap(), [ring as u8; 100]);
        close(worker, queues);
    }
    assert_eq!(host.in_hand(), 0);
}

#[test]
fn rings_that_no_worker_would_have_are_refused() {
    let host = Host::new(|config| (config.nics[1].rx_rings, config.nics[1].tx_rings) = (4, 4));
    assert!(host.refused(2).starts_with("lan0 has 1 netmap ring(s) for 2 workers"));
    let host = Host::new(|config| {
        (config.nics[0].rx_rings, config.nics[0].tx_rings) = (2, 2);
        (config.nics[1].rx_rings, config.nics[1].tx_rings) = (4, 4);
    });
    let said = host.refused(2);
    assert!(said.starts_with("wan0 has 4 netmap ring(s) for 2 workers"), "{said}");
    assert!(said.contains("combined 2"), "{said}");
    assert!(host.open(1).is_ok(), "nothing stayed open");
}

#[test]
fn refusals_say_what_to_do() {
    let host = Host::new(|_| {});
    let first = host.open(1).unwrap();
    let said = host.refused(1);
    assert!(said.contains("lan0: cannot register"), "{said}");
    assert!(said.contains("another program has its rings"), "{said}");
    drop(first);
    let again = host.open(1).unwrap();
    drop(again);

    let host = Host::new(|config| config.nics[1].mtu = 9000);
    let said = host.refused(1);
    assert!(said.contains("wan0") && said.contains("buf_size"), "{said}");

    let host = Host::new(|config| config.nics[1].name = "dmz0".into());
    let said = host.refused(1);
    assert!(said.contains("wan0") && said.contains("no such port"), "{said}");
}

#[test]
fn a_region_without_spare_buffers_is_refused_and_a_small_one_is_not() {
    let few = LEAST as u32 - 1;
    let said = Host::new(|config| config.spare_buffers = few).refused(1);
    assert!(said.contains("only 1023 buffers") && said.contains("buf_num"), "{said}");
    let host = Host::new(|config| config.spare_buffers = few + 1);
    let bridge = host.open(1).unwrap();
    assert!(!bridge.workers[0].holds, "held frames have to be copied");
    let (reason, _) = describe(&bridge, &[]);
    assert_eq!(reason, "netmap: zero-copy, few buffers");
}

#[test]
fn a_vanished_interface_is_closed_and_opened_when_it_is_back() {
    let host = Host::new(|_| {});
    let mut worker = host.open(1).unwrap().workers.pop().unwrap();
    let wires = host.wires();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    assert!(wires[0].put(0, b"before"));
    round(&mut worker, &mut queues).unwrap();
    wires[1].vanish();
    let error = round(&mut worker, &mut queues).unwrap_err();
    assert!(matches!(error, PortError::Gone), "{error}");
    close(worker, queues);
    assert!(host.refused(1).contains("no such port"));
    wires[1].appear();
    let mut worker = host.open(1).unwrap().workers.pop().unwrap();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    assert!(wires[0].put(0, b"after"));
    for _ in 0..2 {
        round(&mut worker, &mut queues).unwrap();
    }
    assert_eq!(wires[1].take(0).unwrap(), b"after");
    close(worker, queues);
    assert_eq!(host.in_hand(), 0);
}

#[test]
fn a_nic_without_chains_gets_none_in_either_region() {
    for host in [Host::new(|_| {}), Host::two_regions(|_| {})] {
        let mut worker = host.open(1).unwrap().workers.pop().unwrap();
        let wires = host.wires();
        for wire in &wires {
            wire.set_emulated(0);
        }
        let mut queues = [VecDeque::new(), VecDeque::new()];
        for (from, to) in [(0, 1), (1, 0)] {
            assert!(wires[from].put_chain(0, &[&[5; 100], &[6; 200]]));
            assert!(wires[from].put(0, &[7; 5000]));
            for _ in 0..3 {
                round(&mut worker, &mut queues).unwrap();
            }
            assert_eq!(wires[to].take(0).unwrap(), [[5; 100].as_slice(), &[6; 200]].concat());
            assert_eq!(wires[to].take(0), None);
            assert_eq!(worker.ports[to].stats().unsendable, 1);
        }
        close(worker, queues);
        assert_eq!(host.in_hand(), 0);
    }
}

#[test]
fn a_region_that_the_other_side_has_no_memory_for_is_not_insisted_on() {
    let host = Host { refusal: libc::ENOMEM, ..Host::two_regions(|_| {}) };
    let bridge = host.open(1).unwrap();
    assert!(!bridge.one_region);
    let host = Host { refusal: libc::EBUSY, ..Host::two_regions(|_| {}) };
    assert!(host.refused(1).contains("another program has its rings"));
}

#[test]
fn between_two_regions_frames_are_copied() {
    let host = Host::two_regions(|config| {
        (config.nics[0].tx_slots, config.nics[0].rx_slots) = (16, 32);
    });
    let host = Host { mtu: None, ..host };
    let mut bridge = host.open(1).unwrap();
    assert!(!bridge.one_region);
    let (reason, _) = describe(&bridge, &[]);
    assert!(reason.starts_with("netmap: two regions, frames are copied"), "{reason}");
    let mut worker = bridge.workers.pop().unwrap();
    let wires = host.wires();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    let jumbo: Vec<u8> = (0..5000u32).map(|i| (i % 253) as u8).collect();
    for i in 0..100u32 {
        for wire in &wires {
            assert!(wire.put(0, &i.to_be_bytes()));
            assert!(wire.put(0, &jumbo));
        }
        for _ in 0..2 {
            round(&mut worker, &mut queues).unwrap();
        }
        for wire in &wires {
            assert_eq!(wire.take(0).unwrap(), i.to_be_bytes());
            assert!(wire.take(0).unwrap() == jumbo);
        }
        round(&mut worker, &mut queues).unwrap();
    }
    close(worker, queues);
    assert_eq!(host.in_hand(), 0);
}

#[test]
fn between_two_regions_a_full_ring_holds_frames_back() {
    let host = Host::two_regions(|config| {
        (config.nics[0].tx_slots, config.nics[0].rx_slots) = (8, 256);
    });
    let mut worker = host.open(1).unwrap().workers.pop().unwrap();
    let wires = host.wires();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    for i in 0..200u8 {
        assert!(wires[0].put(0, &[i; 60]));
    }
    for _ in 0..8 {
        round(&mut worker, &mut queues).unwrap();
    }
    assert!(worker.ports[1].is_sending());
    assert!(worker.ports[1].stats().transmit_full > 0);
    // 7 in the ring, 64 copied, the rest where the worker sees it.
    assert_eq!(queues[1].len(), 200 - 7 - WAITING);
    let mut out = Vec::new();
    while out.len() < 200 {
        assert!(wires[1].drain(0, 3, |bytes| out.push(bytes[0])) > 0);
        round(&mut worker, &mut queues).unwrap();
    }
    assert_eq!(out, (0..200).collect::<Vec<u8>>());
    assert!(!worker.ports[1].is_sending());
    close(worker, queues);
    assert_eq!(host.in_hand(), 0);
}

/// What a port put apart keeps copied.
const WAITING: usize = 64;

#[test]
fn between_two_regions_an_empty_pool_leaves_frames_in_order() {
    let host = Host::two_regions(|_| {});
    let mut worker = host.open(1).unwrap().workers.pop().unwrap();
    let wires = host.wires();
    let mut hoard = Vec::new();
    while let Some(buffer) = worker.pool.allocate() {
        hoard.push(buffer);
    }
    for i in 0..100u8 {
        assert!(wires[1].put(0, &[i; 60]));
    }
    let mut queues = [VecDeque::new(), VecDeque::new()];
    for _ in 0..4 {
        round(&mut worker, &mut queues).unwrap();
    }
    assert!(worker.ports[1].stats().pool_empty > 0);
    assert_eq!(wires[0].take(0), None);
    for buffer in hoard {
        worker.pool.free(buffer);
    }
    let mut out = Vec::new();
    for _ in 0..8 {
        round(&mut worker, &mut queues).unwrap();
        wires[0].drain(0, 64, |bytes| out.push(bytes[0]));
    }
    assert_eq!(out, (0..100).collect::<Vec<u8>>());
    close(worker, queues);
    assert_eq!(host.in_hand(), 0);
}
