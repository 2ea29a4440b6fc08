//! `weir replay`: capture files in, verdicts, log, statistics and capture files out.

use std::io::BufReader;

use weir_engine::packet::build::{tcp, udp};
use weir_engine::packet::tcp::flags;
use weir_hw::pcap::ng::{Direction, Interface, Note};
use weir_hw::pcap::{AnyReader, Record, file, ng};

use crate::weir::Folder;

const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 1], 40_000);
const SERVER: ([u8; 4], u16) = ([198, 51, 100, 2], 80);
/// When the captures begin: 2023-11-14 22:13:20 UTC.
const BEGIN: u64 = 1_700_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

const RULES: &str = "block in log\npass in on wan proto tcp to port 80 label \"web\"\n";

/// (nanoseconds after the beginning, frame)
type Frames = Vec<(u64, Vec<u8>)>;

/// A capture by each port of a connection that somebody else would like to have, too.
fn connection() -> [Frames; 2] {
    let (ack, syn) = (flags::ACK, flags::SYN);
    let lan = vec![
        (1_000_000, tcp(SERVER, CLIENT, syn | ack).seq(5000).ack(1001).frame()),
        (4_000_000, tcp(SERVER, CLIENT, ack).seq(5001).ack(1004).payload(b"page").frame()),
        (SECOND, udp(SERVER, ([192, 0, 2, 53], 53)).payload(b"?").frame()),
    ];
    let wan = vec![
        (0, tcp(CLIENT, SERVER, syn).seq(1000).frame()),
        (2_000_000, tcp(CLIENT, SERVER, ack).seq(1001).ack(5001).frame()),
        (3_000_000, tcp(CLIENT, SERVER, ack).seq(1001).ack(5001).payload(b"get").frame()),
        (2 * SECOND, tcp(CLIENT, ([198, 51, 100, 2], 22), syn).seq(7).frame()),
    ];
    [lan, wan]
}

fn pcap(frames: &Frames) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = file::Writer::new(&mut bytes).unwrap();
    for (time, frame) in frames {
        writer.write(BEGIN + time, std::iter::once(&frame[..])).unwrap();
    }
    bytes
}

fn pcapng(names: [&str; 2], frames: &[(u64, u32, Option<Direction>, Vec<u8>)]) -> Vec<u8> {
    let interfaces = names.map(|name| Interface { name: name.into(), description: String::new() });
    let mut bytes = Vec::new();
    let mut writer = ng::Writer::new(&mut bytes, "test", &interfaces, 0).unwrap();
    for (time, interface, direction, frame) in frames {
        let length = frame.len() as u32;
        let record = Record { time: BEGIN + time, length, captured: length };
        let note = Note { direction: *direction, comment: "" };
        writer.write(*interface, record, std::iter::once(&frame[..]), note).unwrap();
    }
    bytes
}

/// With rules and the two captures.
fn folder(rules: &str, [lan, wan]: &[Frames; 2]) -> Folder {
    let folder = Folder::with(&[("weir.conf", rules), ("weir.toml", "")]);
    std::fs::write(folder.path().join("lan.pcap"), pcap(lan)).unwrap();
    std::fs::write(folder.path().join("wan.pcap"), pcap(wan)).unwrap();
    folder
}

fn read(folder: &Folder, name: &str) -> Vec<(u64, String, Vec<u8>)> {
    let file = std::fs::File::open(folder.path().join(name)).unwrap();
    let mut reader = AnyReader::new(BufReader::new(file)).unwrap();
    let (mut all, mut frame) = (Vec::new(), Vec::new());
    while let Some(seen) = reader.next(&mut frame).unwrap() {
        let (time, interface) = (seen.record.time, seen.interface.to_owned());
        all.push((time, interface, frame.clone()));
    }
    all
}

const REPLAY: &str = "replay --config weir.toml --rules weir.conf";
const FILES: &str = "--lan lan.pcap --wan wan.pcap";

#[test]
fn every_packet_is_told_with_verdict_reason_and_rule() {
    let folder = folder(RULES, &connection());
    let said = folder.weir(&format!("{REPLAY} {FILES} -v"));
    assert_eq!((said.errors.as_str(), said.status), ("", Some(0)));
    let expected = include_str!("replayed.txt");
    assert_eq!(said.out, expected);
}

