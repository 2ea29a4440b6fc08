//! Why a frame was dropped. Every drop has exactly one reason, every reason a counter, a name and a
//! line that explains it.

use std::fmt;

/// Declares [`Reason`], so that a new one is one line.
macro_rules! reasons {
    ($($variant:ident, $name:literal, $text:literal;)+) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the listings.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in logs, listings and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence for the manual and the verbose listing.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

reasons! {
    // Before judgement.
    NoRuleset, "no-ruleset", "No rule set is in force yet, or the rules were flushed.";
    // Layer 2.
    Runt, "runt", "The frame is shorter than an Ethernet header.";
    TooManyTags, "too-many-tags", "More than two VLAN tags.";
    TruncatedTag, "truncated-tag", "The frame ends inside a VLAN tag.";
    EtherType, "ethertype", "Neither IP nor ARP, and no ether rule passed it.";
    PppoeHeader, "pppoe-header", "A PPPoE header whose version, type, code or session id cannot be.";
    PppoeLength, "pppoe-length", "A PPPoE header whose length is not the frame's, or too short for PPP.";
    Pppoe, "pppoe", "A frame of PPPoE that carries neither IP nor what keeps a session up, and no ether rule passed it.";
    MalformedArp, "malformed-arp", "An ARP packet that is not a request or reply of IPv4 over Ethernet.";
    SplitHeader, "split-header", "The headers do not lie in the first segment of the frame.";
    // IP.
    TruncatedIp, "truncated-ip", "The frame ends before the IP packet does.";
    IpVersion, "ip-version", "The version field does not fit the ethertype.";
    IpHeaderLength, "ip-header-length", "The IP header length is impossible.";
    IpChecksum, "ip-checksum", "The IPv4 header checksum is wrong.";
    IpOptions, "ip-options", "IPv4 options or IPv6 extension headers that need allow-opts.";
    ExtensionHeader, "extension-header", "A malformed IPv6 extension header, or too many of them.";
    FragLength, "frag-length", "A fragment without data, not a multiple of 8 bytes long though more follow, or beyond the longest packet.";
    FragTiny, "frag-tiny", "A first fragment without the whole transport header, or a TCP fragment that begins inside it.";
    FragDf, "frag-df", "An IPv4 fragment that says it must not be fragmented, without set reassemble no-df.";
    FragOverlap, "frag-overlap", "A fragment that overlaps another or contradicts its length, and everything else of the datagram.";
    FragDuplicate, "frag-duplicate", "The same fragment again while the rest of the datagram was awaited.";
    FragMany, "frag-many", "A datagram in too many fragments.";
    FragLimit, "frag-limit", "A fragment that had to make room for others.";
    FragTimeout, "frag-timeout", "A fragment whose datagram was not complete in time.";
    FragDiscovery, "frag-discovery", "Neighbour or router discovery in fragments, which hosts ignore (RFC 6980).";
    SourceAddress, "source-address", "A source address (Ethernet or IP) that no host can have: multicast or broadcast.";
    // Transport.
    TruncatedTcp, "truncated-tcp", "The packet ends inside the TCP header.";
    TcpHeaderLength, "tcp-header-length", "The TCP data offset is impossible.";
    TcpFlags, "tcp-flags", "A combination of TCP flags that no stack sends.";
    TcpChecksum, "tcp-checksum", "A SYN, FIN or RST with a wrong checksum.";
    TruncatedUdp, "truncated-udp", "The packet ends inside the UDP header.";
    UdpLength, "udp-length", "The UDP length does not fit the packet.";
    UdpPort, "udp-port", "A UDP datagram to port 0.";
    TruncatedSctp, "truncated-sctp", "The packet ends inside the SCTP header.";
    SctpChunks, "sctp-chunks", "SCTP chunks that cannot be read, or that may not stand together.";
    SctpChecksum, "sctp-checksum", "An SCTP packet that begins, moves or ends an association, with a wrong checksum.";
    TruncatedIcmp, "truncated-icmp", "The packet ends inside the ICMP header.";
    IcmpFamily, "icmp-family", "ICMP in an IPv6 packet or ICMPv6 in an IPv4 packet.";
    IcmpQuote, "icmp-quote", "An ICMP error whose quoted packet cannot be read.";
    NdHopLimit, "nd-hop-limit", "Neighbour or router discovery from beyond the link (hop limit not 255).";
    // Judgement of layer 2.
    Llc, "llc", "A length in place of the ethertype (LLC, SNAP), and no ether rule passed it.";
    LinkControl, "link-control", "A control frame that set link-control does not let through.";
    LinkLocal, "link-local", "An unknown protocol to a link-local group address (01-80-C2-00-00-0x).";
    MacControl, "mac-control", "A MAC control frame (PAUSE), which never crosses a bridge.";
    EtherRule, "ether-rule", "An ether rule blocked it.";
    NeighbourGuard, "neighbour-guard", "ARP or neighbour discovery that claims an address bound to another port.";
    NeighbourMac, "neighbour-mac", "ARP or neighbour discovery whose hardware address is not the frame's, or cannot be read.";
    RouterGuard, "router-guard", "A router advertisement or redirect from a port that no router is behind.";
    DhcpGuard, "dhcp-guard", "A DHCP server's message from a port that no server is behind.";
    // Judgement.
    BlockRule, "block-rule", "A block rule matched.";
    NoRule, "no-rule", "No rule spoke for the packet.";
    PacketRate, "packet-rate", "A packet of a state whose rule has a max-pkt-rate that is exceeded.";
    TcpNoState, "tcp-no-state", "A TCP segment that only a new connection's SYN could make pass.";
    TcpWindow, "tcp-window", "A TCP segment beyond what its receiver has allowed.";
    TcpOld, "tcp-old", "A TCP segment from more than a window ago.";
    TcpBadAck, "tcp-bad-ack", "A TCP segment that acknowledges what was never sent.";
    TcpOldAck, "tcp-old-ack", "A TCP segment that acknowledges what was acknowledged windows ago.";
    TcpBadReset, "tcp-bad-reset", "A RST inside the window that is not exact, answered with a challenge ACK (RFC 5961, 3.2).";
    TcpFarReset, "tcp-far-reset", "A RST outside the window, or that acknowledges what it cannot.";
    TcpBadSyn, "tcp-bad-syn", "A SYN of the end that answers, or inside the window, on a connection that stands: answered with a challenge ACK (RFC 5961, 4.2).";
    TcpBadSynAck, "tcp-bad-syn-ack", "A SYN-ACK that answers no SYN, or a duplicate of long ago.";
    TcpForgotten, "tcp-forgotten", "A SYN-ACK for a connection that was believed alive: its state ends.";
    TcpTimestamp, "tcp-timestamp", "A TCP segment whose timestamps cannot be of its connection.";
    SctpNoState, "sctp-no-state", "An SCTP packet that only a new association's INIT could make pass.";
    SctpTag, "sctp-tag", "An SCTP packet without the verification tag of its association.";
    TcpLate, "tcp-late", "What comes late of a TCP connection that has ended, and is of no use.";
    IcmpUnmatched, "icmp-unmatched", "An ICMP error about a packet that no state knows.";
    IcmpWindow, "icmp-window", "An ICMP error about a TCP segment outside the windows of its state.";
    StateLimit, "state-limit", "The state table is full.";
    MaxStates, "max-states", "The rule has as many states as its max allows.";
    MaxSrcNodes, "max-src-nodes", "The rule tracks as many sources as its max-src-nodes allows.";
    MaxSrcStates, "max-src-states", "The source has as many states as max-src-states allows.";
    MaxSrcConn, "max-src-conn", "The source has as many connections as max-src-conn allows.";
    MaxSrcConnRate, "max-src-conn-rate", "The source connects faster than max-src-conn-rate allows.";
    MaxIdle, "max-idle", "A TCP connection that has made no progress for as long as max-idle says: it was reset.";
    MinRate, "min-rate", "A TCP connection that makes less progress than min-rate demands: it was reset.";
    Overloaded, "overload", "The source has exceeded a limit and is being put into the overload table.";
    SrcNodeLimit, "src-node-limit", "The table of sources is full.";
    AfterReset, "after-reset", "A segment of a connection after the RST of weir or of its client, answered with another.";
    SynproxyUnfit, "synproxy-unfit", "A packet of a handshake that weir makes itself, but with IP options, in fragments, or not between two hosts.";
    SynproxyWait, "synproxy-wait", "What a client sends before its server has answered weir: it will come again.";
    SynproxyServer, "synproxy-server", "A server's segment that does not answer the SYN that it got from weir.";
    // Output.
    OutputFull, "output-full", "The output queue of the port was full.";
    HandoverFull, "handover-full", "The ring to the worker that owns the flow was full.";
    ReflectLimit, "reflect-limit", "The answer to a blocked packet was held back by the rate limit.";
    ReflectUnfit, "reflect-unfit", "The blocked packet may not be answered (RFC 1122, 3.2.2).";
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Reason;

    #[test]
    fn names_are_distinct_and_in_order() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::COUNT);
        for (i, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }
}
