//! The appliance's image in a machine of its own: firmware, disk, cables and the serial console.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use super::hardware::qemu;
use super::monitor::Monitor;
use super::serial::Serial;
use crate::lab::{Lab, Namespace};

/// How long a step of the console may take: a boot under software emulation on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// What starts the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`.
    Bios,
    /// OVMF; `OVMF` names another file than Debian's.
    Uefi,
}

/// What the image lies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// A paravirtual disk.
    Virtio,
    /// A SATA disk.
    Ahci,
    /// An `NVMe` disk.
    Nvme,
    /// A stick at an xHCI.
    Usb,
}

/// The image to be tried, `WEIR_IMAGE`; without one it is said that `what` was not tried.
pub fn image(what: &str) -> Option<PathBuf> {
    let image = std::env::var_os("WEIR_IMAGE").map(PathBuf::from);
    if image.is_none() {
        eprintln!("skipped: WEIR_IMAGE names no image (make test-image), so {what} was not tried");
    }
    image
}

/// A box with its own copy of the image: switched on and off as often as wanted, gone when it goes out
/// of scope.
#[derive(Debug)]
pub struct Appliance {
    /// What it boots with.
    pub firmware: Firmware,
    /// What its disk is.
    pub disk: Disk,
    /// Its memory.
    pub megabytes: u32,
    /// What else QEMU is told: another disk, a watchdog.
    pub more: Vec<String>,
    /// Its cards: model, tap.
    cards: Vec<(&'static str, String)>,
    /// Where the taps are.
    namespace: Option<String>,
    running: Option<Running>,
    /// Has the disk, and the monitor's socket.
    folder: TempDir,
}

#[derive(Debug)]
struct Running {
    child: Child,
    console: Serial,
    monitor: Option<Monitor>,
    since: Instant,
}

impl Appliance {
    /// A box of 2 cores and 512 MB with BIOS, the image on a virtio disk, without cards; switched off.
    ///
    /// # Panics
    /// If the image cannot be copied.
    pub fn new(image: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let copied = Command::new("cp")
            .arg("--sparse=always")
            .args([image, &folder.path().join("disk")])
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "{}: no copy", image.display());
        Self {
            firmware: Firmware::Bios,
            disk: Disk::Virtio,
            megabytes: 512,
            more: Vec::new(),
            cards: Vec::new(),
            namespace: None,
            running: None,
            folder,
        }
    }

    /// Puts the box between the hosts of a lab: its first card is the client's (lan), its second one
    /// the server's (wan). `model` is what QEMU calls the cards, as `virtio-net-pci`. Their addresses are
    /// 52:54:00:00:00:01 and 02. Needs root, as the lab does.
    ///
    /// # Panics
    /// If a tap or bridge cannot be made.
    pub fn between(&mut self, lab: &Lab, model: &'static str) {
        for port in [Lab::LAN, Lab::WAN] {
            self.plug_in(&lab.firewall, port, model);
        }
    }

    /// Gives the box one more card, on one wire with an interface of this namespace: that of the lab's
    /// firewall, or another if the box has no card yet.
    ///
    /// # Panics
    /// If the tap or bridge cannot be made.
    pub fn plug_in(&mut self, namespace: &Namespace, interface: &str, model: &'static str) {
        let number = self.cards.len() + 1;
        let (tap, wire) = (format!("tap{number}"), format!("wire{number}"));
        // As a cable: no learning, no groups, nothing of its own.
        namespace.ip(&[
            "link",
            "add",
            &wire,
            "type",
            "bridge",
            "mcast_snooping",
            "0",
            "ageing_time",
            "0",
        ]);
        namespace.ip(&["tuntap", "add", &tap, "mode", "tap"]);
        for end in [tap.as_str(), interface] {
            namespace.ip(&["link", "set", end, "master", &wire, "up"]);
        }
        namespace.ip(&["link", "set", &wire, "up"]);
        self.cards.push((model, tap));
        self.namespace = Some(namespace.name().to_owned());
    }

