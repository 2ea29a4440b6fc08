//! The binary as a user calls it, where no daemon is needed.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

fn weir(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(WEIR)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn checked_rules_are_printed_as_pfctl_prints_them() {
    let rules = "side = lan\nset limit states 10\npass on $side proto { tcp, udp } to port 53\n";
    let output = weir(&["ctl", "-nvf", "-"], rules);
    assert_eq!(
        text(&output.stdout),
        "side = \"lan\"\nset limit states 10\n\
         pass on lan proto tcp from any to any port = 53 flags S/SA\n\
         pass on lan proto udp from any to any port = 53\n"
    );
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
    let output = weir(&["ctl", "-nvv", "-D", "side=wan", "-f", "-"], rules);
    assert!(text(&output.stdout).contains("@0 pass on wan proto tcp "), "-D wins, -vv numbers");
    let output = weir(&["ctl", "-nf", "-"], rules);
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

#[test]
fn what_is_printed_prints_itself() {
    let rules = "pass in quick on lan inet6 proto ipv6-icmp icmp6-type echoreq label \"p $nr\"\n\
                 block return log (all) from ! 10.0.0.0/8 to 192.0.2.1 - 192.0.2.9\n";
    let once = weir(&["ctl", "-nvf", "-"], rules);
    let twice = weir(&["ctl", "-nvf", "-"], text(&once.stdout));
    assert_eq!(text(&twice.stdout), text(&once.stdout));
    assert_eq!(once.status.code(), Some(0));
}

#[test]
fn all_errors_are_told_with_file_line_and_column() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.conf");
    std::fs::write(&path, "set limit states 10\npass\n  blok in\npass from 1.2.3\n").unwrap();
    let path = path.to_str().unwrap();
    let output = weir(&["ctl", "-nvf", path], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "set limit states 10\n", "no rules");
    let errors: Vec<_> = text(&output.stderr).lines().collect();
    assert!(errors.iter().any(|line| line.starts_with(&format!("{path}:3:3: "))), "{errors:?}");
    assert!(errors.iter().any(|line| line.starts_with(&format!("{path}:4:11: "))), "{errors:?}");
    let output = weir(&["ctl", "-nf", "-"], "pas\n");
    assert!(text(&output.stderr).starts_with("stdin:1:1: "));
    let output = weir(&["ctl", "-nf", "/nonexistent/weir.conf"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/nonexistent/weir.conf: "));
}

#[test]
fn files_that_a_file_names_are_read_by_the_client() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let path = file("weir.conf", "block\ninclude \"web.conf\"\n");
    let web = file("web.conf", "anchor \"web\" in on wan {\n  pass proto tcp to port 80\n}\n");
    let output = weir(&["ctl", "-nvf", &path], "");
    assert_eq!(
        text(&output.stdout),
        "block drop all\nanchor \"web\" in on wan all {\n  \
         pass proto tcp from any to any port = 80 flags S/SA\n}\n"
    );
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
    // The file of an anchor is shown as what it is.
    let output = weir(&["ctl", "-a", "web", "-nvf", "-"], "pass out\n");
    assert_eq!(text(&output.stdout), "pass out all flags S/SA\n");
    // Errors name the file that they are in.
    file("web.conf", "pas\n");
    let output = weir(&["ctl", "-nf", &path], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with(&format!("{web}:1:1: ")), "{output:?}");
    std::fs::remove_file(&web).unwrap();
    let output = weir(&["ctl", "-nf", &path], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with(&format!("{path}:2:9: {web}: ")), "{output:?}");
}

#[test]
fn what_is_loaded_into_anchors_is_printed_behind_the_rules() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let main = "side = wan\nload anchor web from \"web.conf\"\nblock\nanchor web\nanchor a {\n  \
                load anchor b from \"b.conf\"\n}\n";
    let path = file("weir.conf", main);
    let web = file("web.conf", "p = 80\ntable <t> const { 10.0.0.1 }\npass proto tcp to port $p\n");
    let deep = file("b.conf", "anchor in {\n  pass\n}\n");
    let output = weir(&["ctl", "-nvvf", &path], "");
    assert_eq!(
        text(&output.stdout),
        "side = \"wan\"\n@0 block drop all\n@1 anchor \"web\" all\n@2 anchor \"a\" all\n\
         p = \"80\"\ntable <t> const { 10.0.0.1 }\n\
         @0 pass proto tcp from any to any port = 80 flags S/SA\n\
         @0 anchor in all {\n@0 pass all flags S/SA\n}\n"
    );
    assert_eq!(
        text(&output.stderr),
        format!("\nLoading anchor web from {web}\n\nLoading anchor a/b from {deep}\n")
    );
    let quiet = weir(&["ctl", "-nf", &path], "");
    assert_eq!((text(&quiet.stdout), text(&quiet.stderr)), ("", ""));
}

#[test]
fn bytes_that_are_no_text_are_refused_where_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("latin.conf");
    std::fs::write(&path, b"block\n# gr\xfc\xdfe\n").unwrap();
    let path = path.to_str().unwrap();
    let wrong = format!("{path}:2:5: found the byte 0xfc, which is not UTF-8 text\n");
    for (arguments, status) in [
        (&["ctl", "-nf", path][..], 1),
        (&["check", path], 1),
        (&["explain", "--rules", path, "in on lan proto udp from 10.0.0.1 to 10.0.0.2"], 2),
        (&["test", "--rules", path, "-"], 2),
        (&["test", "--rules", "-", path], 2),
    ] {
        let output = weir(arguments, "");
        assert_eq!(text(&output.stderr), wrong, "{arguments:?}");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}

#[test]
fn what_cannot_be_put_in_force_is_printed_and_refused() {
    let rules = "pass in proto tcp from any os Linux to port 80\npass out\n";
    let output = weir(&["ctl", "-nvf", "-"], rules);
    assert_eq!(
        text(&output.stdout),
        "pass in proto tcp from any os \"Linux\" to any port = 80 flags S/SA\n\
         pass out all flags S/SA\n"
    );
    let errors = text(&output.stderr);
    assert!(errors.starts_with("stdin:1:1: ") && errors.contains("`os`"), "{errors}");
    assert_eq!((errors.lines().count(), output.status.code()), (1, Some(1)));
}

#[test]
fn files_that_are_too_large_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge");
    // A hole takes no room on the disk.
    std::fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    let path = path.to_str().unwrap();
    let output = weir(&["ctl", "-nf", path], "");
    assert_eq!(text(&output.stderr), format!("weir ctl: {path}: longer than 33554432 bytes\n"));
    assert_eq!(output.status.code(), Some(1));
    let rules = format!("table <t> file \"{path}\"\n");
    let output = weir(&["ctl", "-nf", "-"], &rules);
    let errors = text(&output.stderr);
    assert!(errors.starts_with("stdin:1:") && errors.contains("longer than"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn without_a_daemon_the_client_says_so() {
    for arguments in [&["-sr"][..], &["-f", "-"], &["-Fs"], &["-k", "192.0.2.1"], &["-e"]] {
        let arguments = [&["ctl", "--socket", "/nonexistent/sock"][..], arguments].concat();
        let output = weir(&arguments, "pass\n");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = text(&output.stderr);
        assert!(errors.contains("cannot reach `weir run` at /nonexistent/sock"), "{errors}");
    }
}

#[test]
fn top_needs_a_terminal() {
    let output = weir(&["top", "--socket", "/nonexistent/sock"], "");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("weir top: this needs a terminal"), "{said}");
    assert_eq!(weir(&["top", "--whatever"], "").status.code(), Some(2));
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let output = weir(&["ctl", "-S", "192.0.2.1"], "");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("weir ctl: `-S` is not available: states are not kept"), "{said}");
}

const TRAP: &str = "block in log\npass in on lan\npass in on lan proto tcp flags any\n";

#[test]
fn check_warns_of_traps_and_fails_if_asked_to() {
    let output = weir(&["check", "-"], TRAP);
    let said = text(&output.stdout);
    assert!(said.starts_with("stdin:3:1: warning[mid-connection-state]: `flags any` "), "{said}");
    assert!(said.contains("  3 | pass in on lan proto tcp flags any\n    | ^^^^"), "{said}");
    assert!(said.contains("\n  why: ") && said.contains("\n  help: "), "{said}");
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
    assert_eq!(weir(&["check", "--strict", "-"], TRAP).status.code(), Some(1));
    let silenced = format!("# lint: allow-file mid-connection-state\n{TRAP}");
    let output = weir(&["check", "--strict", "-"], &silenced);
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

#[test]
fn check_tells_errors_as_ctl_does() {
    let rules = "pas\npass in on lan synproxy state\n";
    let check = weir(&["check", "-"], rules);
    assert_eq!((text(&check.stdout), check.status.code()), ("", Some(1)));
    assert_eq!(text(&check.stderr), text(&weir(&["ctl", "-nf", "-"], rules).stderr));
    // What could not be put in force is an error too, and its traps are told all the same.
    let rules = "block in\npass in on wan proto tcp from any os Linux synproxy state\n";
    let check = weir(&["check", "-"], rules);
    assert!(text(&check.stderr).starts_with("stdin:2:1: "), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains("warning[synproxy-everything]"));
    assert_eq!(check.status.code(), Some(1));
    let check = weir(&["check", "/nonexistent/weir.conf"], "");
    assert_eq!((text(&check.stdout), check.status.code()), ("", Some(2)));
    assert!(text(&check.stderr).starts_with("weir check: /nonexistent/weir.conf: "));
}

#[test]
fn check_knows_macros_and_ports() {
    let rules = "block in\npass in on $side\n";
    assert_eq!(weir(&["check", "-D", "side=lan", "-"], rules).status.code(), Some(0));
    let ports = ["check", "-D", "side=eth7", "--lan", "eth0", "--wan", "eth1", "-"];
    let output = weir(&ports, rules);
    let said = text(&output.stdout);
    assert!(said.contains("2:1: warning[unknown-interface]: `eth7` is no port"), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("weir.toml");
    std::fs::write(&settings, "[ports]\nlan = \"eth7\"\nwan = \"eth1\"\n").unwrap();
    let settings = settings.to_str().unwrap();
    let output = weir(&["check", "--config", settings, "-D", "side=eth7", "-"], rules);
    assert_eq!((text(&output.stdout), output.status.code()), ("", Some(0)));
}

#[test]
fn check_explains_lists_and_speaks_json() {
    let list = weir(&["check", "--list"], "");
    for line in text(&list.stdout).lines() {
        let (name, summary) = line.split_once(' ').unwrap();
        let told = weir(&["check", "--explain", name], "");
        assert!(text(&told.stdout).starts_with(&format!("{name}: {}\n\n", summary.trim())));
    }
    assert!(text(&list.stdout).lines().count() >= 20);
    assert_eq!(weir(&["check", "--explain", "nothing"], "").status.code(), Some(2));
    assert_eq!(weir(&["check"], "").status.code(), Some(2));
    let output = weir(&["check", "--json", "-"], TRAP);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["file"], "stdin");
    let finding = &json["lint"]["findings"][0];
    assert_eq!((&finding["name"], &finding["line"]), (&"mid-connection-state".into(), &3.into()));
    assert_eq!(json["diagnostics"], serde_json::json!([]));
    let output = weir(&["check", "--json", "-"], "pas\n");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["diagnostics"][0]["column"], 1);
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(1)));
}

