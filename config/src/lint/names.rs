//! Names that only one side knows: declared and not used, used and not declared.

use std::collections::{HashMap, HashSet};

use super::subject::Subject;
use super::{Family, Lint, Sink, Words};
use crate::parse::nearest;
use crate::rules::{Address, Rule};
use crate::source::Span;

const UNUSED_TABLE: Lint = Lint {
    name: "unused-table",
    summary: "a table is declared, and no rule asks for it",
    explanation: "\
What is in a table has an effect only through the rules that name it. A table that no rule names is
either left over or its name is misspelt somewhere.

    table <bad> persist { 192.0.2.0/24 }
    block in quick from <bat>",
};

const UNDECLARED_TABLE: Lint = Lint {
    name: "undeclared-table",
    summary: "a rule asks for a table that is declared nowhere",
    explanation: "\
As in pf a table exists as soon as a rule names it, and is empty: the rule matches nothing (with `!`
everything) until somebody adds addresses by hand. More often the name is misspelt.

    table <trusted> { 192.0.2.0/24 }
    pass in on wan from <trustet>

If the table is meant to be filled while weir runs, declare it: `table <trusted> persist`.",
};

const UNUSED_MACRO: Lint = Lint {
    name: "unused-macro",
    summary: "a macro is defined and never used",
    explanation: "\
The value of a macro has an effect only where `$name` stands.

    admin = \"192.0.2.7\"
    pass in on wan proto tcp from 192.0.2.8 to any port ssh      # $admin was meant",
};

const UNUSED_TAG: Lint = Lint {
    name: "unused-tag",
    summary: "a rule gives a tag that no rule asks for",
    explanation: "\
A tag has an effect only through rules with `tagged`.

    match in on lan from $guests tag GUEST
    block out on wan tagged GUESTS                     # GUEST was meant",
};

const TABLE_TWICE: Lint = Lint {
    name: "table-twice",
    summary: "a table is declared twice, and the last declaration holds alone",
    explanation: "\
As in pf a table that is declared again in the same rule set is replaced, silently: entries and
options of the first declaration are lost.

    table <bad> persist { 192.0.2.0/24 }
    table <bad> { 198.51.100.0/24 }                    # 192.0.2.0/24 is not in it

Write all entries into one declaration; several `{ ... }` and `file` may follow each other there.",
};

pub(super) const FAMILY: Family = Family {
    lints: &[TABLE_TWICE, UNUSED_TABLE, UNDECLARED_TABLE, UNUSED_MACRO, UNUSED_TAG],
    check,
};

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    declared_twice(subject, sink);
    tables(subject, sink);
    for unused in subject.notes.macros.iter().filter(|definition| !definition.used) {
        let words =
            Words::new(format!("macro `{}` is never used", unused.name), "its value has no effect");
        sink.span(&UNUSED_MACRO, unused.span, words.help("remove it, or use it"));
    }
    tags(subject, sink);
}

/// The tables that a rule names, with what for.
fn names(rule: &Rule) -> impl Iterator<Item = (&str, bool)> {
    let asked = [&rule.from, &rule.to].map(|end| match &end.address {
        Address::Table(name) => Some(&**name),
        _ => None,
    });
    let filled = rule.state_options.overload.as_ref().map(|overload| &*overload.table);
    asked.into_iter().flatten().map(|name| (name, false)).chain(filled.map(|name| (name, true)))
}

fn tables(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let mut used: HashSet<*const crate::tables::Table> = HashSet::new();
    let mut told: HashSet<&str> = HashSet::new();
    let places = mentions(subject);
    for scope in subject.scopes() {
        for rule in scope.rules {
            for (name, is_overload) in names(rule) {
                if let Some(table) = subject.table(scope.path, name) {
                    used.insert(table);
                } else if told.insert(name) {
                    let at = places.get(name).copied();
                    let span = at.unwrap_or_else(|| subject.span(rule.source));
                    let words = undeclared(subject, name, is_overload, sink.compared());
                    sink.span(&UNDECLARED_TABLE, span, words);
                }
            }
        }
    }
    for rule in &subject.rules.ether {
        let ends = [&rule.l3_from, &rule.l3_to].into_iter().flatten();
        for (_, address) in ends {
            let Address::Table(name) = address else { continue };
            if let Some(table) = subject.table("", name) {
                used.insert(table);
            } else if told.insert(name) {
                let at = places.get(&**name).copied();
                let span = at.unwrap_or_else(|| subject.span(rule.source));
                let words = undeclared(subject, name, false, sink.compared());
                sink.span(&UNDECLARED_TABLE, span, words);
            }
        }
    }
    for scope in subject.scopes() {
        for table in scope.tables {
            // Rules that come into an anchor while weir runs may name it.
            if used.contains(&std::ptr::from_ref(table)) || subject.is_open {
                continue;
            }
            let words = Words::new(
                format!("no rule asks for table <{}>", table.name),
                "what is in it has no effect on any packet",
            );
            sink.at(&UNUSED_TABLE, table.source, words);
        }
    }
}

fn declared_twice(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    let mut declared = HashSet::new();
    for table in &subject.notes.tables {
        if !declared.insert((&*table.anchor, &*table.name)) {
            let words = Words::new(
                format!("table <{}> is declared twice", table.name),
                "this declaration replaces the one before, with its entries",
            );
            sink.span(&TABLE_TWICE, table.span, words.help("put all entries into one"));
        }
    }
}

/// Where each name of a table stands first in a rule.
fn mentions<'s>(subject: &Subject<'s>) -> HashMap<&'s str, Span> {
    let mut places = HashMap::new();
    for mention in &subject.notes.table_uses {
        places.entry(&*mention.name).or_insert(mention.span);
    }
    places
}

fn undeclared(subject: &Subject<'_>, name: &str, is_overload: bool, compared: usize) -> Words {
    let why = if is_overload {
        "it comes into being empty, and goes with the rules that name it"
    } else {
        "it is empty until somebody adds addresses by hand"
    };
    let words = Words::new(format!("table <{name}> is declared nowhere"), why);
    let known = subject.scopes().flat_map(|scope| scope.tables).map(|table| &*table.name);
    match nearest(name, known.take(compared)) {
        Some(near) => words.help(format!("did you mean <{near}>?")),
        None => words.help(format!("declare it: `table <{name}> persist`")),
    }
}

fn tags(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    if subject.is_open {
        return;
    }
    let asked: HashSet<&str> = subject
        .all_rules()
        .filter_map(|rule| rule.tagged.as_ref().map(|tagged| &*tagged.tag))
        .collect();
    let of_rules = subject.all_rules().map(|rule| (&rule.tag, rule.source));
    let of_ether = subject.rules.ether.iter().map(|rule| (&rule.tag, rule.source));
    let mut told: HashSet<&str> = HashSet::new();
    for (tag, source) in of_ether.chain(of_rules) {
        let Some(tag) = tag.as_deref() else { continue };
        if asked.contains(tag) || !told.insert(tag) {
            continue;
        }
        let words = Words::new(
            format!("no rule asks for the tag `{tag}`"),
            "a tag has an effect only through rules with `tagged`",
        );
        let near = nearest(tag, asked.iter().copied().take(sink.compared()));
        sink.at(
            &UNUSED_TAG,
            source,
            match near {
                Some(near) => words.help(format!("did you mean `{near}`?")),
                None => words,
            },
        );
    }
}
