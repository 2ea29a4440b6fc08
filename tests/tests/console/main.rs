//! `weir shell` as somebody at a terminal meets it: the real binary on a pseudo-terminal, with a real
//! daemon in the lab.

mod sitting;

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use weir_tests::lab::{
    Family, Io, Lab, Output, PATIENCE, Weir, WeirOptions, binary, eventually, within,
};

use sitting::{Seat, Sitting};

const RULES: &str = "table <bad> persist { 192.0.2.66 }\nblock log all label \"default\"\n\
                     block in quick on wan from <bad>\nanchor web\npass in on lan label \"web\"\n\
                     pass out on wan\n";

/// A lab with a daemon; the shell, which is nobody there, may look into its folder.
fn house() -> (Lab, Weir) {
    let lab = Lab::new();
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(lab.folder(), open).expect("our folder");
    // Whatever an example cuts.
    let settings = "[commit]\ncut_percent = 100\n".into();
    let options = WeirOptions { settings, ..WeirOptions::new(Io::Packet, RULES) };
    let weir = Weir::start(&lab, &options);
    (lab, weir)
}

fn seat<'a>(term: &'a str, lab: &'a Lab) -> Seat<'a> {
    Seat { term, rows: 24, columns: 80, home: lab.folder() }
}

/// One command, as `weir shell COMMAND` does it.
fn once(socket: &Path, line: &str) -> Output {
    let words = line.split_whitespace();
    Output::of(Command::new(binary()).args(["shell", "--socket"]).arg(socket).args(words))
}

/// A script.
fn script(lab: &Lab, socket: &Path, text: &str) -> Output {
    let path = lab.folder().join("script");
    fs::write(&path, text).expect("our folder");
    let line = "exec \"$0\" shell --socket \"$1\" < \"$2\"";
    Output::of(Command::new("sh").args(["-c", line]).arg(binary()).arg(socket).arg(path))
}

/// The patterns that `help` lists, with their examples.
fn commands(socket: &Path) -> Vec<(String, String)> {
    let listed = once(socket, "help").expect_success();
    let words = |line: &str| {
        let words = line.trim().split("  ").next().unwrap_or_default().split(' ');
        let needed: Vec<_> = words.filter(|word| !word.starts_with('[')).collect();
        needed.join(" ").replace("...", "")
    };
    let begins: BTreeSet<String> = listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(words)
        .collect();
    let mut found = Vec::new();
    for begin in begins {
        let text = once(socket, &format!("help {begin}")).expect_success();
        let lines: Vec<_> = text.lines().collect();
        if let Some(at) = lines.iter().position(|line| *line == "example:") {
            found.push((lines[0].to_owned(), lines[at + 1].trim().to_owned()));
        }
    }
    found
}

#[test]
fn a_person_sees_what_they_asked_for() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("sh ru");
    let screen = shell.see("pass out on wan all flags S/SA");
    assert!(screen.contains("weir> sh ru\n# built in: pass quick arp\n"), "{screen}");
    shell.prompt();
    shell.line("show info detail");
    let screen = shell.see("--More-- (space: page, Enter: line, /: search, q: quit)");
    assert_eq!(screen.lines().count(), 24, "a full screen:\n{screen}");
    shell.keys("/Counters\r");
    shell.see("...skipping\nCounters\n  frames ");
    shell.see("--More--");
    shell.keys("q");
    shell.prompt();
    shell.line("show rulez");
    shell.see("weir shell: unknown word `rulez`: expected all, ");
    shell.prompt();
    shell.keys("\x04");
    assert!(shell.end().success());
}

#[test]
fn words_are_completed_and_names_known() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("xterm", &lab), weir.socket());
    shell.prompt();
    shell.keys("sho\tru\t");
    shell.see("weir> show rules ");
    shell.keys("\x15table \t");
    shell.see("weir> table bad ");
    shell.keys("add 192.0.2.7\r");
    shell.see("1/1 addresses added.");
    shell.keys("kill label \t");
    shell.until("both labels", |screen| screen.contains("default") && screen.contains("web"));
    shell.keys("\x03");
    shell.prompt();
    shell.line("table ?");
    shell.see("TABLE             the name of a table");
}

