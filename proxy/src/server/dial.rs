//! Connections for exporters: to addresses, and to clusters of the configuration with their TLS.

use std::io;

use tokio::net::TcpStream;

use crate::config::publish::Subscriber;
use crate::observe::trace::transport::{Dial, Dialling, Io, Target};
use crate::upstream::connect;

/// Dials in the world as it is published at the moment.
#[derive(Clone, Debug)]
pub(super) struct Dialler {
    pub(super) snapshots: Subscriber,
}

impl Dial for Dialler {
    fn dial<'a>(&'a self, target: &'a Target) -> Dialling<'a> {
        Box::pin(async move {
            match target {
                Target::Address(host, port) => {
                    let stream = TcpStream::connect((&**host, *port)).await?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Box<dyn Io>)
                }
                Target::Cluster(name) => self.cluster(name).await,
            }
        })
    }
}

impl Dialler {
    /// A host of the cluster, taken at random.
    async fn cluster(&self, name: &str) -> io::Result<Box<dyn Io>> {
        let missing = |what| io::Error::new(io::ErrorKind::NotFound, format!("cluster {name:?} {what}"));
        let snapshot = self.snapshots.current();
        let mut slots = snapshot.clusters.iter().flatten();
        let slot = slots.find(|slot| *slot.config.name == *name).ok_or_else(|| missing("does not exist"))?;
        let hosts = &slot.hosts.hosts;
        let host = hosts.get(fastrand::usize(..hosts.len().max(1))).ok_or_else(|| missing("has no host"))?;
        let cluster = slot.config.clone();
        let open = connect::open(&cluster, &host.address, cluster.tls.as_deref());
        let stream = tokio::time::timeout(cluster.connect_timeout, open).await??;
        Ok(Box::new(stream))
    }
}
