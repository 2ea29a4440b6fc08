//! Reading the topology out of sysfs and procfs (Documentation/ABI/stable/sysfs-devices-system-cpu,
//! sysfs-devices-node; cpuset(7)).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Cpu, Topology, cpulist};

impl Topology {
    /// Reads it below `root`, which is `/` but in tests. What cannot be read counts as the simplest
    /// case: every processor a core of its own, one node, nothing isolated, all allowed.
    pub fn read(root: &Path) -> Self {
        let list =
            |path: &str| fs::read_to_string(root.join(path)).ok().map(|t| cpulist::parse(&t));
        let system = "sys/devices/system/cpu";
        let online = list(&format!("{system}/online")).unwrap_or_else(|| BTreeSet::from([0]));
        let isolated = list(&format!("{system}/isolated")).unwrap_or_default();
        let allowed = allowed(root, &online, &isolated);
        let nodes = nodes(root);
        let cpus = online.iter().map(|&id| {
            let topology = format!("{system}/cpu{id}/topology");
            // The second name is the older one (before Linux 5.3).
            let siblings = list(&format!("{topology}/core_cpus_list"))
                .or_else(|| list(&format!("{topology}/thread_siblings_list")));
            let core = siblings.and_then(|siblings| siblings.first().copied()).unwrap_or(id);
            let node =
                nodes.iter().find(|(_, cpus)| cpus.contains(&id)).map_or(0, |(node, _)| *node);
            Cpu { id, core, node, isolated: isolated.contains(&id), allowed: allowed.contains(&id) }
        });
        Self { cpus: cpus.collect() }
    }
}

/// Nodes and their processors.
fn nodes(root: &Path) -> Vec<(u32, BTreeSet<u32>)> {
    let Ok(entries) = fs::read_dir(root.join("sys/devices/system/node")) else { return Vec::new() };
    let nodes = entries.flatten().filter_map(|entry| {
        let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        let cpus = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        Some((node, cpulist::parse(&cpus)))
    });
    nodes.collect()
}

/// The processors that this process may be given: those of its affinity, and the isolated ones too
/// unless somebody has chosen the affinity. The kernel leaves isolated processors out of what every
/// process starts with, but lets it choose them.
fn allowed(root: &Path, online: &BTreeSet<u32>, isolated: &BTreeSet<u32>) -> BTreeSet<u32> {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let affinity = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let Some(affinity) = affinity.map(cpulist::parse) else { return online.clone() };
    let group = group(root).unwrap_or_else(|| online.clone());
    let usual: BTreeSet<u32> =
        group.iter().filter(|id| online.contains(id) && !isolated.contains(id)).copied().collect();
    let mut allowed: BTreeSet<u32> = affinity.intersection(online).copied().collect();
    if allowed == usual {
        allowed.extend(isolated.intersection(&group));
    }
    allowed
}

