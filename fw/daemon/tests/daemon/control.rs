//! The control side behind its socket, with clients that behave and clients that do not.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use weir_daemon::server::Server;
use weir_engine::packet::build::tcp;
use weir_engine::packet::tcp::flags::SYN;
use weir_shell::protocol::{Command, Done, Explain, Flush, Kill, Load, Reply, StateCriterion};

use crate::house::{Arrivals, address, wait_for};
use crate::seat::{Client, MAX_REQUEST, RESERVED, Seat, done, history, load};

#[test]
fn loads_are_atomic_and_repeatable() {
    let seat = Seat::new();
    let mut client = seat.client();
    assert_eq!(client.info().status, "blocked");
    assert_eq!(client.end(load("pass proto udp label \"x\"\n")), done(1));
    assert_eq!(client.info().status, "enabled");
    assert_eq!(*seat.announced.lock(), ["test.conf"]);
    seat.make_states(3);
    let rules = client.rules();
    assert_eq!(rules, ["pass proto udp all label \"x\""]);
    let before = client.ask(Command::Rules);
    let Reply::Rules(listing) = &before[0] else { panic!("{before:?}") };
    assert_eq!((listing.rules[0].evaluations, listing.rules[0].packets), (6, [3, 3]));
    // The same again: not even the counters change.
    assert_eq!(client.end(load("pass proto udp label \"x\"\n")), done(1));
    assert_eq!(client.ask(Command::Rules), before);
    // Wrong rules change nothing, and everything that is wrong is told.
    match client.end(load("pas\nblock\nblok\n")) {
        Reply::Diagnostics(found) => {
            let text = found.to_string();
            assert!(text.contains("test.conf:1:1: ") && text.contains("test.conf:3:1: "), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let too_many = format!("set limit states {}\npass\n", RESERVED + 1);
    match client.end(load(&too_many)) {
        Reply::Error(text) => assert!(text.contains("memory is reserved for 100000"), "{text}"),
        other => panic!("{other:?}"),
    }
    let none = Command::Load(Load::default());
    assert!(matches!(client.end(none), Reply::Error(_)));
    assert_eq!(client.rules(), rules);
    assert_eq!(client.states().len(), 3);
    assert_eq!(seat.announced.lock().len(), 1, "announced once");
    // Flushed rules block, states stay.
    assert_eq!(client.end(Command::Flush(Flush::Rules)), done(0));
    assert_eq!(client.info().status, "blocked");
    assert_eq!(client.rules().len(), 0);
    assert_eq!(client.states().len(), 3);
    seat.running.stop();
}

#[test]
fn what_is_kept_is_what_is_in_force_whoever_loads_at_the_same_time() {
    let seat = Seat::new();
    for _ in 0..10 {
        std::thread::scope(|scope| {
            for loader in 0..4 {
                let mut client = seat.client();
                scope.spawn(move || {
                    // Of very different lengths.
                    let rule = format!("pass proto udp label \"{loader}\"\n");
                    let reply = client.end(load(&rule.repeat(1 + loader * 50)));
                    assert_eq!(reply, done(1 + loader as u64 * 50));
                });
            }
        });
        let in_force = seat.client().rules();
        let (_, kept) = history(&seat.directory).good().unwrap().next().unwrap().unwrap();
        assert_eq!(kept[0].sources[0].text.lines().count(), in_force.len());
    }
    seat.running.stop();
}

#[test]
fn states_are_listed_and_killed_by_host_label_and_id() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass proto udp\npass proto udp from any to any port 53 label dns\n"));
    seat.make_states(20);
    let states = client.states();
    assert_eq!(states.len(), 20);
    let one = states.iter().find(|state| state.source_port == 1004).unwrap();
    assert_eq!((one.port.as_str(), one.protocol), ("lan", 17));
    assert_eq!(one.source.to_string(), "192.0.2.4");
    assert_eq!((one.destination_port, one.packets), (53, [1, 0]));
    assert_eq!(one.rules, [Some(1), Some(1)]);
    assert!(states.iter().any(|state| state.worker == 1), "of all workers");
    let killed = |criterion| Command::Kill(Kill { criteria: vec![criterion] });
    let kill = |from: &str, to: Option<&str>| {
        let to = to.map(|to| StateCriterion::To(to.into()));
        let criteria = [StateCriterion::From(from.into())].into_iter().chain(to).collect();
        Command::Kill(Kill { criteria })
    };
    assert_eq!(client.end(kill("198.51.100.1", None)), done(0));
    assert_eq!(client.end(kill("192.0.2.4", Some("192.0.2.5"))), done(0));
    assert_eq!(client.end(kill("192.0.2.4", Some("192.0.2.100"))), done(1));
    assert_eq!(client.end(kill("192.0.2.0/29", None)), done(7));
    assert!(matches!(client.end(kill("nobody", None)), Reply::Error(_)));
    let id = client.states()[0].id.clone();
    assert_eq!(client.end(killed(StateCriterion::Id(id.clone()))), done(1));
    assert_eq!(client.end(killed(StateCriterion::Id(id))), done(0));
    let refused = client.end(killed(StateCriterion::Id("xyz".into())));
    assert!(matches!(refused, Reply::Error(_)));
    assert_eq!(client.end(killed(StateCriterion::Label("other".into()))), done(0));
    assert_eq!(client.end(killed(StateCriterion::Interface("wan".into()))), done(0));
    let all = client.end(Command::Kill(Kill { criteria: Vec::new() }));
    assert!(matches!(all, Reply::Error(_)), "nobody removes all by leaving a criterion out");
    assert_eq!(client.end(killed(StateCriterion::Label("dns".into()))), done(11));
    seat.make_states(5);
    assert_eq!(client.end(Command::Flush(Flush::States)), done(5));
    assert_eq!(client.states().len(), 0);
    let info = client.info();
    assert_eq!((info.states, info.inserts, info.removals), (0, 25, 25));
    // Of one port alone first.
    let passed = |client: &mut Client| -> Vec<u64> {
        let Reply::Interfaces(ports) = client.ask(Command::Interfaces).swap_remove(0) else {
            panic!("no ports");
        };
        ports.iter().map(|port| port.traffic.iter().map(|way| way.passed[0]).sum()).collect()
    };
    let flush = |port: &str| Command::Flush(Flush::Port { port: port.into() });
    let before = passed(&mut client);
    assert!(before.iter().all(|&packets| packets > 0), "{before:?}");
    assert_eq!(client.end(flush("wan")), done(0));
    assert_eq!(passed(&mut client), [before[0], 0]);
    assert_eq!(client.info().inserts, 25, "what is of no port stays");
    assert!(matches!(client.end(flush("dmz")), Reply::Error(_)));
    assert_eq!(client.end(Command::Flush(Flush::Info)), done(0));
    assert_eq!(client.info().inserts, 0);
    assert_eq!(passed(&mut client), [0, 0]);
    seat.running.stop();
}

#[test]
fn counters_of_an_anchor_and_those_below_it_are_zeroed_and_no_others() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(
        "anchor web { pass proto udp\nanchor deep { pass proto udp } }\n\
         anchor webmail { pass proto udp }\nanchor mail { pass proto udp }\n",
    ));
    seat.make_states(1);
    let evaluated = |client: &mut Client| {
        ["web", "web/deep", "webmail", "mail"].map(|anchor| {
            let command = Command::RulesIn { anchor: anchor.into(), recursive: false };
            let Reply::Rules(listing) = client.ask(command).swap_remove(0) else { panic!() };
            listing.rules[0].evaluations
        })
    };
    assert_eq!(evaluated(&mut client), [2; 4]);
    let zero = |anchor: &str, recursive| {
        Command::Flush(Flush::RuleCounters { anchor: anchor.into(), recursive })
    };
    assert_eq!(client.end(zero("web", true)), done(0));
    assert_eq!(evaluated(&mut client), [0, 0, 2, 2]);
    assert_eq!(client.end(zero("mail", false)), done(0));
    assert_eq!(evaluated(&mut client), [0, 0, 2, 0]);
    assert_eq!(client.end(zero("", true)), done(0));
    assert_eq!(evaluated(&mut client), [0; 4]);
    seat.running.stop();
}

