//! Care of real drivers, in a virtual machine: what is changed on a NIC, that it is undone, and what
//! becomes of the bridge when cables are pulled and cards are taken out.
//!
//! `VM_KERNEL` names a kernel image of Debian, unpacked with its modules, and `WEIR_BIN` weir: `make test-vm` sees
//! to both. Without them nothing is tested, and the tests say so; likewise where this
//! QEMU (`QEMU` names another) or kernel lacks a card.

use std::env;
use std::path::{Path, PathBuf};

use weir_tests::vm::{Guest, Kernel, Machine, Nic};

const RULES: &str = "\
block in all label \"default\"
pass in on lan inet proto icmp icmp-type echoreq
pass in on lan proto tcp to port 90
pass in on lan proto tcp to port 91 synproxy state
pass in on lan proto tcp to port 93
";

const SETTINGS: &str = "[memory]\nstates = 100000\n";

/// All that care changes about an interface, as others see it: interrupts by name, since their numbers
/// may change.
const LOOK: &str = r#"#!/bin/sh
for what in l g a c x; do ethtool -$what $1 2>&1; done
for flow in tcp4 udp4 tcp6 udp6; do ethtool -n $1 rx-flow-hash $flow 2>&1; done
# Offloads, but for those that nobody can change.
ethtool -k $1 | grep -v fixed
device=$(readlink -f /sys/class/net/$1/device)
[ -d $device/msi_irqs ] || device=${device%/*}
for number in $(ls $device/msi_irqs); do
	name=$(grep "^ *$number:" /proc/interrupts) || continue
	echo "interrupt ${name##* } on $(cat /proc/irq/$number/smp_affinity_list)"
done | sort
echo "flags $(cat /sys/class/net/$1/flags)"
for setting in ipv6/conf/$1/disable_ipv6 ipv4/conf/$1/arp_ignore; do
	echo "$setting $(cat /proc/sys/net/$setting)"
done
"#;

/// How many frames each queue of a port has received.
const QUEUES: &str = "#!/bin/sh\n\
    ethtool -S $1 | sed -n 's/^ *rx_*\\(queue_\\)*[0-9][0-9]*_packets: //p'\n";

// What ethtool shows of pause frames and rings while weir runs.
const NO_PAUSE: &str = "Autonegotiate:\toff\nRX:\t\toff\nTX:\t\toff\n";
const LONG_RINGS: &str = "Current hardware settings:\nRX:\t\t4096\n";

/// A kind of card and how it appears in the guest.
struct Card {
    model: &'static str,
    driver: &'static str,
    /// Pairs of queues that the model is asked for.
    queues: u8,
    /// Whether any kernel can give it a hash that is the same for both directions of a connection.
    symmetric: bool,
    /// What is to be seen of each port while weir runs with two workers.
    during: &'static [&'static str],
}

/// A machine with two hosts and two ports of a kind.
struct Bench {
    machine: Machine,
    /// The ports.
    ports: [Nic; 2],
}

/// Boots the machine, unless something is missing.
fn boot(card: &Card) -> Option<Bench> {
    let Card { model, driver, queues, .. } = *card;
    let skip = |why: &str| {
        eprintln!("skipped: {why}, so {driver} was not tried");
        None
    };
    let Some(image) = env::var_os("VM_KERNEL") else {
        return skip("VM_KERNEL names no kernel (make test-vm)");
    };
    let kernel = Kernel::at(PathBuf::from(image));
    let port = |network, number| Nic { model, network, number, queues };
    let host = |network, number| Nic { model: "virtio-net-pci", network, number, queues: 1 };
    let nics = [host(0, 1), host(1, 2), port(0, 3), port(1, 4)];
    if !nics[2].is_there() {
        return skip(&format!("this QEMU has no {model}"));
    }
    if !kernel.has(driver) {
        return skip(&format!("{} has no module {driver}", kernel.modules.display()));
    }
    let weir = env::var_os("WEIR_BIN").expect("WEIR_BIN: where weir is (make test-vm)");
    let mut guest = Guest::new();
    guest.program("bin/weir", Path::new(&weir));
    guest.program("bin/ethtool", Path::new("/usr/sbin/ethtool"));
    guest.script("bin/look", LOOK);
    guest.script("bin/queues", QUEUES);
    guest.modules(&kernel, &["virtio_pci", "virtio_net", driver]);
    guest.file("etc/rules", RULES.as_bytes());
    guest.file("etc/weir.toml", SETTINGS.as_bytes());
    let mut machine = Machine::boot(&kernel, guest, &nics, 1024);
    for (nic, name) in nics.iter().zip(["client", "server", "lan0", "wan0"]) {
        machine.name(nic, name);
    }
    machine.host("client", "C", 1);
    machine.host("server", "S", 2);
    machine.expect("head -c 1000000 /dev/urandom > /tmp/big");
    for port in [90, 91, 92] {
        machine.expect(&format!("nsenter -t $S -n nc -ll -p {port} -e cat /tmp/big &"));
    }
    for port in ["lan0", "wan0"] {
        machine.expect(&format!("ip link set {port} up"));
        machine.await_success(&format!("[ $(cat /sys/class/net/{port}/carrier) = 1 ]"));
    }
    let [.., lan, wan] = nics;
    Some(Bench { machine, ports: [lan, wan] })
}

impl Bench {
    /// Starts the firewall; returns what it said when it forwards.
    fn start(&mut self, flags: &str) -> String {
        let [lan, wan] = self.ports.each_ref().map(Nic::mac);
        self.machine.expect(&format!(
            "weir run --config /etc/weir.toml --lan mac:{lan} --wan mac:{wan} --rules /etc/rules \
             --socket /run/weir.sock --state-dir /tmp/state {flags} > /tmp/log 2>&1 & weir=$!"
        ));
        self.machine.await_success("grep 'weir: forwarding' /tmp/log || { cat /tmp/log; false; }");
        self.machine.expect("cat /tmp/log")
    }

    fn stop(&mut self) -> String {
        let (log, status) =
            self.machine.run("kill $weir; wait $weir; s=$?; cat /tmp/log; (exit $s)");
        assert_eq!(status, 0, "{log}");
        assert!(!log.contains("cannot set its"), "not all was undone: {log}");
        log
    }

    /// What the ports look like to others, when they have links.
    fn look(&mut self) -> [String; 2] {
        ["lan0", "wan0"].map(|port| {
            self.machine.await_success(&format!("[ $(cat /sys/class/net/{port}/carrier) = 1 ]"));
            self.machine.expect(&format!("look {port}"))
        })
    }

    /// All is as it was.
    fn looks_as(&mut self, before: &[String; 2]) {
        for (before, after) in before.iter().zip(self.look()) {
            assert_eq!(changed(before, &after), [""; 0], "was: {:#?}", changed(&after, before));
            assert_eq!(*before, after);
        }
    }

    /// What the client can and cannot do.
    fn talk(&mut self) {
        let machine = &mut self.machine;
        machine.await_success("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
        let sum = machine.expect("md5sum < /tmp/big");
        for port in [90, 91] {
            let got =
                machine.expect(&format!("nsenter -t $C -n timeout 60 nc 10.0.0.2 {port} | md5sum"));
            assert_eq!(got, sum, "port {port}");
        }
        machine.expect("[ $(nsenter -t $C -n timeout 3 nc 10.0.0.2 92 | wc -c) = 0 ]");
    }

    fn received(&mut self) -> [Vec<u64>; 2] {
        ["lan0", "wan0"].map(|port| {
            let counts = self.machine.expect(&format!("queues {port}"));
            counts.lines().map(|count| count.parse().expect("a count")).collect()
        })
    }

    /// Queues at which a connection arrives from both hosts, for some connections.
    fn queues_of_connections(&mut self) -> Vec<[usize; 2]> {
        let one = |source: u16| {
            let before = self.received();
            self.machine.expect(&format!(
                "[ $(nsenter -t $C -n timeout 60 nc -p {source} 10.0.0.2 90 | wc -c) = 1000000 ]"
            ));
            let after = self.received();
            [0, 1].map(|port| {
                let more = after[port].iter().zip(&before[port]).map(|(now, was)| now - was);
                more.enumerate().max_by_key(|(_, more)| *more).map_or(0, |(queue, _)| queue)
            })
        };
        // Ports that differ in many bits: two bytes of a key may leave some out.
        (0..12).map(|bit| 0x8000 | 1 << bit).map(one).collect()
    }

    fn nothing_passes(&mut self) {
        let (said, status) = self.machine.run("nsenter -t $C -n ping -c 1 -W 2 10.0.0.2");
        assert_ne!(status, 0, "{said}");
    }
}

/// Lines of `now` that are not at the same place in `before`.
fn changed<'a>(before: &str, now: &'a str) -> Vec<&'a str> {
    let lines = now.lines().enumerate();
    lines.filter(|(i, line)| before.lines().nth(*i) != Some(*line)).map(|(_, line)| line).collect()
}

/// Whether a port hashes with a key that repeats two bytes, as both ports have to.
fn hashes_both_ways_alike(look: &str) -> bool {
    let Some((_, rest)) = look.split_once("RSS hash key:\n") else { return false };
    let key: Vec<&str> = rest.lines().next().unwrap_or_default().split(':').collect();
    key.len() > 4 && key.chunks(2).all(|pair| pair == &key[..2])
}

fn care_is_taken_and_undone(card: &Card) {
    let Some(mut bench) = boot(card) else { return };
    println!("{}", bench.machine.expect("weir nics"));
    let before = bench.look();
    let log = bench.start("--workers 2");
    println!("{}: {log}\n{}", card.driver, before[0]);
    let during = bench.look();
    for (before, during) in before.iter().zip(&during) {
        println!("{}: while it runs: {:#?}", card.driver, changed(before, during));
        for line in card.during {
            assert!(during.contains(line), "{line}: {during}");
        }
    }
    bench.talk();
    let symmetric = during.iter().all(|port| hashes_both_ways_alike(port));
    assert!(symmetric || !card.symmetric, "{}", during[0]);
    if symmetric {
        let queues = bench.queues_of_connections();
        println!("{}: queues of connections: {queues:?}", card.driver);
        assert!(queues.iter().all(|[lan, wan]| lan == wan), "{queues:?}");
        assert!([0, 1].iter().all(|queue| queues.contains(&[*queue; 2])), "{queues:?}");
    }
    let info = bench.machine.expect("weir ctl --socket /run/weir.sock -s info");
    println!(
        "{}",
        info.lines().skip_while(|line| !line.starts_with("Workers")).collect::<String>()
    );
    println!("{}", bench.stop());
    bench.looks_as(&before);
    bench.nothing_passes();

    // Killed: closed, and a new one takes over what it finds.
    bench.start("--workers 2");
    bench.talk();
    bench.machine.expect("kill -9 $weir; wait $weir; true");
    bench.nothing_passes();
    let left = bench.look();
    bench.start("--workers 2");
    bench.talk();
    bench.stop();
    bench.looks_as(&left);

    cables_and_cards_come_and_go(&mut bench, card);
}

fn cables_and_cards_come_and_go(bench: &mut Bench, card: &Card) {
    bench.start("--workers 1");
    // A connection that says nothing while its card is away.
    bench
        .machine
        .expect("mkfifo /tmp/say; sleep 1000000 | nsenter -t $S -n nc -l -p 93 > /tmp/got &");
    bench.machine.expect("nsenter -t $C -n nc 10.0.0.2 93 < /tmp/say & exec 4> /tmp/say");
    bench.machine.expect("echo before >&4");
    bench.machine.await_success("grep -q before /tmp/got");

    let [lan, wan] = bench.ports.clone();
    bench.machine.set_link(&lan, false);
    bench.machine.await_success("[ $(cat /sys/class/net/lan0/carrier) = 0 ]");
    if card.driver == "virtio_net" || card.driver == "vmxnet3" {
        // What is behind these would not see it.
        bench.machine.expect("grep 'cannot be taken down' /tmp/log");
        bench.machine.expect("[ $(cat /sys/class/net/wan0/carrier) = 1 ]");
    } else {
        bench.machine.await_success("grep 'lan0 has lost its link: wan0 is set down' /tmp/log");
    }
    bench.machine.set_link(&lan, true);
    bench.machine.await_success("[ $(cat /sys/class/net/wan0/carrier) = 1 ]");
    bench.talk();

    bench.machine.unplug(&wan);
    bench.machine.await_success("grep 'THE BRIDGE IS CLOSED' /tmp/log");
    bench.nothing_passes();
    bench.machine.plug(&wan);
    bench.machine.await_success("grep 'the bridge is open again' /tmp/log");
    bench.talk();
    bench.machine.expect("echo after >&4; exec 4>&-");
    bench.machine.await_success("[ \"$(tr '\\n' ' ' < /tmp/got)\" = 'before after ' ]");
    println!("{}", bench.stop());
}

// Workers are on CPU 1 and CPU 0: the first core is the last to be taken.

#[test]
fn virtio() {
    care_is_taken_and_undone(&Card {
        model: "virtio-net-pci",
        driver: "virtio_net",
        queues: 2,
        symmetric: true,
        during: &["generic-receive-offload: off", "input.0 on 1", "input.1 on 0"],
    });
}

#[test]
fn e1000e() {
    care_is_taken_and_undone(&Card {
        model: "e1000e",
        driver: "e1000e",
        queues: 1,
        symmetric: false,
        during: &[NO_PAUSE, LONG_RINGS, "rx-usecs: 10\n", "-rx-0 on 1", "-tx-0 on 1"],
    });
}

#[test]
fn vmxnet3() {
    care_is_taken_and_undone(&Card {
        model: "vmxnet3",
        driver: "vmxnet3",
        queues: 1,
        symmetric: false,
        during: &[LONG_RINGS, "large-receive-offload: off", "-rxtx-0 on 1", "-rxtx-1 on 0"],
    });
}

#[test]
fn igb() {
    care_is_taken_and_undone(&Card {
        model: "igb",
        driver: "igb",
        queues: 1,
        symmetric: false,
        during: &[
            NO_PAUSE,
            LONG_RINGS,
            "rx-usecs: 10\n",
            "\n    0:      0     1     0     1     0     1     0     1\n",
            "rx-vlan-offload: off",
            "-rx-0 on 1",
            "-rx-1 on 0",
        ],
    });
}
