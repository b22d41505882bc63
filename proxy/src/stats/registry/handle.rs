//! Handles, and how a bundle takes its own from the set that owns their cells.

use std::sync::Arc;

use super::{Kind, Owned, StatSet, lock};

/// Handle of a monotonic counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub(in crate::stats) u32);

/// Handle of a value that goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge(pub(in crate::stats) u32);

/// Handle of a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram(pub(in crate::stats) u32);

/// Handle of a family of response counters, one per status code. Read as `<name>_<code>`,
/// `<name>_<class>xx` and `<name>_completed`; a member exists once it was counted, as in Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCodes(pub(in crate::stats) u32);

/// Handle of a statistic whose value is text. Written rarely, by the main runtime.
#[derive(Clone, Debug)]
pub struct TextReadout {
    set: Arc<Owned>,
    index: usize,
}

impl TextReadout {
    /// Replaces the text.
    pub fn set(&self, text: &str) {
        if let Some(cell) = self.set.0.texts.get(self.index) {
            *lock(cell) = text.into();
        }
    }
}

/// Hands out a set's handles in layout order. Used by the bundle macro.
#[derive(Debug)]
pub struct Cursor {
    set: Arc<Owned>,
    scalars: u32,
    histograms: u32,
    codes: u32,
    texts: usize,
}

impl Cursor {
    /// Before the first handle of `set`.
    pub fn new(set: Arc<Owned>) -> Self {
        let StatSet { scalars, histograms, codes, .. } = &*set.0;
        let (scalars, histograms, codes) = (scalars.base, histograms.base, codes.base);
        Self { set, scalars, histograms, codes, texts: 0 }
    }

    /// The set, for its owner to keep.
    pub fn into_set(self) -> Arc<Owned> {
        self.set
    }
}

fn next(id: &mut u32) -> u32 {
    let next = id.saturating_add(1);
    std::mem::replace(id, next)
}

/// What a bundle's field can be.
pub trait Handle: Sized {
    /// Its kind.
    const KIND: Kind;

    /// The next handle of this kind.
    fn take(cursor: &mut Cursor) -> Self;
}

impl Handle for Counter {
    const KIND: Kind = Kind::Counter;

    fn take(cursor: &mut Cursor) -> Self {
        Self(next(&mut cursor.scalars))
    }
}

impl Handle for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn take(cursor: &mut Cursor) -> Self {
        Self(next(&mut cursor.scalars))
    }
}

impl Handle for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn take(cursor: &mut Cursor) -> Self {
        Self(next(&mut cursor.histograms))
    }
}

impl Handle for StatusCodes {
    const KIND: Kind = Kind::StatusCodes;

    fn take(cursor: &mut Cursor) -> Self {
        Self(next(&mut cursor.codes))
    }
}

impl Handle for TextReadout {
    const KIND: Kind = Kind::TextReadout;

    fn take(cursor: &mut Cursor) -> Self {
        cursor.texts += 1;
        Self { set: cursor.set.clone(), index: cursor.texts - 1 }
    }
}
