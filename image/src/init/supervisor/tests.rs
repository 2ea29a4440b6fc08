//! The supervisor over real processes: it runs in a process of its own, which is this test program begun
//! again, and adopts orphans as the first process of a machine does. What it supervises is a script that
//! stands for `weir`, and the control socket behind it is once more this program.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Child;

use rustix::process::{getpid, set_child_subreaper, waitpid};
use serde_json::json;
use weir_shell::protocol::{Access, Done, Hello, Reply, VERSION};

use super::*;

/// Names the folder to the program that was begun again.
const FOLDER: &str = "WEIR_SUPERVISOR_TEST";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

const CONFIGURED: &str = "[ports]\nlan = \"a\"\nwan = \"b\"\n";

/// The script: it notes who was started with what, and goes on as what it is to be.
const SCRIPT: &str = r#"#!/bin/sh
echo "$$ $*" >> FOLDER/started
case $1 in
run)
	( sleep 0.1 & )
	[ ! -e FOLDER/broken ] || { echo "no such interface" >&2; exit 3; }
	exec env WEIR_SUPERVISOR_TEST=FOLDER PROGRAM --exact init::supervisor::tests::plane --nocapture
	;;
*)
	exec setsid sleep 1000
	;;
esac
"#;

fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Stands for the machine.
struct Noted(PathBuf);

impl Machine for Noted {
    fn feed(&mut self) {}

    fn keep_slot(&mut self) -> io::Result<()> {
        fs::write(self.0.join("kept"), "")
    }

    fn lock_drivers(&mut self) {}
}

/// Not a test: the process that supervises.
#[test]
fn first() {
    let Some(folder) = folder() else { return };
    set_child_subreaper(Some(getpid())).unwrap();
    let plan = Plan {
        weir: folder.join("weir"),
        run: vec!["run".into()],
        socket: folder.join("socket"),
        settings: folder.join("weir.toml"),
        log: folder.join("weir.log"),
        terminals: vec![folder.join("terminal")],
        rescue: folder.join("rescue").exists(),
        trial: false,
    };
    let teller = Teller::new(&[folder.join("said")]);
    let end = Supervisor::new(plan, Noted(folder.clone()), teller).unwrap().serve();
    fs::write(folder.join("end"), format!("{end:?}")).unwrap();
    // Nobody is left behind.
    for line in fs::read_to_string(folder.join("started")).unwrap_or_default().lines() {
        let pid = line.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // A child that lives.
        if let Ok(None) = waitpid(pid, WaitOptions::NOHANG) {
            let _ = kill_process(pid.unwrap(), Signal::KILL);
        }
    }
}

