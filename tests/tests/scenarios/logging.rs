//! What rules log, at the log servers that people have: over every transport, with everything of P6,
//! and over the death of a server.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use weir_tests::lab::{
    Family, Io, Lab, LogServer, LogServerKind, Output, Process, Received, SynFlood, WebServer,
    Weir, WeirOptions, eventually, fetched,
};

use crate::{connect, curl};

/// Every way that a message takes.
const WAYS: [&str; 4] = ["unix", "udp", "tcp", "tls"];

const RULES: &str = "\
block in log on lan label \"no ]way\"
anchor \"web\" in on lan {
    pass in log (to pflog1) on lan proto udp to port 53 label dns
}
pass out on wan
pass in log on lan proto icmp
";

fn weir(lab: &Lab, log: &str) -> Weir {
    let mut options = WeirOptions::new(Io::Packet, RULES);
    log.clone_into(&mut options.settings);
    Weir::start(lab, &options)
}

/// A datagram from the client, with which port is said what number it is.
fn send(lab: &Lab, ports: impl IntoIterator<Item = u16> + Send) {
    let to = lab.server.address(Family::Inet);
    lab.client.namespace.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for port in ports {
            socket.send_to(b"x", SocketAddr::new(to, port)).expect("there is a route");
            // Neither the end of the worker's ring of records nor the rate of lines is what is tested.
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

/// A value of the structured data.
fn field<'r>(received: &'r Received, name: &str) -> Option<&'r str> {
    let (_, rest) = received.data.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// Destination ports of logged packets that came one way.
fn ports(server: &LogServer<'_>, way: &str) -> Vec<u16> {
    let came = server.received().into_iter().filter(|message| message.by == way);
    came.filter_map(|message| field(&message, "dport")?.parse().ok()).collect()
}

fn all_is_told(kind: LogServerKind) {
    let lab = Lab::new();
    let mut server = LogServer::new(&lab, kind);
    server.start();
    let settings = server.settings("facility = \"local3\"\nhostname = \"fw1\"\n");
    let weir = weir(&lab, &format!("[log]\npackets = \"none\"\n{settings}"));
    let to = lab.server.address(Family::Inet);
    eventually("a SYN is told of", || {
        let opened = connect(&lab.client, to, 22, Duration::from_millis(200));
        assert!(opened.is_err(), "it is blocked");
        ports(&server, "unix").contains(&22)
    });
    send(&lab, [53]);
    for way in WAYS {
        let message = |wanted: &dyn Fn(&Received) -> bool| {
            let mut found = None;
            eventually("a message", || {
                let mut came = server.received().into_iter();
                found = came.find(|message| message.by == way && wanted(message));
                found.is_some()
            });
            found.expect("it has come")
        };
        let syn = message(&|message| field(message, "dport") == Some("22"));
        assert_eq!(syn.header[0], "fw1", "{way}");
        assert_eq!((&*syn.header[1], &*syn.header[3]), ("weir", "packet"), "{way}");
        assert!(syn.header[2].parse::<u32>().is_ok(), "{way}: {syn:?}");
        assert_eq!(syn.priority, ("local3".into(), "notice".into()), "{way}");
        let address = lab.client.address(Family::Inet).to_string();
        for (name, value) in [
            ("rule", "0"),
            ("label", "no \\]way"),
            ("reason", "block-rule"),
            ("action", "block"),
            ("dir", "in"),
            ("on", "lan"),
            ("proto", "tcp"),
            ("src", &*address),
            ("flags", "S"),
            ("ack", "0"),
            ("ttl", "64"),
            ("len", "60"),
        ] {
            let found = field(&syn, name);
            let unescaped = value.replace("\\]", "]");
            assert!(found == Some(value) || found == Some(&*unescaped), "{way} {name}: {syn:?}");
        }
        for name in ["sport", "dst", "seq", "win"] {
            assert!(field(&syn, name).is_some(), "{way} {name}: {syn:?}");
        }
        assert!(
            syn.text.starts_with("rule 0 \"no ]way\"/block-rule: block in on lan: IP "),
            "{syn:?}"
        );
        assert!(syn.text.contains(".22: Flags [S], seq "), "{syn:?}");
        let dns = message(&|message| field(message, "dport") == Some("53"));
        assert_eq!(field(&dns, "rule"), Some("1.web.0"), "{dns:?}");
        assert_eq!(field(&dns, "log"), Some("pflog1"), "{dns:?}");
        assert_eq!(&*dns.priority.1, "info", "{dns:?}");
        for name in ["start", "rules-loaded"] {
            let event = message(&|message| message.header[3] == name);
            // syslog-ng adds a number of its own.
            assert!(field(&event, "rule").is_none(), "{way}: {event:?}");
        }
    }
    drop(weir);
}

#[test]
fn rsyslog_understands_every_message_by_every_way() {
    all_is_told(LogServerKind::Rsyslog);
}

#[test]
fn syslog_ng_understands_every_message_by_every_way() {
    all_is_told(LogServerKind::SyslogNg);
}

/// What was logged while a server was away arrives when it is back; only of what was on its way when it
/// was killed something may be missing. Nobody waits for it.
fn a_killed_server_hears_the_rest(kind: LogServerKind) {
    const FIRST: u16 = 10_000;
    const EACH: u16 = 300;
    let lab = Lab::new();
    let mut server = LogServer::new(&lab, kind);
    server.start();
    let settings = server.settings("");
    let mut weir = weir(&lab, &format!("[log]\npackets = \"none\"\nrate = 0\n{settings}"));
    let came = |server: &LogServer<'_>, way: &str| -> BTreeSet<u16> {
        ports(server, way).into_iter().collect()
    };
    // Datagrams over UDP may be lost anywhere, without a word: of it only the last is asked for, again
    // and again.
    let sure = WAYS.into_iter().filter(|&way| way != "udp");
    send(&lab, FIRST..FIRST + EACH);
    for way in sure.clone() {
        eventually(way, || came(&server, way).len() == usize::from(EACH));
    }
    // Under load until some time after its death, and away for a while.
    let (killed, logged) = (AtomicBool::new(false), AtomicU16::new(FIRST + EACH));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !killed.load(Ordering::Acquire) {
                let next = logged.fetch_add(1, Ordering::AcqRel);
                assert!(next < 60_000, "nothing of it arrives");
                send(&lab, [next]);
            }
        });
        eventually("some of the next", || came(&server, "tcp").contains(&(FIRST + EACH + 50)));
        server.kill();
        eventually("the bridge does not wait for its log", || lab.pings(Family::Inet));
        killed.store(true, Ordering::Release);
    });
    let under_load = logged.into_inner();
    send(&lab, under_load..under_load + EACH);
    weir.wait_log("messages wait");
    server.start();
    send(&lab, under_load + EACH..under_load + 2 * EACH);
    let end = under_load + 2 * EACH - 1;
    for way in sure {
        eventually(way, || came(&server, way).contains(&end));
        let came = came(&server, way);
        let missing: Vec<u16> = (FIRST..=end).filter(|port| !came.contains(port)).collect();
        // From what the server had not written when it was killed to what weir could not send any more;
        // of datagrams there is one more that nobody answers for.
        let on_its_way = FIRST + EACH..under_load + 2;
        assert!(missing.iter().all(|port| on_its_way.contains(port)), "{way}: {missing:?}");
    }
    let mut later = end;
    eventually("udp", || {
        later += 1;
        send(&lab, [later]);
        came(&server, "udp").range(end..).next().is_some()
    });
    assert!(weir.stop(Duration::from_secs(5)).is_some_and(|status| status.success()));
}

