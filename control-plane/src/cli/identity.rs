//! Identities as the command line of `serve` sets them up: the mesh's authority, and who may connect.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::access::{Access, Gate, Rules, RulesError};
use crate::ca::{MeshCa, Pca, SHORTEST_LIFE, Secured, Settings};
use crate::discovery_tls::{Certificate, DiscoveryTls};
use crate::mesh_source::MeshSource;
use crate::server::Config;
use crate::snapshot::ResourceSource;
use crate::watch::{Pace, Watcher};

/// The authority's settings.
#[derive(Debug, Clone, Args)]
pub struct IdentityArgs {
    /// Let the mesh issue its own certificates: root.pem and root.key in this directory, made if it has none. What
    /// definitions have in AWS Certificate Manager comes from here. With --mesh-ca-pca the directory keeps the roots that
    /// are trusted, over restarts and changes
    #[arg(long, value_name = "DIRECTORY")]
    mesh_ca: Option<PathBuf>,
    /// Let this authority of AWS Private CA sign the mesh's certificates; credentials come from the environment, the task
    /// or the pod
    #[arg(long, value_name = "ARN")]
    mesh_ca_pca: Option<String>,
    /// How long certificates of the mesh live (24h unless given); they are renewed after two thirds of it
    #[arg(long, value_name = "TIME", value_parser = life)]
    certificate_life: Option<Duration>,
    /// Serve discovery over TLS with this certificate chain, PEM; reloaded when it changes
    #[arg(long, value_name = "FILE", requires = "xds_key")]
    xds_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "xds_certificate")]
    xds_key: Option<PathBuf>,
    /// Serve discovery over TLS with a certificate of the mesh for this name or address; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "xds_certificate")]
    xds_name: Vec<String>,
    /// Rules that say who may connect, as which node, followed when they change; absent: whoever reaches this control plane
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
}

/// `90s`, `15m`, `24h`.
fn life(text: &str) -> Result<Duration, String> {
    let wanted = || "write a number with s, m or h, as 15m or 24h".to_owned();
    let unit = text.chars().last().ok_or_else(wanted)?;
    let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(wanted)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wanted()),
    };
    let life = Duration::from_secs(number.saturating_mul(seconds));
    match (SHORTEST_LIFE..=Duration::from_secs(10 * 365 * 24 * 3600)).contains(&life) {
        true => Ok(life),
        false => Err(format!("must be {} s to 10 years", SHORTEST_LIFE.as_secs())),
    }
}

impl IdentityArgs {
    /// Whether the mesh has an authority of its own.
    pub fn has_ca(&self) -> bool {
        self.mesh_ca.is_some() || self.mesh_ca_pca.is_some()
    }

    /// Whether that is AWS Private CA.
    pub fn has_private_ca(&self) -> bool {
        self.mesh_ca_pca.is_some()
    }

    fn authority(&self) -> Result<Option<Arc<MeshCa>>, Failure> {
        let life = self.certificate_life.unwrap_or(LIFE);
        if let Some(arn) = &self.mesh_ca_pca {
            let pca = Pca::open(arn, life, |name| std::env::var(name).ok())?;
            return Ok(Some(Arc::new(MeshCa::private(pca, life, self.mesh_ca.clone())?)));
        }
        match &self.mesh_ca {
            Some(directory) => {
                let settings = Settings { directory: directory.clone(), life };
                Ok(Some(Arc::new(MeshCa::open(settings)?)))
            }
            None if self.certificate_life.is_some() => {
                Err("--certificate-life needs --mesh-ca or --mesh-ca-pca".into())
            }
            None => Ok(None),
        }
    }

    /// The authority, and TLS of discovery with it. What AWS is asked on the way, it is asked once.
    fn open(&self) -> Result<Opened, Failure> {
        let ca = self.authority()?;
        let certificate = match (&self.xds_certificate, &self.xds_key, self.xds_name.as_slice()) {
            (Some(certificate), Some(key), _) => {
                Certificate::Files { certificate: certificate.clone(), key: key.clone() }
            }
            (_, _, []) => return Ok((ca, None)),
            (_, _, names) => Certificate::Mesh { names: names.to_vec() },
        };
        let tls = DiscoveryTls::new(certificate, ca.clone(), SystemTime::now())?;
        Ok((ca, Some(Arc::new(tls))))
    }
}

