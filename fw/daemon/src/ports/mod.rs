//! The two interfaces of the bridge: found by what the settings call them, prepared, opened, and where
//! the threads that serve them run.

pub mod keeper;
pub mod list;
mod name;
mod propagation;
mod seats;

pub use name::find;
pub use seats::{Seats, print};

use tracing::{info, warn};
use weir_engine::Steering;
use weir_hw::nic::{Cause, Refusal};
use weir_hw::{Kind, Nic, Opened, Prepared, Wanted, Wishes};

use crate::settings::Settings;

/// Prepares both interfaces and opens them for the workers on their seats.
///
/// # Errors
/// What stands against it, in words.
pub fn open(settings: &Settings, seats: &Seats) -> Result<([Prepared; 2], Opened), String> {
    let names = seats.names.each_ref().map(String::as_str);
    let prepared = weir_hw::prepare(&names).map_err(|refusal| refused(&refusal, &seats.found))?;
    let mut prepared: [Prepared; 2] =
        prepared.try_into().map_err(|_| "two interfaces are needed")?;
    for port in &mut prepared {
        care(port, settings, seats);
    }
    let wanted =
        Wanted { io: settings.io, workers: settings.workers.into(), busy_poll: settings.busy_poll };
    let mut opened = weir_hw::open(&wanted, &mut prepared).map_err(|error| error.to_string())?;
    settle(&mut prepared, settings, seats);
    settings.developer.wrap(&mut opened)?;
    tell(&mut prepared);
    let faster = opened.faster.as_ref().map(|faster| format!("; faster would be: {faster}"));
    info!("ports: {}{}", opened.reason, faster.unwrap_or_default());
    Ok((prepared, opened))
}

/// How both NICs deal flows out to the workers, if they do it alike and weir can tell which worker it is.
pub fn steering(prepared: &[Prepared; 2], opened: &Opened) -> Option<Steering> {
    let workers = opened.workers.len();
    // AF_PACKET deals out anew what the NICs have dealt out.
    if workers < 2 || !matches!(opened.kind, Kind::Xdp | Kind::Netmap) {
        return None;
    }
    let [lan, wan] = prepared.each_ref().map(Prepared::dealing);
    let dealing = lan.filter(|lan| Some(lan) == wan.as_ref())?;
    if dealing.queues.iter().any(|&queue| queue as usize >= workers) {
        return None;
    }
    Steering::new(dealing.word, dealing.queues.iter().map(|&queue| queue as u16).collect())
}

/// Takes care of a NIC for the workers on their seats.
fn care(port: &mut Prepared, settings: &Settings, seats: &Seats) {
    let ring = weir_hw::open::longest_ring(settings.io, settings.nics.ring);
    let wishes = Wishes { ring, hash_word: seats.hash_word, ..settings.nics };
    port.care(&wishes, seats.plan.workers.len());
}

/// Takes care of what waits until the ports are open.
fn settle(prepared: &mut [Prepared; 2], settings: &Settings, seats: &Seats) {
    let interrupts = seats.interrupts(settings.threads.realtime.is_some());
    for port in prepared {
        port.point_interrupts(&settings.nics, &interrupts);
    }
}

/// Says what there is to say about the preparation, once.
fn tell(prepared: &mut [Prepared; 2]) {
    for notice in prepared.iter_mut().flat_map(Prepared::take_notices) {
        if notice.warns {
            warn!("{notice}");
        } else {
            info!("{notice}");
        }
    }
}

/// A refusal in words, with what else there is where nothing has the name.
fn refused(refusal: &Refusal, found: &[Nic]) -> String {
    match refusal.cause {
        Cause::Missing => format!("{refusal}; {}", name::candidates(found)),
        _ => refusal.to_string(),
    }
}
