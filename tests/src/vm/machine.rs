//! QEMU with a guest, and its shell.

use std::fmt::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::hardware::{boots, command};
use super::monitor::Monitor;
use super::serial::Serial;
use super::{Guest, Kernel, Nic};

/// The socket's name in the machine's folder.
const MONITOR: &str = "monitor";
/// How long a guest may take to boot under software emulation.
const BOOT: Duration = Duration::from_secs(180);
/// How long a command may take there.
const COMMAND: Duration = Duration::from_secs(120);

/// A running guest; ended when it goes out of scope.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    /// The second serial port.
    shell: Serial,
    /// Connected when it is first needed.
    monitor: Option<Monitor>,
    /// Has the console's log, and the monitor's socket.
    folder: TempDir,
}

impl Machine {
    /// Boots a guest with `megabytes` of memory; its shell is there when this returns.
    ///
    /// # Panics
    /// If it does not boot, with what the kernel said.
    pub fn boot(kernel: &Kernel, guest: Guest, nics: &[Nic], megabytes: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let initrd = folder.path().join("initrd");
        std::fs::write(&initrd, guest.pack()).expect("room for temporary files");
        let mut command = command(nics);
        boots(&mut command, &kernel.image, &initrd, megabytes);
        command
            .arg("-serial")
            .arg(format!("file:{}", folder.path().join("console").display()))
            .args(["-serial", "stdio", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", folder.path().join(MONITOR).display()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (Debian: qemu-system-x86)"));
        let shell = Serial::of(&mut child);
        let mut machine = Self { child, shell, monitor: None, folder };
        machine.until("@weir ready\n", BOOT, "boot");
        machine
    }

    fn monitor(&mut self) -> &mut Monitor {
        self.monitor.get_or_insert_with(|| Monitor::connect(&self.folder.path().join(MONITOR)))
    }

    /// Pulls a card's cable out, or plugs it in again.
    pub fn set_link(&mut self, nic: &Nic, up: bool) {
        let name = format!("nic{}", nic.number);
        self.monitor().execute("set_link", &json!({ "name": name, "up": up }));
    }

    /// Takes a card out; it is gone when this returns.
    ///
    /// # Panics
    /// If the guest does not let it go.
    pub fn unplug(&mut self, nic: &Nic) {
        let name = format!("nic{}", nic.number);
        self.monitor().execute("device_del", &json!({ "id": name }));
        self.monitor().await_deleted(&name);
    }

    /// Puts a card in again that was taken out.
    ///
    /// # Panics
    /// If QEMU refuses.
    pub fn plug(&mut self, nic: &Nic) {
        let line = format!("device_add {}", nic.device());
        let said =
            self.monitor().execute("human-monitor-command", &json!({ "command-line": line }));
        let refused = said.as_str().is_none_or(|text| text.contains("Error"));
        assert!(!refused, "{line}: {said}");
    }

    /// Runs a line in the guest's shell and returns what it printed and its status. Variables and
    /// processes in the background outlive it.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn run(&mut self, line: &str) -> (String, i32) {
        assert!(!line.contains('\n'), "one line: {line:?}");
        self.shell
            .send(&format!("{line}\n"))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.console()));
        let mut printed = self.until("\n@weir ", COMMAND, line);
        let status = self.until("\n", COMMAND, line);
        if printed.ends_with('\n') {
            printed.pop();
        }
        let Ok(status) = status.trim().parse() else {
            panic!("{line}: no status\n{printed}");
        };
        (printed, status)
    }

    /// As [`Machine::run`], for what has to end with status 0.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect(&mut self, line: &str) -> String {
        let (printed, status) = self.run(line);
        assert_eq!(status, 0, "{line}: {printed}\n{}", self.console());
        printed
    }

    /// Repeats a line until it ends with status 0.
    ///
    /// # Panics
    /// If it does not for a minute.
    pub fn await_success(&mut self, line: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let (printed, status) = self.run(line);
            if status == 0 {
                return printed;
            }
            assert!(Instant::now() < deadline, "{line}: {printed}\n{}", self.console());
            self.run("sleep 0.2");
        }
    }

    /// What the kernel has said on its console.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let mut last = String::from("the console's last lines:\n");
        for line in &lines[lines.len().saturating_sub(40)..] {
            let _ = writeln!(last, "  {line}");
        }
        last
    }

    /// What is printed up to `mark`, without it.
    fn until(&mut self, mark: &str, patience: Duration, what: &str) -> String {
        match self.shell.until_any(&[mark], patience) {
            Ok((before, _)) => before,
            Err(why) => panic!("{what}: {why}\n{}", self.console()),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
