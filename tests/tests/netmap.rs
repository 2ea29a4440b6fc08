//! weir on the real netmap module, in a virtual machine: on virtio and e1000 cards, over pipes and
//! VALE switches.
//!
//! The module is no part of this repository. `NETMAP_KO` names one (`/path/netmap.ko`), and
//! `NETMAP_KERNEL` the kernel image that it was built for; that kernel's other modules are looked for
//! beside it, as a package of Debian lays them out, or in `NETMAP_MODULES` (a folder as
//! `/lib/modules/RELEASE`). `WEIR_BIN` is weir: `make test-netmap` sees to it. Without
//! `NETMAP_KO` nothing is tested, and the test says so.

use std::env;
use std::path::{Path, PathBuf};

use weir_tests::vm::{Guest, Kernel, Machine, Nic};

/// A card: its name, model, network and pairs of queues.
type Card = (&'static str, &'static str, u32, u8);

/// The two hosts', and two pairs of ports between them.
const PAIRS: [Card; 6] = [
    ("client", "virtio-net-pci", 0, 1),
    ("server", "virtio-net-pci", 1, 1),
    ("vlan", "virtio-net-pci", 0, 1),
    ("vwan", "virtio-net-pci", 1, 1),
    ("elan", "e1000", 0, 1),
    ("ewan", "e1000", 1, 1),
];

/// The two hosts', and one pair of ports with two queues each.
const QUEUES: [Card; 4] = [
    ("client", "virtio-net-pci", 0, 1),
    ("server", "virtio-net-pci", 1, 1),
    ("vlan", "virtio-net-pci", 0, 2),
    ("vwan", "virtio-net-pci", 1, 2),
];

/// A small region: what there is beside the rings is little, too.
const SMALL_REGION: &str = "buf_num=16384 ring_num=64 if_num=32";

const RULES: &str = "\
block in all label \"default\"
pass in on lan inet proto icmp icmp-type echoreq
pass in on lan proto udp to port 53:63
pass in on lan proto udp from port 68 to port 67
pass in on wan proto udp from port 67 to port 68
pass in on lan proto tcp to port 90
pass in on lan proto tcp to port 91 synproxy state
";

/// What passes both ways: for the second of two firewalls in a row.
const OPEN: &str = "pass all no state\n";

const DHCP: &str = "\
start 10.0.0.50
end 10.0.0.60
interface server
lease_file /tmp/leases
pidfile /tmp/udhcpd.pid
";

const SETTINGS: &str = "[memory]\nstates = 100000\n";

/// A machine with two hosts in name spaces of their own, and ports that are down between them.
fn boot(module: &Path, cards: &[Card]) -> Machine {
    let image = env::var_os("NETMAP_KERNEL")
        .expect("NETMAP_KERNEL: the kernel image that the module of NETMAP_KO was built for");
    let mut kernel = Kernel::at(image.into());
    if let Some(folder) = env::var_os("NETMAP_MODULES") {
        kernel.modules = folder.into();
    }
    let weir = env::var_os("WEIR_BIN").expect("WEIR_BIN: where weir is (make test-netmap)");
    let mut guest = Guest::new();
    guest.program("bin/weir", Path::new(&weir));
    guest.modules(&kernel, &["virtio_pci", "virtio_net", "e1000"]);
    guest.module(module, SMALL_REGION);
    guest.file("etc/rules", RULES.as_bytes());
    guest.file("etc/open", OPEN.as_bytes());
    guest.file("etc/weir.toml", SETTINGS.as_bytes());
    guest.file("etc/udhcpd", DHCP.as_bytes());
    guest.script("bin/lease", "#!/bin/sh\n[ \"$1\" = bound ] && echo leased $ip\nexit 0\n");
    let nics: Vec<Nic> = (1..)
        .zip(cards)
        .map(|(number, &(_, model, network, queues))| Nic { model, network, number, queues })
        .collect();
    let mut machine = Machine::boot(&kernel, guest, &nics, 1024);
    for (nic, (name, ..)) in nics.iter().zip(cards) {
        machine.name(nic, name);
    }
    machine.host("client", "C", 1);
    machine.host("server", "S", 2);
    machine.expect("mkdir /tmp/www && head -c 1000000 /dev/urandom > /tmp/www/big");
    for port in [90, 91, 92] {
        machine.expect(&format!("nsenter -t $S -n nc -ll -p {port} -e cat /tmp/www/big &"));
    }
    machine.expect("touch /tmp/leases && nsenter -t $S -n udhcpd /etc/udhcpd");
    machine.expect("[ -e /dev/netmap ]");
    machine
}

/// Starts a firewall and waits until it forwards. Its process is `$NAME` then.
fn start(machine: &mut Machine, name: &str, [lan, wan]: [&str; 2], flags: &str) -> String {
    machine.expect(&format!(
        "weir run --config /etc/weir.toml --lan '{lan}' --wan '{wan}' --io netmap {flags} \
         --socket /run/{name} --state-dir /tmp/{name} > /tmp/{name}.log 2>&1 & {name}=$!"
    ));
    machine.await_success(&format!(
        "grep 'weir: forwarding' /tmp/{name}.log || {{ cat /tmp/{name}.log; false; }}"
    ));
    machine.expect(&format!("cat /tmp/{name}.log"))
}

fn stop(machine: &mut Machine, name: &str) {
    let (log, status) =
        machine.run(&format!("kill ${name}; wait ${name}; s=$?; cat /tmp/{name}.log; (exit $s)"));
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("stopped"), "{log}");
}

const RULED: &str = "--rules /etc/rules";

const PING: &str = "nsenter -t $C -n ping -c 3 -i 0.2 -W 5 10.0.0.2";

