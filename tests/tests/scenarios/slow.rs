//! P4: slow attacks on a small web server, by slowhttptest.

use weir_tests::lab::{Family, Io, Lab, Output, Process, WebServer, Weir, WeirOptions, eventually};

use crate::counter_in;

/// Connections that the attacker wants, far more than the server can serve at a time.
const CONNECTIONS: &str = "300";
/// Another address of the client's host: that of an honest visitor.
const VISITOR: &str = "192.0.2.3";

const UNLIMITED: &str = "block\npass in on lan proto tcp to port 80\npass out on wan\n";
const LIMITED: &str =
    "block\npass in on lan proto tcp to port 80 keep state (max-src-conn 15)\npass out on wan\n";

/// One of slowhttptest's attacks, for as long as the process lives.
fn attack(lab: &Lab, mode: &[&str], path: &str) -> Process {
    let url = format!("http://{}{path}", lab.server.socket(Family::Inet, 80));
    let how = ["-c", CONNECTIONS, "-r", CONNECTIONS, "-i", "1", "-l", "60", "-u", &url];
    lab.client.namespace.start(&[&["slowhttptest"], mode, &how].concat())
}

fn visit(lab: &Lab, limit: &str) -> Output {
    let url = format!("http://{}/", lab.server.socket(Family::Inet, 80));
    lab.client.run(&["curl", "-sS", "--noproxy", "*", "--interface", VISITOR, "-m", limit, &url])
}

/// Without limits nobody gets a page any more, with them everybody does.
fn a_visitor_is_served_beside(mode: &[&str], path: &str) {
    let lab = Lab::new();
    let address = format!("{VISITOR}/24");
    lab.client.namespace.ip(&["addr", "add", &address, "dev", "eth0"]);
    let weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, UNLIMITED));
    let web = WebServer::start(&lab.server, 80);
    let under_attack = attack(&lab, mode, path);
    eventually("the attack works", || !visit(&lab, "1").success());
    drop(under_attack);
    eventually("the server has recovered", || visit(&lab, "2").success());

    let limits = lab.folder().join("limits.conf");
    std::fs::write(&limits, LIMITED).expect("the folder is ours");
    weir.show(&["-f", &limits.to_string_lossy()]);
    weir.show(&["-F", "states"]);
    let mut under_attack = attack(&lab, mode, path);
    eventually("most of the attack is refused", || {
        counter_in(&weir.show(&["-s", "info"]), "max-src-conn") > 100
    });
    for _ in 0..20 {
        let page = visit(&lab, "10").expect_success();
        assert_eq!(page, WebServer::PAGE);
    }
    assert!(under_attack.is_running(), "it is still going on");
    drop(under_attack);
    assert!(web.served() >= 20);
}

#[test]
fn p4_slow_headers_leave_room_for_others() {
    a_visitor_is_served_beside(&["-H"], "/");
}

#[test]
fn p4_slow_bodies_leave_room_for_others() {
    a_visitor_is_served_beside(&["-B"], "/");
}

#[test]
fn p4_slow_readers_leave_room_for_others() {
    let mode = ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"];
    a_visitor_is_served_beside(&mode, "/bytes/5000000");
}
