//! A rule set that may run: compiled once, immutable, shared by all workers. Which rules are asked
//! for a packet is the [`classifier`](crate::classifier)'s business, in which order and with what
//! effect that of [`evaluate`](super::evaluate).

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13};
use weir_config::options::{Options, StatePolicy, Syncookies, Timeout};
use weir_config::rules::{Action, KeepState, Rule, RuleSet};

use super::carried::Carried;
use super::criteria::{Criteria, Question, Subject};
use super::meters::Meter;
use super::names::PortNames;
use super::regions;
use super::reverse_path::ReversePath;
use super::sequence::{self, NOWHERE, RulePlace, Step};
use super::tags::TagNames;
use crate::classifier::{Candidates, Classifier, Key, Limits};
use crate::effects::Effects;
use crate::flow::Path;
use crate::link::LinkRules;
use crate::packet::Network;
use crate::source::RuleLimits;
use crate::state::lifetime::{Lifetimes, Pace, ticks};

/// Why a checked rule set cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompileError {
    /// More rules than a state can refer to.
    TooManyRules(usize),
    /// More rules than this once anchors are written out where they are called.
    TooManySteps(usize),
    /// The anchor of this path calls itself.
    AnchorRecursion(String),
    /// The anchor of this path is called from within too many others.
    AnchorDepth(String),
    /// More different tags than can be told apart.
    TooManyTags,
    /// The rules overlap in so many ways that no fast look-up can be built.
    TooComplex(String),
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyRules(n) => write!(f, "{n} rules are more than the {MAX_RULES} possible"),
            Self::TooManySteps(most) => {
                write!(f, "with anchors written out there are more than {most} rules")
            }
            Self::AnchorRecursion(path) => write!(f, "the anchor \"{path}\" calls itself"),
            Self::AnchorDepth(path) => {
                let most = sequence::MAX_DEPTH;
                write!(f, "the anchor \"{path}\" is called from within more than {most} others")
            }
            Self::TooManyTags => write!(f, "there are more than {} different tags", TagNames::MAX),
            Self::TooComplex(what) => write!(f, "the rules are too entangled: {what}"),
        }
    }
}

impl std::error::Error for CompileError {}

/// The most rules a program can have.
pub const MAX_RULES: usize = 1_000_000;

/// What makes a rule the same rule after a reload: a hash of its anchor and its text, and its ordinal
/// among equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    hash: u128,
    ordinal: u32,
}

/// A table that rules name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableName {
    /// Full path of the anchor it belongs to, empty for the main rule set.
    pub anchor: String,
    /// Its name.
    pub name: String,
}

/// A rule set that may run.
#[derive(Debug)]
pub struct Program {
    source: RuleSet,
    /// By id; see [`sequence::places`].
    pub(crate) rules: Vec<Compiled>,
    /// By id: index of the anchor in the order of paths, [`NOWHERE`] for the main rule set, and the
    /// number there.
    places: Vec<(u32, u32)>,
    anchors: Vec<String>,
    identities: Vec<Identity>,
    /// Stands for all that rules are told apart by, those of layer 2 included.
    mark: u128,
    /// The mark of the program that it was compiled after.
    after: Option<u128>,
    /// The rules that it takes over from that one.
    carried: Carried,
    meters: HashMap<u32, Arc<Meter>>,
    limits: HashMap<u32, Arc<RuleLimits>>,
    lifetimes: HashMap<u32, Arc<Lifetimes>>,
    pub(crate) steps: Arc<[Step]>,
    /// The last step outside all anchors.
    pub(crate) last_step: u32,
    classifier: Classifier,
    /// The steps that a fragment can match when it is judged for itself, ascending.
    fragment_steps: Vec<u32>,
    tables: Vec<TableName>,
    questions: Vec<Question>,
    pub(crate) tags: TagNames,
    pub(crate) reverse_path: ReversePath,
    pub(crate) skipped: u8,
    link: LinkRules,
    timeouts: [u32; Timeout::ALL.len()],
    answers_syns: bool,
}

