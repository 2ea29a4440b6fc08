//! The shell's own editor. It changes one text that it is given and knows no file and no command:
//! whoever gives the text takes it back, checked.

mod lines;
mod screen;
mod text;

use std::io;

use self::text::Text;
use super::child::Interrupts;
use super::terminal::{Manner, Terminal};

/// Something that is said of the text when it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// Its line, from 1; none if it is about the whole.
    pub(crate) line: Option<usize>,
    /// From 1, in letters.
    pub(crate) column: usize,
    /// What is to be said.
    pub(crate) message: String,
}

/// How writing went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The text is kept.
    pub(crate) kept: bool,
    /// Errors if it is not, else warnings.
    pub(crate) notes: Vec<Note>,
}

/// Who takes the text, and guards the screen.
pub(crate) trait Desk {
    /// What the text is called.
    fn title(&self) -> &str;

    /// Checks the text and keeps it if it is right.
    fn write(&mut self, text: &str) -> Written;

    /// How long the editor may wait for a key until [`Desk::lock`] is called.
    fn idle(&self) -> Option<std::time::Duration>;

    /// Nobody seems to be there. Returns when somebody is again.
    fn lock(&mut self) -> io::Result<()>;
}

/// Edits a text until its author leaves.
pub(crate) fn edit(
    terminal: &Terminal,
    interrupts: &Interrupts,
    text: &str,
    desk: &mut dyn Desk,
) -> io::Result<()> {
    let text = Text::new(text);
    match terminal.manner {
        Manner::Dumb => lines::edit(terminal, interrupts, text, desk),
        Manner::Vt100 | Manner::Full => screen::edit(terminal, text, desk),
    }
}
