use std::os::unix::fs::{PermissionsExt, symlink};

use proptest::prelude::*;

use super::{Archive, Entry};

pub(crate) fn example() -> Archive {
    let file =
        |name: &str, mode, bytes: &[u8]| Entry { name: name.into(), mode, bytes: bytes.into() };
    Archive {
        version: "0.1.0".into(),
        files: vec![
            file("boot/grub/password.cfg", 0o600, b"set superusers=\"root\"\n"),
            file("etc/weir.conf", 0o644, b"block log all\n"),
            file("etc/weir.toml", 0o644, b"[ports]\nlan = \"eth0\"\nwan = \"eth1\"\n"),
            file("lib/console-password", 0o600, b"\xff\x00\n"),
        ],
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = example().to_bytes();
    assert!(
        bytes.starts_with(b"weir settings 1\nversion 0.1.0\nfile 600 22 boot/grub/password.cfg\n")
    );
    assert_eq!(Archive::parse(&bytes).unwrap(), example());
}

#[test]
fn names_lead_nowhere_else() {
    for name in [
        "etc/../../bin/sh",
        "/etc/weir.conf",
        "etc",
        "etc/",
        "etc//x",
        "root/x",
        "etc/./x",
        "../etc/x",
        "etc/a/b/c/d/e/f/g/h/i",
        "etc/x\u{1b}[2J",
        "",
    ] {
        let mut archive = example();
        archive.files[1].name = name.into();
        assert!(Archive::parse(&archive.to_bytes()).is_err(), "{name}");
    }
}

#[test]
fn what_is_odd_is_refused_in_words() {
    let whole = example().to_bytes();
    let text = |bytes: &[u8]| Archive::parse(bytes).unwrap_err();
    assert_eq!(text(b"hello\n"), "these are no settings of weir");
    assert_eq!(
        text(b"weir settings 2\n"),
        "it is of a newer format, which this weir does not read"
    );
    assert_eq!(text(&whole[..whole.len() - 1]), "it is damaged");
    assert_eq!(text(&[&whole[..], b"x"].concat()), "its checksum is wrong: it is damaged");
    let mut twice = example();
    twice.files[2].name = "etc/weir.conf".into();
    assert_eq!(text(&twice.to_bytes()), "it has two files etc/weir.conf");
    let mut special = example();
    special.files[1].mode = 0o4755;
    assert_eq!(text(&special.to_bytes()), "it is damaged");
}

#[test]
fn what_makes_a_box_is_gathered_and_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, lib) = (folder.path().join("etc"), folder.path().join("lib"));
    for path in [&etc.join("tables"), &lib.join("history"), &lib.join("other")] {
        std::fs::create_dir_all(path).unwrap();
    }
    for (path, text) in [
        (etc.join("weir.toml"), "a"),
        (etc.join("weir.toml.new"), "half"),
        (etc.join("tables/bad"), "192.0.2.1\n"),
        (lib.join("console-password"), "$argon2id$\n"),
        (lib.join("lock"), ""),
        (lib.join("other/large"), "x"),
        (lib.join("history/00000009.kept"), "nine"),
        (lib.join("history/00000010.kept"), "ten"),
        (lib.join("history/00000011.undone"), "eleven"),
        (lib.join("history/unfinished"), "x"),
    ] {
        std::fs::write(path, text).unwrap();
    }
    let secret = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(lib.join("console-password"), secret).unwrap();
    symlink("/etc/passwd", etc.join("link")).unwrap();
    let archive = Archive::gather(&etc, &lib).unwrap();
    let names: Vec<_> = archive.files.iter().map(|file| &*file.name).collect();
    assert_eq!(
        names,
        ["etc/tables/bad", "etc/weir.toml", "lib/console-password", "lib/history/00000010.kept"]
    );
    let target = folder.path().join("target");
    archive.unpack("lib", &target).unwrap();
    assert_eq!(std::fs::read(target.join("history/00000010.kept")).unwrap(), b"ten");
    let mode = std::fs::metadata(target.join("console-password")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!target.join("weir.toml").exists());
    assert_eq!(
        Archive::gather(&folder.path().join("x"), &folder.path().join("y")).unwrap().files,
        []
    );
}

proptest! {
    /// A single wrong bit anywhere is noticed.
    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut bytes = example().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Archive::parse(&bytes).is_err());
    }

    #[test]
    fn no_bytes_are_too_odd(rest in prop::collection::vec(any::<u8>(), 0..200), text in "(file [0-9]{1,20} [0-9]{1,20} (etc|lib)/.{0,9}\n)?") {
        let bytes = [b"weir settings 1\nversion x\n", text.as_bytes(), &rest].concat();
        let _ = Archive::parse(&bytes);
        let _ = Archive::parse(&rest);
    }
}