#[test]
fn rsyslog_hears_the_rest_when_it_was_killed() {
    a_killed_server_hears_the_rest(LogServerKind::Rsyslog);
}

#[test]
fn syslog_ng_hears_the_rest_when_it_was_killed() {
    a_killed_server_hears_the_rest(LogServerKind::SyslogNg);
}

/// A queue that is full loses, counts, and tells the server.
#[test]
fn a_server_is_told_what_it_has_missed() {
    let lab = Lab::new();
    let mut server = LogServer::new(&lab, LogServerKind::Rsyslog);
    let settings = server.settings("queue = 100\nevents = true\n");
    let weir = weir(&lab, &format!("[log]\npackets = \"none\"\nrate = 0\n{settings}"));
    weir.wait_log("messages wait");
    send(&lab, 10_000..10_700);
    eventually("700 packets are logged", || {
        weir.show(&["-vvsr"]).contains("Packets: 700") || weir.counter("block-rule") >= 700
    });
    server.start();
    for way in WAYS {
        // What was lost and what came are all there was: packets, and what weir has told of itself, for
        // which an eighth of the queue is kept. What UDP loses on its way nobody counts.
        eventually(way, || {
            let came = server.received();
            let named = |name| {
                came.iter().filter(move |message| message.by == way && message.header[3] == name)
            };
            let lost: usize = named("log-lost")
                .filter_map(|message| message.text.split(' ').next()?.parse::<usize>().ok())
                .sum();
            let packets = named("packet").count();
            let is_all = packets >= 60 && (700..740).contains(&(packets + lost));
            lost > 0 && (1..=101).contains(&packets) && (is_all || way == "udp")
        });
    }
}

