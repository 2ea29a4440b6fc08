//! Records of connections for a flow collector.

use std::time::Duration;

use weir_engine::packet::build;
use weir_engine::packet::tcp::flags::{ACK, FIN, RST, SYN};
use weir_engine::{FlowEnd, FlowRecord, Instant, PortIndex};

use crate::bridge::{Bridge, LAN, PASSES, WAN};

type Host = ([u8; 4], u16);

const CLIENT: Host = ([192, 0, 2, 1], 40_000);
const SERVER: Host = ([198, 51, 100, 2], 53);

const RULES: &str = "set timeout { udp.first 5, udp.single 5, udp.multiple 5, tcp.first 10, tcp.closed 10 }\nblock\n\
                     pass in on lan proto { tcp udp } keep state (pflow)\n\
                     pass in on wan proto { tcp udp }\npass out\n";

fn taken(bridge: &mut Bridge) -> Vec<FlowRecord> {
    let mut records = Vec::new();
    bridge.engines[0].take_flows(|record| records.push(record));
    records
}

fn udp(bridge: &mut Bridge, port: PortIndex, from: Host, to: Host, payload: usize) {
    let frame = build::udp(from, to).payload(&vec![7; payload]).frame();
    assert_eq!(bridge.send(port, &frame), PASSES);
}

#[test]
fn a_connection_is_told_when_it_ends_with_both_directions() {
    let mut bridge = Bridge::new(RULES);
    let begun = bridge.now;
    udp(&mut bridge, LAN, CLIENT, SERVER, 10);
    bridge.wait(Duration::from_secs(2));
    udp(&mut bridge, WAN, SERVER, CLIENT, 100);
    udp(&mut bridge, WAN, SERVER, CLIENT, 100);
    let last = bridge.now;
    // Another that no rule with pflow began.
    udp(&mut bridge, WAN, SERVER, (CLIENT.0, 99), 1);
    assert!(taken(&mut bridge).is_empty(), "nothing is over");
    bridge.wait(Duration::from_secs(10));
    let [record] = taken(&mut bridge).try_into().expect("one record");
    let state = &record.state;
    assert_eq!((state.port, state.protocol), (LAN, 17));
    assert_eq!(state.source.to_ip(state.network).to_string(), "192.0.2.1");
    assert_eq!((state.source_port, state.destination_port), (40_000, 53));
    assert_eq!((state.packets, state.bytes), ([1, 2], [38, 256]));
    assert_eq!(record.end, FlowEnd::Idle);
    let near = |at: Instant, to: Instant| at.0.abs_diff(to.0) < 300_000_000;
    assert!(near(record.begun, begun) && near(record.last, last), "{record:?}");
    assert!(taken(&mut bridge).is_empty());
}

#[test]
fn why_a_connection_is_over_is_told() {
    let mut bridge = Bridge::new(RULES);
    let segment = |bridge: &mut Bridge, flags| {
        let seq = u32::from(flags & SYN == 0);
        let frame = build::tcp(CLIENT, SERVER, flags).seq(seq).frame();
        assert_eq!(bridge.send(LAN, &frame), PASSES);
    };
    segment(&mut bridge, SYN);
    segment(&mut bridge, RST);
    bridge.wait(Duration::from_secs(60));
    let ends = |bridge: &mut Bridge| {
        taken(bridge).into_iter().map(|record| record.end).collect::<Vec<_>>()
    };
    assert_eq!(ends(&mut bridge), [FlowEnd::Closed]);
    segment(&mut bridge, SYN);
    let now = bridge.now;
    bridge.engines[0].kill(now, 0, u32::MAX, &|_| true);
    assert_eq!(ends(&mut bridge), [FlowEnd::Killed]);
    segment(&mut bridge, SYN);
    segment(&mut bridge, ACK | FIN);
    // The rule is gone; what it has begun is told all the same.
    bridge.load("block\n");
    bridge.wait(Duration::from_secs(1_000));
    assert_eq!(ends(&mut bridge).len(), 1);
}

#[test]
fn records_that_nobody_takes_are_lost_and_counted() {
    let mut bridge = Bridge::new(RULES);
    for n in 0..4_500_u16 {
        let client = ([10, 0, (n >> 8) as u8, n as u8], 1024);
        udp(&mut bridge, LAN, client, SERVER, 0);
    }
    bridge.wait(Duration::from_secs(20));
    assert_eq!(taken(&mut bridge).len(), 4096);
    assert_eq!(bridge.engines[0].flows_lost(), 404);
}
