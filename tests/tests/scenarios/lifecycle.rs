//! Starting, reloading, failing and ending.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use weir_tests::frames::{self, destination_port, has_udp_payload};
use weir_tests::lab::{
    Capture, Family, Io, KernelBridge, Lab, PATIENCE, RawSocket, Reload, WebServer, Weir,
    WeirOptions, eventually,
};

use crate::{connect, curl, on_every_io, on_every_port};

on_every_port! {
    nothing_passes_before_the_first_rules
    a_reload_under_load_loses_no_connection
    a_killed_weir_leaves_the_bridge_closed
}

#[test]
fn auto_takes_xdp_and_says_so() {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Auto, "pass\n"));
    for text in ["lan=eth1", "wan=eth2", "io=xdp", "workers=1", "rules="] {
        assert!(weir.greeting.contains(text), "no {text:?} in: {}", weir.greeting);
    }
    eventually("pings pass", || lab.pings(Family::Inet));
}

on_every_io! {
    a_reload_changes_what_passes
    a_broken_reload_changes_nothing
    a_broken_rule_file_at_start_blocks_until_repaired
    a_broken_rule_file_at_start_yields_to_the_last_good_one
    a_history_that_cannot_be_read_cuts_nobody_off
    a_port_with_an_address_is_refused
    a_port_with_a_master_is_refused
    a_host_that_routes_is_refused
    link_local_addresses_are_taken_away_and_come_back
    termination_is_quick_and_restores_the_interfaces
    flushed_rules_block
}

/// Frames arrive from before weir starts until the first one passes. Those that the rules block
/// must not slip through while they are being read.
fn nothing_passes_before_the_first_rules(io: Io, family: Family) {
    let lab = Lab::new();
    let far = Capture::start(&lab.server.namespace, "eth0", "udp");
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let frame =
        |port, text| frames::udp_between(&lab.client, &lab.server, family, (4000, port), text);
    let (shut, open) = (frame(4001, b"must not pass"), frame(4002, b"may pass"));
    let passed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !passed.load(Ordering::Relaxed) {
                socket.send(&shut);
                socket.send(&open);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let rules = "block\npass proto udp to port 4002\n";
        let weir = Weir::launch(&lab, &WeirOptions::new(io, rules));
        let first = far.frame_within(PATIENCE, |frame| has_udp_payload(frame, b"may pass"));
        passed.store(true, Ordering::Relaxed);
        assert!(first.is_some(), "nothing ever passed:\n{}", weir.log().join("\n"));
        assert_eq!(far.count(|frame| destination_port(frame) == Some(4001)), 0);
    });
}

/// While connections are made and a transfer runs, the rules are loaded again and again, in both
/// ways; nothing is lost.
fn a_reload_under_load_loses_no_connection(io: Io, family: Family) {
    let lab = Lab::new();
    let rules =
        |n: u32| format!("block in\npass in on lan proto tcp\npass proto udp to port {n}\n");
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, &rules(1)));
    let _web = WebServer::start(&lab.server, 80);
    let transfers = lab.server.namespace.start(&["iperf3", "-s", "-1", "--forceflush"]);
    transfers.wait_line("Server listening");
    let to = lab.server.address(family).to_string();
    let url = format!("http://{}/", lab.server.socket(family, 80));
    let mut transfer = lab.client.namespace.start(&["iperf3", "-J", "-c", &to, "-t", "5"]);
    let mut requests = lab
        .client
        .namespace
        .start(&["ab", "-q", "-s", "20", "-c", "8", "-n", "1000000", "-t", "5", &url]);
    let mut reloads = 0;
    while transfer.is_running() || requests.is_running() {
        reloads += 1;
        let how = if reloads % 2 == 0 { Reload::Hangup } else { Reload::Ctl };
        if let Some(said) = weir.reload(how, &rules(reloads)) {
            said.expect_success();
        }
    }
    assert!(reloads >= 20, "only {reloads} reloads");
    let (status, said) = requests.finish(PATIENCE);
    assert!(status.success() && said.contains("Failed requests:        0"), "{said}");
    let (status, said) = transfer.finish(PATIENCE);
    assert!(status.success() && !said.contains("\"error\""), "{said}");
    // When its time is over ab resets what it has open; what is still under way is answered by RSTs
    // whose numbers come from the segment answered, and these may be old.
    crate::assert_no_mismatch(&weir);
    assert!(weir.show(&["-s", "rules"]).contains(&format!("port = {reloads}")));
}

