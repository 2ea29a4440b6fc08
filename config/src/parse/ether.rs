//! `ether` rules: their grammar, what their words mean, and what their lists stand for. As in
//! FreeBSD's pfctl (`expand_eth_rule`) the outermost loop is the interface, then the protocol (here
//! the VLAN before it), source, destination, and the addresses behind `l3`; an address brings its
//! ethertype with it, and pairs of different families are left out in silence.

use nom::branch::alt;
use nom::combinator::{map, opt};
use nom::sequence::{pair, preceded};
use nom::{Err, Parser};

use super::expand::MAX_RULES;
use super::grammar::{
    Fault, Host, Input, InterfaceItem, Parsed, cut, direction, host, interface, list, plain,
    symbol, word,
};
use super::label::{LONGEST, first_macro};
use super::lexer::{Kind, Token};
use super::resolve::{Resolved, ResolvedHost, Resolver, decimal};
use super::words::{is_keyword, nearest, refusal, shorten, with_hint};
use super::{shown, stray};
use crate::ether::{EtherRule, MacMatch, VlanMatch, mask_of, octets};
use crate::names;
use crate::rules::{Address, Direction, Family, Interface, Tagged};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const MAC_CONTROL: u16 = 0x8808;
/// Ethertypes of tags: 802.1Q, 802.1ad, and what was used before that.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// The words of an `ether` rule, for near misses.
#[rustfmt::skip]
pub(super) const WORDS: &[&str] = &[
    "pass", "block", "in", "out", "quick", "on", "vlan", "proto", "all", "from", "to", "l3",
    "label", "tag", "tagged",
];

/// A rule as written.
#[derive(Debug)]
pub(super) struct EtherLine<'t, 's> {
    keyword: &'t Token<'s>,
    pass: bool,
    direction: Option<Direction>,
    quick: bool,
    interfaces: Vec<InterfaceItem<'t, 's>>,
    vlans: Vec<&'t Token<'s>>,
    protocols: Vec<&'t Token<'s>>,
    from: Vec<Mac<'t, 's>>,
    to: Vec<Mac<'t, 's>>,
    l3_from: Vec<Host<'t, 's>>,
    l3_to: Vec<Host<'t, 's>>,
    label: Option<&'t Token<'s>>,
    tag: Option<&'t Token<'s>>,
    tagged: Option<(bool, &'t Token<'s>)>,
}

/// `[!] address [/ bits]`; `&mask` is part of the word.
#[derive(Debug)]
struct Mac<'t, 's> {
    not: bool,
    address: &'t Token<'s>,
    bits: Option<&'t Token<'s>>,
}

/// A rule, and what of the statement it does not understand.
pub(super) fn ether<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, EtherLine<'t, 's>> {
    let (input, keyword) = word("ether")(input)?;
    if input[0].is_word("anchor") {
        return refuse(&input[0], "anchors of `ether` rules are not built");
    }
    let (input, verb) = cut(alt((word("pass"), word("block")))).parse(input)?;
    let pass = verb.text == "pass";
    if !pass && input[0].kind == Kind::Word && input[0].text.starts_with("return") {
        return refuse(&input[0], "an `ether` rule blocks without an answer");
    }
    let (input, _) = if pass { (input, None) } else { opt(word("drop")).parse(input)? };
    let (input, direction) = opt(direction).parse(input)?;
    if input[0].is_word("log") {
        return refuse(&input[0], "`ether` rules do not log: count with a label, or log the tag");
    }
    let (input, quick) = opt(word("quick")).parse(input)?;
    let (input, interfaces) = opt(preceded(word("on"), cut(list(interface)))).parse(input)?;
    let (input, vlans) = opt(preceded(word("vlan"), cut(list(tag_word)))).parse(input)?;
    let (input, protocols) =
        opt(preceded(word("proto"), cut(list(ethertype_word)))).parse(input)?;
    let (input, (from, to)) = sides(mac)(input)?;
    let (input, l3) = opt(preceded(word("l3"), cut(sides(address)))).parse(input)?;
    let (l3_from, l3_to) = l3.unwrap_or_default();
    let mut line = EtherLine {
        keyword,
        pass,
        direction,
        quick: quick.is_some(),
        interfaces: interfaces.unwrap_or_default(),
        vlans: vlans.unwrap_or_default(),
        protocols: protocols.unwrap_or_default(),
        from,
        to,
        l3_from,
        l3_to,
        label: None,
        tag: None,
        tagged: None,
    };
    let input = options(input, &mut line)?;
    Ok((input, line))
}

