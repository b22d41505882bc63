//! Memory with private keys in it stays memory.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// No core dump, and no look into the memory by others of the same user. Source: prctl(2), `PR_SET_DUMPABLE`.
pub(super) fn forbid() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!("core dumps cannot be forbidden: {error}");
    }
}
