//! The real process and its commands: killed between a commit and its confirmation, too late to be
//! confirmed, without room to keep anything. Needs root and `ip`.

use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

use crate::house::wait_for;
use crate::process::{Process, pass};

fn text(output: &Output) -> String {
    let part = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    part(&output.stdout) + &part(&output.stderr)
}

/// What a command says that succeeds.
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    text(output)
}

fn rules(weir: &Process) -> String {
    done(&weir.ctl(&["-sr"])).lines().filter(|line| !line.starts_with('#')).collect()
}

fn write_rules(weir: &Process, rules: &str) {
    std::fs::write(weir.directory.path().join("weir.conf"), rules).unwrap();
}

#[test]
fn a_killed_process_undoes_what_was_not_confirmed() {
    let mut weir = Process::start_after(":", Stdio::null(), pass);
    weir.forwards();
    write_rules(&weir, "block\n");
    // Without the name of a file it is the daemon's own.
    let said = done(&weir.weir(&["commit", "confirmed", "1h", "comment", "lock", "me", "out"]));
    assert!(said.contains("UNDONE in 3600 seconds") && said.contains("1 rules in force"), "{said}");
    assert_eq!(rules(&weir), "block drop all");
    let listed = done(&weir.weir(&["history"]));
    assert!(
        listed.contains("# lock me out") && listed.contains("[pending, undone in 3"),
        "{listed}"
    );
    weir.killed_and_restarted(Stdio::piped());
    let mut log = BufReader::new(weir.log()).lines();
    let told = log.any(|line| line.unwrap().contains("WAS NEVER CONFIRMED"));
    assert!(told, "it is said loudly");
    weir.forwards();
    assert_eq!(rules(&weir), "pass all flags S/SA");
    assert!(done(&weir.weir(&["history"])).contains("[undone]"));
    // The rule file still holds what was undone: no start loads it.
    weir.killed_and_restarted(Stdio::null());
    weir.forwards();
    assert_eq!(rules(&weir), "pass all flags S/SA");
    let told = done(&weir.weir(&["history", "diff"]));
    assert!(told.contains("- @0 pass all flags S/SA\n+ @0 block drop all\n"), "{told}");
    // But somebody may mean it.
    done(&weir.weir(&["commit"]));
    weir.killed_and_restarted(Stdio::null());
    weir.forwards();
    assert_eq!(rules(&weir), "block drop all");
    // And go back, which leaves the file alone.
    let said = done(&weir.weir(&["rollback", "1", "confirmed"]));
    assert!(said.contains("the next start loads that"), "{said}");
    assert_eq!(rules(&weir), "pass all flags S/SA");
    assert!(done(&weir.weir(&["confirm"])).contains("is confirmed"));
    let again = weir.weir(&["confirm"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again).contains("nothing waits to be confirmed"), "{again:?}");
    assert_eq!(weir.weir(&["rollback", "one"]).status.code(), Some(2));
}

#[test]
fn who_is_locked_out_only_has_to_wait() {
    let mut weir = Process::start_after(":", Stdio::piped(), pass);
    weir.forwards();
    let mut log = BufReader::new(weir.log()).lines();
    write_rules(&weir, "block\n");
    done(&weir.weir(&["commit", "confirmed", "1s"]));
    wait_for("what was before", || rules(&weir) == "pass all flags S/SA");
    let told = log.any(|line| line.unwrap().contains("change 2 was NOT CONFIRMED in time"));
    assert!(told, "and it is said");
}

/// Rules are put in force whether or not they can be kept; only what has to be undone by itself is not.
fn nothing_can_be_kept(first: &'static str) {
    let mut weir = Process::start_after(first, Stdio::null(), pass);
    weir.forwards();
    assert_eq!(rules(&weir), "pass all flags S/SA");
    write_rules(&weir, "block\n");
    let file = weir.directory.path().join("weir.conf");
    let said = done(&weir.ctl(&["-f", file.to_str().unwrap()]));
    assert!(said.contains("COULD NOT BE KEPT"), "{said}");
    assert_eq!(rules(&weir), "block drop all");
    write_rules(&weir, "pass in\n");
    let refused = weir.weir(&["commit", "confirmed"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("nothing was changed"), "{refused:?}");
    assert_eq!(rules(&weir), "block drop all");
    assert_eq!(done(&weir.weir(&["history"])), "");
}

#[test]
fn a_full_disk_stops_no_rules() {
    nothing_can_be_kept(
        "mkdir -p state; mount -t tmpfs -o size=32k,nr_inodes=4,mode=700 weir-test state; \
         head -c 100000 /dev/zero > state/filler 2>/dev/null || true",
    );
}

#[test]
fn a_read_only_disk_stops_no_rules() {
    nothing_can_be_kept("mkdir -p state; mount -t tmpfs -o ro,mode=700 weir-test state");
}
