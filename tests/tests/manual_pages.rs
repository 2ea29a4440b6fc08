//! The manual pages, as far as they can be held to the code: all are well-formed, weir.toml(5) has the
//! keys that the settings file has, weir(8) the subcommands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use weir_config::SourceFile;
use weir_config::settings::{self, KEYS, Settings};
use weir_tests::lab::{Output, binary};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/man")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect("is shipped")
}

/// Well-formed mdoc(7), as far as mandoc(1) is there to say so; `make deps` installs it.
#[test]
fn mandoc_finds_nothing_to_complain_about() {
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).expect("is shipped") {
        let path = entry.expect("readable").path();
        count += 1;
        match Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output() {
            Ok(said) => {
                assert_eq!(String::from_utf8_lossy(&said.stdout), "", "{}", path.display());
                assert!(said.status.success());
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
        }
    }
    assert!(count >= 3, "{count}");
}

/// The keys of weir.toml(5) with the sections that they stand in.
fn keys() -> BTreeSet<(String, String)> {
    let mut section = None;
    let mut keys = BTreeSet::new();
    for line in page("weir.toml.5").lines() {
        if line.starts_with(".Sh") {
            section = None;
        } else if let Some(title) = line.strip_prefix(".Ss ") {
            let name = title.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            section = Some(name.unwrap_or_default().to_owned());
        } else if let (Some(section), Some(item)) = (&section, line.strip_prefix(".It Ic ")) {
            let name = item.split_whitespace().next().expect("a key");
            assert!(keys.insert((section.clone(), name.to_owned())), "{name} stands there twice");
        }
    }
    keys
}

#[test]
fn every_key_of_the_settings_is_explained_and_no_other() {
    let known: BTreeSet<_> =
        KEYS.iter().map(|(section, name)| ((*section).to_owned(), (*name).to_owned())).collect();
    assert_eq!(keys(), known);
}

/// What stands behind a key as its default is the default.
#[test]
fn the_defaults_of_the_settings_are_true() {
    let mut lines = Vec::new();
    let mut count = 0;
    for line in page("weir.toml.5").lines() {
        if let Some(title) = line.strip_prefix(".Ss [") {
            lines.push(format!("[{title}"));
        } else if let Some((name, value)) =
            line.strip_prefix(".It Ic ").and_then(|item| item.split_once(" Li = No "))
        {
            lines.push(format!("{name} = {}", value.replace("\\(dq", "\"")));
            count += 1;
        }
    }
    assert_eq!(count, KEYS.len() - 2, "all but lan and wan have one");
    let read = settings::parse(&SourceFile::new("weir.toml.5", lines.join("\n")));
    assert_eq!(read.unwrap_or_else(|found| panic!("{found}")), Settings::default());
}

#[test]
fn every_subcommand_is_explained() {
    let help = Output::of(Command::new(binary()).arg("--help")).expect_success();
    let commands = help.split("Commands:\n").nth(1).expect("a list");
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let page = page("weir.8");
    for name in names {
        assert!(page.contains(&format!("\n.It Cm {name}\n")), "{name}");
    }
}

/// `weir check` reads settings files by their name or because it is told to, says all that is wrong
/// with them, and reads rule files beside them.
#[test]
fn settings_files_are_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("ours");
        path.into_os_string().into_string().expect("UTF-8")
    };
    let good = write("good.toml", "[memory]\nstates = 1000\n");
    let bad = write("bad.toml", "rulez = \"/x\"\n[ports]\nio = \"dpdk\"\n");
    let large = write("large.toml", "[ports]\nworkers = 65\n");
    let odd = write("settings", "[memory]\nstats = 1\n");
    let rules = write("weir.conf", "pas\n");
    let check =
        |arguments: &[&str]| Output::of(Command::new(binary()).arg("check").args(arguments));
    check(&[&good]).expect_success();
    let said = check(&[&bad, &good]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(
        said.stderr,
        format!(
            "{bad}:1:1: unknown key `rulez`, did you mean `rules`?\n\
             {bad}:3:6: `io` must be one of auto, netmap, xdp, packet\n"
        )
    );
    let said = check(&[&large]);
    assert_eq!(
        (said.status.code(), said.stderr),
        (Some(1), format!("{large}: workers must be 1 to 64\n"))
    );
    let said = check(&["--settings", &odd, &rules]);
    assert_eq!(said.status.code(), Some(1));
    assert!(
        said.stderr.contains(&format!("{odd}:2:1: unknown key `stats`, did you mean `states`?"))
    );
    assert!(said.stderr.contains(&format!("{rules}:1:1: ")), "{}", said.stderr);
    assert_eq!(check(&["/nonexistent/weir.toml"]).status.code(), Some(2));
}
