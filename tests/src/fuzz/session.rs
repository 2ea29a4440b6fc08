//! The whole engine: frames of every kind between few hosts, damaged, cut, fragmented and repeated as
//! the input says, beside reloads and pauses.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_engine::PortIndex;
use weir_engine::packet::build::{self, Build};
use weir_engine::packet::tcp::flags::{FIN, SYN};

use super::input::Input;
use super::stand::Stand;
use super::{Rules, Summary, with_timeouts};
use crate::bridge::Moving;

static RULES: Rules<6> = Rules::new(|| {
    [
        with_timeouts(
            "block return log\npass in on wan proto { tcp udp icmp icmp6 sctp }\npass out\n",
        ),
        with_timeouts("pass allow-opts\n"),
        with_timeouts(
            "set reassemble yes no-df\nmatch scrub (reassemble tcp, no-df, random-id, max-mss 1000, \
             min-ttl 10) set tos 8\nblock return\npass proto tcp flags any\npass proto udp \
             max-pkt-rate 5/10\npass proto icmp keep state (max 3)\npass inet6\n",
        ),
        with_timeouts(
            "set src-conn-count open\ntable <bad> persist\nblock in quick from <bad>\npass proto tcp \
             keep state (max-src-conn 2, max-src-conn-rate 3/5, overload <bad> flush global)\npass \
             proto udp keep state (max-src-states 2, max-src-nodes 2)\npass proto icmp no state\n",
        ),
        with_timeouts(
            "set state-policy floating\nset reassemble no\nset block-policy return\nset \
             neighbour-mac-check yes\nether block proto 0x88cc\nether pass\nblock\npass proto tcp \
             keep state (sloppy)\npass fragment\npass proto udp tag t\npass out tagged t\n",
        ),
        with_timeouts("set skip on { lan wan }\nblock\n"),
    ]
});

/// How far numbers lie from what would come next.
const OFF: [u32; 12] = [
    0,
    0,
    0,
    1,
    u32::MAX,
    1000,
    1_u32.wrapping_neg() - 999,
    65_535,
    65_536_u32.wrapping_neg(),
    1 << 20,
    (1_u32 << 20).wrapping_neg(),
    1 << 31,
];

/// Time that passes, in milliseconds.
const PAUSES: [u64; 8] = [0, 1, 100, 1_000, 11_000, 31_000, 125_000, 400_000];

/// What both ends of a flow have sent so far.
#[derive(Clone, Copy, Default)]
struct Flow {
    next: [u32; 2],
}

struct Session<'a> {
    input: Input<'a>,
    stand: Stand,
    flows: [Flow; 16],
    /// The last frames sent, to be repeated and quoted.
    sent: Vec<Vec<u8>>,
    /// Frames for the next batch.
    batch: Vec<Moving>,
}

/// Reads a session from the input and lets an engine of one to three workers judge it.
pub fn session(memory: &'static mut [u8], input: &[u8]) -> Summary {
    let mut input = Input::new(input);
    let how = input.byte();
    let stand = Stand::new(memory, u16::from(how >> 6) % 3 + 1, &RULES.choose(how & 0x3f));
    let mut session =
        Session { input, stand, flows: [Flow::default(); 16], sent: Vec::new(), batch: Vec::new() };
    while !session.input.is_empty() {
        session.step();
    }
    session.flush();
    session.stand.finish()
}

