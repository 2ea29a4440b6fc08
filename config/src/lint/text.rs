//! What goes wrong between the words.

use super::subject::Subject;
use super::{Family, Lint, Sink, Words};

const COMMENT_CONTINUES: Lint = Lint {
    name: "comment-continues",
    summary: "a comment ends with a backslash and swallows the next line",
    explanation: "\
A backslash at the end of a line continues it, in a comment too: the next line is part of the comment
and has no effect.

    # office hours only \\
    block in on wan          # a comment as well

Remove the backslash.",
};

pub(super) const FAMILY: Family = Family { lints: &[COMMENT_CONTINUES], check };

fn check(subject: &Subject<'_>, sink: &mut Sink<'_>) {
    for comment in subject.notes.continued_comments.iter().filter(|comment| comment.swallows) {
        let words = Words::new(
            "the comment goes on in the next line, which therefore has no effect",
            "a backslash at the end of a line continues it, in comments too",
        )
        .help("remove the backslash");
        sink.span(&COMMENT_CONTINUES, comment.span, words);
    }
}
