//! What has changed on the screen, written to the terminal: cursor positions, bold and reverse, which a
//! VT100 knows as well as today's emulators (ECMA-48, sections 8.3.21, 8.3.39 and 8.3.117).

use std::io::{self, Write};

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::Modifier;

/// A terminal of a known size.
pub(super) struct Paint<W: Write> {
    out: W,
    size: Size,
    /// Whether the cursor can be hidden, as private modes do.
    hides: bool,
    hidden: bool,
}

impl<W: Write> Paint<W> {
    /// Nothing is written yet.
    pub(super) const fn new(out: W, (columns, rows): (u16, u16), hides: bool) -> Self {
        Self { out, size: Size::new(columns, rows), hides, hidden: false }
    }
}

/// Starts what stands out so, from whatever was before.
fn attributes(out: &mut impl Write, modifier: Modifier) -> io::Result<()> {
    out.write_all(b"\x1b[m")?;
    if modifier.contains(Modifier::BOLD) {
        out.write_all(b"\x1b[1m")?;
    }
    if modifier.contains(Modifier::REVERSED) {
        out.write_all(b"\x1b[7m")?;
    }
    Ok(())
}

impl<W: Write> Backend for Paint<W> {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut behind, mut shown) = (None, Modifier::empty());
        for (column, row, cell) in content {
            if behind != Some((column, row)) {
                write!(self.out, "\x1b[{};{}H", row + 1, column + 1)?;
            }
            if cell.modifier != shown {
                shown = cell.modifier;
                attributes(&mut self.out, shown)?;
            }
            self.out.write_all(cell.symbol().as_bytes())?;
            // Where the cursor stands behind the last column terminals do not agree about.
            behind = Some((column + 1, row)).filter(|(next, _)| *next < self.size.width);
        }
        if !shown.is_empty() {
            attributes(&mut self.out, Modifier::empty())?;
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        if self.hides && !std::mem::replace(&mut self.hidden, true) {
            self.out.write_all(b"\x1b[?25l")?;
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.hidden) {
            self.out.write_all(b"\x1b[?25h")?;
        }
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        // To go back there, when the screen is cleared; asking the terminal would mix its answer with keys.
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        write!(self.out, "\x1b[{};{}H", y + 1, x + 1)
    }

    fn clear(&mut self) -> io::Result<()> {
        self.out.write_all(b"\x1b[m\x1b[H\x1b[2J")
    }

    fn clear_region(&mut self, what: ClearType) -> io::Result<()> {
        self.out.write_all(match what {
            ClearType::All => b"\x1b[2J",
            ClearType::AfterCursor => b"\x1b[0J",
            ClearType::BeforeCursor => b"\x1b[1J",
            ClearType::CurrentLine => b"\x1b[2K",
            ClearType::UntilNewLine => b"\x1b[0K",
        })
    }

    fn size(&self) -> io::Result<Size> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: self.size, pixels: Size::ZERO })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::{Modifier, Style};
    use ratatui::text::{Line, Text};
    use ratatui::{Terminal, TerminalOptions, Viewport};

    use super::Paint;

    /// What is written for some frames of 8 columns and 3 rows; the second row is reverse.
    fn written(frames: &[[&str; 3]], hides: bool) -> String {
        let mut out = Vec::new();
        let viewport = Viewport::Fixed(Rect::new(0, 0, 8, 3));
        let paint = Paint::new(&mut out, (8, 3), hides);
        let mut terminal = Terminal::with_options(paint, TerminalOptions { viewport }).unwrap();
        terminal.clear().unwrap();
        for rows in frames {
            let reverse = Style::new().add_modifier(Modifier::REVERSED);
            let styles = [Style::new(), reverse, Style::new()];
            let text: Text<'_> =
                rows.iter().zip(styles).map(|(row, style)| Line::styled(*row, style)).collect();
            terminal.draw(|frame| frame.render_widget(text, frame.area())).unwrap();
        }
        drop(terminal);
        let text = String::from_utf8(out).unwrap();
        let (_, drawn) = text.split_once("\u{1b}[0J\u{1b}[1;1H").expect("cleared");
        drawn.to_owned()
    }

    #[test]
    fn what_a_vt100_does_not_know_is_not_written() {
        let first = ["ab", "full row", "\u{1b}[31mx"];
        let text = written(&[first], false);
        assert_eq!(
            text, "\u{1b}[1;1Hab\u{1b}[2;1H\u{1b}[m\u{1b}[7mfull row\u{1b}[3;1H\u{1b}[m[31mx",
            "of the label's escape sequence the letters are left"
        );
        assert!(written(&[first], true).contains("\u{1b}[?25l"));
    }

    #[test]
    fn what_stays_is_not_written_again() {
        let text = written(&[["ab", "x", ""], ["ac", "x", ""], ["ac", "x", ""]], false);
        assert_eq!(text, "\u{1b}[1;1Hab\u{1b}[2;1H\u{1b}[m\u{1b}[7mx       \u{1b}[m\u{1b}[1;2Hc");
    }
}
