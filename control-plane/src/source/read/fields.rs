//! The keys of a map, read one by one and accounted for.

use std::ops::RangeInclusive;

use super::{FromNode, Reader, suggest};
use crate::diagnostics::Position;
use crate::source::node::{Entry, Node};

/// The keys of one map. Every read key counts as known; [`Fields::finish`] reports the others and tells
/// whether all that is there could be read.
pub struct Fields<'n> {
    at: &'n Position,
    what: &'static str,
    entries: &'n [Entry],
    used: Vec<bool>,
    known: Vec<&'static str>,
    failed: bool,
}

impl<'n> Fields<'n> {
    /// Opens a map; `what` names it in messages.
    pub fn open(node: &'n Node, what: &'static str, cx: &mut Reader<'_>) -> Option<Self> {
        let entries: &[Entry] = match node.as_map() {
            Some(entries) => entries,
            None if node.is_empty() => &[],
            None => {
                let message = format!("{what} must be a map, found {}; write its fields", node.shape());
                cx.report.error(&node.at, "wrong-type", message);
                return None;
            }
        };
        Some(Self {
            at: &node.at,
            what,
            entries,
            used: vec![false; entries.len()],
            known: Vec::new(),
            failed: false,
        })
    }

    /// Where the map is written.
    pub fn at(&self) -> &'n Position {
        self.at
    }

    /// The entry of a key, empty or not.
    pub fn entry(&mut self, key: &'static str, cx: &mut Reader<'_>) -> Option<&'n Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let mut found = None;
        for (entry, used) in self.entries.iter().zip(&mut self.used) {
            if !entry.key.eq_ignore_ascii_case(key) {
                continue;
            }
            if found.is_some() && !*used {
                let message =
                    format!("key \"{}\" repeats \"{key}\" in another case; keep one of them", entry.key);
                cx.report.error(&entry.key_at, "duplicate-key", message);
            }
            *used = true;
            found = found.or(Some(entry));
        }
        found
    }

    /// A key that the schema does not have here but that is read all the same: it is never suggested.
    pub fn lenient(&mut self, key: &str) -> Option<&'n Node> {
        let index = self.entries.iter().position(|e| e.key.eq_ignore_ascii_case(key))?;
        self.used[index] = true;
        Some(&self.entries[index].value).filter(|v| !v.is_empty())
    }

    /// The value of a key unless it is empty: an empty value means "not set".
    pub fn value(&mut self, key: &'static str, cx: &mut Reader<'_>) -> Option<&'n Node> {
        self.entry(key, cx).map(|e| &e.value).filter(|v| !v.is_empty())
    }

    /// An optional value.
    pub fn optional<T: FromNode>(&mut self, key: &'static str, cx: &mut Reader<'_>) -> Option<T> {
        self.optional_with(key, cx, T::from_node)
    }

    /// An optional value with a reader of its own.
    pub fn optional_with<T>(
        &mut self,
        key: &'static str,
        cx: &mut Reader<'_>,
        read: impl FnOnce(&'n Node, &mut Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        let node = self.value(key, cx)?;
        let value = read(node, cx);
        self.failed |= value.is_none();
        value
    }

    /// A value that must be there; an empty map counts as there.
    pub fn required<T: FromNode>(&mut self, key: &'static str, cx: &mut Reader<'_>) -> Option<T> {
        self.required_with(key, cx, T::from_node)
    }

    /// A value that must be there with a reader of its own.
    pub fn required_with<T>(
        &mut self,
        key: &'static str,
        cx: &mut Reader<'_>,
        read: impl FnOnce(&'n Node, &mut Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(entry) = self.entry(key, cx) else {
            self.absent(key, cx);
            return None;
        };
        let value = read(&entry.value, cx);
        self.failed |= value.is_none();
        value
    }

    /// An optional whole number within a range.
    pub fn integer<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        cx: &mut Reader<'_>,
    ) -> Option<T>
    where
        T: TryFrom<i64>,
    {
        self.optional_with(key, cx, |n, cx| cx.integer(n, key, range))
    }

    /// A whole number within a range that must be there.
    pub fn required_integer<T>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
        cx: &mut Reader<'_>,
    ) -> Option<T>
    where
        T: TryFrom<i64>,
    {
        self.required_with(key, cx, |n, cx| cx.integer(n, key, range))
    }

    /// An optional string with a length in characters.
    pub fn text(
        &mut self,
        key: &'static str,
        length: RangeInclusive<usize>,
        cx: &mut Reader<'_>,
    ) -> Option<String> {
        self.optional_with(key, cx, |n, cx| cx.bounded_text(n, key, length))
    }

    /// A string with a length in characters that must be there.
    pub fn required_text(
        &mut self,
        key: &'static str,
        length: RangeInclusive<usize>,
        cx: &mut Reader<'_>,
    ) -> Option<String> {
        self.required_with(key, cx, |n, cx| cx.bounded_text(n, key, length))
    }

    /// An optional list; empty when it is not there.
    pub fn list<T: FromNode>(
        &mut self,
        key: &'static str,
        count: RangeInclusive<usize>,
        cx: &mut Reader<'_>,
    ) -> Vec<T> {
        self.optional_with(key, cx, |n, cx| cx.items(n, key, count)).unwrap_or_default()
    }

    /// A list that must be there.
    pub fn required_list<T: FromNode>(
        &mut self,
        key: &'static str,
        count: RangeInclusive<usize>,
        cx: &mut Reader<'_>,
    ) -> Option<Vec<T>> {
        self.required_with(key, cx, |n, cx| cx.items(n, key, count))
    }

    /// Which one of the members of a union is set, if any; more than one is an error.
    pub fn at_most_one(&mut self, keys: &[&'static str], cx: &mut Reader<'_>) -> Option<&'static str> {
        let set: Vec<&'static str> = keys.iter().copied().filter(|k| self.value(k, cx).is_some()).collect();
        if set.len() > 1 {
            let message = format!("{} has {}; keep one of them", self.what, join(&set, "and"));
            cx.report.error(self.at, "union", message);
        }
        self.failed |= set.len() > 1;
        set.first().copied()
    }

    /// Which one of the members of a union is set; exactly one must be.
    pub fn exactly_one(&mut self, keys: &[&'static str], cx: &mut Reader<'_>) -> Option<&'static str> {
        let set = self.at_most_one(keys, cx);
        if set.is_none() {
            let message = format!("{} needs one of {}; add it", self.what, join(keys, "or"));
            cx.report.error(self.at, "union", message);
            self.failed = true;
        }
        set
    }

    /// Reports that a required key is not there.
    pub fn absent(&mut self, key: &str, cx: &mut Reader<'_>) {
        self.failed = true;
        cx.report.error(self.at, "missing-key", format!("{} has no {key}; add it", self.what));
    }

    /// Reports every key that nothing asked for. `None` when some value could not be read.
    pub fn finish(self, cx: &mut Reader<'_>) -> Option<()> {
        for (entry, used) in self.entries.iter().zip(&self.used) {
            if *used {
                continue;
            }
            let advice = match suggest(&entry.key, self.known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known keys are {}", join(&self.known, "and")),
            };
            let message = format!("{} has no key \"{}\"; {advice}", self.what, entry.key);
            cx.report.error(&entry.key_at, "unknown-key", message);
        }
        (!self.failed).then_some(())
    }
}

/// `a, b and c`.
fn join(words: &[&str], last: &str) -> String {
    match words.split_last() {
        None => String::new(),
        Some((only, [])) => (*only).to_owned(),
        Some((end, rest)) => format!("{} {last} {end}", rest.join(", ")),
    }
}
