//! Identities as the command line of `serve` sets them up: the mesh's authority, and who may connect.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;

use crate::access::{Access, Rules};
use crate::ca::{MeshCa, Pca, SHORTEST_LIFE, Secured, Settings};
use crate::discovery_tls::{Certificate, DiscoveryTls};
use crate::mesh_source::MeshSource;
use crate::server::Config;
use crate::snapshot::ResourceSource;

/// The authority's settings.
#[derive(Debug, Clone, Args)]
pub struct IdentityArgs {
    /// Let the mesh issue its own certificates: root.pem and root.key in this directory, made if it has none. What
    /// definitions have in AWS Certificate Manager comes from here
    #[arg(long, value_name = "DIRECTORY")]
    mesh_ca: Option<PathBuf>,
    /// Let this authority of AWS Private CA sign the mesh's certificates; credentials come from the environment, the task
    /// or the pod
    #[arg(long, value_name = "ARN", conflicts_with = "mesh_ca")]
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
    /// Rules that say who may connect, as which node; absent: whoever reaches this control plane
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
            return Ok(Some(Arc::new(MeshCa::private(pca, life)?)));
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
}

/// The authority at work, if there is one.
pub struct Identity {
    ca: Option<Arc<MeshCa>>,
    tls: Option<Arc<DiscoveryTls>>,
}

/// How often certificate files are looked at without an authority.
const FILES: Duration = Duration::from_secs(5);
/// How long certificates live unless it is said.
const LIFE: Duration = Duration::from_secs(24 * 3600);

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Identity {
    /// Opens what the arguments say.
    ///
    /// # Errors
    /// When the files of authority, TLS or rules cannot be used.
    pub fn open(args: &IdentityArgs, config: &mut Config) -> Result<Self, Failure> {
        // What AWS is asked on the way, it is asked once.
        let ca = tokio::task::block_in_place(|| args.authority())?;
        let certificate = match (&args.xds_certificate, &args.xds_key, args.xds_name.as_slice()) {
            (Some(certificate), Some(key), _) => {
                Some(Certificate::Files { certificate: certificate.clone(), key: key.clone() })
            }
            (_, _, []) => None,
            (_, _, names) => Some(Certificate::Mesh { names: names.to_vec() }),
        };
        let tls = match certificate {
            Some(certificate) => {
                let made = || DiscoveryTls::new(certificate, ca.clone(), SystemTime::now());
                Some(Arc::new(tokio::task::block_in_place(made)?))
            }
            None => None,
        };
        if let Some(path) = &args.access {
            config.access = Access::Ruled(Box::new(Rules::read(path)?));
        }
        config.tls.clone_from(&tls);
        config.serves_secrets = ca.is_some();
        Ok(Self { ca, tls })
    }

    /// The mesh with its certificates.
    pub fn secured(&self, mesh: &Arc<MeshSource>) -> Arc<dyn ResourceSource> {
        match &self.ca {
            Some(ca) => Arc::new(Secured::new(Arc::clone(mesh), Arc::clone(ca))),
            None => Arc::clone(mesh) as Arc<dyn ResourceSource>,
        }
    }

    /// Returns when certificates are due or the roots have changed.
    pub async fn changed(&self) {
        let pace = self.ca.as_ref().map_or(FILES, |ca| ca.pace());
        loop {
            tokio::time::sleep(pace).await;
            let refreshed = || self.tls.as_ref().map(|tls| tls.refresh(SystemTime::now()));
            if let Some(Err(error)) = tokio::task::block_in_place(refreshed) {
                tracing::warn!("{error}; the certificate before stays in use");
            }
            let Some(ca) = &self.ca else { continue };
            if ca.renew_due(SystemTime::now()) {
                return;
            }
            match tokio::task::block_in_place(|| ca.reload()) {
                Ok(true) => {
                    tracing::info!("the roots of the mesh have changed");
                    return;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!("the mesh authority keeps its last good state: {error}"),
            }
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