/// A rule as packets meet it.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "words of the language that stand or do not")]
pub(crate) struct Compiled {
    pub(crate) criteria: Criteria,
    /// Nothing but the packet decides whether it matches.
    pub(crate) is_plain: bool,
    pub(crate) quick: bool,
    pub(crate) log: bool,
    pub(crate) log_all: bool,
    pub(crate) log_matches: bool,
    pub(crate) allow_opts: bool,
    pub(crate) sloppy: bool,
    pub(crate) pflow: bool,
    pub(crate) state: KeepState,
    /// `if-bound` or `floating`, if it is written on the rule.
    pub(crate) policy: Option<StatePolicy>,
    /// Number of the tag that it gives, 0 for none.
    pub(crate) tag: u16,
    pub(crate) action: Action,
    pub(crate) effects: Effects,
    /// Number of the table of `overload`.
    overload: Option<u32>,
}

impl Program {
    /// Compiles a checked rule set for these ports. What rules remember (counters, `once`,
    /// `max-pkt-rate`, limits) is taken over from `previous`, the program in force, for rules that are the
    /// same; an engine in which another one is in force keeps no counters.
    ///
    /// # Errors
    /// When the rules are too many or too entangled, or anchors call themselves.
    pub fn compile(
        set: &RuleSet,
        ports: &PortNames,
        previous: Option<&Self>,
    ) -> Result<Self, CompileError> {
        let count = sequence::places(set).count();
        if count > MAX_RULES {
            return Err(CompileError::TooManyRules(count));
        }
        let (steps, last_step) = sequence::steps(set)?;
        let mut tables = TableNumbers::new(set);
        let mut tags = TagNames::default();
        let link = LinkRules::compile(set, ports, &mut tags, &mut |name| tables.number("", name))
            .ok_or(CompileError::TooManyTags)?
            .after(previous.map(|previous| &previous.link));
        let mut rules = sequence::places(set)
            .map(|place| {
                let table = &mut |name: &str| tables.number(place.anchor, name);
                Compiled::new(place.rule, ports, &mut tags, table)
            })
            .collect::<Option<Vec<_>>>()
            .ok_or(CompileError::TooManyTags)?;
        let mut questions = Vec::new();
        for rule in &mut rules {
            rule.criteria.number_questions(&mut questions);
        }
        let identities = identities(set);
        let meters = remembered(
            set,
            &identities,
            previous,
            |old| &old.meters,
            |rule| (rule.once || rule.max_packet_rate.is_some()).then(Meter::default),
        );
        let limits = remembered(set, &identities, previous, |old| &old.limits, RuleLimits::of);
        let lifetimes = remembered(
            set,
            &identities,
            previous,
            |old| &old.lifetimes,
            |rule| Lifetimes::of(&rule.state_options),
        );
        let classifier = Classifier::build(&regions::of_steps(&steps, &rules), &Limits::default())
            .map_err(|error| CompileError::TooComplex(error.to_string()))?;
        let paths: HashMap<&str, u32> = set.anchors.keys().map(String::as_str).zip(0..).collect();
        Ok(Self {
            places: sequence::places(set)
                .map(|place| (paths.get(place.anchor).copied().unwrap_or(NOWHERE), place.number))
                .collect(),
            anchors: set.anchors.keys().cloned().collect(),
            fragment_steps: (0..)
                .zip(&steps)
                .filter(|(_, step)| rules[step.rule as usize].criteria.fits_fragments())
                .map(|(at, _)| at)
                .collect(),
            rules,
            mark: mark(&identities, &link),
            after: previous.map(|previous| previous.mark),
            carried: Carried::new(
                &identities,
                previous.map_or(&[], |previous| &previous.identities),
            ),
            identities,
            meters,
            limits,
            lifetimes,
            steps: steps.into(),
            last_step,
            classifier,
            tables: tables.names,
            questions,
            tags,
            reverse_path: ReversePath::new(ports),
            skipped: set.options.skip.iter().fold(0, |mask, name| mask | ports.mask(name)),
            link,
            answers_syns: set.options.syncookies != Syncookies::Never
                || sequence::places(set).any(|place| place.rule.state == KeepState::Synproxy),
            timeouts: Timeout::ALL.map(|timeout| ticks(timeout, set.options.timeouts.get(timeout))),
            source: set.clone(),
        })
    }

