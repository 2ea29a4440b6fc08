//! What is in force, by the loads that it comes from. Main rule set, tables, options and each anchor
//! that `-a` names can come from files of their own; a change makes a new composition, which is
//! compiled as a whole and put in force as a whole, or forgotten.
//!
//! As in pf: what `-a` loaded into an anchor stays when the main rules are loaded again, unless
//! they fill the same anchor. An anchor that the main rules filled goes with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_config::options::Options;
use weir_config::rules::{Anchor, RuleSet};
use weir_config::{PortPrefixes, anchor_path};
use weir_shell::check::{check, refuse_unbuilt};
use weir_shell::protocol::{Load, Part, Source};

use super::Refused;

/// What messages call options that come from several files.
const OPTIONS: &str = "options in force";

/// What messages call an anchor that was emptied.
const EMPTY: &str = "flushed";

/// Longest name of a source in bytes, as of a path in Linux.
const LONGEST_SOURCE: usize = 4096;

/// Refuses what is no path of an anchor; the empty one is the main rule set's.
pub(super) fn check_anchor(path: &str) -> Result<(), Refused> {
    if !path.is_empty() && anchor_path(path).map_err(Refused::Error)? != path {
        let text = "the path of an anchor begins without a slash here";
        return Err(Refused::Error(text.into()));
    }
    Ok(())
}

/// Names of files come into logs, onto terminals and into the heads of the history.
fn check_source_name(name: &str) -> Result<(), Refused> {
    if name.len() > LONGEST_SOURCE || name.chars().any(char::is_control) {
        let text = format!(
            "the name of a file is at most {LONGEST_SOURCE} bytes without control characters"
        );
        return Err(Refused::Error(text));
    }
    Ok(())
}

/// A load and what was read from it.
#[derive(Debug)]
pub(super) struct Piece {
    load: Load,
    rules: RuleSet,
    /// The `set` lines, in order.
    options: Vec<String>,
}

impl Piece {
    /// Reads a load; also tells what it warns of.
    pub(super) fn read(
        load: &Load,
        prefixes: &[PortPrefixes],
    ) -> Result<(Self, Vec<String>), Refused> {
        if load.sources.is_empty() {
            return Err(Refused::Error("a load needs a rule file".into()));
        }
        check_anchor(&load.anchor)?;
        load.sources.iter().try_for_each(|source| check_source_name(&source.name))?;
        let mut checked = check(load, prefixes).map_err(Refused::Error)?;
        refuse_unbuilt(&mut checked);
        let warnings = checked.diagnostics.iter().map(ToString::to_string).collect();
        match checked.rules {
            Some(rules) => {
                let mut options = checked.echo;
                options.retain(|line| line.starts_with("set ") && !line.starts_with("set ="));
                Ok((Self { load: load.clone(), rules, options }, warnings))
            }
            None => Err(Refused::Diagnostics(checked.diagnostics)),
        }
    }

    /// An anchor without anything in it.
    fn empty(anchor: &str) -> Self {
        let source = Source { name: EMPTY.into(), text: String::new() };
        let load = Load { sources: vec![source], anchor: anchor.into(), ..Load::default() };
        Self { load, rules: RuleSet::default(), options: Vec::new() }
    }

    fn name(&self) -> &str {
        self.load.sources.first().map_or("", |source| &source.name)
    }

    /// The paths of the anchors that it fills.
    fn fills(&self) -> impl Iterator<Item = &str> {
        let own = &*self.load.anchor;
        let empty = !own.is_empty() && !self.rules.anchors.contains_key(own);
        let own = empty.then_some(own);
        own.into_iter().chain(self.rules.anchors.keys().map(String::as_str))
    }

    fn is_empty(&self) -> bool {
        self.rules.anchors.values().all(|anchor| *anchor == Anchor::default())
    }

