//! The editor on a screen with a cursor: a title, the text, a line for what is to be said and one
//! with the keys. Only rows that differ are written again, since the line may be slow.

use std::fmt::Write as _;
use std::io;

use unicode_width::UnicodeWidthChar;

use super::super::keys::{Key, Keys};
use super::super::pager::printable;
use super::super::terminal::{Terminal, write};
use super::text::Text;
use super::{Desk, Note};

/// The bottom line.
const KEYS: &str = "^W write  ^X leave  ^F find  ^K cut line  ^U paste  ^G next note  ^L redraw";

struct Screen<'t, 'd> {
    terminal: &'t Terminal,
    keys: Keys<'t>,
    desk: &'d mut dyn Desk,
    text: Text,
    /// First line that is shown, and first column.
    top: usize,
    left: usize,
    message: String,
    notes: Vec<Note>,
    /// The note that `^G` shows next.
    next: usize,
    sought: String,
    /// What the rows show now.
    shown: Vec<String>,
    /// Columns and rows of the screen that shows it.
    size: (u16, u16),
}

/// Edits until the author leaves.
pub(super) fn edit(terminal: &Terminal, text: Text, desk: &mut dyn Desk) -> io::Result<()> {
    let raw = terminal.raw();
    let keys = Keys::new(terminal);
    let mut screen = Screen {
        terminal,
        keys,
        desk,
        text,
        top: 0,
        left: 0,
        message: String::new(),
        notes: Vec::new(),
        next: 0,
        sought: String::new(),
        shown: Vec::new(),
        size: terminal.size(),
    };
    let edited = screen.run();
    let _ = write("\x1b[m\x1b[H\x1b[2J");
    drop(raw);
    edited
}

impl Screen<'_, '_> {
    fn run(&mut self) -> io::Result<()> {
        write("\x1b[m\x1b[H\x1b[2J")?;
        loop {
            self.draw()?;
            let Some(key) = self.key()? else { return Ok(()) };
            self.message.clear();
            if key == Key::Ctrl('x') {
                if self.may_leave()? {
                    return Ok(());
                }
            } else {
                self.press(key)?;
            }
        }
    }

    /// The next key; `None` if the terminal is gone. While none comes somebody else may sit down.
    fn key(&mut self) -> io::Result<Option<Key>> {
        loop {
            let idle = self.desk.idle();
            match self.keys.next(idle)? {
                None if idle.is_some() => {
                    write("\x1b[m\x1b[H\x1b[2J")?;
                    self.terminal.settle();
                    self.desk.lock()?;
                    self.terminal.unsettle();
                    write("\x1b[m\x1b[H\x1b[2J")?;
                    self.shown.clear();
                    self.draw()?;
                }
                key => return Ok(key),
            }
        }
    }

