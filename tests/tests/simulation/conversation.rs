//! One connection between two hosts: what each end sends, and the proof that it arrives.

use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::IpEndpoint;
use weir_tests::random::Random;

use crate::host::Host;

/// How long it may take, in virtual time: a dozen retransmissions one after the other.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long the end may take once everything has arrived. smoltcp 0.14 now and then does not send a
/// lost FIN again; then the ends give up, as applications would.
const GOODBYE: Duration = Duration::from_secs(60);

pub(crate) struct Conversation {
    /// Index of the side that the client is on.
    pub(crate) client_side: usize,
    /// Of the client, then of the server: which host of its side it is on.
    pub(crate) hosts: [usize; 2],
    pub(crate) endpoints: [IpEndpoint; 2],
    sockets: [SocketHandle; 2],
    ends: [End; 2],
    began: Duration,
    /// When both ends had everything.
    delivered: Option<Duration>,
    /// Since when its frames pass by the bridge.
    bypassing: Option<Duration>,
}

struct End {
    /// Tells its bytes from those of others.
    seed: u64,
    length: u64,
    sent: u64,
    received: u64,
    /// It closes only when the other end has.
    closes_last: bool,
    closed: bool,
    /// It reads in every other fifth of a second only.
    slow: bool,
}

impl End {
    fn new(random: &mut Random) -> Self {
        let most = random.one_of(&[1, 100, 2_000, 30_000, 100_000]);
        Self {
            seed: random.next(),
            length: random.below(most),
            sent: 0,
            received: 0,
            closes_last: random.below(3) == 0,
            closed: false,
            slow: random.below(5) == 0,
        }
    }

    fn byte(&self, position: u64) -> u8 {
        (self.seed.rotate_left((position % 64) as u32) ^ (position >> 6)) as u8
    }
}

impl Conversation {
    /// Listens and connects. The number makes its ports unique among those at the same time.
    pub(crate) fn begin(
        number: u16,
        client_side: usize,
        hosts: [usize; 2],
        [client, server]: [&mut Host; 2],
        now: Duration,
        random: &mut Random,
    ) -> Self {
        let family = random.below(2) as usize;
        let local = IpEndpoint::new(client.addresses[family], 1024 + number);
        let remote = IpEndpoint::new(server.addresses[family], 2000 + number % 50_000);
        let mut socket = || {
            let mut buffer = || {
                // smoltcp 0.14 stalls by itself where windows are as small as a segment.
                let size = random.one_of(&[20_000, 65_535, 200_000]);
                SocketBuffer::new(vec![0; size])
            };
            Socket::new(buffer(), buffer())
        };
        let (mut connecting, mut listening) = (socket(), socket());
        listening.listen(remote).expect("a new socket");
        let (context, sockets) = client.parts();
        connecting.connect(context, remote, local).expect("a new socket");
        let sockets = [sockets.add(connecting), server.sockets.add(listening)];
        let mut ends = [End::new(random), End::new(random)];
        // Somebody has to begin.
        ends[1].closes_last &= !ends[0].closes_last;
        Self {
            client_side,
            hosts,
            endpoints: [local, remote],
            sockets,
            ends,
            began: now,
            delivered: None,
            bypassing: None,
        }
    }

    /// Lets both ends read and write; whether everything has arrived and both are closed.
    pub(crate) fn go_on(&mut self, mut hosts: [&mut Host; 2], now: Duration) -> bool {
        if self.delivered.is_some_and(|at| now > at + GOODBYE) {
            for (side, host) in hosts.iter_mut().enumerate() {
                host.sockets.get_mut::<Socket<'_>>(self.sockets[side]).abort();
                self.ends[side].closed = true;
            }
        }
        let reading = (now.as_millis() / 200).is_multiple_of(2);
        let (mut over, mut delivered) = (true, true);
        for (side, host) in hosts.iter_mut().enumerate() {
            let socket = host.sockets.get_mut::<Socket<'_>>(self.sockets[side]);
            if socket.can_recv() && (reading || !self.ends[side].slow) {
                self.read(side, socket);
            }
            self.write(side, socket);
            let (end, other) = (&self.ends[side], &self.ends[1 - side]);
            let complete = end.sent == end.length && end.received == other.length;
            delivered &= complete;
            // What came before the end can be read afterwards, too.
            let closed = socket.state() == State::Closed && !socket.can_recv();
            assert!(!closed || complete && end.closed, "{} was reset", self.describe(now));
            over &= closed;
        }
        if delivered {
            self.delivered.get_or_insert(now);
        }
        if !delivered && now > self.began + PATIENCE {
            // Who is to blame? Without the bridge it goes on, or does not.
            self.bypassing.get_or_insert(now);
        }
        let blameless = self.bypassing.is_none() || !delivered;
        assert!(blameless, "{} stalled until the bridge was taken away", self.describe(now));
        if self.gives_up(now) {
            for (host, socket) in hosts.iter_mut().zip(self.sockets) {
                host.sockets.remove(socket);
            }
            return true;
        }
        if over {
            for (host, socket) in hosts.iter_mut().zip(self.sockets) {
                host.sockets.remove(socket);
            }
        }
        over
    }

