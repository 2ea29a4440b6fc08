//! From what the settings call an interface to its name.

use weir_config::settings::NicName;
use weir_hw::Nic;

/// The interface's name now. A name stands for itself, whether there is such an interface or not.
///
/// # Errors
/// When no interface, or more than one, has that address or place: in words, with those there are.
pub fn find(wanted: &NicName, nics: &[Nic]) -> Result<String, String> {
    let matching: Vec<&str> = match wanted {
        NicName::Interface(name) => return Ok(name.clone()),
        NicName::Mac(mac) => names(nics, |nic| nic.has_mac(*mac)),
        NicName::Pci(path) => names(nics, |nic| nic.pci.as_ref() == Some(path)),
    };
    match matching[..] {
        [name] => Ok(name.to_owned()),
        [] => Err(format!("{wanted}: no such interface; {}", candidates(nics))),
        _ => Err(format!(
            "{wanted}: {} all have it; say which one by name or PCI path",
            matching.join(", ")
        )),
    }
}

fn names(nics: &[Nic], matches: impl Fn(&Nic) -> bool) -> Vec<&str> {
    nics.iter().filter(|nic| matches(nic)).map(|nic| nic.name.as_str()).collect()
}

/// All names of all interfaces.
pub(super) fn candidates(nics: &[Nic]) -> String {
    if nics.is_empty() {
        return "this machine has none".to_owned();
    }
    let all = nics.iter().map(|nic| {
        let pci = nic.pci.as_ref().map(|path| format!(", pci:{path}")).unwrap_or_default();
        format!("{} ({}{pci})", nic.name, NicName::Mac(nic.mac))
    });
    format!("there are: {}", all.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, last: u8, pci: &str) -> Nic {
        let pci = Some(pci.to_owned()).filter(|path| !path.is_empty());
        Nic { name: name.into(), mac: [2, 0, 0, 0, 0, last], pci, ..Nic::default() }
    }

    #[test]
    fn interfaces_are_found_by_name_address_and_place() {
        let nics = [nic("eth0", 1, "0000:01:00.0"), nic("eth1", 2, ""), nic("eth2", 2, "")];
        let find = |name: &str| find(&name.parse().unwrap(), &nics);
        assert_eq!(find("eth9"), Ok("eth9".into()), "it may be a port of another kind");
        assert_eq!(find("02:00:00:00:00:01"), Ok("eth0".into()));
        assert_eq!(find("pci:01:00.0"), Ok("eth0".into()));
        assert_eq!(
            find("pci:02:00.0"),
            Err("pci:0000:02:00.0: no such interface; there are: eth0 (mac:02:00:00:00:00:01, \
                 pci:0000:01:00.0), eth1 (mac:02:00:00:00:00:02), eth2 (mac:02:00:00:00:00:02)"
                .into())
        );
        let two = find("mac:02:00:00:00:00:02").unwrap_err();
        assert!(two.contains("eth1, eth2 all have it"), "{two}");
    }

    #[test]
    fn the_address_by_birth_counts_before_one_that_was_given() {
        let mut born = nic("eth0", 9, "");
        born.permanent_mac = Some([2, 0, 0, 0, 0, 1]);
        assert_eq!(find(&"02:00:00:00:00:01".parse().unwrap(), &[born]), Ok("eth0".into()));
    }
}
