//! No image of this process' memory, which holds private keys: no core dump, and no look into it by others of its user.
//! Source: prctl(2), `PR_SET_DUMPABLE`; proc(5).

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Forbids core dumps, `ptrace` and `/proc/<pid>/mem` for all but root, from here on; a warning where that cannot be done,
/// or was not wanted (`OUTRIGGER_CORE_DUMPS=1`).
pub fn forbid(wanted: bool) -> Option<String> {
    if wanted {
        return Some("OUTRIGGER_CORE_DUMPS: core dumps are allowed, and hold private keys".to_owned());
    }
    let forbidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    forbidden.err().map(|error| format!("core dumps cannot be forbidden: {error}"))
}
