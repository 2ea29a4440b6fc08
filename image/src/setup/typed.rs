//! What is typed at the dialogue, read.

use std::net::{IpAddr, SocketAddr};

use super::answers::Logs;

/// Columns of the smallest terminal.
const COLUMNS: usize = 80;

/// Most servers, ports and addresses that the dialogue takes; a file may have more.
pub(super) const MOST: usize = 16;

/// Text whose lines fit a terminal, broken between words; the last one is ended.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split_inclusive(' ') {
            let length = word.trim_end().chars().count();
            if width > 0 && width + length >= COLUMNS {
                folded.push_str("\n   ");
                width = 3;
            }
            folded.push_str(word);
            width += word.chars().count();
        }
        folded.push('\n');
    }
    folded
}

/// The items of a list as it is typed.
pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ' ']).filter(|item| !item.is_empty() && *item != "none")
}

pub(super) fn distinct<T: PartialEq + ToString>(
    list: Vec<T>,
    least: usize,
    most: usize,
) -> Result<Vec<T>, String> {
    let twice = (1..list.len()).find(|&at| list[..at].contains(&list[at]));
    if let Some(twice) = twice.map(|at| &list[at]) {
        return Err(format!("{} stands there twice.", twice.to_string()));
    }
    if list.len() < least {
        return Err("Type at least one.".into());
    }
    if list.len() > most {
        return Err(format!("These are more than {most}."));
    }
    Ok(list)
}

/// Addresses of hosts.
pub(super) fn hosts(text: &str, least: usize, most: usize) -> Result<Vec<IpAddr>, String> {
    let read = |item: &str| host(item).ok_or_else(|| format!("`{item}` is no address of a host."));
    distinct(items(text).map(read).collect::<Result<_, _>>()?, least, most)
}

fn host(text: &str) -> Option<IpAddr> {
    let broadcast = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    text.parse().ok().filter(|address: &IpAddr| {
        !address.is_unspecified()
            && !address.is_multicast()
            && !address.is_loopback()
            && !broadcast(address)
    })
}

pub(super) fn ports(text: &str) -> Result<Vec<u16>, String> {
    let read = |item: &str| match item.parse() {
        Ok(0) | Err(_) => Err(format!("`{item}` is no port from 1 to 65535.")),
        Ok(port) => Ok(port),
    };
    distinct(items(text).map(read).collect::<Result<_, _>>()?, 1, MOST)
}

/// A log server.
pub(super) fn logs(text: &str) -> Result<Logs, String> {
    if text == "none" {
        return Ok(Logs::None);
    }
    let (tcp, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (true, rest),
        Some(("udp", rest)) => (false, rest),
        Some(("tls", _)) => return Err("TLS needs files: set it up later, weir-log(5).".into()),
        _ => (false, text),
    };
    // RFC 5426 for UDP; RFC 6587 has no port for TCP, and 601 is what RFC 3195 got.
    let usual = if tcp { 601 } else { 514 };
    let whole = rest.parse::<SocketAddr>().ok();
    let address = whole.or_else(|| rest.parse().ok().map(|ip| SocketAddr::new(ip, usual)));
    match address.filter(|address| host(&address.ip().to_string()).is_some() && address.port() != 0)
    {
        Some(address) if tcp => Ok(Logs::Tcp(address)),
        Some(address) => Ok(Logs::Udp(address)),
        None => Err(format!("`{text}` is no address, as in 192.0.2.5 or tcp:192.0.2.5:601.")),
    }
}
