//! What the snapshot compiler needs of the outside world, as seams: sockets to listen on and names to resolve.
//!
//! Owns no I/O. The compiler knows only these types; `net/listener` binds, `upstream/dns` resolves, and the
//! server connects them. Tests put scripted ones in their place.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::cluster::DnsSettings;
use super::listener::Listener;
use super::live::ListenerSockets;

/// Binds listeners.
pub trait Ports: Send {
    /// Binds one socket per worker for this listener, without listening yet: while the listener warms,
    /// the address is taken but connections are refused. The error names no address; the caller knows it.
    fn bind(&self, listener: &Listener) -> io::Result<ListenerSockets>;

    /// Starts listening on sockets bound before.
    fn listen(&self, sockets: &ListenerSockets, backlog: u32) -> io::Result<()>;
}

/// One resolution task, from [`ResolveCommand::Start`] to [`ResolveCommand::Stop`]. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueryId(pub u64);

/// What is asked of the resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveCommand {
    /// Resolve these names now and again at every refresh, answering each time.
    Start {
        /// The task.
        id: QueryId,
        /// For logs.
        cluster: Arc<str>,
        /// Names, families, intervals.
        settings: DnsSettings,
    },
    /// Forget the task.
    Stop(QueryId),
}

/// The outcome of one round of a resolution task. The first comes within the resolver's own time limit, also
/// when nothing could be resolved: warming waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The task.
    pub id: QueryId,
    /// One entry per configured name, in order: its addresses as of the last success (an empty success
    /// included); `None` while it never succeeded.
    pub addresses: Vec<Option<Vec<IpAddr>>>,
    /// Names looked up in this round.
    pub attempts: u32,
    /// How many of those lookups failed.
    pub failures: u32,
    /// Which name the latest lookup brought no address of, and why; the first one of several.
    pub problem: Option<Arc<str>>,
}
