//! Which two interfaces to bridge.

use super::{Nic, ZeroCopy};

/// Two interfaces, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Names of the two.
    pub pair: [String; 2],
    /// What speaks for them, in words.
    pub why: Vec<String>,
}

/// Picks two of `nics`: neither in use, as alike as there are. `Err` says of each why it was left out,
/// when fewer than two remain.
///
/// # Errors
/// A sentence for each interface that cannot be taken.
pub fn recommend(nics: &[Nic]) -> Result<Recommendation, Vec<String>> {
    let free: Vec<&Nic> = nics.iter().filter(|nic| objection(nic).is_none()).collect();
    let pairs = free.iter().enumerate().flat_map(|(i, first)| {
        free[i + 1..].iter().map(move |second| (score(first, second), [*first, *second]))
    });
    // Of equals the first, so that the same machine always gets the same answer.
    let best = pairs.reduce(|best, pair| if pair.0 > best.0 { pair } else { best });
    let Some((_, [first, second])) = best else {
        let objections = nics.iter().filter_map(|nic| Some((nic, objection(nic)?)));
        return Err(objections.map(|(nic, text)| format!("{} {text}", nic.name)).collect());
    };
    Ok(Recommendation {
        pair: [first.name.clone(), second.name.clone()],
        why: reasons(first, second),
    })
}

/// Why an interface is not to be a port.
fn objection(nic: &Nic) -> Option<String> {
    if nic.default_route {
        return Some("has the default route".to_owned());
    }
    if let Some(address) = nic.addresses.first() {
        return Some(format!("has the address {address}"));
    }
    if let Some(master) = &nic.master {
        return Some(format!("belongs to {master}"));
    }
    if nic.wireless {
        return Some(
            "is wireless: an access point takes only its station's own address".to_owned(),
        );
    }
    match nic.kind.as_deref() {
        None | Some("veth") => None,
        Some(kind) => Some(format!("is no hardware ({kind})")),
    }
}

/// How good a port an interface can be.
fn worth(nic: &Nic) -> u32 {
    nic.known().map_or(0, |driver| match driver.zero_copy {
        ZeroCopy::Since(_) => 3,
        ZeroCopy::No if driver.netmap => 2,
        ZeroCopy::No => u32::from(driver.xdp),
    })
}

/// Higher is better: hardware before the rest, two that keep step with each other before fast ones.
fn score(first: &Nic, second: &Nic) -> [u32; 7] {
    let both = |holds: &dyn Fn(&Nic) -> bool| u32::from(holds(first) && holds(second));
    [
        both(&|nic| nic.kind.is_none()),
        u32::from(first.node == second.node),
        u32::from(first.speed == second.speed),
        u32::from(first.driver == second.driver),
        worth(first).min(worth(second)),
        first.speed.unwrap_or(0).min(second.speed.unwrap_or(0)),
        both(&|nic| nic.carrier == Some(true)),
    ]
}

fn reasons(first: &Nic, second: &Nic) -> Vec<String> {
    let mut why = vec!["neither has an address or a route".to_owned()];
    match (&first.driver, &second.driver) {
        (Some(one), Some(other)) if one == other => why.push(format!("same driver ({one})")),
        (one, other) => {
            let name = |driver: &Option<String>| driver.clone().unwrap_or("unknown".to_owned());
            why.push(format!(
                "but different drivers ({}, {}): both run in the mode that the weaker one can",
                name(one),
                name(other)
            ));
        }
    }
    match (first.speed, second.speed) {
        (Some(one), Some(other)) if one == other => why.push(format!("same speed ({one} Mbit/s)")),
        (Some(one), Some(other)) => why.push(format!(
            "but different speeds ({one} and {other} Mbit/s): bursts are lost on the slower one"
        )),
        _ => {}
    }
    if let (Some(one), Some(other)) = (first.node, second.node) {
        why.push(if one == other {
            format!("same NUMA node ({one})")
        } else {
            format!("but on NUMA nodes {one} and {other}")
        });
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, driver: &str, node: u32, speed: Option<u32>) -> Nic {
        Nic {
            name: name.into(),
            driver: Some(driver.into()),
            node: Some(node),
            speed,
            carrier: Some(speed.is_some()),
            ..Nic::default()
        }
    }

    #[test]
    fn the_one_that_leads_to_the_owner_is_left_alone() {
        let mut nics = vec![
            nic("eno1", "igb", 0, Some(1000)),
            nic("eno2", "igb", 0, Some(1000)),
            nic("eno3", "igb", 0, Some(1000)),
        ];
        nics[0].default_route = true;
        let found = recommend(&nics).unwrap();
        assert_eq!(found.pair, ["eno2", "eno3"]);
        assert_eq!(
            found.why[1..],
            ["same driver (igb)", "same speed (1000 Mbit/s)", "same NUMA node (0)"]
        );
        nics[1].addresses.push("192.0.2.1/24".into());
        assert_eq!(
            recommend(&nics),
            Err(vec![
                "eno1 has the default route".into(),
                "eno2 has the address 192.0.2.1/24".into()
            ])
        );
    }

    #[test]
    fn alike_before_fast_and_near_before_alike() {
        let nics = [
            nic("a", "ixgbe", 0, Some(10_000)),
            nic("b", "igb", 0, Some(1000)),
            nic("c", "igb", 0, Some(1000)),
            nic("d", "ixgbe", 1, Some(10_000)),
        ];
        assert_eq!(recommend(&nics).unwrap().pair, ["b", "c"]);
        let found = recommend(&[nics[0].clone(), nics[3].clone()]).unwrap();
        assert!(found.why.contains(&"but on NUMA nodes 0 and 1".to_owned()), "{:?}", found.why);
    }

    #[test]
    fn what_is_no_hardware_comes_last_or_never() {
        let mut bridge = nic("br0", "bridge", 0, None);
        bridge.kind = Some("bridge".into());
        let mut veth = nic("v0", "veth", 0, Some(10_000));
        veth.kind = Some("veth".into());
        let nics = [bridge, veth.clone(), Nic { name: "v1".into(), ..veth }];
        assert_eq!(recommend(&nics).unwrap().pair, ["v0", "v1"]);
        assert_eq!(recommend(&[]), Err(vec![]));
        let wireless = Nic { wireless: true, ..nic("wlan0", "iwlwifi", 0, Some(1000)) };
        let said = recommend(&[wireless, nic("a", "igb", 0, None)]).unwrap_err();
        assert!(said[0].starts_with("wlan0 is wireless: "), "{said:?}");
    }
}
