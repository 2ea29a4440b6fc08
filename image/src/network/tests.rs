//! Against a real DHCP server, in namespaces of the test. Needs root.

use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use super::*;

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn run(words: &[&str]) -> String {
    let Output { status, stdout, stderr } =
        Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{words:?}: {said}");
    String::from_utf8(stdout).unwrap()
}

/// The box's first namespace with `lan0` and `mgmt0`, the network that `mgmt0` leads to, and the
/// management namespace, which is not there at first.
struct Lab {
    prefix: String,
    folder: TempDir,
}

impl Lab {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("wi{}x{number}", std::process::id());
        let lab = Self { prefix, folder: tempfile::tempdir().unwrap() };
        let (home, net) = (lab.name("home"), lab.name("net"));
        run(&["ip", "netns", "add", &home]);
        run(&["ip", "netns", "add", &net]);
        lab.wire(&["mgmt0", "netns", &home], &["eth0", "netns", &net]);
        lab.wire(&["lan0", "netns", &home], &["lan1", "netns", &net]);
        run(&["ip", "-n", &net, "addr", "add", "192.0.2.1/24", "dev", "eth0"]);
        run(&["ip", "-n", &net, "link", "set", "eth0", "up"]);
        lab
    }

    #[expect(clippy::unused_self, reason = "a wire is between namespaces of the lab")]
    fn wire(&self, one: &[&str], other: &[&str]) {
        run(&[&["ip", "link", "add"], one, &["type", "veth", "peer", "name"], other].concat());
    }

    fn name(&self, role: &str) -> String {
        format!("{}{role}", self.prefix)
    }

    fn ip(&self, role: &str, words: &[&str]) -> String {
        run(&[&["ip", "-n", &self.name(role)], words].concat())
    }

    fn places(&self) -> Places {
        let at = |name: &str| self.folder.path().join(name);
        Places {
            namespace: Path::new("/run/netns").join(self.name("mgmt")),
            settings: at("weir.toml"),
            status: at("status"),
            lease: at("lease"),
            pid: at("pid"),
            script: Path::new(env!("CARGO_MANIFEST_DIR")).join("root/usr/lib/weir/dhcp"),
            busybox: "busybox".into(),
        }
    }

    fn settings(&self, management: &str) {
        let text = format!(
            "[ports]\nlan = \"lan0\"\n[management]\nnamespace = \"management\"\n{management}\n"
        );
        fs::write(self.places().settings, text).unwrap();
    }

    /// On a thread of the box's first namespace.
    fn at_home<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let home = File::open(Path::new("/run/netns").join(self.name("home"))).unwrap();
        within(&home, f).unwrap()
    }

    /// Steps until the status says all of it.
    fn until(&self, network: &mut Network, said: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            network.step();
            let status = fs::read_to_string(self.places().status).unwrap();
            if said.iter().all(|said| status.contains(said)) {
                return status;
            }
            assert!(Instant::now() < deadline, "waits for {said:?}:\n{status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for role in ["home", "net", "mgmt"] {
            let _ = Command::new("ip").args(["netns", "del", &self.name(role)]).output();
        }
    }
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dnsmasq(lab: &Lab) -> Ended {
    let leases = lab.folder.path().join("leases");
    let child = Command::new("ip")
        .args(["netns", "exec", &lab.name("net"), "dnsmasq", "--keep-in-foreground", "--port=0"])
        .args(["--conf-file=/dev/null", "--no-ping", "--user=root", "--pid-file="])
        .args(["--interface=eth0", "--bind-interfaces", "--dhcp-authoritative"])
        .args(["--dhcp-range=192.0.2.100,192.0.2.100,255.255.255.0,1h"])
        .arg(format!("--dhcp-leasefile={}", leases.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Ended(child.unwrap())
}

#[test]
fn the_port_follows_the_settings_from_dhcp_over_addresses_to_none() {
    let lab = Lab::new();
    let _server = dnsmasq(&lab);
    lab.settings("nic = \"mgmt0\"");
    lab.at_home(|| {
        let mut network = Network::new(lab.places()).unwrap();
        let leased =
            ["interface mgmt0 (mgmt0), link up", "address 192.0.2.100/24 (DHCP, for 3600 s)"];
        lab.until(&mut network, &leased);
        assert!(lab.ip("mgmt", &["route"]).contains("default via 192.0.2.1 dev mgmt0"));
        assert!(!lab.ip("home", &["-o", "link"]).contains("mgmt0"), "it is nowhere else");
        let key = |key: &str| {
            let path = format!("/proc/sys/net/{key}");
            within(&network.namespace, || fs::read_to_string(path).unwrap()).unwrap()
        };
        assert_eq!(key("ipv4/ip_forward"), "0\n");
        assert_eq!(key("ipv6/conf/all/forwarding"), "0\n");
        assert_eq!(key("ipv6/conf/mgmt0/disable_ipv6"), "1\n", "nobody asked for IPv6");
        let client: i32 = fs::read_to_string(lab.places().pid).unwrap().parse().unwrap();

        lab.settings(
            "nic = \"mgmt0\"\naddresses = [\"198.51.100.7/24\", \"2001:db8::7/64\"]\n\
             gateways = [\"198.51.100.1\", \"2001:db8::1\"]",
        );
        let fixed = ["address 198.51.100.7/24\n", "address 2001:db8::7/64", "gateway 2001:db8::1"];
        let status = lab.until(&mut network, &fixed);
        assert!(!status.contains("192.0.2.100"), "{status}");
        assert!(lab.ip("mgmt", &["route"]).contains("default via 198.51.100.1 dev mgmt0"));
        assert!(lab.ip("mgmt", &["-6", "route"]).contains("default via 2001:db8::1 dev mgmt0"));
        assert!(!Path::new(&format!("/proc/{client}")).exists(), "udhcpc has ended");

        lab.settings("nic = \"mgmt0\"\naddresses = [");
        network.step();
        lab.until(&mut network, &fixed);
        assert!(lab.ip("mgmt", &["addr"]).contains("198.51.100.7/24"), "broken settings");

        lab.settings("nic = \"none\"");
        lab.until(&mut network, &["there is no management port"]);
        assert!(lab.ip("home", &["-o", "link"]).contains("mgmt0"), "given back");
        assert!(!lab.ip("home", &["-o", "addr", "show", "mgmt0"]).contains("inet"));
    });
}

#[test]
fn a_successor_takes_over_and_a_port_of_the_bridge_is_never_taken() {
    let lab = Lab::new();
    lab.settings("nic = \"mgmt0\"\naddresses = [\"198.51.100.7/24\"]");
    lab.at_home(|| {
        let mut network = Network::new(lab.places()).unwrap();
        lab.until(&mut network, &["address 198.51.100.7/24"]);
        drop(network);
        lab.settings("nic = \"mgmt0\"\naddresses = [\"198.51.100.8/24\"]");
        let mut network = Network::new(lab.places()).unwrap();
        let status = lab.until(&mut network, &["address 198.51.100.8/24"]);
        assert!(!status.contains("198.51.100.7"), "{status}");

        // The same interface as `lan`, by its address.
        let nics = weir_hw::nics().unwrap();
        let lan = nics.iter().find(|nic| nic.name == "lan0").unwrap();
        let mac = NicName::Mac(lan.mac).to_string();
        lab.settings(&format!("nic = \"{mac}\""));
        lab.until(&mut network, &["is a port of the bridge"]);
        assert!(lab.ip("home", &["-o", "link"]).contains("lan0"));
        lab.settings("nic = \"none0\"");
        lab.until(&mut network, &["trouble: there is no none0"]);
    });
}
