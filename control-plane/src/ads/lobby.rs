//! Connections whose clients have not shown yet that they may come in: so many at a time from one place, and not for
//! long, so that strangers cannot take all there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Place;

/// Counts who waits, by where they connect from.
#[derive(Debug)]
pub struct Lobby {
    /// How many may wait from one place.
    places: usize,
    waiting: Mutex<HashMap<String, usize>>,
}

/// One who waits, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    lobby: Arc<Lobby>,
    client: String,
}

impl Lobby {
    /// With so many places for each address.
    pub fn new(places: usize) -> Self {
        Self { places, waiting: Mutex::default() }
    }

    /// Takes a place. `None`: those of this address are taken. There are never more addresses than connections.
    pub fn enter(self: &Arc<Self>, address: &str) -> Option<Waiting> {
        let client = Place::of(address).client;
        let mut waiting = self.waiting();
        let count = waiting.entry(client.clone()).or_default();
        if *count >= self.places {
            return None;
        }
        *count += 1;
        drop(waiting);
        Some(Waiting { lobby: Arc::clone(self), client })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.lobby.waiting();
        if let Some(count) = waiting.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_places() {
        let lobby = Arc::new(Lobby::new(2));
        let first = lobby.enter("192.0.2.1:1000");
        let second = lobby.enter("192.0.2.1:1001");
        assert!(first.is_some() && second.is_some());
        assert!(lobby.enter("192.0.2.1:1002").is_none());
        assert!(lobby.enter("192.0.2.2:1000").is_some(), "another address");
        drop(first);
        assert!(lobby.enter("192.0.2.1:1002").is_some());
        drop(second);
        assert!(lobby.waiting().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let lobby = Arc::new(Lobby::new(1));
        let _one = lobby.enter("[2001:db8:1:2::1]:1000");
        assert!(lobby.enter("[2001:db8:1:2:ffff::9]:1000").is_none());
        assert!(lobby.enter("[2001:db8:1:3::1]:1000").is_some());
    }
}
