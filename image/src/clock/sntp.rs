//! One question to a time server and its answer: SNTP (RFC 4330), the client's half of NTP (RFC 5905).
//!
//! Of the request only a number is set that nobody else can know, where NTP has the client's time: the
//! answer must bring it back, so that only who has seen the request can answer, and nobody learns what
//! time it is here (draft-ietf-ntp-data-minimization).

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a message without extensions.
const LENGTH: usize = 48;

/// NTP's port.
pub(super) const PORT: u16 = 123;

/// How long a server may take: an answer that took longer tells the time too badly.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);

/// The farthest that a server may be from the source of its time (RFC 5905, MAXDIST).
const FARTHEST: Duration = Duration::from_millis(1500);

/// Seconds from NTP's beginning, 1900, to 1970.
const TO_1970: i128 = 2_208_988_800;

const BILLION: i128 = 1_000_000_000;

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Nanoseconds that our clock is behind; negative if it is ahead.
    pub offset: i128,
    /// How wrong that can be: half the way there and back, and what the server says of itself.
    pub distance: Duration,
    /// How many servers are between the source of its time and us.
    pub stratum: u8,
}

/// Why there is no time.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The server told us to go away (RFC 5905, 7.4: DENY, RSTR).
    Denied,
    /// The server told us to ask less often (RATE).
    TooOften,
    /// An answer that cannot be believed, and why.
    Unfit(&'static str),
    /// No answer.
    Failed(io::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("does not serve us"),
            Self::TooOften => f.write_str("was asked too often"),
            Self::Unfit(why) => f.write_str(why),
            Self::Failed(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
            {
                f.write_str("does not answer")
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Asks a server, in the network namespace of the calling thread; `nonce` is a random number.
///
/// # Errors
/// When it does not answer in [`PATIENCE`], or its answer cannot be believed.
pub(super) fn ask(server: IpAddr, port: u16, nonce: u64) -> Result<Sample, Refusal> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // From nobody else.
    socket.connect(SocketAddr::new(server, port))?;
    let (sent, sent_at) = (wall(), Instant::now());
    socket.send(&request(nonce))?;
    let mut bytes = [0; 512];
    loop {
        let left = PATIENCE.checked_sub(sent_at.elapsed()).filter(|left| !left.is_zero());
        socket.set_read_timeout(Some(
            left.ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))?,
        ))?;
        let length = socket.recv(&mut bytes)?;
        // The wall's clock may be set meanwhile; how long it took tells the other.
        let took = sent_at.elapsed();
        // What is no answer to this question is somebody's noise, and the answer may still come.
        if let Some(answer) = read(&bytes[..length], nonce, sent, took) {
            return answer;
        }
    }
}

/// Nanoseconds since 1970.
pub(super) fn wall() -> i128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_nanos().cast_signed()
}