/// The files in pf's format, as Debian's tcpdump reads them.
#[test]
fn tcpdump_reads_what_pf_would_have_written() {
    let lab = Lab::new();
    let path = lab.folder().join("logs/pflog");
    let settings = format!("[log]\npackets = \"none\"\npflog = \"{}\"\n", path.display());
    let weir = weir(&lab, &settings);
    let to = lab.server.address(Family::Inet);
    let to6 = lab.server.address(Family::Inet6);
    // The first SYN may have to wait for the neighbour's address, longer than anybody waits for it.
    let blocked = |to, port| {
        let opened = connect(&lab.client, to, port, Duration::from_millis(200));
        assert!(opened.is_err(), "it is blocked");
    };
    send(&lab, [53]);
    let read = |name: &str| {
        let mut command = Command::new("tcpdump");
        Output::of(command.args(["-n", "-e", "-r"]).arg(path.with_file_name(name))).stdout
    };
    eventually("all four packets", || {
        blocked(to, 22);
        blocked(to6, 23);
        lab.pings(Family::Inet);
        let text = read("pflog");
        [
            "rule 0/0(match): block in on lan: 192.0.2.1.",
            "192.0.2.2.22: Flags [S]",
            "rule 3/0(match): pass in on lan: 192.0.2.1 > 192.0.2.2: ICMP echo request",
            "rule 0/0(match): block in on lan: 2001:db8::1.",
            "2001:db8::2.23: Flags [S]",
        ]
        .iter()
        .all(|line| text.contains(line))
    });
    let web = "rule 1.web.0/0(match): pass in on lan: 192.0.2.1.";
    eventually("a packet in the other file", || read("pflog1").contains(web));
    assert!(!read("pflog").contains(".53:"), "it has a file of its own");
    // Another one goes on with the file.
    drop(weir);
    let _weir = self::weir(&lab, &settings);
    eventually("one more packet in the same file", || {
        blocked(to, 24);
        let text = read("pflog");
        text.contains("2001:db8::2.23: Flags [S]") && text.contains("192.0.2.2.24: Flags [S]")
    });
}

