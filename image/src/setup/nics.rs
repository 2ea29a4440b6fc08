//! The interfaces as they are shown and chosen.

use std::fmt::Write as _;
use std::io;

use weir_config::settings::NicName;
use weir_hw::Nic;
use weir_hw::inventory::recommend;

/// How often links are looked at until one has changed.
pub(super) const ROUNDS: usize = 40;

/// What the dialogue sees of the machine.
pub(super) trait World {
    /// The interfaces, by name.
    ///
    /// # Errors
    /// When the kernel does not list them.
    fn nics(&mut self) -> io::Result<Vec<Nic>>;

    /// Lets an eighth of a second pass.
    fn pause(&mut self);

    /// The clock, in seconds since 1970.
    fn now(&self) -> i64;
}

/// All of them with their numbers.
pub(super) fn table(nics: &[Nic]) -> String {
    if nics.is_empty() {
        return "   There is no NIC that weir has a driver for.\n".to_owned();
    }
    rows(nics, &(0..nics.len()).collect::<Vec<_>>())
}

/// Some of them.
pub(super) fn rows(nics: &[Nic], which: &[usize]) -> String {
    let mut text = "   no name     driver        Mbit/s link hardware address  place\n".to_owned();
    for (at, nic) in which.iter().filter_map(|&at| Some((at, nics.get(at)?))) {
        let link = match nic.carrier {
            Some(true) => "up",
            Some(false) => "none",
            None => "?",
        };
        let speed = nic.speed.map_or("-".to_owned(), |speed| speed.to_string());
        let mac = NicName::Mac(nic.mac).to_string().replacen("mac:", "", 1);
        let driver: String = nic.driver.as_deref().unwrap_or("-").chars().take(13).collect();
        let place = nic.pci.as_deref().unwrap_or("-");
        let _ = writeln!(
            text,
            "   {:>2} {:<8} {driver:<13} {speed:>6} {link:<4} {mac} {place}",
            at + 1,
            nic.name
        );
    }
    text
}

/// What is said of the best two.
pub(super) fn advice(nics: &[Nic]) -> String {
    match recommend(nics) {
        Ok(advice) => {
            let [first, second] = &advice.pair;
            format!("Recommended: {first} and {second}.\n")
        }
        Err(_) => "Fewer than two NICs can be ports: a bridge needs two.\n".to_owned(),
    }
}

/// The best two, the first for lan.
pub(super) fn proposal(nics: &[Nic]) -> [Option<usize>; 2] {
    let Ok(advice) = recommend(nics) else { return [None; 2] };
    advice.pair.map(|name| nics.iter().position(|nic| nic.name == name))
}

/// Why one cannot be chosen.
pub(super) fn objection(nic: &Nic) -> Option<String> {
    if nic.wireless {
        return Some(format!("{} is wireless, which cannot be bridged.", nic.name));
    }
    if let Some(master) = &nic.master {
        return Some(format!("{} belongs to {master}.", nic.name));
    }
    nic.addresses.first().map(|address| format!("{} has the address {address}.", nic.name))
}

/// A name that stays the same whatever drivers do: the place, unless two share it; the address that it
/// was made with, unless two have it.
pub(super) fn lasting_name(nic: &Nic, nics: &[Nic]) -> NicName {
    if let Some(pci) = &nic.pci
        && nics.iter().filter(|other| other.pci.as_ref() == Some(pci)).count() == 1
    {
        return NicName::Pci(pci.clone());
    }
    let mac = nic.permanent_mac.unwrap_or(nic.mac);
    if mac != [0; 6] && nics.iter().filter(|other| other.has_mac(mac)).count() == 1 {
        return NicName::Mac(mac);
    }
    NicName::Interface(nic.name.clone())
}

/// Which one a name means.
pub(crate) fn index(nics: &[Nic], name: Option<&NicName>) -> Option<usize> {
    let name = name?;
    nics.iter().position(|nic| match name {
        NicName::Interface(name) => nic.name == *name,
        NicName::Mac(mac) => nic.has_mac(*mac),
        NicName::Pci(path) => nic.pci.as_ref() == Some(path),
    })
}

/// Who has a link.
pub(super) fn links(nics: &[Nic]) -> Vec<(String, bool)> {
    nics.iter().map(|nic| (nic.name.clone(), nic.carrier == Some(true))).collect()
}

/// Whose link is another than it was.
pub(super) fn changed(before: &[(String, bool)], now: &[(String, bool)]) -> Vec<String> {
    let other = |(name, link): &&(String, bool)| {
        before.iter().any(|(known, was)| known == name && was != link)
    };
    now.iter().filter(other).map(|(name, _)| name.clone()).collect()
}
