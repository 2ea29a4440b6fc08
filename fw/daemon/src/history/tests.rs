//! Loads kept, read, confirmed, pruned, damaged.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FileType, Mode};
use tempfile::TempDir;
use weir_shell::protocol::{Fate, Load, Source};

use super::{Bounds, History, Origin, claim};

const ROOMY: Bounds = Bounds { entries: 100, bytes: 1 << 30 };

fn loads(text: &str) -> Vec<Load> {
    let load = Load {
        sources: vec![Source { name: "weir.conf".into(), text: text.into() }],
        macros: vec!["a=b".into()],
        ..Load::default()
    };
    vec![Load { anchor: "web".into(), ..load.clone() }, load]
}

fn origin(comment: &str) -> Origin {
    Origin {
        time: 1_767_225_600,
        by: "ann".into(),
        uid: Some(1000),
        what: "commit weir.conf".into(),
        comment: comment.into(),
        rules: 3,
    }
}

fn history(folder: &TempDir, bounds: Bounds) -> History {
    History::new(&folder.path().join("state"), bounds)
}

fn numbers(history: &History) -> Vec<(u64, Fate)> {
    let listing = history.list().unwrap();
    assert_eq!(listing.damaged, [""; 0]);
    listing.entries.iter().map(|entry| (entry.number, entry.fate)).collect()
}

/// The texts of the last good rule set.
fn good(history: &History) -> Vec<Load> {
    history.good().unwrap().find_map(Result::ok).expect("there is one").1
}

#[test]
fn what_was_kept_is_read_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, ROOMY);
    assert_eq!(numbers(&history), []);
    assert!(history.read(1).is_err() && history.good().unwrap().next().is_none());
    assert_eq!(history.keep(origin("first"), &loads("pass\n")).unwrap(), 1);
    assert_eq!(history.keep(origin("second"), &loads("block\n")).unwrap(), 2);
    assert_eq!(
        history.keep(origin("again"), &loads("block\n")).unwrap(),
        2,
        "the same as the last"
    );
    assert_eq!(history.keep(origin("back"), &loads("pass\n")).unwrap(), 3);
    assert_eq!(numbers(&history), [(1, Fate::Kept), (2, Fate::Kept), (3, Fate::Kept)]);
    let (entry, read) = history.read(2).unwrap();
    assert_eq!(read, loads("block\n"));
    assert_eq!((&*entry.by, entry.uid, &*entry.comment), ("ann", Some(1000), "second"));
    assert_eq!((entry.time, entry.rules), (1_767_225_600, 3));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let directory = folder.path().join("state/history");
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("00000001.kept")), 0o600);
}

#[test]
fn a_pending_load_is_good_only_when_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, ROOMY);
    history.keep(origin(""), &loads("pass\n")).unwrap();
    let number = history.begin(origin(""), &loads("block\n")).unwrap();
    // Another process finds it.
    let again = self::history(&folder, ROOMY);
    assert_eq!(again.pending().unwrap(), [number]);
    assert_eq!(good(&again), loads("pass\n"));
    again.undo(number).unwrap();
    assert_eq!(again.pending().unwrap(), [0; 0]);
    assert_eq!(good(&again), loads("pass\n"));
    let undone = |text: &str| again.undone_last(|read| read == loads(text)).unwrap();
    assert_eq!((undone("block\n"), undone("pass\n")), (Some(number), None));
    assert_eq!(again.newest_undone().unwrap(), Some(number));
    // The same as the last good one, but something was undone since: it is a load of its own.
    assert_eq!(again.keep(origin(""), &loads("pass\n")).unwrap(), 3);
    assert_eq!(again.newest_undone().unwrap(), None);
    assert_eq!(undone("block\n"), Some(number), "whatever else is kept since");
    again.keep(origin(""), &loads("block\n")).unwrap();
    assert_eq!(undone("block\n"), None, "somebody has meant it");
    let number = again.begin(origin(""), &loads("block all\n")).unwrap();
    again.confirm(number).unwrap();
    assert_eq!(good(&again), loads("block all\n"));
}

