//! What is looked at, and what keys do to it.

use super::lists::{HOST_ORDERS, REASON_ORDERS, RULE_ORDERS};
use crate::console::keys::Key;
use crate::protocol::StateOrder;
use crate::query::STATE_ORDERS;

/// What can be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Page {
    #[default]
    Overview,
    States,
    Hosts,
    Rules,
    Reasons,
    Help,
}

/// The keys, in words.
pub(super) const HELP: &str = "\
1          overview: ports, phases, hosts, rules, reasons, limits, workers
2          states        3  hosts        4  rules        5  drop reasons

up down    choose; page up, page down, home, end: further
/          filter: on states by criteria as behind `weirctl -s states`,
           elsewhere by a part of the text; an empty one shows all again
s          sort by something else
d          destinations instead of sources, and back
space      freeze the screen, and go on
k          remove the chosen state, after a question
b          put the source of the chosen state, or the chosen host, into a table,
           after a question
r          ask the daemon now
q          leave";

impl Page {
    /// The last row of the page.
    pub(super) const fn keys(self) -> &'static str {
        match self {
            Self::Overview | Self::Help => {
                "1 overview  2 states  3 hosts  4 rules  5 drops  space freeze  h help  q quit"
            }
            Self::States => {
                "1-5 pages  / filter  s sort  k kill  b block  space freeze  h help  q quit"
            }
            Self::Hosts => {
                "1-5 pages  / filter  s sort  d to/from  b block  space freeze  h help  q quit"
            }
            Self::Rules | Self::Reasons => {
                "1-5 pages  / filter  s sort  space freeze  h help  q quit"
            }
        }
    }

    /// What its list can be sorted by.
    const fn orders(self) -> &'static [&'static str] {
        match self {
            // Who uses the line now is what most want to know.
            Self::States => &["rate", "bytes", "packets", "age", "idle", "expires"],
            Self::Hosts => HOST_ORDERS,
            Self::Rules => RULE_ORDERS,
            Self::Reasons => REASON_ORDERS,
            Self::Overview | Self::Help => &[],
        }
    }
}

/// What is looked at.
#[derive(Debug)]
pub(super) struct View {
    pub(super) page: Page,
    /// The row of the page's list that is chosen.
    pub(super) selected: usize,
    pub(super) frozen: bool,
    /// What the list of each page is sorted by, among its orders.
    pub(super) sorts: [usize; 6],
    /// Hosts are destinations.
    pub(super) destinations: bool,
    /// Of each page.
    pub(super) filters: [String; 6],
    pub(super) asked: Option<Asked>,
    /// What came of the last thing that was done.
    pub(super) told: Option<String>,
    /// The table that sources are put into, as it was named last.
    pub(super) table: String,
}

impl Default for View {
    fn default() -> Self {
        Self {
            page: Page::Overview,
            selected: 0,
            frozen: false,
            sorts: [0; 6],
            destinations: false,
            filters: Default::default(),
            asked: None,
            told: None,
            table: String::new(),
        }
    }
}

/// A question, and what was typed so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) what: Question,
    pub(super) typed: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Filter,
    /// Whether to remove the state of this id; described.
    Kill(String, String),
    /// Which table to put an address into.
    Table(String),
    /// Whether to put an address into a table.
    Block(String, String),
}

impl Asked {
    /// As the screen shows it.
    pub(super) fn line(&self) -> String {
        match &self.what {
            Question::Filter => format!("filter: {}_", self.typed),
            Question::Kill(_, state) => format!("remove {state}? (y/n)"),
            Question::Table(address) => format!("put {address} into the table: {}_", self.typed),
            Question::Block(address, table) => format!("put {address} into <{table}>? (y/n)"),
        }
    }
}

/// What a key asks for beyond the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    Quit,
    Refresh,
    /// Another list of states is wanted.
    Requery,
    /// Ask whether to remove the chosen state.
    Kill,
    /// Ask where to put the chosen host.
    Block,
    /// Remove the state of this id.
    Remove(String),
    /// Put an address into a table.
    Add(String, String),
}

