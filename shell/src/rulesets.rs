//! Rules, labels and anchors as pfctl lists them (OpenBSD's `pfctl_show_rules` and
//! `pfctl_show_anchors`): the bodies of anchors without a name stand in braces behind the rule that
//! calls them, those of all anchors if `-a` ends in `*`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::protocol::{Rule, RuleListing};

/// Anchors within anchors that are printed at most; rules can call each other in a circle.
const MAX_DEPTH: usize = 64;

/// Rules that are printed at most: anchors that call others twice could go on for ever.
const MAX_LINES: usize = 10_000_000;

/// How much is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// How many `-v`.
    pub verbose: u8,
    /// `-g`: numbers.
    pub debug: bool,
    /// The bodies of all anchors.
    pub recursive: bool,
}

/// `-s rules`. What is built in is shown in comments, so that the output can be loaded.
///
/// # Errors
/// When it cannot be written.
pub fn rules(out: &mut impl Write, listing: &RuleListing, detail: Detail) -> io::Result<()> {
    for line in &listing.built_in {
        writeln!(out, "# built in: {line}")?;
    }
    if listing.anchor.is_empty() && listing.origin.is_none() {
        writeln!(out, "# no rules in force: everything else is blocked")?;
    }
    Walk::new(listing, detail).show(&listing.anchor, &mut |depth, line| {
        if detail.verbose == 0 {
            write!(out, "{:1$}", "", 2 * depth)?;
        }
        let (rule, brace) = match line {
            Line::Rule(rule, brace) => (rule, brace),
            Line::Child(name) => return writeln!(out, "anchor \"{name}\" all {{"),
            Line::End => return writeln!(out, "}}"),
        };
        if detail.verbose > 0 || detail.debug {
            write!(out, "@{} ", rule.number)?;
        }
        writeln!(out, "{}{}", rule.text, if brace { " {" } else { "" })?;
        if detail.verbose > 0 { counters(out, rule) } else { Ok(()) }
    })
}

fn counters(out: &mut impl Write, rule: &Rule) -> io::Result<()> {
    writeln!(
        out,
        "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
        rule.evaluations,
        rule.packets.iter().sum::<u64>(),
        rule.bytes.iter().sum::<u64>(),
        rule.states
    )?;
    if rule.refused.is_empty() {
        return Ok(());
    }
    write!(out, "  [ Refused:")?;
    for (limit, count) in &rule.refused {
        write!(out, " {limit} {count}")?;
    }
    writeln!(out, " ]")
}

/// The rules that have labels, in the order in which they are printed.
pub(crate) fn labelled(listing: &RuleListing, detail: Detail) -> io::Result<Vec<(usize, &Rule)>> {
    let mut found = Vec::new();
    Walk::new(listing, detail).show(&listing.anchor, &mut |depth, line| {
        if let Line::Rule(rule, _) = line
            && rule.label.is_some()
        {
            found.push((depth, rule));
        }
        Ok(())
    })?;
    Ok(found)
}

/// `-s labels`: label, evaluations, packets, bytes, in packets, in bytes, out packets, out bytes,
/// states made.
pub(crate) fn labels(
    out: &mut impl Write,
    listing: &RuleListing,
    detail: Detail,
) -> io::Result<()> {
    for (depth, rule) in labelled(listing, detail)? {
        if detail.verbose == 0 {
            write!(out, "{:1$}", "", 2 * depth)?;
        }
        let ([packets_in, packets_out], [bytes_in, bytes_out]) = (rule.packets, rule.bytes);
        writeln!(
            out,
            "{} {} {} {} {packets_in} {bytes_in} {packets_out} {bytes_out} {}",
            rule.label.as_deref().unwrap_or_default(),
            rule.evaluations,
            packets_in + packets_out,
            bytes_in + bytes_out,
            rule.states_total
        )?;
    }
    Ok(())
}

/// `-s Anchors`: those directly in `above`, with `-v` all below and those without a name.
pub(crate) fn anchors(
    out: &mut impl Write,
    paths: &[String],
    above: &str,
    verbose: u8,
) -> io::Result<()> {
    for path in paths {
        let Some(below) = below(path, above) else { continue };
        if verbose > 0 || !below.contains('/') && !path.starts_with('_') {
            writeln!(out, "  {path}")?;
        }
    }
    Ok(())
}

/// What is left of `path` behind the anchor `above`.
fn below<'a>(path: &'a str, above: &str) -> Option<&'a str> {
    if above.is_empty() {
        return Some(path);
    }
    path.strip_prefix(above)?.strip_prefix('/')
}