#[test]
fn ctrl_c_leaves_the_shell_as_it_was() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    // A line that is being typed.
    shell.keys("flush rules");
    shell.see("weir> flush rules");
    shell.keys("\x03");
    shell.prompt();
    shell.line("show labels");
    shell.see("\nweb ");
    // What follows what happens.
    shell.line("capture");
    eventually("the capture runs", || !shell.processes("capture").is_empty());
    assert!(shell.is_calm(), "Ctrl-C is a signal while a command runs");
    shell.keys("\x03");
    eventually("the capture is over", || shell.processes("capture").is_empty());
    shell.prompt();
    // The question at the end of a page, and a question about it all.
    shell.line("show info detail");
    shell.see("--More--");
    shell.keys("\x03");
    shell.prompt();
    shell.line("flush rules");
    shell.see("Sure? [y/N]");
    shell.keys("\x03");
    shell.prompt();
    shell.line("show tables");
    shell.see("-pa-r--");
    shell.line("exit");
    assert!(weir.show(&["-s", "rules"]).contains("pass out on wan"), "nothing was flushed");
    assert!(shell.end().success());
}

#[test]
fn the_live_view_gives_the_terminal_back() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("xterm", &lab), weir.socket());
    shell.prompt();
    shell.line("top");
    shell.see("SYNPROXY");
    shell.keys("q");
    shell.prompt();
    // It dies with the screen in its hands.
    shell.line("top");
    shell.see("SYNPROXY");
    for pid in shell.processes("top --socket") {
        kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL).expect("it runs");
    }
    shell.see("the command was ended: signal: 9 (SIGKILL)");
    shell.prompt();
    shell.line("show labels");
    shell.see("\nweb ");
}

/// It tells what is wrong with a filter and goes on, answers keys while it is frozen, and finds the next
/// daemon when one has gone.
#[test]
fn the_live_view_goes_on() {
    let (lab, mut weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("top");
    shell.see("SYNPROXY");
    shell.keys("2/nosuch\r");
    shell.see("`nosuch` is no criterion");
    shell.keys(" ");
    shell.see("FROZEN");
    shell.keys("/\x15\rs");
    shell.until("an order, and no complaint", |screen| {
        screen.contains("STATES by bytes") && !screen.contains("nosuch")
    });
    shell.keys(" 1");
    weir.kill();
    shell.see("cannot reach");
    drop(weir);
    let _weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, RULES));
    shell.until("the next daemon", |screen| {
        screen.contains("SYNPROXY") && !screen.contains("cannot reach")
    });
    shell.keys("q");
    shell.prompt();
}

#[test]
fn a_command_that_is_killed_harms_nobody() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("capture");
    eventually("the capture runs", || !shell.processes("capture").is_empty());
    for pid in shell.processes("capture") {
        kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL).expect("it runs");
    }
    shell.see("the command was ended: signal: 9 (SIGKILL)");
    shell.prompt();
    shell.line("show labels");
    shell.see("\nweb ");
}

#[test]
fn a_dumb_terminal_gets_no_escape_sequence() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("dumb", &lab), weir.socket());
    shell.prompt();
    shell.line("show info detail");
    shell.see("--More--");
    shell.keys("q");
    shell.prompt();
    shell.keys("show \x03");
    shell.line("edit rules");
    shell.see("weir.conf: 6 lines; h for help");
    for line in ["2s/all/ALL/", "w"] {
        shell.line(line);
    }
    shell.see("NOT written");
    for line in ["s/ALL/all/", "$a", "pass in on wan proto icmp", ".", "w"] {
        shell.line(line);
    }
    // After the one of `NOT written`; what is typed ahead may stand before it.
    shell.until("written", |screen| screen.matches("written").count() > 1);
    shell.line("q");
    shell.line("exit");
    let bytes = shell.bytes();
    assert!(!bytes.contains(&0x1b), "{}", String::from_utf8_lossy(&bytes));
    let rules = fs::read_to_string(lab.folder().join("weir.conf")).expect("the rule file");
    assert_eq!(rules, format!("{RULES}pass in on wan proto icmp\n"));
}

