//! `weir init`: the first process of the appliance.
//!
//! In this order: what every program needs is mounted and the kernel set; the watchdog is opened, so that
//! a start that hangs is ended; drivers are loaded for the devices that there are; the data partition is
//! mounted; and then the [`supervisor`] keeps the data plane and the consoles alive until a signal ends
//! it. Signals are those of busybox's init: SIGTERM starts the machine anew, SIGUSR2 switches it off; SIGHUP
//! starts weir anew. If this process dies the kernel panics, and starts the machine anew too; nothing is
//! forwarded meanwhile.

mod ask;
pub mod console;
mod dog;
mod ending;
mod modules;
mod mounts;
mod pace;
mod plane;
mod runlog;
mod seats;
mod servant;
mod supervisor;
mod sysctls;
mod tell;
mod trial;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getpid, setrlimit};
use rustix::system::{RebootCommand, reboot, sethostname};

use self::dog::Dog;
use self::modules::{Drivers, Loader};
use self::supervisor::{End, Machine, Plan, Supervisor};
use self::tell::{Teller, note};
use crate::disk::Booted;
use crate::disk::data::{self, Source};
use crate::{reserve, slots};

/// The box's name, in logs.
const NAME: &[u8] = b"weir";

/// How long devices may take to come before the data plane is started without them.
const DEVICES: Duration = Duration::from_secs(10);

/// How often it is looked whether the reserve is behind.
const RESERVE: Duration = Duration::from_secs(4);

/// How long a message stands there before the machine is started anew.
const READING: Duration = Duration::from_secs(30);

/// Runs as the first process of the appliance, and of nothing else.
pub fn main() -> ExitCode {
    if let Err(error) = is_ours() {
        eprintln!("weir: {error}");
        return ExitCode::FAILURE;
    }
    let end = live();
    let _ = reboot(match end {
        End::Reboot => RebootCommand::Restart,
        End::PowerOff => RebootCommand::PowerOff,
    });
    // The kernel refuses only what it cannot do: a machine without a switch.
    loop {
        std::thread::sleep(READING);
    }
}

/// Refuses everywhere but as the first process of a machine that weir's boot loader has started: what is
/// done here would ruin any other, and a container's first process shares its kernel with others.
fn is_ours() -> io::Result<()> {
    if getpid() == Pid::INIT {
        let _ = mounts::mount_all();
        let line = fs::read_to_string("/proc/cmdline")?;
        if line.split_ascii_whitespace().any(|word| word.starts_with("weir.slot=")) {
            return Ok(());
        }
    }
    Err(io::Error::other("init is what the appliance's kernel starts, and nobody else"))
}

/// Everything until the end of it.
fn live() -> End {
    let mut dog = Dog::new();
    dog.open();
    let teller = Teller::new(&tell::terminals());
    prepare();
    let found = Booted::find();
    let mut loader = Loader::new();
    if let Ok(loader) = &mut loader {
        loader.load_always().iter().for_each(|fault| note(fault));
    }
    let drivers = loader.and_then(|loader| Drivers::start(loader, note));
    let booted = match found {
        Ok(booted) => booted,
        Err(error) => return give_up(&teller, &mut dog, &format!("cannot find its disk: {error}")),
    };
    dog.feed();
    let source = data::mount(&booted, &mut |line| teller.say(line));
    source.to_string().lines().for_each(|line| teller.say(line));
    if source == Source::Disk {
        keep_reserve(&booted);
    }
    match &drivers {
        Ok(drivers) => wait_for(drivers, &mut dog),
        Err(error) => teller.say(&format!("no driver can be loaded: {error}")),
    }
    dog.open_or_emulate(|fault| teller.say(fault));
    let plan = Plan {
        weir: PathBuf::from("/proc/self/exe"),
        run: ["run", "--stay"].map(str::to_owned).into(),
        socket: "/run/weir/weir.sock".into(),
        settings: weir_config::settings::PATH.into(),
        log: "/var/log/weir/weir.log".into(),
        terminals: tell::terminals(),
        rescue: booted.rescue,
        trial: booted.trial,
    };
    let appliance = Appliance { dog, booted, drivers: drivers.ok() };
    let mut supervisor = match Supervisor::new(plan, appliance, teller.clone()) {
        Ok(supervisor) => supervisor,
        Err(error) => {
            return give_up(&teller, &mut Dog::new(), &format!("cannot go on: {error}"));
        }
    };
    let end = supervisor.serve();
    teller.say(match end {
        End::Reboot => "the machine is started anew",
        End::PowerOff => "the machine is switched off",
    });
    let (mut appliance, _, plane) = supervisor.into_parts();
    ending::end_processes(plane, || appliance.dog.feed());
    appliance.dog.feed();
    ending::release_disks();
    appliance.dog.leave(end);
    end
}

/// What has to be so before anything is loaded or started. What fails is noted: the bridge is closed
/// whatever becomes of it.
fn prepare() {
    // A key that everybody has.
    let _ = reboot(RebootCommand::CadOff);
    let _ = sethostname(NAME);
    for fault in sysctls::set_all(Path::new("/proc/sys")) {
        note(&fault);
    }
    let limits = [
        (Resource::Core, Some(0)),
        // Rings and the state table stay in memory.
        (Resource::Memlock, None),
        (Resource::Nofile, Some(65_536)),
    ];
    for (resource, limit) in limits {
        if let Err(error) = setrlimit(resource, Rlimit { current: limit, maximum: limit }) {
            note(&format!("limit {resource:?}: {error}"));
        }
    }
}

/// Keeps the reserve of this slot up with the settings, on a thread of its own.
fn keep_reserve(booted: &Booted) {
    let mut keeper = reserve::Keeper::new(booted);
    let keeping = move || {
        loop {
            if let Err(error) = keeper.look() {
                note(&format!("the reserve is not kept: {error}"));
            }
            std::thread::sleep(RESERVE);
        }
    };
    // Without it the data partition is all there is, which is not told apart from a full reserve.
    let _ = std::thread::Builder::new().name("weir-reserve".into()).spawn(keeping);
}

/// Waits until devices have their drivers.
fn wait_for(drivers: &Drivers, dog: &mut Dog) {
    let begun = Instant::now();
    while !drivers.wait(Duration::from_secs(1)) && begun.elapsed() < DEVICES {
        dog.feed();
    }
}

/// Says why this cannot be, and ends after a while: a slot that is tried falls back.
fn give_up(teller: &Teller, dog: &mut Dog, why: &str) -> End {
    teller.say(&format!("weir {why}"));
    teller.say("the machine is started anew in 30 seconds");
    let begun = Instant::now();
    while begun.elapsed() < READING {
        dog.feed();
        std::thread::sleep(Duration::from_secs(1));
    }
    End::Reboot
}

/// The machine that is ours.
struct Appliance {
    dog: Dog,
    booted: Booted,
    drivers: Option<Drivers>,
}

impl Machine for Appliance {
    fn feed(&mut self) {
        self.dog.feed();
    }

    fn keep_slot(&mut self) -> io::Result<()> {
        slots::mark_good(&self.booted)
    }

    fn lock_drivers(&mut self) {
        if let Some(drivers) = &self.drivers {
            drivers.lock();
        }
    }
}
