//! `AF_XDP` ports: the best way in which the kernel can move frames for both.

use std::sync::Arc;

use super::{HELD_BUFFERS, OpenError, Opened, Wanted, WorkerPorts, suited};
use crate::nic::{Interface, Prepared};
use crate::port::{FRAMING, Kind};
use crate::sys::memory::{Memory, Pool};
use crate::sys::xdp::Mode;
use crate::xdp;

/// Buffers for each worker, beside those that wait for frames in the fill rings: what both TX rings
/// hold.
const BUFFERS: u32 = 2 * xdp::RING;

/// Opens `AF_XDP` ports.
pub(super) fn open(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    let workers = wanted.workers;
    for port in ports.iter() {
        let Interface { name, receive_queues, .. } = port.interface();
        if (*receive_queues as usize) < workers {
            return Err(OpenError::TooFewQueues {
                interface: name.clone(),
                queues: *receive_queues,
                workers,
            });
        }
    }
    // Some drivers take no program while an offload is on that merges frames.
    suited(Kind::Xdp, ports, |ports| try_modes(wanted, ports))
}

/// Tries the ways in which the kernel can move frames, the best first: both ports share one memory
/// and with it one mode.
fn try_modes(wanted: &Wanted, ports: &mut [Prepared; 2]) -> Result<Opened, OpenError> {
    let workers = wanted.workers;
    let interfaces = ports.each_ref().map(|port| port.interface().clone());
    let longest = interfaces.iter().map(|interface| interface.mtu as usize).max();
    let one_buffer = longest.unwrap_or_default() + FRAMING <= xdp::PAYLOAD;
    let modes = [(true, true), (true, false), (false, true), (false, false)]
        .map(|(zero_copy, segments)| Mode { zero_copy, segments });

    let mut zero_copy_refused = None;
    let mut failed = None;
    let mut bound = None;
    // Without chains, longer frames would be lost.
    for mode in modes.into_iter().filter(|mode| mode.segments || one_buffer) {
        match bind_both(&interfaces, mode, workers) {
            Ok(both) => {
                bound = Some((mode, both));
                break;
            }
            Err(error) if mode.zero_copy => {
                zero_copy_refused.get_or_insert(error);
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let Some((mode, (memory, [mut lan, mut wan]))) = bound else {
        // Copy mode with chains is always among the modes.
        return Err(failed.unwrap_or(OpenError::NoWorkers));
    };

    if wanted.busy_poll {
        for (bound, port) in [&mut lan, &mut wan].into_iter().zip(ports.iter_mut()) {
            if let Err(error) = bound.prefer_busy_poll() {
                port.notice(format!(
                    "the kernel does not serve it by busy polling ({error}): its interrupts stay"
                ));
            }
        }
    }
    let attach = |bound: xdp::Bound, interface: &Interface| {
        bound
            .attach(mode, workers, &memory)
            .map_err(OpenError::at(&interface.name, "attach an XDP program in driver mode"))
    };
    let lan = attach(lan, &interfaces[0])?;
    let wan = attach(wan, &interfaces[1])?;
    for port in ports.iter_mut() {
        if port.interface().driver.as_deref() == Some("veth") {
            port.notice(
                "a tag that a VLAN interface at the other end of this veth pair adds travels \
                 beside the frame and is lost here; switch it off there with: \
                 ethtool -K DEVICE txvlan off tx-vlan-stag-hw-insert off"
                    .to_owned(),
            );
        }
    }
    let workers = lan
        .into_iter()
        .zip(wan)
        .map(|(lan, wan)| WorkerPorts {
            pool: Pool::new(Arc::clone(&memory)),
            ports: [Box::new(lan), Box::new(wan)],
            holds: true,
        })
        .collect();
    let (reason, faster) = match zero_copy_refused {
        _ if mode.zero_copy => ("xdp: driver mode, zero-copy".to_owned(), None),
        refused => (
            match refused {
                Some(refused) => format!("xdp: driver mode, copy mode; no zero-copy: {refused}"),
                None => "xdp: driver mode, copy mode".to_owned(),
            },
            Some("drivers with AF_XDP zero-copy (weir nics), or netmap".to_owned()),
        ),
    };
    let reason = if memory.is_huge() { format!("{reason}; huge pages") } else { reason };
    Ok(Opened { kind: Kind::Xdp, reason, faster, workers })
}

/// Binds sockets for all queues of both interfaces over a new memory: when this fails, a driver may
/// let go of the old one some time later.
fn bind_both(
    interfaces: &[Interface; 2],
    mode: Mode,
    workers: usize,
) -> Result<(Arc<Memory>, [xdp::Bound; 2]), OpenError> {
    let queues: u32 = interfaces.iter().map(|interface| interface.receive_queues).sum();
    let each = BUFFERS + HELD_BUFFERS;
    let memory = Memory::new(queues * xdp::RING + workers as u32 * each, xdp::STRIDE)
        .map_err(OpenError::at("memory", "map buffers"))?;
    let mut pool = Pool::new(Arc::clone(&memory));
    let bind = |interface: &Interface, pool: &mut Pool, first| {
        xdp::Bound::new(interface, mode, pool, first)
            .map_err(OpenError::at(&interface.name, "bind an AF_XDP socket"))
    };
    let lan = bind(&interfaces[0], &mut pool, None)?;
    let wan = bind(&interfaces[1], &mut pool, lan.first())?;
    Ok((memory, [lan, wan]))
}
