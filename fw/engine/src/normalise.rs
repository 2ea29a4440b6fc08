//! `scrub (reassemble tcp)`: what can be said of a TCP segment beyond its sequence numbers
//! (pf.conf(5), TRAFFIC NORMALISATION; OpenBSD's `pf_normalize_tcp_stateful`).
//!
//! - An end's time to live never falls below the highest that it had: packets that would die between
//!   here and the host are no way to tell the firewall another story than the host.
//! - Its timestamps (RFC 7323) are shifted by a random number and echoes shifted back: nobody reads
//!   the uptime of a host from them, or counts hosts behind one address.
//! - Segments whose timestamps cannot be of the connection are dropped: older than what the other end
//!   has echoed (PAWS), further ahead than a clock of 1,000 Hz can have gone, or echoing what was never
//!   sent. Data without timestamps does not pass once data with them has.
//!
//! A state that asks for it has a record at its place in a table beside the state table, made when the
//! first rule asks. All values in it are in the clock of the end that they are about. A segment is
//! looked at before the tracker sees it and changes the record after that has let it pass. By how much
//! clocks are shifted is chosen here; [`splice`](crate::splice) does it.

use weir_config::options::Timeout;
use zerocopy::FromZeros;

use crate::engine::Engine;
use crate::frame::Frames;
use crate::lane::Arrival;
use crate::packet::ipv4::{Ipv4, Ipv4Mut};
use crate::packet::ipv6::{Ipv6, Ipv6Mut};
use crate::packet::{Network, Packet, Tcp, Transport, tcp};
use crate::reason::Reason;
use crate::state::tcp as tracker;
use crate::state::wheel::TICKS_PER_SECOND;
use crate::time::Instant;

/// What is known of one end.
#[derive(Clone, Copy, Debug, FromZeros)]
struct End {
    /// Its last timestamp.
    value: u32,
    /// Its lowest.
    first: u32,
    /// The last timestamp of the other end that it has echoed, in the other's clock.
    echo: u32,
    /// When its last timestamp came, in milliseconds.
    seen: u32,
    /// Highest time to live.
    ttl: u8,
    /// Bits of [`known`].
    known: u8,
    spare: [u8; 2],
}

/// Bits of [`End::known`].
mod known {
    /// It was heard.
    pub(super) const HEARD: u8 = 1;
    /// Its SYN had timestamps.
    pub(super) const STAMPS: u8 = 2;
    /// One of its timestamps came with an echo: they can be checked.
    pub(super) const PAWS: u8 = 4;
    /// It was silent for too long, or the connection is too old, for its clock to be compared.
    pub(super) const IDLED: u8 = 8;
    /// Its data has timestamps.
    pub(super) const DATA_STAMPED: u8 = 16;
    /// Its first data had none.
    pub(super) const DATA_BARE: u8 = 32;
}

/// Timestamps of a clock of 1,000 Hz may be compared over half of their range; pf leaves some room.
const MAX_SILENCE: u32 = 24 * 24 * 3600 * 1000;
const MAX_AGE: u32 = 12 * 24 * 3600 * TICKS_PER_SECOND;
/// Ticks of the fastest clock in ten seconds: 1,000 Hz (RFC 7323, 5.4), and a tenth for its error.
const FASTEST: u64 = 11_000;

/// The records of a worker's states, by entry. Empty until a rule asks for them.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    records: Vec<[End; 2]>,
}

/// The timestamps of a segment.
#[derive(Clone, Copy)]
struct Stamps {
    /// In the sender's clock.
    value: u32,
    /// As it came, and in the receiver's clock.
    raw_echo: u32,
    echo: u32,
}

impl Normaliser {
    /// Makes room for the records of so many states, if there is none. Memory is taken by those that
    /// are used only, a page at a time.
    pub(crate) fn reserve(&mut self, states: u32) {
        if self.records.is_empty() {
            // Out of memory the process would end; its table has been allocated the same way.
            self.records = <[End; 2]>::new_vec_zeroed(states as usize).unwrap_or_default();
        }
    }

    /// Nothing is known of the state's ends.
    pub(crate) fn begin(&mut self, entry: u32) {
        if let Some(record) = self.records.get_mut(entry as usize) {
            record.zero();
        }
    }
}

impl End {
    const fn knows(&self, bits: u8) -> bool {
        self.known & bits == bits
    }

    /// Whether its timestamps can be checked at this time.
    const fn is_checked(&self, now: u32) -> bool {
        self.knows(known::PAWS)
            && !self.knows(known::IDLED)
            && now.wrapping_sub(self.seen) <= MAX_SILENCE
    }

    /// How far its clock can have gone since its last timestamp; `slack` in seconds.
    fn can_have_gone(&self, now: u32, slack: u32) -> u32 {
        let passed = u64::from(now.wrapping_sub(self.seen)) + u64::from(slack) * 1000;
        u32::try_from(passed * FASTEST / 10_000).unwrap_or(u32::MAX)
    }

    /// Takes a timestamp and what it echoes into account.
    fn hear(&mut self, stamps: &Stamps, now: u32) {
        if !self.knows(known::STAMPS) || self.knows(known::IDLED) {
            return;
        }
        self.seen = now;
        let sure = self.knows(known::PAWS);
        if !sure || !is_before(stamps.value, self.value) {
            self.value = stamps.value;
        }
        if stamps.raw_echo == 0 {
            return;
        }
        if !sure || !is_before(stamps.echo, self.echo) {
            self.echo = stamps.echo;
        }
        if !sure && is_before(stamps.value, self.first) {
            self.first = stamps.value;
        }
        self.known |= known::PAWS;
    }
}

