"""What attackers send in fragments, options and extension headers, made and sent by scapy.

crafted.py MAC MAC INET INET INET6 INET6: from the first of each to the second, out of eth0. Every
frame but those of `harmless` carries EVIL, which must not arrive. Prints a line of JSON: for each
attack, by which reasons its frames are to be dropped, and how many by each.
"""

import json
import sys

from scapy.config import conf
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (HBHOptUnknown, ICMPv6EchoRequest, ICMPv6ND_NS, IPv6,
                                IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting, Jumbo, PadN, RouterAlert)
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.sendrecv import sendp

SOURCE_MAC, TARGET_MAC, SOURCE, TARGET, SOURCE6, TARGET6 = sys.argv[1:]
ETHER = Ether(src=SOURCE_MAC, dst=TARGET_MAC)
EVIL = b"EVIL" * 400
MORE, DF = 1, 2

attacks = {}
numbers = iter(range(1, 60_000))


def attack(name, packets, **reasons):
    """Its frames, each dropped by one of the reasons (with - for _)."""
    expected = {reason.replace("_", "-"): count for reason, count in reasons.items()}
    assert sum(expected.values()) == len(packets), name
    attacks[name] = (packets, expected)


def part(number, begin, data, more, proto=17, **fields):
    """A fragment of IPv4."""
    assert begin % 8 == 0
    flags = fields.pop("flags", 0) | (MORE if more else 0)
    packet = IP(src=SOURCE, dst=TARGET, id=number, proto=proto, frag=begin // 8, flags=flags, **fields)
    return packet / Raw(bytes(data))


def part6(number, begin, data, more, nh=17, before=None, **fields):
    """A fragment of IPv6, perhaps behind another header."""
    assert begin % 8 == 0
    packet = IPv6(src=SOURCE6, dst=TARGET6, **fields)
    if before is not None:
        packet = packet / before
    return packet / IPv6ExtHdrFragment(id=number, offset=begin // 8, m=int(more), nh=nh) / Raw(bytes(data))


def udp(length):
    """A UDP header for so many bytes of data, and the data. It has no checksum."""
    return bytes(UDP(sport=4000, dport=4001, len=8 + length, chksum=0)) + EVIL[:length]


def udp6(length):
    """As `udp`; the checksum is whatever it is, nobody is to see it."""
    return bytes(UDP(sport=4000, dport=4001, len=8 + length, chksum=0xbeef)) + EVIL[:length]


def syn():
    return bytes(TCP(sport=4000, dport=80, flags="S", chksum=0xbeef)) + EVIL[:44]


def echo():
    return bytes(ICMP(chksum=0)) + EVIL[:1472]


# --- IPv4 in fragments that contradict each other.

n = next(numbers)
attack("teardrop", [part(n, 0, udp(32), True), part(n, 24, EVIL[:4], False)], frag_overlap=2)
n = next(numbers)
attack("newtear", [part(n, 0, udp(32), True), part(n, 8, EVIL[:8], False)], frag_overlap=2)
n = next(numbers)
attack("overlap that rewrites the end",
       [part(n, 0, udp(40), True), part(n, 24, EVIL[:48], True), part(n, 72, EVIL[:80], False)],
       frag_overlap=3)
n = next(numbers)
attack("overlap from behind",
       [part(n, 48, EVIL[:48], False), part(n, 24, EVIL[:32], True), part(n, 0, udp(16), True)],
       frag_overlap=3)
n = next(numbers)
attack("another header over the first",
       [part(n, 0, udp(40), True), part(n, 0, bytes(8) + EVIL[:40], True)],
       frag_overlap=2)
n = next(numbers)
attack("two ends", [part(n, 48, EVIL[:48], False), part(n, 96, EVIL[:16], False)], frag_overlap=2)
n = next(numbers)
attack("behind the end", [part(n, 48, EVIL[:48], False), part(n, 400, EVIL[:48], True)],
       frag_overlap=2)

# --- IPv4 in fragments that are none.

n = next(numbers)
attack("ping of death", [part(n, 0, echo(), True, proto=1), part(n, 65_512, EVIL[:400], False, proto=1)],
       frag_timeout=1, frag_length=1)
attack("jolt2", [part(next(numbers), 65_520, EVIL[:9], False, proto=1) for _ in range(20)],
       frag_length=20)
rose = []
for _ in range(40):
    n = next(numbers)
    rose += [part(n, 0, udp(32), True), part(n, 64_800, EVIL[:32], False)]
attack("rose", rose, frag_timeout=80)
attack("nothing in it", [part(next(numbers), 0, b"", True), part(next(numbers), 48, b"", False)],
       frag_length=2)
attack("no multiple of eight", [part(next(numbers), 0, udp(13), True)], frag_length=1)
attack("not to be fragmented", [part(next(numbers), 0, udp(32), True, flags=DF)], frag_df=1)
n = next(numbers)
attack("the same again", [part(n, 0, udp(32), True)] * 2, frag_duplicate=1, frag_timeout=1)
n = next(numbers)
attack("tiny first", [part(n, 0, syn()[:8], True, proto=6), part(n, 8, syn()[8:], False, proto=6)],
       frag_tiny=2)
n = next(numbers)
attack("flags written over",
       [part(n, 0, syn()[:24], True, proto=6), part(n, 8, syn()[8:], False, proto=6)],
       frag_timeout=1, frag_tiny=1)

# --- IPv4 options.

for name, option in [
    ("record route", b"\x07\x0b\x04" + bytes(8)),
    ("timestamp", b"\x44\x0c\x05\x00" + bytes(8)),
    ("loose source route", b"\x83\x07\x04" + bytes([192, 0, 2, 99])),
    ("strict source route", b"\x89\x07\x04" + bytes([192, 0, 2, 99])),
    ("security", b"\x82\x0b" + bytes(9)),
    ("stream", b"\x88\x04\x00\x01"),
    ("router alert", b"\x94\x04\x00\x00"),
    ("nothing but padding", b"\x01\x01\x01\x00"),
    ("unknown", b"\x99\x06EVIL"),
    ("a length of 0", b"\x07\x00\x04\x00"),
    ("a length beyond the header", b"\x83\xff\x04\x00"),
    ("all forty bytes", b"\x07\x27\x04" + bytes(36) + b"\x00"),
]:
    option += bytes(-len(option) % 4)
    packet = IP(src=SOURCE, dst=TARGET, options=[Raw(option)]) / UDP(sport=4000, dport=4001)
    attack(name, [packet / Raw(EVIL[:64])], ip_options=1)
n = next(numbers)
attack("a source route in the second fragment",
       [part(n, 0, udp(64)[:48], True),
        part(n, 48, udp(64)[48:], False, options=[Raw(b"\x83\x07\x04" + bytes(4) + b"\x00")])],
       ip_options=2)
attack("a header longer than the packet",
       [IP(src=SOURCE, dst=TARGET, ihl=15, len=40) / Raw(EVIL[:80])], ip_header_length=1)
attack("from everybody",
       [IP(src="255.255.255.255", dst=TARGET) / UDP(sport=4000, dport=4001) / Raw(EVIL[:64]),
        IP(src="224.0.0.1", dst=TARGET) / UDP(sport=4000, dport=4001) / Raw(EVIL[:64])],
       source_address=2)

# --- IPv6 in fragments.

n = next(numbers)
attack("overlap", [part6(n, 0, udp6(40), True), part6(n, 24, EVIL[:48], False)], frag_overlap=2)
n = next(numbers)
attack("overlap behind extension headers",
       [part6(n, 0, udp6(40), True, before=IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])),
        part6(n, 24, EVIL[:48], False, before=IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]))],
       frag_overlap=2)