/// What is wrong with a word behind the last one that the rule could use, and what may stand there.
pub(super) fn unexpected(at: &Token<'_>) -> (String, Vec<String>) {
    const ORDER: &str = "ether pass|block, in|out, quick, on, vlan, proto, from .. to, l3, then \
                         label, tag, tagged";
    let text = &*at.text;
    let message = if at.kind == Kind::Stray {
        stray(at)
    } else if at.is_symbol(",") {
        "unexpected `,`: a list needs braces around it".to_owned()
    } else if ["keep", "modulate", "synproxy"].iter().any(|word| at.is_word(word)) {
        "an `ether` rule keeps no state".to_owned()
    } else if at.kind == Kind::Word
        && let Some(message) = (!WORDS.contains(&text)).then(|| refusal(text)).flatten()
    {
        message
    } else if at.kind == Kind::Word && (WORDS.contains(&text) || is_keyword(text)) {
        format!("`{text}` is out of place here: the order of an `ether` rule is {ORDER}")
    } else {
        let message = format!("unexpected {}", shown(at));
        with_hint(message, "", nearest(text, WORDS.iter().copied()))
    };
    (message, ["label", "tag", "tagged"].map(str::to_owned).into())
}

fn refuse<'t, 's, T>(at: &'t Token<'s>, message: &str) -> Parsed<'t, 's, T> {
    Err(Err::Failure(Fault::message(at, message)))
}

/// `all`, or `from` and `to` or one of them, or nothing.
fn sides<'t, 's: 't, T>(
    mut item: impl FnMut(Input<'t, 's>) -> Parsed<'t, 's, T>,
) -> impl FnMut(Input<'t, 's>) -> Parsed<'t, 's, (Vec<T>, Vec<T>)> {
    move |input| {
        let (input, all) = opt(word("all")).parse(input)?;
        if all.is_some() {
            return Ok((input, (Vec::new(), Vec::new())));
        }
        let (input, from) = opt(preceded(word("from"), cut(list(&mut item)))).parse(input)?;
        let (input, to) = opt(preceded(word("to"), cut(list(&mut item)))).parse(input)?;
        Ok((input, (from.unwrap_or_default(), to.unwrap_or_default())))
    }
}

fn tag_word<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    alt((word("any"), plain("a VLAN id"))).parse(input)
}

fn ethertype_word<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, &'t Token<'s>> {
    alt((word("inet"), word("inet6"), plain("an ethertype"))).parse(input)
}

fn mac<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Mac<'t, 's>> {
    let (input, not) = opt(symbol("!")).parse(input)?;
    let bits = preceded(symbol("/"), cut(plain("a number of bits")));
    map(pair(alt((word("any"), plain("a hardware address"))), opt(bits)), move |(address, bits)| {
        Mac { not: not.is_some(), address, bits }
    })
    .parse(input)
}

fn address<'t, 's>(input: Input<'t, 's>) -> Parsed<'t, 's, Host<'t, 's>> {
    if input[0].is_word("port") {
        return refuse(&input[0], "`l3` looks at addresses only: ports are for IP rules");
    }
    let (input, host) = host(input)?;
    if input[0].is_word("port") {
        return refuse(&input[0], "`l3` looks at addresses only: ports are for IP rules");
    }
    Ok((input, host))
}

/// What comes in any order at the end of a rule, each at most once.
fn options<'t, 's>(
    mut input: Input<'t, 's>,
    line: &mut EtherLine<'t, 's>,
) -> Result<Input<'t, 's>, Err<Fault<'t, 's>>> {
    loop {
        let at = &input[0];
        let not = at.is_symbol("!") && input[1].is_word("tagged");
        let keyword = if not { &input[1] } else { at };
        let known = match &*keyword.text {
            "label" => line.label.is_some(),
            "tag" => line.tag.is_some(),
            "tagged" => line.tagged.is_some(),
            _ => return Ok(input),
        };
        if keyword.kind != Kind::Word {
            return Ok(input);
        }
        if known {
            let message = format!("`{}` stands twice in this rule", keyword.text);
            return Err(Err::Failure(Fault::message(keyword, message)));
        }
        let rest = &input[if not { 2 } else { 1 }..];
        let what = if keyword.text == "label" { "a label" } else { "the name of a tag" };
        let (rest, name) = cut(plain(what)).parse(rest)?;
        match &*keyword.text {
            "label" => line.label = Some(name),
            "tag" => line.tag = Some(name),
            _ => line.tagged = Some((not, name)),
        }
        input = rest;
    }
}

