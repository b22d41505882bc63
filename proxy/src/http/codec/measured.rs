//! What an exchange took on the wire.

use std::ops::AddAssign;

/// Bytes of one exchange on one of its connections, above TLS: for access logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Received from the peer, framing and heads with it.
    pub received: u64,
    /// Sent to the peer, framing and heads with it.
    pub sent: u64,
    /// Fields of heads and trailers among what was received: in HTTP/2 their frames.
    pub heads_received: u64,
    /// Fields of heads and trailers among what was sent: in HTTP/2 their frames.
    pub heads_sent: u64,
    /// The same without compression.
    pub decoded_received: u64,
    /// The same without compression.
    pub decoded_sent: u64,
}

impl Measured {
    /// Bytes without a protocol.
    pub fn raw(received: u64, sent: u64) -> Self {
        Self { received, sent, ..Self::default() }
    }
}

impl AddAssign for Measured {
    /// What another attempt took adds up, as in Envoy.
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
        self.heads_received += other.heads_received;
        self.heads_sent += other.heads_sent;
        self.decoded_received += other.decoded_received;
        self.decoded_sent += other.decoded_sent;
    }
}
