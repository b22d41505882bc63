//! The identity that has to be asked for, as the driver sees it: whether it is wanted, and what came.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use crate::xds::identity::{Requester, Signer};
use crate::xds::settings::Metadata;
use crate::xds::translate::Secret;

/// The task that asks, and the channels to it.
pub(super) struct Identity {
    signers: watch::Sender<Signer>,
    arrived: mpsc::Receiver<Arc<Secret>>,
    /// Until [`Identity::requester`] takes it.
    requester: Option<Requester>,
}

impl Identity {
    /// Asks as this node over these connections.
    pub(super) fn new(
        node_id: String,
        metadata: Metadata,
        channels: watch::Receiver<Option<Channel>>,
    ) -> Self {
        let (signers, watched) = watch::channel(None);
        let (identities, arrived) = mpsc::channel(1);
        let requester = Requester { node_id, metadata, channels, signers: watched, identities };
        Self { signers, arrived, requester: Some(requester) }
    }

    /// The task, once.
    pub(super) fn requester(&mut self) -> Option<Requester> {
        self.requester.take()
    }

    /// Says who signs, or that nothing is wanted.
    pub(super) fn ask(&self, signer: Signer) {
        self.signers.send_if_modified(|known| {
            let other = *known != signer;
            *known = signer;
            other
        });
    }
}

/// What comes next.
pub(super) async fn next(identity: &mut Option<Identity>) -> Option<Arc<Secret>> {
    match identity {
        Some(identity) => identity.arrived.recv().await,
        None => std::future::pending().await,
    }
}
