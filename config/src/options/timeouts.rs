//! Life-times of states without traffic, and the profiles that set them together.

use std::fmt;
use std::time::Duration;

use super::Named;

/// The named time-outs of pf.conf(5), in the order in which `-s timeouts` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Timeout {
    /// `tcp.first`: the first packet was seen.
    TcpFirst,
    /// `tcp.opening`: before both ends are established.
    TcpOpening,
    /// `tcp.established`: fully established.
    TcpEstablished,
    /// `tcp.closing`: the first FIN was seen.
    TcpClosing,
    /// `tcp.finwait`: both FINs were seen.
    TcpFinWait,
    /// `tcp.closed`: one end sent a RST, or both FINs are acknowledged.
    TcpClosed,
    /// `tcp.tsdiff`: allowed clock drift of TCP timestamps.
    TcpTsDiff,
    /// `udp.first`: the first packet was seen.
    UdpFirst,
    /// `udp.single`: the source sent more than one packet, the destination none.
    UdpSingle,
    /// `udp.multiple`: both hosts have sent packets.
    UdpMultiple,
    /// `icmp.first`: the query was seen.
    IcmpFirst,
    /// `icmp.error`: an ICMP error came back for the query.
    IcmpError,
    /// `other.first`: as `udp.first`, for other protocols.
    OtherFirst,
    /// `other.single`: as `udp.single`.
    OtherSingle,
    /// `other.multiple`: as `udp.multiple`.
    OtherMultiple,
    /// `frag`: an unfinished datagram is thrown away.
    Frag,
    /// `interval`: between sweeps; kept for pf's listings, weir's wheel needs none.
    Interval,
    /// `adaptive.start`: a number of states, not seconds.
    AdaptiveStart,
    /// `adaptive.end`: a number of states, not seconds.
    AdaptiveEnd,
    /// `src.track`: a source node without states.
    SrcTrack,
}

impl Timeout {
    /// Every time-out, in printing order.
    pub const ALL: [Self; 20] = [
        Self::TcpFirst,
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
        Self::TcpTsDiff,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
        Self::IcmpFirst,
        Self::IcmpError,
        Self::OtherFirst,
        Self::OtherSingle,
        Self::OtherMultiple,
        Self::Frag,
        Self::Interval,
        Self::AdaptiveStart,
        Self::AdaptiveEnd,
        Self::SrcTrack,
    ];

    /// The name that pf.conf(5) gives it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpFirst => "tcp.first",
            Self::TcpOpening => "tcp.opening",
            Self::TcpEstablished => "tcp.established",
            Self::TcpClosing => "tcp.closing",
            Self::TcpFinWait => "tcp.finwait",
            Self::TcpClosed => "tcp.closed",
            Self::TcpTsDiff => "tcp.tsdiff",
            Self::UdpFirst => "udp.first",
            Self::UdpSingle => "udp.single",
            Self::UdpMultiple => "udp.multiple",
            Self::IcmpFirst => "icmp.first",
            Self::IcmpError => "icmp.error",
            Self::OtherFirst => "other.first",
            Self::OtherSingle => "other.single",
            Self::OtherMultiple => "other.multiple",
            Self::Frag => "frag",
            Self::Interval => "interval",
            Self::AdaptiveStart => "adaptive.start",
            Self::AdaptiveEnd => "adaptive.end",
            Self::SrcTrack => "src.track",
        }
    }

    /// The time-out of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|timeout| timeout.name() == name)
    }

    /// Whether the value counts states, as the adaptive pair does, rather than seconds.
    pub const fn counts_states(self) -> bool {
        matches!(self, Self::AdaptiveStart | Self::AdaptiveEnd)
    }
}

/// `set optimization`: a profile of time-outs for a kind of network. Setting one sets the time-outs
/// of TCP; what is set behind it in the file changes them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimization {
    /// For almost all networks.
    #[default]
    Normal,
    /// For links with long delays, such as satellites.
    HighLatency,
    /// The same as `high-latency`.
    Satellite,
    /// Idle connections end early, which saves memory.
    Aggressive,
    /// No legitimate connection ends for being idle, at the price of memory.
    Conservative,
}

