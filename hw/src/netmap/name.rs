//! Names of netmap ports that are no interfaces of the kernel.

/// Whether `name` is a pipe (`name{N` or `name}N`, its two ends) or a port of a VALE switch
/// (`valeX:Y`): netmap makes these itself, and nothing else of the kernel knows them.
pub fn is_virtual(name: &str) -> bool {
    is_pipe(name) || is_vale(name)
}

/// Whether both names are of the same pipe, its two ends or one of them twice.
pub fn are_ends_of_one_pipe(first: &str, second: &str) -> bool {
    pipe(first).is_some_and(|first| pipe(second) == Some(first))
}

/// The VALE switch that both ports belong to, if they do: it forwards between them by itself. A pipe
/// that is named after a port of it has nothing to do with it.
pub fn shared_switch<'a>(first: &'a str, second: &str) -> Option<&'a str> {
    switch(first).filter(|&shared| switch(second) == Some(shared))
}

fn switch(name: &str) -> Option<&str> {
    name.split_once(':').filter(|_| is_vale(name)).map(|(switch, _)| switch)
}

fn is_pipe(name: &str) -> bool {
    pipe(name).is_some()
}

/// What a pipe is named after, and its number without leading zeros.
fn pipe(name: &str) -> Option<(&str, &str)> {
    let (parent, number) = name.rsplit_once(['{', '}'])?;
    let sound = !parent.is_empty()
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (!parent.contains([':', '{', '}']) || is_vale(parent));
    sound.then(|| (parent, number.trim_start_matches('0')))
}

fn is_vale(name: &str) -> bool {
    name.strip_prefix("vale").and_then(|rest| rest.split_once(':')).is_some_and(|(switch, port)| {
        switch.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !port.is_empty()
            && !port.contains([':', '{', '}'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_with_a_way_past_us_are_found() {
        for (first, second) in [("x{1", "x}1"), ("x{1", "x{01"), ("vale0:a{0", "vale0:a}0")] {
            assert!(are_ends_of_one_pipe(first, second), "{first} {second}");
            assert_eq!(shared_switch(first, second), None);
        }
        for (first, second) in [("x{1", "x}2"), ("x{1", "y}1"), ("x{1", "x"), ("x", "x")] {
            assert!(!are_ends_of_one_pipe(first, second), "{first} {second}");
        }
        assert_eq!(shared_switch("vale0:a", "vale0:b"), Some("vale0"));
        for (first, second) in [("vale0:a", "vale1:b"), ("vale0:a", "eth0"), ("a:b", "a:c")] {
            assert_eq!(shared_switch(first, second), None, "{first} {second}");
        }
    }

    #[test]
    fn pipes_and_vale_ports_are_told_from_interfaces() {
        for name in ["eth0{1", "eth0}12", "x{0", "vale0:a", "vale:a", "vale1_b:eth0", "vale0:a{1"] {
            assert!(is_virtual(name), "{name}");
        }
        for name in
            ["eth0", "vale0", "valet", "eth0:1", "{1", "eth0{", "eth0{1a", "vale0:", "a{1}2"]
        {
            assert!(!is_virtual(name), "{name}");
        }
    }
}
