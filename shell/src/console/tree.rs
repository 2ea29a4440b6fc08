//! Every command of the shell, in one table. What is typed is understood by it, completed and hinted
//! from it, and explained by it.

use std::sync::OnceLock;

use super::pattern::{self, Place};

/// A command.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What it looks like, in the words of [`pattern`].
    pub(crate) pattern: &'static str,
    /// What it does, in a line.
    pub(crate) help: &'static str,
    /// A line that could be typed.
    pub(crate) example: &'static str,
    /// How it is done.
    pub(crate) action: Action,
}

impl Entry {
    /// It shows something and changes nothing.
    pub(crate) fn is_listing(&self) -> bool {
        let first = self.pattern.split(' ').next().unwrap_or_default();
        matches!(first, "show" | "help" | "check" | "diff" | "explain" | "log")
    }

    /// The verb of `weir box` that does it.
    pub(crate) fn verb(&self) -> Option<&'static str> {
        match self.action {
            Action::Machine(line, _) => line.split(' ').next(),
            _ => None,
        }
    }
}

/// How a command is done.
///
/// The texts are command lines of `weir`; `@` stands for `--socket` with the daemon's, `$NAME` for an
/// argument. What flags of `weir ctl` few mean is asked about first ([`super::question`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A subcommand of `weir`, its output a page at a time.
    Run(&'static str),
    /// A subcommand whose exit statuses up to a number are answers and no failures.
    Answer(&'static str, i32),
    /// A subcommand that shows what happens until it is stopped.
    Follow(&'static str),
    /// A subcommand that has the terminal to itself.
    Lend(&'static str),
    /// A verb of `weir box` with its arguments, which has the terminal and root's rights on an appliance
    /// ([`super::keeper`]), and what is asked before if few mean it.
    Machine(&'static str, Option<&'static str>),
    /// Something that the shell does itself.
    Own(Own),
}

/// What the shell does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// Explains commands.
    Help,
    /// Ends the shell.
    Exit,
    /// Edits the rule file.
    EditRules,
    /// Puts it in force.
    Load,
    /// Shows the settings file.
    ShowSettings,
    /// Changes a key of it.
    Set,
    /// Changes the interface of a port in it.
    SetPort(&'static str),
    /// Takes a key out of it.
    Unset,
    /// Changes the password.
    Password,
    /// Asks for it.
    Lock,
}

use Action::{Answer, Follow, Lend, Machine, Run};

const fn entry(
    pattern: &'static str,
    help: &'static str,
    example: &'static str,
    action: Action,
) -> Entry {
    Entry { pattern, help, example, action }
}

/// The commands, in the order in which help lists them.
const COMMANDS: &[Entry] = &[
    entry("show all", "everything that can be listed", "show all", Run("ctl @ -s all")),
    entry("show anchors", "the anchors", "show anchors", Run("ctl @ -v -s Anchors")),
    entry(
        "show anchor ANCHOR",
        "the rules of an anchor",
        "show anchor web",
        Run("ctl @ -a $ANCHOR -v -s rules"),
    ),
    entry(
        "show ether",
        "the rules of layer 2 with their counters",
        "show ether",
        Run("ctl @ -v -s ether"),
    ),
    entry("show history", "the loads that are kept", "show history", Run("history @")),
    entry(
        "show history N",
        "what a load put in force",
        "show history 1",
        Run("history @ -- show $N"),
    ),
    entry("show info", "status and counters", "show info", Run("ctl @ -s info")),
    entry(
        "show info detail",
        "status and counters, each explained",
        "show info detail",
        Run("ctl @ -vv -s info"),
    ),
    entry(
        "show interfaces",
        "the two ports with their counters",
        "show interfaces",
        Run("ctl @ -vv -s Interfaces"),
    ),
    entry("show labels", "the counters of labelled rules", "show labels", Run("ctl @ -s labels")),
    entry(
        "show memory",
        "what is bounded, and how full it is",
        "show memory",
        Run("ctl @ -s memory"),
    ),
    entry("show nics", "the interfaces of this machine", "show nics", Run("nics")),
    entry("show rules", "the rules in force", "show rules", Run("ctl @ -s rules")),
    entry(
        "show rules detail",
        "the rules in force with numbers and counters",
        "show rules detail",
        Run("ctl @ -vv -s rules"),
    ),
    entry("show settings", "the settings file", "show settings", Action::Own(Own::ShowSettings)),
    entry(
        "show sources [WHOSE...]",
        "the sources that rules limit, or some of them",
        "show sources states over 10 sort rate limit 10",
        Run("ctl @ -v -s Sources $WHOSE"),
    ),
    entry(
        "show states [WHICH...]",
        "the states, or some of them",
        "show states to any port 22 sort bytes limit 10",
        Run("ctl @ -s states $WHICH"),
    ),
    entry(
        "show states detail [WHICH...]",
        "the states with windows, age, counters and ids",
        "show states detail host 192.0.2.7 not state ESTABLISHED",
        Run("ctl @ -vv -s states $WHICH"),
    ),
    entry(
        "show table TABLE",
        "what is in a table",
        "show table bad",
        Run("ctl @ -v -t $TABLE -T show"),
    ),
    entry(
        "show tables",
        "the tables with their counters",
        "show tables",
        Run("ctl @ -vv -s Tables"),
    ),
    entry("show timeouts", "the time-outs in force", "show timeouts", Run("ctl @ -s timeouts")),
    entry(
        "table TABLE add ADDRESS...",
        "add addresses to a table",
        "table bad add 192.0.2.7 198.51.100.0/24",
        Run("ctl @ -t $TABLE -T add $ADDRESS"),
    ),
    entry(
        "table TABLE delete ADDRESS...",
        "delete addresses from a table",
        "table bad delete 192.0.2.7",
        Run("ctl @ -t $TABLE -T delete $ADDRESS"),
    ),
    entry(
        "table TABLE replace ADDRESS...",
        "make these addresses the only ones in a table",
        "table bad replace 192.0.2.8",
        Run("ctl @ -t $TABLE -T replace $ADDRESS"),
    ),
    entry(
        "table TABLE test ADDRESS...",
        "tell which addresses a table holds",
        "table bad test 192.0.2.8",
        Answer("ctl @ -v -t $TABLE -T test $ADDRESS", 2),
    ),
    entry(
        "table TABLE show",
        "what is in a table",
        "table bad show",
        Run("ctl @ -v -t $TABLE -T show"),
    ),
    entry(
        "table TABLE zero",
        "set the counters of a table to zero",
        "table bad zero",
        Run("ctl @ -t $TABLE -T zero"),
    ),
    entry(
        "table TABLE expire SECONDS",
        "delete entries that were added longer ago",
        "table bad expire 86400",
        Run("ctl @ -t $TABLE -T expire $SECONDS"),
    ),
    entry(
        "table TABLE flush",
        "delete everything from a table",
        "table bad flush",
        Run("ctl @ -t $TABLE -T flush"),
    ),
    entry("table TABLE kill", "delete a table", "table bad kill", Run("ctl @ -t $TABLE -T kill")),
    entry(
        "kill FROM",
        "remove the states that a host or network has begun",
        "kill 192.0.2.7",
        Run("ctl @ -k $FROM"),
    ),
    entry(
        "kill FROM to TO",
        "remove the states from one host or network to another",
        "kill 0.0.0.0/0 to 198.51.100.2",
        Run("ctl @ -k $FROM -k $TO"),
    ),
    entry(
        "kill label LABEL",
        "remove the states of rules with a label",
        "kill label web",
        Run("ctl @ -k label -k $LABEL"),
    ),
    entry(
        "kill id ID",
        "remove the state with an id (see show states detail)",
        "kill id 00000000000000a1",
        Run("ctl @ -k id -k $ID"),
    ),
    entry(
        "kill source FROM",
        "forget what is known of a source; its states live on",
        "kill source 192.0.2.7",
        Run("ctl @ -K $FROM"),
    ),
    entry("flush states", "remove all states", "flush states", Run("ctl @ -F states")),
    entry("flush sources", "forget all sources", "flush sources", Run("ctl @ -F Sources")),
    entry(
        "flush counters",
        "set the counters to zero, those of rules too",
        "flush counters",
        Run("ctl @ -z -F info"),
    ),
    entry("flush rules", "block everything", "flush rules", Run("ctl @ -F rules")),
    entry(
        "flush all",
        "remove rules, tables, states, sources and counters",
        "flush all",
        Run("ctl @ -F all"),
    ),
    entry(
        "disable [SECONDS]",
        "pass everything, unjudged, for a time (300 s unless said)",
        "disable 60",
        Run("ctl @ -d $SECONDS"),
    ),
    entry("enable", "judge again", "enable", Run("ctl @ -e")),
    entry("load", "put the rule file in force", "load", Action::Own(Own::Load)),
    entry(
        "load FILE",
        "put another rule file in force",
        "load /etc/weir/weir.conf",
        Run("ctl @ -f $FILE"),
    ),
    entry("check", "look for errors and traps in the rule file", "check", Run("check --live @")),
    entry(
        "check FILE",
        "look for errors and traps in another rule file",
        "check /etc/weir/weir.conf",
        Run("check $FILE"),
    ),
    entry("diff", "compare the rules in force with the rule file", "diff", Run("history @ diff")),
    entry(
        "diff A",
        "compare a rule set with the one in force",
        "diff 1",
        Run("history @ -- diff $A"),
    ),
    entry("diff A B", "compare two rule sets", "diff 1 running", Run("history @ -- diff $A $B")),
    entry("commit", "put the rule file in force, and keep it", "commit", Run("commit @")),
    entry(
        "commit comment TEXT...",
        "put the rule file in force, and say why",
        "commit comment let the new server in",
        Run("commit @ -- comment $TEXT"),
    ),
    entry(
        "commit force",
        "put the rule file in force, even if it cuts many connections",
        "commit force",
        Run("commit @ force"),
    ),
    entry(
        "commit confirmed [TIME]",
        "put it in force until confirm; undone after that time (10m)",
        "commit confirmed 5m",
        Run("commit @ -- confirmed $TIME"),
    ),
    entry(
        "commit confirmed TIME comment TEXT...",
        "the same, and say why",
        "commit confirmed 5m comment close the old port",
        Run("commit @ -- confirmed $TIME comment $TEXT"),
    ),
    entry("confirm", "keep what was committed until it is confirmed", "confirm", Run("confirm @")),
    entry(
        "rollback [N]",
        "go back to an earlier load; to the one before unless said",
        "rollback 1",
        Run("rollback @ -- $N"),
    ),
    entry(
        "rollback N force",
        "go back to a load, even if it cuts many connections",
        "rollback 1 force",
        Run("rollback @ -- $N force"),
    ),
    entry(
        "edit rules",
        "edit the rule file; commit puts it in force",
        "edit rules",
        Action::Own(Own::EditRules),
    ),
    entry(
        "set port lan NIC",
        "name the interface of the protected network",
        "set port lan eth1",
        Action::Own(Own::SetPort("ports.lan")),
    ),
    entry(
        "set port wan NIC",
        "name the interface towards the router",
        "set port wan eth0",
        Action::Own(Own::SetPort("ports.wan")),
    ),
    entry(
        "set KEY VALUE...",
        "change a key of the settings",
        "set ports.workers 2",
        Action::Own(Own::Set),
    ),
    entry(
        "unset KEY",
        "take a key out of the settings: its default holds again",
        "unset ports.workers",
        Action::Own(Own::Unset),
    ),
    entry(
        "explain PACKET...",
        "tell what becomes of a packet, and why",
        "explain in on wan proto tcp from 192.0.2.1 to 198.51.100.2 port 22",
        Answer("explain --live @ -- $PACKET", 1),
    ),
    entry("top", "what the bridge does at the moment, on the whole screen", "top", Lend("top @")),
    entry(
        "log [FILTER...]",
        "what was logged last: packets, and what weir tells of itself",
        "log block in on wan proto tcp to port 22",
        Run("log @ -- $FILTER"),
    ),
    entry(
        "log last N [FILTER...]",
        "so many lines of it",
        "log last 20 events severity warning",
        Run("log @ -n $N -- $FILTER"),
    ),
    entry(
        "log follow [FILTER...]",
        "the last lines of the log and what is logged, until Ctrl-C",
        "log follow packets rule 0",
        Follow("log @ -f -n 10 -- $FILTER"),
    ),
    entry(
        "capture [FILTER...]",
        "show packets with their verdicts until Ctrl-C",
        "capture proto tcp to port 22",
        Follow("capture @ -- $FILTER"),
    ),
    entry(
        "capture on PORT [FILTER...]",
        "show packets of one port with their verdicts until Ctrl-C",
        "capture on wan proto icmp",
        Follow("capture @ -i $PORT -- $FILTER"),
    ),
    entry(
        "capture count N [FILTER...]",
        "show so many packets with their verdicts",
        "capture count 10 proto udp",
        Follow("capture @ -c $N -- $FILTER"),
    ),
    entry(
        "password",
        "set, change or take away the password of this shell",
        "password",
        Action::Own(Own::Password),
    ),
    entry("lock", "lock this shell until its password is typed", "lock", Action::Own(Own::Lock)),
    entry(
        "setup",
        "hold the dialogue of an appliance's first start again",
        "setup",
        Machine("setup --again", None),
    ),
    entry(
        "clock DATE CLOCK",
        "set an appliance's clock, in UTC",
        "clock 2026-11-23 12:00",
        Machine("clock $DATE $CLOCK", None),
    ),
    entry(
        "show clock",
        "an appliance's date and time, in UTC",
        "show clock",
        Machine("clock", None),
    ),
    entry(
        "show management",
        "an appliance's management port: addresses, gateway, time servers",
        "show management",
        Machine("management", None),
    ),
    entry(
        "backup",
        "show all settings of an appliance as text, for `restore`",
        "backup",
        Machine("backup", None),
    ),
    entry(
        "backup usb",
        "write them to a file on a stick",
        "backup usb",
        Machine("backup usb", None),
    ),
    entry(
        "restore",
        "take the settings of a backup that is pasted",
        "restore",
        Machine("restore", None),
    ),
    entry(
        "restore FILE",
        "the same from a stick (usb, or a name there), or previous",
        "restore usb",
        Machine("restore $FILE", None),
    ),
    entry(
        "upgrade FILE",
        "upgrade from a stick (usb, or a name there), or serial",
        "upgrade usb",
        Machine("upgrade $FILE", None),
    ),
    entry(
        "upgrade FILE downgrade",
        "the same with an older version, too",
        "upgrade weir-0.1.0.upgrade downgrade",
        Machine("upgrade $FILE downgrade", None),
    ),
    entry(
        "install",
        "copy the appliance from its stick to a disk",
        "install",
        Machine("install", None),
    ),
    entry(
        "factory reset",
        "remove all settings, rules and logs",
        "factory reset",
        Machine("factory-reset", None),
    ),
    entry(
        "restart",
        "start weir anew on an appliance: it goes by changed settings",
        "restart",
        Machine("restart", Some("All connections are cut.")),
    ),
    entry(
        "reboot",
        "start an appliance anew",
        "reboot",
        Machine("reboot", Some("Nothing passes until the machine is up again.")),
    ),
    entry(
        "shutdown",
        "switch an appliance off",
        "shutdown",
        Machine("poweroff", Some("Nothing passes until somebody switches the machine on.")),
    ),
    entry(
        "help [COMMAND...]",
        "explain commands; `?` at the end of a line tells what may follow",
        "help table add",
        Action::Own(Own::Help),
    ),
    entry("exit", "leave the shell", "exit", Action::Own(Own::Exit)),
    entry("quit", "leave the shell", "quit", Action::Own(Own::Exit)),
];

/// The commands with their patterns read.
#[derive(Debug)]
pub(crate) struct Tree(Vec<(&'static Entry, Vec<Place>)>);

impl Tree {
    /// The commands of the shell.
    pub(crate) fn get() -> &'static Self {
        static TREE: OnceLock<Tree> = OnceLock::new();
        TREE.get_or_init(|| {
            let read = |entry: &'static Entry| Some((entry, pattern::read(entry.pattern)?));
            Self(COMMANDS.iter().filter_map(read).collect())
        })
    }

    /// Each command with its places.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static Entry, &[Place])> {
        self.0.iter().map(|(entry, places)| (*entry, places.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::resolve::{Mistake, Walk, resolve};
    use super::super::words;
    use super::*;

    fn meant(line: &str) -> Result<(&'static str, Vec<String>), Mistake> {
        let words = words::split(line).unwrap();
        let found = resolve(Tree::get(), words.iter().map(|word| &*word.text))?;
        Ok((found.entry.pattern, found.arguments.into_iter().map(|(_, value)| value).collect()))
    }

    #[test]
    fn every_command_is_complete_and_its_example_means_it() {
        let mut patterns = HashSet::new();
        for entry in COMMANDS {
            assert!(pattern::read(entry.pattern).is_some(), "{}", entry.pattern);
            assert!(patterns.insert(entry.pattern), "{} is there twice", entry.pattern);
            assert!(entry.help.len() <= 66 && !entry.help.ends_with('.'), "{}", entry.help);
            let (pattern, _) = meant(entry.example).expect(entry.example);
            assert_eq!(pattern, entry.pattern, "{}", entry.example);
        }
        assert_eq!(Tree::get().entries().count(), COMMANDS.len());
    }

    #[test]
    fn every_argument_is_used_where_it_belongs() {
        for entry in COMMANDS {
            let (Run(line) | Answer(line, _) | Follow(line) | Lend(line) | Machine(line, _)) =
                entry.action
            else {
                continue;
            };
            let used: HashSet<_> =
                line.split(' ').filter_map(|word| word.strip_prefix('$')).collect();
            let named: HashSet<_> = pattern::read(entry.pattern)
                .unwrap()
                .into_iter()
                .filter_map(|place| match place {
                    Place::Argument(argument) => Some(argument.name),
                    Place::Word(_) => None,
                })
                .collect();
            assert_eq!(used, named, "{}", entry.pattern);
        }
    }

    #[test]
    fn words_may_be_cut_short_as_long_as_they_are_clear() {
        for (line, pattern, arguments) in [
            ("sh st", "show states [WHICH...]", &[][..]),
            ("sh st host ::1", "show states [WHICH...]", &["host", "::1"]),
            ("sh st d", "show states detail [WHICH...]", &[]),
            ("log f block", "log follow [FILTER...]", &["block"]),
            ("log la 5", "log last N [FILTER...]", &["5"]),
            ("sh in d", "show info detail", &[]),
            ("sho rules", "show rules", &[]),
            ("sh ru d", "show rules detail", &[]),
            ("show table bad", "show table TABLE", &["bad"]),
            ("show tables", "show tables", &[]),
            ("ta <bad> a 192.0.2.1", "table TABLE add ADDRESS...", &["bad", "192.0.2.1"]),
            ("table show add ::1", "table TABLE add ADDRESS...", &["show", "::1"]),
            ("kill 192.0.2.1", "kill FROM", &["192.0.2.1"]),
            ("kill ::1 to ::2", "kill FROM to TO", &["::1", "::2"]),
            ("kill i fe", "kill id ID", &["fe"]),
            ("cap", "capture [FILTER...]", &[]),
            ("cap proto tcp", "capture [FILTER...]", &["proto", "tcp"]),
            ("cap on lan in", "capture on PORT [FILTER...]", &["lan", "in"]),
            ("q", "quit", &[]),
        ] {
            let (found, values) = meant(line).unwrap_or_else(|wrong| panic!("{line}: {wrong}"));
            assert_eq!(
                (found, values.as_slice()),
                (pattern, &arguments.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_expected() {
        for (line, message) in [
            ("sh in", "`in` may be info, interfaces"),
            ("s log x", "`s` may be show, set, setup, shutdown"),
            ("co confirmed", "`co` may be commit, confirm"),
            ("sh", "`sh` may be show, shutdown"),
            ("shw", "unknown word `shw`: expected "),
            ("show", "expected all, anchors, "),
            ("show rulez", "unknown word `rulez`: expected all, "),
            ("table bad add", "expected ADDRESS (an address or network)"),
            ("table bad add x", "unknown word `x`: expected ADDRESS (an address or network)"),
            ("enable now", "nothing is expected at `now`"),
            ("show table -f", "unknown word `-f`: expected TABLE (the name of a table)"),
        ] {
            let wrong = meant(line).expect_err(line).to_string();
            assert!(wrong.starts_with(message), "{line}: {wrong}");
        }
    }

    #[test]
    fn what_may_follow_is_known_at_every_place() {
        let mut walk = Walk::new(Tree::get());
        walk.take("table").unwrap();
        walk.take("bad").unwrap();
        let words: Vec<_> = walk.expected().iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["add", "delete", "replace", "test", "show", "zero", "expire", "flush", "kill"]
        );
    }
}
