//! The application side on the strict double.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use netmap_sys::netmap::NS_MOREFRAG;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::double::{Config, Double, Wire};
use super::*;
use crate::frame::{Checksum, Frame, Gso, GsoKind};
use crate::port::{Port, PortError};
use crate::sys::memory::Pool;

/// A port with its cable, as one worker has it.
struct Side {
    port: MemoryPort,
    wire: Wire,
    queue: VecDeque<Frame>,
}

struct Bench {
    double: Double,
    pool: Pool,
    lan: Side,
    wan: Side,
    frames: Vec<Frame>,
}

impl Bench {
    fn new(config: Config) -> Self {
        let double = Double::new(config).unwrap();
        let side = |name: &str| Side {
            port: double.open_rings(name, Rings::All).unwrap(),
            wire: double.wire(name).unwrap(),
            queue: VecDeque::new(),
        };
        let (lan, wan) = (side("lan"), side("wan"));
        let pool = Pool::new(Arc::clone(double.memory()));
        Self { pool, lan, wan, double, frames: Vec::new() }
    }

    fn small() -> Self {
        let mut config = Config::strict(&["lan", "wan"]);
        for nic in &mut config.nics {
            (nic.tx_slots, nic.rx_slots) = (8, 16);
        }
        config.spare_buffers = 64;
        Self::new(config)
    }

    fn receive(&mut self) -> usize {
        self.lan.port.receive(&mut self.pool, 0, &mut self.frames, 64).unwrap()
    }

    fn flush(&mut self) {
        self.lan.port.flush(&mut self.pool).unwrap();
        self.wan.port.flush(&mut self.pool).unwrap();
    }

    /// One round of a bridge that passes everything.
    fn round(&mut self) {
        for number in 0..2 {
            let (from, to) = match number {
                0 => (&mut self.lan, &mut self.wan),
                _ => (&mut self.wan, &mut self.lan),
            };
            from.port.receive(&mut self.pool, number, &mut self.frames, 64).unwrap();
            to.queue.extend(self.frames.drain(..));
            to.port.transmit(&mut self.pool, &mut to.queue).unwrap();
        }
        self.flush();
    }

    /// Nothing in hand: all buffers are in rings and pools.
    fn audit(&self) {
        assert_eq!(self.double.audit().in_hand, 0);
    }
}

fn readable(port: &MemoryPort) -> PollFlags {
    let descriptor = port.descriptor().unwrap();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    let now = Timespec::try_from(Duration::ZERO).unwrap();
    poll(&mut polled, Some(&now)).unwrap();
    polled[0].revents()
}

#[test]
fn a_frame_crosses_without_a_copy() {
    let mut bench = Bench::small();
    assert!(bench.lan.wire.put(0, b"from the left"));
    bench.flush();
    assert_eq!(bench.receive(), 1);
    let frame = bench.frames.pop().unwrap();
    assert_eq!((frame.port, frame.len(), frame.is_single()), (0, 13, true));
    assert_eq!(frame.meta.checksum, Checksum::Unknown);
    let buffer = frame.buffer;
    let at = bench.pool.head(&frame).as_ptr();
    assert_eq!(bench.pool.head(&frame), b"from the left");
    bench.wan.queue.push_back(frame);
    assert_eq!(bench.wan.port.transmit(&mut bench.pool, &mut bench.wan.queue).unwrap(), 1);
    bench.flush();
    let mut seen = None;
    bench.wan.wire.drain(0, 1, |bytes| seen = Some((bytes.as_ptr(), bytes.to_vec())));
    assert_eq!(seen, Some((at, b"from the left".to_vec())), "buffer {buffer} itself went out");
    bench.audit();
    let stats = (bench.lan.port.stats(), bench.wan.port.stats());
    assert_eq!((stats.0.received, stats.1.transmitted), (1, 1));
}

