//! The client at the other end of a connection, as its streams see it: where it is, what it has shown, who that makes it,
//! and how long its streams may last.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tonic::Status;

use super::refusal::{expired, unauthenticated};
use crate::access::{Ended, Grant, Nodes, Shown};
use crate::discovery_tls::ClientCertificate;

/// Why a connection closes that its client did not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// It may come back as it is.
    Goodbye,
    /// It has to come back with another certificate.
    CertificateEnded,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Peer {
    address: Arc<str>,
    certificate: Arc<ClientCertificate>,
    grant: Option<Grant>,
    closing: watch::Receiver<Option<Closing>>,
    activity: watch::Sender<Activity>,
}

/// What a connection is used for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Its client has been let in.
    pub known: bool,
    /// How many streams are open.
    pub streams: usize,
}

impl Peer {
    /// Nobody known, over a connection that says when it closes and wants to know what it is used for.
    pub(super) fn new(
        address: Arc<str>,
        certificate: ClientCertificate,
        closing: watch::Receiver<Option<Closing>>,
        activity: watch::Sender<Activity>,
    ) -> Self {
        Self { address, certificate: Arc::new(certificate), grant: None, closing, activity }
    }

    /// Where it connects from.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it shows with a call that has this `authorization`.
    pub(super) fn shown<'s>(&'s self, authorization: Option<&'s str>) -> Shown<'s> {
        let ClientCertificate { uris, until } = &*self.certificate;
        Shown { uris, until: *until, authorization, address: &self.address }
    }

    /// The same peer, let in.
    pub(super) fn let_in(self, grant: Grant) -> Self {
        self.activity.send_if_modified(|activity| !std::mem::replace(&mut activity.known, true));
        Self { grant: Some(grant), ..self }
    }

    /// Whether it may be the node with this canonical id. Nobody, before [`Self::let_in`].
    pub(super) fn may_be(&self, node_id: &str) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.includes(node_id))
    }

    /// Returns when a stream is to end that needs the nodes that `enough` asks for: as it should, or with what the client
    /// is told.
    pub fn ended<E>(&self, enough: E) -> impl Future<Output = Result<(), Status>> + Send + use<E>
    where
        E: Fn(&Nodes) -> bool + Send,
    {
        let (address, mut closing, grant) =
            (Arc::clone(&self.address), self.closing.clone(), self.grant.clone());
        async move {
            let granted = async {
                match grant {
                    Some(grant) => grant.ended(enough).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                // An error means that the connection is gone, which is as good a reason.
                closing = closing.wait_for(Option::is_some) => match closing.ok().and_then(|closing| *closing) {
                    Some(Closing::CertificateEnded) => Ended::Expired,
                    Some(Closing::Goodbye) | None => return Ok(()),
                },
                ended = granted => ended,
            };
            let peer = &*address;
            match ended {
                Ended::Expired => {
                    tracing::info!(target: "audit", peer, "ended: what this client has shown is over");
                    Err(expired())
                }
                Ended::Withdrawn => {
                    tracing::warn!(target: "audit", peer, "ended: the rules have changed for this client");
                    Err(unauthenticated())
                }
            }
        }
    }

    /// Counts a stream until the guard is dropped.
    pub fn stream_opened(&self) -> OpenStream {
        self.activity.send_modify(|activity| activity.streams += 1);
        OpenStream(self.activity.clone())
    }
}

/// A stream that counts against the idleness of its connection.
#[derive(Debug)]
pub struct OpenStream(watch::Sender<Activity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.send_modify(|activity| activity.streams = activity.streams.saturating_sub(1));
    }
}
