//! Who may do what over the control socket. Other users are clients of their own processes, which only
//! root can start: without it there is nothing to try.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::{Value, json};
use weir_daemon::server::{Bounds, Groups, Server};
use weir_shell::protocol::{Access, Reply};

use crate::seat::{MAY_CHANGE, MAY_LOOK, Seat, load};

/// `weir ctl` as the user nobody, in one more group.
fn ctl(seat: &Seat, group: u32, arguments: &[&str]) -> Output {
    Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", &format!("--groups={group}")])
        .args([env!("CARGO_BIN_EXE_weir"), "ctl", "--socket"])
        .arg(seat.path())
        .args(arguments)
        .output()
        .expect("setpriv of util-linux")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

#[test]
fn root_is_told_that_it_may_change_things() {
    let seat = Seat::new();
    match seat.stranger().read() {
        Some(Reply::Hello(hello)) => assert_eq!(hello.access, Access::Write),
        other => panic!("{other:?}"),
    }
    seat.running.stop();
}

#[test]
fn groups_decide_what_others_may_do() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let seat = Seat::new();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(seat.directory.path(), open).expect("ours");
    seat.client().end(load("table <t> persist\npass proto udp\n"));
    seat.make_states(3);
    let denied = "weir ctl: permission denied";
    // In neither group.
    let stranger = ctl(&seat, 4713, &["-ss"]);
    assert_eq!((said(&stranger).as_str(), stranger.status.code()), (denied, Some(1)));
    // They may look, and no more.
    let looks = ctl(&seat, MAY_LOOK, &["-ss"]);
    assert_eq!(String::from_utf8_lossy(&looks.stdout).lines().count(), 3, "{}", said(&looks));
    assert!(ctl(&seat, MAY_LOOK, &["-sa"]).status.success());
    assert_eq!(ctl(&seat, MAY_LOOK, &["-t", "t", "-T", "test", "::1"]).status.code(), Some(2));
    let dry = &["-n", "-t", "t", "-T", "add", "192.0.2.1"];
    assert_eq!(said(&ctl(&seat, MAY_CHANGE, dry)), "1/1 addresses added (dummy).");
    for changes in [
        &["-F", "states"][..],
        &["-k", "0.0.0.0/0"],
        &["-K", "0.0.0.0/0"],
        &["-t", "t", "-T", "add", "192.0.2.1"],
        dry,
        &["-z"],
        &["-x", "info"],
        &["-d"],
        &["-F", "all"],
    ] {
        let refused = ctl(&seat, MAY_LOOK, changes);
        let only = format!("{denied}: you may look, but change nothing");
        assert_eq!(said(&refused), only, "{changes:?}");
        assert_eq!(refused.status.code(), Some(1));
    }
    let question = ["192.0.2.1"; 1000];
    let long = ctl(&seat, MAY_LOOK, &[&["-t", "t", "-T", "test"], &question[..]].concat());
    assert!(said(&long).contains("a request is longer than 4096 bytes"), "{}", said(&long));
    // They may change things, but not open the bridge.
    let adds = ctl(&seat, MAY_CHANGE, &["-t", "t", "-T", "add", "192.0.2.1"]);
    assert_eq!(said(&adds), "1/1 addresses added.");
    let opens = ctl(&seat, MAY_CHANGE, &["-d"]);
    assert_eq!(said(&opens), format!("{denied}: only root may disable filtering"));
    assert_eq!(
        said(&ctl(&seat, MAY_CHANGE, &["-k", "0.0.0.0/0"])),
        "killed 3 states from 1 sources and 0 destinations"
    );
    seat.running.stop();
}

#[test]
fn what_was_done_is_told_as_json() {
    let seat = Seat::new();
    seat.client().end(load("table <t> persist\npass proto udp\n"));
    seat.make_states(3);
    let told = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["ctl", "--json", "--socket"])
            .arg(seat.path())
            .args(arguments)
            .output()
            .expect("it runs");
        assert_eq!(said(&output), "", "{arguments:?}");
        let lines = String::from_utf8(output.stdout).expect("JSON");
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        (lines.lines().map(line).collect::<Vec<_>>(), output.status.code())
    };
    let (added, status) = told(&["-v", "-t", "t", "-T", "add", "192.0.2.1"]);
    assert_eq!(status, Some(0));
    assert_eq!((&added[0]["added"], &added[0]["dry_run"]), (&json!(1), &json!(false)));
    let address = json!([{ "address": "192.0.2.1", "feedback": "added" }]);
    assert_eq!(added[0]["feedback"], address);
    let (tested, status) = told(&["-t", "t", "-T", "test", "192.0.2.1", "192.0.2.2"]);
    assert_eq!((&tested[0]["matched"], &tested[0]["addresses"]), (&json!(1), &json!(2)));
    assert_eq!(status, Some(2));
    let (killed, _) = told(&["-k", "0.0.0.0/0"]);
    assert_eq!((&killed[0]["done"], &killed[0]["count"]), (&json!("kill"), &json!(3)));
    let (flushed, _) = told(&["-F", "all"]);
    let done: Vec<_> = flushed.iter().map(|line| line["done"].as_str().expect("a word")).collect();
    let all = ["flush rules", "flush states", "flush sources", "flush info", "flush tables"];
    assert_eq!(done, all);
    assert_eq!(told(&["-z"]).0, [json!({ "done": "zero" })]);
    seat.running.stop();
}

/// The fewer groups there are, the less the socket is open.
#[test]
fn a_socket_is_as_open_as_there_are_groups() {
    let seat = Seat::new();
    let mode_with = |lines: &str| {
        let file = seat.directory.path().join("groups");
        std::fs::write(&file, lines).expect("ours");
        let path = seat.directory.path().join("another");
        let server = Server::bind(&path).expect("free");
        let groups = Groups { file, ..Groups::default() };
        server.start(seat.control.clone(), Bounds::default(), groups).expect("a thread");
        std::fs::metadata(&path).expect("there").permissions().mode() & 0o777
    };
    let own = rustix::process::getegid().as_raw();
    assert_eq!(mode_with("users:x:100:\n"), 0o600);
    assert_eq!(mode_with(&format!("weir:x:{own}:\n")), 0o660);
    assert_eq!(mode_with(&format!("weir-ro:x:{own}:\n")), 0o660);
    assert_eq!(mode_with("weir:x:4712:\nweir-ro:x:4711:\n"), 0o666);
    seat.running.stop();
}
