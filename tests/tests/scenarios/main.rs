//! Scenarios: real hosts, real clients and servers, the real binary in between.
//!
//! Each scenario is a function of what moves the frames and of the address family, and its name
//! says what it proves; the macros below make a test of every combination, such as
//! `traffic::curl_fetches_a_page::xdp_inet6`. Those of `traffic` also run over the kernel's own
//! bridge (`kernel_inet`), which shows that the scenario itself is sound.

mod attacks;
mod awkward_servers;
mod bad_cables;
mod blocking;
mod captured;
mod crafted;
mod crashes;
mod examples;
mod floods;
mod handshakes;
mod late;
mod lifecycle;
mod limits;
mod link;
mod listings;
mod loading;
mod logging;
mod management;
mod ports;
mod pppoe;
mod proxied;
mod slow;
mod sources;
mod tables;
mod traffic;
mod translated;
mod workers;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use weir_tests::lab::{Family, Host, Io, KernelBridge, Lab, Weir, WeirOptions, counter_in};

/// Makes a test of a scenario for each kind of port and each family.
macro_rules! on_every_port {
    ($($scenario:ident)+) => {$(
        mod $scenario {
            use weir_tests::lab::{Family, Io};

            #[test]
            fn xdp_inet() {
                super::$scenario(Io::Xdp, Family::Inet);
            }

            #[test]
            fn xdp_inet6() {
                super::$scenario(Io::Xdp, Family::Inet6);
            }

            #[test]
            fn packet_inet() {
                super::$scenario(Io::Packet, Family::Inet);
            }

            #[test]
            fn packet_inet6() {
                super::$scenario(Io::Packet, Family::Inet6);
            }
        }
    )+};
}
use on_every_port;

/// As `on_every_port`, for scenarios in which the family plays no part.
macro_rules! on_every_io {
    ($($scenario:ident)+) => {$(
        mod $scenario {
            use weir_tests::lab::Io;

            #[test]
            fn xdp() {
                super::$scenario(Io::Xdp);
            }

            #[test]
            fn packet() {
                super::$scenario(Io::Packet);
            }
        }
    )+};
}
use on_every_io;

/// As `on_every_port`, for scenarios that work over any bridge: the kernel's too.
macro_rules! over_every_bridge {
    ($($scenario:ident)+) => {$(
        mod $scenario {
            use weir_tests::lab::{Family, Io};

            use crate::Between;

            #[test]
            fn kernel_inet() {
                super::$scenario(Between::Kernel, Family::Inet);
            }

            #[test]
            fn kernel_inet6() {
                super::$scenario(Between::Kernel, Family::Inet6);
            }

            #[test]
            fn xdp_inet() {
                super::$scenario(Between::Weir(Io::Xdp), Family::Inet);
            }

            #[test]
            fn xdp_inet6() {
                super::$scenario(Between::Weir(Io::Xdp), Family::Inet6);
            }

            #[test]
            fn packet_inet() {
                super::$scenario(Between::Weir(Io::Packet), Family::Inet);
            }

            #[test]
            fn packet_inet6() {
                super::$scenario(Between::Weir(Io::Packet), Family::Inet6);
            }
        }
    )+};
}
use over_every_bridge;

/// What stands between the two cables.
#[derive(Clone, Copy, Debug)]
enum Between {
    Kernel,
    Weir(Io),
}

/// One of them, running.
enum Bridge<'a> {
    #[expect(dead_code, reason = "held for its drop")]
    Kernel(KernelBridge<'a>),
    Weir(Box<Weir>),
}

impl<'a> Bridge<'a> {
    /// Starts a bridge; the kernel's has no rules.
    fn start(lab: &'a Lab, between: Between, rules: &str) -> Self {
        match between {
            Between::Kernel => Self::Kernel(KernelBridge::start(lab)),
            Between::Weir(io) => {
                Self::Weir(Box::new(Weir::start(lab, &WeirOptions::new(io, rules))))
            }
        }
    }

    /// Asserts that no frame of a healthy connection was mistaken for an unhealthy one, or lost.
    fn assert_no_mismatch(&self) {
        if let Self::Weir(weir) = self {
            assert_no_mismatch(weir);
        }
    }
}

/// The reasons that a healthy TCP connection must never meet.
const MISMATCHES: [&str; 11] = [
    "tcp-no-state",
    "tcp-window",
    "tcp-bad-ack",
    "tcp-old-ack",
    "tcp-bad-reset",
    "tcp-far-reset",
    "tcp-bad-syn",
    "tcp-bad-syn-ack",
    "tcp-checksum",
    "tcp-flags",
    "icmp-unmatched",
];

fn assert_no_mismatch(weir: &Weir) {
    assert_no_mismatch_but(weir, &[]);
}

/// As `assert_no_mismatch`, with exceptions that the caller explains.
fn assert_no_mismatch_but(weir: &Weir, exceptions: &[&str]) {
    let info = weir.show(&["-s", "info"]);
    for reason in MISMATCHES.iter().filter(|reason| !exceptions.contains(reason)) {
        let count = counter_in(&info, reason);
        assert_eq!(count, 0, "{reason} in:\n{info}\n{}", weir.log().join("\n"));
    }
}

/// Fetches the page of a host's web server with curl on another host.
fn curl(from: &Host, to: &Host, family: Family, port: u16) -> Result<String, String> {
    let url = format!("http://{}/", to.socket(family, port));
    let output = from.run(&["curl", "-sS", "--noproxy", "*", "-g", "--max-time", "10", &url]);
    if output.success() { Ok(output.stdout) } else { Err(output.stderr) }
}

/// Tries to connect from a host.
fn connect(from: &Host, to: IpAddr, port: u16, limit: Duration) -> io::Result<TcpStream> {
    let to = SocketAddr::new(to, port);
    from.namespace.within(|| TcpStream::connect_timeout(&to, limit))
}