/// Appends what the rule stands for to `rules`, or says why it cannot.
pub(super) fn expand(
    line: &EtherLine<'_, '_>,
    rules: &mut Vec<EtherRule>,
    resolver: &mut Resolver<'_, '_>,
) {
    let Some(lists) = resolve(line, resolver) else { return };
    if line.tag.is_some() && line.direction == Some(Direction::Out) {
        let message = "the tag has no effect: leaving frames have been through the IP rules";
        resolver.warning(line.tag.unwrap_or(line.keyword), message.to_owned());
    }
    let pairs =
        [Layer3::Any, Layer3::Only(Family::Inet), Layer3::Only(Family::Inet6), Layer3::None]
            .map(|behind| (behind, address_pairs(behind, &lists.l3_from, &lists.l3_to)));
    let of = |ethertype| {
        let wanted = layer3(ethertype);
        pairs.iter().find(|(behind, _)| *behind == wanted).map_or(&[][..], |(_, pairs)| pairs)
    };
    let per_protocol: u64 =
        lists.protocols.iter().map(|&ethertype| of(ethertype).len() as u64).sum();
    let others = [&lists.interfaces.len(), &lists.vlans.len(), &lists.from.len(), &lists.to.len()];
    let count = others.into_iter().fold(per_protocol, |n, &length| n.saturating_mul(length as u64));
    if count == 0 {
        resolver.error::<()>(line.keyword, "the rule expands to no valid combination");
        return;
    }
    if count.saturating_add(rules.len() as u64) > MAX_RULES as u64 {
        let message = format!(
            "this rule expands to {count} rules, and a rule set may have {MAX_RULES} at most"
        );
        resolver.error::<()>(line.keyword, message);
        return;
    }
    let source = resolver.source(line.keyword);
    for interface in &lists.interfaces {
        for &vlan in &lists.vlans {
            for &ethertype in &lists.protocols {
                for &from in &lists.from {
                    for &to in &lists.to {
                        for &(l3_from, l3_to) in of(ethertype) {
                            let family = l3_from.family.or(l3_to.family);
                            rules.push(EtherRule {
                                pass: line.pass,
                                direction: line.direction,
                                quick: line.quick,
                                interface: interface.clone(),
                                vlan,
                                ethertype: ethertype.or(family.map(ethertype_of)),
                                from,
                                to,
                                l3_from: endpoint(l3_from),
                                l3_to: endpoint(l3_to),
                                label: lists.label.clone(),
                                tag: lists.tag.clone(),
                                tagged: lists.tagged.clone(),
                                source,
                            });
                        }
                    }
                }
            }
        }
    }
}

/// Every criterion with its words looked up; what was not written is a list of one `None`.
struct Lists {
    interfaces: Vec<Option<Interface>>,
    vlans: Vec<Option<VlanMatch>>,
    protocols: Vec<Option<u16>>,
    from: Vec<Option<MacMatch>>,
    to: Vec<Option<MacMatch>>,
    l3_from: Vec<ResolvedHost>,
    l3_to: Vec<ResolvedHost>,
    label: Option<String>,
    tag: Option<String>,
    tagged: Option<Tagged>,
}

