//! pfctl's flags, read as getopt(3) reads them: `-nvf FILE`, `-vvsr`, `-Fs`, `-s r`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use weir_config::options::{DebugLevel, Named};

use crate::protocol::{
    DISABLE_SECONDS, MAX_DISABLE_SECONDS, Part, SOCKET, SourceQuery, StateQuery,
};
use crate::query;
use crate::table::TableCommand;

/// How to call it.
pub const USAGE: &str = "\
usage: weir ctl [--socket PATH] [--json] [-deghMmNnOPqRvz] [-a anchor]
                [-D macro=value] [-F modifier] [-f file] [-i interface]
                [-k host | network | label | key | id] [-K host | network] [-o level]
                [-s modifier [criterion ...]] [-T load] [-x level]
       weir ctl [-nqv] [-a anchor] [-f file] -t table -T command [address ...]
  -f FILE          put the rules of FILE in force (- is standard input)
  -n               only check them; needs no daemon
  -v, -vv          tell more; with -f print the rules
  -D NAME=VALUE    set a macro, over what the file says
  -a ANCHOR        do it to this anchor: -f -F -s -z; with * at its end also to those below
  -R, -O, -T load  of the file only the rules, the options, the tables
  -m               options that the file does not set stay as they are
  -s MODIFIER      show: rules ether Anchors states Sources info Interfaces labels timeouts memory
                   Tables Running creatorids all
  -s states [host A] [from A [port P]] [to A [port P]] [port P] [proto P] [inet | inet6]
     [state S] [rule N] [label L] [on PORT] [vlan ID] [id ID] [age | idle | expires |
     packets | bytes | rate over | under N] [not CRITERION] [sort WHAT [reverse]] [limit N] [count]
                   only states that are so, counted and sorted; -s Sources likewise
  -i PORT          only this port: -s states, -s Interfaces, -k, -F states, -F info
  -r               show the names of hosts: -s states, -T show; not with -N
  -g               show rule numbers, as -vv does
  -z               set the counters of the rules to zero; with -s rules behind the listing
  -t TABLE -T COMMAND   show, add, delete, replace, test, zero, expire SECONDS, flush or
                   kill a table; addresses as arguments or from the file of -f
  -k HOST [-k HOST]     remove states from (and to) an address or prefix
  -k label -k LABEL     remove states that rules with this label made
  -k id -k ID           remove the state with this id (see -vvss)
  -k key -k 'STATE'     remove a state as -ss prints it
  -K HOST          forget the sources, as -s Sources lists them, of an address or prefix
  -F MODIFIER      flush: rules states Sources info Tables Reset all; without rules everything is blocked
  -d [SECONDS]     pass EVERYTHING, unjudged, for SECONDS (300 if not given); root only
  -e               judge again
  -q               print only errors and what was asked for
  -x LEVEL         set how much weir's own log tells: emerg to debug
  -M, -N, -P, -o LEVEL  change nothing: a state is of both ports, names are only looked up for -r, ports
                   are numbers, and there is nothing to optimise
  --json           print what -s shows as JSON
  --socket PATH    where the daemon listens, /run/weir/weir.sock if not given";