    /// What makes a rule the same rule after a reload; by id.
    pub fn identity(&self, id: u32) -> Option<Identity> {
        self.identities.get(id as usize).copied()
    }

    /// What was compiled.
    pub const fn rules(&self) -> &RuleSet {
        &self.source
    }

    /// How many rules there are, those of anchors included. Ids are below that: the main rule set's
    /// rules are numbered from 0, then come the anchors' in the order of their paths.
    pub fn rule_count(&self) -> u32 {
        self.rules.len() as u32
    }

    /// Where the rule of an id stands.
    ///
    /// # Panics
    /// If `id` is not below [`Program::rule_count`].
    pub fn place(&self, id: u32) -> RulePlace<'_> {
        let (anchor, number) = self.places[id as usize];
        let (anchor, rules) = match self.anchors.get(anchor as usize) {
            None => ("", &self.source.rules),
            Some(path) => (path.as_str(), &self.source.anchors[path].rules),
        };
        RulePlace { anchor, number, rule: &rules[number as usize] }
    }

    /// The tables that rules name, each where it is declared, in the order in which the engine wants
    /// their contents.
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// What its rules ask tables, as far as it is asked beforehand.
    pub(crate) fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// What it says about layer 2.
    pub(crate) const fn link(&self) -> &LinkRules {
        &self.link
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.source.options
    }

    /// Whether it was compiled after this program, and can be taken up in its place without loss.
    pub(crate) fn follows(&self, before: Option<&Self>) -> bool {
        self.after == before.map(|before| before.mark)
    }

    /// The rules that it takes over from the program that it [follows](Self::follows).
    pub(crate) const fn carried(&self) -> &Carried {
        &self.carried
    }

    pub(crate) fn is_floating(&self) -> bool {
        self.source.options.state_policy == StatePolicy::Floating
    }

    /// A time-out by its number, in ticks of the wheel.
    #[inline]
    pub(crate) const fn ticks(&self, timeout: u8) -> u32 {
        self.timeouts[timeout as usize]
    }

    /// Whether a rule says `scrub (reassemble tcp)`.
    pub(crate) fn reassembles_tcp(&self) -> bool {
        self.rules.iter().any(|rule| rule.effects.reassembles_tcp())
    }

    /// Whether a rule or an option may make states of which more than sequence numbers is translated:
    /// their records are needed beside the state table.
    pub(crate) fn splices(&self) -> bool {
        self.reassembles_tcp() || self.answers_syns
    }

    /// Whether SYNs may be answered in the names of their servers.
    #[inline]
    pub(crate) const fn answers_syns(&self) -> bool {
        self.answers_syns
    }

    /// Whether a rule says `max-idle` or `min-rate`.
    pub(crate) fn demands_progress(&self) -> bool {
        self.limits.values().any(|own| own.max_idle().is_some() || own.min_rate().is_some())
    }

    /// By how much time-outs are shortened while there are so many states, over all workers.
    pub(crate) const fn pace(&self, states: u32) -> Pace {
        let start = self.ticks(Timeout::AdaptiveStart as u8);
        Pace::of(states, start, self.ticks(Timeout::AdaptiveEnd as u8))
    }

    /// Percent that is left of each time-out of the rule set while there are so many states, over all
    /// workers; `None` if nothing is taken from them (pf.conf(5), `adaptive.start`).
    pub fn adaptive_percent(&self, states: u32) -> Option<u32> {
        self.pace(states).percent()
    }

    /// The time-outs that a rule has for itself.
    pub(crate) fn lifetimes(&self, rule: u32) -> Option<&Arc<Lifetimes>> {
        self.lifetimes.get(&rule)
    }

    /// Whether states of a rule are told to the flow collector when they end.
    pub(crate) fn exports(&self, rule: u32) -> bool {
        self.compiled(rule).pflow
    }

    /// Whether those of any rule are.
    pub(crate) fn exports_flows(&self) -> bool {
        self.rules.iter().any(|rule| rule.pflow)
    }

    pub(crate) fn compiled(&self, rule: u32) -> &Compiled {
        &self.rules[rule as usize]
    }

    pub(crate) fn action(&self, rule: u32) -> &Action {
        &self.compiled(rule).action
    }

    pub(crate) fn rule(&self, rule: u32) -> &Rule {
        self.place(rule).rule
    }

    /// Whether there are rules that remember something.
    pub(crate) fn has_meters(&self) -> bool {
        !self.meters.is_empty()
    }

    /// What a `once` or `max-pkt-rate` rule remembers.
    pub(crate) fn meter(&self, rule: u32) -> Option<&Meter> {
        self.meters.get(&rule).map(|meter| &**meter)
    }

    /// Whether rules limit their states or the sources of these.
    pub(crate) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Whether rules look into tables.
    pub(crate) const fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    /// What a rule allows its states and their sources, if it limits them.
    pub fn limits(&self, rule: u32) -> Option<&Arc<RuleLimits>> {
        self.limits.get(&rule)
    }

    /// The rule with these limits, unless it is gone.
    pub fn limited_by(&self, limits: &Arc<RuleLimits>) -> Option<u32> {
        let mut all = self.limits.iter();
        all.find(|(_, known)| Arc::ptr_eq(known, limits)).map(|(&rule, _)| rule)
    }

    /// The table that a rule puts sources into which exceed its limits.
    pub fn overload_table(&self, rule: u32) -> Option<&TableName> {
        self.tables.get(self.compiled(rule).overload? as usize)
    }

    /// The rule of a step.
    pub(crate) fn step_rule(&self, step: u32) -> &Compiled {
        self.compiled(self.steps[step as usize].rule)
    }

    /// Whether the rule does not decide.
    pub(crate) fn is_match(&self, rule: u32) -> bool {
        matches!(self.action(rule), Action::Match)
    }

    /// Whether the rule has a `max-pkt-rate`.
    pub(crate) fn is_rated(&self, rule: u32) -> bool {
        !self.compiled(rule).is_plain && self.rule(rule).max_packet_rate.is_some()
    }

    /// Whether `set skip` makes both ports of a way abstain, so that packets pass unjudged.
    #[inline]
    pub(crate) const fn skips(&self, path: Path) -> bool {
        self.skipped >> path.from.0 & self.skipped >> path.to.0 & 1 != 0
    }

    /// The steps that can matter to a fragment, ascending.
    pub(crate) fn fragment_steps(&self) -> impl Iterator<Item = u32> + Clone {
        self.fragment_steps.iter().copied()
    }

    /// The steps that can matter to a packet, ascending.
    pub(crate) fn candidates(&self, subject: &Subject) -> Candidates<'_> {
        self.classifier.candidates(&Key {
            source: subject.source,
            destination: subject.destination,
            ipv6: subject.network == Network::Ipv6,
            ports: subject.ports,
            protocol: subject.protocol,
            opens: subject.opens(),
        })
    }
}