#[test]
fn a_frame_made_here_goes_out_from_the_buffers_beginning() {
    let mut bench = Bench::small();
    bench.wan.queue.push_back(bench.pool.copy(b"crafted").unwrap());
    bench.round();
    assert_eq!(bench.wan.wire.take(0).unwrap(), b"crafted");
    bench.audit();
}

#[test]
fn all_lengths_come_through() {
    let mut bench = Bench::small();
    for length in 1..=2048u32 {
        let frame: Vec<u8> = (0..length).map(|i| ((i * 7 + length) % 256) as u8).collect();
        assert!(bench.lan.wire.put(0, &frame));
        bench.flush();
        bench.round();
        assert_eq!(bench.wan.wire.take(0), Some(frame));
    }
    assert_eq!(bench.lan.port.stats().malformed, 0);
    bench.flush();
    bench.audit();
}

#[test]
fn impossible_lengths_are_counted_and_passed_over() {
    let mut bench = Bench::small();
    assert!(bench.lan.wire.put(0, b""));
    assert!(bench.lan.wire.put_raw(0, b"x", 2049, 0));
    assert!(bench.lan.wire.put_raw(0, b"x", u16::MAX, 0));
    // A chain with an empty part.
    assert!(bench.lan.wire.put_chain(0, &[b"a", b"", b"c"]));
    assert!(bench.lan.wire.put(0, b"good"));
    bench.flush();
    bench.round();
    assert_eq!(bench.wan.wire.take(0).unwrap(), b"good");
    assert_eq!(bench.wan.wire.take(0), None);
    assert_eq!(bench.lan.port.stats().malformed, 4);
    // The slots are of use again.
    for _ in 0..40 {
        assert!(bench.lan.wire.put(0, b"more"));
        bench.flush();
        bench.round();
        assert_eq!(bench.wan.wire.take(0).unwrap(), b"more");
    }
    bench.flush();
    bench.audit();
}

#[test]
fn chains_come_and_go_whole() {
    let mut bench = Bench::small();
    let jumbo: Vec<u8> = (0..9000u32).map(|i| (i % 251) as u8).collect();
    for _ in 0..50 {
        assert!(bench.lan.wire.put(0, &jumbo));
        assert!(bench.lan.wire.put(0, b"next"));
        bench.flush();
        assert_eq!(bench.receive(), 2);
        assert_eq!(bench.frames[0].len(), 9000);
        assert!(!bench.frames[0].is_single());
        let joined: Vec<u8> = bench.pool.segments(&bench.frames[0]).flatten().copied().collect();
        assert!(joined == jumbo);
        bench.wan.queue.extend(bench.frames.drain(..));
        assert_eq!(bench.wan.port.transmit(&mut bench.pool, &mut bench.wan.queue).unwrap(), 2);
        bench.flush();
        assert!(bench.wan.wire.take(0).unwrap() == jumbo);
        assert_eq!(bench.wan.wire.take(0).unwrap(), b"next");
        bench.flush();
    }
    bench.audit();
}

#[test]
fn a_chain_waits_until_it_is_complete() {
    let mut bench = Bench::small();
    bench.lan.wire.set_partial(0, Some(2));
    assert!(bench.lan.wire.put_chain(0, &[b"one", b"two", b"three"]));
    bench.flush();
    assert_eq!(bench.receive(), 0);
    assert_eq!(readable(&bench.lan.port), PollFlags::IN, "the rest is on its way");
    bench.flush();
    assert_eq!(bench.receive(), 1);
    let frame = bench.frames.pop().unwrap();
    let parts: Vec<&[u8]> = bench.pool.segments(&frame).collect();
    assert_eq!(parts, [&b"one"[..], b"two", b"three"]);
    bench.pool.release(frame);
    bench.flush();
    bench.audit();
}