#[test]
fn disabling_passes_everything_until_enabled_or_late() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("block\n"));
    assert!(matches!(client.end(Command::Enable), Reply::Error(_)), "it is");
    for seconds in [0, 86_401] {
        assert!(matches!(client.end(Command::Disable { seconds }), Reply::Error(_)));
    }
    let reply = client.end(Command::Disable { seconds: 1 });
    if rustix::process::geteuid().is_root() {
        assert_eq!(reply, done(0));
        assert_eq!(client.info().status, "disabled");
        seat.make_states(1);
        assert_eq!(client.states().len(), 0, "passed unjudged");
        wait_for("the deadline", || client.info().status == "enabled");
        assert_eq!(client.end(Command::Disable { seconds: 60 }), done(0));
        assert_eq!(client.end(Command::Enable), done(0));
        assert_eq!(client.info().status, "enabled");
    } else {
        assert!(matches!(reply, Reply::Error(_)), "only root may");
    }
    seat.running.stop();
}

#[test]
fn memory_shows_each_limit_its_use_and_its_peak() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load(
        "set limit { tables 7, table-entries 50, anchors 3 }\n\
         table <a> { 192.0.2.1 192.0.2.2 192.0.2.3 }\ntable <b> persist { 198.51.100.1 }\n\
         anchor \"x\" { pass in }\npass from <a>\n",
    ));
    client.end(load("set limit table-entries 40\ntable <b> persist\npass\n"));
    let Reply::Memory(limits) = client.ask(Command::Memory).swap_remove(0) else { panic!() };
    let of = |name: &str| {
        let limit = limits.iter().find(|limit| limit.name == name).unwrap();
        (limit.limit, limit.used, limit.peak)
    };
    assert_eq!(of("tables"), (1000, 1, 2));
    assert_eq!(of("table-entries"), (40, 1, 4));
    assert_eq!(of("anchors"), (512, 0, 1));
    assert_eq!(of("tails"), (100_000, 0, 0));
    seat.running.stop();
}

