//! SYN-ACKs that go out again when no ACK comes: the frames themselves, as long as there are few.
//!
//! A client believes that it is connected when it has sent its ACK. If that is lost and the server
//! speaks first (SMTP, SSH, databases), neither end would ever say another word: hosts repeat their SYN-ACK
//! for that. So does weir, after one second and after three, from records that are named by the hash of
//! the flow, of fixed number, and overwritten at will. While [`FEW`] are alive no more are made, so that
//! a flood of SYNs is answered with one frame each.

use crate::frame::PortIndex;
use crate::outbox::LONGEST;
use crate::state::wheel::{TICKS_PER_SECOND, is_due};

/// Places of records; a power of two.
const PLACES: usize = 2048;
/// Records that may be alive at a time.
const FEW: u32 = 1024;
/// Seconds between the SYN-ACKs.
const PAUSES: [u32; 2] = [1, 2];

/// A SYN-ACK.
#[derive(Clone, Copy, Debug)]
struct Record {
    port: PortIndex,
    /// How often it has gone out again.
    times: u8,
    length: u8,
    bytes: [u8; LONGEST],
}

/// A SYN-ACK whose ACK is awaited.
pub(super) struct Waiting<'a> {
    /// The port that it leaves by.
    pub(super) port: PortIndex,
    pub(super) frame: &'a [u8],
    /// How often it has gone out again.
    pub(super) times: u8,
    /// Seconds since it was made.
    pub(super) age: u32,
    /// Seconds until it is forgotten.
    pub(super) left: u32,
}

/// The records of a worker. [`Resend::default`] has room for none.
#[derive(Debug, Default)]
pub(super) struct Resend {
    /// Hash of the flow and tick of the next time; `None` where there is no record.
    keys: Box<[Option<(u64, u32)>]>,
    records: Box<[Record]>,
    live: u32,
    looked: u32,
}

impl Resend {
    /// Makes room, if there is none.
    pub(super) fn reserve(&mut self) {
        if self.keys.is_empty() {
            let none = Record { port: PortIndex::LAN, times: 0, length: 0, bytes: [0; LONGEST] };
            self.keys = vec![None; PLACES].into();
            self.records = vec![none; PLACES].into();
        }
    }

    /// How many records there can be.
    pub(super) fn places(&self) -> u32 {
        self.keys.len() as u32
    }

    /// What is remembered in a place.
    pub(super) fn waiting(&self, place: u32, tick: u32) -> Option<Waiting<'_>> {
        let (_, due) = (*self.keys.get(place as usize)?)?;
        let record = &self.records[place as usize];
        let pauses = PAUSES.get(usize::from(record.times) + 1..).unwrap_or_default();
        let soon = due.wrapping_sub(tick).cast_signed().max(0).cast_unsigned() / TICKS_PER_SECOND;
        let left = soon + pauses.iter().sum::<u32>();
        Some(Waiting {
            port: record.port,
            frame: &record.bytes[..usize::from(record.length)],
            times: record.times,
            age: PAUSES.iter().sum::<u32>().saturating_sub(left),
            left,
        })
    }

    const fn place(hash: u64) -> usize {
        // The high half names the worker.
        hash as usize & (PLACES - 1)
    }

    /// Remembers a SYN-ACK that leaves by a port, unless there are many.
    pub(super) fn remember(&mut self, hash: u64, port: PortIndex, frame: &[u8], tick: u32) {
        let place = Self::place(hash);
        let Some(key) = self.keys.get_mut(place) else { return };
        let new = key.is_none();
        let record = &mut self.records[place];
        let Some(bytes) = record.bytes.get_mut(..frame.len()) else { return };
        if new && self.live == FEW {
            return;
        }
        bytes.copy_from_slice(frame);
        (record.port, record.times, record.length) = (port, 0, frame.len() as u8);
        *key = Some((hash, tick.wrapping_add(PAUSES[0] * TICKS_PER_SECOND)));
        self.live += u32::from(new);
    }

    /// The client has answered.
    pub(super) fn forget(&mut self, hash: u64) {
        if let Some(key) = self.keys.get_mut(Self::place(hash))
            && key.is_some_and(|(of, _)| of == hash)
        {
            *key = None;
            self.live -= 1;
        }
    }

    /// What goes out again in this tick, once; as long as `send` takes it, then it waits for the next
    /// call. Whether there is more.
    pub(super) fn due(
        &mut self,
        tick: u32,
        mut send: impl FnMut(PortIndex, &[u8]) -> bool,
    ) -> bool {
        if self.live == 0 || self.looked == tick {
            return false;
        }
        for (key, record) in self.keys.iter_mut().zip(&mut self.records) {
            let Some((hash, due)) = *key else { continue };
            if !is_due(due, tick) {
                continue;
            }
            if !send(record.port, &record.bytes[..usize::from(record.length)]) {
                return true;
            }
            record.times += 1;
            *key = PAUSES
                .get(usize::from(record.times))
                .map(|pause| (hash, tick.wrapping_add(pause * TICKS_PER_SECOND)));
            self.live -= u32::from(key.is_none());
        }
        self.looked = tick;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(resend: &mut Resend, tick: u32) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let more = resend.due(tick, |port, frame| {
            assert_eq!(port, PortIndex::WAN);
            frames.push(frame.to_vec());
            true
        });
        assert!(!more);
        frames
    }

    #[test]
    fn a_syn_ack_goes_out_again_twice() {
        let mut resend = Resend::default();
        resend.remember(5, PortIndex::WAN, b"syn-ack", 100);
        assert!(sent(&mut resend, 200).is_empty(), "there is no room");
        resend.reserve();
        resend.remember(5, PortIndex::WAN, b"syn-ack", 1000);
        let times: Vec<u32> =
            (1000..1100).filter(|&tick| sent(&mut resend, tick) == [b"syn-ack"]).collect();
        assert_eq!(times, [1008, 1024]);
        assert_eq!(resend.live, 0);
    }

    #[test]
    fn an_answer_ends_it_and_many_are_not_remembered() {
        let mut resend = Resend::default();
        resend.reserve();
        for hash in 0..u64::from(FEW) + 500 {
            resend.remember(hash, PortIndex::WAN, &hash.to_be_bytes(), 0);
        }
        assert_eq!(resend.live, FEW);
        resend.forget(3);
        resend.forget(3);
        resend.forget(4 + PLACES as u64);
        resend.remember(5 + PLACES as u64, PortIndex::WAN, b"another", 0);
        let frames = sent(&mut resend, 8);
        assert_eq!(frames.len(), FEW as usize - 1);
        assert!(!frames.contains(&3_u64.to_be_bytes().to_vec()));
        assert!(frames.contains(&4_u64.to_be_bytes().to_vec()));
        assert!(frames.contains(&b"another".to_vec()));
        resend.remember(6, PortIndex::WAN, &[0; LONGEST + 1], 0);
    }
}