/// What there is to print.
enum Line<'a> {
    /// A rule, and whether the body of the anchor that it calls follows.
    Rule(&'a Rule, bool),
    /// An anchor that a wildcard found, by its own name; its body follows.
    Child(&'a str),
    /// The end of a body.
    End,
}

/// The way through the rule sets of a listing, in the order in which they are printed.
struct Walk<'a> {
    sets: BTreeMap<&'a str, &'a [Rule]>,
    detail: Detail,
    /// Paths of the bodies that are open.
    open: Vec<&'a str>,
    lines: usize,
}

impl<'a> Walk<'a> {
    fn new(listing: &'a RuleListing, detail: Detail) -> Self {
        let all = std::iter::once(listing).chain(&listing.nested);
        let sets = all.map(|set| (&*set.anchor, &*set.rules)).collect();
        Self { sets, detail, open: Vec::new(), lines: 0 }
    }

    /// Everything, from the rule set that was asked for on.
    fn show(
        &mut self,
        path: &'a str,
        each: &mut impl FnMut(usize, Line<'a>) -> io::Result<()>,
    ) -> io::Result<()> {
        // `-a "web/*"`: an anchor that only has others below.
        if self.detail.recursive && self.rules(path).is_empty() {
            return self.children(path, 0, each);
        }
        self.set(path, 0, each)
    }

    fn rules(&self, path: &str) -> &'a [Rule] {
        self.sets.get(path).copied().unwrap_or_default()
    }

    fn set(
        &mut self,
        path: &'a str,
        depth: usize,
        each: &mut impl FnMut(usize, Line<'a>) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.open.contains(&path) || depth >= MAX_DEPTH {
            return Ok(());
        }
        self.open.push(path);
        for rule in self.rules(path) {
            self.lines += 1;
            if self.lines > MAX_LINES {
                return Err(io::Error::other("the anchors call each other too often to be shown"));
            }
            let call = rule.call.as_ref().filter(|call| {
                let name = call.path.rsplit('/').next().unwrap_or_default();
                self.detail.recursive || !call.wildcard && name.starts_with('_')
            });
            each(depth, Line::Rule(rule, call.is_some()))?;
            if let Some(call) = call {
                if call.wildcard {
                    self.children(&call.path, depth + 1, each)?;
                } else {
                    self.set(&call.path, depth + 1, each)?;
                }
                each(depth, Line::End)?;
            }
        }
        self.open.pop();
        Ok(())
    }

