//! What the classifier is told of the steps: the boxes in which each can match, and which of them
//! decide alone.
//!
//! A step has a rank if nothing but its box says whether it matches, and if its match does nothing
//! but decide: then only the best of all such steps that match can win. `quick` steps win by coming
//! first, and over all others; among these the last wins. Everything else (`match`, tags given or
//! asked for, tables, dice, rates, and what stands in an anchor with such criteria or `quick`) is
//! unranked and always asked.

use weir_config::rules::Action;

use super::criteria::{Criteria, FlagTest};
use super::program::Compiled;
use super::sequence::{NOWHERE, Step};
use crate::classifier::{Region, Rule};

/// More boxes than this for one step are not worth it; it is given one around them all.
const MAX_BOXES: usize = 16;

/// Boxes that there may be beside one for each step; then steps are given one around their boxes, so
/// that rules with many boxes, called many times, take no memory without bound.
const MORE_BOXES: usize = 1 << 20;

/// One rule of the classifier for each step.
pub(super) fn of_steps(steps: &[Step], rules: &[Compiled]) -> Vec<Rule> {
    // A `match quick` ends the search in favour of what came before: no later rule hides that.
    let barrier = steps
        .iter()
        .rposition(|step| {
            let rule = &rules[step.rule as usize];
            rule.quick && matches!(rule.action, Action::Match)
        })
        .map_or(0, |at| at + 1);
    let logs_matches = steps.iter().position(|step| rules[step.rule as usize].log_matches);
    let mut found: Vec<Rule> = Vec::with_capacity(steps.len());
    // Whether the step and all anchors around it are boxes without side effects.
    let mut simple: Vec<bool> = Vec::with_capacity(steps.len());
    let mut more = 0;
    for (at, step) in steps.iter().enumerate() {
        let rule = &rules[step.rule as usize];
        let (around, inside_simple) = match step.scope {
            NOWHERE => (None, true),
            scope => (Some(&found[scope as usize]), simple[scope as usize]),
        };
        let own = boxes(&rule.criteria);
        let places = rule.criteria.places() & around.map_or(u16::MAX, |around| around.places);
        let (regions, whole) = match around {
            None => (own, true),
            Some(around) => intersection(&own, &around.regions),
        };
        more += regions.len().saturating_sub(1);
        let (regions, whole) =
            if more > MORE_BOXES { (bounding(&regions), false) } else { (regions, whole) };
        let is_call = matches!(rule.action, Action::Anchor(_));
        let is_simple = inside_simple
            && whole
            && rule.is_plain
            && rule.tag == 0
            && rule.criteria.is_box()
            && !(is_call && rule.quick);
        simple.push(is_simple);
        let decides = matches!(rule.action, Action::Pass | Action::Block(_))
            && is_simple
            && (rule.quick || at >= barrier)
            && !rule.log_matches
            && logs_matches.is_none_or(|first| at < first);
        let rank = if rule.quick { at as u32 } else { u32::MAX - at as u32 };
        found.push(Rule { regions, places, exact: is_simple, rank: decides.then_some(rank) });
    }
    found
}

fn boxes(criteria: &Criteria) -> Vec<Region> {
    let (ipv4, ipv6) = criteria.families();
    let protocol = criteria.protocol.map_or(0..=u8::MAX, |protocol| protocol..=protocol);
    let opens = (criteria.flag_test() == FlagTest::Opens).then_some(true);
    let mut boxes = Vec::new();
    for (source_low, source_high) in criteria.from.addresses() {
        for (low, high) in criteria.to.addresses() {
            for (from_low, from_high) in criteria.from.ports() {
                for (to_low, to_high) in criteria.to.ports() {
                    boxes.push(Region {
                        source: source_low..=source_high,
                        destination: low..=high,
                        ports: [from_low..=from_high, to_low..=to_high],
                        protocol: protocol.clone(),
                        opens,
                        ipv4,
                        ipv6,
                    });
                }
            }
        }
    }
    boxes
}

/// What two unions of boxes have in common; the first alone, and `false`, if that is too many boxes.
fn intersection(a: &[Region], b: &[Region]) -> (Vec<Region>, bool) {
    if a.len() * b.len() > MAX_BOXES {
        return (a.to_vec(), false);
    }
    let both = a.iter().flat_map(|a| b.iter().map(move |b| common(a, b)));
    (both.filter(|region| !is_empty(region)).collect(), true)
}

/// One box around all; none around none.
fn bounding(boxes: &[Region]) -> Vec<Region> {
    fn around<T: Copy + Ord>(
        a: &std::ops::RangeInclusive<T>,
        b: &std::ops::RangeInclusive<T>,
    ) -> std::ops::RangeInclusive<T> {
        *a.start().min(b.start())..=*a.end().max(b.end())
    }
    let both = |a: Region, b: &Region| Region {
        source: around(&a.source, &b.source),
        destination: around(&a.destination, &b.destination),
        ports: [around(&a.ports[0], &b.ports[0]), around(&a.ports[1], &b.ports[1])],
        protocol: around(&a.protocol, &b.protocol),
        opens: if a.opens == b.opens { a.opens } else { None },
        ipv4: a.ipv4 || b.ipv4,
        ipv6: a.ipv6 || b.ipv6,
    };
    let [first, rest @ ..] = boxes else { return Vec::new() };
    vec![rest.iter().fold(first.clone(), both)]
}

fn common(a: &Region, b: &Region) -> Region {
    fn within<T: Copy + Ord>(
        a: &std::ops::RangeInclusive<T>,
        b: &std::ops::RangeInclusive<T>,
    ) -> std::ops::RangeInclusive<T> {
        *a.start().max(b.start())..=*a.end().min(b.end())
    }
    Region {
        source: within(&a.source, &b.source),
        destination: within(&a.destination, &b.destination),
        ports: [within(&a.ports[0], &b.ports[0]), within(&a.ports[1], &b.ports[1])],
        protocol: within(&a.protocol, &b.protocol),
        opens: a.opens.or(b.opens),
        ipv4: a.ipv4 && b.ipv4,
        ipv6: a.ipv6 && b.ipv6,
    }
}

fn is_empty(region: &Region) -> bool {
    region.source.is_empty()
        || region.destination.is_empty()
        || region.ports.iter().any(std::ops::RangeInclusive::is_empty)
        || region.protocol.is_empty()
        || !(region.ipv4 || region.ipv6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounding_box_holds_every_box() {
        let of = |low: u128, port: u16, ipv4| Region {
            source: low..=low + 1,
            ports: [port..=port, 0..=9],
            ipv4,
            ipv6: !ipv4,
            opens: ipv4.then_some(true),
            ..Region::ALL
        };
        let boxes = [of(5, 80, true), of(90, 22, false), of(40, 443, true)];
        let [around] = &bounding(&boxes)[..] else { panic!("one box") };
        assert_eq!((&around.source, &around.ports[0]), (&(5..=91), &(22..=443)));
        assert!(around.ipv4 && around.ipv6 && around.opens.is_none());
        assert!(bounding(&[]).is_empty());
    }
}
