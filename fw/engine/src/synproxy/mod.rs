//! `synproxy state` and SYN cookies on a bridge: weir completes the handshake with a client in the
//! name of the server, and asks the server only then.
//!
//! 1. A SYN that a rule lets pass with `synproxy state`, or any rule that keeps state while `set
//!    syncookies` is active, is made into a SYN-ACK in place ([`answer`]): the frame goes back, MAC
//!    addresses turned, tags kept, with a [`cookie`] for a sequence number and a closed window, so that
//!    the client sends nothing yet. It is told the options that the server is known to have
//!    ([`learned`]). Nothing is remembered of it but a bit ([`expected`]) and, while there are few
//!    such handshakes, the frame itself ([`resend`]): it comes again twice if no ACK does, since a
//!    client whose ACK was lost would wait for ever where the server speaks first. Under a flood there
//!    are no such records: then a client of such a server may have to try again.
//! 2. The ACK with that cookie is a [`cookie::Proven`] handshake ([`complete`]). The SYN is rebuilt from
//!    it, and the rules are asked about that: what `once` and `max-pkt-rate` rules spend they spend
//!    now, dice fall as they fell for the SYN. The limits of the rules count the connection as one that
//!    is established. If it is one too many the client gets a RST, and the server never hears of it.
//!    Else there is a state, in the phase that pf calls PROXY:DST, and the SYN goes on to the server,
//!    with the client's own sequence number and options.
//! 3. The server's SYN-ACK completes the state ([`server`]): the server gets its ACK, the client an
//!    update of its window, and from then on sequence numbers, timestamps and windows of the server
//!    are translated ([`splice`](crate::splice)). What the client sent before then was dropped and never
//!    acknowledged; it comes again. A server that refuses is told of by a RST, one that is silent gets
//!    its SYN again after 1, 3, 7 and 15 seconds, and the client a RST when `tcp.opening` is over.
//!
//! Weir answers single hosts only: what it has not proved gets one small frame for a frame, to where it
//! came from, and two more if nothing follows. Where a switch has forgotten a host and floods what is
//! sent to it, weir answers a SYN between two hosts of one side that it should not have seen; whichever
//! answer comes first, the host itself ends what weir began with a RST.
//!
//! References: OpenBSD's `pf_syncookies.c`, Linux's `nf_synproxy_core.c`, RFC 4987.

mod adaptive;
mod answer;
pub(crate) mod awaited;
mod complete;
mod cookie;
mod expected;
mod learned;
mod learning;
mod pending;
mod resend;
mod segment;
mod server;

pub(crate) use self::adaptive::Mode;
pub(crate) use self::answer::may_answer;
use self::cookie::Secrets;
use self::expected::Expected;
pub(crate) use self::learned::Learned;
use self::pending::Pending;
use self::resend::Resend;
use crate::flow::HashKey;
use crate::ruleset::Program;
use crate::time::Instant;

/// What a worker needs for handshakes in other names.
pub(crate) struct Synproxy {
    secrets: Secrets,
    expected: Expected,
    resend: Resend,
    /// Of states whose server has not answered, by entry; empty until a rule needs them.
    pending: Vec<Pending>,
    /// Cookies that were sent and have not come back, of this period and of the last.
    open: [u32; 2],
    /// What [`Shared`](crate::Shared) knows of: half-open states, and these cookies.
    told: [u32; 2],
}

impl Synproxy {
    /// For an engine with this key.
    pub(crate) fn new(key: HashKey, now: Instant) -> Self {
        Self {
            secrets: Secrets::new(key, now),
            expected: Expected::default(),
            resend: Resend::default(),
            pending: Vec::new(),
            open: [0; 2],
            told: [0; 2],
        }
    }

    /// The sequence number of the SYN that weir has answered before it made this translated state; of one
    /// that it has not, any that was answered before.
    pub(crate) fn answered(&self, entry: u32) -> Option<u32> {
        self.pending.get(entry as usize).map(|pending| pending.seq)
    }

    /// Makes room for what a program may need, if there is none: `states` of them at most. Memory of
    /// states is taken by those that are used only, a page at a time.
    pub(crate) fn reserve(&mut self, program: &Program, states: u32) {
        if program.answers_syns() && self.pending.is_empty() {
            self.expected.reserve();
            self.resend.reserve();
            self.pending = Pending::table(states);
        }
    }
}