/// Reads what a server of the client's choice sends, to its end.
const FETCH: &str = "nsenter -t $C -n timeout 60 nc";

/// What the client can and cannot do.
fn talk(machine: &mut Machine) {
    machine.await_success("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
    machine.expect(PING);
    // UDP there and back, and an ICMP error that belongs to it.
    let lease =
        machine.expect("nsenter -t $C -n udhcpc -i client -f -n -q -t 10 -T 1 -s /bin/lease");
    assert!(lease.contains("leased 10.0.0.5"), "{lease}");
    let error = machine.expect("nsenter -t $C -n traceroute -n -q 1 -m 1 -w 5 -p 53 10.0.0.2");
    assert!(error.contains("ms"), "{error}");
    // TCP, unchanged, directly and with a handshake that weir makes.
    let sum = machine.expect("md5sum < /tmp/www/big");
    for port in [90, 91] {
        let got = machine.expect(&format!("{FETCH} 10.0.0.2 {port} | md5sum"));
        assert_eq!(got, sum, "port {port}");
    }
    // Blocked: the server is there, and is not reached.
    machine.expect("[ $(nsenter -t $C -n timeout 3 nc 10.0.0.2 92 | wc -c) = 0 ]");
    let got = machine.expect("nsenter -t $S -n timeout 60 nc 10.0.0.2 92 | md5sum");
    assert_eq!(got, sum);
}

/// The module, if there is one.
fn module() -> Option<PathBuf> {
    let module = env::var_os("NETMAP_KO");
    if module.is_none() {
        eprintln!("skipped: NETMAP_KO names no netmap module, so nothing was tried on a real one");
    }
    module.map(PathBuf::from)
}

#[test]
fn weir_on_the_real_module() {
    let Some(module) = module() else { return };
    let mut machine = boot(&module, &PAIRS);
    for (pair, driver) in [(["vlan", "vwan"], "virtio_net"), (["elan", "ewan"], "e1000")] {
        let log = start(&mut machine, "weir", pair, RULED);
        assert!(log.contains("ports: netmap: zero-copy"), "{log}");
        assert!(log.contains(driver) || !log.contains("emulated"), "{log}");
        talk(&mut machine);
        let listing = machine.expect("weir ctl --socket /run/weir -s info");
        println!("{driver}: {log}\n{listing}");
        let states = machine.expect("weir ctl --socket /run/weir -ss");
        assert!(states.contains("10.0.0.2:90"), "{states}");

        // Killed, nothing passes; the next one begins anew.
        machine.expect("kill -9 $weir; wait $weir; true");
        let (said, status) = machine.run("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
        assert_ne!(status, 0, "{said}");
        start(&mut machine, "weir", pair, RULED);
        talk(&mut machine);
        stop(&mut machine, "weir");
        for port in pair {
            machine.expect(&format!("ip link set {port} down"));
        }
    }

    // Two firewalls in a row, by a pipe and by a switch of netmap's own.
    for inner in [["w{1", "w}1"], ["vale0:a", "vale0:b"]] {
        start(&mut machine, "first", ["vlan", inner[0]], RULED);
        start(&mut machine, "second", [inner[1], "vwan"], "--rules /etc/open");
        talk(&mut machine);
        stop(&mut machine, "second");
        stop(&mut machine, "first");
    }

    // auto takes netmap where netmap takes the ports. An interface that goes is named, and the bridge
    // closed.
    machine.expect(
        "weir run --config /etc/weir.toml --lan vlan --wan vwan --rules /etc/rules --busy-poll \
         --socket /run/auto --state-dir /tmp/auto > /tmp/auto.log 2>&1 & auto=$!",
    );
    machine.await_success("grep 'weir: forwarding.*io=netmap' /tmp/auto.log");
    talk(&mut machine);
    machine.expect(
        "d=$(readlink -f /sys/class/net/vwan/device); \
         echo ${d##*/} > /sys/bus/virtio/drivers/virtio_net/unbind",
    );
    machine.await_success("grep 'vwan' /tmp/auto.log | grep 'gone'");
    let (said, status) = machine.run("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
    assert_ne!(status, 0, "{said}");
}

/// Each has a ring of both ports, in one region; what the hash of a card brings to the wrong one is handed
/// over.
#[test]
fn two_workers_on_the_real_module() {
    let Some(module) = module() else { return };
    let mut machine = boot(&module, &QUEUES);
    let flags = format!("{RULED} --workers 2");
    for killed in [true, false] {
        let log = start(&mut machine, "weir", ["vlan", "vwan"], &flags);
        assert!(log.contains("ports: netmap: zero-copy") && log.contains("workers=2"), "{log}");
        talk(&mut machine);
        // Four at once, more than once (nc keeps no more waiting), each a megabyte, whole.
        let sum = machine.expect("md5sum < /tmp/www/big");
        let fetched = machine.expect(&format!(
            "for j in 1 2 3 4; do all=; for i in 1 2 3 4; do {FETCH} 10.0.0.2 90 | md5sum & \
             all=\"$all $!\"; done; wait $all; done"
        ));
        let info = machine.expect("weir ctl --socket /run/weir -s info --json");
        let info: serde_json::Value = serde_json::from_str(&info).expect("one JSON object");
        println!("{log}\n{fetched}\n{info:#}");
        let whole = fetched.lines().filter(|line| *line == sum).count();
        assert_eq!(whole, 16, "{fetched}");
        for worker in info["workers"].as_array().expect("a list of workers") {
            assert!(worker["frames"].as_u64() > Some(10), "a worker has no work: {worker}");
        }
        if killed {
            machine.expect("kill -9 $weir; wait $weir; true");
            let (said, status) = machine.run("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
            assert_ne!(status, 0, "{said}");
        } else {
            stop(&mut machine, "weir");
        }
    }
}