/// The authority and TLS of discovery, where there are any.
type Opened = (Option<Arc<MeshCa>>, Option<Arc<DiscoveryTls>>);

/// The authority at work, if there is one. Files, roots and certificates are followed by tasks of their own: an
/// authority elsewhere may take its time, and nothing else waits for it.
pub struct Identity {
    ca: Option<Arc<MeshCa>>,
    /// Rung when certificates or roots are others.
    changed: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// How often certificate files are looked at without an authority.
const FILES: Duration = Duration::from_secs(5);
/// How long certificates live unless it is said.
const LIFE: Duration = Duration::from_secs(24 * 3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Identity {
    /// Opens what the arguments say, and follows it.
    ///
    /// # Errors
    /// When the files of authority, TLS or rules cannot be used.
    pub async fn open(args: &IdentityArgs, config: &mut Config) -> Result<Self, Failure> {
        let opened = args.clone();
        let (ca, tls) = tokio::task::spawn_blocking(move || opened.open()).await??;
        let (changed, mut tasks) = (Arc::<Notify>::default(), JoinSet::new());
        if let Some(path) = args.access.clone() {
            let watcher = Watcher::new(vec![path.clone()], Pace::default()).await;
            config.gate = Arc::new(Gate::new(rules(&path)?));
            tasks.spawn(follow_rules(path, watcher, Arc::clone(&config.gate)));
        }
        config.tls.clone_from(&tls);
        config.serves_secrets = ca.is_some();
        let pace = ca.as_ref().map_or(FILES, |ca| ca.pace());
        if let Some(ca) = &ca {
            tasks.spawn(follow_authority(Arc::clone(ca), pace, Arc::clone(&changed)));
        }
        if let Some(tls) = tls {
            tasks.spawn(follow_tls(tls, pace));
        }
        Ok(Self { ca, changed, _tasks: tasks })
    }

    /// The mesh with its certificates.
    pub fn secured(&self, mesh: &Arc<MeshSource>) -> Arc<dyn ResourceSource> {
        match &self.ca {
            Some(ca) => Arc::new(Secured::new(Arc::clone(mesh), Arc::clone(ca))),
            None => Arc::clone(mesh) as Arc<dyn ResourceSource>,
        }
    }

    /// Returns when certificates or roots are others than before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

fn rules(path: &Path) -> Result<Access, RulesError> {
    Ok(Access::Ruled(Box::new(Rules::read(path)?)))
}

/// Follows the rules. Those that cannot be read change nothing: nobody is let in or put out by a slip of the pen.
async fn follow_rules(path: PathBuf, mut watcher: Watcher, gate: Arc<Gate>) {
    loop {
        watcher.changed().await;
        match rules(&path) {
            Ok(access) => {
                gate.replace(access);
                tracing::info!(target: "audit", "the rules of access have changed");
            }
            Err(error) => {
                tracing::error!("the rules of access have changed: {error}; those before stay in force");
            }
        }
    }
}

/// Follows the roots and renews what is due.
async fn follow_authority(ca: Arc<MeshCa>, pace: Duration, changed: Arc<Notify>) {
    loop {
        tokio::time::sleep(pace).await;
        let ca = Arc::clone(&ca);
        // A turn that panicked has changed nothing.
        if tokio::task::spawn_blocking(move || turn(&ca)).await.unwrap_or(false) {
            changed.notify_one();
        }
    }
}

/// Whether anything is different.
fn turn(ca: &MeshCa) -> bool {
    let others = ca.reload().unwrap_or_else(|error| {
        tracing::warn!("the mesh authority keeps its last good state: {error}");
        false
    });
    if others {
        tracing::info!("the roots of the mesh have changed");
    }
    let renewed = ca.renew(SystemTime::now());
    others || renewed
}

/// Keeps TLS of the discovery server up to date.
async fn follow_tls(tls: Arc<DiscoveryTls>, pace: Duration) {
    loop {
        tokio::time::sleep(pace).await;
        let tls = Arc::clone(&tls);
        let refreshed = tokio::task::spawn_blocking(move || tls.refresh(SystemTime::now())).await;
        if let Ok(Err(error)) = refreshed {
            tracing::warn!("{error}; the certificate before stays in use");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_have_a_unit_and_bounds() {
        assert_eq!(life("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(life("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(life("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "1", "h", "1d", "-1h", "0s", "1s", "99999999999999999h", "é"] {
            assert!(life(wrong).is_err(), "{wrong}");
        }
    }
}
