//! Names the proxy itself looks at, as small integers, so that finding a header compares bytes once,
//! when the head is parsed.

/// Declares the enum and the lookup.
macro_rules! header_ids {
    ($($variant:ident = $name:literal,)*) => {
        /// A known header name, or [`HeaderId::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum HeaderId {
            /// Not one of ours: compare the text.
            Other,
            $(#[doc = $name] $variant,)*
        }

        /// Every id; an id's discriminant is its place here.
        const IDS: &[HeaderId] = &[HeaderId::Other, $(HeaderId::$variant,)*];
        /// Every name, in the same order.
        const NAMES: &[&str] = &["", $($name,)*];
    };
}

/// Slots of the lookup table: sparse enough for a multiplier without collisions to exist.
const SLOTS: usize = 256;

/// Slot of a name: its length, first and last byte, mixed.
#[inline]
const fn slot(name: &[u8], factor: u32) -> usize {
    if name.is_empty() {
        return 0;
    }
    let seed = name.len() as u32 | (name[0] as u32) << 8 | (name[name.len() - 1] as u32) << 16;
    ((seed.wrapping_mul(factor)) >> 24) as usize % SLOTS
}

/// The table for `factor`, or nothing when two names meet.
const fn table(factor: u32) -> Option<[u8; SLOTS]> {
    let mut table = [0_u8; SLOTS];
    let mut id = 1;
    while id < NAMES.len() {
        let at = slot(NAMES[id].as_bytes(), factor);
        if at == 0 || table[at] != 0 {
            return None;
        }
        table[at] = id as u8;
        id += 1;
    }
    Some(table)
}

/// Multiplier without collisions and the table it gives, found by the compiler.
const LOOKUP: (u32, [u8; SLOTS]) = {
    let mut factor = 0x9E37_79B1_u32;
    loop {
        if let Some(table) = table(factor) {
            break (factor, table);
        }
        factor = factor.wrapping_add(2);
    }
};
static TABLE: [u8; SLOTS] = LOOKUP.1;

impl HeaderId {
    /// The id of a lower-case name.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let id = TABLE[slot(name, LOOKUP.0)] as usize;
        if id != 0 && NAMES[id].as_bytes() == name { IDS[id] } else { HeaderId::Other }
    }

    /// The name; empty for `Other`.
    pub fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

header_ids! {
    Authorization = "authorization",
    Connection = "connection",
    ContentLength = "content-length",
    ContentType = "content-type",
    Cookie = "cookie",
    Date = "date",
    Expect = "expect",
    GrpcMessage = "grpc-message",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
    Host = "host",
    Http2Settings = "http2-settings",
    KeepAlive = "keep-alive",
    Location = "location",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthenticationInfo = "proxy-authentication-info",
    ProxyAuthorization = "proxy-authorization",
    ProxyConnection = "proxy-connection",
    Referer = "referer",
    Server = "server",
    Te = "te",
    Trailer = "trailer",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    UserAgent = "user-agent",
    Via = "via",
    AmznTraceId = "x-amzn-trace-id",
    EnvoyAttemptCount = "x-envoy-attempt-count",
    EnvoyExpectedTimeout = "x-envoy-expected-rq-timeout-ms",
    EnvoyInternal = "x-envoy-internal",
    EnvoyOriginalPath = "x-envoy-original-path",
    EnvoyOverloaded = "x-envoy-overloaded",
    EnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    ForwardedFor = "x-forwarded-for",
    ForwardedProto = "x-forwarded-proto",
    ForwardedClientCert = "x-forwarded-client-cert",
    RequestId = "x-request-id",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_id_and_near_misses_find_none() {
        for (id, name) in IDS.iter().zip(NAMES).skip(1) {
            assert_eq!(HeaderId::of(name.as_bytes()), *id, "{name}");
            assert_eq!(id.name(), *name);
            let mut near = name.as_bytes().to_vec();
            let middle = near.len() / 2;
            near[middle] = b'_';
            assert_eq!(HeaderId::of(&near), HeaderId::Other);
            assert_eq!(HeaderId::of(name.to_uppercase().as_bytes()), HeaderId::Other);
        }
        assert_eq!(HeaderId::of(b""), HeaderId::Other);
        assert!(IDS.len() < 64, "codecs keep sets of ids in 64 bits");
    }
}