#[test]
fn weirctl_is_weir_ctl() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("weirctl");
    std::os::unix::fs::symlink(WEIR, &link).unwrap();
    let output = Command::new(link).arg("-h").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("usage: weir ctl "));
}

#[test]
fn running_needs_two_interfaces_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("weir.toml");
    std::fs::write(&settings, "").unwrap();
    let socket = directory.path().join("sock");
    let run = ["run", "--config", settings.to_str().unwrap(), "--socket", socket.to_str().unwrap()];
    let output = weir(&run, "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("no lan interface"));
    let output = weir(&[&run[..], &["--lan", "nonexist0", "--wan", "nonexist1"]].concat(), "");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("nonexist0: no such interface"), "{errors}");
    assert_eq!(text(&output.stdout), "");
    assert!(!socket.exists(), "cleared away");
}

#[test]
fn nics_lists_what_there_is() {
    let output = weir(&["nics", "--json"], "");
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let nics = listing["nics"].as_array().unwrap();
    assert!(nics.iter().all(|nic| nic["name"] != "lo" && nic["ports"][0].is_string()), "{nics:?}");
    let output = weir(&["nics"], "");
    assert!(text(&output.stdout).contains("bridge"), "{}", text(&output.stdout));
    for nic in nics {
        let line = format!("{}: ", nic["name"].as_str().unwrap());
        assert!(text(&output.stdout).contains(&line), "{line}");
    }
}