/// What the command line asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Options {
    /// `--socket`.
    pub socket: PathBuf,
    /// `-n`.
    pub no_action: bool,
    /// How many `-v`; more than two are two.
    pub verbose: u8,
    /// `-q`.
    pub quiet: bool,
    /// `--json`.
    pub json: bool,
    /// `-f`.
    pub file: Option<OsString>,
    /// `-a` without its `*`: the path of an anchor, empty for the main rule set.
    pub anchor: String,
    /// `-a` ended in a `*`.
    pub recursive: bool,
    /// `-R`, `-O`, `-T load`.
    pub part: Part,
    /// `-m`.
    pub merge: bool,
    /// `-g`.
    pub debug: bool,
    /// `-r`, or `-N`, which excludes it.
    pub resolve: Option<bool>,
    /// `-z`.
    pub zero: bool,
    /// `-t`.
    pub table: Option<String>,
    /// `-T`, but for `load`.
    pub table_command: Option<TableCommand>,
    /// What stands behind the options: addresses, for `-T`.
    pub arguments: Vec<String>,
    /// `-D name=value`, in order.
    pub macros: Vec<String>,
    /// `-s`.
    pub show: Option<Show>,
    /// `-F`.
    pub flush: Option<FlushWhat>,
    /// What stands behind `-s states`.
    pub states: StateQuery,
    /// What stands behind `-s Sources`.
    pub sources: SourceQuery,
    /// `-i`.
    pub interface: Option<String>,
    /// `-k`.
    pub kill: Vec<String>,
    /// `-K`.
    pub kill_sources: Vec<String>,
    /// `-x`.
    pub debug_level: Option<DebugLevel>,
    /// `-e`.
    pub enable: bool,
    /// `-d`, in seconds.
    pub disable: Option<u32>,
}

/// What `-s` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// `rules`.
    Rules,
    /// `ether`.
    Ether,
    /// `states`.
    States,
    /// `Sources`.
    Sources,
    /// `info`.
    Info,
    /// `Anchors`.
    Anchors,
    /// `labels`.
    Labels,
    /// `Tables`.
    Tables,
    /// `Interfaces`.
    Interfaces,
    /// `timeouts`.
    Timeouts,
    /// `memory`.
    Memory,
    /// `Running`: whether packets are judged.
    Running,
    /// `creatorids`: who makes states.
    CreatorIds,
    /// `all`: the listings.
    All,
}

/// What `-F` empties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushWhat {
    /// `rules`.
    Rules,
    /// `states`.
    States,
    /// `Sources`.
    Sources,
    /// `info`.
    Info,
    /// `Reset`: the options.
    Reset,
    /// `Tables`.
    Tables,
    /// `all`: each of these but the options.
    All,
}

/// What is wrong with a command line, or a call for help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `-h`, `--help`.
    Help,
    /// Not a command line that weir or pfctl know.
    Usage(String),
    /// pfctl has it, a bridge cannot; and why.
    NotHere(String, &'static str),
    /// pfctl has it, weir does not; and why.
    NotWeir(String, &'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str(USAGE),
            Self::Usage(text) => write!(f, "weir ctl: {text}\n{USAGE}"),
            Self::NotHere(what, why) => {
                write!(f, "weir ctl: `{what}` is not available on a transparent bridge: {why}")
            }
            Self::NotWeir(what, why) => write!(f, "weir ctl: `{what}` is not available: {why}"),
        }
    }
}