    /// The anchors directly below, as a rule with a wildcard calls them.
    fn children(
        &mut self,
        path: &str,
        depth: usize,
        each: &mut impl FnMut(usize, Line<'a>) -> io::Result<()>,
    ) -> io::Result<()> {
        let children: Vec<_> = self
            .sets
            .keys()
            .copied()
            .filter_map(|set| Some((set, below(set, path)?)))
            .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
            .collect();
        for (set, name) in children {
            each(depth, Line::Child(name))?;
            self.set(set, depth + 1, each)?;
            each(depth, Line::End)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Detail, anchors, labels, rules};
    use crate::protocol::{Call, Rule, RuleListing};

    fn printed(print: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A rule set of these texts; one that begins with `anchor` calls what follows in the pair.
    fn listing(anchor: &str, rules: &[(&str, &str)]) -> RuleListing {
        let rules = (0..)
            .zip(rules)
            .map(|(number, &(text, call))| Rule {
                number,
                text: text.into(),
                call: text.starts_with("anchor").then(|| Call {
                    path: call.trim_end_matches(['/', '*']).into(),
                    wildcard: call.ends_with('*'),
                }),
                ..Rule::default()
            })
            .collect();
        RuleListing {
            anchor: anchor.into(),
            rules,
            origin: Some("x".into()),
            ..RuleListing::default()
        }
    }

    fn office() -> RuleListing {
        let mut main = listing(
            "",
            &[
                ("block drop all", ""),
                ("anchor in on lan all", "_1"),
                ("anchor \"web\" all", "web"),
                ("anchor \"guests/*\" all", "guests/*"),
            ],
        );
        main.nested = vec![
            listing("_1", &[("pass in quick all flags S/SA", "")]),
            listing("guests/a", &[("pass in all flags S/SA", "")]),
            listing("guests/b", &[]),
            listing("guests/b/c", &[("pass out all flags S/SA", "")]),
            listing("web", &[("anchor \"deep\" all", "web/deep"), ("anchor \"/web\" all", "web")]),
            listing("web/deep", &[("pass all flags S/SA", "")]),
        ];
        main
    }

    #[test]
    fn rules_print_as_pf_prints_them() {
        let mut main = listing("", &[("block drop all", "")]);
        main.built_in = vec!["pass quick arp".into()];
        assert_eq!(
            printed(|out| rules(out, &main, Detail::default())),
            "# built in: pass quick arp\nblock drop all\n"
        );
        let verbose = Detail { verbose: 1, ..Detail::default() };
        assert_eq!(
            printed(|out| rules(out, &main, verbose)),
            "# built in: pass quick arp\n@0 block drop all\n  [ Evaluations: 0         Packets: 0  \
             \x20      Bytes: 0           States: 0     ]\n"
        );
        let debug = Detail { debug: true, ..Detail::default() };
        main.built_in.clear();
        assert_eq!(printed(|out| rules(out, &main, debug)), "@0 block drop all\n");
        main.origin = None;
        assert_eq!(
            printed(|out| rules(out, &RuleListing { rules: Vec::new(), ..main }, debug)),
            "# no rules in force: everything else is blocked\n"
        );
    }

    #[test]
    fn anchors_without_a_name_are_always_shown_and_others_with_a_star() {
        assert_eq!(
            printed(|out| rules(out, &office(), Detail::default())),
            "block drop all\nanchor in on lan all {\n  pass in quick all flags S/SA\n}\n\
             anchor \"web\" all\nanchor \"guests/*\" all\n"
        );
        let recursive = Detail { recursive: true, ..Detail::default() };
        let text = "block drop all\n\
                    anchor in on lan all {\n  pass in quick all flags S/SA\n}\n\
                    anchor \"web\" all {\n  anchor \"deep\" all {\n    pass all flags S/SA\n  }\n  \
                    anchor \"/web\" all {\n  }\n}\n\
                    anchor \"guests/*\" all {\n  anchor \"a\" all {\n    pass in all flags S/SA\n  }\n  \
                    anchor \"b\" all {\n  }\n}\n";
        assert_eq!(printed(|out| rules(out, &office(), recursive)), text);
        // As in pfctl, what is verbose is not indented.
        let verbose = Detail { verbose: 1, ..recursive };
        let text = printed(|out| rules(out, &office(), verbose));
        assert!(text.contains("\n@0 pass all flags S/SA\n  [ Evaluations: "), "{text}");
        assert!(text.contains("\n@2 anchor \"web\" all {\n  [ Evaluations: "), "{text}");
    }

    #[test]
    fn anchors_that_only_hold_others_show_those() {
        let mut guests = listing("guests", &[]);
        guests.nested = office().nested;
        let recursive = Detail { recursive: true, ..Detail::default() };
        assert_eq!(
            printed(|out| rules(out, &guests, recursive)),
            "anchor \"a\" all {\n  pass in all flags S/SA\n}\nanchor \"b\" all {\n}\n"
        );
    }

    #[test]
    fn rules_that_call_each_other_end() {
        let mut main = listing("", &[("anchor \"a\" all", "a")]);
        main.nested = vec![
            listing("a", &[("anchor \"/b\" all", "b")]),
            listing("b", &[("anchor \"/a\" all", "a"), ("anchor \"/*\" all", "*")]),
        ];
        let recursive = Detail { recursive: true, ..Detail::default() };
        let text = printed(|out| rules(out, &main, recursive));
        assert!(text.lines().count() < 20, "{text}");
    }

    #[test]
    fn labels_print_as_pf_prints_them() {
        let mut main = office();
        main.rules[0].label = Some("all".into());
        let deep = &mut main.nested[5].rules[0];
        deep.label = Some("web deep".into());
        (deep.evaluations, deep.packets, deep.bytes) = (9, [4, 3], [400, 900]);
        (deep.states, deep.states_total) = (1, 2);
        assert_eq!(printed(|out| labels(out, &main, Detail::default())), "all 0 0 0 0 0 0 0 0\n");
        let recursive = Detail { recursive: true, ..Detail::default() };
        assert_eq!(
            printed(|out| labels(out, &main, recursive)),
            "all 0 0 0 0 0 0 0 0\n    web deep 9 7 1300 4 400 3 900 2\n"
        );
    }

    #[test]
    fn anchors_are_listed_as_pf_lists_them() {
        let paths = ["_1", "guests", "guests/_1", "guests/a", "web", "web/deep"].map(String::from);
        let print = |above, verbose| printed(|out| anchors(out, &paths, above, verbose));
        assert_eq!(print("", 0), "  guests\n  web\n");
        assert_eq!(print("", 1), "  _1\n  guests\n  guests/_1\n  guests/a\n  web\n  web/deep\n");
        assert_eq!(print("guests", 0), "  guests/_1\n  guests/a\n");
        assert_eq!(print("web", 1), "  web/deep\n");
        assert_eq!(print("gue", 1), "");
    }
}