    /// What it puts into the anchor of that path.
    fn anchor(&self, path: &str) -> Anchor {
        self.rules.anchors.get(path).cloned().unwrap_or_default()
    }
}

/// What is in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Composition {
    options: Options,
    /// The main rules, those of layer 2 and the anchors written among them; `None` if there are none.
    rules: Option<Arc<Piece>>,
    /// The tables of the main rule set and of the anchors written among its rules.
    tables: Option<Arc<Piece>>,
    /// What `-a` loaded, in the order of loading. The later one fills an anchor that two fill;
    /// `true`: loaded after the main rules.
    anchors: Vec<(Arc<Piece>, bool)>,
}

impl Composition {
    /// Takes up what was read.
    pub(super) fn take(&mut self, piece: Piece) -> Result<(), Refused> {
        let piece = Arc::new(piece);
        let Load { ref anchor, part, merge, .. } = piece.load;
        if !anchor.is_empty() {
            if part != Part::All || merge {
                let text =
                    "only the main rule set can be loaded in parts: -a goes with all of a file";
                return Err(Refused::Error(text.into()));
            }
            self.anchors.retain(|(old, _)| old.load.anchor != *anchor);
            self.anchors.push((piece, true));
            return Ok(());
        }
        if matches!(part, Part::All | Part::Options) {
            self.options =
                if merge { merged(&self.options, &piece)? } else { piece.rules.options.clone() };
        }
        if matches!(part, Part::All | Part::Tables) {
            self.tables = Some(Arc::clone(&piece));
        }
        if matches!(part, Part::All | Part::Rules) {
            let filled = &piece.rules.anchors;
            self.anchors.retain(|(old, _)| {
                !old.is_empty() && old.fills().any(|path| !filled.contains_key(path))
            });
            self.anchors.iter_mut().for_each(|(_, later)| *later = false);
            self.rules = Some(piece);
        }
        Ok(())
    }

    /// Forgets the main rules.
    pub(super) fn flush_rules(&mut self) {
        self.rules = None;
    }

    /// Empties an anchor, and with `recursive` those below it; `false` if there is none.
    pub(super) fn flush_anchor(&mut self, anchor: &str, recursive: bool) -> bool {
        let paths: Vec<String> = self
            .compose()
            .anchors
            .into_keys()
            .filter(|path| path == anchor || recursive && is_below(path, anchor))
            .collect();
        for path in &paths {
            self.anchors.retain(|(old, _)| old.load.anchor != *path);
            if self.filler(path).is_some() {
                self.anchors.push((Arc::new(Piece::empty(path)), true));
            }
        }
        !paths.is_empty()
    }

    /// Goes back to the defaults of all options.
    pub(super) fn reset_options(&mut self) {
        self.options = Options::default();
    }

    /// Whether there is a main rule set, without which everything is blocked.
    pub(super) const fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Name of the file that an anchor (`""`: the main rule set) comes from.
    pub(super) fn origin(&self, path: &str) -> Option<&str> {
        match path {
            "" => self.rules.as_deref().map(Piece::name),
            _ => self.filler(path).map(Piece::name),
        }
    }

    /// Whether the tables that an anchor (`""`: the main rule set) declares come from another load
    /// than before.
    pub(super) fn declares_anew(&self, before: &Self, path: &str) -> bool {
        let own = self.declares(path).map(std::ptr::from_ref);
        own.is_some() && own != before.declares(path).map(std::ptr::from_ref)
    }

    /// The load that the tables of an anchor come from.
    fn declares(&self, path: &str) -> Option<&Piece> {
        let main = self.tables.as_deref();
        match path {
            "" => main,
            _ => self.filler(path).and_then(|piece| match piece.load.anchor.as_str() {
                "" => main,
                _ => Some(piece),
            }),
        }
    }