    /// Whether it has stalled by itself: smoltcp 0.14 does so now and then where frames are lost. Two
    /// ends that send again at once may take each other's acknowledgements for old, for ever.
    pub(crate) fn gives_up(&self, now: Duration) -> bool {
        self.bypassing.is_some_and(|since| now > since + PATIENCE)
    }

    /// Whether its frames pass by the bridge.
    pub(crate) const fn bypasses(&self) -> bool {
        self.bypassing.is_some()
    }

    /// Whether a frame is one of it.
    pub(crate) fn sends(&self, frame: &[u8]) -> bool {
        // Ethernet, IPv4 without options: all that the hosts send.
        let Some(ports) = frame.get(34..38) else { return false };
        let [client, server] = self.endpoints.map(|end| end.port.to_be_bytes());
        ports == [client, server].concat() || ports == [server, client].concat()
    }

    /// Whether both ends have heard of each other, and none has closed: after that a SYN, whoever
    /// sends it, begins a new connection.
    pub(crate) fn stands(&self) -> bool {
        self.ends.iter().all(|end| end.received > 0 && !end.closed)
    }

    fn read(&mut self, side: usize, socket: &mut Socket<'_>) {
        while socket.can_recv() {
            let (sender, position) = (&self.ends[1 - side], self.ends[side].received);
            let read = socket.recv(|bytes| {
                let right = (position..).zip(&*bytes).all(|(at, &byte)| byte == sender.byte(at));
                (bytes.len(), (bytes.len() as u64, right))
            });
            let (count, right) = read.expect("it can receive");
            let right = right && position + count <= sender.length;
            assert!(right, "other bytes than were sent: {}", self.describe(self.began));
            self.ends[side].received += count;
        }
    }

    fn write(&mut self, side: usize, socket: &mut Socket<'_>) {
        let heard_all = self.ends[side].received == self.ends[1 - side].length;
        let fits = self.ends[1 - side].length < socket.recv_capacity() as u64;
        let end = &mut self.ends[side];
        while end.sent < end.length && socket.can_send() {
            let written = socket.send(|room| {
                let count = room.len().min((end.length - end.sent) as usize);
                for (at, byte) in (end.sent..).zip(&mut room[..count]) {
                    *byte = end.byte(at);
                }
                (count, count as u64)
            });
            end.sent += written.expect("it can send");
        }
        // smoltcp 0.14 opens a window that was closed no more once it has sent its FIN: then all that
        // is still to come has to fit.
        let may_half_close = !end.closes_last && (heard_all || fits);
        let may_close = may_half_close || heard_all && !socket.may_recv();
        // A FIN travels alone: smoltcp 0.14 does not take one that came with data out of order, nor
        // send it again once the data is acknowledged.
        let said_all = end.sent == end.length && socket.send_queue() == 0;
        if said_all && may_close && !end.closed && socket.may_send() {
            socket.close();
            end.closed = true;
        }
    }

    /// For messages.
    fn describe(&self, now: Duration) -> String {
        let [client, server] = self.endpoints;
        let counts = self.ends.each_ref().map(|end| (end.length, end.sent, end.received));
        format!("{client} > {server} after {:?}, {counts:?}", now.saturating_sub(self.began))
    }
}
