//! The rule and settings files that weir ships: read, checked, and asked about packets.

use std::path::{Path, PathBuf};
use std::process::Command;

use weir_config::settings::{self, NicName, Settings};
use weir_config::{Defines, SourceFile, parse_one};
use weir_tests::lab::{Output, binary, shipped};

/// The rule files, each with its cases beside it.
fn files() -> Vec<PathBuf> {
    let mut files = vec![shipped("weir.conf")];
    let examples = std::fs::read_dir(shipped("examples")).expect("is shipped");
    let examples = examples.map(|entry| entry.expect("readable").path());
    files.extend(examples.filter(|path| path.extension().is_some_and(|kind| kind == "conf")));
    assert!(files.len() > 5, "{files:?}");
    files
}

/// `weir check --strict` has nothing to say.
#[test]
fn every_file_is_free_of_errors_and_traps() {
    // Those that the appliance's first start offers have no cases beside them.
    let first = shipped("../../image/root/usr/lib/weir/first");
    for file in ["outgoing.conf", "servers.conf", "watch.conf"] {
        checked(&first.join(file));
    }
    for file in files() {
        checked(&file);
    }
}

fn checked(file: &Path) {
    let said = Output::of(Command::new(binary()).args(["check", "--strict"]).arg(file));
    assert!(said.success(), "{}:\n{}{}", file.display(), said.stdout, said.stderr);
}

/// Every packet in the cases beside a file fares as they say.
#[test]
fn every_file_passes_its_cases() {
    for file in files() {
        tested(&file);
    }
}

fn tested(file: &Path) {
    let cases = file.with_extension("test");
    let text = std::fs::read_to_string(&cases).expect("cases stand beside the file");
    for verdict in ["pass ", "block "] {
        let some = text.lines().filter(|line| line.starts_with(verdict)).count();
        assert!(some > 0, "{}: no {verdict}", cases.display());
    }
    let mut command = Command::new(binary());
    let said = Output::of(command.arg("test").arg("--rules").arg(file).arg(&cases));
    assert!(said.success(), "{}:\n{}{}", file.display(), said.stdout, said.stderr);
}

/// What the script makes of a list of a thousand customers is checked, tested and compiled.
#[test]
fn the_hosting_rack_works_with_a_thousand_customers() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    for name in ["hosting.conf", "hosting.test", "customers.sh"] {
        let from = shipped("examples/hosting").join(name);
        std::fs::copy(from, folder.path().join(name)).expect("is shipped");
    }
    for command in [
        "sh customers.sh demo 1000 customers > customers.list",
        "sh customers.sh write customers < customers.list",
    ] {
        Output::of(Command::new("sh").args(["-c", command]).current_dir(folder.path()))
            .expect_success();
    }
    let file = folder.path().join("hosting.conf");
    checked(&file);
    tested(&file);
    // Everybody is there, with a rule for the hardware address.
    let said = Output::of(Command::new(binary()).args(["ctl", "-nvf"]).arg(&file)).expect_success();
    for text in ["from 02:00:5e:00:00:01", "from 02:00:5e:00:03:e8", "198.18.31.64/29"] {
        assert!(said.contains(text), "no {text}");
    }
}

/// A list with a mistake in it is refused, at its line, and changes nothing.
#[test]
fn a_wrong_list_of_customers_writes_nothing() {
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let list = folder.path().join("list");
    let good = "# ours\nc1 02:00:5e:00:00:01 198.18.0.8/29 2001:db8:1::/48 web\n";
    for (line, message) in [
        ("c2 02:00:5e:00:00:02 198.18.0.16/29", "line 3: expected NAME"),
        ("c1 02:00:5e:00:00:02 198.18.0.16/29 2001:db8:2::/48", "line 3: this name was there"),
        ("c2 02:00:5e:00:00:02 198.18.0.16/29 2001:db8:2::/48 ftp", "line 3: unknown service ftp"),
        ("c2 me 198.18.0.16/29 2001:db8:2::/48", "line 3: no address"),
    ] {
        std::fs::write(&list, format!("{good}{line}\n")).expect("ours");
        let command = "sh \"$0\" write \"$1\" < \"$2\"";
        let script = shipped("examples/hosting/customers.sh");
        let out = folder.path().join("customers");
        let said =
            Output::of(Command::new("sh").args(["-c", command]).arg(script).arg(&out).arg(&list));
        assert!(!said.success() && said.stderr.contains(message), "{line}: {}", said.stderr);
        assert!(!out.join("rack").exists(), "{line}");
    }
}

/// The rules in the README too.
#[test]
fn the_readme_s_rules_are_read() {
    let readme = include_str!("../../README.md");
    let begin = readme.find("block in log on wan").expect("the README has first rules");
    let rules = &readme[begin..];
    let rules = &rules[..rules.find("```").expect("a fenced block")];
    let parsed = parse_one(&SourceFile::new("README.md", rules), &Defines::default());
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics);
    assert!(parsed.rules.is_some_and(|rules| rules.rules.len() == 7));
}

/// The settings file says what holds without it, and what it has commented out can be said.
#[test]
fn the_settings_file_shows_the_defaults() {
    let text = std::fs::read_to_string(shipped("weir.toml")).expect("is shipped");
    let read = |text: String| {
        settings::parse(&SourceFile::new("weir.toml", text))
            .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    };
    let mut shipped = read(text.clone());
    // What is shipped has a place for logs.
    assert_eq!(shipped.log.pflog.take(), Some("/var/log/weir/pflog".into()));
    assert_eq!(shipped, Settings::default());
    let mut all = text;
    for key in ["lan", "wan", "workers", "[[log.syslog]]", "to", "format", "facility", "severity"] {
        all = all.replace(&format!("\n# {key}"), &format!("\n{key}"));
    }
    let all = read(all);
    assert_eq!(all.ports.lan.as_ref().and_then(NicName::interface), Some("enp1s0"));
    assert_eq!(all.ports.wan.as_ref().and_then(NicName::interface), Some("enp2s0"));
    assert_eq!(all.ports.workers, Some(1));
    assert_eq!(all.log.syslog.len(), 1);
}
