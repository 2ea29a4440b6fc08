//! The double catches an application that breaks netmap's rules. Each test breaks one.

use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_INDIRECT, NS_MOREFRAG};

use super::*;
use crate::netmap::{Request, Rings};
use crate::sys::memory::{Buffer, Pool};

/// An application that writes to its rings what it likes.
struct Rogue {
    double: Double,
    wire: Wire,
    registration: Registration,
    tx: Ring,
    rx: Ring,
    pool: Pool,
}

fn rogue_of(config: Config) -> Rogue {
    let double = Double::new(config).unwrap();
    let mut raw = Request { spare_buffers: 16, ..Request::new("lan") }.to_nmreq().unwrap();
    let registration = double.register(&mut raw).unwrap();
    let interface = Interface::at(double.memory(), raw.nr_offset as usize).unwrap();
    // The spare buffers go the way they go in an orderly application.
    let mut pool = Pool::new(Arc::clone(double.memory()));
    let mut next = interface.spare_buffers();
    while next != 0 {
        let mut buffer = Buffer(next);
        next = u32::from_ne_bytes(pool.buffer_mut(&mut buffer)[..4].try_into().unwrap());
        pool.free(buffer);
    }
    Rogue {
        wire: double.wire("lan").unwrap(),
        tx: interface.tx_ring(0).unwrap(),
        rx: interface.rx_ring(0).unwrap(),
        double,
        registration,
        pool,
    }
}

fn rogue() -> Rogue {
    let mut config = Config::strict(&["lan"]);
    (config.nics[0].tx_slots, config.nics[0].rx_slots) = (8, 8);
    config.spare_buffers = 16;
    rogue_of(config)
}

impl Rogue {
    /// Releases the first `n` slots of a ring.
    fn advance(ring: &Ring, n: u32) {
        let head = (ring.head() + n) % ring.slots();
        ring.set_head(head);
        ring.set_cur(head);
    }

    /// One frame received and shown, at slot 0.
    fn receive_one(&mut self) {
        assert!(self.wire.put(0, &[1; 60]));
        self.registration.rxsync().unwrap();
        assert_eq!(self.rx.tail(), 1);
    }

    fn send(&mut self, slot: Slot) {
        self.tx.set_slot(self.tx.head(), slot);
        Self::advance(&self.tx, 1);
        self.registration.txsync().unwrap();
    }

    /// A slot for sending from the buffer that is there.
    fn ready(&self) -> Slot {
        Slot { length: 60, ..self.tx.slot(self.tx.head()) }
    }
}

