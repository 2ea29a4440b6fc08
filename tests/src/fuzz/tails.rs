//! What comes of a TCP connection after its state has ended, however it ended: nothing with data
//! passes, nothing of a connection that was killed, nothing far from where it stood, nothing after two
//! minutes; and a new SYN is never hindered.

use std::net::SocketAddr;
use std::time::Duration;

use weir_engine::PortIndex;
use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};

use super::input::Input;
use super::stand::Stand;
use super::{Rules, Summary, with_timeouts};

static RULES: Rules<3> = Rules::new(|| {
    [
        with_timeouts("block\npass proto tcp\n"),
        with_timeouts("block\npass proto tcp keep state (tcp.closed 1, tcp.finwait 1)\n"),
        with_timeouts("block\npass proto tcp keep state (sloppy, tcp.closed 2)\n"),
    ]
});
/// The rules without windows.
const SLOPPY: u8 = 2;

/// How long a tail is remembered.
const LIFE: Duration = Duration::from_secs(120);
/// Further than any window: of 65,535 bytes, and what the engine grants behind it.
const FAR: u32 = 1 << 20;

/// One connection, its ends in the order of the ports.
struct Connection {
    ends: [SocketAddr; 2],
    /// What each end sends next.
    next: [u32; 2],
}

impl Connection {
    fn segment(&self, side: usize, flags: u8, off: u32, length: usize) -> Vec<u8> {
        build::tcp(self.ends[side], self.ends[1 - side], flags)
            .seq(self.next[side].wrapping_add(off))
            .ack(if flags & ACK == 0 { 0 } else { self.next[1 - side] })
            .payload(&vec![7; length])
            .frame()
    }
}

/// Reads connections, their ends and what comes late from the input.
pub fn tails(memory: &'static mut [u8], input: &[u8]) -> Summary {
    let mut input = Input::new(input);
    let how = input.byte();
    let rules = how % 3;
    let mut stand = Stand::new(memory, u16::from(how >> 6) % 3 + 1, &RULES.choose(rules));
    let mut port = 1000;
    while !input.is_empty() {
        port += 1;
        let ends = [([10, 0, 0, 1], port).into(), ([10, 1, 0, 1], 80).into()];
        let mut connection = Connection { ends, next: [input.u32(), input.u32()] };
        open(&mut stand, &mut connection);
        let killed = live(&mut stand, &mut connection, &mut input);
        let ended = stand.now;
        for _ in 0..input.byte() % 8 {
            late(&mut stand, &connection, &mut input, rules == SLOPPY, killed, ended);
        }
        stand.bridge.forget_states(stand.now);
        // Twice, so that the state is not there either.
        for _ in 0..2 {
            let syn = connection.segment(0, SYN, 500_000_000, 0);
            assert!(stand.passes(PortIndex::LAN, &syn), "a new connection is hindered");
            stand.bridge.forget_states(stand.now);
        }
    }
    stand.finish()
}

fn open(stand: &mut Stand, connection: &mut Connection) {
    for (side, flags) in [(0, SYN), (1, SYN | ACK), (0, ACK)] {
        let frame = connection.segment(side, flags, 0, 0);
        assert!(stand.passes(PortIndex(side as u8), &frame), "the handshake");
        connection.next[side] = connection.next[side].wrapping_add(u32::from(flags & SYN != 0));
    }
}

/// Segments in order, then the end; whether it was by force.
fn live(stand: &mut Stand, connection: &mut Connection, input: &mut Input<'_>) -> bool {
    for _ in 0..input.byte() % 8 {
        let what = input.byte();
        let side = usize::from(what & 1);
        let flags =
            ACK | if what & 2 == 0 { 0 } else { FIN } | if what & 0xc == 0xc { RST } else { 0 };
        let length = usize::from(input.byte());
        let frame = connection.segment(side, flags, 0, length);
        if stand.passes(PortIndex(side as u8), &frame) {
            let span = length as u32 + u32::from(flags & FIN != 0);
            connection.next[side] = connection.next[side].wrapping_add(span);
        }
        if what & 0x80 != 0 {
            stand.wait(Duration::from_millis(u64::from(what & 0x70) * 20));
        }
    }
    let killed = input.byte() & 1 != 0;
    if killed {
        // What times out or is over by itself first is not killed.
        let there = !stand.bridge.states(stand.now).is_empty();
        stand.bridge.forget_states(stand.now);
        return there;
    }
    let end = stand.now + Duration::from_secs(400);
    while stand.now < end && !stand.bridge.states(stand.now).is_empty() {
        stand.wait(Duration::from_secs(1));
    }
    assert!(stand.bridge.states(stand.now).is_empty(), "every time-out is over");
    false
}

fn late(
    stand: &mut Stand,
    connection: &Connection,
    input: &mut Input<'_>,
    sloppy: bool,
    killed: bool,
    ended: Duration,
) {
    let what = input.byte();
    if what & 0xe0 == 0xe0 {
        stand.wait(Duration::from_secs(u64::from(what & 0x1f) * 5));
        return;
    }
    let side = usize::from(what & 1);
    let flags = input.one_of(&[ACK, FIN | ACK, RST, RST | ACK, ACK | 8, SYN | ACK, FIN | ACK | 8]);
    let off = match what >> 1 & 3 {
        0 => 0,
        1 => u32::from(input.byte()).wrapping_neg(),
        2 => input.u32(),
        _ => 1 << 31,
    };
    let length = if what & 8 == 0 { 0 } else { usize::from(input.byte()) };
    let frame = connection.segment(side, flags, off, length);
    if !stand.passes(PortIndex(side as u8), &frame) {
        return;
    }
    let told = format!(
        "{flags:#x}, {off:#x} off, {length} bytes, {:?} late",
        stand.now.saturating_sub(ended)
    );
    assert_eq!(length, 0, "data: {told}");
    assert_eq!(flags & SYN, 0, "{told}");
    assert!(!killed, "of a killed connection: {told}");
    assert!(stand.now <= ended + LIFE + Duration::from_secs(1), "too late: {told}");
    let distance = off.min(off.wrapping_neg());
    assert!(sloppy || distance <= FAR, "far: {told}");
}