impl Session<'_> {
    fn step(&mut self) {
        let what = self.input.byte();
        match what >> 4 {
            0 => {
                self.flush();
                let pause = PAUSES[usize::from(what & 7)];
                self.stand.wait(Duration::from_millis(pause));
            }
            1 => {
                self.flush();
                self.stand.install(&RULES.choose(what & 0xf));
            }
            2 => {
                self.flush();
                self.stand.bridge.forget_states(self.stand.now);
            }
            3 => {
                let length = usize::from(self.input.byte());
                let frame = self.input.take(length).to_vec();
                self.push(what, frame);
            }
            4 => {
                let Some(frame) = self.remembered(what) else { return };
                self.push(what, frame);
            }
            5 | 6 => {
                let built = self.other(what);
                self.shape(what, built);
            }
            7 => {
                let Some(quoted) = self.remembered(what) else { return };
                let (from, to, _) = self.ends(what);
                let [kind, code] = [self.input.byte(), self.input.byte()];
                let error = build::icmp(from.ip(), to.ip(), kind, code);
                let error = error.id(self.input.u16(), 1280).quote(&quoted);
                self.shape(what, error);
            }
            _ => {
                let built = self.tcp(what);
                self.shape(what, built);
            }
        }
    }

    /// One of the last frames.
    fn remembered(&mut self, what: u8) -> Option<Vec<u8>> {
        let back = usize::from(what >> 1 & 7);
        self.sent.iter().rev().nth(back).cloned()
    }

    /// Two hosts and the number of their flow: bit 0 says which of them sends, the next byte who they
    /// are.
    fn ends(&mut self, what: u8) -> (SocketAddr, SocketAddr, usize) {
        let who = self.input.byte();
        let address = |side: u8, host: u8| -> IpAddr {
            if who & 1 == 0 {
                [10, side, 0, host].into()
            } else {
                [0x2001, 0xdb8, side.into(), 0, 0, 0, 0, host.into()].into()
            }
        };
        let lan = SocketAddr::new(address(0, who >> 1 & 1), 1000 + u16::from(who >> 2 & 1));
        let wan = SocketAddr::new(address(1, who >> 3 & 1), 2000);
        let flow = usize::from(who & 0xf);
        if what & 1 == 0 { (lan, wan, flow) } else { (wan, lan, flow) }
    }

    fn tcp(&mut self, what: u8) -> Build {
        let (from, to, flow) = self.ends(what);
        let flags = self.input.byte();
        let far = self.input.byte();
        let length = usize::from(self.input.byte());
        let length = if length > 250 { 1400 } else { length };
        let Flow { next } = &mut self.flows[flow];
        let side = usize::from(what & 1);
        let off = |which: u8| OFF[usize::from(which) % OFF.len()];
        let seq = next[side].wrapping_add(off(far & 0xf));
        let ack = next[1 - side].wrapping_add(off(far >> 4));
        if off(far & 0xf) == 0 {
            let span = length as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
            next[side] = seq.wrapping_add(span);
        }
        let built = build::tcp(from, to, flags).seq(seq).ack(ack);
        let built = if what & 2 == 0 { built } else { built.window(self.input.u16()) };
        let built = match what >> 2 & 3 {
            0 => built,
            1 => built.tcp_options(&[2, 4, 5, 0xb4, 1, 3, 3, flags & 0xf, 4, 2]),
            2 => {
                let times = [self.input.u32().to_be_bytes(), self.input.u32().to_be_bytes()];
                built.tcp_options(&[&[1, 1, 8, 10], times.as_flattened()].concat())
            }
            _ => {
                let length = usize::from(self.input.byte()) % 41;
                built.tcp_options(self.input.take(length))
            }
        };
        built.payload(&vec![7; length])
    }

    fn other(&mut self, what: u8) -> Build {
        let (from, to, _) = self.ends(what);
        let number = self.input.byte();
        let length = usize::from(self.input.byte());
        match what >> 1 & 7 {
            0 | 1 => build::udp(from, to).payload(&vec![number; length * 8]),
            2 => build::echo(from.ip(), to.ip(), number.into(), 1).payload(&vec![7; length]),
            3 => build::echo_reply(from.ip(), to.ip(), number.into(), 1),
            4 => build::sctp(from, to, self.input.u32(), self.input.take(length)),
            5 => build::other(from.ip(), to.ip(), number).payload(self.input.take(length)),
            6 => {
                let bytes = self.input.take(8 + length / 8 * 8).to_vec();
                build::udp(from, to).extension(number, &bytes).payload(b"behind")
            }
            _ => build::udp(from, to).ip_options(self.input.take(length % 41)),
        }
    }

    /// What is done to a frame before it is sent: tags, fields, fragments, damage.
    fn shape(&mut self, what: u8, built: Build) {
        let how = self.input.byte();
        let built = if how & 1 == 0 { built } else { built.vlan(u16::from(self.input.byte())) };
        let built = if how & 2 == 0 { built } else { built.ttl(self.input.byte()) };
        let built = if how & 4 == 0 { built } else { built.fragment(self.input.u16()) };
        let mut frames = vec![built.frame()];
        if how & 32 != 0 {
            let size = (usize::from(self.input.byte()) + 1) * 8;
            frames = build::fragments(&frames[0], self.input.byte().into(), size);
        }
        if how & 64 != 0 {
            frames.reverse();
        }
        // The first on its way is the one that suffers. A packet without data has no fragments.
        if let Some(frame) = frames.first_mut() {
            if how & 8 != 0 {
                let at = usize::from(self.input.u16()) % frame.len();
                frame[at] ^= self.input.byte();
            }
            if how & 16 != 0 {
                let length = usize::from(self.input.u16()) % (frame.len() + 1);
                frame.truncate(length);
            }
        }
        for frame in frames {
            self.push(what, frame);
        }
    }

    fn push(&mut self, what: u8, frame: Vec<u8>) {
        self.batch.push((PortIndex(what & 1), frame.clone()));
        if self.sent.len() == 8 {
            self.sent.remove(0);
        }
        self.sent.push(frame);
        // As many in a batch as there happen to be until something else happens.
        if self.batch.len() >= 5 {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let frames = std::mem::take(&mut self.batch);
        self.stand.send(frames);
    }
}
