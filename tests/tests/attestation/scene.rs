//! A control plane with rules for every kind of proof, and calls that show one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use outrigger_tests::api_server::ApiServer;
use outrigger_tests::client::grpc::{self, Reply};
use outrigger_tests::client::h2::Connection;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Identity};
use outrigger_tests::{Result, wait};
use outrigger_xds_protos::type_url;
use outrigger_xds_protos::v3::core::Node;
use outrigger_xds_protos::v3::discovery::DeltaDiscoveryRequest;
use prost::Message;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
pub const A: &str = "mesh/shop/virtualNode/a";
pub const B: &str = "mesh/shop/virtualNode/b";
pub const JOIN: &str = "a-join-token-of-node-a";
pub const ENDED: &str = "a-join-token-that-has-ended";
/// The account that is node `a`.
pub const ACCOUNT: &str = "shop/a";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

const DEFINITIONS: &str = "
- {meshName: shop, spec: {}}
- {meshName: shop, virtualNodeName: a, spec: {}}
- {meshName: shop, virtualNodeName: b, spec: {}}
";

pub struct Scene {
    files: tempfile::TempDir,
    pub plane: ControlPlane,
    pub api: ApiServer,
    pub issuer: TokenIssuer,
}

/// What a caller shows.
#[derive(Default)]
pub struct Shown<'s> {
    pub token: Option<&'s str>,
    pub identity: Option<&'s Identity>,
    /// The certificate is somebody else's: what it takes to use it is signed with another key.
    pub without_key: bool,
}

impl<'s> Shown<'s> {
    pub fn token(token: &'s str) -> Self {
        Self { token: Some(token), ..Self::default() }
    }

    pub fn identity(identity: &'s Identity) -> Self {
        Self { identity: Some(identity), ..Self::default() }
    }
}

/// A client that shows a certificate whose key it has not got. A client of rustls would not even begin with both from one
/// hand, so they are put together here.
#[derive(Debug)]
struct Stolen(Arc<CertifiedKey>);

impl Stolen {
    fn new(identity: &Identity) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let own = KeyPair::generate()?;
        let key = any_supported_type(&PrivatePkcs8KeyDer::from(own.serialize_der()).into())?;
        Ok(Self(Arc::new(CertifiedKey::new(chain.collect::<std::result::Result<_, _>>()?, key))))
    }
}

impl ResolvesClientCert for Stolen {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl Scene {
    pub async fn start() -> Result<Self> {
        Self::serving(DEFINITIONS, &["--no-interception"]).await
    }

    /// Serves these definitions with these further arguments.
    pub async fn serving(definitions: &str, more: &[&str]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let api = ApiServer::start(files.path()).await?;
        let issuer = TokenIssuer::new()?;
        let path = |name: &str| files.path().join(name).display().to_string();
        std::fs::write(path("jwks.json"), issuer.keys().to_string())?;
        let (offline, review) = (Offline::ISSUER, Review::ISSUER);
        let accounts = format!("[{{account: {ACCOUNT}, nodes: [{A}]}}]");
        let rules = format!(
            "certificates: true
tokens:
- {{token: {JOIN}, nodes: [{A}]}}
- {{token: {ENDED}, nodes: [{A}], until: 20260101T000000Z}}
kubernetes:
- {{issuer: '{offline}', audience: outrigger, keys: '{}', accounts: {accounts}}}
- {{issuer: '{review}', audience: outrigger, review: {{server: '{}', roots: '{}', token: '{}'}}, accounts: {accounts}}}
",
            path("jwks.json"),
            api.url(),
            path("ca.crt"),
            path("token"),
        );
        std::fs::write(path("access.yaml"), rules)?;
        let (rules, ca) = (path("access.yaml"), path("ca"));
        let arguments = ["--mesh-ca", &ca, "--xds-name", "127.0.0.1", "--access", &rules];
        let launch = Launch::of(definitions)?.args(arguments.map(str::to_owned));
        let plane = launch.args(more.iter().copied()).start().await?;
        Ok(Self { files, plane, api, issuer })
    }

    pub fn path(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// A certificate of the mesh's authority, changed before it is signed.
    pub fn identity(&self, uri: &str, change: impl FnOnce(&mut CertificateParams)) -> Result<Identity> {
        let root = std::fs::read_to_string(self.path("ca/root.pem"))?;
        let key = KeyPair::from_pem(&std::fs::read_to_string(self.path("ca/root.key"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&root, key)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
        change(&mut params);
        let key = KeyPair::generate()?;
        Ok(Identity { certificate: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
    }

    /// Makes one call with one message; an error is a connection that did not come about.
    pub async fn call(&self, method: &str, message: &[u8], shown: &Shown<'_>) -> Result<Reply> {
        let root = std::fs::read_to_string(self.path("ca/root.pem"))?;
        let mut config = tls::client_of(&root, &["h2"], shown.identity.filter(|_| !shown.without_key))?;
        if let Some(identity) = shown.identity.filter(|_| shown.without_key) {
            config.client_auth_cert_resolver = Arc::new(Stolen::new(identity)?);
        }
        let stream = tls::connect(&Place::Host, self.plane.xds(), "127.0.0.1", config).await?;
        let mut connection = Connection::over(stream).await?;
        let mut request = Request::post(format!("https://control-plane{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = shown.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        grpc::call_with(&mut connection, request, &[message]).await
    }

    /// Asks for a node's clusters.
    pub async fn discover(&self, node: &str, shown: &Shown<'_>) -> Result<Reply> {
        let request = DeltaDiscoveryRequest {
            node: Some(self::node(node)),
            type_url: type_url::CLUSTER.to_owned(),
            ..Default::default()
        };
        self.call(DELTA, &request.encode_to_vec(), shown).await
    }

    /// How often the audit has a text so far.
    pub fn audited(&mut self, text: &str) -> usize {
        let said = self.plane.process().stderr();
        said.lines().filter(|line| line.contains("audit") && line.contains(text)).count()
    }

    /// Waits until the audit has a text more often than that; how often it has it then. An answer may be here before.
    pub async fn until_audited(&mut self, text: &str, before: usize) -> Result<usize> {
        let told = || std::future::ready(Some(self.audited(text)).filter(|count| *count > before));
        match wait::until(&format!("{text:?} in the audit"), LIMIT, told).await {
            Ok(count) => Ok(count),
            Err(error) => Err(self.plane.process().failure(&error.to_string())),
        }
    }
}

pub fn node(id: &str) -> Node {
    Node { id: id.to_owned(), user_agent_name: "test".to_owned(), ..Default::default() }
}

/// Who signs service-account tokens.
pub struct TokenIssuer(EcdsaKeyPair);

/// Whose tokens are checked against keys in a file.
pub struct Offline;
/// Whose tokens its API server reviews.
pub struct Review;

impl Offline {
    pub const ISSUER: &'static str = "https://offline.example";
}

impl Review {
    pub const ISSUER: &'static str = "https://reviewed.example";
}

impl TokenIssuer {
    pub fn new() -> Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Ok(Self(key.map_err(|_| "no key")?))
    }

    fn keys(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let number = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": number(1..33), "y": number(33..65)}]})
    }

    /// A token for an audience, whose end is that many seconds from now.
    pub fn token(&self, issuer: &str, audience: &str, seconds: i64) -> Result<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() as i64;
        let subject = format!("system:serviceaccount:{}", ACCOUNT.replace('/', ":"));
        let body = json!({"iss": issuer, "sub": subject, "aud": [audience], "exp": now + seconds});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "k"})), part(&body));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| "cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())))
    }
}
