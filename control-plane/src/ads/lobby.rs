//! Connections whose clients have not shown yet that they may come in: so many at a time from one address, from one site
//! of IPv6 (a customer has 65,536 networks) and in all, and not for long, so that strangers cannot take all there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::Place;

/// Counts who waits, by where they connect from.
#[derive(Debug)]
pub struct Lobby {
    places: Places,
    waiting: Mutex<HashMap<String, usize>>,
}

/// How many may wait.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// From one address.
    pub client: usize,
    /// From one site.
    pub site: usize,
    /// From anywhere.
    pub all: usize,
}

/// One who waits, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    lobby: Arc<Lobby>,
    keys: Vec<String>,
}

impl Lobby {
    /// With so many places.
    pub fn new(places: Places) -> Self {
        Self { places, waiting: Mutex::default() }
    }

    /// Takes a place. `None`: those for this address are taken. There are never more addresses than connections.
    pub fn enter(self: &Arc<Self>, address: &str) -> Option<Waiting> {
        let Place { client, site } = Place::of(address);
        let Places { client: of_client, site: of_site, all } = self.places;
        // No address is called so.
        let mut keys = vec![("all".to_owned(), all), (client, of_client)];
        keys.extend(site.map(|site| (format!("site {site}"), of_site)));
        let mut waiting = self.waiting();
        if keys.iter().any(|(key, most)| waiting.get(key).is_some_and(|count| count >= most)) {
            return None;
        }
        for (key, _) in &keys {
            *waiting.entry(key.clone()).or_default() += 1;
        }
        drop(waiting);
        let keys = keys.into_iter().map(|(key, _)| key).collect();
        Some(Waiting { lobby: Arc::clone(self), keys })
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.lobby.waiting();
        for key in &self.keys {
            if let Some(count) = waiting.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    waiting.remove(key);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lobby(client: usize, site: usize, all: usize) -> Arc<Lobby> {
        Arc::new(Lobby::new(Places { client, site, all }))
    }

    #[test]
    fn each_address_has_its_places() {
        let lobby = lobby(2, 4, 8);
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
        let lobby = lobby(1, 2, 8);
        let _one = lobby.enter("[2001:db8:1:2::1]:1000");
        assert!(lobby.enter("[2001:db8:1:2:ffff::9]:1000").is_none());
        let _two = lobby.enter("[2001:db8:1:3::1]:1000").expect("another network");
        assert!(lobby.enter("[2001:db8:1:4::1]:1000").is_none(), "of the same site");
        assert!(lobby.enter("[2001:db8:2:4::1]:1000").is_some());
    }

    #[test]
    fn all_together_leave_places_to_those_who_are_known() {
        let lobby = lobby(1, 1, 2);
        let waiting: Vec<_> = (1..4).map(|last| lobby.enter(&format!("192.0.2.{last}:1000"))).collect();
        assert_eq!(waiting.iter().flatten().count(), 2);
    }
}
