//! Which core runs what, and how many descriptors there may be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Result;

/// The core of the proxy under test.
pub const PROXY: usize = 0;
/// The core of generator and backend.
pub const LOAD: usize = 1;

/// Moves the calling thread, and all threads and processes it starts from now on, to `core`.
pub fn move_to(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set)
        .map_err(|e| format!("cannot run on core {core}: {e}; two cores are needed").into())
}

/// Runs `work` on a thread of its own on `core`.
pub fn on<T: Send>(core: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let moved = || -> Result<T> {
        move_to(core)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(moved).join()).map_err(|_| "a pinned thread panicked")?
}

/// Raises the soft limit of open files to the hard one, for this process and its children; returns it.
pub fn raise_file_limit() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(u64::MAX))
}
