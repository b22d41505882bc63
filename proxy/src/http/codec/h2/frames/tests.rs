use std::task::{Context, Poll, Waker};

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
    let length = (payload as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.resize(FRAME_HEADER + payload, 0xff);
    bytes
}

fn client_preface() -> Vec<u8> {
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
}

#[test]
fn frames_are_found_however_the_bytes_are_cut() {
    let received = [
        client_preface(),
        frame(4, 0, 0, 12),
        frame(HEADERS, END_HEADERS, 1, 30),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, 7),
        frame(DATA, 0, 1, 100),
        frame(8, 0, 0, 4),
        frame(DATA, END_STREAM, 1, 0),
    ]
    .concat();
    for size in [1, 2, 8, 9, 10, 31, received.len()] {
        let frames = Frames::of_server();
        received.chunks(size).for_each(|piece| frames.received(piece));
        let (one, three) = (frames.claim(1), frames.claim(3));
        let expected = Measured { received: 39 + 109 + 9, heads_received: 39, ..Measured::default() };
        assert_eq!(one.measured(), expected, "pieces of {size}");
        assert_eq!(three.measured(), Measured { received: 16, heads_received: 16, ..Measured::default() });
    }
}

#[test]
fn a_stream_is_over_with_its_last_frame() {
    let mut cx = Context::from_waker(Waker::noop());
    let frames = Frames::of_client();
    let stream = frames.claim(1);
    frames.sent(&client_preface());
    frames.sent(&frame(HEADERS, END_STREAM, 1, 50));
    assert!(stream.poll_over(&mut cx).is_pending(), "its head goes on");
    frames.sent(&frame(CONTINUATION, END_HEADERS, 1, 10));
    assert_eq!(stream.poll_over(&mut cx), Poll::Ready(()));
    assert_eq!(stream.measured(), Measured { sent: 78, heads_sent: 78, ..Measured::default() });
    let other = frames.claim(3);
    frames.sent(&frame(HEADERS, END_HEADERS, 3, 1));
    assert!(other.poll_over(&mut cx).is_pending());
    frames.received(&frame(RST_STREAM, 0, 3, 4));
    assert!(other.poll_over(&mut cx).is_ready());
    let last = frames.claim(5);
    assert!(last.poll_over(&mut cx).is_pending());
    frames.close();
    assert!(last.poll_over(&mut cx).is_ready());
}

#[test]
fn streams_that_nobody_has_are_forgotten() {
    let frames = Frames::of_server();
    frames.received(&client_preface());
    for id in (1..200).step_by(2) {
        frames.received(&frame(HEADERS, END_HEADERS, id, 5));
        frames.sent(&frame(RST_STREAM, 0, id, 4));
        // Late frames of a stream that is gone open nothing.
        frames.received(&frame(HEADERS, END_HEADERS, id, 5));
        frames.received(&frame(DATA, 0, id, 5));
    }
    assert!(frames.state.borrow().streams.is_empty());
    drop(frames.claim(201));
    assert!(frames.state.borrow().streams.is_empty());
}

/// The codec hands such a stream on all the same.
#[test]
fn a_stream_that_was_reset_before_anybody_asked_is_over() {
    let mut cx = Context::from_waker(Waker::noop());
    let frames = Frames::of_server();
    frames.received(&client_preface());
    frames.received(&frame(HEADERS, END_HEADERS, 1, 30));
    frames.received(&frame(RST_STREAM, 0, 1, 4));
    assert!(frames.claim(1).poll_over(&mut cx).is_ready());
    frames.received(&frame(HEADERS, END_HEADERS, 3, 30));
    assert!(frames.claim(3).poll_over(&mut cx).is_pending());
}

#[test]
fn what_nobody_asks_for_is_bounded() {
    let frames = Frames::of_server();
    frames.received(&client_preface());
    for stream in 0..2 * MAX_UNCLAIMED as u32 {
        frames.received(&frame(HEADERS, END_HEADERS, 2 * stream + 1, 1));
    }
    assert_eq!(frames.state.borrow().streams.len(), MAX_UNCLAIMED);
    // Who is asked for makes room.
    let first = frames.claim(1);
    frames.received(&frame(HEADERS, END_HEADERS, 4 * MAX_UNCLAIMED as u32 + 1, 1));
    assert_eq!(frames.state.borrow().streams.len(), MAX_UNCLAIMED + 1);
    drop(first);
    assert_eq!(frames.state.borrow().streams.len(), MAX_UNCLAIMED);
}