#[test]
fn what_leaves_is_written_with_the_time_of_its_moment() {
    let captures = connection();
    let folder = folder(RULES, &captures);
    let files = "--out-lan out-lan.pcap --out-wan out-wan.pcap --out both.pcapng";
    assert_eq!(folder.weir(&format!("{REPLAY} {FILES} {files}")).status, Some(0));
    let [lan, wan] = &captures;
    let expected = |frames: &[(u64, Vec<u8>)], interface: &str| -> Vec<_> {
        frames
            .iter()
            .map(|(time, frame)| (BEGIN + time, interface.to_owned(), frame.clone()))
            .collect()
    };
    assert_eq!(read(&folder, "out-wan.pcap"), expected(&lan[..2], ""));
    assert_eq!(read(&folder, "out-lan.pcap"), expected(&wan[..3], ""));
    let mut both = [expected(&lan[..2], "wan"), expected(&wan[..3], "lan")].concat();
    both.sort_by_key(|(time, ..)| *time);
    assert_eq!(read(&folder, "both.pcapng"), both);
}

#[test]
fn the_same_input_has_the_same_outcome() {
    let rules = "block in log\npass in log on wan proto tcp to port 80 synproxy state\n\
                 pass in on lan probability 50%\n";
    let [mut lan, wan] = connection();
    for port in 1..200 {
        let frame = udp(([198, 51, 100, 3], port), ([192, 0, 2, 53], 53)).frame();
        lan.push((3 * SECOND + u64::from(port) * 1_000_000, frame));
    }
    let folder = folder(rules, &[lan, wan]);
    let run = |more: &str| {
        let said = folder.weir(&format!("{REPLAY} {FILES} -v --out out.pcapng {more}"));
        assert_eq!((said.errors.as_str(), said.status), ("", Some(0)));
        (said.out, std::fs::read(folder.path().join("out.pcapng")).unwrap())
    };
    let first = run("");
    assert!(run("") == first);
    assert!(run("--seed 7") == run("--seed 7"));
    assert!(run("--seed 7").1 != first.1, "the seed decides about cookies and dice");
    assert!(run("--workers 3") == run("--workers 3"));
    let json = run("--json");
    for line in json.0.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[test]
fn any_number_of_workers_comes_to_the_same_verdicts() {
    let folder = folder(RULES, &connection());
    let verdicts = |workers: &str| {
        let said = folder.weir(&format!("{REPLAY} {FILES} -v --workers {workers}"));
        let packets = said.out.lines().filter(|line| line.contains("Z rule "));
        packets.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(verdicts("1").len(), 9);
    assert_eq!(verdicts("1"), verdicts("4"));
}

#[test]
fn one_file_is_split_by_hardware_addresses_or_interfaces() {
    let [lan, wan] = connection();
    let folder = folder(RULES, &[lan.clone(), wan.clone()]);
    let told = |arguments: &str| {
        let said = folder.weir(&format!("{REPLAY} {arguments}"));
        assert_eq!((said.errors.as_str(), said.status), ("", Some(0)));
        said.out
    };
    let wanted = told(FILES);
    let write = |name: &str, bytes: Vec<u8>| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };

    let by_port = |side: &Frames, port: u32, direction: Option<Direction>| -> Vec<_> {
        side.iter().map(|(time, frame)| (*time, port, direction, frame.clone())).collect()
    };
    let mut both = [by_port(&lan, 0, None), by_port(&wan, 1, None)].concat();
    both.sort_by_key(|(time, ..)| *time);
    write("roles.pcapng", pcapng(["lan", "wan"], &both));
    assert_eq!(told("--read roles.pcapng"), wanted);
    write("names.pcapng", pcapng(["eth1", "eth0"], &both));
    assert_eq!(told("-r names.pcapng --lan-name eth1 --wan-name eth0"), wanted);
    let said = folder.weir(&format!("{REPLAY} -r names.pcapng"));
    assert_eq!(said.status, Some(2));
    assert!(said.errors.contains("\"eth0\" of the file's interfaces is neither port"), "{said:?}");

    // What was sent again at the other port is left out.
    let mut seen_twice = both;
    for (time, frame) in &wan[..3] {
        seen_twice.push((*time, 0, Some(Direction::Outbound), frame.clone()));
    }
    seen_twice.sort_by_key(|(time, ..)| *time);
    write("twice.pcapng", pcapng(["lan", "wan"], &seen_twice));
    let note = "3 frames were sent and did not arrive: left out\n";
    assert_eq!(told("-r twice.pcapng").replace(note, ""), wanted);

    let mut merged = [lan, wan].concat();
    merged.sort_by_key(|(time, _)| *time);
    for (time, frame) in &mut merged {
        // The server's card; the capture of a real one has no two that are alike.
        if *time == 1_000_000 || *time == 4_000_000 || *time == SECOND {
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        }
    }
    write("one.pcap", pcap(&merged));
    assert_eq!(told("-r one.pcap --lan-mac 02:00:00:00:00:9"), wanted);
    let said = folder.weir(&format!("{REPLAY} -r one.pcap"));
    assert_eq!(said.status, Some(2));
    assert!(said.errors.starts_with("one.pcap: a classic pcap file has no interfaces"), "{said:?}");
}

#[test]
fn timers_run_between_packets_as_they_would() {
    let rules = "set timeout { udp.first 30 }\npass in on lan\n";
    let ask = |at: u64| (at * SECOND, udp(SERVER, CLIENT).frame());
    let folder = folder(rules, &[vec![ask(0), ask(29), ask(60), ask(100_000)], Vec::new()]);
    let said = folder.weir(&format!("{REPLAY} {FILES}"));
    assert!(said.out.contains("states: 3 made, 2 ended, 1 there"), "{}", said.out);
    let said = folder.weir(&format!("{REPLAY} {FILES} --linger 31"));
    assert!(said.out.contains("states: 3 made, 3 ended, 0 there"), "{}", said.out);
    let said = folder.weir(&format!("{REPLAY} {FILES} --count 2"));
    assert!(said.out.contains("states: 1 made, 0 ended, 1 there"), "{}", said.out);
}

#[test]
fn fragments_are_told_when_their_datagram_is_decided() {
    let whole = udp(CLIENT, SERVER).payload(&[7; 2000]).frame();
    let fragments = |id: u16| {
        let data = &whole[34..];
        let cut = |at: usize, end: usize, more: u16| {
            let mut frame = whole[..34].to_vec();
            frame.extend(&data[at..end]);
            frame[16..18].copy_from_slice(&((20 + end - at) as u16).to_be_bytes());
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            frame[20..22].copy_from_slice(&(more << 13 | (at / 8) as u16).to_be_bytes());
            frame[24..26].fill(0);
            let sum: u32 = frame[14..34]
                .chunks(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .sum();
            let sum = (sum & 0xffff) + (sum >> 16);
            frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
            frame
        };
        [cut(0, 1480, 1), cut(1480, data.len(), 0)]
    };
    let [first, last] = fragments(1);
    let [lonely, _] = fragments(2);
    let wan = vec![(0, first), (1_000_000, last), (2_000_000, lonely)];
    let folder = folder("pass in on wan\n", &[Vec::new(), wan]);
    for workers in [1, 3] {
        let run = format!("{REPLAY} {FILES} -v --linger 61 --workers {workers} --out out.pcapng");
        let said = folder.weir(&run);
        assert!(said.out.contains("verdicts: block 1, pass 2\n"), "{}", said.out);
        assert!(said.out.contains("dropped: 1 frag-timeout"), "{}", said.out);
        let held = said.out.lines().filter(|line| line.contains(": hold in on wan:"));
        assert_eq!(held.count(), 3, "{}", said.out);
        let out = read(&folder, "out.pcapng");
        assert_eq!(out.len(), 2);
        assert!(out.iter().all(|(time, ..)| *time == BEGIN + 1_000_000));
    }
}

#[test]
fn overload_puts_sources_into_tables_before_the_next_packet() {
    let rules = "table <bad> persist\nblock in quick from <bad>\n\
                 pass in on wan proto tcp to port 80 \
                 keep state (max-src-conn 1, overload <bad> flush global)\n";
    let [mut lan, mut wan]: [Frames; 2] = Default::default();
    for port in [1, 2, 3] {
        let (begin, client) = (u64::from(port) * SECOND, (CLIENT.0, port));
        let (ack, syn) = (flags::ACK, flags::SYN);
        wan.push((begin, tcp(client, SERVER, syn).seq(7).frame()));
        if port < 3 {
            lan.push((begin + 1000, tcp(SERVER, client, syn | ack).seq(9).ack(8).frame()));
            wan.push((begin + 2000, tcp(client, SERVER, ack).seq(8).ack(10).frame()));
        }
    }
    let folder = folder(rules, &[lan, wan]);
    let said = folder.weir(&format!("{REPLAY} {FILES} -v"));
    let line = |number: u8| {
        let mark = format!("#{number} ");
        said.out.lines().find(|line| line.starts_with(&mark)).unwrap_or_else(|| panic!("{said:?}"))
    };
    assert!(line(3).contains("rule 1: pass in on wan"), "{}", line(3));
    assert!(line(6).contains("rule 1/max-src-conn: block in on wan"), "{}", line(6));
    assert!(line(7).contains("rule 0/block-rule: block in on wan"), "{}", line(7));
    assert!(said.errors.contains("192.0.2.1 exceeds"), "{}", said.errors);
    assert!(said.out.contains("2 made, 2 ended, 0 there"), "{}", said.out);
}

#[test]
fn cut_packets_are_filled_up_and_told() {
    let page = tcp(SERVER, CLIENT, flags::ACK).seq(5001).ack(1001).payload(&[9; 1000]).frame();
    let [mut lan, mut wan] = connection();
    lan.truncate(1);
    wan.truncate(2);
    let folder = folder(RULES, &[lan.clone(), wan]);
    let mut bytes = pcap(&lan);
    let mut cut = Vec::new();
    file::Writer::new(&mut cut).unwrap().write(BEGIN + 5_000_000, [&page[..]].into_iter()).unwrap();
    // Its header, behind the file's, says that 100 bytes of it are there.
    cut[24 + 8] = 100;
    cut[24 + 9] = 0;
    bytes.extend(&cut[24..24 + 16 + 100]);
    std::fs::write(folder.path().join("lan.pcap"), bytes).unwrap();
    let said = folder.weir(&format!("{REPLAY} {FILES} --out-wan out.pcap"));
    assert!(said.out.contains("verdicts: pass 4\n"), "{}", said.out);
    assert!(said.out.contains("1 packets are not whole in the file"), "{}", said.out);
    let (_, _, last) = read(&folder, "out.pcap").pop().unwrap();
    assert_eq!((last.len(), &last[..100]), (page.len(), &page[..100]));
    assert!(last[100..].iter().all(|&byte| byte == 0));
}

#[test]
fn broken_files_are_named_with_their_place_and_what_was_before_is_told() {
    let folder = folder(RULES, &connection());
    let path = folder.path().join("wan.pcap");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 1);
    std::fs::write(&path, &bytes).unwrap();
    let said = folder.weir(&format!("{REPLAY} {FILES}"));
    assert_eq!(said.status, Some(2));
    let at = bytes.len() - 53;
    let wanted = format!("wan.pcap: offset {at}: the file ends in the middle of it\n");
    assert_eq!(said.errors, wanted);
    assert!(said.out.contains("replayed: "), "{}", said.out);

    std::fs::write(&path, "<html>no capture at all</html>").unwrap();
    let said = folder.weir(&format!("{REPLAY} {FILES}"));
    assert_eq!((said.out.as_str(), said.status), ("", Some(2)));
    let wanted = "wan.pcap: offset 0: 0x6d74683c is not the magic number of pcap\n";
    assert_eq!(said.errors, wanted);

    for (arguments, error) in [
        ("--lan nothing.pcap", "nothing.pcap: No such file or directory (os error 2)\n"),
        ("--lan lan.pcap --out-wan lan.pcap", "lan.pcap: is read, and cannot be written\n"),
        ("--lan lan.pcap --out /nonexistent/out", "/nonexistent/out: No such file"),
    ] {
        let said = folder.weir(&format!("{REPLAY} {arguments}"));
        assert_eq!(said.status, Some(2));
        assert!(said.errors.starts_with(error), "{}", said.errors);
    }
    let said = folder.weir("replay --rules weir.conf");
    assert_eq!(said.status, Some(2), "no input");
    std::fs::write(folder.path().join("weir.conf"), "pas\n").unwrap();
    let said = folder.weir(&format!("{REPLAY} --lan lan.pcap"));
    assert_eq!((said.out.as_str(), said.status), ("", Some(2)));
    assert!(said.errors.starts_with("weir.conf:1:1: "), "{}", said.errors);
}

#[test]
fn statistics_are_json_too() {
    let folder = folder(RULES, &connection());
    let said = folder.weir(&format!("{REPLAY} {FILES} --json -v"));
    let lines: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7 + 2 + 1);
    assert_eq!(lines[0]["packet"], 1);
    assert_eq!(lines[0]["verdict"], "pass");
    assert_eq!(lines[0]["rules"], serde_json::json!(["1", null]));
    assert_eq!(
        (&lines[5]["verdict"], &lines[5]["reason"]),
        (&"block".into(), &"block-rule".into())
    );
    let log = lines[6]["log"].as_str().unwrap();
    assert!(log.starts_with("rule 0/block-rule: block in on lan: IP "), "{log}");
    let end = &lines[9];
    assert_eq!(end["packets"]["verdicts"], serde_json::json!({"block": 2, "pass": 5}));
    assert_eq!(end["packets"]["arrived"], serde_json::json!({"lan": 3, "wan": 4}));
    assert_eq!((&end["info"]["states"], &end["info"]["uptime"]), (&1.into(), &2.into()));
    assert_eq!(end["rules"]["rules"][1]["packets"], serde_json::json!([3, 2]));
    assert_eq!(end["interfaces"][1]["device"]["received"], 4);
}