/// `kill -9`: nothing passes any more. The interfaces are as good as before: the kernel can bridge
/// them, and a new weir can.
fn a_killed_weir_leaves_the_bridge_closed(io: Io, family: Family) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    eventually("pings pass", || lab.pings(family));
    weir.kill();

    let far = Capture::start(&lab.server.namespace, "eth0", "udp");
    let socket = RawSocket::open(&lab.client.namespace, "eth0");
    let frame = frames::udp_between(&lab.client, &lab.server, family, (4000, 4001), b"late");
    for _ in 0..100 {
        socket.send(&frame);
    }
    // Delivery over veth needs no more than a soft interrupt on this machine; whatever was to come
    // is there when a frame sent afterwards on the other cable is.
    let marker = frames::udp_between(&lab.server, &lab.client, family, (4002, 4003), b"marker");
    RawSocket::open(&lab.server.namespace, "eth0").send(&marker);
    far.wait("the marker", |frame| has_udp_payload(frame, b"marker"));
    assert_eq!(far.count(|frame| has_udp_payload(frame, b"late")), 0);
    assert!(!lab.pings(family), "a ping passed a dead weir");

    let kernel = KernelBridge::start(&lab);
    eventually("pings pass the kernel's bridge", || lab.pings(family));
    drop(kernel);
    let _weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    eventually("pings pass again", || lab.pings(family));
}

fn a_reload_changes_what_passes(io: Io) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    let _web = WebServer::start(&lab.server, 80);
    for how in [Reload::Ctl, Reload::Hangup] {
        assert_eq!(
            curl(&lab.client, &lab.server, Family::Inet, 80).as_deref(),
            Ok(WebServer::PAGE)
        );
        weir.reload(how, "pass\nblock return proto tcp to port 80\n");
        eventually("port 80 is refused", || {
            connect(&lab.client, lab.server.address(Family::Inet), 80, PATIENCE)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
        weir.reload(how, "pass\n");
        eventually("port 80 is open again", || {
            curl(&lab.client, &lab.server, Family::Inet, 80).is_ok()
        });
    }
}

/// Every error is told with its place, and the rules in force stay as they are.
fn a_broken_reload_changes_nothing(io: Io) {
    let lab = Lab::new();
    let rules = "block in on wan\npass in on lan label \"kept\"\n";
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, rules));
    let _web = WebServer::start(&lab.server, 80);
    let before = weir.show(&["-s", "rules"]);

    let broken = "pass in on lan\nblcok in on wan\npass proto tcp to port http to\n";
    let said = weir.reload(Reload::Ctl, broken).expect("ctl says something");
    assert_eq!(said.status.code(), Some(1), "{}", said.stderr);
    for line in [2, 3] {
        let place = format!("weir.conf:{line}:");
        assert!(said.stderr.contains(&place), "no error of line {line} in:\n{}", said.stderr);
    }
    assert_eq!(weir.show(&["-s", "rules"]), before);

    weir.reload(Reload::Hangup, broken);
    assert_eq!(weir.show(&["-s", "rules"]), before);
    assert_eq!(curl(&lab.client, &lab.server, Family::Inet, 80).as_deref(), Ok(WebServer::PAGE));
    assert!(weir.process().is_running());
}

/// The process stays, so that it can be repaired; until then nothing passes.
fn a_broken_rule_file_at_start_blocks_until_repaired(io: Io) {
    let lab = Lab::new();
    let mut weir = Weir::launch(&lab, &WeirOptions::new(io, "pass\npsas in\n"));
    weir.wait_log("weir.conf:2:");
    eventually("the control socket answers", || weir.ctl(&["-s", "info"]).success());
    lab.wait_links();
    assert!(!lab.pings(Family::Inet), "a ping passed without rules");
    weir.reload(Reload::Ctl, "pass\n").expect("ctl says something").expect_success();
    eventually("pings pass", || lab.pings(Family::Inet));
    assert!(weir.process().is_running());
}

/// With an earlier rule set that was in force, that one is, and the log says so loudly.
fn a_broken_rule_file_at_start_yields_to_the_last_good_one(io: Io) {
    let lab = Lab::new();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass label \"good\"\n"));
    assert!(weir.stop(PATIENCE).is_some_and(|status| status.success()));
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\npsas in\n"));
    weir.wait_log("LAST GOOD");
    assert!(weir.show(&["-s", "rules"]).contains("label \"good\""));
    eventually("pings pass", || lab.pings(Family::Inet));
}

