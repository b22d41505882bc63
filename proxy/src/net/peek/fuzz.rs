//! Arbitrary first bytes, come in arbitrary pieces.

#![allow(clippy::panic, reason = "what does not hold is a finding")]

use super::{Detected, Inspect, classify};
use crate::config::listener::TransportProtocol;

/// Once there is an answer, more bytes do not change it: which filter chain a connection gets is no matter of timing.
pub fn peek(data: &[u8]) {
    for (tls, http) in [(true, true), (true, false), (false, true)] {
        let inspect = Inspect { tls, http };
        let mut answer: Option<Detected> = None;
        let step = (data.len() / 64).max(1);
        for end in (0..data.len()).step_by(step).chain([data.len()]) {
            match (&answer, classify(&data[..end], inspect)) {
                (Some(before), Some(now)) => assert_eq!(*before, now, "after {end} bytes"),
                (Some(before), None) => panic!("{before:?} is forgotten after {end} bytes"),
                (None, now) => answer = now,
            }
        }
        answer.iter().for_each(|found| check(found, data, inspect));
    }
}

fn check(found: &Detected, data: &[u8], inspect: Inspect) {
    let Detected { transport, server_name, application_protocols } = found;
    let is_tls = *transport == TransportProtocol::Tls;
    assert!(!is_tls || (inspect.tls && data[0] == 0x16));
    assert!(is_tls || server_name.is_none());
    assert!(is_tls || application_protocols.len() <= usize::from(inspect.http));
    if let Some(name) = server_name {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(!name.is_empty() && name.len() <= 255 && name.bytes().all(legal), "{name:?}");
        // What was found was sent: nothing is made up.
        let sent = data.to_ascii_lowercase();
        assert!(memchr::memmem::find(&sent, &name.as_bytes()[..1]).is_some());
    }
}
