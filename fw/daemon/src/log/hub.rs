//! Those who follow the log over the control socket, and what was told last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use super::message::Message;

/// Messages that are remembered.
pub const RECENT: usize = 1000;

/// Messages that wait for one follower at most.
const WAITING: usize = 2048;

/// Hands messages to whoever follows.
#[derive(Debug, Default)]
pub struct Hub {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    recent: VecDeque<Arc<Message>>,
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
        let mut inner = self.inner.lock();
        if inner.recent.len() == RECENT {
            inner.recent.pop_front();
        }
        inner.recent.push_back(Arc::clone(message));
        inner.followers.retain(|(follower, lost)| match follower.try_send(Arc::clone(message)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                lost.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Begins to follow; what was told last comes first, the oldest of it before the others.
    pub fn follow(&self) -> (Vec<Arc<Message>>, Follower) {
        let (sender, messages) = bounded(WAITING);
        let lost: Arc<AtomicU64> = Arc::default();
        let mut inner = self.inner.lock();
        inner.followers.push((sender, Arc::clone(&lost)));
        (inner.recent.iter().cloned().collect(), Follower { messages, lost })
    }
}

impl Follower {
    /// The next message, if it comes in time.
    pub fn next(&self, patience: Duration) -> Option<Arc<Message>> {
        self.messages.recv_timeout(patience).ok()
    }

    /// How many messages found no room since the last call.
    pub fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Event, Message, Severity};
    use super::*;

    fn message(time: u64) -> Arc<Message> {
        let event =
            Event { name: "-", severity: Severity::Info, text: String::new(), fields: Vec::new() };
        Arc::new(Message::event(time, event))
    }

    #[test]
    fn a_slow_follower_loses_and_is_told_how_much() {
        let hub = Hub::default();
        for time in 0..RECENT as u64 + 7 {
            hub.tell(&message(time));
        }
        let (recent, follower) = hub.follow();
        assert_eq!((recent.len(), recent[0].time), (RECENT, 7));
        for time in 0..WAITING as u64 + 3 {
            hub.tell(&message(time));
        }
        assert_eq!((follower.take_lost(), follower.take_lost()), (3, 0));
        for time in 0..WAITING as u64 {
            assert_eq!(follower.next(Duration::ZERO).map(|message| message.time), Some(time));
        }
        assert!(follower.next(Duration::ZERO).is_none());
        drop(follower);
        hub.tell(&message(0));
        assert!(hub.inner.lock().followers.is_empty());
    }
}
