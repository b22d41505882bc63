//! One pointer, one generation: how a snapshot reaches the workers.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::Snapshot;
use crate::observe::tap::Tap;

/// The writing side, owned by the compiler on the main runtime.
#[derive(Debug)]
pub struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    generation: watch::Sender<u64>,
}

/// The reading side, one per worker and one for admin.
#[derive(Clone, Debug)]
pub struct Subscriber {
    current: Arc<ArcSwap<Snapshot>>,
    generation: watch::Receiver<u64>,
    attention: Arc<Notify>,
    tap: Arc<Tap>,
}

/// A connected pair that starts with an empty world of generation 0.
pub fn channel() -> (Publisher, Subscriber) {
    let current = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let (sender, receiver) = watch::channel(0);
    let publisher = Publisher { current: current.clone(), generation: sender };
    (publisher, Subscriber { current, generation: receiver, attention: Arc::default(), tap: Arc::default() })
}

impl Publisher {
    /// Stores the next world and wakes every subscriber. Stamps the generation; returns it.
    pub fn publish(&self, mut next: Snapshot) -> u64 {
        let generation = *self.generation.borrow() + 1;
        next.generation = generation;
        self.current.store(Arc::new(next));
        self.generation.send_replace(generation);
        generation
    }

    /// Generation of the world as last published.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// The world as last published.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

impl Subscriber {
    /// Waits for a generation this subscriber has not seen. `None` when the publisher is gone.
    pub async fn changed(&mut self) -> Option<Arc<Snapshot>> {
        self.generation.changed().await.ok()?;
        self.generation.borrow_and_update();
        Some(self.current.load_full())
    }

    /// The world now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How workers call the main runtime: some host's live cells ask for a decision. Shared by all clones.
    pub fn attention(&self) -> &Arc<Notify> {
        &self.attention
    }

    /// Where workers show finished requests to who watches. Shared by all clones.
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }
}