/// What a modifier means.
#[derive(Clone, Copy)]
enum Modifier<T> {
    Is(T),
    NotHere(&'static str),
    NotWeir(&'static str),
}

use Modifier::{Is, NotHere, NotWeir};

const NO_NAT: &str = "addresses are not translated";
const NO_QUEUES: &str = "what cannot be sent is dropped, nothing is queued";
const NO_FINGERPRINTS: &str = "operating systems are not told apart";

/// pfctl's modifiers of `-s`, in the order in which it looks for one that begins with what was
/// typed. `interfaces` is weir's own, behind `info`.
const SHOW: &[(&str, Modifier<Show>)] = &[
    ("ether", Is(Show::Ether)),
    ("queue", NotHere(NO_QUEUES)),
    ("rules", Is(Show::Rules)),
    ("Anchors", Is(Show::Anchors)),
    ("Sources", Is(Show::Sources)),
    ("states", Is(Show::States)),
    ("info", Is(Show::Info)),
    ("Interfaces", Is(Show::Interfaces)),
    ("interfaces", Is(Show::Interfaces)),
    ("labels", Is(Show::Labels)),
    ("timeouts", Is(Show::Timeouts)),
    ("memory", Is(Show::Memory)),
    ("Tables", Is(Show::Tables)),
    ("osfp", NotWeir(NO_FINGERPRINTS)),
    ("nat", NotHere(NO_NAT)),
    ("Running", Is(Show::Running)),
    ("creatorids", Is(Show::CreatorIds)),
    ("all", Is(Show::All)),
];

/// pfctl's modifiers of `-F`, likewise.
const FLUSH: &[(&str, Modifier<FlushWhat>)] = &[
    ("rules", Is(FlushWhat::Rules)),
    ("Sources", Is(FlushWhat::Sources)),
    ("states", Is(FlushWhat::States)),
    ("info", Is(FlushWhat::Info)),
    ("Tables", Is(FlushWhat::Tables)),
    ("osfp", NotWeir(NO_FINGERPRINTS)),
    ("nat", NotHere(NO_NAT)),
    ("queue", NotHere(NO_QUEUES)),
    ("Reset", Is(FlushWhat::Reset)),
    ("all", Is(FlushWhat::All)),
];

/// pfctl's levels of `-o`.
const OPTIMISE: &[(&str, Modifier<()>)] =
    &[("none", Is(())), ("basic", Is(())), ("profile", Is(()))];

/// pfctl's flags that mean nothing here, and why.
const REFUSED: &[(char, Modifier<()>)] = &[
    ('A', NotHere(NO_QUEUES)),
    ('V', NotHere("there are no routing domains")),
    ('p', NotWeir("there is no device: --socket names where the daemon listens")),
    ('S', NotWeir("states are not kept in files: --json -s states lists them")),
    ('L', NotWeir("states are not kept in files: they begin with their packets")),
];

impl Options {
    /// Whether nothing is asked for but listings: then nothing is lost if nobody reads on.
    pub(crate) fn only_lists(&self) -> bool {
        self.file.is_none()
            && self.disable.is_none()
            && self.flush.is_none()
            && self.debug_level.is_none()
            && self.kill.is_empty()
            && self.kill_sources.is_empty()
            && !self.zero
            && !self.enable
            && self.table_command.is_none_or(|command| command == TableCommand::Show)
    }

    /// Reads the arguments behind `weir ctl`.
    ///
    /// # Errors
    /// When they ask for help, make no sense, or ask for what is not there yet.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Refusal> {
        let mut options = Self { socket: SOCKET.into(), ..Self::default() };
        let mut arguments = arguments.into_iter().peekable();
        while let Some(argument) = arguments.next() {
            let Some(text) = argument.to_str() else {
                return Err(Refusal::Usage(format!("{} is not UTF-8", argument.display())));
            };
            if let Some(long) = text.strip_prefix("--") {
                let (name, value) = match long.split_once('=') {
                    Some((name, value)) => (name, Some(OsString::from(value))),
                    None => (long, None),
                };
                match (name, value) {
                    ("socket", value) => {
                        let value = value.or_else(|| arguments.next());
                        options.socket = value.ok_or_else(|| missing("--socket", "a path"))?.into();
                    }
                    ("json", None) => options.json = true,
                    ("help", None) => return Err(Refusal::Help),
                    _ => return Err(Refusal::Usage(format!("unknown option `{text}`"))),
                }
                continue;
            }
            let Some(cluster) = text.strip_prefix('-').filter(|cluster| !cluster.is_empty()) else {
                options.arguments.push(text.to_owned());
                continue;
            };
            for (at, flag) in cluster.char_indices() {
                let rest = &cluster[at + flag.len_utf8()..];
                if options.flag(flag)? {
                    continue;
                }
                // What is left of the cluster, or the next argument, belongs to this flag.
                if flag == 'd' {
                    let next = arguments.peek().and_then(|next| next.to_str()).unwrap_or_default();
                    let seconds = if !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()) {
                        Some(rest.to_owned())
                    } else if rest.is_empty()
                        && !next.is_empty()
                        && next.bytes().all(|b| b.is_ascii_digit())
                    {
                        let next = next.to_owned();
                        arguments.next();
                        Some(next)
                    } else {
                        options.disable = Some(DISABLE_SECONDS);
                        continue;
                    };
                    options.disable = seconds.map(|text| deadline(&text)).transpose()?;
                    break;
                }
                let value = if rest.is_empty() {
                    arguments.next().ok_or_else(|| missing(&format!("-{flag}"), "an argument"))?
                } else {
                    rest.into()
                };
                options.flag_with(flag, value)?;
                break;
            }
        }
        options.check()
    }