/// A question: version 4, mode 3 (client).
fn request(nonce: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[0] = 4 << 3 | 3;
    bytes[40..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

/// Reads what came so long after the question, which was sent at `sent` of our clock; `None` if it is
/// no answer to it.
fn read(bytes: &[u8], nonce: u64, sent: i128, took: Duration) -> Option<Result<Sample, Refusal>> {
    let header: &[u8; LENGTH] = bytes.first_chunk()?;
    let word = |at: usize| u64::from_be_bytes(header[at..at + 8].try_into().unwrap_or_default());
    let short = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
    let (leap, version, mode) = (header[0] >> 6, header[0] >> 3 & 7, header[0] & 7);
    // Its originate timestamp is our transmit timestamp.
    if mode != 4 || word(24) != nonce {
        return None;
    }
    let stratum = header[1];
    let unfit = |why| Some(Err(Refusal::Unfit(why)));
    match (stratum, &header[12..16]) {
        (0, b"DENY" | b"RSTR") => return Some(Err(Refusal::Denied)),
        (0, b"RATE") => return Some(Err(Refusal::TooOften)),
        (1..=15, _) => {}
        _ => return unfit("has no time"),
    }
    if !(3..=4).contains(&version) {
        return unfit("speaks another version of NTP");
    }
    if leap == 3 {
        return unfit("has no time");
    }
    let (received, transmitted) = (word(32), word(40));
    if received == 0 || transmitted == 0 {
        return unfit("does not tell the time");
    }
    let (received, transmitted) = (time(received), time(transmitted));
    let took = took.as_nanos().cast_signed();
    let inside = transmitted - received;
    // A millisecond for clocks that count in coarse steps.
    if inside < 0 || inside > took + 1_000_000 {
        return unfit("contradicts itself");
    }
    let source = span(short(4)) / 2 + span(short(8));
    if source >= FARTHEST {
        return unfit("is too far from the source of its time");
    }
    let offset = (received - sent).midpoint(transmitted - (sent + took));
    let way = super::length((took - inside).max(0) / 2);
    Some(Ok(Sample { offset, distance: way + source, stratum }))
}

/// An NTP timestamp in nanoseconds since 1970. Seconds below the middle of their range are those after
/// 2036 (RFC 4330, 3).
fn time(timestamp: u64) -> i128 {
    let (seconds, fraction) = (i128::from(timestamp >> 32), i128::from(timestamp & 0xffff_ffff));
    let era = if timestamp >> 63 == 0 { 1_i128 << 32 } else { 0 };
    (seconds + era - TO_1970) * BILLION + ((fraction * BILLION) >> 32)
}

/// A length of time in NTP's short format: 16 bits of seconds, 16 of fractions. One that is negative as
/// RFC 4330 has it is too long here, and no server's.
fn span(short: u32) -> Duration {
    Duration::from_nanos((u64::from(short) * 1_000_000_000) >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;
    /// 2026-11-23 12:00:00 in NTP's seconds.
    const NOON: u64 = 1_795_435_200 + 2_208_988_800;

    fn answer() -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = 0x24;
        bytes[1] = 2;
        // Root delay 1/8 s, dispersion 1/16 s.
        bytes[4..8].copy_from_slice(&0x2000_u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&0x1000_u32.to_be_bytes());
        bytes[24..32].copy_from_slice(&NONCE.to_be_bytes());
        bytes[32..40].copy_from_slice(&(NOON << 32).to_be_bytes());
        // A quarter of a second in the server.
        bytes[40..48].copy_from_slice(&(NOON << 32 | 0x4000_0000).to_be_bytes());
        bytes
    }

    fn read_at(bytes: &[u8], sent: i128) -> Option<Result<Sample, Refusal>> {
        read(bytes, NONCE, sent, Duration::from_millis(350))
    }

    #[test]
    fn the_offset_is_what_the_clock_lacks() {
        // Sent 10 s before the server's noon, and 50 ms of way each.
        let sent = (i128::from(NOON) - TO_1970 - 10) * BILLION - 50_000_000;
        let sample = read_at(&answer(), sent).unwrap().unwrap();
        assert_eq!(sample.offset, 10 * BILLION);
        // 50 ms of way, 62.5 ms of half the root delay and 62.5 ms of dispersion.
        assert_eq!((sample.distance, sample.stratum), (Duration::from_millis(175), 2));
    }

    #[test]
    fn what_cannot_be_believed_is_refused() {
        let change = |at: usize, with: &[u8]| {
            let mut bytes = answer();
            bytes[at..at + with.len()].copy_from_slice(with);
            let refused = read_at(&bytes, 0).expect("an answer").expect_err("no time");
            refused.to_string()
        };
        assert_eq!(change(0, &[0xe4]), "has no time", "not synchronised");
        assert_eq!(change(1, &[16]), "has no time");
        assert_eq!(change(1, &[0]), "has no time", "an unknown kiss");
        assert_eq!(change(0, &[0x14]), "speaks another version of NTP");
        assert_eq!(change(4, &[0, 3]), "is too far from the source of its time");
        assert_eq!(change(8, &[0xff]), "is too far from the source of its time");
        assert_eq!(change(32, &[0; 8]), "does not tell the time");
        assert_eq!(change(40, &[0; 8]), "does not tell the time");
        assert_eq!(change(44, &[0xc0]), "contradicts itself", "longer than it took");
        let mut kiss = answer();
        kiss[1] = 0;
        kiss[12..16].copy_from_slice(b"RATE");
        assert!(matches!(read_at(&kiss, 0), Some(Err(Refusal::TooOften))));
        kiss[12..16].copy_from_slice(b"DENY");
        assert!(matches!(read_at(&kiss, 0), Some(Err(Refusal::Denied))));
    }

    #[test]
    fn what_is_no_answer_is_not_looked_at() {
        let mut bytes = answer();
        for length in 0..LENGTH {
            assert!(read_at(&bytes[..length], 0).is_none());
        }
        bytes[31] ^= 1;
        assert!(read_at(&bytes, 0).is_none(), "another question's");
        let mut echo = request(NONCE);
        echo[24..32].copy_from_slice(&NONCE.to_be_bytes());
        assert!(read_at(&echo, 0).is_none(), "a client's");
    }

    #[test]
    fn seconds_go_on_after_2036() {
        // RFC 4330, 3: 2036-02-07 06:28:16 is 0 of the next era.
        assert_eq!(time(1), 2_085_978_496 * BILLION);
        assert_eq!(time(u64::MAX) / BILLION, 2_085_978_495);
    }

    /// Over a real socket: noise and a forged answer first, then the right one.
    #[test]
    fn a_server_is_asked_over_udp() {
        let server = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let serve = std::thread::spawn(move || {
            let mut bytes = [0; 100];
            let (length, client) = server.recv_from(&mut bytes).unwrap();
            assert_eq!((length, bytes[0], &bytes[1..40]), (LENGTH, 0x23, &[0; 39][..]));
            let ahead = u64::try_from((wall() + 5 * BILLION) / BILLION + TO_1970).unwrap();
            let mut right = answer();
            right[24..32].copy_from_slice(&bytes[40..48]);
            right[32..40].copy_from_slice(&(ahead << 32 | 0x8000_0000).to_be_bytes());
            right[40..48].copy_from_slice(&(ahead << 32 | 0x8000_0000).to_be_bytes());
            server.send_to(b"noise", client).unwrap();
            server.send_to(&answer(), client).unwrap();
            server.send_to(&right, client).unwrap();
        });
        let sample = ask(Ipv4Addr::LOCALHOST.into(), port, 77).unwrap();
        serve.join().unwrap();
        // The server's half second may be up to half a second beside its clock, the way up to PATIENCE.
        assert!((3..8).contains(&(sample.offset / BILLION)), "{sample:?}");
    }
}