#[test]
fn the_oldest_go_first_and_the_last_good_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let few = history(&folder, Bounds { entries: 3, ..ROOMY });
    for n in 1..=5 {
        assert_eq!(few.keep(origin(""), &loads(&format!("pass # {n}\n"))).unwrap(), n);
    }
    assert_eq!(numbers(&few).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 4, 5]);
    // Commits that are undone again and again leave it alone.
    for n in 6..=10 {
        let number = few.begin(origin(""), &loads(&format!("block # {n}\n"))).unwrap();
        assert_eq!(number, n);
        few.undo(number).unwrap();
    }
    assert_eq!(
        numbers(&few),
        [(5, Fate::Kept), (9, Fate::Undone), (10, Fate::Undone)],
        "by number"
    );
    // By size, too; what is larger than everything may be is kept alone.
    let small = history(&folder, Bounds { entries: 100, bytes: 2000 });
    let large = loads(&format!("pass # {}\n", "x".repeat(3000)));
    assert_eq!(small.keep(origin(""), &large).unwrap(), 11);
    assert_eq!(numbers(&small), [(11, Fate::Kept)]);
    assert_eq!(good(&small), large);
}

#[test]
fn damage_is_named_and_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, ROOMY);
    for text in ["pass\n", "block\n", "pass in\n", "block in\n"] {
        history.keep(origin(""), &loads(text)).unwrap();
    }
    let file = |number: u64| folder.path().join(format!("state/history/{number:08}.kept"));
    // A bit of the rules has turned: the length is right, what is there is not.
    let text = std::fs::read_to_string(file(4)).unwrap();
    std::fs::write(file(4), text.replace("block in", "block on")).unwrap();
    // Cut off, and nothing at all.
    let text = std::fs::read(file(3)).unwrap();
    std::fs::write(file(3), &text[..text.len() - 10]).unwrap();
    std::fs::write(file(2), "").unwrap();
    std::fs::write(folder.path().join("state/history/README"), "not ours").unwrap();
    // To open these would wait for a writer, or lead elsewhere.
    let fifo = folder.path().join("state/history/00000007.undone");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink(file(1), folder.path().join("state/history/00000008.undone"))
        .unwrap();
    assert_eq!(history.list().unwrap().damaged.len(), 4);
    assert_eq!(history.undone_last(|_| true).unwrap(), None);
    std::fs::remove_file(fifo).unwrap();
    std::fs::remove_file(folder.path().join("state/history/00000008.undone")).unwrap();
    std::fs::write(folder.path().join("state/history/unfinished"), "half a").unwrap();
    let listing = history.list().unwrap();
    let numbers: Vec<_> = listing.entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [1, 4], "a listing reads first lines only");
    assert_eq!(listing.damaged.len(), 2, "{:?}", listing.damaged);
    for (named, number) in listing.damaged.iter().zip([2, 3]) {
        assert!(named.contains(&format!("{number:08}.kept: damaged: ")), "{named}");
    }
    let tried: Vec<_> = history.good().unwrap().map(|one| one.map(|(_, loads)| loads)).collect();
    assert_eq!(tried.len(), 4);
    assert!(tried[..3].iter().all(Result::is_err), "{tried:?}");
    assert_eq!(tried[3], Ok(loads("pass\n")));
    assert!(history.read(4).unwrap_err().to_string().contains("00000004.kept: damaged: "));
    // It goes on behind the damage, and a format of the future is not guessed at.
    assert_eq!(history.keep(origin(""), &loads("pass out\n")).unwrap(), 5);
    let text = std::fs::read_to_string(file(5)).unwrap();
    std::fs::write(file(5), text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
    assert!(history.read(5).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let history = history(&folder, ROOMY);
    history.keep(origin(""), &loads("pass\n")).unwrap();
    // Its place is taken by something that cannot be replaced, even by root.
    std::fs::create_dir(folder.path().join("state/history/unfinished")).unwrap();
    assert!(history.keep(origin(""), &loads("block\n")).is_err());
    assert!(history.begin(origin(""), &loads("block\n")).is_err());
    assert_eq!(numbers(&history), [(1, Fate::Kept)]);
    assert_eq!(good(&history), loads("pass\n"));
}

#[test]
fn one_daemon_has_a_state_directory_at_a_time() {
    let folder = TempDir::new().unwrap();
    let state = folder.path().join("a/state");
    let claimed = claim(&state).unwrap();
    assert!(claim(&state).unwrap_err().contains("another weir has this state directory"));
    drop(claimed);
    assert!(claim(&state).unwrap().is_some());
    // Where nothing can be written, weir runs all the same.
    assert!(claim(Path::new("/proc/state")).unwrap().is_none());
    // Whoever may write there cannot have another file taken for it.
    std::fs::remove_file(state.join("lock")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), state.join("lock")).unwrap();
    assert!(claim(&state).unwrap().is_none());
    assert!(!folder.path().join("elsewhere").exists());
}