impl Named for Optimization {
    const ALL: &'static [Self] =
        &[Self::Normal, Self::HighLatency, Self::Satellite, Self::Aggressive, Self::Conservative];

    fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::HighLatency => "high-latency",
            Self::Satellite => "satellite",
            Self::Aggressive => "aggressive",
            Self::Conservative => "conservative",
        }
    }
}

impl Optimization {
    /// What the profile sets, in seconds (pfctl, `pf_hint_normal` and its kin).
    pub const fn timeouts(self) -> [(Timeout, u32); 7] {
        const MINUTE: u32 = 60;
        const HOUR: u32 = 60 * MINUTE;
        let [first, opening, established, closing, finwait, closed, tsdiff] = match self {
            Self::Normal => [2 * MINUTE, 30, 24 * HOUR, 15 * MINUTE, 45, 90, 30],
            Self::HighLatency | Self::Satellite => {
                [3 * MINUTE, 35, 24 * HOUR, 15 * MINUTE + 5, 50, 95, 60]
            }
            Self::Aggressive => [30, 5, 5 * HOUR, 60, 30, 30, 10],
            Self::Conservative => {
                [HOUR, 15 * MINUTE, 5 * 24 * HOUR, HOUR, 10 * MINUTE, 3 * MINUTE, 60]
            }
        };
        [
            (Timeout::TcpFirst, first),
            (Timeout::TcpOpening, opening),
            (Timeout::TcpEstablished, established),
            (Timeout::TcpClosing, closing),
            (Timeout::TcpFinWait, finwait),
            (Timeout::TcpClosed, closed),
            (Timeout::TcpTsDiff, tsdiff),
        ]
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value for each [`Timeout`], in seconds (the adaptive pair: in states).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts([u32; Timeout::ALL.len()]);

impl Timeouts {
    /// The largest life-time that can be set: thirty days.
    pub const MAX_SECONDS: u32 = 30 * 24 * 3600;

    /// The value as `set timeout` takes it.
    pub const fn get(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize]
    }

    /// The value as a length of time.
    pub const fn duration(&self, timeout: Timeout) -> Duration {
        Duration::from_secs(self.get(timeout) as u64)
    }

    /// Sets one value.
    pub const fn set(&mut self, timeout: Timeout, value: u32) {
        self.0[timeout as usize] = value;
    }

    /// Sets what the profile sets.
    pub(crate) fn follow(&mut self, profile: Optimization) {
        for (timeout, value) in profile.timeouts() {
            self.set(timeout, value);
        }
    }

    /// Sets the adaptive pair to what it is without a word from the user: 60 % and 120 % of
    /// `set limit states` (pf.conf(5)).
    pub(crate) fn follow_limit(&mut self, states: u32) {
        let share = |tenths| u32::try_from(u64::from(states) * tenths / 10).unwrap_or(u32::MAX);
        self.set(Timeout::AdaptiveStart, share(6));
        self.set(Timeout::AdaptiveEnd, share(12));
    }
}

impl Default for Timeouts {
    /// pf's `set optimization normal`.
    fn default() -> Self {
        let mut all = Self([0; Timeout::ALL.len()]);
        for (timeout, value) in [
            (Timeout::UdpFirst, 60),
            (Timeout::UdpSingle, 30),
            (Timeout::UdpMultiple, 60),
            (Timeout::IcmpFirst, 20),
            (Timeout::IcmpError, 10),
            (Timeout::OtherFirst, 60),
            (Timeout::OtherSingle, 30),
            (Timeout::OtherMultiple, 60),
            (Timeout::Frag, 60),
            (Timeout::Interval, 10),
            (Timeout::AdaptiveStart, 60_000),
            (Timeout::AdaptiveEnd, 120_000),
            (Timeout::SrcTrack, 0),
        ] {
            all.set(timeout, value);
        }
        all.follow(Optimization::Normal);
        all
    }
}
