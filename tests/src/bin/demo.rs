//! `make demo`: weir at work between two real hosts, told step by step.
//!
//! Ends at a prompt from which both hosts and the firewall can be used; without a terminal it ends
//! by itself, with status 0 if every step did what was said of it. Needs root.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, stdin, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use weir_tests::lab::{
    Family, Host, Io, Lab, Namespace, PATIENCE, WebServer, Weir, WeirOptions, binary, shipped,
};

fn main() -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("The demonstration makes network namespaces and needs root: sudo make demo");
        return ExitCode::FAILURE;
    }
    let handler = ctrlc::set_handler(|| {
        Namespace::remove_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    let mut show = Show { colours: stdout().is_terminal() && no_color_unset(), failed: 0 };

    show.title("A lab: two computers and the box between them");
    let lab = Lab::new();
    show.text(
        "  client 192.0.2.1 ----- eth1 [ firewall ] eth2 ----- 192.0.2.2 server
         2001:db8::1      lan                wan      2001:db8::2

  All three are network namespaces on this machine. The firewall has no address: neither computer
  can tell that it is there.",
    );

    show.title("weir starts, with the rules that it ships");
    let rules = std::fs::read_to_string(shipped("weir.conf")).expect("part of this repository");
    let mut weir = Weir::start(&lab, &WeirOptions::new(Io::Auto, &rules));
    show.command("weir run --lan eth1 --wan eth2 --rules config/etc/weir.conf");
    output(&weir.greeting.clone());
    show.command("weir ctl -s rules");
    output(&weir.show(&["-s", "rules"]));

    let _outside = WebServer::start(&lab.server, 80);
    let _share = WebServer::start(&lab.server, 445);
    let _inside = WebServer::start(&lab.client, 8080);
    passing(&mut show, &lab);
    blocking(&mut show, &lab);
    remembering(&mut show, &lab, &weir);
    changing(&mut show, &lab, &mut weir, &rules);

    show.title("What it has counted");
    show.command("weir ctl -s info");
    output(&nonzero(&weir.show(&["-s", "info"])));

    if show.failed == 0 && stdin().is_terminal() && stdout().is_terminal() {
        prompt(&mut show, &lab, &weir);
    }
    let stopped = weir.stop(PATIENCE);
    show.check(stopped.is_some_and(|status| status.success()), "weir ended when it was asked to");
    if show.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn passing(show: &mut Show, lab: &Lab) {
    show.title("The client reaches the world");
    for family in [Family::Inet, Family::Inet6] {
        let said = curl(show, "client", &lab.client, &lab.server, family, 80);
        show.check(said.contains(WebServer::PAGE.trim()), "passed: `pass in on lan`");
    }
    show.command("client ping -c 1 192.0.2.2");
    show.check(lab.pings(Family::Inet), "passed, and the answer belongs to its state");
}

fn blocking(show: &mut Show, lab: &Lab) {
    show.title("File sharing towards the world is refused at once (block return)");
    let said = curl(show, "client", &lab.client, &lab.server, Family::Inet, 445);
    // "Connection refused", "Couldn't connect to server": the words depend on curl's age.
    let refused = !said.contains(WebServer::PAGE.trim()) && !is_silence(&said);
    show.check(refused, "weir answered in the server's name; it never knew");

    show.title("The world does not reach the client (block drop: nothing is heard)");
    let said = curl(show, "server", &lab.server, &lab.client, Family::Inet, 8080);
    show.check(is_silence(&said), "silence");
}

/// Whether curl says that nobody answered.
fn is_silence(said: &str) -> bool {
    said.contains("timed out") || said.contains("Timeout")
}

fn remembering(show: &mut Show, lab: &Lab, weir: &Weir) {
    show.title("The connections it remembers, and what it wrote down");
    let web = SocketAddr::new(lab.server.address(Family::Inet), 80);
    let held = lab
        .client
        .namespace
        .within(|| std::net::TcpStream::connect_timeout(&web, Duration::from_secs(5)));
    show.command("weir ctl -s states");
    let states = weir.show(&["-s", "states"]);
    output(&states);
    show.check(
        held.is_ok() && states.contains("ESTABLISHED:ESTABLISHED"),
        "SERVER:CLIENT states as pf shows them",
    );
    let logged = weir.log_line("192.0.2.2.445");
    show.text("  The log, on weir's standard error:");
    output(&logged.clone().unwrap_or_default());
    show.check(logged.is_some(), "the refused connection, as tcpdump would print it");
}

fn changing(show: &mut Show, lab: &Lab, weir: &mut Weir, rules: &str) {
    show.title("The rules change while connections go on");
    let more = format!("{rules}\npass in on wan proto tcp to port 8080 label \"demo\"\n");
    show.text("  # added: pass in on wan proto tcp to port 8080 label \"demo\"");
    show.command("weir ctl -f weir.conf");
    let loaded = weir.reload(weir_tests::lab::Reload::Ctl, &more);
    show.check(loaded.is_some_and(|said| said.success()), "loaded");
    let said = curl(show, "server", &lab.server, &lab.client, Family::Inet, 8080);
    show.check(said.contains(WebServer::PAGE.trim()), "now it passes");

    show.text("  # a file with a mistake in it:");
    show.command("weir ctl -f broken.conf");
    let broken = lab.folder().join("broken.conf");
    std::fs::write(&broken, "block in\npass in on lan proto tpc to port 80\n").expect("our folder");
    let said = weir.ctl(&["-f", &broken.to_string_lossy()]);
    output(&said.stderr);
    let kept = weir.show(&["-s", "rules"]).contains("demo");
    show.check(!said.success() && kept, "nothing has changed");
}

/// Fetches the page of a web server and shows how.
fn curl(show: &mut Show, name: &str, from: &Host, to: &Host, family: Family, port: u16) -> String {
    let url = format!("http://{}/", to.socket(family, port));
    show.command(&format!("{name} curl {url}"));
    let fetched =
        from.run(&["curl", "-sS", "-g", "--noproxy", "*", "--connect-timeout", "1", &url]);
    let said = fetched.stdout + &fetched.stderr;
    output(&said);
    said
}

/// The lines of `-s info` that say something.
fn nonzero(info: &str) -> String {
    let zero = |line: &&str| line.split_whitespace().nth_back(1) != Some("0");
    info.lines().filter(zero).collect::<Vec<_>>().join("\n")
}

/// A shell in which `client`, `server` and `firewall` run a command there, and `weirctl` asks weir.
fn prompt(show: &mut Show, lab: &Lab, weir: &Weir) {
    let folder = lab.folder().join("bin");
    std::fs::create_dir(&folder).expect("our folder");
    for (name, namespace) in [
        ("client", &lab.client.namespace),
        ("server", &lab.server.namespace),
        ("firewall", &lab.firewall),
    ] {
        script(&folder, name, &format!("exec ip netns exec {} \"$@\"", namespace.name()));
    }
    let ctl =
        format!("exec '{}' ctl --socket '{}' \"$@\"", binary().display(), weir.socket().display());
    script(&folder, "weirctl", &ctl);
    script(&folder, "weir", &format!("exec '{}' \"$@\"", binary().display()));
    let file = lab.folder().join("weir.conf");
    show.title("Your turn");
    show.text(&format!(
        "  client ping 192.0.2.2                 run a command on the client, server or firewall
  server curl http://192.0.2.1:8080/
  weirctl -s states                     ask weir; try -vs rules, -s info, -h
  nano {file}
  weirctl -f {file}
  exit                                  removes everything",
        file = file.display()
    ));
    let path = std::env::var("PATH").unwrap_or_default();
    let shell = Command::new("bash")
        .args(["--noprofile", "--norc", "-i"])
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("PS1", "weir demo> ")
        .status();
    if let Err(error) = shell {
        eprintln!("bash: {error}");
    }
}

fn script(folder: &Path, name: &str, line: &str) {
    use std::os::unix::fs::PermissionsExt;

    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{line}\n")).expect("our folder");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our file");
}

fn no_color_unset() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Shows what a command printed.
fn output(text: &str) {
    for line in text.trim_end().lines() {
        println!("    {line}");
    }
}

/// What the audience sees.
struct Show {
    colours: bool,
    /// Steps that did not do what was said of them.
    failed: u32,
}

impl Show {
    fn title(&self, text: &str) {
        println!("\n{}", self.paint("1", &format!("== {text}")));
    }

    fn text(&self, text: &str) {
        println!("{}", self.paint("2", text));
    }

    fn command(&self, text: &str) {
        println!("{}", self.paint("36", &format!("  $ {text}")));
    }

    fn check(&mut self, good: bool, text: &str) {
        if good {
            println!("{}", self.paint("32", &format!("  -> {text}")));
        } else {
            self.failed += 1;
            println!("{}", self.paint("31", &format!("  -> NOT as promised: {text}")));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
