//! Two rule sets beside each other: their files as text, and their rules written out, with those
//! that only stand somewhere else told from those that came and went.

use std::collections::HashMap;
use std::fmt::{self, Write};

use serde::Serialize;

use super::lines::{Step, steps, unified};
use crate::protocol::{Expanded, Load};

/// One of the two.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    /// What it is called.
    pub(super) title: String,
    /// What makes it.
    pub(super) loads: Vec<Load>,
    /// Its rules, by anchor.
    pub(super) rules: Vec<Expanded>,
    /// Why there are none.
    pub(super) refused: Option<String>,
    /// It is a rule file alone: what else is loaded into anchors is no part of it.
    pub(super) is_file: bool,
}

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// The files, as `diff -u` prints them.
    pub(super) text: String,
    /// The rules.
    pub(super) rules: Vec<RuleChange>,
    /// What could not be compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
}

/// A rule that is not where it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct RuleChange {
    /// Path of its anchor.
    #[serde(skip_serializing_if = "String::is_empty")]
    anchor: String,
    /// Its number in the old rule set; absent if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<u32>,
    /// Its number in the new one; absent if it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<u32>,
    /// As `-s rules` prints it.
    rule: String,
}

impl Difference {
    pub(super) fn between(old: &Version, new: &Version) -> Self {
        let mut difference = Self::default();
        for version in [old, new] {
            if let Some(refused) = &version.refused {
                let text = format!("{} would be refused today: {refused}", version.title);
                difference.notes.push(text);
            }
        }
        let alone = old.is_file || new.is_file;
        difference.text = texts(old, new, alone);
        if old.refused.is_none() && new.refused.is_none() {
            difference.rules = rules(old, new, alone);
        }
        difference
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.rules.is_empty() && self.notes.is_empty()
    }
}

/// The files, those of the same name beside each other; the rule files of the main rule set, whatever
/// they are called.
fn texts(old: &Version, new: &Version, alone: bool) -> String {
    let (old_files, new_files) = (files(old, alone), files(new, alone));
    let mut names: Vec<&str> = old_files.iter().map(|(name, ..)| &**name).collect();
    names.extend(new_files.iter().map(|(name, ..)| &**name));
    let mut out = String::new();
    let mut seen = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let of = |version: &Version, files: &[(String, String, String)]| {
            let file = files.iter().find(|(key, ..)| key == name);
            match file {
                Some((_, called, text)) => (format!("{}: {called}", version.title), text.clone()),
                None => (format!("{}: no such file", version.title), String::new()),
            }
        };
        let ((old_name, old_text), (new_name, new_text)) =
            (of(old, &old_files), of(new, &new_files));
        out.push_str(&unified([&old_name, &new_name], &old_text, &new_text));
    }
    out
}

/// What a file is paired by, what it is called, and what is in it.
fn files(version: &Version, alone: bool) -> Vec<(String, String, String)> {
    let mut files = Vec::new();
    for load in version.loads.iter().filter(|load| !alone || load.anchor.is_empty()) {
        let within = if load.anchor.is_empty() {
            format!("{:?}", load.part)
        } else {
            format!("anchor {}", load.anchor)
        };
        if !load.macros.is_empty() {
            let text: String = load.macros.iter().flat_map(|line| [line, "\n"]).collect();
            files.push((format!("{within} -D"), "macros of -D".into(), text));
        }
        for (at, source) in load.sources.iter().enumerate() {
            // The rule file is the first.
            let key = if at == 0 { within.clone() } else { format!("{within} {}", source.name) };
            let called = match &*load.anchor {
                "" => source.name.clone(),
                anchor => format!("{} (anchor {anchor})", source.name),
            };
            files.push((key, called, source.text.clone()));
        }
    }
    files
}

