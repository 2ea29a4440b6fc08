//! What differs between two lists of lines: the shortest script of deletions and insertions (E. W.
//! Myers, "An O(ND) Difference Algorithm and Its Variations", 1986), and its unified form as diff(1)
//! prints it.

use std::fmt::Write;

/// Lines around a change that are shown with it.
const CONTEXT: usize = 3;

/// The longest script that is searched for. What differs more is shown as removed and added as a
/// whole; the search takes memory and time with the square of this.
const MAX_SCRIPT: usize = 2000;

/// One step from the old list to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The line at this place of the old list is the one at that of the new.
    Same(usize, usize),
    /// It is not in the new list.
    Removed(usize),
    /// It is not in the old list.
    Added(usize),
}

/// The steps from `old` to `new`.
pub(super) fn steps<T: PartialEq>(old: &[T], new: &[T]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (inner_old, inner_new) = (&old[head..], &new[head..]);
    let tail =
        inner_old.iter().rev().zip(inner_new.iter().rev()).take_while(|(old, new)| old == new);
    let tail = tail.count();
    let inner_old = &inner_old[..inner_old.len() - tail];
    let inner_new = &inner_new[..inner_new.len() - tail];
    let mut steps: Vec<_> = (0..head).map(|at| Step::Same(at, at)).collect();
    let inner = shortest(inner_old, inner_new).unwrap_or_else(|| {
        let removed = (0..inner_old.len()).map(Step::Removed);
        removed.chain((0..inner_new.len()).map(Step::Added)).collect()
    });
    steps.extend(inner.into_iter().map(|step| match step {
        Step::Same(old, new) => Step::Same(head + old, head + new),
        Step::Removed(old) => Step::Removed(head + old),
        Step::Added(new) => Step::Added(head + new),
    }));
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    steps.extend((0..tail).map(|at| Step::Same(old_end + at, new_end + at)));
    // Between two lines that stay the order is free: what goes stands before what comes.
    for run in steps.chunk_by_mut(|a, b| !is_same(*a) && !is_same(*b)) {
        run.sort_by_key(|step| matches!(step, Step::Added(_)));
    }
    steps
}

const fn is_same(step: Step) -> bool {
    matches!(step, Step::Same(..))
}

/// The shortest script; `None` if it is longer than [`MAX_SCRIPT`].
fn shortest<T: PartialEq>(old: &[T], new: &[T]) -> Option<Vec<Step>> {
    let bound = (old.len() + new.len()).min(MAX_SCRIPT);
    // Of each length of script: how far it comes in `old` on each diagonal, old place less new place.
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    let mut reached: Vec<usize> = vec![0; 2 * bound + 3];
    let at = |diagonal: isize| (diagonal + bound.cast_signed() + 1).cast_unsigned();
    for length in 0..=bound.cast_signed() {
        let mut diagonal = -length;
        while diagonal <= length {
            let down = diagonal == -length
                || diagonal != length && reached[at(diagonal - 1)] < reached[at(diagonal + 1)];
            let mut x =
                if down { reached[at(diagonal + 1)] } else { reached[at(diagonal - 1)] + 1 };
            let mut y = x.cast_signed() - diagonal;
            while x < old.len() && y < new.len().cast_signed() && old[x] == new[y.cast_unsigned()] {
                (x, y) = (x + 1, y + 1);
            }
            reached[at(diagonal)] = x;
            if x >= old.len() && y >= new.len().cast_signed() {
                return Some(walk_back(&rounds, old.len(), new.len()));
            }
            diagonal += 2;
        }
        let width = at(length) + 1 - at(-length);
        rounds.push(reached[at(-length)..][..width].to_vec());
    }
    None
}

/// The script that has come to the end of both lists, by what was reached in the rounds before.
fn walk_back(rounds: &[Vec<usize>], old: usize, new: usize) -> Vec<Step> {
    let (mut x, mut y) = (old, new);
    let mut steps = Vec::new();
    for (length, round) in rounds.iter().enumerate().rev() {
        let reached =
            |diagonal: isize| round.get((diagonal + length.cast_signed()).cast_unsigned()).copied();
        let diagonal = x.cast_signed() - y.cast_signed();
        // As it was come by: from the diagonal that had come further.
        let (below, above) = (reached(diagonal - 1), reached(diagonal + 1));
        let down = match (below, above) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(below), Some(above)) => below < above,
        };
        let (from_x, before) = if down {
            (above.unwrap_or(0), diagonal + 1)
        } else {
            (below.unwrap_or(0), diagonal - 1)
        };
        let from_y = (from_x.cast_signed() - before).cast_unsigned();
        let (next_x, next_y) = if down { (from_x, from_y + 1) } else { (from_x + 1, from_y) };
        while x > next_x && y > next_y {
            (x, y) = (x - 1, y - 1);
            steps.push(Step::Same(x, y));
        }
        steps.push(if down { Step::Added(from_y) } else { Step::Removed(from_x) });
        (x, y) = (from_x, from_y);
    }
    while x > 0 && y > 0 {
        (x, y) = (x - 1, y - 1);
        steps.push(Step::Same(x, y));
    }
    steps.reverse();
    steps
}