#[test]
fn a_plan_is_printed_and_nothing_else_happens() {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("weir.toml");
    std::fs::write(&settings, "[threads]\nrealtime = 3\n").unwrap();
    let settings = settings.to_str().unwrap();
    let arguments = ["run", "--plan", "--config", settings, "--lan", "nowhere0", "--wan"];
    let plan = |rest: &[&str]| weir(&[&arguments[..], rest].concat(), "");
    let output = plan(&["nowhere1"]);
    let said = text(&output.stdout);
    assert_eq!((text(&output.stderr), output.status.code()), ("", Some(0)));
    for line in [
        "lan       nowhere0  (there is no such interface now)\n",
        "worker 0  CPU ",
        "control   CPU ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(said.contains("(SCHED_FIFO 3)"), "{said}");
    let output = plan(&["nowhere1", "--workers", "64", "--share-cores", "--realtime", "0"]);
    let said = text(&output.stdout);
    assert!(said.contains("worker 63 CPU ") && !said.contains("FIFO"), "{said}");
    let output = plan(&["nowhere1", "--workers", "64", "--share-cores"]);
    let said = text(&output.stdout);
    assert!(said.contains("no processor is left for the NICs' interrupts"), "{said}");
    let output = plan(&["pci:ffff:00:00.0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.starts_with("weir: pci:ffff:00:00.0: no such interface; "), "{said}");
}
