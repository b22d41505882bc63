//! Secrets that have streams of their own: one protocol machine for each, as in Envoy. A server that knows one of them
//! and not another (SPIRE agents end the stream then) costs that other one only.

use std::collections::HashMap;
use std::sync::Arc;

use outrigger_xds_protos::v3::core::Node;

use super::Outbox;
use crate::xds::protocol::{Protocol, Request, Response};
use crate::xds::resource::{Fault, Interest, ResourceType, Update};
use crate::xds::settings::AdsSettings;
use crate::xds::store::Streams;

/// Tells streams apart, over the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(u64);

/// What a driver does about streams, in this order.
#[derive(Debug)]
pub enum StreamCommand {
    /// Opens one, and again whenever it ends.
    Open(StreamId, Arc<AdsSettings>),
    /// Sends on an open one.
    Send(StreamId, Box<Request>),
    /// Ends one for good.
    Close(StreamId),
}

struct SecretStream {
    id: StreamId,
    settings: Arc<AdsSettings>,
    protocol: Protocol,
}

/// The streams that are wanted, by the name of their secret.
#[derive(Default)]
pub(super) struct SecretStreams {
    node: Node,
    last: u64,
    by_secret: HashMap<Arc<str>, SecretStream>,
}

impl SecretStreams {
    /// Says who asks.
    pub(super) fn identify(&mut self, node: Node) {
        self.node = node;
    }

    /// Opens and ends streams so that there are these.
    pub(super) fn follow(&mut self, wanted: &Streams, outbox: &mut Outbox) {
        self.by_secret.retain(|name, stream| {
            let stays = wanted.get(name).is_some_and(|settings| *settings == stream.settings);
            if !stays {
                outbox.streams.push(StreamCommand::Close(stream.id));
            }
            stays
        });
        for (name, settings) in wanted {
            if self.by_secret.contains_key(name) {
                continue;
            }
            self.last += 1;
            let id = StreamId(self.last);
            let mut protocol = Protocol::new(settings.variant, self.node.clone());
            // Asked for when the stream opens.
            let _ = protocol.want(ResourceType::Secret, Interest::named([name.clone()]));
            outbox.streams.push(StreamCommand::Open(id, settings.clone()));
            self.by_secret.insert(name.clone(), SecretStream { id, settings: settings.clone(), protocol });
        }
    }

    fn find(&mut self, id: StreamId) -> Option<&mut SecretStream> {
        self.by_secret.values_mut().find(|stream| stream.id == id)
    }

    pub(super) fn opened(&mut self, id: StreamId, outbox: &mut Outbox) {
        let Some(stream) = self.find(id) else { return };
        let requests = stream.protocol.opened().into_iter();
        outbox.streams.extend(requests.map(|request| StreamCommand::Send(id, Box::new(request))));
    }

    pub(super) fn closed(&mut self, id: StreamId) {
        if let Some(stream) = self.find(id) {
            stream.protocol.closed();
        }
    }

    /// What a response brings. `None`: drop it.
    pub(super) fn received(&mut self, id: StreamId, response: Response) -> Option<Update> {
        let update = self.find(id)?.protocol.received(response)?;
        (update.kind == ResourceType::Secret).then_some(update)
    }

    pub(super) fn answer(&mut self, id: StreamId, update: &Update, faults: &[Fault], outbox: &mut Outbox) {
        if let Some(stream) = self.find(id) {
            let request = stream.protocol.answer(update, faults);
            outbox.streams.push(StreamCommand::Send(id, Box::new(request)));
        }
    }
}

#[cfg(test)]
mod tests;
