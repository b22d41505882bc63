//! A stand-in for a SPIRE agent: its SDS server on a Unix socket, by the agent's contract.
//!
//! It speaks `StreamSecrets` only. A stream that names a secret that its workload may not have ends with
//! INVALID_ARGUMENT; what is known is sent at once, and again whenever it changes; answers with another nonce than the
//! last one are ignored. Names are SPIFFE ids for certificates and trust domains for bundles.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::core::DataSource;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use outrigger_xds_protos::v3::tls::secret::Type;
use outrigger_xds_protos::v3::tls::{CertificateValidationContext, Secret, TlsCertificate};
use outrigger_xds_protos::v3::{SdsServer, SecretDiscoveryService};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::tls::Identity;
use crate::{Result, wait};

const LIMIT: Duration = Duration::from_secs(10);

/// The running agent; its socket goes with it.
#[derive(Debug)]
pub struct Agent {
    directory: tempfile::TempDir,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    secrets: Mutex<BTreeMap<String, Secret>>,
    changed: watch::Sender<u64>,
    /// Names that were asked for and not known, and words of refusals.
    unknown: Mutex<Vec<String>>,
    refusals: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agent {
    /// Starts with no identity to give.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let incoming = UnixListenerStream::new(UnixListener::bind(directory.path().join("agent.sock"))?);
        let shared = Arc::<Shared>::default();
        let service = SdsServer::new(Sds(shared.clone()));
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        let task = tokio::spawn(async move {
            // It ends with the agent.
            let _ = serving.await;
        });
        Ok(Self { directory, shared, task })
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent.sock")
    }

    /// Gives a workload its certificate, or another one.
    pub fn identify(&self, spiffe_id: &str, identity: &Identity) {
        let certificate = TlsCertificate {
            certificate_chain: inline(&identity.certificate),
            private_key: inline(&identity.key),
            ..Default::default()
        };
        self.put(spiffe_id, Type::TlsCertificate(certificate));
    }

    /// Gives a trust domain its bundle, or another one.
    pub fn trust(&self, domain: &str, bundle: &str) {
        let context = CertificateValidationContext { trusted_ca: inline(bundle), ..Default::default() };
        self.put(domain, Type::ValidationContext(context));
    }

    fn put(&self, name: &str, kind: Type) {
        let secret = Secret { name: name.to_owned(), r#type: Some(kind) };
        lock(&self.shared.secrets).insert(name.to_owned(), secret);
        self.shared.changed.send_modify(|version| *version += 1);
    }

    /// Waits until somebody asks for a name that it does not know.
    pub async fn until_asked_in_vain(&self, name: &str) -> Result<()> {
        let check = || {
            let asked = lock(&self.shared.unknown).iter().any(|unknown| unknown == name);
            std::future::ready(asked.then_some(()))
        };
        wait::until(&format!("a stream that asks for {name}"), LIMIT, check).await
    }

    /// What clients said of secrets that they refused.
    pub fn refusals(&self) -> Vec<String> {
        lock(&self.shared.refusals).clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Agents send bytes.
fn inline(text: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
    Some(DataSource { specifier, ..Default::default() })
}

struct Sds(Arc<Shared>);

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type StreamSecretsStream = Responses<DiscoveryResponse>;
    type DeltaSecretsStream = Responses<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, receiver) = mpsc::channel(8);
        let shared = self.0.clone();
        tokio::spawn(async move {
            if let Err(status) = converse(&shared, request.into_inner(), &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("DeltaSecrets is not implemented"))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("the stand-in has streams only"))
    }
}

/// One stream. Ends with the client, or with an error for it.
async fn converse(
    shared: &Shared,
    mut requests: Streaming<DiscoveryRequest>,
    sender: &mpsc::Sender<Result<DiscoveryResponse, Status>>,
) -> Result<(), Status> {
    let mut changed = shared.changed.subscribe();
    let (mut names, mut sent) = (Vec::new(), 0_u64);
    loop {
        tokio::select! {
            request = requests.message() => {
                let Some(request) = request? else { return Ok(()) };
                if let Some(refusal) = &request.error_detail {
                    lock(&shared.refusals).push(refusal.message.clone());
                }
                let stale = !request.response_nonce.is_empty() && request.response_nonce != nonce(sent);
                if stale || (sent > 0 && request.resource_names == names) {
                    continue;
                }
                names = request.resource_names;
            }
            _ = changed.changed() => if sent == 0 { continue },
        }
        let resources = find(shared, &names)?;
        sent += 1;
        let response = DiscoveryResponse {
            version_info: sent.to_string(),
            nonce: nonce(sent),
            type_url: type_url::SECRET.to_owned(),
            resources: resources.iter().map(pack).collect(),
            ..Default::default()
        };
        if sender.send(Ok(response)).await.is_err() {
            return Ok(());
        }
    }
}

fn nonce(sent: u64) -> String {
    format!("{sent:08x}")
}

fn find(shared: &Shared, names: &[String]) -> Result<Vec<Secret>, Status> {
    let secrets = lock(&shared.secrets);
    let missing: Vec<&String> = names.iter().filter(|name| !secrets.contains_key(*name)).collect();
    if missing.is_empty() {
        return Ok(names.iter().filter_map(|name| secrets.get(name)).cloned().collect());
    }
    lock(&shared.unknown).extend(missing.iter().map(|name| (*name).clone()));
    Err(Status::invalid_argument(format!(
        "workload is not authorized for the requested identities {missing:?}"
    )))
}