#[test]
fn rules_are_edited_on_a_screen_and_checked() {
    let (lab, weir) = house();
    let path = lab.folder().join("weir.conf");
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("edit rules");
    let screen = shell.see("^W write  ^X leave");
    let lines: Vec<_> = screen.lines().collect();
    assert!(lines[0].contains("weir.conf  line 1 of 6"), "{screen}");
    assert!(lines[1].starts_with("table <bad>") && lines[7] == "~", "{screen}");
    assert_eq!(shell.cursor(), (1, 0));
    // A fault in the fourth line: nothing is written, and the cursor shows it.
    shell.keys("\x1b[B\x1b[B\x1b[Bxx\x17");
    shell.see("NOT written: ");
    assert_eq!(shell.cursor().0, 4);
    assert_eq!(fs::read_to_string(&path).expect("the rule file"), RULES);
    shell.keys("\x1b[3~\x1b[3~");
    shell.keys("\x06out on\r");
    eventually("it is found", || shell.cursor() == (6, 5));
    shell.keys("\x05 label \"new\"\x17");
    shell.until("it is written", |screen| screen.lines().any(|line| line == "written"));
    shell.keys("\x18");
    shell.prompt();
    shell.line("load");
    shell.prompt();
    shell.line("show labels");
    shell.see("\nnew ");
    let rules = fs::read_to_string(&path).expect("the rule file");
    assert_eq!(rules, RULES.replace("out on wan", "out on wan label \"new\""));
}

