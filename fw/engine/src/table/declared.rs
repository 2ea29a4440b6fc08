//! The tables of a rule set as its file declares them: what a freshly started weir has, and what
//! `weir explain` and `weir test` go by.

use std::sync::Arc;

use weir_config::rules::RuleSet;
use weir_config::tables::Table as Declaration;

use super::{Editor, Full, Tables};
use crate::ruleset::{Program, TableName};
use crate::time::Instant;

impl Tables {
    /// The contents of [`Program::tables`] as declared; tables that are not declared are empty.
    ///
    /// # Errors
    /// When a table has more entries than any can have.
    pub fn declared(program: &Program, now: Instant) -> Result<Self, Full> {
        let tables = (0..).zip(program.tables()).map(|(uid, name)| {
            let declared = declaration(program.rules(), name);
            let mut editor = Editor::new(uid, declared.is_some_and(|table| table.counters), now);
            if let Some(entries) = declared.and_then(|table| table.entries.as_ref()) {
                editor.add(now, entries, u32::MAX)?;
            }
            Ok(Arc::clone(editor.table()))
        });
        tables.collect::<Result<_, Full>>().map(Self::new)
    }
}

/// Where a table is declared.
fn declaration<'a>(set: &'a RuleSet, name: &TableName) -> Option<&'a Declaration> {
    let tables = match name.anchor.as_str() {
        "" => &set.tables,
        path => &set.anchors.get(path)?.tables,
    };
    tables.iter().find(|table| table.name == name.name)
}
