//! Random traffic between few hosts, so that states are made, met, broken and reused all the time,
//! and a share of it damaged: the engine judges every frame, keeps count and keeps its bounds, and a
//! batch means the same as its frames one by one.

use std::time::Duration;

use weir_engine::frame::Owned;
use weir_engine::packet::{build, icmp};
use weir_engine::{Engine, PortIndex, Verdict};

use crate::bridge::Bridge;
use crate::random::Random;

impl Random {
    /// A frame and the port it arrives on.
    fn frame(&mut self) -> (PortIndex, Vec<u8>) {
        let port = PortIndex(self.below(2) as u8);
        let host = |this: &mut Self, side: u8| {
            ([10, side, 0, this.below(4) as u8 + 1], 1000 + this.below(4) as u16)
        };
        let (from, to) = (host(self, port.0), host(self, 1 - port.0));
        let seq = 1000 + self.below(5) as u32;
        let ack = 1000 + self.below(5) as u32;
        let flags = self.one_of(&[0x02, 0x12, 0x10, 0x10, 0x10, 0x18, 0x11, 0x04, 0x14]);
        let tcp = build::tcp(from, to, flags).seq(seq).ack(ack);
        let built = match self.below(8) {
            0..=3 => tcp.payload(&[7; 3][..self.below(4)]),
            4 => build::udp(from, to).payload(b"?"),
            5 => build::echo(from.0, to.0, self.below(3) as u16, 1),
            6 => build::echo_reply(from.0, to.0, self.below(3) as u16, 1),
            _ => build::icmp(from.0, to.0, icmp::v4::UNREACHABLE, 1)
                .quote(&build::tcp(to, from, 0x10).seq(ack).frame()),
        };
        let built = if self.below(5) == 0 { built.vlan(self.below(3) as u16) } else { built };
        let mut frame = built.frame();
        if self.below(4) == 0 {
            let at = self.below(frame.len());
            frame[at] ^= 1 << self.below(8);
        }
        if self.below(20) == 0 {
            frame.truncate(self.below(frame.len()));
        }
        (port, frame)
    }
}

const RULES: &str = "set limit states 40
set timeout { tcp.first 2, tcp.opening 2, tcp.closed 1, udp.first 1, udp.single 1, icmp.first 1 }
block return log
pass in on wan proto tcp to port 1001:1002
pass out on lan proto tcp to port 1001:1002 label web
pass on lan proto { udp icmp }
pass on wan proto { udp icmp }
block in on wan proto udp to port 1003
pass in on lan proto tcp to port 1000 flags any
pass out on wan proto tcp to port 1000 flags any
";

#[test]
fn every_frame_is_judged_counted_and_bounded() {
    const FRAMES: u64 = 300_000;
    let mut random = Random(1);
    let mut bridge = Bridge::with_workers(RULES, 2);
    let (mut forwarded, mut dropped, mut held) = (0, 0, 0);
    for i in 0..FRAMES {
        let (port, frame) = random.frame();
        match bridge.judge(port, &frame) {
            Verdict::Forward(out) => {
                assert_ne!(out, port);
                assert_eq!(bridge.frame, frame, "what passes is not changed");
                forwarded += 1;
            }
            Verdict::Drop(_) | Verdict::Reflect(_) => dropped += 1,
            Verdict::Handover(_) => unreachable!(),
            Verdict::Answer => unreachable!("no rule says so"),
            Verdict::Hold(_) => held += 1,
        }
        assert!(bridge.shared.states() <= 40);
        if i % 64 == 0 {
            bridge.wait(Duration::from_millis(100));
        }
        if i % 50_000 == 0 {
            bridge.load(RULES);
        }
        bridge.log.clear();
    }
    let counters = bridge.counters();
    assert_eq!(counters.judged - counters.handed_over, FRAMES);
    let given_up = bridge.given_up.len() as u64;
    assert_eq!(counters.reasons.iter().sum::<u64>(), dropped + given_up);
    assert_eq!(forwarded + dropped + held, FRAMES);
    assert!(forwarded > FRAMES / 10 && dropped > FRAMES / 10, "{forwarded} {dropped}");
    let passed: u64 = counters
        .ports
        .iter()
        .map(|port| port.traffic.iter().map(|family| family[1][0].packets).sum::<u64>())
        .sum();
    assert_eq!(passed, forwarded, "what passes leaves by one port");
    assert_eq!(counters.inserts - counters.removals, u64::from(bridge.shared.states()));
    assert_eq!(bridge.states().len(), bridge.shared.states() as usize);
    let refer: u32 =
        bridge.engines.iter_mut().flat_map(Engine::rule_counters).map(|r| r.states).sum();
    assert!(refer >= bridge.shared.states(), "each state is counted by a rule");
    // Nothing is left once everything has timed out.
    bridge.wait(Duration::from_secs(90_000));
    assert_eq!(bridge.shared.states(), 0);
    assert!(bridge.engines.iter_mut().flat_map(Engine::rule_counters).all(|rule| rule.states == 0));
}

#[test]
fn a_batch_means_the_same_as_its_frames_one_by_one() {
    let mut random = Random(2);
    // How many states there are is asked once a batch.
    let rules = format!("set timeout {{ adaptive.start 0, adaptive.end 0 }}\n{RULES}");
    let (mut together, mut apart) = (Bridge::new(&rules), Bridge::new(&rules));
    for _ in 0..2_000 {
        let batch: Vec<_> =
            (0..=random.below(Engine::BATCH)).map(|_| random.frame()).take(Engine::BATCH).collect();
        let mut frames = Owned::new();
        for (port, frame) in &batch {
            frames.push(*port, frame);
        }
        let mut verdicts = Vec::new();
        together.engines[0].judge(together.now, &mut frames, &mut verdicts, &mut together.log);
        for (i, (port, frame)) in batch.iter().enumerate() {
            let mut single = Owned::new();
            single.push(*port, frame);
            let mut verdict = Vec::new();
            apart.engines[0].judge(apart.now, &mut single, &mut verdict, &mut apart.log);
            assert_eq!(verdict, verdicts[i..=i]);
            assert_eq!(single.bytes(0), frames.bytes(i));
        }
        assert_eq!(together.listing(), apart.listing());
        let pause = Duration::from_millis(random.below(300) as u64);
        together.wait(pause);
        apart.wait(pause);
    }
    assert_eq!(together.counters(), apart.counters());
    assert!(together.counters().inserts > 1_000);
}
