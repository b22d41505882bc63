//! Network namespaces: a machine of its own for a sidecar and its application, with interception rules.
//!
//! A [`Place`] says where a program runs or a socket is opened. A process or socket made inside keeps belonging to the
//! namespace, so everything else (runtime, client, upstream) stays with the test. Needs root, `ip` and `iptables`.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Result;
use crate::requirement::Missing;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where something runs.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// The network the test itself runs in.
    #[default]
    Host,
    /// A namespace made for the test.
    Inside(Arc<Namespace>),
}

impl Place {
    /// Runs `work` there: what it opens or starts belongs to that network.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        match self {
            Self::Host => Ok(work()),
            Self::Inside(namespace) => namespace.enter(work),
        }
    }

    /// A listener there.
    pub fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.enter(|| TcpListener::bind(address))?
            .map_err(|e| format!("cannot listen on {address}: {e}").into())
    }

    /// A connection from there.
    pub fn connect(&self, address: SocketAddr) -> Result<TcpStream> {
        let connected = self.enter(|| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT))?;
        connected.map_err(|e| format!("cannot connect to {address}: {e}").into())
    }
}

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// An empty namespace with loopback up.
    pub fn create() -> Result<Arc<Self>, Missing> {
        let how = "run the tests as root with iproute2 and iptables installed";
        let missing = |why: String| Missing::new("network namespaces", why, how);
        if !rustix::process::geteuid().is_root() {
            return Err(missing("not root".into()));
        }
        run("iptables", &["--version"]).map_err(missing)?;
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("outrigger-{}-{number}", std::process::id()) };
        run("ip", &["netns", "add", &namespace.name]).map_err(missing)?;
        run("ip", &["-n", &namespace.name, "link", "set", "lo", "up"]).map_err(missing)?;
        Ok(Arc::new(namespace))
    }

    /// The name `ip netns` knows it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread that has moved into the namespace.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = move || -> Result<T> {
            self.move_in()?;
            Ok(work())
        };
        let joined = std::thread::scope(|scope| scope.spawn(inside).join());
        joined.map_err(|_| "the work inside the namespace panicked")?
    }

    /// Moves the calling thread, and what it will start, into the namespace for good.
    pub fn move_in(&self) -> Result<()> {
        let namespace = File::open(format!("/run/netns/{}", self.name))?;
        Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Joins two namespaces by a cable: `address/prefix` for each end.
    pub fn connect(&self, own: (IpAddr, u8), peer: &Self, theirs: (IpAddr, u8)) -> Result<()> {
        let (near, far) = (interface(own.0), interface(theirs.0));
        let cable = ["-n", &self.name, "link", "add", &near, "type", "veth", "peer", "name", &far];
        run("ip", &[&cable[..], &["netns", &peer.name]].concat())?;
        self.bring_up(&near, own)?;
        peer.bring_up(&far, theirs)
    }

    /// Sets the gateway for everything not directly connected.
    pub fn default_route(&self, gateway: IpAddr) -> Result<()> {
        Ok(run("ip", &["-n", &self.name, "route", "add", "default", "via", &gateway.to_string()])?)
    }

    /// Runs `iptables` there (`ip6tables` for rules on IPv6).
    pub fn iptables(&self, program: &str, rule: &[&str]) -> Result<()> {
        Ok(run("ip", &[&["netns", "exec", &self.name, program, "-w"], rule].concat())?)
    }

    /// Sends what processes inside connect to, except those of user `except_uid`, to a local `port`.
    pub fn redirect_outgoing(&self, program: &str, except_uid: u32, port: u16) -> Result<()> {
        let (uid, port) = (except_uid.to_string(), port.to_string());
        let own = ["-t", "nat", "-A", "OUTPUT", "-m", "owner", "--uid-owner", &uid, "-j", "RETURN"];
        self.iptables(program, &own)?;
        self.iptables(program, &["-t", "nat", "-A", "OUTPUT", "-o", "lo", "-j", "RETURN"])?;
        let redirect = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT", "--to-ports", &port];
        self.iptables(program, &redirect)
    }

    /// Sends what arrives from outside for `service_port` to a local `port`.
    pub fn redirect_incoming(&self, program: &str, service_port: u16, port: u16) -> Result<()> {
        let (service, port) = (service_port.to_string(), port.to_string());
        let matches = ["-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", &service];
        self.iptables(program, &[&matches[..], &["-j", "REDIRECT", "--to-ports", &port]].concat())
    }

    fn bring_up(&self, interface: &str, (address, prefix): (IpAddr, u8)) -> Result<()> {
        let address = format!("{address}/{prefix}");
        let add = ["-n", &self.name, "address", "add", &address, "dev", interface];
        // A fresh IPv6 address is unusable until duplicate detection ends, which nobody here needs.
        let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
        run("ip", &[&add[..], nodad].concat())?;
        Ok(run("ip", &["-n", &self.name, "link", "set", interface, "up"])?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

/// Interface names are at most 15 characters and only need to be unique within their namespace.
fn interface(address: IpAddr) -> String {
    let text: String = address.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("ve{}", &text[..text.len().min(12)])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed: {}", arguments.join(" "), text.trim()))
}