    /// A flag without an argument; `false` if it may have one.
    fn flag(&mut self, flag: char) -> Result<bool, Refusal> {
        match flag {
            'n' => self.no_action = true,
            'v' => self.verbose = (self.verbose + 1).min(2),
            'q' => self.quiet = true,
            'e' => self.enable = true,
            'm' => self.merge = true,
            'g' => self.debug = true,
            'z' => self.zero = true,
            'r' | 'N' => {
                let resolve = flag == 'r';
                if self.resolve.replace(resolve).is_some_and(|other| other != resolve) {
                    return Err(Refusal::Usage("-N and -r exclude each other".into()));
                }
            }
            // Ports are numbers anyway, and a state is of both ports.
            'P' | 'M' => {}
            'R' => self.only(Part::Rules)?,
            'O' => self.only(Part::Options)?,
            'h' => return Err(Refusal::Help),
            'a' | 'd' | 'f' | 't' | 'D' | 's' | 'F' | 'i' | 'k' | 'K' | 'o' | 'T' | 'x' => {
                return Ok(false);
            }
            _ => {
                let what = format!("-{flag}");
                return Err(match REFUSED.iter().find(|(refused, _)| *refused == flag) {
                    Some((_, NotHere(why))) => Refusal::NotHere(what, why),
                    Some((_, NotWeir(why))) => Refusal::NotWeir(what, why),
                    _ => Refusal::Usage(format!("unknown option `{what}`")),
                });
            }
        }
        Ok(true)
    }

    /// A flag with its argument.
    fn flag_with(&mut self, flag: char, value: OsString) -> Result<(), Refusal> {
        if flag == 'f' {
            return once(&mut self.file, value, "-f");
        }
        let value = value
            .into_string()
            .map_err(|value| Refusal::Usage(format!("{} is not UTF-8", value.display())))?;
        match flag {
            'a' => self.within(&value),
            'o' => modifier("-o", OPTIMISE, &value),
            'T' if !value.is_empty() && "load".starts_with(&*value) => self.only(Part::Tables),
            'T' => {
                let command = TableCommand::from_typed(&value);
                let unknown = || Refusal::Usage(format!("unknown command `-T {value}`"));
                once(&mut self.table_command, command.ok_or_else(unknown)?, "-T")
            }
            't' => once(&mut self.table, value, "-t"),
            'D' if value.contains('=') => {
                self.macros.push(value);
                Ok(())
            }
            'D' => Err(Refusal::Usage(format!("-D {value}: expected name=value"))),
            's' => once(&mut self.show, modifier("-s", SHOW, &value)?, "-s"),
            'i' => once(&mut self.interface, value, "-i"),
            'x' => once(&mut self.debug_level, debug_level(&value)?, "-x"),
            'K' if self.kill_sources.len() < 2 => {
                self.kill_sources.push(value);
                Ok(())
            }
            'K' => Err(Refusal::Usage("-K can be given twice at most".into())),
            'F' => once(&mut self.flush, modifier("-F", FLUSH, &value)?, "-F"),
            // 'k', the only other one that `flag` lets through.
            _ if self.kill.len() < 2 => {
                self.kill.push(value);
                Ok(())
            }
            _ => Err(Refusal::Usage("-k can be given twice at most".into())),
        }
    }

    /// `-a`.
    fn within(&mut self, typed: &str) -> Result<(), Refusal> {
        let path = typed.strip_suffix('*').map_or(typed, |above| {
            self.recursive = true;
            above.strip_suffix('/').unwrap_or(above)
        });
        let path = path.strip_prefix('/').unwrap_or(path);
        if path.is_empty() && !self.recursive {
            return Err(Refusal::Usage("-a: the name of an anchor must not be empty".into()));
        }
        self.anchor = path.to_owned();
        Ok(())
    }