impl View {
    /// The filter of the page.
    pub(super) fn filter(&self) -> &str {
        &self.filters[self.page as usize]
    }

    /// What the list of the page is sorted by.
    pub(super) fn order(&self) -> &'static str {
        let orders = self.page.orders();
        orders.get(self.sorts[self.page as usize]).copied().unwrap_or_default()
    }

    /// The order of the states.
    pub(super) fn state_order(&self) -> Option<StateOrder> {
        let name = Page::States.orders()[self.sorts[Page::States as usize]];
        STATE_ORDERS.iter().find(|(known, _)| *known == name).map(|(_, order)| *order)
    }

    /// Takes a key. `rows` is how many a list has on the screen.
    pub(super) fn key(&mut self, key: Key, rows: usize) -> Wish {
        self.told = None;
        if let Some(asked) = self.asked.take() {
            return self.answer(asked, key);
        }
        let page = |number| match number {
            '1' => Page::Overview,
            '2' => Page::States,
            '3' => Page::Hosts,
            '4' => Page::Rules,
            _ => Page::Reasons,
        };
        match key {
            Key::Letter('q') | Key::Ctrl('c' | 'd') => return Wish::Quit,
            Key::Escape if self.page == Page::Help => self.turn(Page::Overview),
            Key::Letter('h' | '?') => self.turn(Page::Help),
            Key::Letter(number @ '1'..='5') => {
                self.turn(page(number));
                return Wish::Refresh;
            }
            Key::Letter(' ' | 'f') => self.frozen = !self.frozen,
            Key::Letter('r') => return Wish::Refresh,
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected += 1,
            Key::PageUp => self.selected = self.selected.saturating_sub(rows),
            Key::PageDown => self.selected += rows,
            Key::Home => self.selected = 0,
            Key::End => self.selected = usize::MAX,
            Key::Letter('/') if !matches!(self.page, Page::Overview | Page::Help) => {
                self.asked =
                    Some(Asked { what: Question::Filter, typed: self.filter().to_owned() });
            }
            Key::Letter('s') => {
                let orders = self.page.orders();
                self.sorts[self.page as usize] += 1;
                self.sorts[self.page as usize] %= orders.len().max(1);
                self.selected = 0;
                return if self.page == Page::States { Wish::Requery } else { Wish::Nothing };
            }
            Key::Letter('d') if self.page == Page::Hosts => {
                self.destinations = !self.destinations;
                self.selected = 0;
            }
            Key::Letter('k') if self.page == Page::States => return Wish::Kill,
            Key::Letter('b') if matches!(self.page, Page::States | Page::Hosts) => {
                return Wish::Block;
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn turn(&mut self, page: Page) {
        self.page = page;
        self.selected = 0;
    }

    /// Takes a key while something is asked.
    fn answer(&mut self, mut asked: Asked, key: Key) -> Wish {
        match (&asked.what, key) {
            (_, Key::Escape | Key::Ctrl('c')) => {}
            (Question::Kill(id, _), Key::Letter('y')) => return Wish::Remove(id.clone()),
            (Question::Block(address, table), Key::Letter('y')) => {
                return Wish::Add(address.clone(), table.clone());
            }
            (Question::Kill(..) | Question::Block(..), _) => self.told = Some("left alone".into()),
            (Question::Filter, Key::Enter) => {
                let page = self.page as usize;
                self.filters[page] = asked.typed;
                self.selected = 0;
                return if self.page == Page::States { Wish::Requery } else { Wish::Nothing };
            }
            (Question::Table(_), Key::Enter) if asked.typed.is_empty() => {}
            (Question::Table(address), Key::Enter) => {
                self.table.clone_from(&asked.typed);
                let what = Question::Block(address.clone(), asked.typed);
                self.asked = Some(Asked { what, typed: String::new() });
            }
            (_, Key::Backspace) => {
                asked.typed.pop();
                self.asked = Some(asked);
            }
            (_, Key::Ctrl('u')) => {
                asked.typed.clear();
                self.asked = Some(asked);
            }
            (_, Key::Letter(letter)) if asked.typed.len() < 200 => {
                asked.typed.push(letter);
                self.asked = Some(asked);
            }
            _ => self.asked = Some(asked),
        }
        Wish::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Page, Question, View, Wish};
    use crate::console::keys::Key;
    use crate::protocol::StateOrder;
    use crate::query::STATE_ORDERS;

    fn type_in(view: &mut View, text: &str) {
        text.chars().for_each(|c| assert_eq!(view.key(Key::Letter(c), 10), Wish::Nothing));
    }

    #[test]
    fn pages_have_filters_of_their_own() {
        let mut view = View::default();
        assert_eq!(view.key(Key::Letter('2'), 10), Wish::Refresh);
        type_in(&mut view, "/port 80x");
        view.key(Key::Backspace, 10);
        assert_eq!(view.key(Key::Enter, 10), Wish::Requery);
        assert_eq!(view.filter(), "port 80");
        view.key(Key::Letter('4'), 10);
        assert_eq!((view.page, view.filter()), (Page::Rules, ""));
        type_in(&mut view, "/q");
        assert_eq!(view.key(Key::Escape, 10), Wish::Nothing);
        assert_eq!(view.filter(), "", "given up");
        assert_eq!(view.key(Key::Letter('q'), 10), Wish::Quit);
    }

    #[test]
    fn nothing_is_done_without_a_yes() {
        let ask = |what: Question| {
            let mut view = View { page: Page::States, ..View::default() };
            view.asked = Some(Asked { what, typed: String::new() });
            view
        };
        let kill = || Question::Kill("a1".into(), "tcp".into());
        assert_eq!(ask(kill()).key(Key::Letter('y'), 10), Wish::Remove("a1".into()));
        for key in [Key::Enter, Key::Letter('n'), Key::Escape, Key::Letter('q')] {
            let mut view = ask(kill());
            assert_eq!(view.key(key, 10), Wish::Nothing);
            assert_eq!(view.asked, None);
        }
        let mut view = ask(Question::Table("192.0.2.1".into()));
        type_in(&mut view, "bad");
        assert_eq!(view.key(Key::Enter, 10), Wish::Nothing);
        let question = view.asked.as_ref().expect("asks again").line();
        assert_eq!(question, "put 192.0.2.1 into <bad>? (y/n)");
        let add = Wish::Add("192.0.2.1".into(), "bad".into());
        assert_eq!(view.key(Key::Letter('y'), 10), add);
        assert_eq!(view.table, "bad");
    }

    #[test]
    fn lists_are_sorted_in_turn() {
        let mut view = View { page: Page::States, ..View::default() };
        assert_eq!((view.order(), view.state_order()), ("rate", Some(StateOrder::Rate)));
        assert_eq!(view.key(Key::Letter('s'), 10), Wish::Requery);
        assert_eq!((view.order(), view.state_order()), ("bytes", Some(StateOrder::Bytes)));
        view.key(Key::Letter('4'), 10);
        assert_eq!(view.order(), "packets/s", "each page has its own");
        for order in ["bits/s", "packets", "states", "refused", "packets/s"] {
            assert_eq!(view.key(Key::Letter('s'), 10), Wish::Nothing);
            assert_eq!(view.order(), order);
        }
        view.key(Key::Letter('1'), 10);
        assert_eq!((view.key(Key::Letter('s'), 10), view.order()), (Wish::Nothing, ""));
        for at in 0..STATE_ORDERS.len() {
            let mut view = View { page: Page::States, ..View::default() };
            view.sorts[Page::States as usize] = at;
            assert!(view.state_order().is_some(), "the daemon knows {}", view.order());
        }
    }
}