#[test]
fn listings_have_what_the_client_prints() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("set skip on lan\nset timeout udp.first 77\nset limit states 500\npass\n"));
    seat.make_states(2);
    let Reply::Interfaces(ports) = client.ask(Command::Interfaces).swap_remove(0) else { panic!() };
    assert_eq!((&*ports[0].role, &*ports[0].name, &*ports[0].io), ("lan", "lan0", "memory"));
    assert_eq!((ports[0].skip, ports[1].skip), (true, false));
    assert_eq!((ports[0].device.received, ports[1].device.transmitted), (2, 2));
    assert_eq!(ports[1].traffic[1].passed[0], 2, "IPv4, leaving");
    let Reply::Timeouts(timeouts) = client.ask(Command::Timeouts).swap_remove(0) else { panic!() };
    let of = |name| timeouts.iter().find(|timeout| timeout.name == name).unwrap();
    assert_eq!((of("udp.first").value, &*of("udp.first").unit), (77, "s"));
    assert_eq!(of("adaptive.start").unit, "states");
    let Reply::Memory(limits) = client.ask(Command::Memory).swap_remove(0) else { panic!() };
    let limit = &limits[0];
    assert_eq!((limit.limit, limit.used, limit.peak), (500, 2, 2));
    assert_eq!(limit.reserved, Some(RESERVED.into()));
    let info = client.info();
    assert_eq!((info.workers.len(), info.workers[1].cpu), (2, Some(3)));
    assert_eq!(info.frames, 2, "handed over or not");
    seat.running.stop();
}

#[test]
fn adaptive_syncookies_are_told_with_what_became_of_them() {
    let seat = Seat::new();
    let mut client = seat.client();
    let rules = |states: u32| {
        load(&format!(
            "set limit states {states}\nset syncookies adaptive (start 20%, end 10%)\npass\n"
        ))
    };
    client.end(rules(100));
    let cookies = client.info().syncookies;
    assert_eq!((&*cookies.mode, cookies.active), ("adaptive", false));
    assert_eq!((cookies.start, cookies.end, cookies.sent), (Some(20), Some(10), 0));
    let arrives = |wire| Arrivals::default().take(wire, 2) > 0;
    let syn = |flow: u16| {
        let syn = tcp(address(flow, 1000 + flow), address(100, 80), SYN).frame();
        assert!(seat.running.house.lan.put(0, &syn));
    };
    for flow in 0..20 {
        syn(flow);
        wait_for("a SYN", || arrives(&seat.running.house.wan));
    }
    wait_for("the flood is noticed", || client.info().syncookies.active);
    assert_eq!(client.info().half_open, 20);
    syn(20);
    wait_for("a SYN-ACK", || arrives(&seat.running.house.lan));
    assert_eq!(client.info().syncookies.sent, 1);
    assert_eq!(
        (client.info().half_open, client.states().len()),
        (20, 21),
        "and one that is awaited"
    );
    // Of ten times as many states it is a flood no more.
    client.end(rules(1000));
    wait_for("its end is noticed", || !client.info().syncookies.active);
    seat.running.stop();
}