/// Not a test: the data plane, as far as its control socket goes.
#[test]
fn plane() {
    let Some(folder) = folder() else { return };
    let path = folder.join("socket");
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    println!("\nweir: forwarding lan=a wan=b");
    let hello = Hello { version: VERSION, weir: "0".into(), access: Access::Write };
    let worker = json!({"worker": 0, "cpu": 0, "states": 0, "frames": 0, "handed_over": 0,
        "back_pressure": 0});
    let info = json!({"info": {"version": "0", "status": "enabled", "uptime": 1, "io": "packet",
        "states": 0, "searches": 0, "inserts": 0, "removals": 0, "evictions": 0, "reflected": 0,
        "unfiltered": 0, "reasons": [], "frames": 0, "handed_over": 0, "log_lost": 0,
        "workers": [worker]}});
    let info: Reply = serde_json::from_value(info).expect("an answer");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let line = |reply: &Reply| serde_json::to_string(reply).unwrap() + "\n";
        let _ = stream.write_all(line(&Reply::Hello(hello.clone())).as_bytes());
        let mut question = String::new();
        let _ = BufReader::new(&stream).read_line(&mut question);
        let answer = line(&info) + &line(&Reply::Done(Done::default()));
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// A supervisor at work; it ends with this.
struct Stage {
    folder: tempfile::TempDir,
    child: Child,
}

impl Stage {
    fn new(settings: &str, marks: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let program = std::env::current_exe().unwrap();
        let script = SCRIPT
            .replace("FOLDER", &folder.path().display().to_string())
            .replace("PROGRAM", &program.display().to_string());
        fs::write(path("weir"), script).unwrap();
        fs::set_permissions(path("weir"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(path("weir.toml"), settings).unwrap();
        fs::write(path("said"), "").unwrap();
        for mark in marks {
            fs::write(path(mark), "").unwrap();
        }
        let child = Command::new(program)
            .args(["--exact", "init::supervisor::tests::first", "--nocapture"])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Those who were started with such words, in order.
    fn started(&self, words: &str) -> Vec<Pid> {
        let started = fs::read_to_string(self.path("started")).unwrap_or_default();
        started
            .lines()
            .filter_map(|line| line.split_once(' ').filter(|(_, rest)| rest.starts_with(words)))
            .filter_map(|(pid, _)| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    /// Waits until so many were started with such words; the last of them.
    fn wait_for(&self, words: &str, count: usize) -> Pid {
        eventually(words, || self.started(words).len() >= count);
        self.started(words)[count - 1]
    }

    fn tell(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().cast_signed()).unwrap(), signal).unwrap();
    }

    /// Waits for the end, and how it came.
    fn end(&mut self) -> String {
        self.child.wait().unwrap();
        fs::read_to_string(self.path("end")).unwrap()
    }

    /// The terminal's console.
    fn console(&self, role: &str) -> String {
        format!("box console {} {role}", self.path("terminal").display())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("said")).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            self.tell(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: Pid) -> bool {
    Path::new("/proc").join(pid.as_raw_nonzero().to_string()).exists()
}

#[test]
fn a_data_plane_that_is_killed_is_started_again() {
    let stage = Stage::new(CONFIGURED, &[]);
    let first = stage.wait_for("run", 1);
    // The shell is there as soon as it has answered.
    stage.wait_for(&stage.console("shell"), 1);
    kill_process(first, Signal::KILL).unwrap();
    let second = stage.wait_for("run", 2);
    assert_ne!(first, second);
    eventually("it is told", || stage.said().contains("weir was killed; it is started again"));
    eventually("it forwards", || stage.said().matches("forwarding lan=a wan=b (").count() == 2);
    assert!(!is_alive(first), "buried");
    assert_eq!(stage.started(&stage.console("shell")).len(), 1, "nobody was disturbed");
    let log = fs::read_to_string(stage.path("weir.log")).unwrap();
    assert_eq!(log.matches("weir: forwarding lan=a wan=b\n").count(), 2, "{log}");
}

#[test]
fn a_data_plane_that_cannot_start_is_tried_and_the_console_says_why() {
    let stage = Stage::new(CONFIGURED, &["broken"]);
    stage.wait_for("run", 3);
    eventually("it is told", || {
        stage
            .said()
            .contains("weir has ended with status 3: no such interface; it is started again")
    });
    fs::remove_file(stage.path("broken")).unwrap();
    eventually("it forwards", || stage.said().contains("forwarding lan=a wan=b"));
}

#[test]
fn whoever_leaves_a_console_is_followed_by_another() {
    let stage = Stage::new(CONFIGURED, &[]);
    let shell = stage.console("shell");
    for count in 1..=3 {
        kill_process(stage.wait_for(&shell, count), Signal::KILL).unwrap();
    }
    stage.wait_for(&shell, 4);
    assert_eq!(stage.started("run").len(), 1);
}

#[test]
fn a_box_that_is_not_set_up_asks_and_then_begins() {
    let stage = Stage::new("", &[]);
    let setup = stage.wait_for(&stage.console("setup"), 1);
    assert!(stage.started("run").is_empty());
    fs::write(stage.path("weir.toml"), CONFIGURED).unwrap();
    kill_process(setup, Signal::TERM).unwrap();
    stage.wait_for("run", 1);
    stage.wait_for(&stage.console("shell"), 1);
}

#[test]
fn a_hangup_starts_the_data_plane_anew_by_the_settings_of_now() {
    let stage = Stage::new(CONFIGURED, &[]);
    let first = stage.wait_for("run", 1);
    let shell = stage.wait_for(&stage.console("shell"), 1);
    stage.tell(Signal::HUP);
    stage.wait_for("run", 2);
    eventually("the first is gone", || !is_alive(first));
    // The settings were taken back: nothing runs, and whoever sits there is asked.
    fs::write(stage.path("weir.toml"), "").unwrap();
    stage.tell(Signal::HUP);
    stage.wait_for(&stage.console("setup"), 1);
    eventually("the shell was sent home", || !is_alive(shell));
    assert_eq!(stage.started("run").len(), 2);
}

#[test]
fn rescue_forwards_nothing() {
    let stage = Stage::new(CONFIGURED, &["rescue"]);
    kill_process(stage.wait_for(&stage.console("rescue"), 1), Signal::KILL).unwrap();
    stage.wait_for(&stage.console("rescue"), 2);
    assert!(stage.started("run").is_empty());
}

#[test]
fn signals_end_it_as_busyboxs_init() {
    for (signal, end) in [(Signal::TERM, "Reboot"), (Signal::USR2, "PowerOff")] {
        let mut stage = Stage::new(CONFIGURED, &[]);
        stage.wait_for(&stage.console("shell"), 1);
        // Ctrl-Alt-Del is none of them.
        stage.tell(Signal::INT);
        stage.tell(signal);
        assert_eq!(stage.end(), end);
    }
}
