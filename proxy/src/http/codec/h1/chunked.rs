//! The chunked coding, received. RFC 9112 section 7.1, strict.
//!
//! Decodes in place: the data of successive chunks is moved together at the front of the buffer, so that
//! many small chunks cost one write. Extensions are bounded and dropped.

use super::parse::{MALFORMED, text_end};
use crate::base::error::DownstreamError;

/// Longest chunk-size line with its extensions, bytes.
const MAX_LINE: usize = 4096;
/// Overhead that a body may accumulate beyond what its data warrants, bytes.
const MAX_EXCESS: u64 = 16 * 1024;
/// Overhead that any chunk may have, bytes.
const FREE_OVERHEAD: u64 = 16;

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A chunk-size line.
    #[default]
    Size,
    /// This much chunk data, then CR LF.
    Data(u64),
    /// CR LF after chunk data.
    DataEnd,
    /// The trailer section.
    Trailers,
}

/// Decoder of one body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    phase: Phase,
    excess: u64,
}

/// What one decoding step achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decoded {
    /// Bytes of data that now stand at `start`.
    pub data: usize,
    /// Coding bytes in front of the data, to be used up at once.
    pub start: usize,
    /// Coding bytes behind the data, to be used up with its end.
    pub gap: usize,
    /// The last chunk was taken: the trailer section follows.
    pub last: bool,
}

impl Chunks {
    /// Decodes as much of `bytes` as there is. An error is reported when no data comes before it.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, DownstreamError> {
        let (mut at, mut start, mut end) = (0, 0, 0);
        while self.phase != Phase::Trailers {
            let taken = match self.step(&bytes[at..]) {
                Err(error) if start == end => return Err(error),
                Err(_) | Ok(Step::Wait) => break,
                Ok(Step::Coding(length)) => length,
                Ok(Step::Data(length)) if start == end => {
                    (start, end) = (at, at + length);
                    length
                }
                Ok(Step::Data(length)) => {
                    bytes.copy_within(at..at + length, end);
                    end += length;
                    length
                }
            };
            at += taken;
        }
        if start == end {
            (start, end) = (at, at);
        }
        Ok(Decoded { data: end - start, start, gap: at - end, last: self.phase == Phase::Trailers })
    }

    /// Looks at the next piece of coding or data. Leaves the phase alone when it fails.
    fn step(&mut self, rest: &[u8]) -> Result<Step, DownstreamError> {
        match self.phase {
            Phase::Size => self.size(rest),
            Phase::Data(left) => Ok(self.data(left, rest.len())),
            Phase::DataEnd if rest.len() < 2 => Ok(Step::Wait),
            Phase::DataEnd if !rest.starts_with(b"\r\n") => Err(MALFORMED),
            Phase::DataEnd => {
                self.phase = Phase::Size;
                Ok(Step::Coding(2))
            }
            Phase::Trailers => Ok(Step::Wait),
        }
    }

    fn data(&mut self, left: u64, available: usize) -> Step {
        let taken = usize::try_from(left).map_or(available, |left| left.min(available));
        if taken == 0 {
            return Step::Wait;
        }
        let left = left - taken as u64;
        self.phase = if left == 0 { Phase::DataEnd } else { Phase::Data(left) };
        Step::Data(taken)
    }

    fn size(&mut self, rest: &[u8]) -> Result<Step, DownstreamError> {
        let window = &rest[..rest.len().min(MAX_LINE)];
        let Some(length) = memchr::memchr(b'\n', window) else {
            return if rest.len() < MAX_LINE { Ok(Step::Wait) } else { Err(MALFORMED) };
        };
        let line = window[..length].strip_suffix(b"\r").ok_or(MALFORMED)?;
        let size = chunk_size(line).ok_or(MALFORMED)?;
        let allowance = size.saturating_mul(2).saturating_add(FREE_OVERHEAD);
        let excess = (self.excess + line.len() as u64).saturating_sub(allowance);
        if excess > MAX_EXCESS {
            return Err(MALFORMED);
        }
        self.excess = excess;
        self.phase = if size == 0 { Phase::Trailers } else { Phase::Data(size) };
        Ok(Step::Coding(length + 1))
    }
}

/// One step of decoding.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// More bytes are needed.
    Wait,
    /// This many bytes of coding.
    Coding(usize),
    /// This many bytes of data.
    Data(usize),
}

/// The size a chunk-size line gives: at most sixteen digits, then nothing, or white space and extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let rest = line[digits..].trim_ascii_start();
    let is_well_formed = (1..=16).contains(&digits)
        && (rest.is_empty() || rest[0] == b';')
        && text_end(&line[digits..]) == line.len() - digits;
    let digit = |byte: &u8| u64::from(char::from(*byte).to_digit(16).unwrap_or(0));
    is_well_formed.then(|| line[..digits].iter().fold(0, |size, byte| size << 4 | digit(byte)))
}