impl Engine {
    /// Whether the timestamps of a segment can be of its connection. `(entry, from)`: the state, and
    /// which end of it sends. Changes nothing.
    pub(crate) fn inspect(
        &self,
        arrival: &Arrival<'_>,
        head: &[u8],
        header: &Tcp,
        (entry, from): (u32, usize),
    ) -> Result<(), Reason> {
        let &Arrival { round, packet, .. } = arrival;
        let Some(ends) = self.normaliser.records.get(entry as usize) else { return Ok(()) };
        let (source, other) = (&ends[from], &ends[1 - from]);
        if !source.knows(known::STAMPS) && !other.knows(known::STAMPS) {
            return Ok(());
        }
        let stamps = stamps(packet, header, head, self.splices.get(entry).clock[1 - from])?;
        let state = self.table.get(entry);
        let now = milliseconds(round.now);
        let is_young = round.tick.wrapping_sub(self.table.created(entry)) <= MAX_AGE;
        let checked = is_young && source.is_checked(now) && other.is_checked(now);
        if !checked || header.flags & tcp::flags::RST != 0 {
            return Ok(());
        }
        let fits = match stamps {
            None => packet.payload == 0 || !source.knows(known::DATA_STAMPED),
            Some(_) if !tracker::both_established(&state.peers) => true,
            Some(Stamps { value, raw_echo, echo, .. }) => {
                let timeout = Timeout::TcpTsDiff as u8;
                let slack = self.whole_ticks(state.rules, timeout, round.program);
                let most = source.can_have_gone(now, slack / TICKS_PER_SECOND);
                let ahead = value.wrapping_sub(source.value);
                !is_before(value, other.echo)
                    && (is_before(value, source.value) || ahead <= most)
                    && (raw_echo == 0
                        || !is_before(other.value, echo) && !is_before(echo, other.first))
            }
        };
        if fits { Ok(()) } else { Err(Reason::TcpTimestamp) }
    }

    /// Takes a segment that passes into account, if the tracker has (`moves`), raises its time to live
    /// and chooses by how much timestamps are shifted.
    pub(crate) fn normalise<F: Frames>(
        &mut self,
        arrival: &Arrival<'_>,
        frames: &mut F,
        (entry, from): (u32, usize),
        moves: bool,
    ) {
        let &Arrival { round, i, packet, .. } = arrival;
        let Transport::Tcp(header) = packet.transport else { return };
        let now = milliseconds(round.now);
        let is_young = round.tick.wrapping_sub(self.table.created(entry)) <= MAX_AGE;
        let Some(ends) = self.normaliser.records.get_mut(entry as usize) else { return };
        let source = &mut ends[from];
        // Two of them have been refused, but for the first segment of a flow.
        let shift = self.splices.get(entry).clock[1 - from];
        let found = stamps(packet, &header, frames.head(i), shift).ok().flatten();
        if moves && !source.knows(known::HEARD) {
            source.known = known::HEARD;
            if let Some(stamps) = found
                && header.flags & tcp::flags::SYN != 0
            {
                source.known |= known::STAMPS;
                if let Some(splice) = self.splices.get_mut(entry)
                    && splice.clock[from] == 0
                {
                    splice.clock[from] = self.chance.next() as u32;
                }
                (source.value, source.first, source.seen) = (stamps.value, stamps.value, now);
            }
        }
        if moves {
            source.ttl = source.ttl.max(packet.ttl);
            if !is_young || source.knows(known::PAWS) && !source.is_checked(now) {
                source.known |= known::IDLED;
            }
            if packet.payload > 0 && !source.knows(known::DATA_BARE) {
                let kind = if found.is_some() { known::DATA_STAMPED } else { known::DATA_BARE };
                source.known |= kind;
            }
            if let Some(stamps) = found {
                source.hear(&stamps, now);
            }
        }
        raise_ttl(frames.head_mut(i), packet, source.ttl);
        self.fragments.least_ttl = source.ttl;
    }
}

/// The timestamps of a segment, of which the receiver's clock was shifted; more than one pair is
/// refused.
fn stamps(
    packet: &Packet,
    header: &Tcp,
    head: &[u8],
    shift: u32,
) -> Result<Option<Stamps>, Reason> {
    let start = usize::from(packet.transport_offset);
    let segment = head.get(start..start + usize::from(header.header)).unwrap_or_default();
    let mut found = tcp::find_timestamps(segment);
    let Some((_, value, raw_echo)) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(Reason::TcpTimestamp);
    }
    // 0 is no echo.
    let echo = if raw_echo == 0 { 0 } else { raw_echo.wrapping_sub(shift) };
    Ok(Some(Stamps { value, raw_echo, echo }))
}

/// Raises the time to live, which other effects may have raised already.
pub(crate) fn raise_ttl(head: &mut [u8], packet: &Packet, least: u8) {
    let at = usize::from(packet.network_offset);
    match packet.network {
        Network::Ipv4 => {
            let low = Ipv4::new(head, at, head.len()).is_ok_and(|header| header.ttl() < least);
            if low && let Some(mut header) = Ipv4Mut::new(head, at) {
                header.set_ttl(least);
            }
        }
        Network::Ipv6 => {
            let low =
                Ipv6::new(head, at, head.len()).is_ok_and(|header| header.hop_limit() < least);
            if low && let Some(mut header) = Ipv6Mut::new(head, at) {
                header.set_hop_limit(least);
            }
        }
        Network::Arp => {}
    }
}

/// Timestamps are compared modulo 2^32 (RFC 7323, 5.2).
const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

const fn milliseconds(now: Instant) -> u32 {
    (now.0 / 1_000_000) as u32
}