fn resolve(line: &EtherLine<'_, '_>, resolver: &mut Resolver<'_, '_>) -> Resolved<Lists> {
    fn or_none<T>(list: Vec<Option<T>>) -> Vec<Option<T>> {
        if list.is_empty() { vec![None] } else { list }
    }
    fn or_any(list: Vec<ResolvedHost>) -> Vec<ResolvedHost> {
        let any = ResolvedHost { not: false, address: Address::Any, family: None };
        if list.is_empty() { vec![any] } else { list }
    }
    let interfaces = resolver.all(&line.interfaces, |r, item| r.interface(item).map(Some));
    let vlans = resolver.all(&line.vlans, |r, at| vlan(at, r).map(Some));
    let protocols = resolver.all(&line.protocols, |r, at| ethertype(at, line.pass, r).map(Some));
    let from = resolver.all(&line.from, |r, mac| hardware_address(mac, r));
    let to = resolver.all(&line.to, |r, mac| hardware_address(mac, r));
    let l3_from = resolver.all(&line.l3_from, |r, host| l3_address(host, r));
    let l3_to = resolver.all(&line.l3_to, |r, host| l3_address(host, r));
    let label = optional(line.label, |at| label(at, resolver));
    let tag = optional(line.tag, |at| tag_name(at, resolver));
    let tagged =
        optional(line.tagged, |(not, at)| tag_name(at, resolver).map(|tag| Tagged { not, tag }));
    let (protocols, l3_from, l3_to) = (or_none(protocols?), or_any(l3_from?), or_any(l3_to?));
    let asks_for_addresses =
        [&l3_from, &l3_to].into_iter().flatten().any(|host| host.address != Address::Any);
    if asks_for_addresses
        && let Some(at) = protocols.iter().position(|&written| layer3(written) == Layer3::None)
    {
        let message = "`l3` looks into `ip`, `ip6` and `arp` only";
        return resolver.error(line.protocols.get(at).copied().unwrap_or(line.keyword), message);
    }
    Some(Lists {
        interfaces: or_none(interfaces?),
        vlans: or_none(vlans?),
        protocols,
        from: or_none(from?),
        to: or_none(to?),
        l3_from,
        l3_to,
        label: label?,
        tag: tag?,
        tagged: tagged?,
    })
}

fn optional<A, T>(at: Option<A>, one: impl FnOnce(A) -> Resolved<T>) -> Resolved<Option<T>> {
    match at {
        Some(at) => one(at).map(Some),
        None => Some(None),
    }
}

fn label(at: &Token<'_>, resolver: &mut Resolver<'_, '_>) -> Resolved<String> {
    let text = resolver.label(at)?;
    if text.is_empty() {
        return resolver.error(at, "the label is empty");
    }
    if let Some(name) = first_macro(&text) {
        let message = format!("`{name}` is not replaced in the label of an `ether` rule");
        return resolver.error(at, message);
    }
    if text.len() > LONGEST {
        return resolver.error(at, format!("the label is longer than {LONGEST} bytes"));
    }
    Some(text)
}

fn tag_name(at: &Token<'_>, resolver: &mut Resolver<'_, '_>) -> Resolved<String> {
    resolver.check_name(at, &at.text, "tag", LONGEST)?;
    Some(at.text.to_string())
}

fn vlan(at: &Token<'_>, resolver: &mut Resolver<'_, '_>) -> Resolved<VlanMatch> {
    const LAST: u64 = 4094;
    match &*at.text {
        "none" => return Some(VlanMatch::Untagged),
        "any" => return Some(VlanMatch::Tagged),
        _ => {}
    }
    let id = |text: &str| decimal(text).filter(|id| (1..=LAST).contains(id)).map(|id| id as u16);
    let (low, high) = at.text.split_once(':').unwrap_or((&at.text, &at.text));
    match (id(low), id(high)) {
        (Some(low), Some(high)) if low <= high => Some(VlanMatch::Ids(low, high)),
        (Some(low), Some(high)) => {
            resolver.error(at, format!("the range of VLANs is empty: {high} comes before {low}"))
        }
        _ => {
            let message = format!(
                "`{}` is no VLAN: expected 1 to {LAST}, a range `a:b`, `any` or `none`",
                shorten(&at.text)
            );
            resolver.error(at, message)
        }
    }
}

fn ethertype(at: &Token<'_>, pass: bool, resolver: &mut Resolver<'_, '_>) -> Resolved<u16> {
    let text = &*at.text;
    if text == "llc" {
        return Some(EtherRule::LLC);
    }
    let number = match text.strip_prefix("0x") {
        Some(hex) if !hex.is_empty() && hex.len() <= 8 => u64::from_str_radix(hex, 16).ok(),
        _ => decimal(text),
    };
    let number = match number.map(u16::try_from) {
        None => names::ethertype_by_name(text),
        Some(Ok(number @ 0x600..)) => Some(number),
        Some(_) => {
            let message = format!(
                "`{}` is no ethertype: expected 0x0600 to 0xffff (what is below is a length: \
                 `llc`)",
                shorten(text)
            );
            return resolver.error(at, message);
        }
    };
    match number {
        None => {
            let message = format!("unknown ethertype `{}`", shorten(text));
            let near = nearest(text, names::ethertype_names());
            resolver.error(at, with_hint(message, "", near))
        }
        Some(number) if TAGS.contains(&number) => {
            resolver.error(at, "tags are no protocol: `vlan` looks at them")
        }
        Some(MAC_CONTROL) if pass => {
            resolver.error(at, "MAC control frames (PAUSE) never cross a bridge")
        }
        number => number,
    }
}

