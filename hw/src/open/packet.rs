//! `AF_PACKET` ports.

use std::sync::Arc;

use super::{OpenError, Opened, Wanted, WorkerPorts};
use crate::nic::Prepared;
use crate::packet::{self, PacketPort};
use crate::port::Kind;
use crate::sys::bpf;
use crate::sys::memory::{Memory, Pool};

/// Buffers for each worker: what both its sockets keep posted (256 each), and what may wait in its
/// queues.
const BUFFERS: u32 = 2048;

/// Opens `AF_PACKET` ports.
pub(super) fn open(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    let workers = wanted.workers;
    let memory = Memory::new(BUFFERS * workers as u32, packet::STRIDE)
        .map_err(OpenError::at("memory", "map buffers"))?;
    let mut opened = Vec::with_capacity(2);
    for port in ports {
        port.suit(Kind::Packet);
        let interface = port.interface().clone();
        let guard = match bpf::close_stack(interface.index) {
            Ok(link) => Some(Arc::new(link)),
            Err(error) => {
                port.notice(format!(
                    "cannot be closed to this host's own network stack ({error}; Linux 6.6 has \
                     tcx): frames for this host's other addresses reach it past the firewall"
                ));
                None
            }
        };
        opened.push(
            PacketPort::open(interface.index, workers, &memory, guard.as_ref())
                .map_err(OpenError::at(&interface.name, "open a packet socket"))?,
        );
    }
    let (wan, lan) = (opened.pop().unwrap_or_default(), opened.pop().unwrap_or_default());
    let workers = lan
        .into_iter()
        .zip(wan)
        .map(|(lan, wan)| WorkerPorts {
            pool: Pool::new(Arc::clone(&memory)),
            ports: [Box::new(lan), Box::new(wan)],
            holds: false,
        })
        .collect();
    Ok(Opened {
        kind: Kind::Packet,
        reason: "packet: sockets of the kernel's network stack".to_owned(),
        faster: Some("drivers that AF_XDP can use in driver mode, or netmap".to_owned()),
        workers,
    })
}
