//! pfctl's flags, read as getopt(3) reads them: `-nvf FILE`, `-vvsr`, `-Fs`, `-s r`.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::protocol::{DISABLE_SECONDS, MAX_DISABLE_SECONDS, Part, SOCKET};
use crate::table::TableCommand;

/// How to call it.
pub const USAGE: &str = "\
usage: weir ctl [--socket PATH] [--json] [-deghmNnOqRvz] [-a anchor]
                [-D macro=value] [-F modifier] [-f file]
                [-k host | network | label | id] [-K host | network] [-o level] [-s modifier] [-T load]
       weir ctl [-nqv] [-a anchor] [-f file] -t table -T command [address ...]
  -f FILE          put the rules of FILE in force (- is standard input)
  -n               only check them; needs no daemon
  -v, -vv          tell more; with -f print the rules
  -D NAME=VALUE    set a macro, over what the file says
  -a ANCHOR        do it to this anchor: -f -F -s -z; with * at its end also to those below
  -R, -O, -T load  of the file only the rules, the options, the tables
  -m               options that the file does not set stay as they are
  -s MODIFIER      show: rules ether Anchors states Sources info Interfaces labels timeouts memory
                   Tables all
  -g               show rule numbers, as -vv does
  -z               set the counters of the rules to zero; with -s rules behind the listing
  -t TABLE -T COMMAND   show, add, delete, replace, test, zero, expire SECONDS, flush or
                   kill a table; addresses as arguments or from the file of -f
  -k HOST [-k HOST]     remove states from (and to) an address or prefix
  -k label -k LABEL     remove states that rules with this label made
  -k id -k ID           remove the state with this id (see -vvss)
  -K HOST          forget the sources, as -s Sources lists them, of an address or prefix
  -F MODIFIER      flush: rules states Sources info Tables Reset all; without rules everything is blocked
  -d [SECONDS]     pass EVERYTHING, unjudged, for SECONDS (300 if not given); root only
  -e               judge again
  -q               print only errors and what was asked for
  -N, -o LEVEL     change nothing: no names are looked up, and there is nothing to optimise
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
    /// `-k`.
    pub kill: Vec<String>,
    /// `-K`.
    pub kill_sources: Option<String>,
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
    /// `all`: each of these.
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
    /// pfctl has it, this version does not.
    NotBuilt(String),
    /// pfctl has it, a bridge cannot.
    NotHere(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help => f.write_str(USAGE),
            Self::Usage(text) => write!(f, "weir ctl: {text}\n{USAGE}"),
            Self::NotBuilt(what) => write!(f, "weir ctl: `{what}` is not built yet"),
            Self::NotHere(what) => {
                write!(f, "weir ctl: `{what}` is not available on a transparent bridge")
            }
        }
    }
}

/// What a modifier means.
#[derive(Clone, Copy)]
enum Modifier<T> {
    Is(T),
    NotBuilt,
    NotHere,
}

use Modifier::{Is, NotBuilt, NotHere};

/// pfctl's modifiers of `-s`, in the order in which it looks for one that begins with what was
/// typed. `interfaces` is weir's own, behind `info`.
const SHOW: &[(&str, Modifier<Show>)] = &[
    ("ether", Is(Show::Ether)),
    ("queue", NotHere),
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
    ("osfp", NotBuilt),
    ("nat", NotHere),
    ("Running", NotBuilt),
    ("all", Is(Show::All)),
];

/// pfctl's modifiers of `-F`, likewise.
const FLUSH: &[(&str, Modifier<FlushWhat>)] = &[
    ("rules", Is(FlushWhat::Rules)),
    ("Sources", Is(FlushWhat::Sources)),
    ("states", Is(FlushWhat::States)),
    ("info", Is(FlushWhat::Info)),
    ("Tables", Is(FlushWhat::Tables)),
    ("osfp", NotBuilt),
    ("nat", NotHere),
    ("queue", NotHere),
    ("Reset", Is(FlushWhat::Reset)),
    ("all", Is(FlushWhat::All)),
];

/// pfctl's levels of `-o`.
const OPTIMISE: &[(&str, Modifier<()>)] =
    &[("none", Is(())), ("basic", Is(())), ("profile", Is(()))];