#[test]
fn a_chain_that_no_ring_holds_is_dropped_once_and_whole() {
    let mut bench = Bench::small();
    // 15 slots of the ring are in use at most; this frame comes in three pieces, 25 slots long.
    let part: &[u8] = b"part";
    for piece in [15, 9] {
        for _ in 0..piece {
            assert!(bench.lan.wire.put_raw(0, part, 4, NS_MOREFRAG));
        }
        bench.flush();
        assert_eq!(bench.receive(), 0);
        bench.flush();
    }
    assert!(bench.lan.wire.put(0, b"end"));
    assert!(bench.lan.wire.put(0, b"another"));
    bench.flush();
    assert_eq!(bench.receive(), 1);
    let frame = bench.frames.pop().unwrap();
    assert_eq!(bench.pool.head(&frame), b"another");
    bench.pool.release(frame);
    assert_eq!(bench.lan.port.stats().malformed, 1);
    bench.flush();
    bench.audit();
}

#[test]
fn a_full_ring_leaves_frames_waiting_in_order() {
    let mut bench = Bench::small();
    for i in 0..15u8 {
        assert!(bench.lan.wire.put(0, &[i]));
    }
    assert!(!bench.lan.wire.put(0, b"too many"));
    assert_eq!(bench.lan.wire.room(0), 0);
    bench.flush();
    bench.round();
    // Seven slots can be in flight; nobody takes them.
    assert_eq!(bench.wan.queue.len(), 8);
    assert_eq!(bench.wan.port.stats().transmitted, 7);
    assert_eq!(bench.wan.port.stats().transmit_full, 1);
    bench.round();
    assert_eq!(bench.wan.port.stats().transmit_full, 2);
    assert_eq!(bench.wan.queue.len(), 8);
    let mut out = Vec::new();
    while out.len() < 15 {
        assert!(bench.wan.wire.drain(0, 4, |bytes| out.push(bytes[0])) > 0);
        bench.round();
    }
    assert_eq!(out, (0..15).collect::<Vec<u8>>());
    assert!(bench.wan.queue.is_empty());
    bench.audit();
}

#[test]
fn late_completion_makes_the_ring_smaller_and_nothing_else() {
    let mut bench = Bench::small();
    bench.wan.wire.set_lag(0, 5);
    let mut out = Vec::new();
    for i in 0..60u8 {
        assert!(bench.lan.wire.put(0, &[i]));
        bench.flush();
        bench.round();
        bench.wan.wire.drain(0, 64, |bytes| out.push(bytes[0]));
    }
    while out.len() < 60 {
        bench.round();
        bench.wan.wire.drain(0, 64, |bytes| out.push(bytes[0]));
    }
    assert_eq!(out, (0..60).collect::<Vec<u8>>());
    bench.audit();
}

#[test]
fn a_sync_that_does_a_part_is_repeated() {
    let mut bench = Bench::small();
    bench.wan.wire.set_partial(0, Some(1));
    for i in 0..5u8 {
        bench.wan.queue.push_back(bench.pool.copy(&[i]).unwrap());
    }
    assert_eq!(bench.wan.port.transmit(&mut bench.pool, &mut bench.wan.queue).unwrap(), 5);
    let mut out = Vec::new();
    for i in 1..=5 {
        bench.flush();
        bench.wan.wire.drain(0, 64, |bytes| out.push(bytes[0]));
        assert_eq!(out.len(), i);
    }
    assert_eq!(out, [0, 1, 2, 3, 4]);
    bench.audit();
}

#[test]
fn an_empty_pool_leaves_frames_in_the_ring() {
    let mut bench = Bench::small();
    let mut hoard = Vec::new();
    while let Some(buffer) = bench.pool.allocate() {
        hoard.push(buffer);
    }
    bench.pool.free(hoard.pop().unwrap());
    assert!(bench.lan.wire.put_chain(0, &[b"a", b"b"]));
    assert!(bench.lan.wire.put(0, b"c"));
    bench.flush();
    assert_eq!(bench.receive(), 0);
    assert_eq!(bench.lan.port.stats().pool_empty, 1);
    for buffer in hoard {
        bench.pool.free(buffer);
    }
    assert_eq!(bench.receive(), 2);
    for frame in bench.frames.drain(..) {
        bench.pool.release(frame);
    }
    bench.flush();
    bench.audit();
}