/// What happens to weir itself, under the names of the manual.
#[test]
fn floods_limits_and_logins_are_told_by_name() {
    const RULES: &str = "\
set limit { states 4000, src-nodes 1 }
set syncookies adaptive (start 2%, end 1%)
set timeout { tcp.first 10, tcp.opening 10 }
pass proto tcp
pass in on lan proto udp to port 53 keep state (source-track rule)
pass out on wan proto udp
";
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, RULES));
    let is_told = |name: &str| {
        let mut command = Command::new(weir_tests::lab::binary());
        command.arg("log").arg("--socket").arg(weir.socket()).args(["name", name]);
        !Output::of(&mut command).expect_success().is_empty()
    };
    let seat = |request: &str| {
        let mut stream = UnixStream::connect(weir.socket()).expect("weir listens");
        let line = format!("{{\"version\":1,\"command\":{{\"seat\":{request}}}}}\n");
        stream.write_all(line.as_bytes()).expect("weir reads");
        let mut lines = BufReader::new(stream).lines().map(|line| line.expect("weir answers"));
        assert!(lines.next().is_some_and(|hello| hello.contains("version")));
        lines.next().expect("an answer")
    };
    assert!(seat(r#"{"change":{"old":"","new":"correct horse"}}"#).contains("done"));
    assert!(seat(r#"{"login":{"password":"correct horse"}}"#).contains("done"));
    assert!(seat(r#"{"login":{"password":"wrong donkey"}}"#).contains("error"));
    let target = SocketAddr::new(lab.server.address(Family::Inet), 80);
    let flood = SynFlood::start(&lab.client, lab.server.mac, target, Some(1000.0), 1);
    eventually("the flood is told of", || is_told("attack-begin"));
    drop(flood);
    eventually("the limit is told of", || {
        send(&lab, [53]);
        is_told("limit-reached")
    });
    // Without cookies it is over for weir at once; else it is when the last of them is too old.
    let path = lab.folder().join("calm.conf");
    std::fs::write(&path, RULES.replace("adaptive (start 2%, end 1%)", "never")).expect("ours");
    weir.show(&["-q", "-f", &path.to_string_lossy()]);
    for name in ["attack-end", "password", "login", "login-refused", "start", "forwarding"] {
        eventually(name, || is_told(name));
    }
}

/// Records of connections, as Debian's nfdump reads them, and what Prometheus is told of them.
#[test]
fn nfdump_reads_what_connections_were() {
    const RULES: &str = "\
set timeout { tcp.closed 1, tcp.finwait 1 }
block in on wan
pass in on lan proto tcp to port 80 keep state (pflow) label \"web\"
pass out
";
    let lab = Lab::new();
    lab.firewall.ip(&["link", "set", "lo", "up"]);
    let _web = WebServer::start(&lab.server, 80);
    let folder = lab.folder().join("flows");
    std::fs::create_dir(&folder).expect("the lab's folder is ours");
    let mut command = fetched(&lab, "usr/bin/nfcapd");
    command.args(["-b", "127.0.0.1", "-p", "4739", "-t", "3600", "-l"]).arg(&folder);
    let mut collector = Process::start(&mut command);
    collector.wait_line("Startup nfcapd");
    let mut options = WeirOptions::new(Io::Packet, RULES);
    options.settings = "[log]\npackets = \"none\"\n[metrics]\nlisten = \"127.0.0.1:9787\"\n\
                        [pflow]\ncollector = \"127.0.0.1:4739\"\ndomain = 7\n"
        .into();
    let weir = Weir::start(&lab, &options);
    curl(&lab.client, &lab.server, Family::Inet, 80).expect("it is passed");
    let metrics = || {
        let url = "http://127.0.0.1:9787/metrics";
        lab.firewall.run(&["curl", "-sS", "--noproxy", "*", url]).expect_success()
    };
    eventually("the record of the connection", || {
        metrics().contains("\nweir_flow_records_sent_total 1\n")
    });
    let page = metrics();
    assert!(page.contains("weir_label_states_total{label=\"web\"} 1\n"));
    let mut command = fetched(&lab, "usr/bin/promtool");
    let path = lab.folder().join("page");
    std::fs::write(&path, page).expect("the lab's folder is ours");
    command.args(["check", "metrics"]).stdin(File::open(&path).expect("it was written"));
    let checked = Output::of(&mut command);
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", checked.stderr);
    let mut command = fetched(&lab, "usr/bin/promtool");
    let alerts = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/monitoring/alerts.yml");
    Output::of(command.args(["check", "rules", alerts])).expect_success();
    drop(weir);
    collector.signal(rustix::process::Signal::TERM);
    let (_, said) = collector.finish(Duration::from_secs(20));
    assert!(said.contains("Flows: 1,") && said.contains("Sequence Errors: 0"), "{said}");
    let mut command = fetched(&lab, "usr/bin/nfdump");
    command.arg("-R").arg(&folder).args(["-q", "-o", "raw"]);
    let read = Output::of(&mut command).expect_success();
    let value = |name: &str| {
        let line = read.lines().find(|line| line.trim_start().starts_with(name));
        line.and_then(|line| line.split_once('=')).map(|(_, value)| value.trim().to_owned())
    };
    for (name, wanted) in [
        ("src addr", "192.0.2.1"),
        ("dst addr", "192.0.2.2"),
        ("dst port", "80"),
        ("proto", "6 TCP"),
        ("input", "1"),
        ("output", "2"),
        ("end reason", "0x03 end of Flow detected"),
    ] {
        assert_eq!(value(name).as_deref(), Some(wanted), "{name}: {read}");
    }
    for name in ["in packets", "out packets", "in bytes", "out bytes"] {
        let count = value(name).and_then(|value| value.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count >= 4), "{name}: {read}");
    }
}
