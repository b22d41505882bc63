//! As much HTTP/2 as generator and backend need: frames, and header blocks written by hand (RFC 9113, RFC 7541).

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types.
pub const DATA: u8 = 0;
/// See [`DATA`].
pub const HEADERS: u8 = 1;
/// See [`DATA`].
pub const RST_STREAM: u8 = 3;
/// See [`DATA`].
pub const SETTINGS: u8 = 4;
/// See [`DATA`].
pub const PING: u8 = 6;
/// See [`DATA`].
pub const GOAWAY: u8 = 7;
/// See [`DATA`].
pub const WINDOW_UPDATE: u8 = 8;

/// Flags.
pub const END_STREAM: u8 = 1;
/// The same bit on SETTINGS and PING.
pub const ACK: u8 = 1;
/// See [`END_STREAM`].
pub const END_HEADERS: u8 = 4;
const PADDED_OR_PRIORITY: u8 = 0x28;

/// The largest window there is.
pub const MAX_WINDOW: u32 = 0x7fff_ffff;
/// The window a connection starts with.
pub const FIRST_WINDOW: u32 = 65_535;

const HEAD: usize = 9;
const SETTINGS_HEADER_TABLE_SIZE: u16 = 1;
const DEFAULT_TABLE: u32 = 4096;

/// One frame.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream, 0 for the connection.
    pub stream: u32,
    /// What follows its head.
    pub payload: &'a [u8],
}

/// The first frame in `bytes` and its whole length, if it is complete.
pub fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let head = bytes.get(..HEAD)?;
    let end = HEAD + u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & MAX_WINDOW;
    Some((Frame { kind: head[3], flags: head[4], stream, payload: bytes.get(HEAD..end)? }, end))
}

impl Frame<'_> {
    /// The first four bytes of the payload as a number: a window increment, an error code.
    pub fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Whether a header block carries `:status 200` in the only form an encoder would choose.
    pub fn is_ok_head(&self) -> bool {
        let is_size_update = |byte: &u8| byte & 0xe0 == 0x20;
        let plain = self.flags & PADDED_OR_PRIORITY == 0 && self.flags & END_HEADERS != 0;
        plain && self.payload.iter().find(|byte| !is_size_update(byte)) == Some(&0x88)
    }

    /// The settings in the payload.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        let entries = self.payload.chunks_exact(6);
        entries.map(|e| (u16::from_be_bytes([e[0], e[1]]), u32::from_be_bytes([e[2], e[3], e[4], e[5]])))
    }

    /// Whether the peer's decoder keeps the table our header blocks rely on.
    pub fn keeps_table(&self) -> bool {
        self.settings().all(|(id, value)| id != SETTINGS_HEADER_TABLE_SIZE || value >= DEFAULT_TABLE)
    }
}

/// Appends a frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends what either side says first: many streams, wide windows.
pub fn put_settings(out: &mut Vec<u8>) {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let mut payload = Vec::new();
    for (id, value) in [(MAX_CONCURRENT_STREAMS, 10_000_u32), (INITIAL_WINDOW_SIZE, 1 << 20)] {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    put(out, SETTINGS, 0, 0, &payload);
    put(out, WINDOW_UPDATE, 0, 0, &(MAX_WINDOW - FIRST_WINDOW).to_be_bytes());
}

/// A header field that enters the peer's table; `name` by its index in the static table.
pub fn indexed_field(out: &mut Vec<u8>, name: u8, value: &str) {
    out.push(0x40 | name);
    string(out, value);
}

/// A header field with a new name that enters the peer's table.
pub fn indexed_new_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0x40);
    string(out, name);
    string(out, value);
}

/// A header field that stays out of the table; `name` by its index in the static table.
pub fn field(out: &mut Vec<u8>, name: u8, value: &str) {
    if name < 15 {
        out.push(name);
    } else {
        out.extend_from_slice(&[15, name - 15]);
    }
    string(out, value);
}

/// A header field with a new name that stays out of the table.
pub fn new_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    string(out, name);
    string(out, value);
}

/// Short strings only: lengths up to 126 fit the prefix.
fn string(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() < 127);
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Bytes received, cut into frames; keeps what is incomplete.
#[derive(Debug, Default)]
pub struct Incoming {
    rest: Vec<u8>,
}

impl Incoming {
    /// Calls `each` for every complete frame in what was kept and `bytes`.
    pub fn take<E>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(Frame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let kept = std::mem::take(&mut self.rest);
        let joined;
        let mut bytes = bytes;
        if !kept.is_empty() {
            joined = [&kept[..], bytes].concat();
            bytes = &joined;
        }
        while let Some((frame, end)) = parse(bytes) {
            each(frame)?;
            bytes = &bytes[end..];
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{DATA, Incoming, put};

    #[test]
    fn frames_survive_any_cut() {
        let mut wire = Vec::new();
        put(&mut wire, DATA, 1, 3, b"hello");
        put(&mut wire, DATA, 0, 5, b"");
        for cut in 0..=wire.len() {
            let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
            for part in [&wire[..cut], &wire[cut..]] {
                let each = |frame: super::Frame<'_>| {
                    seen.push((frame.stream, frame.payload.to_vec()));
                    Ok::<_, ()>(())
                };
                incoming.take(part, each).unwrap();
            }
            assert_eq!(seen, [(3, b"hello".to_vec()), (5, vec![])]);
        }
    }
}
