//! Which processor each worker gets.
//!
//! In this order: a core of its own for each; the NUMA node that the interfaces are on, since every
//! frame crosses the processor's link otherwise; processors that are kept free by `isolcpus`. The main
//! core, where the kernel keeps its own chores, is left to the control thread, the logs and the interrupts
//! of others, unless there is no other left.

use std::collections::BTreeSet;
use std::fmt;

use super::{Cpu, Topology, cpulist};

/// Cores from which on it is said when the main one is not kept free of workers.
const SPARE: usize = 3;

/// What is to be placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many workers, at least 1.
    pub workers: usize,
    /// Whether workers may share a core, and even a processor.
    pub share_cores: bool,
    /// NUMA node of each port; `None` if it has none.
    pub nodes: Vec<Option<u32>>,
}

/// Where a worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The processor.
    pub cpu: Cpu,
    /// Whether it has its core for itself among workers.
    pub alone: bool,
}

/// Who runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// By number of the worker.
    pub workers: Vec<Seat>,
    /// Processors of all other threads; never empty.
    pub control: Vec<u32>,
    /// What an owner would want to know, a sentence each.
    pub notes: Vec<String>,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplannable {
    /// Workers asked for.
    pub workers: usize,
    /// Cores that this process may use.
    pub cores: usize,
}

impl fmt::Display for Unplannable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} workers for {} core(s) that this process may use: two workers on one core hold each \
             other up; ask for fewer, or say share_cores (--share-cores)",
            self.workers, self.cores
        )
    }
}

impl std::error::Error for Unplannable {}

/// Places the workers.
///
/// # Errors
/// When there are more workers than cores and they may not share.
pub fn plan(topology: &Topology, demand: &Demand) -> Result<Plan, Unplannable> {
    let allowed: Vec<Cpu> = topology.allowed().copied().collect();
    let cores = topology.cores();
    let workers = demand.workers.max(1);
    if workers > cores && !demand.share_cores || allowed.is_empty() {
        return Err(Unplannable { workers, cores });
    }
    // The kernel's own chores are where nothing is isolated, on the lowest number.
    let main = allowed.iter().find(|cpu| !cpu.isolated).or(allowed.first()).map(|cpu| cpu.core);
    let home = home(&demand.nodes);
    let mut order = allowed.clone();
    order.sort_by_key(|cpu| {
        (Some(cpu.core) == main, home.is_some_and(|node| cpu.node != node), !cpu.isolated, cpu.id)
    });
    let seats = seats(&order, workers);

    let taken: BTreeSet<u32> = seats.iter().map(|seat| seat.cpu.core).collect();
    let mut control: Vec<u32> = allowed
        .iter()
        .filter(|cpu| !taken.contains(&cpu.core) && !cpu.isolated)
        .map(|cpu| cpu.id)
        .collect();
    if control.is_empty() {
        control = allowed.iter().filter(|cpu| Some(cpu.core) == main).map(|cpu| cpu.id).collect();
    }
    let notes = notes(&seats, demand, (home, main.filter(|_| cores >= SPARE)), &allowed);
    Ok(Plan { workers: seats, control, notes })
}

/// The node to be near to: that of the ports, of the first one if they differ.
fn home(nodes: &[Option<u32>]) -> Option<u32> {
    nodes.iter().flatten().next().copied()
}

/// Deals processors out, the best first: one of each core, then their siblings, then all again.
fn seats(order: &[Cpu], workers: usize) -> Vec<Seat> {
    let mut left = order.to_vec();
    let mut dealt: Vec<Cpu> = Vec::new();
    while !left.is_empty() {
        let mut used = BTreeSet::new();
        let (round, rest) = left.into_iter().partition(|cpu| used.insert(cpu.core));
        dealt.extend::<Vec<_>>(round);
        left = rest;
    }
    let seats: Vec<Cpu> = dealt.into_iter().cycle().take(workers).collect();
    let sharing = |core| seats.iter().filter(|cpu| cpu.core == core).count() > 1;
    seats.iter().map(|&cpu| Seat { cpu, alone: !sharing(cpu.core) }).collect()
}