    /// Where its disk lies: to be read or damaged while the box is off.
    pub fn disk_file(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Writes onto its disk, which is off.
    ///
    /// # Panics
    /// If it is on.
    pub fn overwrite(&self, at: u64, bytes: &[u8]) {
        assert!(self.running.is_none(), "the box is on");
        let mut disk = File::options().write(true).open(self.disk_file()).expect("our disk");
        disk.seek(SeekFrom::Start(at)).and_then(|_| disk.write_all(bytes)).expect("room");
    }

    /// Reads from its disk.
    ///
    /// # Panics
    /// If the disk is shorter.
    pub fn read(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let mut disk = File::open(self.disk_file()).expect("our disk");
        disk.seek(SeekFrom::Start(at))
            .and_then(|_| disk.read_exact(&mut bytes))
            .expect("its bytes");
        bytes
    }

    /// Switches the box on.
    ///
    /// # Panics
    /// If it is on, or QEMU does not start.
    pub fn power_on(&mut self) {
        assert!(self.running.is_none(), "the box is on");
        let mut command = self.command();
        command.args(["-serial", "stdio"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (image/build/deps run)"));
        let console = Serial::of(&mut child);
        self.running = Some(Running { child, console, monitor: None, since: Instant::now() });
    }

    fn command(&self) -> Command {
        let mut command = if let Some(name) = &self.namespace {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name, "nice"]);
            command
        } else {
            Command::new("nice")
        };
        command.args(["-n", "5"]).arg(qemu());
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        command.args(["-m", &self.megabytes.to_string(), "-display", "none", "-nodefaults"]);
        if self.firmware == Firmware::Uefi {
            let ovmf = std::env::var("OVMF").unwrap_or("/usr/share/ovmf/OVMF.fd".into());
            command.args(["-bios", &ovmf]);
        }
        let file = self.disk_file().display().to_string();
        // Written through: a cut of power loses what the guest has not flushed and nothing else.
        command.args([
            "-drive",
            &format!("id=disk,if=none,format=raw,cache=writethrough,file={file}"),
        ]);
        let devices: &[&str] = match self.disk {
            Disk::Virtio => &["virtio-blk-pci,drive=disk"],
            Disk::Ahci => &["ide-hd,drive=disk,bus=ide.0"],
            Disk::Nvme => &["nvme,drive=disk,serial=weir"],
            Disk::Usb => &["qemu-xhci", "usb-storage,drive=disk"],
        };
        for device in devices {
            command.args(["-device", device]);
        }
        for (number, (model, tap)) in self.cards.iter().enumerate() {
            let number = number + 1;
            command.args([
                "-netdev",
                &format!("tap,id=net{number},ifname={tap},script=no,downscript=no"),
            ]);
            let mac = format!("52:54:00:00:00:{number:02x}");
            command.args([
                "-device",
                &format!("{model},id=nic{number},netdev=net{number},mac={mac},romfile="),
            ]);
        }
        let monitor = self.folder.path().join("monitor");
        let _ = fs::remove_file(&monitor);
        command.arg("-qmp");
        command.arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.args(&self.more);
        command
    }

    /// The box with its console on this terminal, until its power goes or Ctrl-A X is typed.
    ///
    /// # Panics
    /// If QEMU does not start.
    pub fn attend(&self) -> ExitStatus {
        let mut command = self.command();
        command.args(["-serial", "mon:stdio"]);
        command
            .status()
            .unwrap_or_else(|error| panic!("{command:?}: {error} (image/build/deps run)"))
    }

    /// Cuts the power: the guest learns nothing of it.
    pub fn cut_power(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Waits until the box has switched itself off.
    ///
    /// # Panics
    /// If it does not.
    pub fn await_off(&mut self) {
        let mut running = self.running.take().expect("a box that is on");
        let off = crate::lab::within(PATIENCE, || matches!(running.child.try_wait(), Ok(Some(_))));
        if !off {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
        assert!(off, "the box is still on");
    }

    /// What the console shows until `mark` comes, without it.
    ///
    /// # Panics
    /// If it does not come within minutes.
    pub fn until(&mut self, mark: &str) -> String {
        self.until_any(&[mark]).0
    }

    /// As [`Appliance::until`], for whichever of several comes first; which one it was.
    ///
    /// # Panics
    /// If none does.
    pub fn until_any(&mut self, marks: &[&str]) -> (String, usize) {
        let running = self.running.as_mut().expect("a box that is on");
        match running.console.until_any(marks, PATIENCE) {
            Ok(found) => found,
            Err(why) => panic!("awaiting {marks:?}: {why}"),
        }
    }

    /// Types this at the console; a line ends with `\r`.
    ///
    /// # Panics
    /// If the box is off.
    pub fn send(&mut self, text: &str) {
        let running = self.running.as_mut().expect("a box that is on");
        running.console.send(text).expect("a machine that runs");
    }

    /// How long the box has been on.
    ///
    /// # Panics
    /// If it is off.
    pub fn on_for(&self) -> Duration {
        self.running.as_ref().expect("a box that is on").since.elapsed()
    }

    /// Pulls the cable of card 1, 2.. out, or plugs it in again.
    ///
    /// # Panics
    /// If there is no such card.
    pub fn set_link(&mut self, card: usize, up: bool) {
        self.ask("set_link", &json!({ "name": format!("nic{card}"), "up": up }));
    }

    /// Presses the reset button.
    ///
    /// # Panics
    /// If the box is off.
    pub fn reset(&mut self) {
        self.ask("system_reset", &json!({}));
    }

    fn ask(&mut self, command: &str, arguments: &serde_json::Value) {
        let socket = self.folder.path().join("monitor");
        let running = self.running.as_mut().expect("a box that is on");
        let monitor = running.monitor.get_or_insert_with(|| Monitor::connect(&socket));
        monitor.execute(command, arguments);
    }

    /// Chooses an entry of the boot loader's menu, 0 being the first, while the box has just been
    /// switched on or reset.
    ///
    /// # Panics
    /// If the menu does not come.
    pub fn choose(&mut self, entry: usize) {
        // The boot loader has the line from here on, and looks for ESC for a second.
        self.until("ESC shows the menu");
        loop {
            self.send("\x1b");
            let running = self.running.as_mut().expect("a box that is on");
            let came = running
                .console
                .until_any(&["highlighted", "starting slot"], Duration::from_millis(300));
            match came {
                Ok((_, 0)) => break,
                Ok(_) => panic!("the menu did not come"),
                Err(_) => {}
            }
        }
        for _ in 0..entry {
            // Down.
            self.send("\x0e");
        }
        self.send("\r");
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.cut_power();
    }
}