#[test]
fn the_daemon_may_go_and_come_back() {
    let (lab, mut weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("log follow events");
    shell.see("rules-loaded");
    weir.kill();
    shell.see("the daemon hung up");
    shell.prompt();
    shell.line("show labels");
    shell.see("cannot reach `weir run` at ");
    shell.prompt();
    // Completion does not wait for it either.
    shell.keys("table \tx\x15");
    drop(weir);
    let _weir = Weir::start(&lab, &WeirOptions::new(Io::Packet, RULES));
    shell.line("show labels");
    shell.see("\nweb ");
}

#[test]
fn the_shell_has_no_privileges() {
    let (lab, weir) = house();
    let shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    let status = |pid: i32| fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let field = |pid: i32, name: &str| {
        let text = status(pid);
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
        line.trim().to_owned()
    };
    let [shell_pid] = shell.processes("shell --socket")[..] else { panic!("one shell") };
    assert!(!field(shell_pid, "Uid:").split_whitespace().any(|id| id == "0"));
    assert!(!field(shell_pid, "Gid:").split_whitespace().any(|id| id == "0"));
    assert!(!field(shell_pid, "Groups:").split_whitespace().any(|id| id == "0"));
    assert_eq!(field(shell_pid, "CapEff:"), "0000000000000000");
    assert_eq!(field(shell_pid, "NoNewPrivs:"), "1");
    let [keeper] = shell.processes("shell --keeper")[..] else { panic!("one keeper") };
    assert_eq!(field(keeper, "NoNewPrivs:"), "1");
    kill_process(Pid::from_raw(shell_pid).expect("a process"), Signal::KILL).expect("it runs");
    eventually("the keeper goes with its shell", || {
        !Path::new(&format!("/proc/{keeper}")).exists()
    });
}

#[test]
fn lines_are_kept_and_secrets_are_not() {
    let (lab, weir) = house();
    let kept = lab.folder().join(".weir_history");
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("show labels");
    shell.prompt();
    shell.line("my secret password");
    shell.see("unknown word `my`");
    shell.line("exit");
    assert!(shell.end().success());
    assert_eq!(fs::read_to_string(&kept).expect("the kept lines"), "show labels\nexit\n");
    assert_eq!(fs::metadata(&kept).expect("a file").permissions().mode() & 0o777, 0o600);
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.keys("\x1b[A\x1b[A");
    shell.see("weir> show labels");
}

#[test]
fn a_password_locks_the_shell() {
    let (lab, weir) = house();
    fs::write(lab.folder().join("weir.toml"), "[shell]\nidle_lock = 16 # soon\n")
        .expect("our folder");
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("password");
    shell.see("New password");
    shell.line("correct horse");
    shell.see("The same again");
    shell.line("correct horse");
    shell.see("changed");
    // Nobody touches a key.
    let asks = || String::from_utf8_lossy(&shell.bytes()).contains("Password: ");
    assert!(within(4 * PATIENCE, asks), "the shell does not lock itself");
    let count =
        |shell: &Sitting, text: &str| String::from_utf8_lossy(&shell.bytes()).matches(text).count();
    let (mut asked, prompts) = (count(&shell, "Password: "), count(&shell, "weir> "));
    // The second is typed while the first is looked at.
    shell.keys("wrong\rcorrect horse\r");
    shell.see("wrong password; locked for 1 s");
    let mut answers = 2;
    eventually("the delay is over", || {
        eventually("an answer", || {
            count(&shell, "Password: ") >= asked + answers || count(&shell, "weir> ") > prompts
        });
        if count(&shell, "weir> ") > prompts {
            return true;
        }
        (asked, answers) = (asked + answers, 1);
        shell.line("correct horse");
        false
    });
    let bytes = shell.bytes();
    assert!(!String::from_utf8_lossy(&bytes).contains("horse"), "nothing of it is shown");
    let hash = fs::read_to_string(lab.folder().join("state/console-password")).expect("the hash");
    assert!(hash.starts_with("$argon2id$"));
}

#[test]
fn scripts_stop_at_the_first_error() {
    let (lab, weir) = house();
    let good = script(&lab, weir.socket(), "# comment\n\nshow labels\ntable bad add 192.0.2.9\n");
    assert!(good.expect_success().contains("web "), "a script's output is plain");
    let bad = script(&lab, weir.socket(), "show labels\ntable nonsense\nflush rules\n");
    assert_eq!(bad.status.code(), Some(2));
    assert!(bad.stderr.contains("stopped at line 2: table nonsense"), "{}", bad.stderr);
    assert!(weir.show(&["-s", "rules"]).contains("pass out"), "line 3 was not done");
    let failing = script(&lab, weir.socket(), "load /nonexistent/weir.conf\nshow labels\n");
    assert_eq!((failing.status.code(), &*failing.stdout), (Some(1), ""));
}

#[test]
fn pfctls_flags_work_at_the_prompt() {
    let (lab, weir) = house();
    let script = script(
        &lab,
        weir.socket(),
        "-sl\npfctl -sr\nweir ctl -t bad -T add 192.0.2.8\n-t bad -T show\n",
    );
    let text = script.expect_success();
    assert!(text.contains("pass out on wan") && text.contains("192.0.2.8"), "{text}");
    for (line, reason) in [
        ("-f -", "no standard input"),
        ("-sr --socket /tmp/other", "speaks to one daemon"),
        ("co force", "`co` may be commit, confirm"),
    ] {
        let refused = once(weir.socket(), line);
        assert!(refused.stderr.contains(reason), "{line}: {}", refused.stderr);
    }
    assert!(weir.show(&["-s", "rules"]).contains("pass out on wan"));
}

#[test]
fn settings_are_changed_one_at_a_time() {
    let (lab, weir) = house();
    let path = lab.folder().join("weir.toml");
    fs::write(&path, "# mine\n[ports]\nio = \"packet\" # for now\n").expect("our folder");
    let note = once(weir.socket(), "set ports.io xdp").expect_success();
    assert_eq!(note, "written; weir goes by it when it is started again\n");
    once(weir.socket(), "set port wan eth9").expect_success();
    let text = fs::read_to_string(&path).expect("the settings");
    assert_eq!(text, "# mine\n[ports]\nio = \"xdp\" # for now\nwan = \"eth9\"\n");
    let wrong = once(weir.socket(), "set ports.io dpdk");
    assert_eq!(wrong.status.code(), Some(2), "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("`io` must be one of auto, netmap, xdp, packet"),
        "{}",
        wrong.stderr
    );
    assert_eq!(fs::read_to_string(&path).expect("the settings"), text);
    assert!(once(weir.socket(), "show settings").expect_success().contains("wan = \"eth9\""));
    // What root opens is not for a client to choose.
    for key in ["rules", "state_dir", "socket", "log.packets"] {
        let refused = once(weir.socket(), &format!("set {key} /etc/shadow"));
        assert!(refused.stderr.contains("by hand"), "{key}: {}", refused.stderr);
    }
    assert_eq!(fs::read_to_string(&path).expect("the settings"), text);
}

#[test]
fn nobody_is_believed_while_weir_cannot_be_asked() {
    let (lab, mut weir) = house();
    let socket = weir.socket().to_owned();
    weir.kill();
    let mut shell = Sitting::begin(&seat("vt100", &lab), &socket);
    shell.prompt();
    shell.line("flush rules");
    shell.see("cannot be asked");
    shell.prompt();
}

#[test]
fn a_password_that_is_set_elsewhere_locks_open_shells() {
    let (lab, weir) = house();
    let mut open = Sitting::begin(&seat("vt100", &lab), weir.socket());
    open.prompt();
    let mut other = Sitting::begin(&seat("vt100", &lab), weir.socket());
    other.prompt();
    other.line("password");
    for question in ["New password", "The same again"] {
        other.see(question);
        other.line("correct horse");
    }
    other.see("changed");
    open.line("show labels");
    let screen = open.see("Password: ");
    assert!(!screen.contains("\nweb "), "{screen}");
    open.line("correct horse");
    open.see("\nweb ");
    // Whoever has set it is known.
    other.prompt();
    other.line("show labels");
    other.see("\nweb ");
}

#[test]
fn a_long_listing_waits_for_its_reader() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    // Far more than a pipe holds.
    let many: Vec<_> = (0..20_000).map(|n| format!("10.{}.{}.1", n / 250, n % 250)).collect();
    let file = lab.folder().join("many");
    fs::write(&file, many.join("\n")).expect("our folder");
    weir.show(&["-t", "bad", "-T", "add", "-f", &file.to_string_lossy()]);
    shell.line("show table bad");
    shell.see("--More--");
    // The command has said everything while nobody reads on.
    eventually("it ends", || shell.processes("-T show").is_empty());
    shell.keys("/10.79.249.1\r");
    shell.until("it is found", |screen| {
        let found = screen.lines().any(|line| line.trim() == "10.79.249.1");
        screen.contains("...skipping") && found
    });
}

