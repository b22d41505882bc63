//! Trace and span identifiers, their text forms, and where new ones come from.

use rustls::crypto::SecureRandom;

/// A trace: 128 bits, the same number in every header format. X-Ray and Zipkin print it differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// One span (X-Ray: segment or subsegment) of a trace. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

/// `1-` + 8 + `-` + 24 hexadecimal digits.
const XRAY_LEN: usize = 35;

impl TraceId {
    /// 32 lower-case hexadecimal digits: W3C, B3, OTLP.
    pub fn hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&self.0.to_be_bytes(), &mut text);
        text
    }

    /// X-Ray's form: `1-5759e988-bd862e3fe1be46a994272793`.
    pub fn xray(self) -> [u8; XRAY_LEN] {
        let hex = self.hex();
        let mut text = *b"1-00000000-000000000000000000000000";
        text[2..10].copy_from_slice(&hex[..8]);
        text[11..].copy_from_slice(&hex[8..]);
        text
    }

    /// Reads X-Ray's form; only version 1 exists.
    pub fn parse_xray(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(b"1-")?;
        let (epoch, rest) = rest.split_at_checked(8)?;
        let random = rest.strip_prefix(b"-").filter(|random| random.len() == 24)?;
        Some(Self(parse_hex(epoch)? << 96 | parse_hex(random)?)).filter(|id| id.0 != 0)
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse_hex(text: &[u8]) -> Option<Self> {
        parse_hex(text).filter(|id| text.len() == 32 && *id != 0).map(Self)
    }
}

impl SpanId {
    /// 16 lower-case hexadecimal digits.
    pub fn hex(self) -> [u8; 16] {
        let mut text = [0; 16];
        write_hex(&self.0.to_be_bytes(), &mut text);
        text
    }

    /// Reads 16 hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        parse_hex(text).filter(|_| text.len() == 16).and_then(|id| u64::try_from(id).ok()).and_then(Self::new)
    }

    /// `None` for zero, which every format calls invalid.
    pub fn new(id: u64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }
}

/// At most 32 hexadecimal digits of either case.
pub(super) fn parse_hex(text: &[u8]) -> Option<u128> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some(number << 4 | u128::from(digit))
    })
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

/// Bytes taken from the generator at once.
const POOL: usize = 512;

/// Unpredictable identifiers: they are shown to clients, who must not be able to guess those of others.
/// One per worker, so that nothing is shared.
pub struct IdSource {
    random: &'static dyn SecureRandom,
    pool: [u8; POOL],
    left: usize,
}

impl std::fmt::Debug for IdSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdSource").field("left", &self.left).finish()
    }
}

impl Default for IdSource {
    fn default() -> Self {
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        Self { random, pool: [0; POOL], left: 0 }
    }
}

impl IdSource {
    /// An identifier whose first 32 bits are `epoch_seconds`: readable, and taken by old collectors too.
    pub fn trace(&mut self, epoch_seconds: u32) -> TraceId {
        let random = u128::from(self.next()) << 64 | u128::from(self.next());
        TraceId(u128::from(epoch_seconds) << 96 | random >> 32 | 1)
    }

    /// A span's identifier.
    pub fn span(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::new(self.next()) {
                return id;
            }
        }
    }

    fn next(&mut self) -> u64 {
        let Some(at) = self.left.checked_sub(8) else { return self.refill() };
        let mut word = [0; 8];
        word.copy_from_slice(&self.pool[at..self.left]);
        self.left = at;
        u64::from_le_bytes(word)
    }

    #[cold]
    fn refill(&mut self) -> u64 {
        // The generator fails only if the kernel has no random numbers at all; a worker must go on even then.
        if self.random.fill(&mut self.pool).is_err() {
            fastrand::fill(&mut self.pool);
        }
        self.left = POOL;
        self.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XRAY: &[u8] = b"1-4efaaf4d-1e8720b39541901950019ee5";

    #[test]
    fn the_forms_name_one_number() {
        let id = TraceId::parse_xray(XRAY).unwrap();
        assert_eq!(&id.hex(), b"4efaaf4d1e8720b39541901950019ee5");
        assert_eq!(&id.xray(), XRAY);
        assert_eq!(TraceId::parse_hex(b"4EFAAF4D1E8720B39541901950019EE5"), Some(id));
        let span = SpanId::parse(b"53995c3f42cd8ad8").unwrap();
        assert_eq!(&span.hex(), b"53995c3f42cd8ad8");
    }

    #[test]
    fn anything_else_is_no_identifier() {
        for text in [
            &b"2-4efaaf4d-1e8720b39541901950019ee5"[..],
            b"1-4efaaf4d-1e8720b39541901950019ee",
            b"1-4efaaf4d-1e8720b39541901950019ee55",
            b"1-4efaaf4g-1e8720b39541901950019ee5",
            b"1-4efaaf4d1e8720b39541901950019ee5",
            b"1-00000000-000000000000000000000000",
            b"1-\xff",
            b"",
        ] {
            assert_eq!(TraceId::parse_xray(text), None, "{}", String::from_utf8_lossy(text));
        }
        for text in [&b"0000000000000000"[..], b"53995c3f42cd8ad", b"53995c3f42cd8ad88", b"+3995c3f42cd8ad8"]
        {
            assert_eq!(SpanId::parse(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn new_identifiers_carry_the_time_and_never_repeat() {
        let mut source = IdSource::default();
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| source.trace(0x5759_e988)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.xray().starts_with(b"1-5759e988-")));
        let spans: std::collections::HashSet<_> = (0..1000).map(|_| source.span()).collect();
        assert_eq!(spans.len(), 1000);
    }
}
