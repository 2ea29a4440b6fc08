//! Every word that means something in a rule file, in one list: what the manual has to explain.

use std::collections::BTreeSet;

use super::{effects, ether, set, state, table, words};
use crate::names;
use crate::options::{
    DebugLevel, Limit, Named, Optimization, RulesetOptimization, SrcConnCount, Timeout,
};
use crate::rules::Family;

/// Keywords and refused words, options and their values, names of ICMP types and codes, of types of
/// service and of ethertypes. Names of services and protocols are not among them.
pub fn vocabulary() -> BTreeSet<&'static str> {
    fn named<T: Named>() -> impl Iterator<Item = &'static str> {
        T::ALL.iter().map(|choice| choice.name())
    }
    let mut all: BTreeSet<_> = words::all().collect();
    for list in [set::NAMES, state::WORDS, ether::WORDS, effects::SCRUB, &table::OPTIONS] {
        all.extend(list);
    }
    all.extend(named::<Limit>().chain(named::<DebugLevel>()).chain(named::<Optimization>()));
    all.extend(named::<RulesetOptimization>().chain(named::<SrcConnCount>()));
    all.extend(Timeout::ALL.iter().map(|timeout| timeout.name()));
    all.extend(crate::ether::ControlFrame::ALL.iter().map(|frame| frame.name()));
    for family in [Family::Inet, Family::Inet6] {
        all.extend(names::type_names(family));
        all.extend((0..=255).flat_map(|kind| names::code_names(family, kind)));
    }
    all.extend(names::tos_names());
    all.extend(names::ethertype_names());
    all
}