#[test]
fn few_mean_what_hits_everybody() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    for line in ["flush rules", "-Fr", "pfctl -F all", "kill 0.0.0.0/0", "-d"] {
        shell.line(line);
        shell.until("the question", |screen| {
            screen.trim_end().ends_with("Sure? [y/N]") && screen.contains(&format!("> {line}\n"))
        });
        shell.line("n");
        shell.prompt();
    }
    assert!(weir.show(&["-s", "rules"]).contains("pass out on wan"), "nothing was flushed");
}

/// What an example needs that is not there, and what it says then.
const ELSEWHERE: [(&str, &str); 22] = [
    ("top", "this needs a terminal"),
    ("edit rules", "this needs a terminal"),
    ("lock", "this needs a terminal"),
    ("password", "this needs a terminal"),
    ("backup", "not what this machine was started by"),
    ("backup usb", "not what this machine was started by"),
    ("restore", "not what this machine was started by"),
    ("restore usb", "not what this machine was started by"),
    ("upgrade usb", "not what this machine was started by"),
    ("upgrade weir-0.1.0.upgrade downgrade", "not what this machine was started by"),
    ("install", "not what this machine was started by"),
    ("factory reset", "not what this machine was started by"),
    ("setup", "not what this machine was started by"),
    ("clock 2026-11-23 12:00", "not what this machine was started by"),
    ("show clock", "not what this machine was started by"),
    ("show management", "not what this machine was started by"),
    ("restart", "not what this machine was started by"),
    ("reboot", "not what this machine was started by"),
    ("shutdown", "not what this machine was started by"),
    ("load /etc/weir/weir.conf", "/etc/weir/weir.conf: "),
    ("check /etc/weir/weir.conf", "/etc/weir/weir.conf: "),
    ("set port lan eth1", ""),
];

