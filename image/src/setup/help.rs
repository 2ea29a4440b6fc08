//! What the dialogue explains, in lines that fit a terminal.

pub(super) const WELCOME: &str = "
weir: set up this box. Nothing is forwarded before that, and nothing is written
before the last question. Enter takes what stands in [brackets]; `?` explains;
`back` goes one question back; Ctrl-C begins anew.
";

pub(super) const WELCOME_AGAIN: &str = "
weir: set up this box anew. What it does now goes on, and nothing is written
before the last question. Enter takes what stands in [brackets]; `?` explains;
`back` goes one question back; Ctrl-C begins anew.
";

pub(super) const PORT: &str = "\
A NIC is a network interface, a socket for a cable. `lan` is the one towards
your computers, `wan` the one towards the router. Type its number. If you do
not know which socket it is, type `find`: you will be asked to pull its cable,
or to plug one in. weir remembers its place on the bus or its address.
";

pub(super) const POLICY: &str = "\
These are the rules that the box begins with, a file that you can change later
with `edit rules`. With 1 your computers reach everything, and nobody reaches
them. With 2 you name servers of yours and their TCP ports, which the world may
reach as well; weir answers the handshakes for them, so that a SYN flood does
not reach them, and limits each visitor. With 3 nothing is blocked: what passes
is written down, so that you learn which rules you need.
";

pub(super) const MANAGEMENT: &str = "\
Log servers and time servers are reached by a NIC of its own, which is never
mixed with what is bridged, and by which nobody can log in. Without one the box
filters all the same: its logs stay here, and its clock is set by hand.
";

pub(super) const ADDRESS: &str = "\
`dhcp` has the network give an IPv4 address, `slaac` makes an IPv6 address of
what the router there announces; or type addresses with the length of their
prefix, as in 192.0.2.10/24 or 2001:db8::10/64, with commas between them.
";

pub(super) const GATEWAY: &str = "\
The router by which the management NIC reaches servers on other networks, IPv4,
IPv6 or both; `none` if all are on its own. DHCP and SLAAC bring their own.
";

pub(super) const SYSLOG: &str = "\
The address of a syslog server, as in 192.0.2.5 (UDP, port 514),
udp:192.0.2.5:514, tcp:192.0.2.5:601 or udp:[2001:db8::5]:514. TLS needs
files: set it up later, weir-log(5).
";

pub(super) const NTP: &str = "\
Addresses of time servers (NTP), with commas between them; names are not known
here. Your router may be one. `none` leaves the clock as it is set by hand.
";

pub(super) const TIME: &str = "\
The time in UTC, not in your own zone, as in 2026-11-23 12:00. Enter leaves the
clock as it is.
";

pub(super) const PASSWORD: &str = "\
It is asked for at every console of this box, after a while without a key again,
and before the rescue prompt. Without it whoever reaches the serial line may do
everything. If you forget it only the factory reset leads back in.
";