/// A history that cannot be read might hide a change that waits to be confirmed; but with nothing else
/// to go by, the rule file is better than a line that is cut.
fn a_history_that_cannot_be_read_cuts_nobody_off(io: Io) {
    let lab = Lab::new();
    std::fs::create_dir_all(lab.folder().join("state")).expect("the folder is ours");
    std::fs::write(lab.folder().join("state/history"), "no directory").expect("it is ours");
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass label \"own\"\n"));
    weir.wait_log("IS NOT KNOWN");
    weir.wait_log("is in force after all");
    assert!(weir.show(&["-s", "rules"]).contains("label \"own\""));
    eventually("pings pass", || lab.pings(Family::Inet));
}

fn a_port_with_an_address_is_refused(io: Io) {
    let lab = Lab::new();
    lab.firewall.ip(&["addr", "add", "192.0.2.9/24", "dev", Lab::WAN]);
    let mut weir = Weir::launch(&lab, &WeirOptions::new(io, "pass\n"));
    let (status, said) = weir.refusal();
    assert!(!status.success(), "{said}");
    assert!(said.contains(Lab::WAN) && said.contains("192.0.2.9"), "{said}");
}

fn a_port_with_a_master_is_refused(io: Io) {
    let lab = Lab::new();
    let _kernel = KernelBridge::start(&lab);
    let mut weir = Weir::launch(&lab, &WeirOptions::new(io, "pass\n"));
    let (status, said) = weir.refusal();
    assert!(!status.success(), "{said}");
    assert!(said.contains(Lab::LAN) && said.contains("br0"), "{said}");
}

fn a_host_that_routes_is_refused(io: Io) {
    let lab = Lab::new();
    lab.firewall.sysctl("net.ipv4.ip_forward", "1");
    let mut weir = Weir::launch(&lab, &WeirOptions::new(io, "pass\n"));
    let (status, said) = weir.refusal();
    assert!(!status.success(), "{said}");
    assert!(said.contains("net.ipv4.ip_forward"), "{said}");
}

/// What every interface that is up has by itself is no obstacle, but gone while it is a port.
fn link_local_addresses_are_taken_away_and_come_back(io: Io) {
    let lab = Lab::new();
    for port in [Lab::LAN, Lab::WAN] {
        lab.firewall.sysctl(&format!("net.ipv6.conf.{port}.disable_ipv6"), "0");
    }
    let addresses = || lab.firewall.ip(&["-6", "addr", "show"]).matches("fe80::").count();
    eventually("link-local addresses", || addresses() == 2);
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    assert_eq!(addresses(), 0);
    assert!(weir.stop(PATIENCE).is_some_and(|status| status.success()));
    eventually("link-local addresses again", || addresses() == 2);
}

/// SIGTERM ends it within a second, and the interfaces are what they were before: flags, offloads,
/// XDP program.
fn termination_is_quick_and_restores_the_interfaces(io: Io) {
    let lab = Lab::new();
    let state = || {
        [Lab::LAN, Lab::WAN].map(|port| {
            let features = lab.firewall.run(&["ethtool", "-k", port]).expect_success();
            let link = lab.firewall.ip(&["-d", "-o", "link", "show", "dev", port]);
            // Queue lengths and statistics vary, what was set does not.
            let set = ["<", "mtu ", "promiscuity ", "xdp"].map(|word| {
                link.find(word).map(|at| link[at..].split_whitespace().nth(1).map(str::to_owned))
            });
            (features, set, link.contains("PROMISC"))
        })
    };
    let before = state();
    let mut weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    eventually("pings pass", || lab.pings(Family::Inet));
    let status = weir.stop(Duration::from_secs(1)).expect("ends within a second");
    assert!(status.success(), "{status}: {}", weir.log().join("\n"));
    assert_eq!(state(), before);
    assert!(!weir.socket().exists(), "the control socket is left behind");
}

/// `-F rules` leaves nothing that passes, not even what has a state.
fn flushed_rules_block(io: Io) {
    let lab = Lab::new();
    let weir = Weir::start(&lab, &WeirOptions::new(io, "pass\n"));
    eventually("pings pass", || lab.pings(Family::Inet));
    weir.show(&["-F", "rules"]);
    assert!(!lab.pings(Family::Inet), "a ping passed without rules");
    let rules = weir.show(&["-s", "rules"]);
    assert!(rules.lines().all(|line| line.starts_with('#')), "{rules}");
}
