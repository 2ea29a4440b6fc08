//! `synproxy state` and SYN cookies: what the client sees, what the server sees, and what a stranger
//! can do.

mod attacks;
mod handshake;
mod limits;
mod servers;

use std::net::SocketAddr;

use weir_engine::frame::Owned;
use weir_engine::packet::tcp::TcpOption;
use weir_engine::packet::tcp::flags::{ACK, CWR, ECE, RST, SYN};
use weir_engine::packet::{Packet, Transport, build, checksum};
use weir_engine::{Frames, PortIndex, Reason, Verdict};

use crate::bridge::{Bridge, LAN, WAN};

const RULES: &str = "block log\npass out\npass in on wan proto tcp to any port 80 synproxy state\n";
/// The sequence number of a SYN that only asks.
const ASKED: u32 = C ^ 1 << 31;
const REFUSED: Option<Reason> = Some(Reason::SynproxyWait);

/// Sequence numbers of the SYN of the client and of the server.
const C: u32 = 1000;
const S: u32 = 5000;

/// Everything that hosts offer, with this timestamp: maximum segment size 1460, window scale 7.
fn full(stamp: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![2, 4, 5, 0xb4, 4, 2, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options.extend([1, 3, 3, 7]);
    options
}

fn stamps(stamp: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(stamp.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options
}

const MSS_ONLY: [u8; 4] = [2, 4, 5, 0xb4];

/// A segment as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    from: SocketAddr,
    /// All but those of explicit congestion notification.
    flags: u8,
    ecn: u8,
    seq: u32,
    ack: u32,
    window: u16,
    payload: u32,
    mss: Option<u16>,
    scale: Option<u8>,
    sack: bool,
    stamps: Option<(u32, u32)>,
}

fn seen(port: PortIndex, bytes: &[u8]) -> Seen {
    let mut frames = Owned::new();
    frames.push(port, bytes);
    let packet = Packet::parse(frames.head(0), &frames.meta(0)).expect("a packet");
    assert!(checksum::verify(&packet, &frames, 0), "{packet:?}");
    let Transport::Tcp(header) = packet.transport else { panic!("{packet:?}") };
    let mut seen = Seen {
        from: (packet.source.to_ip(packet.network), packet.source_port).into(),
        flags: header.flags & !(ECE | CWR),
        ecn: header.flags & (ECE | CWR),
        seq: header.seq,
        ack: header.ack,
        window: header.window,
        payload: packet.payload,
        mss: None,
        scale: None,
        sack: false,
        stamps: None,
    };
    for option in packet.tcp_options(frames.head(0)) {
        match option {
            TcpOption::MaximumSegmentSize(mss) => seen.mss = Some(mss),
            TcpOption::WindowScale(scale) => seen.scale = Some(scale),
            TcpOption::SackPermitted => seen.sack = true,
            TcpOption::Timestamps { value, echo } => seen.stamps = Some((value, echo)),
            _ => {}
        }
    }
    seen
}

/// A client and its server, and weir between them.
struct Scene {
    bridge: Bridge,
    client: SocketAddr,
    server: SocketAddr,
    /// The port that the client is on.
    near: PortIndex,
}

impl Scene {
    fn new(rules: &str) -> Self {
        Self::with_workers(rules, 1)
    }

    fn with_workers(rules: &str, workers: u16) -> Self {
        Self {
            bridge: Bridge::with_workers(rules, workers),
            client: ([192, 0, 2, 1], 40_000).into(),
            server: ([198, 51, 100, 2], 80).into(),
            near: WAN,
        }
    }

    const fn far(&self) -> PortIndex {
        PortIndex(1 - self.near.0)
    }

    /// A segment of the client.
    fn up(&self, flags: u8, seq: u32, ack: u32) -> build::Build {
        build::tcp(self.client, self.server, flags).seq(seq).ack(ack)
    }

    /// A segment of the server.
    fn down(&self, flags: u8, seq: u32, ack: u32) -> build::Build {
        build::tcp(self.server, self.client, flags)
            .macs(build::DESTINATION_MAC, build::SOURCE_MAC)
            .seq(seq)
            .ack(ack)
    }

    /// What becomes of a frame that weir lets go on or answers, as its receiver sees it.
    fn judge(&mut self, port: PortIndex, frame: &[u8]) -> (Verdict, Seen) {
        let verdict = self.bridge.judge(port, frame);
        let frame = &self.bridge.frame;
        (verdict, seen(port, frame))
    }

    /// A frame that weir answers: the answer.
    fn answer(&mut self, port: PortIndex, frame: &[u8]) -> Seen {
        let (verdict, seen) = self.judge(port, frame);
        assert_eq!(verdict, Verdict::Answer, "{seen:?}");
        assert!(self.bridge.frame.len() <= frame.len() + 20, "no amplifier");
        seen
    }

    /// A frame that goes on: what its receiver sees.
    fn pass(&mut self, port: PortIndex, frame: &[u8]) -> Seen {
        let (verdict, seen) = self.judge(port, frame);
        assert_eq!(verdict, Verdict::Forward(PortIndex(1 - port.0)), "{seen:?}");
        seen
    }

    /// Why a frame is dropped, if it does not go on.
    fn drop(&mut self, port: PortIndex, frame: &[u8]) -> Option<Reason> {
        match self.bridge.judge(port, frame) {
            Verdict::Forward(_) => None,
            Verdict::Drop(reason) => Some(reason),
            other => panic!("{other:?}: {:?}", seen(port, &self.bridge.frame)),
        }
    }

    /// What weir has sent on its own, and where it leaves.
    fn crafted(&mut self) -> Vec<(PortIndex, Seen)> {
        let made = std::mem::take(&mut self.bridge.crafted);
        made.into_iter().map(|(port, bytes)| (port, seen(port, &bytes))).collect()
    }

    /// The client's SYN with these options: the answer.
    fn syn(&mut self, options: &[u8]) -> Seen {
        let syn = self.up(SYN, C, 0).tcp_options(options).frame();
        self.answer(self.near, &syn)
    }

    /// The SYN-ACK that a client with everything gets on this port.
    fn syn_of(&mut self, port: u16) -> Seen {
        self.client.set_port(port);
        self.syn(&full(70, 0))
    }

    /// The ACK to a SYN-ACK, with a window of 512.
    fn ack_of(&self, answer: &Seen, stamp: u32) -> build::Build {
        let ack = self.up(ACK, C + 1, answer.seq.wrapping_add(1)).window(512);
        match answer.stamps {
            Some((value, _)) => ack.tcp_options(&stamps(stamp, value)),
            None => ack,
        }
    }

    /// Handshake of a client with everything that it knows; the server's SYN in the end.
    fn prove(&mut self) -> (Seen, Seen) {
        let answer = self.syn(&full(70, 0));
        let ack = self.ack_of(&answer, 71).frame();
        let asked = self.pass(self.near, &ack);
        (answer, asked)
    }

    /// Teaches weir what the server knows, by a connection that ends.
    fn teach(&mut self) {
        self.prove();
        let told = self.down(SYN | ACK, S, ASKED + 1).tcp_options(&full(900, 71)).frame();
        let reset = self.answer(self.far(), &told);
        assert_eq!((reset.flags, reset.seq), (RST, ASKED + 1));
        let rst = self.up(RST, C + 1, 0).frame();
        self.pass(self.near, &rst);
        assert!(self.bridge.states().is_empty());
        self.bridge.crafted.clear();
    }

    /// A connection over a known server: the SYN-ACK and the update that the client sees.
    fn connect(&mut self) -> (Seen, Seen) {
        let (answer, _) = self.prove();
        let told = self.down(SYN | ACK, S, C + 1).tcp_options(&full(900, 71)).frame();
        let update = self.pass(self.far(), &told);
        (answer, update)
    }
}

/// Both families and both sides of the bridge.
fn scenes(rules: &str) -> Vec<Scene> {
    let v6 = |last, port| SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, last], port));
    let both = rules.replace("in on wan ", "");
    [(WAN, false, 1), (LAN, false, 2), (WAN, true, 3), (LAN, true, 1)]
        .map(|(near, ipv6, workers)| {
            let mut scene = Scene::with_workers(&both, workers);
            scene.near = near;
            if ipv6 {
                (scene.client, scene.server) = (v6(1, 40_000), v6(2, 80));
            }
            scene
        })
        .into()
}

/// Why a segment with these flags that comes from this port is dropped while the server is asked.
pub(crate) fn dropped_while_asking(port: PortIndex, flags: u8) -> Option<Reason> {
    let mut scene = Scene::new(RULES);
    let (answer, _) = scene.prove();
    let segment = if port == WAN {
        scene.up(flags, C + 1, answer.seq.wrapping_add(1))
    } else {
        scene.down(flags, S, 0)
    };
    scene.drop(port, &segment.frame())
}