/// `None` inside is any address.
fn hardware_address(
    mac: &Mac<'_, '_>,
    resolver: &mut Resolver<'_, '_>,
) -> Resolved<Option<MacMatch>> {
    let at = mac.address;
    if at.text == "any" {
        return match (mac.not, mac.bits) {
            (true, _) => resolver.error(at, "`! any` matches nothing"),
            (_, Some(bits)) => resolver.error(bits, "nothing can be added to `any`"),
            _ => Some(None),
        };
    }
    let (address, mask) = match at.text.split_once('&') {
        Some((address, mask)) => (octets(address), octets(mask)),
        None => (octets(&at.text), Some([0xff; 6])),
    };
    let (Some(address), Some(mask)) = (address, mask) else {
        let message = format!(
            "`{}` is no hardware address: expected aa:bb:cc:dd:ee:ff, with `/bits` or `&mask` \
             behind it if it is to stand for many",
            shorten(&at.text)
        );
        return resolver.error(at, message);
    };
    let mask = match mac.bits {
        Some(bits) if at.text.contains('&') => {
            return resolver.error(bits, "an address has `/bits` or `&mask`, not both");
        }
        Some(bits) => mask_of(resolver.number(bits, "number of bits", 48)?),
        None => mask,
    };
    if mask == [0; 6] {
        return if mac.not {
            resolver.error(at, "`!` before all addresses matches nothing")
        } else {
            Some(None)
        };
    }
    let address = std::array::from_fn(|i| address[i] & mask[i]);
    Some(Some(MacMatch { not: mac.not, address, mask }))
}

fn l3_address(host: &Host<'_, '_>, resolver: &mut Resolver<'_, '_>) -> Resolved<ResolvedHost> {
    let resolved = resolver.host(host)?;
    match resolved.address {
        Address::UrpfFailed => resolver.error(host.first, "`l3` takes addresses and tables only"),
        _ => Some(resolved),
    }
}

/// What addresses the frames of an ethertype have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer3 {
    /// Those of any family: no ethertype was written.
    Any,
    Only(Family),
    /// None that `l3` knows of.
    None,
}

const fn layer3(ethertype: Option<u16>) -> Layer3 {
    match ethertype {
        None => Layer3::Any,
        Some(IPV4 | ARP) => Layer3::Only(Family::Inet),
        Some(IPV6) => Layer3::Only(Family::Inet6),
        Some(_) => Layer3::None,
    }
}

const fn ethertype_of(family: Family) -> u16 {
    match family {
        Family::Inet => IPV4,
        Family::Inet6 => IPV6,
    }
}

/// The sources and destinations that go together behind such an ethertype, up to one more than a
/// rule set can have.
fn address_pairs<'h>(
    behind: Layer3,
    from: &'h [ResolvedHost],
    to: &'h [ResolvedHost],
) -> Vec<(&'h ResolvedHost, &'h ResolvedHost)> {
    let fits = |host: &&ResolvedHost| match (behind, host.family) {
        (Layer3::Any, _) | (_, None) => true,
        (Layer3::Only(family), Some(its)) => family == its,
        (Layer3::None, Some(_)) => false,
    };
    let destinations = [None, Some(Family::Inet), Some(Family::Inet6)].map(|family| {
        let pairs = |host: &&ResolvedHost| {
            family.is_none() || host.family.is_none() || host.family == family
        };
        (family, to.iter().filter(fits).filter(pairs).collect::<Vec<_>>())
    });
    from.iter()
        .filter(fits)
        .flat_map(|source| {
            let found = destinations.iter().find(|(family, _)| *family == source.family);
            found.map_or(&[][..], |(_, list)| list).iter().map(move |&to| (source, to))
        })
        .take(MAX_RULES + 1)
        .collect()
}

fn endpoint(host: &ResolvedHost) -> Option<(bool, Address)> {
    // `0/0` has done its work when it brought its ethertype along.
    (host.address != Address::Any).then(|| (host.not, host.address.clone()))
}