#[test]
fn nonsense_gets_an_error_and_the_next_request_an_answer() {
    let seat = Seat::new();
    let mut client = seat.client();
    for (line, begin) in [
        (&b"\n"[..], "malformed request: "),
        (b"GET / HTTP/1.1\r\n", "malformed request: "),
        (b"{\"version\":1}\n", "malformed request: "),
        (b"{\"version\":1,\"command\":\"info\",\"more\":1}\n", "malformed request: "),
        (b"{\"version\":1,\"command\":\"reboot\"}\n", "malformed request: "),
        (b"\xff\xfe\x00\x01\n", "malformed request: "),
        (b"{\"version\":2,\"command\":{\"later\":[]}}\n", "protocol version 2 "),
    ] {
        client.write(line);
        let error = client.error();
        assert!(error.starts_with(begin), "{error}");
    }
    // Nested deeper than any reader's stack.
    client.write(&[&b"[".repeat(100_000)[..], b"\n"].concat());
    assert!(client.error().starts_with("malformed request: "));
    // Two in one write, one in many.
    let line = b"{\"version\":1,\"command\":\"memory\"}\n";
    client.write(&[&line[..], line].concat());
    for _ in 0..2 {
        let Some(Reply::Memory(limits)) = client.read() else { panic!("no listing") };
        assert_eq!(client.read(), Some(done(limits.len() as u64)));
    }
    for &byte in line {
        client.write(&[byte]);
    }
    assert!(matches!(client.read(), Some(Reply::Memory(_))));
    seat.running.stop();
}

#[test]
fn requests_are_bounded_in_length_and_time() {
    let seat = Seat::new();
    // Half a line, and no more of it.
    let mut slow = seat.client();
    slow.write(b"{\"version\":1,");
    assert_eq!(slow.error(), "the client is too slow");
    assert_eq!(slow.read(), None);
    // Half a line, then the end.
    let mut broken = seat.client();
    broken.write(b"{\"version\":1,");
    broken.0.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(broken.error(), "the connection ended within a request");
    // A line that does not end.
    let mut long = seat.client();
    let chunk = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while sent <= MAX_REQUEST {
        match long.0.get_mut().write(&chunk) {
            Ok(length) => sent += length,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                break;
            }
        }
    }
    assert!(sent >= MAX_REQUEST, "{sent}");
    assert!(long.error().contains("longer than"));
    assert_eq!(long.read(), None);
    assert_eq!(seat.client().info().status, "blocked", "others are served");
    seat.running.stop();
}

#[test]
fn requests_of_all_clients_together_are_bounded() {
    let seat = Seat::new();
    // Most of two requests, their ends held back: one of them finds no room.
    let text = vec![b'x'; MAX_REQUEST - 1];
    let mut first = seat.client();
    first.write(&text);
    let mut second = seat.client();
    let _ = second.0.get_mut().write_all(&text);
    let refused = [first.error(), second.error()];
    let of = |text: &str| refused.iter().filter(|error| error.contains(text)).count();
    assert_eq!(of("other clients' requests take all the room"), 1, "{refused:?}");
    assert_eq!(of("the client is too slow"), 1, "{refused:?}");
    drop((first, second));
    // The room is given back.
    let padding = " ".repeat(MAX_REQUEST - 100);
    for _ in 0..4 {
        let mut client = seat.client();
        client.write(format!("{padding}{{\"version\":1,\"command\":\"memory\"}}\n").as_bytes());
        assert!(matches!(client.read(), Some(Reply::Memory(_))));
    }
    seat.running.stop();
}

#[test]
fn clients_are_bounded_in_number() {
    let seat = Seat::new();
    let mut clients: Vec<_> = (0..8).map(|_| seat.client()).collect();
    for client in &mut clients {
        assert_eq!(client.info().status, "blocked");
    }
    for _ in 0..20 {
        let mut surplus = seat.stranger();
        assert_eq!(surplus.error(), "more than 8 clients");
        assert_eq!(surplus.read(), None);
    }
    assert_eq!(clients[7].info().status, "blocked", "those that are there are served");
    drop(clients);
    wait_for("a free place", || {
        let mut client = seat.stranger();
        // Refused ones may be cut off before they have written.
        let _ = client.0.get_mut().write(b"{\"version\":1,\"command\":\"memory\"}\n");
        matches!(client.read(), Some(Reply::Hello(_)))
            && matches!(client.read(), Some(Reply::Memory(_)))
    });
    seat.running.stop();
}

