//! `make run-image`: the appliance's image in QEMU between two hosts, its serial console here.
//!
//! The image is copied first, so that what is set up on the box is gone when it ends. Needs root.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use weir_tests::lab::{Lab, Namespace, WebServer};
use weir_tests::vm::{Appliance, Firmware};

fn main() -> ExitCode {
    let Some(image) = std::env::var_os("WEIR_IMAGE").map(PathBuf::from) else {
        eprintln!("WEIR_IMAGE names no image: make run-image");
        return ExitCode::FAILURE;
    };
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "The box stands between network namespaces, which need root: sudo make run-image"
        );
        return ExitCode::FAILURE;
    }
    let handler = ctrlc::set_handler(|| {
        Namespace::remove_all();
        std::process::exit(130);
    });
    if let Err(error) = handler {
        eprintln!("Ctrl-C will not clean up: {error}");
    }
    let lab = Lab::new();
    let management = Namespace::new("management");
    management.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "cable"]);
    management.ip(&["addr", "add", "192.0.2.254/24", "dev", "eth0"]);
    management.ip(&["link", "set", "eth0", "up"]);
    management.ip(&["link", "set", "cable", "netns", lab.firewall.name()]);
    let _outside = WebServer::start(&lab.server, 80);
    let _inside = WebServer::start(&lab.client, 8080);

    let mut appliance = Appliance::new(&image);
    if std::env::var_os("UEFI").is_some() {
        appliance.firmware = Firmware::Uefi;
    }
    appliance.between(&lab, "virtio-net-pci");
    appliance.plug_in(&lab.firewall, "cable", "virtio-net-pci");
    appliance.more = ["-device", "i6300esb", "-action", "watchdog=reset"].map(String::from).into();
    println!(
        "client 192.0.2.1, 2001:db8::1 ---- eth0 [ the box ] eth1 ---- server 192.0.2.2, 2001:db8::2
                                         eth2 ---- management 192.0.2.254 (its own network)

From another terminal, as root:
  ip netns exec {} curl http://192.0.2.2/         the client asks the server
  ip netns exec {} curl http://192.0.2.1:8080/    the other way round
  ip netns exec {} tcpdump -ni eth0       the management network
Ctrl-A X here switches the box off. It boots by software emulation: half a minute.
",
        lab.client.namespace.name(),
        lab.server.namespace.name(),
        management.name()
    );
    let status = appliance.attend();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