    /// All loads that anchors are filled from, the last one first.
    fn fillers(&self) -> impl Iterator<Item = &Piece> {
        let of = |wanted: bool| {
            let side = self.anchors.iter().rev().filter(move |(_, later)| *later == wanted);
            side.map(|(piece, _)| &**piece)
        };
        of(true).chain(self.rules.as_deref()).chain(of(false))
    }

    fn filler(&self, path: &str) -> Option<&Piece> {
        self.fillers().find(|piece| piece.fills().any(|filled| filled == path))
    }

    /// The rule set that all of it makes together.
    pub(super) fn compose(&self) -> RuleSet {
        let main = self.rules.as_deref().map(|piece| piece.rules.clone()).unwrap_or_default();
        let mut rules = RuleSet { options: self.options.clone(), anchors: BTreeMap::new(), ..main };
        if self.rules.is_none() {
            // Nothing passes without rules, not even what they would not be asked about.
            rules.options.skip.clear();
        }
        let tables = self.tables.as_deref().map(|piece| &piece.rules);
        rules.tables = tables.map(|tables| tables.tables.clone()).unwrap_or_default();
        let fillers: Vec<_> = self.fillers().collect();
        for piece in fillers.into_iter().rev() {
            let anchor = &piece.load.anchor;
            if !anchor.is_empty() {
                // What it replaces called these, and nothing else can.
                rules.anchors.retain(|path, _| {
                    !(is_below(path, anchor) && path[anchor.len()..].contains("/_"))
                });
            }
            for path in piece.fills() {
                let mut content = piece.anchor(path);
                if anchor.is_empty() {
                    let tables = tables.and_then(|tables| tables.anchors.get(path));
                    content.tables = tables.map(|with| with.tables.clone()).unwrap_or_default();
                }
                rules.anchors.insert(path.to_owned(), content);
            }
        }
        rules.anchors.retain(|_, anchor| *anchor != Anchor::default());
        rules
    }

    /// How many rules that is.
    pub(super) fn count(&self) -> usize {
        count(&self.compose())
    }

    /// Loads that make the same again, one after the other.
    pub(super) fn loads(&self) -> Vec<Load> {
        let mut loads = Vec::new();
        let of = |wanted: bool| {
            let side = self.anchors.iter().filter(move |(_, later)| *later == wanted);
            side.map(|(piece, _)| piece.load.clone())
        };
        let part = |piece: &Option<Arc<Piece>>, part| {
            piece.as_ref().map(|piece| Load { part, merge: false, ..piece.load.clone() })
        };
        loads.extend(of(false));
        let whole = match (&self.rules, &self.tables) {
            (Some(rules), Some(tables)) => Arc::ptr_eq(rules, tables),
            _ => false,
        };
        if whole {
            loads.extend(part(&self.rules, Part::All));
        } else {
            loads.extend(part(&self.rules, Part::Rules));
            loads.extend(part(&self.tables, Part::Tables));
        }
        let from_rules =
            self.rules.as_ref().is_some_and(|piece| piece.rules.options == self.options);
        if !(whole && from_rules) {
            let source = Source { name: OPTIONS.into(), text: self.options.to_string() };
            let sources = vec![source];
            loads.push(Load { sources, part: Part::Options, ..Load::default() });
        }
        loads.extend(of(true));
        loads
    }
}

/// How many rules there are, those of anchors included.
pub(super) fn count(rules: &RuleSet) -> usize {
    rules.rules.len() + rules.anchors.values().map(|anchor| anchor.rules.len()).sum::<usize>()
}

/// Whether an anchor is somewhere below another, or below the main rule set.
fn is_below(path: &str, above: &str) -> bool {
    above.is_empty() || path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// The options in force, and over them those that the files set.
fn merged(options: &Options, piece: &Piece) -> Result<Options, Refused> {
    let text = format!("{options}{}\n", piece.options.join("\n"));
    let source = Source { name: OPTIONS.into(), text };
    let load = Load { sources: vec![source], ..Load::default() };
    Ok(Piece::read(&load, &[])?.0.rules.options)
}