#[test]
fn a_client_that_does_not_read_stops_nobody() {
    let seat = Seat::new();
    let mut client = seat.client();
    client.end(load("pass\n"));
    seat.make_states(64);
    let mut deaf = seat.client();
    deaf.0.get_mut().set_nonblocking(true).unwrap();
    // Requests whose answers fill the socket: at some point it takes no more.
    let line = b"{\"version\":1,\"command\":{\"states\":{}}}\n".repeat(64);
    while deaf.0.get_mut().write(&line).is_ok() {}
    assert_eq!(client.states().len(), 64, "served meanwhile");
    seat.make_states(65);
    assert_eq!(client.states().len(), 65, "frames are forwarded meanwhile");
    // It is cut off: what was sent can be read, then comes the end.
    deaf.0.get_mut().set_nonblocking(false).unwrap();
    wait_for("the place of the deaf client", || {
        deaf.0.get_mut().write(b"\n").is_err_and(|error| error.kind() == ErrorKind::BrokenPipe)
    });
    let mut rest = Vec::new();
    // A reset, since the daemon did not read everything, is an end, too.
    let _ = deaf.0.get_mut().read_to_end(&mut rest);
    assert!(!rest.is_empty());
    seat.running.stop();
}

#[test]
fn the_socket_is_private_and_has_one_owner() {
    let seat = Seat::new();
    let mode = std::fs::metadata(seat.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "the daemon turns away who is in none of its two groups");
    let error = Server::bind(&seat.path()).unwrap_err();
    assert!(error.to_string().contains("another `weir run` serves this socket"), "{error}");
    assert_eq!(seat.client().info().status, "blocked", "the first one still serves");
    seat.running.stop();
    // One that was left over is replaced.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deeper").join("sock");
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let server = Server::bind(&path).unwrap();
    assert_eq!(server.path(), path);
    drop(server);
    assert!(!path.exists(), "cleared away at the end");
    // Anything else is left alone.
    std::fs::write(&path, "precious").unwrap();
    assert!(Server::bind(&path).unwrap_err().to_string().contains("not a socket"));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_packet_is_explained_by_what_is_in_force() {
    let seat = Seat::new();
    let ask = |packet: &str, all| {
        let explain = Explain { packet: packet.into(), all };
        weir_shell::explanation::ask(&seat.path(), explain)
    };
    let new = "in on lan proto udp from 192.0.2.7 to 192.0.2.100 port 53";
    let refused = ask(new, false).unwrap_err().to_string();
    assert_eq!(refused, "no rule set is in force: everything is blocked");
    let rules = "table <t> { 192.0.2.0/29 }\nblock\npass in on lan0 proto udp from <t>\npass out\n";
    let mut client = seat.client();
    assert_eq!(client.end(load(rules)), done(3));
    let before = client.ask(Command::Rules);
    let told = ask(new, false).unwrap();
    assert_eq!((told.passes, &told.state), (true, &None));
    assert_eq!(told.sides[0].rules.len(), 2, "those that match");
    assert_eq!(told.sides[0].rules[1].tables, ["<t> holds 192.0.2.7: 192.0.2.0/29"]);
    assert_eq!(told.sides[0].decides.as_deref(), Some("@1"));
    assert_eq!(
        told.makes.as_deref(),
        Some("keep state: lan udp 192.0.2.100:53 <- 192.0.2.7:40000")
    );
    assert_eq!(ask(new, true).unwrap().sides[0].rules.len(), 3, "all");
    assert_eq!(client.ask(Command::Rules), before, "nothing is counted");
    assert_eq!(client.states().len(), 0, "nothing is made");
    // Datagram 5 of `make_states` comes from 192.0.2.5, port 1005.
    seat.make_states(6);
    // Which is warned of: no such connection could begin any more.
    assert!(matches!(client.end(load("block\n")), Reply::Done(Done { count: 1, note: Some(_) })));
    let known = ask("in on lan proto udp from 192.0.2.5 port 1005 to 192.0.2.100 port 53", false);
    let known = known.unwrap();
    assert!(
        known.passes && known.to_string().contains("\na state decides:\n  lan udp "),
        "{known}"
    );
    assert!(known.to_string().contains("\nwithout it:\narriving, in on lan:\n"), "{known}");
    let answer = "in on wan proto udp from 192.0.2.100 port 53 to 192.0.2.5 port 1005";
    assert!(ask(answer, false).unwrap().state.is_some(), "it belongs to the same state");
    // From the other side it is another flow.
    let spoofed = "in on wan proto udp from 192.0.2.5 port 1005 to 192.0.2.100 port 53";
    let spoofed = ask(spoofed, false).unwrap();
    assert_eq!((spoofed.passes, spoofed.state), (false, None));
    // A state that began under another policy is found all the same.
    client.end(load("set state-policy floating\nblock\n"));
    assert!(ask(answer, false).unwrap().state.is_some());
    let wrong = ask("in on lan proto upd from 192.0.2.5 to 192.0.2.100", false).unwrap_err();
    assert_eq!(wrong.to_string(), "packet:1:17: unknown protocol `upd`, did you mean `udp`?");
    seat.running.stop();
}