impl Compiled {
    /// Whether its match depends on what is in a table.
    #[inline]
    pub(crate) const fn names_tables(&self) -> bool {
        self.criteria.from.table().is_some() || self.criteria.to.table().is_some()
    }

    fn new(
        rule: &Rule,
        ports: &PortNames,
        tags: &mut TagNames,
        table: &mut impl FnMut(&str) -> u32,
    ) -> Option<Self> {
        let log = rule.log.unwrap_or_default();
        Some(Self {
            criteria: Criteria::new(rule, ports, tags, table)?,
            is_plain: !rule.once && rule.probability.is_none() && rule.max_packet_rate.is_none(),
            quick: rule.quick,
            log: rule.log.is_some(),
            log_all: log.all,
            log_matches: log.matches,
            allow_opts: rule.allow_opts,
            pflow: rule.state_options.pflow,
            sloppy: rule.state_options.sloppy,
            state: rule.state,
            policy: rule.state_options.policy,
            tag: match &rule.tag {
                None => 0,
                Some(tag) => tags.intern(tag)?,
            },
            action: rule.action.clone(),
            effects: Effects::of(rule),
            overload: rule.state_options.overload.as_ref().map(|overload| table(&overload.table)),
        })
    }
}

/// Numbers tables as rules name them.
struct TableNumbers<'a> {
    set: &'a RuleSet,
    names: Vec<TableName>,
    numbers: HashMap<TableName, u32>,
}

