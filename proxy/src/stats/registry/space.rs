//! Ids of cells: given out, taken back, given out again.

use std::collections::HashMap;

use super::Home;
use crate::stats::cells::Range;

/// Allocates ids: workers' sets from the bottom, main-only sets from the top, freed ranges by length.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) bottom: u32,
    pub(super) top: u32,
    free: HashMap<(Home, u32), Vec<u32>>,
}

/// Base of a range that did not fit: its ids name no cell, writes to them do nothing.
pub(super) const FULL: u32 = u32::MAX;

impl Space {
    pub(super) fn new(size: u32) -> Self {
        Self { bottom: 0, top: size, free: HashMap::new() }
    }

    pub(super) fn take(&mut self, home: Home, len: u32) -> Range {
        if len == 0 {
            return Range { base: 0, len };
        }
        if let Some(base) = self.free.get_mut(&(home, len)).and_then(Vec::pop) {
            return Range { base, len };
        }
        if self.top - self.bottom < len {
            tracing::warn!("the statistics space is full: new statistics read as zero");
            return Range { base: FULL, len };
        }
        let base = match home {
            Home::Workers => {
                self.bottom += len;
                self.bottom - len
            }
            Home::Main => {
                self.top -= len;
                self.top
            }
        };
        Range { base, len }
    }

    pub(super) fn give_back(&mut self, home: Home, range: Range) {
        if range.len > 0 && range.base != FULL {
            self.free.entry((home, range.len)).or_default().push(range.base);
        }
    }
}
