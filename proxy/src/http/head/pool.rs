//! Storage of one worker's heads, so that steady traffic allocates nothing for them.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Field, HeaderBlock};
use crate::net::buffer::{Buf, BufPool};

/// The worker's buffers together with free field tables. Bounded like [`BufPool`].
#[derive(Debug)]
pub struct HeadPool {
    bufs: Rc<BufPool>,
    tables: RefCell<Vec<Vec<Field>>>,
}

impl HeadPool {
    /// Tables kept for reuse.
    const KEEP: usize = 64;
    /// Fields a new table has room for.
    const FIELDS: usize = 24;
    /// A table that grew beyond this many fields is freed.
    const MAX_FIELDS: usize = 128;

    /// A pool that takes text from `bufs`.
    pub fn new(bufs: Rc<BufPool>) -> Rc<Self> {
        Rc::new(Self { bufs, tables: RefCell::default() })
    }

    /// The buffers.
    #[inline]
    pub fn bufs(&self) -> &BufPool {
        &self.bufs
    }

    /// An empty table.
    #[inline]
    pub fn take_table(&self) -> Vec<Field> {
        self.tables.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(Self::FIELDS))
    }

    /// Takes back a table that did not become a block.
    #[inline]
    pub fn give_table(&self, mut table: Vec<Field>) {
        let mut tables = self.tables.borrow_mut();
        if tables.len() < Self::KEEP && (1..=Self::MAX_FIELDS).contains(&table.capacity()) {
            table.clear();
            tables.push(table);
        }
    }

    /// A block that returns here when dropped. Names in `fields` must be lower case.
    #[inline]
    pub fn block(self: &Rc<Self>, text: Buf, fields: Vec<Field>) -> HeaderBlock {
        HeaderBlock { text, fields, checked: 0, home: Some(Rc::clone(self)) }
    }

    /// An empty block with room for a head of usual size.
    pub fn empty_block(self: &Rc<Self>) -> HeaderBlock {
        self.block(self.bufs.take(), self.take_table())
    }

    pub(super) fn give(&self, text: Buf, fields: Vec<Field>) {
        self.bufs.give(text);
        self.give_table(fields);
    }
}