#[test]
fn what_can_never_be_sent_is_released_and_counted() {
    let mut bench = Bench::small();
    let mut train = bench.pool.copy(b"train").unwrap();
    train.meta.gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, size: 1448, header: 66 });
    let mut partial = bench.pool.copy(b"partial").unwrap();
    partial.meta.checksum = Checksum::Partial { start: 34, offset: 16 };
    let empty = bench.pool.copy(b"").unwrap();
    bench.wan.queue.extend([train, partial, empty]);
    bench.wan.queue.push_back(bench.pool.copy(b"good").unwrap());
    // A chain longer than the ring of eight slots.
    assert!(bench.lan.wire.put_chain(0, &[&b"part"[..]; 8]));
    bench.flush();
    bench.round();
    bench.round();
    assert_eq!(bench.wan.wire.take(0).unwrap(), b"good");
    assert_eq!(bench.wan.wire.take(0), None);
    assert_eq!(bench.wan.port.stats().unsendable, 4);
    bench.flush();
    bench.audit();
}

#[test]
fn an_adapter_without_chains_sends_whole_frames_or_nothing() {
    let mut bench = Bench::small();
    bench.wan.port = bench.wan.port.with_limits(Limits::of_mtu(1500, 2048));
    bench.wan.wire.set_emulated(0);
    let whole: Vec<u8> = (0..1522u32).map(|i| (i % 251) as u8).collect();
    // The rest of this one would leave as a frame of its own.
    assert!(bench.lan.wire.put_chain(0, &[&whole[..60], &whole[60..700], &whole[700..]]));
    assert!(bench.lan.wire.put(0, &[1; 1523]));
    assert!(bench.lan.wire.put_chain(0, &[&[2; 1500], &[2; 23]]));
    assert!(bench.lan.wire.put(0, b"next"));
    for _ in 0..4 {
        bench.round();
    }
    let mut sent = Vec::new();
    assert_eq!(bench.wan.wire.drain(0, 64, |bytes| sent.push(bytes.to_vec())), 2);
    assert!(sent[0] == whole, "{} bytes", sent[0].len());
    assert_eq!(sent[1], b"next");
    assert_eq!(bench.wan.port.stats().unsendable, 2);
    bench.flush();
    bench.audit();
}

#[test]
fn where_the_mtu_does_not_leave_room_for_tags_a_chain_is_refused() {
    let limits = Limits::of_mtu(2040, 2048);
    assert_eq!(limits, Limits { longest: 2062, chains: false });
    let mut bench = Bench::small();
    bench.wan.port = bench.wan.port.with_limits(limits);
    bench.wan.wire.set_emulated(0);
    assert!(bench.lan.wire.put(0, &[3; 2062]));
    assert!(bench.lan.wire.put(0, &[4; 2048]));
    for _ in 0..4 {
        bench.round();
    }
    assert_eq!(bench.wan.wire.take(0), Some(vec![4; 2048]));
    assert_eq!(bench.wan.wire.take(0), None);
    assert_eq!(bench.wan.port.stats().unsendable, 1);
    assert!(Limits::of_mtu(9000, 2048).chains, "netmap takes such a driver only if it can");
    bench.flush();
    bench.audit();
}

#[test]
fn a_pool_of_another_region_is_refused() {
    let mut bench = Bench::small();
    let other = Double::new(Config::strict(&["dmz"])).unwrap();
    let mut pool = Pool::new(Arc::clone(other.memory()));
    let error = bench.lan.port.receive(&mut pool, 0, &mut bench.frames, 1).unwrap_err();
    assert!(matches!(error, PortError::Io(_)), "{error}");
    assert!(bench.wan.port.transmit(&mut pool, &mut bench.wan.queue).is_err());
    assert!(bench.wan.port.flush(&mut pool).is_err());
}

