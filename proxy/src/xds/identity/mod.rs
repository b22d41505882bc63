//! Our own identity: a key that never leaves this process, and certificates for it from the control plane.
//!
//! The control plane says in a secret that certificates are to be had, and who signs them; this task asks for one over
//! the connection of the aggregated stream, and again after two thirds of its life or when another authority signs.
//! Invariants: every certificate has a new key; what is held stays in use until there is another, whatever happens to
//! the control plane; the log says what will happen when. See `outrigger_xds_protos::identity`.

mod key;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_xds_protos::identity::{IssueRequest, IssueResponse, METHOD};
use tokio::sync::{mpsc, watch};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

use self::key::OwnKey;
use super::client::{Backoff, grpc_metadata};
use super::settings::Metadata;
use super::translate::Secret;
use crate::config::secret::ShownCertificate;

/// How long an answer may take: an authority outside the mesh needs some seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest sleep at once: wall clocks are set.
const NAP: Duration = Duration::from_secs(30);
/// Longest wait before another authority is asked: a mesh does not come all at once.
const SPREAD: Duration = Duration::from_secs(10);
/// Where the certificate is, for `/certs`.
const PLACE: &str = "<own key>";

/// Who signs which names at the moment, as the control plane says it; `None` when it does not offer certificates.
pub type Signer = Option<Arc<str>>;

/// Asks for certificates for as long as somebody takes them.
pub struct Requester {
    /// Who we are.
    pub node_id: String,
    /// Sent along.
    pub metadata: Metadata,
    /// The connection of the aggregated stream.
    pub channels: watch::Receiver<Option<Channel>>,
    /// Whether an identity is wanted, and who signs.
    pub signers: watch::Receiver<Signer>,
    /// Where identities go.
    pub identities: mpsc::Sender<Arc<Secret>>,
}

/// The certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    signer: Arc<str>,
    due: SystemTime,
    until: SystemTime,
}

/// The last complaint: why, and how long the certificate had left.
#[derive(Debug, Default)]
struct Told(Option<(String, Duration)>);

impl Requester {
    /// Runs until the other ends are gone.
    pub async fn run(mut self) {
        let mut held: Option<Held> = None;
        let mut backoff = Backoff::new(Backoff::DEFAULT.0, Backoff::DEFAULT.1);
        let mut told = Told::default();
        while let Some(signer) = self.until_due(&mut held).await {
            match self.obtain(signer, held.as_ref()).await {
                Ok((identity, next)) => {
                    if self.identities.send(identity).await.is_err() {
                        return;
                    }
                    backoff.reset();
                    told = Told::default();
                    held = Some(next);
                }
                Err(reason) => {
                    let left = held.as_ref().map(|held| left(held.until));
                    if let Some(text) = told.complaint(&reason, left) {
                        tracing::warn!("{text}");
                    }
                    tokio::time::sleep(pause(backoff.next(fastrand::f64()), left)).await;
                }
            }
        }
    }

    /// Waits until a certificate is to be asked for; who signs it. `None`: nobody wants one any more.
    async fn until_due(&mut self, held: &mut Option<Held>) -> Signer {
        loop {
            let signer = self.signers.borrow_and_update().clone();
            let Some(signer) = signer else {
                *held = None;
                self.signers.changed().await.ok()?;
                continue;
            };
            let Some(held) = held else { return Some(signer) };
            if held.signer != signer {
                tokio::time::sleep((left(held.due) / 10).min(SPREAD).mul_f64(fastrand::f64())).await;
                return Some(signer);
            }
            let nap = left(held.due).min(NAP);
            if nap.is_zero() {
                return Some(signer);
            }
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                changed = self.signers.changed() => changed.ok()?,
            }
        }
    }

    async fn obtain(&mut self, signer: Arc<str>, held: Option<&Held>) -> Result<(Arc<Secret>, Held), String> {
        let patience = pause(NAP, held.map(|held| left(held.until)));
        let connected = tokio::time::timeout(patience, self.channels.wait_for(Option::is_some)).await;
        let channel = connected.ok().and_then(Result::ok).and_then(|channel| channel.clone());
        let channel = channel.ok_or("there is no connection to it")?;
        // The first line stands for who signs.
        let key = OwnKey::generate()?;
        let chain = self.ask(channel, key.request(signer.lines().skip(1))?).await?;
        let certified = key.certified(&chain)?;
        let chain: Vec<_> = certified.cert.iter().cloned().map(Arc::new).collect();
        let shown = ShownCertificate::chain(PLACE, &chain);
        let leaf = shown.first().ok_or("the answer has no certificate")?;
        let (_, until) = leaf.validity.ok_or("the certificate cannot be read")?;
        let due =
            due(SystemTime::now(), until, fastrand::f64()).ok_or("the certificate has ended already")?;
        Ok((Arc::new(Secret::Certificate(certified, shown)), Held { signer, due, until }))
    }

    async fn ask(&self, channel: Channel, request: Vec<u8>) -> Result<String, String> {
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| error.to_string())?;
        let mut call = tonic::Request::new(IssueRequest { node_id: self.node_id.clone(), request });
        *call.metadata_mut() = grpc_metadata(&self.metadata).await;
        let codec = ProstCodec::<IssueRequest, IssueResponse>::default();
        let answer = client.unary(call, PathAndQuery::from_static(METHOD), codec);
        let answer =
            tokio::time::timeout(ANSWER, answer).await.map_err(|_| "it does not answer".to_owned())?;
        let answer = answer.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
        Ok(answer.into_inner().chain)
    }
}

impl Told {
    /// What to say; nothing when it was said and nothing is different: the reason, or half of the time gone by.
    fn complaint(&mut self, reason: &str, left: Option<Duration>) -> Option<String> {
        let rest = left.unwrap_or_default();
        let same = self
            .0
            .as_ref()
            .is_some_and(|(said, then)| said == reason && (rest > *then / 2 || then.is_zero()));
        if same {
            return None;
        }
        self.0 = Some((reason.to_owned(), rest));
        let fate = match left {
            None => "there is none yet: TLS of the mesh fails until there is".to_owned(),
            Some(Duration::ZERO) => {
                "the one in use has expired: handshakes fail, open connections stay".to_owned()
            }
            Some(left) => format!(
                "the one in use ends in {} s: from then on handshakes fail, open connections stay",
                left.as_secs()
            ),
        };
        Some(format!("the control plane gives no new certificate ({reason}); {fate}; asking on"))
    }
}

fn left(until: SystemTime) -> Duration {
    until.duration_since(SystemTime::now()).unwrap_or_default()
}

/// After two thirds of what is left of the life, give or take a tenth. `random` is in `0.0..1.0`.
fn due(now: SystemTime, until: SystemTime, random: f64) -> Option<SystemTime> {
    let life = until.duration_since(now).ok().filter(|life| !life.is_zero())?;
    Some(now + life.mul_f64(2.0 / 3.0 * (0.9 + 0.2 * random)))
}

/// No wait takes more than a quarter of what is left, and none is too short to be one.
fn pause(wanted: Duration, left: Option<Duration>) -> Duration {
    let bound = left.filter(|left| !left.is_zero()).map_or(NAP, |left| left / 4);
    wanted.min(bound).max(Duration::from_millis(100))
}