    /// Only a part of the file is loaded.
    fn only(&mut self, part: Part) -> Result<(), Refusal> {
        if self.part != Part::All && self.part != part {
            return Err(Refusal::Usage("-R, -O and -T load exclude each other".into()));
        }
        self.part = part;
        Ok(())
    }

    fn check(mut self) -> Result<Self, Refusal> {
        let acts = self.show.is_some()
            || self.zero
            || self.flush.is_some()
            || self.debug_level.is_some()
            || !self.kill.is_empty()
            || !self.kill_sources.is_empty()
            || self.enable
            || self.disable.is_some();
        if let Some(command) = self.table_command {
            return self.check_table(command, acts);
        }
        if self.table.is_some() {
            if self.part == Part::Tables {
                let text = "-T load loads all tables of the file that -f names: leave -t away";
                return Err(Refusal::Usage(text.into()));
            }
            return Err(missing("-t", "-T with a command"));
        }
        self.read_query()?;
        if !acts && self.file.is_none() {
            return Err(Refusal::Usage("nothing to do".into()));
        }
        if self.no_action && acts {
            return Err(Refusal::Usage("-n only checks the file that -f names".into()));
        }
        if self.enable && self.disable.is_some() {
            return Err(Refusal::Usage("-e and -d contradict each other".into()));
        }
        if self.file.is_none() {
            for (given, flag) in [
                (!self.macros.is_empty(), "-D"),
                (self.part != Part::All, "-R, -O or -T load"),
                (self.merge, "-m"),
            ] {
                if given {
                    return Err(Refusal::Usage(format!("{flag} needs -f")));
                }
            }
        }
        if !self.anchor.is_empty() && (self.part == Part::Options || self.merge) {
            return Err(Refusal::Usage(
                "an anchor has no options: -O and -m need the main rules".into(),
            ));
        }
        let changes = self.file.is_some() || self.flush.is_some();
        if changes && is_unnamed(&self.anchor) {
            return Err(unnamed());
        }
        if self.recursive && self.file.is_some() {
            return Err(Refusal::Usage("-f loads one anchor: -a must not end in `*`".into()));
        }
        if self.json && self.file.is_some() && self.verbose > 0 {
            return Err(Refusal::Usage("-v prints rules as they are written: no --json".into()));
        }
        match self.kill.first().map(String::as_str) {
            Some(what @ "gateway") => {
                let why = "packets are not routed";
                return Err(Refusal::NotHere(format!("-k {what}"), why));
            }
            Some(what @ "nat") => return Err(Refusal::NotHere(format!("-k {what}"), NO_NAT)),
            Some(what @ ("id" | "key" | "label")) if self.kill.len() == 1 => {
                return Err(missing(
                    &format!("-k {what}"),
                    &format!("a second -k with the {what}"),
                ));
            }
            _ => {}
        }
        let by_port = !self.kill.is_empty()
            || matches!(self.flush, Some(FlushWhat::States | FlushWhat::Info))
            || matches!(self.show, Some(Show::States | Show::Interfaces | Show::All));
        if self.interface.is_some() && !by_port {
            let text = "-i goes with -s states, -s Interfaces, -k, -F states and -F info";
            return Err(Refusal::Usage(text.into()));
        }
        Ok(self)
    }

    /// What stands behind the options, but for `-T`: criteria.
    fn read_query(&mut self) -> Result<(), Refusal> {
        let usage = |error| Refusal::Usage(format!("-s: {error}"));
        match (self.show, self.arguments.first()) {
            (_, None) => {}
            (Some(Show::States), _) => {
                self.states = query::states(&self.arguments).map_err(usage)?;
            }
            (Some(Show::Sources), _) => {
                self.sources = query::sources(&self.arguments).map_err(usage)?;
            }
            (_, Some(argument)) => {
                return Err(Refusal::Usage(format!("`{argument}` belongs to no option")));
            }
        }
        Ok(())
    }

