//! What a process and its children use: CPU time and memory, read from `/proc`.

use std::fs;
use std::time::Duration;

use outrigger_tests::process::family;
use serde::Serialize;

use crate::Result;

/// What the scheduler accounted to a process, its threads and its children so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scheduled {
    /// Time on a core.
    pub ran: Duration,
    /// Time it could have run but others did.
    pub waited: Duration,
}

impl Scheduled {
    /// What was added since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self { ran: self.ran.saturating_sub(earlier.ran), waited: self.waited.saturating_sub(earlier.waited) }
    }
}

/// Reads the accounts of a process, its threads and its children.
pub fn scheduled(root: u32) -> Result<Scheduled> {
    let mut sum = Scheduled::default();
    for pid in family(root) {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let mut fields =
                text.split_whitespace().map_while(|field| field.parse().ok()).map(Duration::from_nanos);
            sum.ran += fields.next().ok_or("no run time in schedstat")?;
            sum.waited += fields.next().ok_or("no waiting time in schedstat")?;
        }
    }
    Ok(sum)
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Memory {
    /// Resident pages, those shared between the processes counted in each.
    pub rss: u64,
    /// Resident pages, shared ones divided among their users; absent where the kernel does not tell.
    pub pss: Option<u64>,
}

/// Memory of a process and its children.
pub fn memory(root: u32) -> Result<Memory> {
    let mut memory = Memory { rss: 0, pss: Some(0) };
    for pid in family(root) {
        memory.rss += field(&format!("/proc/{pid}/status"), "VmRSS:").ok_or("no VmRSS")?;
        let pss = field(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
        memory.pss = memory.pss.zip(pss).map(|(sum, one)| sum + one);
    }
    Ok(memory)
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
