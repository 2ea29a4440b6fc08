//! A host whose stack is smoltcp's, on a virtual clock.

use std::collections::VecDeque;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// A host with an address of each family in one network that all hosts share.
pub(crate) struct Host {
    interface: Interface,
    card: Card,
    pub(crate) sockets: SocketSet<'static>,
    mac: [u8; 6],
    /// IPv4 and IPv6.
    pub(crate) addresses: [IpAddress; 2],
}

impl Host {
    /// MTU in bytes. Numbers are unique.
    pub(crate) fn new(number: u8, mtu: usize, seed: u64) -> Self {
        let mac = [2, 0, 0, 0, 0, number];
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let mut card = Card { mtu, arriving: VecDeque::new(), leaving: Vec::new() };
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        let inet = IpAddress::v4(192, 0, 2, number);
        let inet6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(inet, 24)).expect("room for two");
            addresses.push(IpCidr::new(inet6, 64)).expect("room for two");
        });
        let sockets = SocketSet::new(Vec::new());
        Self { interface, card, sockets, mac, addresses: [inet, inet6] }
    }

    /// Whether its card takes a frame in: its own address, broadcast, or any group.
    pub(crate) fn listens_to(&self, frame: &[u8]) -> bool {
        frame.get(..6).is_some_and(|to| to == self.mac || to[0] & 1 == 1)
    }

    pub(crate) fn arrive(&mut self, frame: Vec<u8>) {
        self.card.arriving.push_back(frame);
    }

    /// Lets the stack work; returns what it sends.
    pub(crate) fn poll(&mut self, now: Duration) -> impl Iterator<Item = Vec<u8>> {
        self.interface.poll(at(now), &mut self.card, &mut self.sockets);
        self.card.leaving.drain(..)
    }

    /// When it wants to be polled at the latest.
    pub(crate) fn next(&mut self, now: Duration) -> Option<Duration> {
        let next = self.interface.poll_at(at(now), &self.sockets)?;
        Some(Duration::from_micros(next.total_micros().unsigned_abs()))
    }

    /// What a socket needs to connect.
    pub(crate) fn parts(&mut self) -> (&mut smoltcp::iface::Context, &mut SocketSet<'static>) {
        (self.interface.context(), &mut self.sockets)
    }
}

fn at(now: Duration) -> Instant {
    Instant::from_micros(now.as_micros() as i64)
}

/// What smoltcp takes for a network card.
struct Card {
    mtu: usize,
    arriving: VecDeque<Vec<u8>>,
    leaving: Vec<Vec<u8>>,
}

impl Device for Card {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.arriving.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.leaving)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Leaving<'_>> {
        Some(Leaving(&mut self.leaving))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Leaving<'a>(&'a mut Vec<Vec<u8>>);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}
