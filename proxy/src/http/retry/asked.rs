//! What a caller inside the mesh asks for in `x-envoy-*` request headers. The connection manager has taken these
//! headers from all others already; here they are consumed, so that they end at this proxy.

use std::time::Duration;

use smallvec::SmallVec;

use crate::config::retry::RetryOn;
use crate::http::head::HeaderBlock;

/// Names and codes taken from one header at most.
const MAX_ITEMS: usize = 32;

/// Retries as the caller wants them, on top of the route's policy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `x-envoy-retry-on`, `x-envoy-retry-grpc-on`.
    pub on: RetryOn,
    /// `x-envoy-max-retries`: instead of the policy's.
    pub max_retries: Option<u32>,
    /// `x-envoy-retriable-status-codes`: beside the policy's.
    pub status_codes: SmallVec<[u16; 4]>,
    /// `x-envoy-retriable-header-names`, lower case: beside the policy's matchers.
    pub header_names: Vec<Box<[u8]>>,
}

impl Asked {
    /// Takes the retry headers out of a request head; `None` when there are none.
    pub fn take(block: &mut HeaderBlock) -> Option<Box<Self>> {
        let mut asked: Option<Box<Self>> = None;
        take(block, |name, value| {
            let is_ours = matches!(
                name,
                "retry-on"
                    | "retry-grpc-on"
                    | "max-retries"
                    | "retriable-status-codes"
                    | "retriable-header-names"
            );
            if is_ours {
                asked.get_or_insert_default().set(name, value);
            }
            is_ours
        });
        asked
    }

    fn set(&mut self, name: &str, value: &str) {
        let items = || value.split(',').map(str::trim).filter(|item| !item.is_empty()).take(MAX_ITEMS);
        match name {
            "retry-on" => items().for_each(|token| self.add(RetryOn::HTTP_TOKENS, token)),
            "retry-grpc-on" => items().for_each(|token| self.add(RetryOn::GRPC_TOKENS, token)),
            "max-retries" => self.max_retries = value.trim().parse().ok().or(self.max_retries),
            "retriable-status-codes" => {
                self.status_codes.extend(items().filter_map(|code| code.parse().ok()))
            }
            _ => {
                let names = items().map(|name| name.to_ascii_lowercase().into_bytes().into_boxed_slice());
                self.header_names.extend(names);
            }
        }
    }

    fn add(&mut self, tokens: &[(&str, RetryOn)], token: &str) {
        if let Some((_, condition)) = tokens.iter().find(|(name, _)| *name == token) {
            self.on.insert(*condition);
        }
    }
}

/// Time limits as the caller wants them, instead of the route's.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `x-envoy-upstream-rq-timeout-ms`; zero is off.
    pub timeout: Option<Duration>,
    /// `x-envoy-upstream-rq-per-try-timeout-ms`; zero is off.
    pub per_try: Option<Duration>,
    /// `x-envoy-upstream-stream-duration-ms`: of one try.
    pub stream: Option<Duration>,
    /// `x-envoy-hedge-on-per-try-timeout`.
    pub hedge: Option<bool>,
    /// `x-envoy-upstream-rq-timeout-alt-response`: a timeout answers 204.
    pub no_content: bool,
}

impl Limits {
    /// Takes the headers of time limits out of a request head.
    pub fn take(block: &mut HeaderBlock) -> Self {
        let mut limits = Self::default();
        take(block, |name, value| {
            let millis = || value.trim().parse().ok().map(Duration::from_millis);
            match name {
                "upstream-rq-timeout-ms" => limits.timeout = millis().or(limits.timeout),
                "upstream-rq-per-try-timeout-ms" => limits.per_try = millis().or(limits.per_try),
                "upstream-stream-duration-ms" => limits.stream = millis().or(limits.stream),
                "upstream-rq-timeout-alt-response" => limits.no_content = true,
                "hedge-on-per-try-timeout" => {
                    limits.hedge = match value.trim() {
                        "true" => Some(true),
                        "false" => Some(false),
                        _ => limits.hedge,
                    };
                }
                _ => return false,
            }
            true
        });
        limits
    }
}

/// Removes the fields called `x-envoy-NAME` for which `wanted(NAME, value)` holds.
fn take(block: &mut HeaderBlock, mut wanted: impl FnMut(&str, &str) -> bool) {
    const PREFIX: &[u8] = b"x-envoy-";
    if !block.iter().any(|(name, _)| name.starts_with(PREFIX)) {
        return;
    }
    block.retain(|_, name, value| {
        let Some(Ok(name)) = name.strip_prefix(PREFIX).map(std::str::from_utf8) else { return true };
        !wanted(name, std::str::from_utf8(value).unwrap_or_default())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_heads::request;

    #[test]
    fn retry_headers_are_read_and_consumed() {
        let mut head = request(
            "GET",
            "/",
            "h",
            &[
                ("x-envoy-retry-on", "5xx, unavailable,made-up,retriable-headers"),
                ("x-envoy-retry-grpc-on", "unavailable, 5xx"),
                ("x-envoy-max-retries", "7"),
                ("x-envoy-retriable-status-codes", "418, x,70000,404"),
                ("x-envoy-retriable-header-names", "X-Again , x-more"),
                ("x-envoy-upstream-rq-timeout-ms", "5"),
                ("accept", "*/*"),
            ],
        );
        let asked = Asked::take(&mut head.block).unwrap();
        let mut on = RetryOn::SERVER_ERROR;
        on.insert(RetryOn::HEADERS);
        on.insert(RetryOn::GRPC_UNAVAILABLE);
        assert_eq!((asked.on, asked.max_retries), (on, Some(7)), "each header knows its own tokens");
        assert_eq!(asked.status_codes.as_slice(), [418, 404]);
        assert_eq!(asked.header_names, [Box::from(*b"x-again"), Box::from(*b"x-more") as Box<[u8]>]);
        let left: Vec<_> = head.block.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(left, [b"x-envoy-upstream-rq-timeout-ms".to_vec(), b"accept".to_vec()]);
        assert_eq!(Asked::take(&mut head.block), None);
    }

    #[test]
    fn time_limits_are_read_and_consumed() {
        let mut head = request(
            "GET",
            "/",
            "h",
            &[
                ("x-envoy-upstream-rq-timeout-ms", "0"),
                ("x-envoy-upstream-rq-per-try-timeout-ms", "soon"),
                ("x-envoy-upstream-stream-duration-ms", "1500"),
                ("x-envoy-upstream-rq-timeout-alt-response", ""),
                ("x-envoy-hedge-on-per-try-timeout", "true"),
            ],
        );
        let limits = Limits::take(&mut head.block);
        let expected = Limits {
            timeout: Some(Duration::ZERO),
            per_try: None,
            stream: Some(Duration::from_millis(1500)),
            hedge: Some(true),
            no_content: true,
        };
        assert_eq!(limits, expected);
        assert!(head.block.is_empty(), "garbage is consumed too");
    }
}