/// What the control group leaves (cgroup v2); `None` if it does not tell.
fn group(root: &Path) -> Option<BTreeSet<u32>> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let file = Path::new("sys/fs/cgroup").join(path).join("cpuset.cpus.effective");
    fs::read_to_string(root.join(file)).ok().map(|text| cpulist::parse(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes what a machine's files held.
    fn recorded(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    fn cpu(id: u32, core: u32, node: u32) -> Cpu {
        Cpu { id, core, node, isolated: false, allowed: true }
    }

    fn allowed_ids(topology: &Topology) -> Vec<u32> {
        topology.allowed().map(|cpu| cpu.id).collect()
    }

    #[test]
    fn a_virtual_machine_of_two_cores() {
        let root = recorded(&[
            ("sys/devices/system/cpu/online", "0-1"),
            ("sys/devices/system/cpu/isolated", ""),
            ("sys/devices/system/cpu/cpu0/topology/core_cpus_list", "0"),
            ("sys/devices/system/cpu/cpu1/topology/core_cpus_list", "1"),
            ("sys/devices/system/node/node0/cpulist", "0-1"),
            ("proc/self/status", "Name:\tweir\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1"),
            ("proc/self/cgroup", "3:cpuset:/\n0::/"),
        ]);
        let topology = Topology::read(root.path());
        assert_eq!(topology.cpus, [cpu(0, 0, 0), cpu(1, 1, 0)]);
        assert_eq!((topology.cores(), topology.nodes()), (2, 1));
    }

    #[test]
    fn four_cores_with_siblings_far_and_near() {
        // Intel numbers the second threads behind the first ones, others side by side.
        for (siblings, core) in [
            (["0,4", "1,5", "2,6", "3,7"], [0, 1, 2, 3, 0, 1, 2, 3]),
            (["0-1", "2-3", "4-5", "6-7"], [0, 0, 2, 2, 4, 4, 6, 6]),
        ] {
            let mut files = vec![("sys/devices/system/cpu/online".to_owned(), "0-7")];
            for id in 0..8 {
                let list = siblings.into_iter().find(|list| cpulist::parse(list).contains(&id));
                let path = format!("sys/devices/system/cpu/cpu{id}/topology/thread_siblings_list");
                files.push((path, list.unwrap()));
            }
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            let topology = Topology::read(recorded(&files).path());
            assert_eq!(topology.cpus.iter().map(|cpu| cpu.core).collect::<Vec<_>>(), core);
            assert_eq!(topology.cores(), 4);
            assert_eq!(allowed_ids(&topology), (0..8).collect::<Vec<_>>(), "nothing forbids any");
        }
    }

    #[test]
    fn two_sockets_are_two_nodes() {
        let root = recorded(&[
            ("sys/devices/system/cpu/online", "0-3"),
            ("sys/devices/system/node/node0/cpulist", "0,2"),
            ("sys/devices/system/node/node1/cpulist", "1,3"),
            ("sys/devices/system/node/has_memory", "0-1"),
        ]);
        let topology = Topology::read(root.path());
        assert_eq!(topology.cpus, [cpu(0, 0, 0), cpu(1, 1, 1), cpu(2, 2, 0), cpu(3, 3, 1)]);
        assert_eq!(topology.nodes(), 2);
    }

    const ISOLATED: [(&str, &str); 2] =
        [("sys/devices/system/cpu/online", "0-3"), ("sys/devices/system/cpu/isolated", "2-3")];

    #[test]
    fn isolated_processors_are_allowed_unless_somebody_has_chosen_others() {
        let read = |affinity: &str| {
            let status = format!("Cpus_allowed_list:\t{affinity}");
            let root = recorded(&[ISOLATED[0], ISOLATED[1], ("proc/self/status", &status)]);
            Topology::read(root.path())
        };
        let topology = read("0-1");
        assert_eq!(allowed_ids(&topology), [0, 1, 2, 3]);
        assert!(topology.cpus[2].isolated && !topology.cpus[1].isolated);
        assert_eq!(allowed_ids(&read("1")), [1], "taskset -c 1");
        assert_eq!(allowed_ids(&read("1,3")), [1, 3]);
    }

    #[test]
    fn a_control_group_bounds_them() {
        let root = recorded(&[
            ISOLATED[0],
            ISOLATED[1],
            ("proc/self/status", "Cpus_allowed_list:\t1"),
            ("proc/self/cgroup", "0::/system.slice/weir.service"),
            ("sys/fs/cgroup/system.slice/weir.service/cpuset.cpus.effective", "1-2"),
        ]);
        assert_eq!(allowed_ids(&Topology::read(root.path())), [1, 2]);
    }

    #[test]
    fn this_machine_has_a_processor_that_this_test_may_use() {
        assert!(Topology::read(Path::new("/")).cores() >= 1);
        let nothing = Topology::read(Path::new("/nonexistent"));
        assert_eq!(nothing.cpus, [cpu(0, 0, 0)]);
    }
}