    /// What goes with `-t TABLE -T COMMAND`.
    fn check_table(self, command: TableCommand, acts: bool) -> Result<Self, Refusal> {
        if self.table.as_ref().is_none_or(String::is_empty) {
            return Err(missing("-T", "-t with a table"));
        }
        if acts
            || self.part != Part::All
            || self.merge
            || !self.macros.is_empty()
            || self.interface.is_some()
        {
            return Err(Refusal::Usage("-T with a table goes with -a -f -n -q -v only".into()));
        }
        if is_unnamed(&self.anchor) && command != TableCommand::Show {
            return Err(unnamed());
        }
        if self.recursive {
            return Err(Refusal::Usage("-T is for one table: -a must not end in `*`".into()));
        }
        let arguments = !self.arguments.is_empty() || self.file.is_some();
        if arguments && !command.takes_arguments() {
            return Err(Refusal::Usage("this command takes no addresses".into()));
        }
        Ok(self)
    }
}

/// Whether an anchor, or one above it, has no name of its own.
fn is_unnamed(anchor: &str) -> bool {
    anchor.starts_with('_') || anchor.contains("/_")
}

fn unnamed() -> Refusal {
    let text = "anchor names beginning with `_` cannot be modified from the command line";
    Refusal::Usage(text.into())
}

fn missing(flag: &str, what: &str) -> Refusal {
    Refusal::Usage(format!("{flag} needs {what}"))
}

fn once<T>(slot: &mut Option<T>, value: T, flag: &str) -> Result<(), Refusal> {
    if slot.replace(value).is_some() {
        return Err(Refusal::Usage(format!("{flag} can be given once only")));
    }
    Ok(())
}

/// The first modifier that begins with what was typed, as pfctl looks it up.
fn modifier<T: Copy>(
    flag: &str,
    modifiers: &[(&str, Modifier<T>)],
    typed: &str,
) -> Result<T, Refusal> {
    let found = modifiers.iter().find(|(name, _)| !typed.is_empty() && name.starts_with(typed));
    match found {
        Some(&(_, Is(what))) => Ok(what),
        Some((name, NotHere(why))) => Err(Refusal::NotHere(format!("{flag} {name}"), why)),
        Some((name, NotWeir(why))) => Err(Refusal::NotWeir(format!("{flag} {name}"), why)),
        None => Err(Refusal::Usage(format!("unknown modifier `{flag} {typed}`"))),
    }
}

fn deadline(text: &str) -> Result<u32, Refusal> {
    text.parse().ok().filter(|seconds| (1..=MAX_DISABLE_SECONDS).contains(seconds)).ok_or_else(
        || Refusal::Usage(format!("-d {text}: expected 1 to {MAX_DISABLE_SECONDS} seconds")),
    )
}

/// One of the levels of `set debug`, which may be cut short; and pf's older `loud`, `misc`, `urgent` and
/// `none`.
fn debug_level(typed: &str) -> Result<DebugLevel, Refusal> {
    let of_old = match typed {
        "loud" => "debug",
        "misc" => "notice",
        "urgent" => "err",
        "none" => "crit",
        _ => typed,
    };
    let levels = DebugLevel::ALL;
    let found = levels.iter().find(|level| !typed.is_empty() && level.name().starts_with(of_old));
    let names = || levels.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
    found.copied().ok_or_else(|| Refusal::Usage(format!("-x {typed}: expected {}", names())))
}

#[cfg(test)]
mod tests {
    use weir_config::options::Named;

    use super::{FlushWhat, Options, Refusal, Show};
    use crate::protocol::{Part, TableAction};
    use crate::table::TableCommand;

