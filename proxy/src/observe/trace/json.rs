//! JSON objects written straight into a buffer, without a tree in between.

use crate::observe::format::{Escape, Out};

/// An object being written; [`Object::end`] closes it.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    /// Opens one.
    pub fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// A key of our own, which needs no escaping.
    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Text from outside, at most `max` bytes of it; an empty one is left out.
    pub fn text(&mut self, key: &str, text: &[u8], max: usize) {
        if !text.is_empty() {
            self.parts(key, &[text], max);
        }
    }

    /// A key and text, both from outside.
    pub fn pair(&mut self, key: &[u8], text: &[u8], max: usize) {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        for (text, end) in [(key, &b"\":"[..]), (text, b"\"")] {
            self.out.push(b'"');
            Out::new(self.out, Escape::Json, max).text(text);
            self.out.extend_from_slice(end);
        }
    }

    /// Text in several parts, at most `max` bytes in all.
    pub fn parts(&mut self, key: &str, parts: &[&[u8]], max: usize) {
        self.key(key);
        self.out.push(b'"');
        let mut out = Out::new(self.out, Escape::Json, max);
        parts.iter().for_each(|part| out.text(part));
        self.out.push(b'"');
    }

    /// Text that `write` appends, at most `max` bytes; left out when `write` says that there is none. Whether it is there.
    pub fn written(&mut self, key: &str, max: usize, write: impl FnOnce(&mut Out<'_>) -> bool) -> bool {
        let (before, empty) = (self.out.len(), self.empty);
        self.key(key);
        self.out.push(b'"');
        let there = write(&mut Out::new(self.out, Escape::Json, max));
        if there {
            self.out.push(b'"');
        } else {
            self.out.truncate(before);
            self.empty = empty;
        }
        there
    }

    /// A whole number.
    pub fn number(&mut self, key: &str, number: u64) {
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    /// Microseconds as seconds.
    pub fn seconds(&mut self, key: &str, micros: u64) {
        self.raw(key, itoa::Buffer::new().format(micros / 1_000_000).as_bytes());
        let fraction = micros % 1_000_000 + 1_000_000;
        self.out.push(b'.');
        // The leading one only holds the zeros behind it.
        self.out.extend_from_slice(&itoa::Buffer::new().format(fraction).as_bytes()[1..]);
    }

    /// A flag, only when it is set.
    pub fn flag(&mut self, key: &str, set: bool) {
        if set {
            self.raw(key, b"true");
        }
    }

    /// JSON that is already written; an empty one is left out.
    pub fn raw(&mut self, key: &str, json: &[u8]) {
        if !json.is_empty() {
            self.key(key);
            self.out.extend_from_slice(json);
        }
    }

    /// Fields that are already written, without braces around them; none are left out.
    pub fn fields(&mut self, fields: &[u8]) {
        if !fields.is_empty() {
            if !std::mem::replace(&mut self.empty, false) {
                self.out.push(b',');
            }
            self.out.extend_from_slice(fields);
        }
    }

    /// An object inside; this one cannot be used until that has ended.
    pub fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::begin(self.out)
    }

    /// A list of objects, one for each item.
    pub fn list<T>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = T>,
        mut each: impl FnMut(T, &mut Object<'_>),
    ) {
        self.key(key);
        self.out.push(b'[');
        for (i, item) in items.enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            let mut object = Object::begin(self.out);
            each(item, &mut object);
            object.end();
        }
        self.out.push(b']');
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_json() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", b"x\"y\n\xff", 100);
        object.text("none", b"", 100);
        object.seconds("t", 1_755_366_385_000_042);
        object.flag("no", false);
        object.flag("yes", true);
        object.written("gone", 10, |out| {
            out.plain(b"half");
            false
        });
        let mut inner = object.object("o");
        inner.parts("p", &[b"abc", b"def"], 4);
        inner.end();
        object.list("l", [1, 2].into_iter(), |item, object| object.number("n", item));
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":\"x\\\"y\\n\u{fffd}\",\"t\":1755366385.000042,\"yes\":true,\"o\":{\"p\":\"abcd\"},\"l\":[{\"n\":1},{\"n\":2}]}"
        );
    }
}