#[test]
fn rings_in_another_memory_are_refused() {
    let double = Double::new(Config::strict(&["lan"])).unwrap();
    let mut config = Config::strict(&["lan"]);
    config.buffer_size = 4096;
    let other = Double::new(config).unwrap();
    let mut raw = Request::new("lan").to_nmreq().unwrap();
    let registration = double.register(&mut raw).unwrap();
    let error = MemoryPort::new(registration, other.memory(), &raw).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn a_vanished_interface_is_gone_and_comes_back_anew() {
    let mut bench = Bench::small();
    assert!(bench.lan.wire.put(0, b"last words"));
    bench.flush();
    bench.lan.wire.vanish();
    assert!(readable(&bench.lan.port).contains(PollFlags::ERR));
    // What had come is still good.
    assert_eq!(bench.receive(), 1);
    let frame = bench.frames.pop().unwrap();
    assert_eq!(bench.pool.head(&frame), b"last words");
    bench.pool.release(frame);
    let error = bench.lan.port.flush(&mut bench.pool).unwrap_err();
    assert!(matches!(error, PortError::Gone), "{error}");
    // Sending needs no call while there is room; then it does.
    for _ in 0..8 {
        bench.lan.queue.push_back(bench.pool.copy(b"x").unwrap());
    }
    let error = bench.lan.port.transmit(&mut bench.pool, &mut bench.lan.queue).unwrap_err();
    assert!(matches!(error, PortError::Gone));
    assert_eq!(bench.lan.queue.len(), 1);
    bench.lan.port.close(&mut bench.pool);

    bench.lan.wire.appear();
    let Bench { double, mut pool, lan, .. } = bench;
    drop(lan.port);
    let mut port = double.open_rings("lan", Rings::All).unwrap();
    assert!(lan.wire.put(0, b"again"));
    port.flush(&mut pool).unwrap();
    let mut frames = Vec::new();
    assert_eq!(port.receive(&mut pool, 0, &mut frames, 8).unwrap(), 1);
    for frame in frames.drain(..).chain(lan.queue) {
        pool.release(frame);
    }
    assert_eq!(double.audit().in_hand, 0);
}

#[test]
fn a_reset_ring_is_told() {
    for send in [true, false] {
        let mut bench = Bench::small();
        bench.flush();
        if send {
            bench.lan.queue.push_back(bench.pool.copy(b"on its way").unwrap());
            bench.lan.port.transmit(&mut bench.pool, &mut bench.lan.queue).unwrap();
        } else {
            assert!(bench.lan.wire.put(0, b"arrived"));
            bench.flush();
            assert_eq!(bench.receive(), 1);
        }
        bench.lan.wire.reset(0);
        assert!(readable(&bench.lan.port).contains(PollFlags::ERR));
        let error = bench.lan.port.flush(&mut bench.pool).unwrap_err();
        assert!(matches!(error, PortError::Reset), "{error}");
    }
    // With nothing under way the rings are where they were, and only poll(2) shows it.
    let mut bench = Bench::small();
    bench.flush();
    bench.lan.wire.reset(0);
    bench.flush();
    let error = bench.lan.port.error_shown().unwrap_err();
    assert!(matches!(error, PortError::Reset), "{error}");
    // Of a vanished interface it is known what happened.
    let mut bench = Bench::small();
    bench.lan.wire.vanish();
    let error = bench.lan.port.error_shown().unwrap_err();
    assert!(matches!(error, PortError::Gone), "{error}");
}

#[test]
fn who_waits_for_room_is_not_woken_by_room_that_does_not_suffice() {
    let mut bench = Bench::small();
    for _ in 0..5 {
        bench.wan.queue.push_back(bench.pool.copy(b"single").unwrap());
    }
    assert!(bench.lan.wire.put_chain(0, &[&b"part"[..]; 4]));
    bench.flush();
    bench.round();
    assert_eq!(bench.wan.queue.len(), 1, "two slots are free, and it has four parts");
    assert_eq!(bench.wan.port.room_waited_for(), 0);
    bench.wan.wire.drain(0, 5, |_| ());
    bench.round();
    assert!(bench.wan.queue.is_empty());
    assert!(bench.wan.wire.take(0).is_some());
    bench.flush();
    bench.audit();
}

#[test]
fn other_errors_are_passed_on() {
    let mut bench = Bench::small();
    bench.lan.wire.fail(Some(libc::ENOMEM));
    let error = bench.lan.port.flush(&mut bench.pool).unwrap_err();
    let PortError::Io(error) = error else { panic!("{error}") };
    assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    bench.lan.wire.fail(None);
    bench.flush();
}

#[test]
fn a_dead_link_swallows_silently_and_recovers() {
    let mut bench = Bench::small();
    bench.lan.wire.set_link(false);
    bench.wan.wire.set_link(false);
    for i in 0..100 {
        assert!(bench.lan.wire.put(0, b"into the void"));
        if i < 50 {
            bench.wan.queue.push_back(bench.pool.copy(b"out").unwrap());
        }
        bench.round();
    }
    assert_eq!(bench.wan.wire.take(0), None);
    assert!(bench.wan.queue.is_empty(), "the ring keeps moving");
    assert_eq!((bench.lan.wire.lost(), bench.wan.wire.lost()), (100, 50));
    bench.lan.wire.set_link(true);
    bench.wan.wire.set_link(true);
    assert!(bench.lan.wire.put(0, b"back"));
    bench.flush();
    bench.round();
    assert_eq!(bench.wan.wire.take(0).unwrap(), b"back");
    bench.flush();
    bench.audit();
}

#[test]
fn the_descriptor_is_readable_while_there_is_something() {
    let mut bench = Bench::small();
    bench.flush();
    assert_eq!(readable(&bench.lan.port), PollFlags::empty());
    assert!(bench.lan.wire.put(0, b"frame"));
    assert_eq!(readable(&bench.lan.port), PollFlags::IN);
    bench.flush();
    assert_eq!(readable(&bench.lan.port), PollFlags::IN, "it is in the ring now");
    assert_eq!(bench.receive(), 1);
    bench.flush();
    assert_eq!(readable(&bench.lan.port), PollFlags::empty());
    for frame in bench.frames.drain(..) {
        bench.pool.release(frame);
    }
}

#[test]
fn a_spurious_wake_up_does_no_harm() {
    let mut bench = Bench::small();
    bench.lan.wire.wake();
    assert_eq!(readable(&bench.lan.port), PollFlags::IN);
    assert_eq!(bench.receive(), 0);
    bench.flush();
    assert_eq!(readable(&bench.lan.port), PollFlags::empty());
    bench.audit();
}

#[test]
fn several_rings_are_all_served() {
    let mut config = Config::strict(&["lan", "wan"]);
    (config.nics[0].rx_rings, config.nics[0].tx_rings) = (3, 2);
    let mut bench = Bench::new(config);
    for queue in 0..3 {
        for i in 0..4 {
            assert!(bench.lan.wire.put(queue, &[queue as u8, i]));
        }
    }
    bench.flush();
    // With room for few, no ring starves.
    let mut got = vec![Vec::new(); 3];
    for _ in 0..6 {
        let received = bench.lan.port.receive(&mut bench.pool, 0, &mut bench.frames, 2).unwrap();
        assert_eq!(received, 2);
        for frame in bench.frames.drain(..) {
            let bytes = bench.pool.head(&frame);
            got[usize::from(bytes[0])].push(bytes[1]);
            bench.pool.release(frame);
        }
    }
    assert_eq!(got, vec![vec![0, 1, 2, 3]; 3]);
    bench.flush();
    bench.audit();
}

/// Frames that each of two workers passes.
const FRAMES: u32 = 2000;

#[test]
fn two_workers_share_a_memory_each_with_its_own_rings() {
    let mut config = Config::strict(&["lan", "wan"]);
    for nic in &mut config.nics {
        (nic.rx_rings, nic.tx_rings, nic.rx_slots, nic.tx_slots) = (2, 2, 32, 16);
    }
    let double = Double::new(config).unwrap();
    let wires = ["lan", "wan"].map(|name| double.wire(name).unwrap());
    // Opened before any work begins: spare buffers come with the first registration.
    let ports: Vec<_> = (0..2)
        .map(|ring| ["lan", "wan"].map(|name| double.open_rings(name, Rings::One(ring)).unwrap()))
        .collect();
    std::thread::scope(|scope| {
        for (queue, [mut lan, mut wan]) in ports.into_iter().enumerate() {
            let wires = &wires;
            let mut pool = Pool::new(Arc::clone(double.memory()));
            scope.spawn(move || {
                let mut frames = Vec::new();
                let mut waiting = VecDeque::new();
                let (mut sent, mut seen) = (0, 0);
                let mut rounds = 0;
                while seen < FRAMES {
                    rounds += 1;
                    assert!(rounds < 1_000_000, "frame {seen} does not come");
                    while sent < FRAMES
                        && wires[0].put(queue, &[sent.to_be_bytes(), [queue as u8; 4]].concat())
                    {
                        sent += 1;
                    }
                    lan.receive(&mut pool, 0, &mut frames, 64).unwrap();
                    waiting.extend(frames.drain(..));
                    wan.transmit(&mut pool, &mut waiting).unwrap();
                    lan.flush(&mut pool).unwrap();
                    wan.flush(&mut pool).unwrap();
                    wires[1].drain(queue, 64, |bytes| {
                        assert_eq!(bytes, [seen.to_be_bytes(), [queue as u8; 4]].concat());
                        seen += 1;
                    });
                }
                // Pools go before the audit; what a worker caches goes back to the common queue.
                assert!(waiting.is_empty());
            });
        }
    });
    assert_eq!(double.audit().in_hand, 0);
}

mod interleavings {
    //! Nothing is lost, made, reordered within a ring or altered, whatever happens in which order.

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// A frame arrives on a ring of a side, in parts of these lengths.
        Arrive {
            side: usize,
            queue: usize,
            parts: Vec<u16>,
        },
        Receive {
            side: usize,
            max: usize,
        },
        Transmit {
            side: usize,
        },
        Flush {
            side: usize,
        },
        /// The wire takes what was sent.
        Drain {
            side: usize,
            max: usize,
        },
        /// A received frame is released instead of sent.
        Release {
            side: usize,
        },
        Partial {
            side: usize,
            slots: Option<u32>,
        },
        Lag {
            side: usize,
            slots: u32,
        },
        Wake {
            side: usize,
        },
    }

    fn step() -> impl Strategy<Value = Step> {
        let side = || 0..2usize;
        let parts = prop_oneof![
            6 => (8..2048u16).prop_map(|length| vec![length]),
            1 => prop::collection::vec(8..300u16, 2..5),
        ];
        prop_oneof![
            6 => (side(), 0..2usize, parts)
                .prop_map(|(side, queue, parts)| Step::Arrive { side, queue, parts }),
            4 => (side(), 0..20usize).prop_map(|(side, max)| Step::Receive { side, max }),
            4 => side().prop_map(|side| Step::Transmit { side }),
            4 => side().prop_map(|side| Step::Flush { side }),
            4 => (side(), 0..20usize).prop_map(|(side, max)| Step::Drain { side, max }),
            1 => side().prop_map(|side| Step::Release { side }),
            1 => (side(), prop::option::of(1..4u32))
                .prop_map(|(side, slots)| Step::Partial { side, slots }),
            1 => (side(), 0..4u32).prop_map(|(side, slots)| Step::Lag { side, slots }),
            1 => side().prop_map(|side| Step::Wake { side }),
        ]
    }

    /// A frame's bytes: where it arrived and its number there, then a pattern.
    fn bytes(side: usize, queue: usize, number: u32, length: usize) -> Vec<u8> {
        let mut bytes = vec![side as u8, queue as u8, 0, 0];
        bytes.extend(number.to_be_bytes());
        bytes.extend((8..length).map(|i| (i as u32 ^ number) as u8));
        bytes
    }

    struct Model {
        bench: Bench,
        /// Of every side and ring, how many have arrived.
        arrived: [[u32; 2]; 2],
        /// Of every side and ring, the numbers and lengths not yet seen at the other side.
        expected: [[VecDeque<(u32, usize)>; 2]; 2],
    }

    impl Model {
        fn new() -> Self {
            let mut config = Config::strict(&["lan", "wan"]);
            for nic in &mut config.nics {
                (nic.rx_rings, nic.tx_rings, nic.rx_slots, nic.tx_slots) = (2, 1, 12, 9);
            }
            config.spare_buffers = 40;
            Self {
                bench: Bench::new(config),
                arrived: Default::default(),
                expected: Default::default(),
            }
        }

        fn run(&mut self, step: &Step) {
            let Bench { pool, lan, wan, frames, .. } = &mut self.bench;
            let sides = [lan, wan];
            match *step {
                Step::Arrive { side, queue, ref parts } => {
                    let number = self.arrived[side][queue];
                    let length = parts.iter().map(|&part| usize::from(part)).sum();
                    let whole = bytes(side, queue, number, length);
                    let mut rest = &whole[..];
                    let parts: Vec<&[u8]> = parts
                        .iter()
                        .map(|&part| rest.split_off(..usize::from(part)).unwrap())
                        .collect();
                    if sides[side].wire.put_chain(queue, &parts) {
                        self.arrived[side][queue] += 1;
                        self.expected[side][queue].push_back((number, length));
                    }
                }
                Step::Receive { side, max } => {
                    sides[side].port.receive(pool, side as u8, frames, max).unwrap();
                    sides[1 - side].queue.extend(frames.drain(..));
                }
                Step::Transmit { side } => {
                    let Side { port, queue, .. } = &mut *sides[side];
                    port.transmit(pool, queue).unwrap();
                }
                Step::Flush { side } => sides[side].port.flush(pool).unwrap(),
                Step::Drain { side, max } => {
                    let expected = &mut self.expected[1 - side];
                    sides[side].wire.drain(0, max, |frame| {
                        let queue = usize::from(frame[1]);
                        let (number, length) = expected[queue].pop_front().unwrap();
                        assert!(
                            frame == bytes(1 - side, queue, number, length),
                            "frame {number} of ring {queue} was altered or out of order"
                        );
                    });
                }
                Step::Release { side } => {
                    if let Some(frame) = sides[side].queue.pop_back() {
                        let (origin, head) = (usize::from(frame.port), pool.head(&frame));
                        let number = u32::from_be_bytes(head[4..8].try_into().unwrap());
                        self.expected[origin][usize::from(head[1])]
                            .retain(|&(expected, _)| expected != number);
                        pool.release(frame);
                    }
                }
                Step::Partial { side, slots } => {
                    for queue in 0..2 {
                        sides[side].wire.set_partial(queue, slots);
                    }
                }
                Step::Lag { side, slots } => sides[side].wire.set_lag(0, slots),
                Step::Wake { side } => sides[side].wire.wake(),
            }
        }

        /// Lets everything through that is still on its way.
        fn finish(mut self) {
            for side in 0..2 {
                self.run(&Step::Partial { side, slots: None });
                self.run(&Step::Lag { side, slots: 0 });
            }
            for _ in 0..100 {
                for side in 0..2 {
                    self.run(&Step::Receive { side, max: 64 });
                    self.run(&Step::Transmit { side: 1 - side });
                    self.run(&Step::Drain { side: 1 - side, max: 64 });
                    self.run(&Step::Flush { side });
                    self.run(&Step::Flush { side: 1 - side });
                }
            }
            for expected in self.expected.iter().flatten() {
                assert!(expected.is_empty(), "lost: {expected:?}");
            }
            self.bench.audit();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn keep_every_frame(steps in prop::collection::vec(step(), 1..400)) {
            let mut model = Model::new();
            for step in &steps {
                model.run(step);
            }
            model.finish();
        }
    }
}