    fn parse(line: &str) -> Result<Options, Refusal> {
        Options::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn clusters_read_as_getopt_reads_them() {
        let options = parse("-nvf rules.conf").unwrap();
        assert!(options.no_action);
        assert_eq!((options.verbose, options.file), (1, Some("rules.conf".into())));
        assert_eq!(parse("-vnf-").unwrap().file, Some("-".into()));
        let options = parse("-vvsr").unwrap();
        assert_eq!((options.verbose, options.show), (2, Some(Show::Rules)));
        assert_eq!(parse("-Fs").unwrap().flush, Some(FlushWhat::States));
        assert_eq!(parse("-F all").unwrap().flush, Some(FlushWhat::All));
        let options = parse("-D a=b=c -D e= -f x").unwrap();
        assert_eq!(options.macros, ["a=b=c", "e="]);
    }

    #[test]
    fn modifiers_may_be_cut_short() {
        for (typed, show) in [
            ("-sr", Show::Rules),
            ("-s r", Show::Rules),
            ("-ss", Show::States),
            ("-si", Show::Info),
            ("-sI", Show::Interfaces),
            ("-s interfaces", Show::Interfaces),
            ("-st", Show::Timeouts),
            ("-sm", Show::Memory),
            ("-s mem", Show::Memory),
            ("-s ether", Show::Ether),
            ("-sA", Show::Anchors),
            ("-sl", Show::Labels),
            ("-sa", Show::All),
            ("-sR", Show::Running),
            ("-s creatorids", Show::CreatorIds),
        ] {
            assert_eq!(parse(typed).unwrap().show, Some(show), "{typed}");
        }
    }

    #[test]
    fn disabling_has_a_deadline() {
        assert_eq!(parse("-d").unwrap().disable, Some(300));
        assert_eq!(parse("-d 60").unwrap().disable, Some(60));
        assert_eq!(parse("-d60").unwrap().disable, Some(60));
        assert_eq!(parse("-dq").unwrap().disable, Some(300));
        assert!(matches!(parse("-d 0"), Err(Refusal::Usage(_))));
        assert!(matches!(parse("-d 86401"), Err(Refusal::Usage(_))));
        assert!(matches!(parse("-e -d"), Err(Refusal::Usage(_))));
    }

    #[test]
    fn names_are_looked_up_or_not() {
        assert_eq!(parse("-rss").unwrap().resolve, Some(true));
        assert_eq!(parse("-Nf x").unwrap().resolve, Some(false));
        assert!(parse("-Nrss").unwrap_err().to_string().contains("-N and -r exclude each other"));
        assert_eq!(parse("-r -r -ss").unwrap().resolve, Some(true));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for (line, name) in [
            ("-s nat", "-s nat"),
            ("-sq", "-s queue"),
            ("-F nat", "-F nat"),
            ("-Af x", "-A"),
            ("-V 1 -sr", "-V"),
            ("-k gateway -k x", "-k gateway"),
            ("-k nat -k x", "-k nat"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            let wanted = format!("`{name}` is not available on a transparent bridge: ");
            assert!(text.contains(&wanted), "{line}: {text}");
        }
        for (line, name) in [
            ("-s osfp", "-s osfp"),
            ("-F osfp", "-F osfp"),
            ("-p /dev/pf", "-p"),
            ("-S x", "-S"),
            ("-L x", "-L"),
        ] {
            let text = parse(line).unwrap_err().to_string();
            assert!(text.contains(&format!("`{name}` is not available: ")), "{line}: {text}");
        }
    }

    #[test]
    fn states_are_chosen_by_criteria_and_by_port() {
        let options = parse("-vss host 192.0.2.1 port http sort bytes limit 5").unwrap();
        assert_eq!((options.verbose, options.states.criteria.len()), (1, 2));
        assert_eq!(options.states.limit, Some(5));
        let options = parse("-sS host 192.0.2.1 count -i lan").unwrap_err();
        assert!(options.to_string().contains("-i goes with"), "{options}");
        let options = parse("-i lan -ss").unwrap();
        assert_eq!(options.interface.as_deref(), Some("lan"));
        assert_eq!(parse("-i lan -F states").unwrap().flush, Some(FlushWhat::States));
        assert_eq!(parse("-F info -i wan").unwrap().interface.as_deref(), Some("wan"));
        assert_eq!(parse("-k key -k x").unwrap().kill, ["key", "x"]);
        assert_eq!(parse("-K 0/0 -K 0/0").unwrap().kill_sources.len(), 2);
        for line in ["-ss hst 192.0.2.1", "-sr host 192.0.2.1", "-i lan -sr", "-i lan -f x"] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn levels_of_the_log_may_be_cut_short() {
        for (typed, name) in
            [("debug", "debug"), ("loud", "debug"), ("i", "info"), ("misc", "notice")]
        {
            let level = parse(&format!("-x {typed}")).unwrap().debug_level.unwrap();
            assert_eq!(level.name(), name, "{typed}");
        }
        assert!(matches!(parse("-x noisy"), Err(Refusal::Usage(_))));
    }

    #[test]
    fn anchors_are_named_as_pfctl_names_them() {
        for (typed, anchor, recursive) in [
            ("-a web -sr", "web", false),
            ("-a /web/a -sr", "web/a", false),
            ("-a * -sr", "", true),
            ("-a web/* -sr", "web", true),
            ("-a web* -F rules", "web", true),
            ("-a _1 -sr", "_1", false),
        ] {
            let options = parse(typed).unwrap();
            assert_eq!((&*options.anchor, options.recursive), (anchor, recursive), "{typed}");
        }
        for line in ["-a / -sr", "-a _1 -f x", "-a a/_2 -F rules", "-a web* -f x", "-a x -mf y"] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn a_part_of_a_file_can_be_loaded() {
        assert_eq!(parse("-f x").unwrap().part, Part::All);
        assert_eq!(parse("-Rf x").unwrap().part, Part::Rules);
        assert_eq!(parse("-Of x").unwrap().part, Part::Options);
        assert_eq!(parse("-T load -f x").unwrap().part, Part::Tables);
        assert_eq!(parse("-Tl -f x").unwrap().part, Part::Tables);
        let options = parse("-mNf x -o none -obasic").unwrap();
        assert!(options.merge);
        for line in ["-ROf x", "-R", "-m", "-T load", "-f x -o fast", "-a b -Of x"] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn tables_are_named_with_what_is_done_to_them() {
        let options = parse("-t bad -Tadd 192.0.2.1 !192.0.2.2 -v timeout 1h").unwrap();
        assert_eq!(options.table.as_deref(), Some("bad"));
        assert_eq!(options.table_command, Some(TableCommand::Change(TableAction::Add)));
        assert_eq!(options.arguments, ["192.0.2.1", "!192.0.2.2", "timeout", "1h"]);
        assert_eq!(options.verbose, 1);
        let options = parse("-nqt bad -T replace -f hosts -a web").unwrap();
        assert!(options.no_action && options.file.is_some() && options.anchor == "web");
        assert_eq!(parse("-t x -T exp 60").unwrap().table_command, Some(TableCommand::Expire));
        assert_eq!(parse("-vvsT").unwrap().show, Some(Show::Tables));
        assert_eq!(parse("-FT").unwrap().flush, Some(FlushWhat::Tables));
        for line in [
            "-t bad",
            "-T add 192.0.2.1",
            "-t bad -T range",
            "-t bad -T show 192.0.2.1",
            "-t bad -T flush -f x",
            "-t bad -T add -sr",
            "-t bad -T add -a web/*",
            "-t bad -T add -a _1",
            "-t bad -T load -f x",
            "-t a -t b -T show",
        ] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line:?}");
        }
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            "",
            "-n",
            "x",
            "-f",
            "-s",
            "-s zzz",
            "-W",
            "--jsn",
            "-D x -f y",
            "-D a=b",
            "-s r -s i",
            "-k id",
            "-k a -k b -k c",
            "--json",
            "--json -vf x",
            "-n -sr",
            "-nf x -Fs",
            "-n -f x -d 5",
            "-",
        ] {
            assert!(matches!(parse(line), Err(Refusal::Usage(_))), "{line:?}");
        }
        assert_eq!(parse("-h"), Err(Refusal::Help));
        assert_eq!(parse("--help"), Err(Refusal::Help));
    }
}
