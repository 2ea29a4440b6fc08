//! What `set limit` allows a rule file to hold.

use weir_config::{Defines, SourceFile, beyond_limit, parse_one};

fn beyond(text: &str) -> Option<String> {
    let parsed = parse_one(&SourceFile::new("f", text), &Defines::default());
    beyond_limit(&parsed.rules.unwrap_or_else(|| panic!("{}", parsed.diagnostics)))
}

#[test]
fn tables_entries_and_anchors_are_counted_over_all_anchors() {
    let text =
        "table <a> { 10.0.0.1 10.0.0.2 }\ntable <b>\nanchor \"x\" {\ntable <c> { ::1 }\npass\n}\n";
    assert_eq!(beyond(text), None);
    assert_eq!(
        beyond(&format!("set limit {{ tables 3 table-entries 3 anchors 1 }}\n{text}")),
        None
    );
    assert_eq!(
        beyond(&format!("set limit tables 2\n{text}")).as_deref(),
        Some("the rule set has 3 tables, and 2 are allowed: raise `set limit tables`")
    );
    assert_eq!(
        beyond(&format!("set limit table-entries 2\n{text}")).as_deref(),
        Some(
            "the rule set has 3 table entries, and 2 are allowed: raise `set limit table-entries`"
        )
    );
    assert_eq!(
        beyond(&format!("set limit anchors 0\n{text}")).as_deref(),
        Some("the rule set has 1 anchors, and 0 are allowed: raise `set limit anchors`")
    );
}
