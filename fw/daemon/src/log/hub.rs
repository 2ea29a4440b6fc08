//! Those who follow the log over the control socket, and what was told last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use super::message::{Kind, Message};

/// Messages that are remembered: so many about packets, and so many of weir's own, which a flood of
/// logged packets must not push out.
pub const RECENT: usize = 1000;

/// Messages that wait for one follower at most, and how many of these may be about packets.
const WAITING: usize = 2048;
const PACKETS: usize = WAITING - 256;

/// Hands messages to whoever follows.
#[derive(Debug, Default)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Those of weir's own, and those about packets; each with its number.
    recent: [VecDeque<(u64, Arc<Message>)>; 2],
    /// Messages told so far.
    told: u64,
    followers: Vec<(Sender<Arc<Message>>, Arc<AtomicU64>)>,
}

/// Somebody who follows, until it goes out of scope.
#[derive(Debug)]
pub struct Follower {
    messages: Receiver<Arc<Message>>,
    lost: Arc<AtomicU64>,
}

impl Hub {
    /// Hands a message on. Never waits for a follower.
    pub fn tell(&self, message: &Arc<Message>) {
        let about_packets = message.kind() == Kind::Packets;
        let room = if about_packets { PACKETS } else { WAITING };
        let mut inner = self.inner.lock();
        let Inner { recent, told, followers } = &mut *inner;
        *told += 1;
        let recent = &mut recent[usize::from(about_packets)];
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((*told, Arc::clone(message)));
        followers.retain(|(follower, lost)| {
            // The other half is the follower's own.
            if Arc::strong_count(lost) == 1 {
                return false;
            }
            if follower.len() >= room || follower.try_send(Arc::clone(message)).is_err() {
                lost.fetch_add(1, Ordering::Relaxed);
            }
            true
        });
    }

    /// Begins to follow; what was told last comes first, the oldest of it before the others.
    pub fn follow(&self) -> (Vec<Arc<Message>>, Follower) {
        let (sender, messages) = bounded(WAITING);
        let lost: Arc<AtomicU64> = Arc::default();
        let mut inner = self.inner.lock();
        inner.followers.push((sender, Arc::clone(&lost)));
        let mut recent: Vec<_> = inner.recent.iter().flatten().cloned().collect();
        drop(inner);
        recent.sort_unstable_by_key(|&(number, _)| number);
        let recent = recent.into_iter().map(|(_, message)| message).collect();
        (recent, Follower { messages, lost })
    }
}

impl Follower {
    /// What waits, as soon as something does, unless that takes longer than `patience`; then how many
    /// messages found no room behind it.
    pub fn take(&self, patience: Duration) -> (Vec<Arc<Message>>, u64) {
        let Ok(first) = self.messages.recv_timeout(patience) else {
            return (Vec::new(), self.take_lost());
        };
        let lost = self.take_lost();
        // No more than there was room for: who reads more slowly than is told must hear of losses, too.
        let waiting = self.messages.try_iter().take(WAITING - 1);
        (std::iter::once(first).chain(waiting).collect(), lost)
    }

    fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Event, Severity};
    use super::*;

    fn message(time: u64, kind: Kind) -> Arc<Message> {
        let event = Event {
            name: "-",
            kind,
            severity: Severity::Info,
            text: String::new(),
            fields: Vec::new(),
        };
        Arc::new(Message::event(time, event))
    }

    fn times(messages: &[Arc<Message>]) -> Vec<u64> {
        messages.iter().map(|message| message.time).collect()
    }

    #[test]
    fn a_slow_follower_loses_and_is_told_how_much() {
        let hub = Hub::default();
        let (_, follower) = hub.follow();
        for round in 0..3 {
            for time in 0..WAITING as u64 + 3 {
                hub.tell(&message(time, Kind::Events));
            }
            let (messages, lost) = follower.take(Duration::ZERO);
            assert_eq!(times(&messages), (0..WAITING as u64).collect::<Vec<_>>(), "{round}");
            assert_eq!(lost, 3, "{round}");
        }
        let (messages, lost) = follower.take(Duration::ZERO);
        assert_eq!((messages.len(), lost), (0, 0));
        drop(follower);
        hub.tell(&message(0, Kind::Events));
        assert!(hub.inner.lock().followers.is_empty());
    }

    #[test]
    fn packets_do_not_crowd_out_what_weir_itself_says() {
        let hub = Hub::default();
        hub.tell(&message(0, Kind::Events));
        let (_, follower) = hub.follow();
        for time in 1..=WAITING as u64 {
            hub.tell(&message(time, Kind::Packets));
        }
        hub.tell(&message(9999, Kind::Events));
        let (recent, _) = hub.follow();
        let first = WAITING as u64 + 1 - RECENT as u64;
        let expected: Vec<_> =
            std::iter::once(0).chain(first..=WAITING as u64).chain([9999]).collect();
        assert_eq!(times(&recent), expected, "in the order in which they were told");
        let (messages, lost) = follower.take(Duration::ZERO);
        assert_eq!((messages.len(), lost), (PACKETS + 1, 256));
        assert_eq!(messages.last().map(|message| message.time), Some(9999));
    }
}
