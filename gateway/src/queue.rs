//! The places at one server: so many requests at a time, first come first served. Connections have such
//! places too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out places in the order in which they are asked for.
#[derive(Debug)]
pub struct Queue {
    places: Arc<Semaphore>,
    /// How many places there are. Written by one task only.
    limit: AtomicUsize,
    /// Places that were taken when the limit became lower, and go when they are given back.
    excess: Arc<AtomicU32>,
}

/// A place. Dropped, it is the next one's.
#[derive(Debug)]
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    excess: Arc<AtomicU32>,
}

impl Queue {
    /// As many places as anyone wants.
    pub fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            limit: AtomicUsize::new(Semaphore::MAX_PERMITS),
            excess: Arc::new(AtomicU32::new(0)),
        }
    }

    /// Changes how many places there are; 0: as many as anyone wants. For one task only.
    pub fn set_limit(&self, max_in_flight: u32) {
        let limit = match max_in_flight {
            0 => Semaphore::MAX_PERMITS,
            limit => limit as usize,
        };
        let before = self.limit.swap(limit, Ordering::Relaxed);
        if limit > before {
            self.widen(limit - before);
        } else if limit < before {
            let left = before - limit - self.places.forget_permits(before - limit);
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            self.excess.fetch_add(left, Ordering::AcqRel);
        }
    }

    fn widen(&self, by: usize) {
        let mut more = by;
        while more > 0 && take_one(&self.excess) {
            more -= 1;
        }
        self.places.add_permits(more);
    }

    /// A place, if one is free and nobody waits for it.
    pub fn try_enter(&self) -> Option<Place> {
        let permit = self.places.clone().try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    /// Waits for a place. Dropped, it leaves the queue.
    pub async fn enter(&self) -> Place {
        let permit = self.places.clone().acquire_owned().await;
        self.place(permit.expect("the semaphore is never closed"))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place {
            permit: Some(permit),
            excess: self.excess.clone(),
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if take_one(&self.excess)
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

fn take_one(count: &AtomicU32) -> bool {
    let less = |count: u32| count.checked_sub(1);
    // One look is enough nearly always: there is no excess.
    count.load(Ordering::Relaxed) > 0
        && count
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, less)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_to_come_is_the_first_to_be_served() {
        let queue = Arc::new(Queue::new());
        queue.set_limit(1);
        let first = queue.try_enter().unwrap();
        let mut second = Box::pin(queue.enter());
        let mut third = Box::pin(queue.enter());
        assert!(now(second.as_mut()).await.is_none());
        assert!(now(third.as_mut()).await.is_none());
        drop(first);
        assert!(queue.try_enter().is_none(), "nobody overtakes who waits");
        assert!(now(third.as_mut()).await.is_none());
        assert!(now(second.as_mut()).await.is_some());
    }

    #[tokio::test]
    async fn who_leaves_the_queue_is_not_waited_for() {
        let queue = Queue::new();
        queue.set_limit(1);
        let first = queue.try_enter().unwrap();
        let mut second = Box::pin(queue.enter());
        assert!(now(second.as_mut()).await.is_none());
        drop(second);
        drop(first);
        assert!(queue.try_enter().is_some());
    }

    #[test]
    fn a_lower_limit_counts_what_is_in_flight_already() {
        let queue = Queue::new();
        queue.set_limit(3);
        let taken: Vec<_> = (0..3).map(|_| queue.try_enter().unwrap()).collect();
        queue.set_limit(1);
        let mut taken = taken.into_iter();
        drop(taken.next());
        drop(taken.next());
        assert!(queue.try_enter().is_none());
        drop(taken.next());
        let one = queue.try_enter();
        assert!(one.is_some() && queue.try_enter().is_none());
    }

    #[test]
    fn a_higher_limit_takes_back_a_lower_one() {
        let queue = Queue::new();
        queue.set_limit(2);
        let taken: Vec<_> = (0..2).map(|_| queue.try_enter().unwrap()).collect();
        queue.set_limit(1);
        queue.set_limit(3);
        let third = queue.try_enter();
        assert!(third.is_some() && queue.try_enter().is_none());
        drop((taken, third));
        queue.set_limit(0);
        let many: Vec<_> = (0..100).map_while(|_| queue.try_enter()).collect();
        assert_eq!(many.len(), 100);
    }

    /// What a future is now.
    async fn now<F: Future + Unpin>(mut future: F) -> Option<F::Output> {
        use std::task::Poll;
        std::future::poll_fn(move |cx| {
            Poll::Ready(match std::pin::Pin::new(&mut future).poll(cx) {
                Poll::Ready(value) => Some(value),
                Poll::Pending => None,
            })
        })
        .await
    }
}
