//! What a worker counts, apart from its rules.

use crate::reason::Reason;

/// The most ports a bridge can have.
pub const MAX_PORTS: usize = 4;

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes of the IP packets, or of the frames of other protocols.
    pub bytes: u64,
}

impl Tally {
    /// Counts one in.
    #[inline]
    pub(crate) const fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) const fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// What one port has seen, as `pfctl -vvs Interfaces` breaks it down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// By family (IPv4, IPv6, others), direction (in, out), and what became of it (passed, blocked).
    pub traffic: [[[Tally; 2]; 2]; 3],
}

/// What became of connections whose handshakes weir makes itself (`synproxy state`, `set syncookies`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynproxyCounters {
    /// SYNs answered with a cookie.
    pub sent: u64,
    /// The same SYN-ACKs sent again, because no ACK came.
    pub resent: u64,
    /// ACKs with a right cookie.
    pub valid: u64,
    /// ACKs with a wrong one, where one was sent.
    pub invalid: u64,
    /// ACKs whose cookie was right once.
    pub expired: u64,
    /// Clients that got a RST because a limit was reached.
    pub surplus: u64,
    /// Clients that got a RST because their server refused them.
    pub refused: u64,
    /// Clients that got a RST because their server was silent.
    pub silent: u64,
    /// Clients and servers that got a RST because the server lacks an option that it had.
    pub lacking: u64,
}

impl SynproxyCounters {
    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.resent += other.resent;
        self.valid += other.valid;
        self.invalid += other.invalid;
        self.expired += other.expired;
        self.surplus += other.surplus;
        self.refused += other.refused;
        self.silent += other.silent;
        self.lacking += other.lacking;
    }
}

/// Everything a worker counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// By port.
    pub ports: [PortCounters; MAX_PORTS],
    /// Drops by [`Reason`].
    pub reasons: [u64; Reason::COUNT],
    /// Look-ups in the state table.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States ended, for whatever cause.
    pub removals: u64,
    /// Unproven states that had to make room for new ones.
    pub evictions: u64,
    /// Packets of connections that had ended, passed or dropped as [`Reason::TcpLate`].
    pub late: u64,
    /// Frames given to the worker that owns their flow.
    pub handed_over: u64,
    /// Frames judged here.
    pub judged: u64,
    /// Answers to blocked packets.
    pub reflected: u64,
    /// Other frames of the engine's own.
    pub crafted: u64,
    /// SYNs that were answered in the names of their servers.
    pub synproxy: SynproxyCounters,
    /// Frames passed unjudged while the filter was disabled.
    pub unfiltered: u64,
    /// Transport checksums that were left to hardware and finished here.
    pub finished_checksums: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            ports: [PortCounters::default(); MAX_PORTS],
            reasons: [0; Reason::COUNT],
            searches: 0,
            inserts: 0,
            removals: 0,
            evictions: 0,
            late: 0,
            handed_over: 0,
            judged: 0,
            reflected: 0,
            crafted: 0,
            synproxy: SynproxyCounters::default(),
            unfiltered: 0,
            finished_checksums: 0,
        }
    }
}

impl Counters {
    /// Adds what another worker has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.ports.iter_mut().zip(&other.ports) {
            let mine = mine.traffic.as_flattened_mut().as_flattened_mut();
            for (mine, theirs) in mine.iter_mut().zip(theirs.traffic.as_flattened().as_flattened())
            {
                mine.merge(theirs);
            }
        }
        for (mine, theirs) in self.reasons.iter_mut().zip(&other.reasons) {
            *mine += theirs;
        }
        self.searches += other.searches;
        self.inserts += other.inserts;
        self.removals += other.removals;
        self.evictions += other.evictions;
        self.late += other.late;
        self.handed_over += other.handed_over;
        self.judged += other.judged;
        self.reflected += other.reflected;
        self.crafted += other.crafted;
        self.synproxy.merge(&other.synproxy);
        self.unfiltered += other.unfiltered;
        self.finished_checksums += other.finished_checksums;
    }
}
