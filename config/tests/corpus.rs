//! The rule corpus in `tests/corpus`: `NAME.in` is typed; `NAME.ok` is what `weir ctl -nvf` prints;
//! `NAME.err` is what goes to stderr. A refused file has no `.ok`; an accepted one has `.err` only
//! if there are warnings. A first line `# -D name=value` stands for that flag. Files that are named
//! in there are found in the same folder; the settings file says that `192.168.0.0/24` and
//! `2001:db8:1::/48` are behind `lan`. What is printed is fed back and must print itself.
//!
//! `WEIR_BLESS=1` writes the expected files anew; read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use weir_config::{Defines, Environment, Files, Parsed, PortPrefixes, SourceFile, parse};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus")
}

/// The files of the corpus folder.
struct Folder;

impl Files for Folder {
    fn read(&mut self, path: &str, _: &str) -> Result<Vec<u8>, String> {
        fs::read(folder().join(path)).map_err(|error| error.kind().to_string())
    }
}

fn parse_here(main: &SourceFile, defines: &Defines) -> Parsed {
    let nets = ["192.168.0.0/24", "2001:db8:1::/48"].map(|net| net.parse().expect("a prefix"));
    let lan = PortPrefixes { names: vec!["lan".into(), "eth1".into()], nets: nets.to_vec() };
    parse(main, Environment { files: &mut Folder, defines, prefixes: &[lan], anchor: "" })
}

fn corpus() -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder())
        .expect("the corpus is a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    files.sort();
    files
}

fn printed(parsed: &Parsed) -> Option<String> {
    let rules = parsed.rules.as_ref()?;
    let echo = parsed.echo.join("\n");
    let end = if echo.is_empty() { "" } else { "\n" };
    Some(format!("{echo}{end}{}", rules.printed("", false)))
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// One line a difference, so that a failed run shows all of them.
fn compare(path: &Path, found: Option<&str>, faults: &mut Vec<String>) {
    if std::env::var_os("WEIR_BLESS").is_some() {
        match found {
            Some(text) => fs::write(path, text).expect("the corpus is writable"),
            None => drop(fs::remove_file(path)),
        }
        return;
    }
    let wanted = read(path);
    if wanted.as_deref() != found {
        faults.push(format!(
            "{}:\n--- wanted\n{}--- found\n{}",
            path.display(),
            wanted.unwrap_or_else(|| "(nothing)\n".into()),
            found.unwrap_or("(nothing)\n"),
        ));
    }
}

#[test]
fn typed_and_printed() {
    let files = corpus();
    assert!(files.len() >= 60, "only {} files in the corpus", files.len());
    let mut faults = Vec::new();
    for path in &files {
        let text = fs::read_to_string(path).expect("readable UTF-8");
        let mut defines = Defines::default();
        if let Some(definition) = text.lines().next().and_then(|line| line.strip_prefix("# -D ")) {
            defines.define(definition).expect("a definition");
        }
        let name = path.file_name().expect("a name").to_string_lossy();
        let parsed = parse_here(&SourceFile::new(name, text), &defines);
        let stderr = parsed.diagnostics.to_string();
        assert_eq!(parsed.rules.is_none(), parsed.diagnostics.has_errors(), "{}", path.display());
        compare(&path.with_extension("ok"), printed(&parsed).as_deref(), &mut faults);
        compare(&path.with_extension("err"), (!stderr.is_empty()).then_some(&*stderr), &mut faults);
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn what_is_printed_prints_itself() {
    let mut fed_back = 0;
    for path in corpus() {
        let Some(text) = read(&path.with_extension("ok")) else { continue };
        let again = parse_here(&SourceFile::new("again", &*text), &Defines::default());
        assert!(!again.diagnostics.has_errors(), "{}: {}", path.display(), again.diagnostics);
        assert_eq!(printed(&again).as_deref(), Some(&*text), "{}", path.display());
        fed_back += 1;
    }
    assert!(fed_back >= 40, "only {fed_back} accepted files in the corpus");
}
