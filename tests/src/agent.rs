//! A stand-in for a SPIRE agent: its SDS server on a Unix socket, by the agent's contract.
//!
//! It speaks `StreamSecrets` only. A stream that names a secret that its workload may not have ends with
//! INVALID_ARGUMENT; what is known is sent at once, and again whenever it changes; answers with another nonce than the
//! last one are ignored. Names are SPIFFE ids for certificates and trust domains for bundles; `default` is the first
//! certificate, `ROOTCA` the bundle of the first domain, `ALL` those of all domains. Who says that it is an Envoy since
//! 1.18 gets bundles for the SPIFFE validator, whoever is older or says nothing gets a bare `trusted_ca` and no `ALL`.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_xds_protos::any::pack;
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::core::node::UserAgentVersionType;
use outrigger_xds_protos::v3::core::{DataSource, Node, TypedExtensionConfig};
use outrigger_xds_protos::v3::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use outrigger_xds_protos::v3::tls::secret::Type;
use outrigger_xds_protos::v3::tls::spiffe_cert_validator_config::TrustDomain;
use outrigger_xds_protos::v3::tls::{
    CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
};
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
    secrets: Mutex<Secrets>,
    changed: watch::Sender<u64>,
    /// Names that were asked for and not known, and words of refusals.
    unknown: Mutex<Vec<String>>,
    refusals: Mutex<Vec<String>>,
}

/// What the agent has, in the order in which it came.
#[derive(Debug, Default)]
struct Secrets {
    /// By SPIFFE id.
    certificates: Vec<(String, TlsCertificate)>,
    /// PEM by trust domain, without `spiffe://`.
    bundles: Vec<(String, String)>,
}

impl Secrets {
    fn get(&self, name: &str, validates: bool) -> Option<Secret> {
        let of = |r#type| Some(Secret { name: name.to_owned(), r#type: Some(r#type) });
        let context = |bundles: &[(String, String)]| {
            if validates {
                return Some(spiffe_context(bundles));
            }
            let [(_, pem)] = bundles else { return None };
            Some(CertificateValidationContext { trusted_ca: inline(pem), ..Default::default() })
        };
        let domain = |wanted: &str| self.bundles.iter().find(|(domain, _)| domain == wanted);
        match name {
            "default" => of(Type::TlsCertificate(self.certificates.first()?.1.clone())),
            "ROOTCA" => of(Type::ValidationContext(context(self.bundles.get(..1)?)?)),
            "ALL" if validates => of(Type::ValidationContext(context(&self.bundles)?)),
            "ALL" => None,
            _ => match self.certificates.iter().find(|(id, _)| id == name) {
                Some((_, certificate)) => of(Type::TlsCertificate(certificate.clone())),
                None => {
                    let bundle = domain(name.strip_prefix("spiffe://")?)?;
                    of(Type::ValidationContext(context(std::slice::from_ref(bundle))?))
                }
            },
        }
    }
}

fn spiffe_context(bundles: &[(String, String)]) -> CertificateValidationContext {
    let domain = |(name, pem): &(String, String)| TrustDomain {
        name: name.clone(),
        trust_bundle: inline(pem),
        ..Default::default()
    };
    let config = SpiffeCertValidatorConfig {
        trust_domains: bundles.iter().map(domain).collect(),
        ..Default::default()
    };
    let config = TypedExtensionConfig {
        name: "envoy.tls.cert_validator.spiffe".to_owned(),
        typed_config: Some(pack(&config)),
    };
    CertificateValidationContext { custom_validator_config: Some(config), ..Default::default() }
}

/// Replaces what there is under a name, or adds it.
fn put<T>(list: &mut Vec<(String, T)>, name: &str, value: T) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => list.push((name.to_owned(), value)),
    }
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
        put(&mut lock(&self.shared.secrets).certificates, spiffe_id, certificate);
        self.tell();
    }

    /// Gives a trust domain (`spiffe://...`) its bundle, or another one. The first one is the agent's own.
    pub fn trust(&self, domain: &str, bundle: &str) {
        let domain = domain.strip_prefix("spiffe://").unwrap_or(domain);
        put(&mut lock(&self.shared.secrets).bundles, domain, bundle.to_owned());
        self.tell();
    }

    fn tell(&self) {
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
    let (mut names, mut sent, mut validates) = (Vec::new(), 0_u64, false);
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
                // Only the first request of a stream has to say who asks.
                validates |= request.node.as_ref().is_some_and(has_validator);
            }
            _ = changed.changed() => if sent == 0 { continue },
        }
        let resources = find(shared, &names, validates)?;
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

/// The SPIFFE validator is in Envoy since 1.18; nobody else tells a version.
fn has_validator(node: &Node) -> bool {
    let Some(UserAgentVersionType::UserAgentBuildVersion(build)) = &node.user_agent_version_type else {
        return false;
    };
    build.version.as_ref().is_some_and(|version| (version.major_number, version.minor_number) > (1, 17))
}

fn find(shared: &Shared, names: &[String], validates: bool) -> Result<Vec<Secret>, Status> {
    let secrets = lock(&shared.secrets);
    let found: Vec<Option<Secret>> = names.iter().map(|name| secrets.get(name, validates)).collect();
    let missing: Vec<&String> =
        names.iter().zip(&found).filter(|(_, secret)| secret.is_none()).map(|(name, _)| name).collect();
    if missing.is_empty() {
        return Ok(found.into_iter().flatten().collect());
    }
    lock(&shared.unknown).extend(missing.iter().map(|name| (*name).clone()));
    Err(Status::invalid_argument(format!(
        "workload is not authorized for the requested identities {missing:?}"
    )))
}
