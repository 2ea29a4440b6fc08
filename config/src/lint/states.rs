//! Traps of `keep state`, `synproxy`, `overload`, and of `quick` where it surprises.

use super::criteria::FlagSet;
use super::subject::Subject;
use super::{Family, Lint, Sink, Words};
use crate::names::TCP;
use crate::rules::{Action, Address, Flags, KeepState, Rule};

const MID_CONNECTION: Lint = Lint {
    name: "mid-connection-state",
    summary: "a rule makes states from the middle of TCP connections",
    explanation: "\
A state should begin with the SYN that opens the connection: only there the window scale is agreed
on. A state that is made from a later packet does not know it, so a fast transfer may stall; and any
stray packet, a port scan with ACKs among them, makes a state.

    pass in on wan proto tcp to any port ssh flags any

Leave `flags` out (weir then looks for `flags S/SA`), or write `no state` if the rule is meant to be
stateless. Where packets of a connection take two ways, `keep state (sloppy)` says so.",
};

const MATCH_QUICK: Lint = Lint {
    name: "match-quick",
    summary: "`match quick` ends the evaluation without deciding",
    explanation: "\
`match` decides nothing, but `quick` ends the evaluation: what rules before it decided holds, and if
none did, the packet is blocked. The rules after it are not asked.

    match in quick on lan scrub (no-df)
    pass in on lan                        # never asked

Leave `quick` out.",
};

const SYNPROXY_ALL: Lint = Lint {
    name: "synproxy-everything",
    summary: "`synproxy state` answers for hosts and ports that are not there",
    explanation: "\
With `synproxy state` weir completes the handshake itself before it asks the server. A rule without a
destination address and port therefore answers for every address and every port: a scan sees all of
them open, and a client learns only after connecting that nobody is there.

    pass in on wan proto tcp synproxy state

Name the servers and their ports:

    pass in on wan proto tcp to $web port { http, https } synproxy state",
};

const OVERLOAD: Lint = Lint {
    name: "overload-not-blocked",
    summary: "sources that exceed a limit are put into a table that no rule blocks",
    explanation: "\
`overload <table>` writes the address of a source that exceeds a limit into a table, and does nothing
else to its further connections. A rule must block what is in the table.

    table <flooders> persist
    pass in on wan proto tcp to $web port http \\
        keep state (max-src-conn 20, overload <flooders> flush global)

Here `block in quick from <flooders>` is missing before the pass rule.",
};

pub(super) const FAMILY: Family =
    Family { lints: &[MID_CONNECTION, MATCH_QUICK, SYNPROXY_ALL, OVERLOAD], check };

/// `flags S/SA`.
const SYN_OF_SYN_ACK: Flags = Flags { set: 0x02, of: 0x12 };

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let first_packets = FlagSet::new(SYN_OF_SYN_ACK);
    for scope in subject.scopes() {
        let mut last = [None; 4];
        for rule in scope.rules {
            let traps = [
                mid_connection(rule, first_packets),
                match_quick(rule),
                synproxy(rule),
                overload(subject, rule),
            ];
            for (trap, last) in traps.into_iter().zip(&mut last) {
                if let Some((lint, words)) = trap
                    && *last != Some(rule.source)
                {
                    *last = Some(rule.source);
                    sink.at(lint, rule.source, words);
                }
            }
        }
    }
}

type Trap = Option<(&'static Lint, Words)>;

fn mid_connection(rule: &Rule, first_packets: FlagSet) -> Trap {
    let keeps = rule.action == Action::Pass && rule.state != KeepState::No;
    let tcp = matches!(rule.protocol, None | Some(TCP));
    let flags = rule.flags.filter(|_| keeps && tcp && !rule.state_options.sloppy)?;
    let set = FlagSet::new(flags);
    if set.is_empty() || first_packets.covers(set) {
        return None;
    }
    let words = Words::new(
        format!("`flags {flags}` lets states begin in the middle of a TCP connection"),
        "such a state does not know the window scale, so fast transfers may stall, and stray \
         packets make states too",
    );
    Some((&MID_CONNECTION, words.help("leave `flags` out, or write `no state`")))
}

fn match_quick(rule: &Rule) -> Trap {
    (rule.action == Action::Match && rule.quick).then(|| {
        let words = Words::new(
            "`quick` ends the evaluation here, although `match` decides nothing",
            "what rules before this one decided holds; if none did, the packet is blocked",
        );
        (&MATCH_QUICK, words.help("leave `quick` out"))
    })
}

fn synproxy(rule: &Rule) -> Trap {
    let everything = rule.state == KeepState::Synproxy
        && rule.to.address == Address::Any
        && rule.to.port.is_none();
    everything.then(|| {
        let words = Words::new(
            "`synproxy state` here answers for every address and every port",
            "weir completes the handshake before it asks the server, so a scan sees all ports of \
             all addresses open",
        );
        (&SYNPROXY_ALL, words.help("name the servers and their ports behind `to`"))
    })
}

fn overload(subject: &Subject<'_>, rule: &Rule) -> Trap {
    let table = &*rule.state_options.overload.as_ref()?.table;
    if subject.is_open || subject.asked_tables.contains(table) {
        return None;
    }
    let words = Words::new(
        format!("no rule blocks what `overload` puts into <{table}>"),
        "the table by itself stops nobody",
    );
    Some((&OVERLOAD, words.help(format!("add `block in quick from <{table}>` before this rule"))))
}
