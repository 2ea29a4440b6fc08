//! A text that is being changed, and where the cursor is in it.

/// The text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// At least one.
    lines: Vec<String>,
    /// Line of the cursor, from 0.
    pub(super) row: usize,
    /// Letters before the cursor in its line.
    pub(super) column: usize,
    /// It differs from what was last written.
    pub(super) changed: bool,
    /// Lines that were cut one after the other.
    cut: Vec<String>,
    /// The last thing done was to cut a line.
    cutting: bool,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.is_empty() {
            lines.push(String::new());
        }
        Self { lines, ..Self::default() }
    }

    /// Whole, each line with its end.
    pub(super) fn whole(&self) -> String {
        let mut text = self.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Where a letter of the cursor's line begins, in bytes.
    fn offset(&self, column: usize) -> usize {
        let line = &self.lines[self.row];
        line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
    }

    fn width(&self) -> usize {
        self.lines[self.row].chars().count()
    }

    fn touch(&mut self) {
        self.changed = true;
        self.cutting = false;
    }

    pub(super) fn insert(&mut self, letter: char) {
        let at = self.offset(self.column);
        self.lines[self.row].insert(at, letter);
        self.column += 1;
        self.touch();
    }

    pub(super) fn break_line(&mut self) {
        let at = self.offset(self.column);
        let rest = self.lines[self.row].split_off(at);
        self.row += 1;
        self.lines.insert(self.row, rest);
        self.column = 0;
        self.touch();
    }

    /// Deletes what is before the cursor.
    pub(super) fn backspace(&mut self) {
        if self.column > 0 || self.row > 0 {
            self.left();
            self.delete();
        }
    }

    /// Deletes what is at the cursor; at the end of a line its end.
    pub(super) fn delete(&mut self) {
        if self.column < self.width() {
            let at = self.offset(self.column);
            self.lines[self.row].remove(at);
        } else if self.row + 1 < self.lines.len() {
            let next = self.lines.remove(self.row + 1);
            self.lines[self.row].push_str(&next);
        } else {
            return;
        }
        self.touch();
    }

    /// Takes the line out; several in a row are kept together.
    pub(super) fn cut(&mut self) {
        if !self.cutting {
            self.cut.clear();
        }
        let line = self.lines.remove(self.row);
        self.cut.push(line);
        if self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.go(self.row, 0);
        self.changed = true;
        self.cutting = true;
    }

    /// Puts what was cut before the cursor's line.
    pub(super) fn paste(&mut self) {
        let count = self.cut.len();
        self.lines.splice(self.row..self.row, self.cut.iter().cloned());
        self.row += count;
        self.column = 0;
        if count > 0 {
            self.touch();
        }
    }

    /// Replaces lines by others.
    pub(super) fn replace(&mut self, range: std::ops::Range<usize>, by: Vec<String>) {
        let last = range.start + by.len();
        self.lines.splice(range, by);
        if self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.go(last.saturating_sub(1), 0);
        self.touch();
    }

    /// Moves the cursor, as far as there is text.
    pub(super) fn go(&mut self, row: usize, column: usize) {
        self.row = row.min(self.lines.len() - 1);
        self.column = column.min(self.width());
        self.cutting = false;
    }

    pub(super) fn left(&mut self) {
        if self.column > 0 {
            self.go(self.row, self.column - 1);
        } else if self.row > 0 {
            self.go(self.row - 1, usize::MAX);
        }
    }

    pub(super) fn right(&mut self) {
        if self.column < self.width() {
            self.go(self.row, self.column + 1);
        } else if self.row + 1 < self.lines.len() {
            self.go(self.row + 1, 0);
        }
    }

    /// Goes to the next place behind the cursor, from the top again if there is none; tells whether
    /// there is one.
    pub(super) fn find(&mut self, sought: &str) -> bool {
        let after = self.offset(self.column + 1).min(self.lines[self.row].len());
        let rest = self.lines[self.row][after..].find(sought).map(|at| (self.row, after + at));
        let count = self.lines.len();
        let found = rest.or_else(|| {
            (1..=count)
                .map(|on| (self.row + on) % count)
                .find_map(|row| self.lines[row].find(sought).map(|at| (row, at)))
        });
        let Some((row, at)) = found else { return false };
        let column = self.lines[row][..at].chars().count();
        self.go(row, column);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_changes_the_text_where_the_cursor_is() {
        let mut text = Text::new("pass\nblöck\n");
        text.go(1, 3);
        text.backspace();
        text.insert('o');
        text.go(0, usize::MAX);
        text.break_line();
        text.insert('x');
        assert_eq!(text.whole(), "pass\nx\nblock\n");
        assert!(text.changed);
        text.go(1, 0);
        text.backspace();
        assert_eq!((text.whole().as_str(), text.row, text.column), ("passx\nblock\n", 0, 4));
        text.go(9, 9);
        text.delete();
        assert_eq!((text.row, text.column), (1, 5), "nothing is behind the end");
    }

    #[test]
    fn lines_are_cut_and_put_elsewhere() {
        let mut text = Text::new("a\nb\nc\n");
        text.cut();
        text.cut();
        assert_eq!(text.whole(), "c\n");
        text.go(1, 0);
        text.go(0, 1);
        text.paste();
        assert_eq!((text.whole().as_str(), text.row), ("a\nb\nc\n", 2));
        for _ in 0..5 {
            text.cut();
        }
        assert_eq!(text.lines().len(), 1, "there is always a line");
    }

    #[test]
    fn searching_begins_anew_at_the_top() {
        let mut text = Text::new("one two\nthree\ntwo\n");
        assert!(text.find("two"));
        assert_eq!((text.row, text.column), (0, 4));
        assert!(text.find("two"));
        assert_eq!((text.row, text.column), (2, 0));
        assert!(text.find("two"));
        assert_eq!((text.row, text.column), (0, 4));
        assert!(!text.find("four"));
        assert_eq!(Text::new("").whole(), "");
    }
}