/// The rules that came, went or moved, by anchor. What was loaded into anchors stays when a rule file
/// is put in force, but where the file has rules for them itself.
fn rules(old: &Version, new: &Version, alone: bool) -> Vec<RuleChange> {
    let filled = |anchor: &str| {
        let files = [old, new].into_iter().filter(|version| version.is_file);
        files.flat_map(|file| &file.rules).any(|set| set.anchor == anchor && !set.rules.is_empty())
    };
    let loaded = |anchor: &str| {
        let loads = old.loads.iter().chain(&new.loads);
        let mut others = loads.map(|load| &*load.anchor).filter(|path| !path.is_empty());
        others.any(|path| {
            anchor == path || anchor.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let mut anchors: Vec<&str> =
        old.rules.iter().chain(&new.rules).map(|set| &*set.anchor).collect();
    anchors.sort_unstable();
    anchors.dedup();
    let of = |version: &Version, anchor: &str| {
        let set = version.rules.iter().find(|set| set.anchor == anchor);
        set.map(|set| set.rules.clone()).unwrap_or_default()
    };
    let mut changes = Vec::new();
    for anchor in anchors.into_iter().filter(|anchor| !alone || !loaded(anchor) || filled(anchor)) {
        changes.extend(moved(anchor, &of(old, anchor), &of(new, anchor)));
    }
    changes
}

/// The changes within one anchor: a rule that goes here and comes there has moved.
fn moved(anchor: &str, old: &[String], new: &[String]) -> Vec<RuleChange> {
    let change = |from: Option<usize>, to: Option<usize>, rule: &str| RuleChange {
        anchor: anchor.to_owned(),
        from: from.map(|at| at as u32),
        to: to.map(|at| at as u32),
        rule: rule.to_owned(),
    };
    let script = steps(old, new);
    let mut gone: HashMap<&str, Vec<usize>> = HashMap::new();
    for step in script.iter().rev() {
        if let Step::Removed(at) = *step {
            gone.entry(&old[at]).or_default().push(at);
        }
    }
    let mut came = HashMap::new();
    for step in &script {
        if let Step::Added(to) = *step
            && let Some(from) = gone.get_mut(&*new[to]).and_then(Vec::pop)
        {
            came.insert(to, from);
        }
    }
    let moved: Vec<usize> = came.values().copied().collect();
    script
        .into_iter()
        .filter_map(|step| match step {
            Step::Same(..) => None,
            Step::Removed(at) if moved.contains(&at) => None,
            Step::Removed(at) => Some(change(Some(at), None, &old[at])),
            Step::Added(to) => Some(change(came.get(&to).copied(), Some(to), &new[to])),
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        f.write_str(&self.text)?;
        if self.rules.is_empty() {
            return Ok(());
        }
        if !self.text.is_empty() {
            f.write_char('\n')?;
        }
        let mut anchor = None;
        for change in &self.rules {
            if anchor != Some(&change.anchor) {
                match &*change.anchor {
                    "" => f.write_str("rules:\n")?,
                    path => writeln!(f, "rules of anchor \"{path}\":")?,
                }
                anchor = Some(&change.anchor);
            }
            match (change.from, change.to) {
                (Some(from), None) => writeln!(f, "- @{from} {}", change.rule)?,
                (Some(from), Some(to)) => writeln!(f, "~ @{from} to @{to} {}", change.rule)?,
                (None, to) => writeln!(f, "+ @{} {}", to.unwrap_or(0), change.rule)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, Version};
    use crate::protocol::{Expanded, Load, Source};

    fn version(title: &str, text: &str, rules: &[&str]) -> Version {
        let sources = vec![Source { name: format!("{title}.conf"), text: text.into() }];
        let rules = rules.iter().map(ToString::to_string).collect();
        Version {
            title: title.into(),
            loads: vec![Load { sources, ..Load::default() }],
            rules: vec![Expanded { anchor: String::new(), rules }],
            ..Version::default()
        }
    }

    #[test]
    fn rules_that_came_went_and_moved_are_told_apart() {
        let rules = ["pass in", "block", "match", "pass out", "block in"];
        let old = version("1", "a\n", &rules);
        let new = version("2", "b\n", &["block", "match", "pass out", "pass in", "block out"]);
        assert_eq!(
            Difference::between(&old, &new).to_string(),
            "--- 1: 1.conf\n+++ 2: 2.conf\n@@ -1 +1 @@\n-a\n+b\n\nrules:\n- @4 block in\n\
             ~ @0 to @3 pass in\n+ @4 block out\n"
        );
        assert!(Difference::between(&old, &old).is_empty());
    }

    #[test]
    fn a_file_is_compared_without_what_was_loaded_into_anchors() {
        let mut running = version("running", "pass\n", &["pass all"]);
        let sources = vec![Source { name: "web.conf".into(), text: "block\n".into() }];
        running.loads.push(Load { sources, anchor: "web".into(), ..Load::default() });
        running.rules.push(Expanded { anchor: "web".into(), rules: vec!["block".into()] });
        let mut file = version("file", "pass\n", &["pass all"]);
        let difference = Difference::between(&running, &file);
        assert!(difference.to_string().contains("no such file"), "{difference}");
        file.is_file = true;
        assert!(Difference::between(&running, &file).is_empty());
        // Unless it has rules of its own for it.
        file.rules.push(Expanded { anchor: "web".into(), rules: vec!["pass".into()] });
        let difference = Difference::between(&running, &file).to_string();
        assert!(difference.contains("\"web\":\n- @0 block\n+ @0 pass\n"), "{difference}");
    }

    #[test]
    fn what_would_be_refused_is_compared_as_text() {
        let old = Version { refused: Some("1:1: no".into()), ..version("1", "a\n", &[]) };
        let difference = Difference::between(&old, &version("2", "a\n", &["pass"]));
        assert_eq!(difference.to_string(), "# 1 would be refused today: 1:1: no\n");
    }
}