fn notes(
    seats: &[Seat],
    demand: &Demand,
    (home, main): (Option<u32>, Option<u32>),
    allowed: &[Cpu],
) -> Vec<String> {
    let mut notes = Vec::new();
    let workers = |matches: &dyn Fn(&Seat) -> bool| {
        let numbers = (0..).zip(seats).filter(|(_, seat)| matches(seat)).map(|(number, _)| number);
        Some(cpulist::write(numbers)).filter(|list| !list.is_empty())
    };
    if let Some(list) = workers(&|seat| !seat.alone) {
        notes.push(format!("workers {list} share cores: each has only a part of one"));
    }
    if let Some(list) = main.and_then(|main| workers(&|seat| seat.cpu.core == main)) {
        notes.push(format!(
            "worker {list} is on the main core, beside the control thread, logs and interrupts: one \
             worker fewer would leave it free"
        ));
    }
    if let Some(list) = home.and_then(|home| workers(&|seat| seat.cpu.node != home)) {
        notes.push(format!(
            "workers {list} are on another NUMA node than the interfaces: every frame crosses over"
        ));
    }
    if let [Some(first), Some(second), ..] = demand.nodes[..]
        && first != second
    {
        notes.push(format!(
            "the ports are on NUMA nodes {first} and {second}: frames cross over between them; two \
             interfaces of one node are faster"
        ));
    }
    let idle = cpulist::write(
        allowed
            .iter()
            .filter(|cpu| cpu.isolated && !seats.iter().any(|seat| seat.cpu.core == cpu.core))
            .map(|cpu| cpu.id),
    );
    if !idle.is_empty() {
        notes.push(format!("isolated and idle: CPUs {idle}"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cpu(id: u32, core: u32, node: u32) -> Cpu {
        Cpu { id, core, node, isolated: false, allowed: true }
    }

    /// `cores` cores of two threads on each of `nodes` nodes, numbered as Intel does.
    fn machine(nodes: u32, cores: u32) -> Topology {
        let all = nodes * cores;
        let cpus = (0..2 * all).map(|id| cpu(id, id % all, id % all / cores)).collect();
        Topology { cpus }
    }

    fn isolating(mut topology: Topology, ids: &[u32]) -> Topology {
        for cpu in &mut topology.cpus {
            cpu.isolated = ids.contains(&cpu.id);
        }
        topology
    }

    fn demand(workers: usize) -> Demand {
        Demand { workers, ..Demand::default() }
    }

    fn seats(plan: &Plan) -> Vec<u32> {
        plan.workers.iter().map(|seat| seat.cpu.id).collect()
    }

    #[test]
    fn two_cores_are_all_used_if_asked_for() {
        let box_of_two = Topology { cpus: vec![cpu(0, 0, 0), cpu(1, 1, 0)] };
        let one = plan(&box_of_two, &demand(1)).unwrap();
        assert_eq!((seats(&one), one.control), (vec![1], vec![0]));
        let two = plan(&box_of_two, &demand(2)).unwrap();
        assert_eq!((seats(&two), two.control), (vec![1, 0], vec![0]));
        assert_eq!(plan(&box_of_two, &demand(3)), Err(Unplannable { workers: 3, cores: 2 }));
        let three = Demand { share_cores: true, ..demand(3) };
        let three = plan(&box_of_two, &three).unwrap();
        assert_eq!(seats(&three), [1, 0, 1]);
        assert_eq!(three.workers.iter().filter(|seat| !seat.alone).count(), 2);
        assert!(three.notes[0].starts_with("workers 0,2 share cores"), "{:?}", three.notes);
    }

    #[test]
    fn one_core_serves_all() {
        let single = Topology { cpus: vec![cpu(0, 0, 0), cpu(1, 0, 0)] };
        let one = plan(&single, &demand(1)).unwrap();
        assert_eq!((seats(&one), one.control), (vec![0], vec![0, 1]));
        assert!(plan(&single, &demand(2)).is_err(), "siblings of one core");
        let two = plan(&single, &Demand { share_cores: true, ..demand(2) }).unwrap();
        assert_eq!(seats(&two), [0, 1]);
    }

    #[test]
    fn the_main_core_is_kept_and_siblings_stay_idle() {
        let three = plan(&machine(1, 4), &demand(3)).unwrap();
        assert_eq!((seats(&three), &three.control[..]), (vec![1, 2, 3], &[0, 4][..]));
        assert_eq!(three.notes, [""; 0]);
        let four = plan(&machine(1, 4), &demand(4)).unwrap();
        assert_eq!((seats(&four), &four.control[..]), (vec![1, 2, 3, 0], &[0, 4][..]));
        assert!(four.notes[0].contains("worker 3 is on the main core"), "{:?}", four.notes);
        assert!(plan(&machine(1, 4), &demand(5)).is_err());
        let five = plan(&machine(1, 4), &Demand { share_cores: true, ..demand(5) }).unwrap();
        assert_eq!(seats(&five), [1, 2, 3, 0, 5]);
    }

    #[test]
    fn workers_are_near_the_interfaces() {
        let near = |node| Demand { nodes: vec![node, node], ..demand(2) };
        assert_eq!(seats(&plan(&machine(2, 4), &near(Some(1))).unwrap()), [4, 5]);
        assert_eq!(seats(&plan(&machine(2, 4), &near(Some(0))).unwrap()), [1, 2]);
        assert_eq!(seats(&plan(&machine(2, 4), &near(None)).unwrap()), [1, 2]);
        let five = Demand { nodes: vec![Some(1), Some(0)], ..demand(5) };
        let five = plan(&machine(2, 4), &five).unwrap();
        assert_eq!(seats(&five), [4, 5, 6, 7, 1]);
        assert!(five.notes[0].contains("workers 4 are on another NUMA node"), "{:?}", five.notes);
        assert!(five.notes[1].contains("nodes 1 and 0"), "{:?}", five.notes);
    }

    #[test]
    fn isolated_processors_are_for_workers_only() {
        let topology = isolating(machine(1, 4), &[2, 3, 6, 7]);
        let one = plan(&topology, &demand(1)).unwrap();
        assert_eq!((seats(&one), &one.control[..]), (vec![2], &[0, 1, 4, 5][..]));
        assert_eq!(one.notes, ["isolated and idle: CPUs 3,7"]);
        assert_eq!(seats(&plan(&topology, &demand(3)).unwrap()), [2, 3, 1]);
        // Near comes first: the memory of the far node is slower for every frame.
        let far = isolating(machine(2, 4), &[2, 3]);
        let far = plan(&far, &Demand { nodes: vec![Some(1)], ..demand(1) }).unwrap();
        assert_eq!(seats(&far), [4]);
    }

    #[test]
    fn what_is_not_allowed_is_not_used() {
        let mut topology = machine(1, 4);
        for cpu in &mut topology.cpus {
            cpu.allowed = matches!(cpu.id, 2 | 6 | 7);
        }
        let two = plan(&topology, &demand(2)).unwrap();
        assert_eq!((seats(&two), two.control), (vec![7, 2], vec![2, 6]));
        assert_eq!(plan(&topology, &demand(3)), Err(Unplannable { workers: 3, cores: 2 }));
    }

    prop_compose! {
        fn topologies()(threads in 1u32..3, cores in 1u32..9, nodes in 1u32..4)
            (flags in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.9)),
                (threads * cores) as usize), threads in Just(threads), cores in Just(cores),
                nodes in Just(nodes)) -> Topology {
            let cpus = (0..threads * cores).zip(flags).map(|(id, (isolated, allowed))| {
                Cpu { id, core: id % cores, node: id % cores % nodes, isolated, allowed }
            });
            Topology { cpus: cpus.collect() }
        }
    }

    proptest! {
        #[test]
        fn every_plan_keeps_its_promises(
            topology in topologies(), workers in 1usize..12, share_cores: bool,
            node in prop::option::of(0u32..3),
        ) {
            let demand = Demand { workers, share_cores, nodes: vec![node; 2] };
            let cores = topology.cores();
            let Ok(plan) = plan(&topology, &demand) else {
                prop_assert!(cores == 0 || workers > cores && !share_cores);
                return Ok(());
            };
            prop_assert_eq!(plan.workers.len(), workers);
            prop_assert!(plan.workers.iter().all(|seat| seat.cpu.allowed));
            prop_assert!(!plan.control.is_empty());
            let taken: BTreeSet<u32> = plan.workers.iter().map(|seat| seat.cpu.core).collect();
            prop_assert_eq!(taken.len(), workers.min(cores));
            prop_assert!(share_cores || plan.workers.iter().all(|seat| seat.alone));
            let main = topology.allowed().find(|cpu| !cpu.isolated).or(topology.allowed().next());
            if workers < cores {
                prop_assert!(!taken.contains(&main.unwrap().core));
            }
            let allowed: Vec<u32> = topology.allowed().map(|cpu| cpu.id).collect();
            prop_assert!(plan.control.iter().all(|id| allowed.contains(id)));
        }
    }
}
