//! Requests that the `h2` crate refuses by itself: it answers and tells nobody, so they are read off the frames.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::frames::{Frame, HEADERS, PREFACE, RST_STREAM, Reader};
use crate::base::details::Detail;

/// Streams that are watched at once; the codec refuses or hands over what came with one read.
const MAX_WAITING: usize = 4096;
/// RST_STREAM with this code: the request was malformed (RFC 9113, section 7).
const PROTOCOL_ERROR: u32 = 1;

/// A request that got no further than the codec. Details are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was wrong.
    pub details: Detail,
    /// It was well-formed and too large.
    pub too_large: bool,
    /// The status it was answered with; 0: the stream was reset.
    pub status: u16,
}

impl Refused {
    /// A malformed request, by the details of its conversion.
    pub fn of(details: Detail) -> Self {
        Self { details, too_large: details == super::TOO_MANY_HEADERS, status: 0 }
    }
}

/// The streams of a connection that the peer has opened and nobody has taken over.
#[derive(Debug)]
pub struct Openings {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    received: Reader,
    sent: Reader,
    newest: u32,
    waiting: VecDeque<u32>,
    refused: VecDeque<Refused>,
}

impl Default for Openings {
    fn default() -> Self {
        let state = State {
            received: Reader::after(PREFACE),
            sent: Reader::after(0),
            newest: 0,
            waiting: VecDeque::new(),
            refused: VecDeque::new(),
        };
        Self { state: RefCell::new(state) }
    }
}

impl Openings {
    /// Bytes that were read.
    pub fn received(&self, bytes: &[u8]) {
        let State { received, newest, waiting, .. } = &mut *self.state.borrow_mut();
        received.pass(bytes, |frame| match frame.kind {
            HEADERS if frame.stream > *newest => {
                *newest = frame.stream;
                if waiting.len() == MAX_WAITING {
                    waiting.pop_front();
                }
                waiting.push_back(frame.stream);
            }
            // The client does not want it any more: no refusal, whatever the codec says to it.
            RST_STREAM => drop(take(waiting, frame.stream)),
            _ => {}
        });
    }

    /// Bytes that were written.
    pub fn sent(&self, bytes: &[u8]) {
        let State { sent, waiting, refused, .. } = &mut *self.state.borrow_mut();
        sent.pass(bytes, |frame| {
            let answered = matches!(frame.kind, HEADERS | RST_STREAM) && !waiting.is_empty();
            if answered && take(waiting, frame.stream) {
                refused.extend(refusal(&frame));
            }
        });
    }

    /// The stream was handed over.
    pub fn accepted(&self, stream: u32) {
        take(&mut self.state.borrow_mut().waiting, stream);
    }

    /// The connection broke over what the peer sent: over the request that came last, if nobody has taken that over.
    pub fn broken(&self) {
        let State { newest, waiting, refused, .. } = &mut *self.state.borrow_mut();
        if take(waiting, *newest) {
            refused.push_back(Refused::of(super::MALFORMED));
        }
    }

    /// A request that was refused since the last call.
    pub fn take_refused(&self) -> Option<Refused> {
        self.state.borrow_mut().refused.pop_front()
    }
}

fn take(waiting: &mut VecDeque<u32>, stream: u32) -> bool {
    // In the order they were opened.
    let place = waiting.binary_search(&stream);
    place.is_ok_and(|index| waiting.remove(index).is_some())
}

/// What the codec's own answer means. A stream too many is refused as well, and was never begun.
fn refusal(frame: &Frame) -> Option<Refused> {
    match (frame.kind, frame.code) {
        (HEADERS, _) => Some(Refused { details: Detail::H2_HEADERS_TOO_LARGE, too_large: true, status: 431 }),
        (RST_STREAM, PROTOCOL_ERROR) => Some(Refused::of(super::MALFORMED)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn opened(streams: &[u32]) -> Openings {
        let openings = Openings::default();
        openings.received(&[0; PREFACE]);
        streams.iter().for_each(|stream| openings.received(&frame(HEADERS, *stream, b"fields")));
        openings
    }

    #[test]
    fn what_the_codec_answers_by_itself_was_refused() {
        let openings = opened(&[1, 3, 5, 7]);
        openings.accepted(3);
        let answers = [
            frame(RST_STREAM, 1, &1u32.to_be_bytes()),
            frame(HEADERS, 3, b"200"),
            frame(RST_STREAM, 3, &1u32.to_be_bytes()),
            frame(HEADERS, 5, b"431"),
            frame(RST_STREAM, 5, &0u32.to_be_bytes()),
            frame(RST_STREAM, 7, &7u32.to_be_bytes()),
        ];
        // However they are cut.
        answers.concat().chunks(3).for_each(|piece| openings.sent(piece));
        assert_eq!(openings.take_refused(), Some(Refused::of(Detail::H2_MESSAGING)));
        assert_eq!(openings.take_refused().map(|refused| refused.status), Some(431));
        assert_eq!(openings.take_refused(), None);
    }

    #[test]
    fn a_broken_connection_is_the_last_request_s_fault() {
        let openings = opened(&[1, 3]);
        openings.accepted(1);
        openings.broken();
        assert_eq!(openings.take_refused(), Some(Refused::of(Detail::H2_MESSAGING)));
        openings.broken();
        assert_eq!(openings.take_refused(), None);
    }

    #[test]
    fn a_client_that_gave_up_was_not_refused() {
        let openings = opened(&[1]);
        openings.received(&frame(RST_STREAM, 1, &8u32.to_be_bytes()));
        openings.sent(&frame(RST_STREAM, 1, &1u32.to_be_bytes()));
        assert_eq!(openings.take_refused(), None);
    }

    #[test]
    fn streams_nobody_takes_are_forgotten_some_day() {
        let streams: Vec<u32> = (0..3 * MAX_WAITING as u32).map(|n| 2 * n + 1).collect();
        let openings = opened(&streams);
        assert_eq!(openings.state.borrow().waiting.len(), MAX_WAITING);
    }
}
