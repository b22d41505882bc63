//! Warm listeners begin to serve, or cannot.

use std::sync::Arc;

use super::Engine;
use crate::xds::resource::ResourceType;
use crate::xds::store::{Held, Now, Refused};

impl Engine {
    /// Lets warm listeners serve; true when there were any.
    pub(super) fn activate_listeners(&mut self, now: Now) -> bool {
        let warm = self.store.warm_listeners();
        for name in &warm {
            match self.listen(name) {
                Ok(workers) => {
                    self.store.activate_listener(name);
                    self.counters.listener_started(workers);
                }
                Err(reason) => self.give_up_listener(name, reason, now),
            }
        }
        !warm.is_empty()
    }

    /// Makes the sockets of a warm listener listen, unless they do; how many there are.
    fn listen(&self, name: &str) -> Result<usize, String> {
        let Some(record) = self.store.listeners.get(name) else { return Ok(0) };
        let Some(warm) = &record.warming else { return Ok(0) };
        let Some(sockets) = &warm.value.sockets else { return Ok(0) };
        let serving = record.active.as_ref().and_then(|active| active.value.sockets.as_ref());
        if serving.is_some_and(|serving| Arc::ptr_eq(serving, sockets)) {
            return Ok(0);
        }
        let backlog = warm.value.translated.config.backlog;
        let listening = self.ports.listen(sockets, backlog);
        listening
            .map(|()| sockets.sockets.len())
            .map_err(|error| format!("{}: cannot listen: {error}", sockets.address))
    }

    /// A listener that was accepted cannot listen after all. Nothing can be NACKed any more, so it is said in the
    /// log and in `/config_dump`.
    fn give_up_listener(&mut self, name: &Arc<str>, reason: String, now: Now) {
        tracing::error!("listener {name:?}: {reason}");
        self.counters.listener_failed();
        let Some(record) = self.store.listeners.get_mut(name) else { return };
        let Some(held) = record.warming.take() else { return };
        let Held { body, version, .. } = held;
        let refused = Refused { body, version, at: now.wall, details: reason, port: true };
        self.store.refuse(ResourceType::Listener, name, refused);
    }
}
