//! One key of the settings file, changed in its text: everything else stays as it was typed.

use toml_edit::{DocumentMut, Item, Table, Value};
use weir_config::settings::KEYS;
use weir_shell::protocol::Setting;

/// The text with a key changed. Whether the value is right is for whoever reads the whole to say.
///
/// # Errors
/// When there is no such key, or the text is no TOML.
pub(super) fn changed(text: &str, setting: &Setting) -> Result<String, String> {
    let (section, key) = setting.key.split_once('.').unwrap_or(("", &setting.key));
    if !KEYS.contains(&(section, key)) {
        let home = KEYS.iter().find(|(_, known)| *known == setting.key);
        return Err(match home {
            Some((home, key)) => {
                format!("`{key}` belongs to the section {home}: write `{home}.{key}`")
            }
            None => format!("there is no key {:?} in the settings", setting.key),
        });
    }
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error| format!("the settings file is broken, repair it first: {error}"))?;
    let table = match section {
        "" => document.as_table_mut(),
        _ => document
            .entry(section)
            .or_insert_with(|| Item::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| format!("`{section}` is not written as a section: change it by hand"))?,
    };
    match &setting.value {
        None => {
            table.remove(key);
        }
        Some(typed) => {
            let mut value = value(typed);
            match table.get_mut(key).and_then(Item::as_value_mut) {
                Some(old) => {
                    // What stands around it: a comment at the end of the line.
                    *value.decor_mut() = old.decor().clone();
                    *old = value;
                }
                None => {
                    table.insert(key, Item::Value(value));
                }
            }
        }
    }
    Ok(document.to_string())
}

/// What was typed: TOML, or a word that stands for the string.
fn value(typed: &str) -> Value {
    let mut value: Value = typed.parse().unwrap_or_else(|_| typed.into());
    value.decor_mut().clear();
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "# mine\nlog = \"stderr\"\n\n[ports]\nlan = \"eth1\"   # inside\nworkers = 2\n";

    fn set(key: &str, value: Option<&str>) -> Result<String, String> {
        changed(TEXT, &Setting { key: key.into(), value: value.map(Into::into) })
    }

    #[test]
    fn comments_and_all_other_keys_stay() {
        assert_eq!(set("ports.lan", Some("eth7")).unwrap(), TEXT.replace("eth1", "eth7"));
        assert_eq!(set("ports.workers", Some("4")).unwrap(), TEXT.replace('2', "4"));
        assert_eq!(set("ports.wan", Some("eth0")).unwrap(), format!("{TEXT}wan = \"eth0\"\n"));
        assert_eq!(set("ports.workers", None).unwrap(), TEXT.replace("workers = 2\n", ""));
        assert_eq!(
            set("memory.states", Some("5000")).unwrap(),
            format!("{TEXT}\n[memory]\nstates = 5000\n")
        );
        let prefixes = set("ports.lan_prefixes", Some("[\"10.0.0.0/8\"]")).unwrap();
        assert!(prefixes.ends_with("lan_prefixes = [\"10.0.0.0/8\"]\n"), "{prefixes}");
        assert!(set("rules", Some("/r")).unwrap().contains("log = \"stderr\"\nrules = \"/r\"\n"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let wrong = set("wan", Some("eth0")).unwrap_err();
        assert_eq!(wrong, "`wan` belongs to the section ports: write `ports.wan`");
        assert!(set("ports.wam", Some("x")).unwrap_err().contains("no key"));
        let setting = Setting { key: "rules".into(), value: None };
        assert!(changed("[ports\n", &setting).unwrap_err().contains("repair"));
        assert!(changed("ports = 1\n", &Setting { key: "ports.lan".into(), value: None }).is_err());
    }

    #[test]
    fn nothing_typed_becomes_another_key() {
        let text = set("ports.lan", Some("a\"\nwan = \"b")).unwrap();
        let document: DocumentMut = text.parse().unwrap();
        assert_eq!(document["ports"]["lan"].as_str(), Some("a\"\nwan = \"b"));
        assert!(document["ports"].get("wan").is_none());
    }
}