#[test]
fn every_example_works() {
    let (lab, weir) = house();
    let found = commands(weir.socket());
    assert!(found.len() > 40, "{}", found.len());
    for (pattern, example) in &found {
        // Whatever the one before has left.
        weir.show(&["-f", &lab.folder().join("weir.conf").to_string_lossy()]);
        weir.show(&["-t", "bad", "-T", "add", "192.0.2.66"]);
        if example == "confirm" {
            let changed = format!("{RULES}pass in on wan proto icmp\n");
            fs::write(lab.folder().join("weir.conf"), changed).expect("our folder");
            once(weir.socket(), "commit confirmed 5m").expect_success();
        }
        if example.starts_with("capture") || example.starts_with("log follow") {
            shows_packets(&lab, &weir, example);
            continue;
        }
        let output = once(weir.socket(), example);
        match ELSEWHERE.iter().find(|(line, _)| line == example) {
            Some((_, reason)) => {
                assert!(
                    output.success() || output.stderr.contains(reason),
                    "{pattern}: {output:?}"
                );
            }
            None => assert!(output.success(), "{pattern}: {output:?}"),
        }
    }
}

/// Runs an example that shows packets, until it has shown one.
fn shows_packets(lab: &Lab, weir: &Weir, example: &str) {
    let rules = lab.folder().join("open.conf");
    fs::write(&rules, "pass log (all)\n").expect("our folder");
    weir.show(&["-f", &rules.to_string_lossy()]);
    let mut command = Command::new(binary());
    command.args(["shell", "--socket"]).arg(weir.socket()).args(example.split(' '));
    let process = weir_tests::lab::Process::start(&mut command);
    eventually("a packet is shown", || {
        packets(lab);
        process.lines().iter().any(|line| line.contains(" on "))
    });
}

/// Sends packets of three protocols, of which nobody need see any.
fn packets(lab: &Lab) {
    let server = lab.server.address(Family::Inet);
    let client = lab.client.address(Family::Inet).to_string();
    lab.client.namespace.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        let _ = socket.send_to(b"x", (server, 9));
        drop(TcpStream::connect((server, 22)));
    });
    lab.server.run(&["ping", "-c", "1", "-W", "1", &client]);
}

#[test]
fn the_log_is_followed_until_ctrl_c() {
    let (lab, weir) = house();
    let mut shell = Sitting::begin(&seat("vt100", &lab), weir.socket());
    shell.prompt();
    shell.line("log follow packets rule 0");
    let shown =
        |shell: &Sitting| String::from_utf8_lossy(&shell.bytes()).matches(": block in on ").count();
    for packet in 1..3 {
        eventually("a packet is shown", || {
            packets(&lab);
            shown(&shell) >= packet
        });
    }
    shell.keys("\x03");
    eventually("it ends", || shell.processes("log --socket").is_empty());
    shell.prompt();
    // What was shown is remembered, and other criteria choose among it.
    let before = shown(&shell);
    shell.line("log last 5 packets label default");
    eventually("it is shown again", || shown(&shell) > before);
    shell.prompt();
    shell.line("log severity nonsense");
    shell.see("weir log: ");
}

#[test]
fn the_manual_lists_every_command() {
    let manual = include_str!("../../../config/man/weir-shell.8");
    let listed: BTreeSet<String> = manual
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .map(|line| line.replace("Oo ", "[").replace(" Oc", "]"))
        .collect();
    let known = commands(Path::new("/nonexistent/weir.sock"));
    let known: BTreeSet<String> = known.into_iter().map(|(pattern, _)| pattern).collect();
    assert_eq!(listed, known);
}