impl<'a> TableNumbers<'a> {
    fn new(set: &'a RuleSet) -> Self {
        Self { set, names: Vec::new(), numbers: HashMap::new() }
    }

    /// The number of the table that `<name>` means in an anchor: its own, else that of the nearest
    /// anchor around it which declares one, else the main rule set's.
    fn number(&mut self, anchor: &str, name: &str) -> u32 {
        let mut at = anchor;
        while !at.is_empty() && !self.declares(at, name) {
            at = at.rfind('/').map_or("", |slash| &at[..slash]);
        }
        let table = TableName { anchor: at.to_owned(), name: name.to_owned() };
        *self.numbers.entry(table).or_insert_with_key(|table| {
            self.names.push(table.clone());
            self.names.len() as u32 - 1
        })
    }

    fn declares(&self, anchor: &str, name: &str) -> bool {
        let tables = self.set.anchors.get(anchor).map(|anchor| &anchor.tables);
        tables.is_some_and(|tables| tables.iter().any(|table| table.name == name))
    }
}

fn identities(set: &RuleSet) -> Vec<Identity> {
    let mut seen = HashMap::new();
    sequence::places(set)
        .map(|place| {
            let mut hasher = SipHasher13::new();
            if !place.anchor.is_empty() {
                hasher.write(place.anchor.as_bytes());
                hasher.write_u8(b'\n');
            }
            hasher.write(place.rule.to_string().as_bytes());
            let hash = hasher.finish128().as_u128();
            let count = seen.entry(hash).or_insert(0);
            *count += 1;
            Identity { hash, ordinal: *count - 1 }
        })
        .collect()
}

fn mark(identities: &[Identity], link: &LinkRules) -> u128 {
    let mut hasher = SipHasher13::new();
    identities.hash(&mut hasher);
    link.identities().hash(&mut hasher);
    hasher.finish128().as_u128()
}

/// What some rules remember; a rule that is the same in `previous` goes on with what it had there.
fn remembered<T>(
    set: &RuleSet,
    identities: &[Identity],
    previous: Option<&Program>,
    before: impl Fn(&Program) -> &HashMap<u32, Arc<T>>,
    make: impl Fn(&Rule) -> Option<T>,
) -> HashMap<u32, Arc<T>> {
    let known: HashMap<Identity, &Arc<T>> = previous
        .into_iter()
        .flat_map(|old| before(old).iter().map(|(&id, kept)| (old.identities[id as usize], kept)))
        .collect();
    (0..)
        .zip(sequence::places(set))
        .filter_map(|(id, place)| {
            let new = make(place.rule)?;
            let kept = known.get(&identities[id as usize]).map(|&kept| Arc::clone(kept));
            Some((id, kept.unwrap_or_else(|| Arc::new(new))))
        })
        .collect()
}