/// As `diff -u` prints it; empty if nothing differs.
pub(super) fn unified(names: [&str; 2], old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let steps = steps(&old, &new);
    let changed: Vec<_> = (0..steps.len()).filter(|&at| !is_same(steps[at])).collect();
    let mut out = String::new();
    let mut rest = &changed[..];
    while let Some(&first) = rest.first() {
        let mut count = 1;
        while count < rest.len() && rest[count] - rest[count - 1] <= 2 * CONTEXT + 1 {
            count += 1;
        }
        let begin = first.saturating_sub(CONTEXT);
        let end = (rest[count - 1] + CONTEXT + 1).min(steps.len());
        if out.is_empty() {
            let _ = writeln!(out, "--- {}\n+++ {}", names[0], names[1]);
        }
        hunk(
            &mut out,
            &steps[begin..end],
            [first_of(&steps, begin, 0), first_of(&steps, begin, 1)],
            &old,
            &new,
        );
        rest = &rest[count..];
    }
    out
}

/// Lines of the old (0) or new (1) list before a step.
fn first_of(steps: &[Step], begin: usize, side: usize) -> usize {
    let counts = |step: &&Step| match step {
        Step::Same(..) => true,
        Step::Removed(_) => side == 0,
        Step::Added(_) => side == 1,
    };
    steps[..begin].iter().filter(counts).count()
}

fn hunk(out: &mut String, steps: &[Step], before: [usize; 2], old: &[&str], new: &[&str]) {
    let lines = [0, 1].map(|side| first_of(steps, steps.len(), side));
    let range = |side: usize| {
        // As diff(1): an empty range names the line before it.
        let first = before[side] + usize::from(lines[side] > 0);
        if lines[side] == 1 { first.to_string() } else { format!("{first},{}", lines[side]) }
    };
    let _ = writeln!(out, "@@ -{} +{} @@", range(0), range(1));
    for step in steps {
        let (mark, line) = match *step {
            Step::Same(at, _) => (' ', old[at]),
            Step::Removed(at) => ('-', old[at]),
            Step::Added(at) => ('+', new[at]),
        };
        let text = line.strip_suffix('\n');
        let _ = writeln!(out, "{mark}{}", text.unwrap_or(line));
        if text.is_none() {
            out.push_str("\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{Step, steps, unified};

    /// The script makes the new list of the old one, and is as short as one that tries everything.
    #[test]
    fn scripts_are_right_and_shortest() {
        let mut seed = 7_u32;
        let mut next = |bound: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % bound
        };
        for _ in 0..500 {
            let (letters, long) = (1 + next(4), 1 + next(12));
            let mut list = || (0..next(long)).map(|_| next(letters)).collect::<Vec<_>>();
            let (old, new) = (list(), list());
            let script = steps(&old, &new);
            let (mut x, mut made, mut changes) = (0, Vec::new(), 0);
            for step in &script {
                match *step {
                    Step::Same(from, to) => {
                        assert_eq!((from, to, old[from]), (x, made.len(), new[to]));
                        made.push(old[from]);
                        x += 1;
                    }
                    Step::Removed(from) => {
                        assert_eq!(from, x);
                        (x, changes) = (x + 1, changes + 1);
                    }
                    Step::Added(to) => {
                        assert_eq!(to, made.len());
                        made.push(new[to]);
                        changes += 1;
                    }
                }
            }
            assert_eq!((x, &made), (old.len(), &new));
            // The longest common subsequence, by the table.
            let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
            for i in 0..old.len() {
                for j in 0..new.len() {
                    table[i + 1][j + 1] = if old[i] == new[j] {
                        table[i][j] + 1
                    } else {
                        table[i][j + 1].max(table[i + 1][j])
                    };
                }
            }
            assert_eq!(changes, old.len() + new.len() - 2 * table[old.len()][new.len()]);
        }
    }

    #[test]
    fn lists_that_have_nothing_in_common_are_not_searched_for_ever() {
        let old: Vec<u32> = (0..100_000).collect();
        let new: Vec<u32> = (200_000..300_000).collect();
        assert_eq!(steps(&old, &new).len(), 200_000);
    }

    /// patch(1) is not everywhere; diff(1) is.
    #[test]
    fn unified_is_what_diff_prints() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("ours");
            path
        };
        let long: String =
            (0..40).flat_map(|n| ["line ".into(), n.to_string(), "\n".into()]).collect();
        for (old, new) in [
            ("a\nb\nc\n", "a\nb\nc\n"),
            ("", "a\n"),
            ("a\n", ""),
            ("a\nb\n", "a\nb"),
            ("a\nb", "a\nc"),
            (&long, &long.replace("line 5\n", "five\n").replace("line 30\n", "")),
            (&long, &long.replace("line 5\n", "five\n").replace("line 12\n", "line 12\nmore\n")),
            (&long, &long.replace("line 5\n", "five\n").replace("line 11\n", "line 11\nmore\n")),
            (&long, &long.replace("line 0\n", "").replace("line 39\n", "end\n")),
        ] {
            let said = Command::new("diff")
                .args(["-u", "--label", "old", "--label", "new"])
                .arg(file("old", old))
                .arg(file("new", new))
                .output()
                .expect("diff is there");
            assert_eq!(unified(["old", "new"], old, new), String::from_utf8_lossy(&said.stdout));
        }
    }
}