n = next(numbers)
attack("an extension header in one fragment only",
       [part6(n, 0, udp6(64)[:48], True, before=IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])),
        part6(n, 48, udp6(64)[48:], False)],
       ip_options=2)
n = next(numbers)
attack("tiny first of IPv6", [part6(n, 0, syn()[:8], True, nh=6), part6(n, 8, syn()[8:], False, nh=6)],
       frag_tiny=2)
attack("no multiple of eight in IPv6", [part6(next(numbers), 0, udp6(13), True)], frag_length=1)
attack("beyond the longest packet", [part6(next(numbers), 65_520, EVIL[:400], False)], frag_length=1)
attack("options that go on behind the first fragment",
       [part6(next(numbers), 0, bytes([17, 30]) + EVIL[:54], True, nh=60)], frag_tiny=1)
attack("fragments of a fragment",
       [part6(next(numbers), 0, bytes(IPv6ExtHdrFragment(id=9, m=1, nh=17)) + udp6(32), True, nh=44)],
       extension_header=1)
n = next(numbers)
solicitation = bytes(ICMPv6ND_NS(tgt=TARGET6)) + EVIL[:64]
attack("discovery in fragments",
       [part6(n, 0, solicitation[:48], True, nh=58, hlim=255),
        part6(n, 48, solicitation[48:], False, nh=58, hlim=255)],
       frag_discovery=2)

# --- IPv6 extension headers.

def six(*headers):
    packet = IPv6(src=SOURCE6, dst=TARGET6)
    for header in headers:
        packet = packet / header
    return packet / UDP(sport=4000, dport=4001) / Raw(EVIL[:64])


attack("nine headers", [six(*[IPv6ExtHdrDestOpt() for _ in range(9)])], extension_header=1)
attack("a hundred headers", [six(*[IPv6ExtHdrDestOpt() for _ in range(100)])], extension_header=1)
attack("routing type 0", [six(IPv6ExtHdrRouting(type=0, addresses=[TARGET6])),
                          six(IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(type=0, addresses=[]))],
       extension_header=2)
attack("two routes", [six(IPv6ExtHdrRouting(type=2, addresses=[TARGET6]),
                          IPv6ExtHdrRouting(type=2, addresses=[TARGET6]))], extension_header=1)
attack("hop by hop behind others", [six(IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop())],
       extension_header=1)
attack("longer than the packet",
       [IPv6(src=SOURCE6, dst=TARGET6, nh=60) / Raw(bytes([17, 200]) + EVIL[:62])],
       extension_header=1)
attack("options that nobody asked for",
       [six(IPv6ExtHdrDestOpt()), six(IPv6ExtHdrHopByHop()),
        six(IPv6ExtHdrHopByHop(options=[RouterAlert()])),
        six(IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=70_000)])),
        six(IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0xc2, optdata=b"EVIL")])),
        six(IPv6ExtHdrRouting(type=4, segleft=0, addresses=[TARGET6]))],
       ip_options=6)

# --- And what is not to be mistaken for an attack: an atomic fragment (RFC 6946), alone and while
# others with its identification wait.

n = next(numbers)
attack("fragments that an atomic one meets", [part6(n, 0, udp6(64), True)], frag_timeout=1)
echo6 = ICMPv6EchoRequest(id=7, seq=1, data=b"harmless")
harmless = [IPv6(src=SOURCE6, dst=TARGET6) / IPv6ExtHdrFragment(id=n) / echo6,
            IPv6(src=SOURCE6, dst=TARGET6) / IPv6ExtHdrFragment(id=next(numbers)) / echo6]

conf.verb = 0
frames = [ETHER / packet for packets, _ in attacks.values() for packet in packets]
sendp(frames + [ETHER / packet for packet in harmless], iface="eth0")
print(json.dumps({name: expected for name, (_, expected) in attacks.items()}))