    fn press(&mut self, key: Key) -> io::Result<()> {
        let page = usize::from(self.terminal.size().1).saturating_sub(4).max(1);
        let Text { row, column, .. } = self.text;
        match key {
            Key::Letter(letter) => self.text.insert(letter),
            Key::Tab => self.text.insert('\t'),
            Key::Enter => self.text.break_line(),
            Key::Backspace => self.text.backspace(),
            Key::Delete | Key::Ctrl('d') => self.text.delete(),
            Key::Up | Key::Ctrl('p') => self.text.go(row.saturating_sub(1), column),
            Key::Down | Key::Ctrl('n') => self.text.go(row + 1, column),
            Key::Left | Key::Ctrl('b') => self.text.left(),
            Key::Right => self.text.right(),
            Key::Home | Key::Ctrl('a') => self.text.go(row, 0),
            Key::End | Key::Ctrl('e') => self.text.go(row, usize::MAX),
            Key::PageUp | Key::Ctrl('y') => self.text.go(row.saturating_sub(page), column),
            Key::PageDown | Key::Ctrl('v') => self.text.go(row + page, column),
            Key::Ctrl('k') => self.text.cut(),
            Key::Ctrl('u') => self.text.paste(),
            Key::Ctrl('w' | 's') => self.write()?,
            Key::Ctrl('f') => self.find()?,
            Key::Ctrl('g') => self.note(),
            Key::Ctrl('l') => {
                self.shown.clear();
                write("\x1b[m\x1b[H\x1b[2J")?;
            }
            Key::Ctrl(_) | Key::Escape | Key::Other => {
                self.message = "Ctrl-X leaves the editor, Ctrl-W writes the text".into();
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.message = "checking...".into();
        self.draw()?;
        let written = self.desk.write(&self.text.whole());
        self.text.changed &= !written.kept;
        self.notes = written.notes;
        self.next = 0;
        let count = self.notes.len();
        match (written.kept, count) {
            (true, 0) => self.message = "written".into(),
            (true, _) => {
                self.note();
                self.message.insert_str(0, "written, but: ");
            }
            (false, _) => {
                self.note();
                self.message.insert_str(0, "NOT written: ");
            }
        }
        Ok(())
    }

    /// Goes to the next note.
    fn note(&mut self) {
        let Some(note) = self.notes.get(self.next) else {
            self.message = "there are no notes".into();
            return;
        };
        if let Some(line) = note.line {
            self.text.go(line.saturating_sub(1), note.column.saturating_sub(1));
        }
        let count = self.notes.len();
        self.message = match count {
            1 => note.message.clone(),
            _ => format!("({}/{count}) {}", self.next + 1, note.message),
        };
        self.next = (self.next + 1) % count;
    }

    fn may_leave(&mut self) -> io::Result<bool> {
        if !self.text.changed {
            return Ok(true);
        }
        loop {
            self.message = "The text is not written. Write it? y: yes, n: no, c: cancel".into();
            self.draw()?;
            match self.key()? {
                Some(Key::Letter('y' | 'Y')) => {
                    self.write()?;
                    return Ok(!self.text.changed);
                }
                None | Some(Key::Letter('n' | 'N')) => return Ok(true),
                Some(Key::Letter('c' | 'C') | Key::Ctrl('c') | Key::Escape) => {
                    self.message.clear();
                    return Ok(false);
                }
                Some(_) => {}
            }
        }
    }

    fn find(&mut self) -> io::Result<()> {
        let mut typed = String::new();
        loop {
            self.message = if self.sought.is_empty() {
                format!("find: {typed}")
            } else {
                format!("find [{}]: {typed}", self.sought)
            };
            self.draw()?;
            match self.key()? {
                Some(Key::Letter(letter)) => typed.push(letter),
                Some(Key::Backspace) => drop(typed.pop()),
                Some(Key::Enter) => break,
                Some(Key::Ctrl('c') | Key::Escape) | None => {
                    self.message.clear();
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        if !typed.is_empty() {
            self.sought = typed;
        }
        self.message.clear();
        if self.sought.is_empty() || !self.text.find(&self.sought) {
            self.message = "not found".into();
        }
        Ok(())
    }

    /// Brings the screen up to date.
    fn draw(&mut self) -> io::Result<()> {
        let size = self.terminal.size();
        if size != self.size {
            self.size = size;
            self.shown.clear();
            write("\x1b[m\x1b[H\x1b[2J")?;
        }
        let (columns, rows) = (usize::from(size.0), usize::from(size.1));
        let height = rows - 3;
        self.top = self.top.min(self.text.row).max((self.text.row + 1).saturating_sub(height));
        let line = &self.text.lines()[self.text.row];
        let before: String = line.chars().take(self.text.column).collect();
        let at = printable(&before).1;
        if at < self.left || at >= self.left + columns {
            self.left = (at + 1).saturating_sub(columns / 2);
        }
        let mut wanted = Vec::with_capacity(rows);
        let mark = if self.text.changed { " (changed)" } else { "" };
        let place = format!("line {} of {}", self.text.row + 1, self.text.lines().len());
        let title = format!(" {}{mark}  {place}", self.desk.title());
        wanted.push(format!("\x1b[7m{}\x1b[m", clipped(&title, 0, columns - 1)));
        for row in self.top..self.top + height {
            let line = self.text.lines().get(row).map_or("~", String::as_str);
            wanted.push(clipped(line, self.left, columns));
        }
        wanted.push(clipped(&self.message, 0, columns - 1));
        wanted.push(format!("\x1b[7m{}\x1b[m", clipped(KEYS, 0, columns - 1)));
        let mut out = String::new();
        for (row, line) in wanted.iter().enumerate() {
            if self.shown.get(row) != Some(line) {
                // Erased first: behind a full row the cursor stands on its last letter.
                let _ = write!(out, "\x1b[{};1H\x1b[K{line}", row + 1);
            }
        }
        self.shown = wanted;
        let (y, x) = (self.text.row - self.top + 2, at - self.left + 1);
        let _ = write!(out, "\x1b[{y};{x}H");
        write(&out)
    }
}

/// What fits of a line, from a column on.
fn clipped(line: &str, left: usize, columns: usize) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for letter in printable(line).0.chars() {
        let width = letter.width().unwrap_or(0);
        if at >= left && at + width <= left + columns {
            text.push(letter);
        }
        at += width;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::clipped;

    #[test]
    fn lines_are_clipped_to_the_screen() {
        assert_eq!(clipped("abcdef", 2, 3), "cde");
        assert_eq!(clipped("a\tb", 0, 9), "a       b");
        assert_eq!(clipped("日本語", 0, 5), "日本");
    }
}
