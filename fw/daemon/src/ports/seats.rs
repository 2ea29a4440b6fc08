//! Which interfaces and processors a run uses, before anything is changed: what `weir run --plan` prints.

use std::fmt::Write as _;
use std::path::Path;

use weir_engine::Steering;
use weir_hw::Nic;
use weir_hw::topology::{Demand, Plan, Topology, plan};

use super::find;
use crate::random::random;
use crate::settings::Settings;

/// Interfaces and processors of a run.
#[derive(Clone, Debug)]
pub struct Seats {
    /// The names of both interfaces, lan first.
    pub names: [String; 2],
    /// All interfaces there are.
    pub found: Vec<Nic>,
    /// The processors of this machine.
    pub topology: Topology,
    /// Who runs where.
    pub plan: Plan,
    /// By which both NICs are to deal out what they receive ([`Wishes::hash_word`]): drawn, so that
    /// nobody can choose which worker serves him.
    pub hash_word: u16,
}

impl Seats {
    /// Looks at the machine and plans.
    ///
    /// # Errors
    /// When an interface is not to be found, or the workers have no room: in words.
    pub fn take(settings: &Settings) -> Result<Self, String> {
        let found = weir_hw::nics().map_err(|error| format!("cannot list interfaces: {error}"))?;
        let names = [find(&settings.lan, &found)?, find(&settings.wan, &found)?];
        let node = |name: &String| found.iter().find(|nic| nic.name == *name)?.node;
        let demand = Demand {
            workers: settings.workers.into(),
            share_cores: settings.threads.share_cores,
            nodes: names.iter().map(node).collect(),
        };
        let topology = Topology::read(Path::new("/"));
        let plan = plan(&topology, &demand).map_err(|error| error.to_string())?;
        let drawn = u16::from_ne_bytes(random()?);
        Ok(Self { names, found, topology, plan, hash_word: Steering::word(drawn) })
    }

    /// The processor of each worker.
    pub fn cpus(&self) -> Vec<u32> {
        self.plan.workers.iter().map(|seat| seat.cpu.id).collect()
    }

    /// The processors that the NICs' queues interrupt, in turn: those of the workers, but where workers
    /// run before everything else those of all other threads. What the kernel does after an interrupt
    /// is an ordinary thread (ksoftirqd) as soon as it is much, and gets no turn beside them.
    pub fn interrupts(&self, realtime: bool) -> Vec<u32> {
        if realtime { self.plan.control.clone() } else { self.cpus() }
    }
}

/// The plan, for people.
pub fn print(settings: &Settings, seats: &Seats) -> String {
    let mut out = String::new();
    let Seats { names, found, topology, plan, .. } = seats;
    for (role, name) in ["lan", "wan"].into_iter().zip(names) {
        let _ = write!(out, "{role:<9} {name}");
        let Some(nic) = found.iter().find(|nic| nic.name == *name) else {
            let _ = writeln!(out, "  (there is no such interface now)");
            continue;
        };
        let _ = write!(out, "  {}", nic.driver.as_deref().unwrap_or("unknown driver"));
        if let Some(path) = &nic.pci {
            let _ = write!(out, ", pci:{path}");
        }
        if let Some(node) = nic.node {
            let _ = write!(out, ", node {node}");
        }
        let _ = writeln!(out, ", up to {} queue(s)", nic.most_queues);
    }
    let allowed = topology.allowed().count();
    let _ = writeln!(
        out,
        "machine   {} core(s), {allowed} CPU(s) to use, {} node(s)",
        topology.cores(),
        topology.nodes()
    );
    for (number, seat) in plan.workers.iter().enumerate() {
        let isolated = if seat.cpu.isolated { ", isolated" } else { "" };
        let shared = if seat.alone { "" } else { ", shared core" };
        let _ = writeln!(
            out,
            "worker {number:<2} CPU {}  core {}, node {}{isolated}{shared}",
            seat.cpu.id, seat.cpu.core, seat.cpu.node
        );
    }
    let control: Vec<String> = plan.control.iter().map(u32::to_string).collect();
    let _ = writeln!(out, "control   CPU {}", control.join(", "));
    if let Some(priority) = settings.threads.realtime {
        let _ = writeln!(out, "priority  workers before everything else (SCHED_FIFO {priority})");
        if seats.cpus().iter().any(|cpu| plan.control.contains(cpu)) {
            let _ = writeln!(
                out,
                "note: no processor is left for the NICs' interrupts: the part of the kernel that \
                 delivers frames may get no turn beside the workers"
            );
        }
    }
    for note in &plan.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

#[cfg(test)]
mod tests {
    use weir_hw::topology::Cpu;

    use super::*;

    #[test]
    fn interrupts_keep_away_from_workers_that_run_first() {
        let cpu = |id| Cpu { id, core: id, node: 0, isolated: id > 1, allowed: true };
        let topology = Topology { cpus: (0..4).map(cpu).collect() };
        let plan = plan(&topology, &Demand { workers: 2, ..Demand::default() }).unwrap();
        let names = ["lan0", "wan0"].map(str::to_owned);
        let seats = Seats { names, found: Vec::new(), topology, plan, hash_word: 0x6d5a };
        assert_eq!(seats.interrupts(false), [2, 3]);
        assert_eq!(seats.interrupts(true), [0, 1]);
    }
}
