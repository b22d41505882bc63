//! The hosts file, read again whenever it changes. Source: hosts(5).

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Largest file read. A bigger one is cut at a line.
const MAX_BYTES: usize = 4 << 20;

/// Lower-case name to addresses in the order of the file.
type Table = HashMap<String, Vec<IpAddr>>;

/// A hosts file.
#[derive(Debug)]
pub(super) struct HostsFile {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Clone, Debug, Default)]
struct Read {
    modified: Option<SystemTime>,
    table: Arc<Table>,
}

impl HostsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: Mutex::default() }
    }

    /// The addresses of a name; empty when the file does not have it. `localhost` is always there (RFC 6761).
    pub(super) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let found = self.table().get(&name).cloned().unwrap_or_default();
        if found.is_empty() && (name == "localhost" || name.ends_with(".localhost")) {
            return vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        }
        found
    }

    fn table(&self) -> Arc<Table> {
        let modified = std::fs::metadata(&self.path).and_then(|file| file.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.modified != modified {
            *read = Read { modified, table: Arc::new(self.parse()) };
        }
        read.table.clone()
    }

    fn parse(&self) -> Table {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_BYTES)]);
        let mut table = Table::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
                table.entry(name).or_default().push(address);
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, HostsFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, text).unwrap();
        (dir, HostsFile::new(path))
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn names_aliases_comments_and_both_families() {
        let (_dir, hosts) = file("# head\n10.0.0.1 Db db.local # note\n\n::5\tdb\nnonsense x\n10.0.0.2\n");
        assert_eq!(hosts.addresses("db"), ips(&["10.0.0.1", "::5"]));
        assert_eq!(hosts.addresses("DB.local."), ips(&["10.0.0.1"]));
        assert_eq!(hosts.addresses("x"), ips(&[]));
    }

    #[test]
    fn localhost_needs_no_file() {
        let hosts = HostsFile::new("/nonexistent/hosts".into());
        assert_eq!(hosts.addresses("localhost"), ips(&["127.0.0.1", "::1"]));
        assert_eq!(hosts.addresses("a.localhost."), ips(&["127.0.0.1", "::1"]));
        assert_eq!(hosts.addresses("notlocalhost"), ips(&[]));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let (dir, hosts) = file("10.0.0.1 db");
        assert_eq!(hosts.addresses("db"), ips(&["10.0.0.1"]));
        let path = dir.path().join("hosts");
        std::fs::write(&path, "10.0.0.2 db").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(hosts.addresses("db"), ips(&["10.0.0.2"]));
    }
}