#[test]
fn an_orderly_exchange_is_accepted() {
    let mut rogue = rogue();
    rogue.receive_one();
    let spare = rogue.pool.allocate().unwrap();
    let got = rogue.rx.slot(0).index;
    rogue.rx.set_slot(0, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
    Rogue::advance(&rogue.rx, 1);
    // TX is synced first: the buffer shows up there before it is seen to have left RX.
    let old = rogue.tx.slot(0).index;
    rogue.send(Slot { index: got, length: 60, flags: NS_BUF_CHANGED });
    rogue.pool.free(Buffer(old));
    rogue.registration.rxsync().unwrap();
    assert_eq!(rogue.wire.take(0), Some(vec![1; 60]));
    assert_eq!(rogue.tx.slot(0).flags, 0, "the kernel clears NS_BUF_CHANGED");
    let census = rogue.double.audit();
    assert_eq!((census.in_hand, census.in_pools), (0, 16));
}

#[test]
#[should_panic(expected = "without NS_BUF_CHANGED")]
fn an_exchange_in_tx_without_the_flag() {
    let mut rogue = rogue();
    let buffer = rogue.pool.allocate().unwrap();
    rogue.send(Slot { index: buffer.0, length: 60, flags: 0 });
}

#[test]
#[should_panic(expected = "without NS_BUF_CHANGED")]
fn an_exchange_in_rx_without_the_flag() {
    let mut rogue = rogue();
    rogue.receive_one();
    let buffer = rogue.pool.allocate().unwrap();
    rogue.rx.set_slot(0, Slot { index: buffer.0, length: 0, flags: 0 });
    Rogue::advance(&rogue.rx, 1);
    rogue.registration.rxsync().unwrap();
}

#[test]
#[should_panic(expected = "was taken out of ring 2 slot 0 without NS_BUF_CHANGED there")]
fn a_forwarded_buffer_whose_rx_slot_lacks_the_flag() {
    let mut rogue = rogue();
    rogue.receive_one();
    let got = rogue.rx.slot(0).index;
    let spare = rogue.pool.allocate().unwrap();
    rogue.rx.set_slot(0, Slot { index: spare.0, length: 0, flags: 0 });
    rogue.send(Slot { index: got, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "is in ring 2 slot 0 as well")]
fn a_buffer_in_two_rings() {
    let mut rogue = rogue();
    rogue.receive_one();
    let got = rogue.rx.slot(0).index;
    rogue.send(Slot { index: got, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "lies in a pool")]
fn a_buffer_that_a_pool_has() {
    let mut rogue = rogue();
    let buffer = rogue.pool.allocate().unwrap();
    let index = buffer.0;
    rogue.pool.free(buffer);
    rogue.send(Slot { index, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "lies in a pool")]
fn a_buffer_freed_while_it_is_in_a_slot() {
    let mut rogue = rogue();
    let index = rogue.tx.slot(0).index;
    rogue.pool.free(Buffer(index));
    rogue.send(Slot { index, length: 60, flags: 0 });
}

#[test]
#[should_panic(expected = "was freed twice")]
fn a_buffer_freed_twice() {
    let mut rogue = rogue();
    let buffer = rogue.pool.allocate().unwrap();
    let again = Buffer(buffer.0);
    rogue.pool.free(buffer);
    rogue.pool.free(again);
}

#[test]
#[should_panic(expected = "was never given out")]
fn a_buffer_that_nobody_asked_for() {
    let mut config = Config::strict(&["lan"]);
    config.spare_buffers = 32;
    let mut rogue = rogue_of(config);
    let index = 2 + 4 * 256 + 31;
    assert_eq!(rogue.double.audit().unasked, 16);
    let unasked: Vec<u32> = lock(&rogue.double.shared.spare).clone();
    let index = if unasked.contains(&index) { index } else { unasked[0] };
    rogue.send(Slot { index, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "buffer 1 is not for use")]
fn a_reserved_buffer() {
    rogue().send(Slot { index: 1, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "is not for use")]
fn a_buffer_of_another_region() {
    // Of a larger one, so that the index does not even exist here.
    let other = Double::new(Config::strict(&["wan"])).unwrap();
    let port = other.open_rings("wan", Rings::All).unwrap();
    let buffer = Pool::new(Arc::clone(port.memory())).allocate().unwrap();
    rogue().send(Slot { index: buffer.0, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "is not for use")]
fn an_index_behind_the_last_is_caught_without_strictness_too() {
    let mut config = Config::lenient(&["lan"]);
    config.spare_buffers = 16;
    rogue_of(config).send(Slot { index: 1 << 30, length: 60, flags: NS_BUF_CHANGED });
}

#[test]
#[should_panic(expected = "2049 bytes in a buffer of 2048")]
fn a_length_beyond_the_buffer() {
    let mut rogue = rogue();
    let slot = Slot { length: 2049, ..rogue.ready() };
    rogue.send(slot);
}

#[test]
#[should_panic(expected = "nothing to send")]
fn a_frame_without_bytes() {
    let mut rogue = rogue();
    let slot = Slot { length: 0, ..rogue.ready() };
    rogue.send(slot);
}

#[test]
#[should_panic(expected = "NS_INDIRECT")]
fn an_indirect_buffer() {
    let mut rogue = rogue();
    let slot = Slot { flags: NS_INDIRECT, ..rogue.ready() };
    rogue.send(slot);
}

#[test]
#[should_panic(expected = "a chain is released without its end")]
fn half_a_chain() {
    let mut rogue = rogue();
    let slot = Slot { flags: NS_MOREFRAG, ..rogue.ready() };
    rogue.send(slot);
}

#[test]
#[should_panic(expected = "head 1 is outside [0, 0]")]
fn a_head_beyond_the_tail() {
    let mut rogue = rogue();
    Rogue::advance(&rogue.rx, 1);
    rogue.registration.rxsync().unwrap();
}

#[test]
#[should_panic(expected = "head 0 is outside [1, 7]")]
fn a_head_that_goes_back() {
    let mut rogue = rogue();
    rogue.wire.set_partial(0, Some(0));
    let slot = rogue.ready();
    rogue.send(slot);
    rogue.tx.set_head(0);
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "head 8 is outside")]
fn a_head_beyond_the_ring() {
    let mut rogue = rogue();
    rogue.tx.set_head(8);
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "cur 0 is outside [1, 7]")]
fn a_cur_before_the_head() {
    let mut rogue = rogue();
    let slot = rogue.ready();
    rogue.tx.set_slot(0, slot);
    rogue.tx.set_head(1);
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "tail is 5, the kernel wrote 7")]
fn a_tail_that_the_application_wrote() {
    let mut rogue = rogue();
    rogue.tx.set_tail(5);
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "slot 7 is the kernel's")]
fn a_slot_beyond_the_tail() {
    let mut rogue = rogue();
    let slot = Slot { length: 1, ..rogue.tx.slot(7) };
    rogue.tx.set_slot(7, slot);
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "slot 0 is the kernel's")]
fn a_slot_before_the_head() {
    let mut rogue = rogue();
    let slot = rogue.ready();
    rogue.send(slot);
    rogue.tx.set_slot(0, Slot { length: 61, ..slot });
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "the header was written to")]
fn a_header_that_the_application_wrote() {
    let mut rogue = rogue();
    let header = Header { buf_size: 4096, ..rogue.tx.header() };
    Ring::create(rogue.double.memory(), rogue.tx.offset(), header).unwrap();
    rogue.registration.txsync().unwrap();
}

#[test]
#[should_panic(expected = "was written to on its way out")]
fn a_frame_changed_after_it_was_sent() {
    let mut rogue = rogue();
    let slot = rogue.ready();
    rogue.send(slot);
    rogue.pool.buffer_mut(&mut Buffer(slot.index))[3] ^= 1;
    rogue.wire.take(0);
}

#[test]
#[should_panic(expected = "was written to")]
fn a_receive_buffer_written_while_the_kernel_has_it() {
    let mut rogue = rogue();
    rogue.pool.buffer_mut(&mut Buffer(rogue.rx.slot(0).index))[2000] = 1;
    rogue.wire.put(0, &[1; 60]);
}

#[test]
#[should_panic(expected = "was written to while it lay in the pool")]
fn a_free_buffer_that_was_written() {
    let mut rogue = rogue();
    let buffer = rogue.pool.allocate().unwrap();
    let mut kept = Buffer(buffer.0);
    rogue.pool.free(buffer);
    rogue.pool.buffer_mut(&mut kept)[0] = 0;
    let _ = rogue.pool.allocate();
}

#[test]
fn what_is_free_reads_as_poison() {
    let mut rogue = rogue();
    // A buffer that comes back from sending, and one that comes out of the pool.
    let slot = rogue.ready();
    rogue.pool.buffer_mut(&mut Buffer(slot.index))[..60].fill(7);
    rogue.send(slot);
    assert_eq!(rogue.wire.take(0), Some(vec![7; 60]));
    rogue.registration.txsync().unwrap();
    let back = |pool: &mut Pool, index| pool.buffer_mut(&mut Buffer(index)).to_vec();
    assert_eq!(back(&mut rogue.pool, slot.index), vec![Ledger::POISON; 2048]);
    let index = rogue.pool.allocate().unwrap().0;
    assert_eq!(back(&mut rogue.pool, index), vec![Ledger::POISON; 2048]);
}

#[test]
fn a_leaked_buffer_shows_in_the_census() {
    let mut rogue = rogue();
    assert_eq!(rogue.double.audit(), Census { in_rings: 32, in_pools: 16, unasked: 0, in_hand: 0 });
    let _ = rogue.pool.allocate().unwrap();
    assert_eq!(rogue.double.audit().in_hand, 1);
}

#[test]
#[should_panic(expected = "is in ring 0 slot 1 and in ring 0 slot 0")]
fn the_census_finds_a_buffer_in_two_slots() {
    let rogue = rogue();
    rogue.tx.set_slot(1, rogue.tx.slot(0));
    rogue.double.audit();
}

#[test]
fn rings_start_as_netmap_starts_them() {
    let rogue = rogue();
    assert_eq!((rogue.tx.head(), rogue.tx.cur(), rogue.tx.tail()), (0, 0, 7));
    assert_eq!((rogue.rx.head(), rogue.rx.cur(), rogue.rx.tail()), (0, 0, 0));
    assert_eq!((rogue.tx.header().direction, rogue.rx.header().direction), (1, 0));
    assert!(rogue.tx.slot(0).index >= RESERVED);
    assert_ne!(rogue.tx.header().buf_ofs, rogue.rx.header().buf_ofs);
}

#[test]
fn rings_begin_anew_with_each_registration() {
    let mut rogue = rogue();
    rogue.receive_one();
    let spare = rogue.pool.allocate().unwrap();
    let got = rogue.rx.slot(0).index;
    // Exchanged, but not released: the ring goes with what its slots hold.
    rogue.rx.set_slot(0, Slot { index: spare.0, length: 0, flags: NS_BUF_CHANGED });
    rogue.pool.free(Buffer(got));
    drop(rogue.registration);
    assert!(!rogue.wire.put(0, &[1; 60]), "nobody has the NIC");
    let port = rogue.double.open_rings("lan", Rings::All).unwrap();
    assert_eq!((rogue.rx.head(), rogue.rx.tail(), rogue.tx.tail()), (0, 0, 7));
    assert_eq!(rogue.double.audit().in_hand, 0);
    drop(port);
}

#[test]
fn registrations_are_refused_as_netmap_refuses_them() {
    let mut config = Config::strict(&["lan", "wan", "jumbo"]);
    config.nics[0].rx_rings = 2;
    config.nics[0].tx_rings = 3;
    config.nics[2].mtu = 9000;
    let double = Double::new(config).unwrap();
    let refused = |request: &Request| double.open(request).map(|_| ()).unwrap_err().raw_os_error();
    let all = Request::new("lan");
    let ring = |i| Request { rings: Rings::One(i), ..all.clone() };

    assert_eq!(refused(&Request::new("dmz")), Some(libc::ENXIO));
    assert_eq!(refused(&Request::new("jumbo")), Some(libc::EINVAL));
    assert_eq!(refused(&ring(3)), Some(libc::EINVAL));
    assert_eq!(refused(&Request { region: Some(9), ..all.clone() }), Some(libc::EINVAL));
    let mut raw = all.to_nmreq().unwrap();
    raw.nr_version = netmap_sys::netmap::NETMAP_API as u32;
    let error = double.register(&mut raw).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));

    let first = double.open(&ring(0)).unwrap();
    let second = double.open(&ring(1)).unwrap();
    assert_eq!(refused(&ring(1)), Some(libc::EBUSY));
    assert_eq!(refused(&all), Some(libc::EBUSY));
    // There is no third RX ring, the first would have to stand in, and is taken.
    assert_eq!(refused(&ring(2)), Some(libc::EBUSY));
    drop((first, second));
    let shared = Request { exclusive: false, ..all.clone() };
    let first = double.open(&shared).unwrap();
    let second = double.open(&shared).unwrap();
    assert_eq!(refused(&all), Some(libc::EBUSY));
    drop((first, second));

    let wire = double.wire("lan").unwrap();
    wire.vanish();
    assert_eq!(refused(&all), Some(libc::ENXIO));
    wire.appear();
    let port = double.open(&Request { region: Some(1), ..all }).unwrap();
    assert_eq!(port.kernel().kind(), Kind::Memory);
}

#[test]
fn a_request_comes_back_filled_in() {
    let mut config = Config::strict(&["lan"]);
    (config.nics[0].rx_rings, config.nics[0].rx_slots) = (2, 64);
    config.spare_buffers = 10;
    config.region = 5;
    let double = Double::new(config).unwrap();
    let mut raw = Request { spare_buffers: 99, ..Request::new("lan") }.to_nmreq().unwrap();
    let registration = double.register(&mut raw).unwrap();
    assert_eq!((raw.nr_tx_rings, raw.nr_rx_rings), (1, 2));
    assert_eq!((raw.nr_tx_slots, raw.nr_rx_slots), (256, 64));
    assert_eq!((raw.nr_arg2, raw.nr_arg3), (5, 10));
    assert_eq!(raw.nr_memsize as usize, double.memory().mapped());
    let interface = Interface::at(double.memory(), raw.nr_offset as usize).unwrap();
    assert_eq!(interface.counts(), RingCounts { tx: 1, host_tx: 1, rx: 2, host_rx: 1 });
    assert_eq!(interface.rx_ring(1).unwrap().header().ring_id, 1);
    assert!(interface.rx_ring(2).is_none(), "the host ring is not the NIC's");
    drop(registration);
}