/// pfctl's flags that take an argument and are not built yet.
const NOT_BUILT_WITH_ARGUMENT: &str = "iILpSVx";

/// pfctl's flags that take none and are not built yet.
const NOT_BUILT: &str = "MPr";

impl Options {
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
            // No names are looked up anyway.
            'N' => {}
            'R' => self.only(Part::Rules)?,
            'O' => self.only(Part::Options)?,
            'h' => return Err(Refusal::Help),
            'a' | 'd' | 'f' | 't' | 'D' | 's' | 'F' | 'k' | 'K' | 'o' | 'T' => return Ok(false),
            'A' => return Err(Refusal::NotHere("-A".into())),
            _ if NOT_BUILT.contains(flag) || NOT_BUILT_WITH_ARGUMENT.contains(flag) => {
                return Err(Refusal::NotBuilt(format!("-{flag}")));
            }
            _ => return Err(Refusal::Usage(format!("unknown option `-{flag}`"))),
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
            'K' => once(&mut self.kill_sources, value, "-K"),
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

    fn check(self) -> Result<Self, Refusal> {
        let acts = self.show.is_some()
            || self.zero
            || self.flush.is_some()
            || !self.kill.is_empty()
            || self.kill_sources.is_some()
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
        if let Some(argument) = self.arguments.first() {
            return Err(Refusal::Usage(format!("`{argument}` belongs to no option")));
        }
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
        if self.json && self.show.is_none() {
            return Err(Refusal::Usage("--json needs -s".into()));
        }
        match self.kill.first().map(String::as_str) {
            Some(what @ ("key" | "gateway")) => {
                return Err(Refusal::NotBuilt(format!("-k {what}")));
            }
            Some(what @ ("id" | "label")) if self.kill.len() == 1 => {
                return Err(missing(
                    &format!("-k {what}"),
                    &format!("a second -k with the {what}"),
                ));
            }
            _ => {}
        }
        Ok(self)
    }

    /// What goes with `-t TABLE -T COMMAND`.
    fn check_table(self, command: TableCommand, acts: bool) -> Result<Self, Refusal> {
        if self.table.as_ref().is_none_or(String::is_empty) {
            return Err(missing("-T", "-t with a table"));
        }
        if acts || self.part != Part::All || self.merge || !self.macros.is_empty() {
            return Err(Refusal::Usage("-T with a table goes with -a -f -n -q -v only".into()));
        }
        if is_unnamed(&self.anchor) && command != TableCommand::Show {
            return Err(unnamed());
        }
        if self.recursive {
            return Err(Refusal::Usage("-T is for one table: -a must not end in `*`".into()));
        }
        if self.json && command != TableCommand::Show {
            return Err(Refusal::Usage("--json needs -s or -T show".into()));
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
        Some((name, NotBuilt)) => Err(Refusal::NotBuilt(format!("{flag} {name}"))),
        Some((name, NotHere)) => Err(Refusal::NotHere(format!("{flag} {name}"))),
        None => Err(Refusal::Usage(format!("unknown modifier `{flag} {typed}`"))),
    }
}

fn deadline(text: &str) -> Result<u32, Refusal> {
    text.parse().ok().filter(|seconds| (1..=MAX_DISABLE_SECONDS).contains(seconds)).ok_or_else(
        || Refusal::Usage(format!("-d {text}: expected 1 to {MAX_DISABLE_SECONDS} seconds")),
    )
}

#[cfg(test)]
mod tests {
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
    fn what_is_not_there_is_refused_by_name() {
        for (line, name) in [("-s osfp", "-s osfp"), ("-k key -k x", "-k key")] {
            assert_eq!(parse(line), Err(Refusal::NotBuilt(name.into())), "{line}");
        }
        for (line, name) in
            [("-s nat", "-s nat"), ("-sq", "-s queue"), ("-F nat", "-F nat"), ("-Af x", "-A")]
        {
            let refusal = parse(line).unwrap_err();
            assert_eq!(refusal, Refusal::NotHere(name.into()), "{line}");
            let text = refusal.to_string();
            assert!(text.ends_with(&format!("`{name}` is not available on a transparent bridge")));
        }
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
            "-t bad -T add --json",
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
            "--json -f x",
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
