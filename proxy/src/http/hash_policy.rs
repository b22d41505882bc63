//! What binds a request to a host: the hash of parts of it, and the metadata that its route asks of hosts.
//! Source: Envoy's `HashPolicyImpl` and `Router::Filter::computeHashKey`.

use std::borrow::Cow;
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::head::{HeaderBlock, RequestHead};
use crate::base::hash::xxhash64;
use crate::config::Cluster;
use crate::config::balance::{Cookie, HashInput, HashPolicy};
use crate::config::route::{Forward, WeightedCluster};
use crate::config::subset::Metadata;
use crate::upstream::lb::Part;

/// The bonds of one request, the same for all of its attempts.
#[derive(Debug, Default)]
pub struct Affinity<'r> {
    /// For hash policies; `None` leaves the host to chance.
    pub hash: Option<u64>,
    /// For clusters with subsets.
    pub criteria: Option<&'r Metadata>,
    /// For members of an aggregate.
    pub part: Option<Part>,
    /// `set-cookie` values for the response.
    cookies: SmallVec<[Vec<u8>; 1]>,
}

/// The two ends of the downstream connection.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client, as trusted.
    pub client: SocketAddr,
    /// The address it called.
    pub destination: SocketAddr,
}

impl<'r> Affinity<'r> {
    /// Completed for a request on its way to `cluster`.
    #[inline]
    pub fn with(
        self,
        cluster: &Cluster,
        forward: &'r Forward,
        entry: Option<&'r WeightedCluster>,
        head: &RequestHead,
        ends: Ends,
    ) -> Self {
        let criteria = entry.and_then(|entry| entry.metadata_match.as_deref());
        let criteria = criteria.or(forward.metadata_match.as_deref());
        let mut affinity = Self { criteria, ..self };
        let balancing = &*cluster.balancing;
        if balancing.policy.is_hash()
            && let Some(policies) = balancing.hashing.policies.as_ref().or(forward.hash_policy.as_ref())
        {
            affinity.hash = affinity.combine(policies, head, ends);
        }
        affinity
    }

    fn combine(&mut self, policies: &[HashPolicy], head: &RequestHead, ends: Ends) -> Option<u64> {
        combine(policies, head, ends, |cookie| self.new_cookie(cookie, ends))
    }

    /// A value for clients that have none. It is that of their connection, so that requests that race get the same.
    fn new_cookie(&mut self, cookie: &Cookie, ends: Ends) -> Option<u64> {
        let attributes = cookie.attributes.as_deref()?;
        let connection = format!("{}{}", ends.client, ends.destination);
        let value = format!("{:016x}", xxhash64(connection.as_bytes(), 0));
        self.cookies.push(format!("{}=\"{value}\"{attributes}", cookie.name).into_bytes());
        Some(xxhash64(value.as_bytes(), 0))
    }

    /// Sets the cookies that were made for the client.
    #[inline]
    pub fn set_cookies(&self, response: &mut HeaderBlock) {
        for cookie in &self.cookies {
            response.append(b"set-cookie", cookie);
        }
    }
}

/// The hash of a request as it came: nobody is given a cookie for it.
pub fn of_request(policies: &[HashPolicy], head: &RequestHead, ends: Ends) -> Option<u64> {
    combine(policies, head, ends, |_| None)
}

/// `new_cookie` makes a value for clients that lack one.
fn combine(
    policies: &[HashPolicy],
    head: &RequestHead,
    ends: Ends,
    mut new_cookie: impl FnMut(&Cookie) -> Option<u64>,
) -> Option<u64> {
    let mut combined: Option<u64> = None;
    for policy in policies {
        if let Some(next) = evaluate(&policy.input, head, ends, &mut new_cookie) {
            // Turned, so that two policies that say the same do not cancel each other out.
            combined = Some(combined.map_or(0, |before| before.rotate_left(1)) ^ next);
        }
        if policy.terminal && combined.is_some() {
            break;
        }
    }
    combined
}

fn evaluate(
    input: &HashInput,
    head: &RequestHead,
    ends: Ends,
    new_cookie: &mut impl FnMut(&Cookie) -> Option<u64>,
) -> Option<u64> {
    match input {
        HashInput::Header { name, rewrite } => {
            let values = header_values(head, name);
            let rewritten = |value| match rewrite {
                Some((pattern, with)) => pattern.replace_all(value, &**with),
                None => Cow::Borrowed(value),
            };
            hash_values(values.into_iter().map(rewritten).collect())
        }
        HashInput::Cookie(cookie) => match cookie_value(&head.block, &cookie.name) {
            Some(value) if !value.is_empty() => Some(xxhash64(value, 0)),
            _ => new_cookie(cookie),
        },
        HashInput::SourceIp => Some(xxhash64(ends.client.ip().to_canonical().to_string().as_bytes(), 0)),
        HashInput::Query(name) => {
            let pairs = head.query().split(|byte| *byte == b'&');
            let mut pairs = pairs.map(|pair| split_at(pair, b'='));
            let (_, value) = pairs.find(|(key, _)| *key == name.as_bytes())?;
            Some(xxhash64(value, 0))
        }
    }
}

type Values<'h> = SmallVec<[&'h [u8]; 2]>;

fn header_values<'h>(head: &'h RequestHead, name: &'h str) -> Values<'h> {
    let one = |value: &'h [u8]| Values::from_slice(&[value]);
    match name {
        ":method" => one(head.method_text()),
        ":path" => one(head.path_and_query()),
        ":authority" | "host" => one(head.authority()),
        ":scheme" => one(head.scheme().as_bytes()),
        name => head.block.fields_named(name.as_bytes()).map(|field| head.block.bytes(field.value)).collect(),
    }
}

/// The same for the same values in another order.
fn hash_values(mut values: SmallVec<[Cow<'_, [u8]>; 2]>) -> Option<u64> {
    values.sort_unstable();
    // Each hash is the seed of the next.
    (!values.is_empty()).then(|| values.iter().fold(0, |seed, value| xxhash64(value, seed)))
}

/// The value of a cookie, without quotes. The first one of that name counts.
fn cookie_value<'h>(block: &'h HeaderBlock, name: &str) -> Option<&'h [u8]> {
    let headers = block.fields_named(b"cookie").map(|field| block.bytes(field.value));
    let mut pairs = headers.flat_map(|header| header.split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let (key, value) = split_at(pair.trim_ascii_start(), b'=');
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        (key == name.as_bytes()).then_some(value)
    })
}

fn split_at(pair: &[u8], separator: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(separator, pair) {
        Some(at) => (&pair[..at], &pair[at + 1..]),
        None => (pair, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::test_heads::request;

    fn ends() -> Ends {
        Ends { client: ([10, 0, 0, 1], 4711).into(), destination: ([10, 0, 0, 2], 80).into() }
    }

    fn policy(input: HashInput) -> HashPolicy {
        HashPolicy { input, terminal: false }
    }

    fn header(name: &str) -> HashPolicy {
        policy(HashInput::Header { name: name.into(), rewrite: None })
    }

    fn hash(policies: &[HashPolicy], head: &RequestHead) -> Option<u64> {
        Affinity::default().combine(policies, head, ends())
    }

    #[test]
    fn every_source_hashes_its_text() {
        let head = request("GET", "/p?a=1&b=2&a=3", "h", &[("x", "v"), ("cookie", "c=\"q\"; d=e")]);
        let of = |text: &str| Some(xxhash64(text.as_bytes(), 0));
        assert_eq!(hash(&[header("x")], &head), of("v"));
        assert_eq!(hash(&[header(":path")], &head), of("/p?a=1&b=2&a=3"));
        assert_eq!(hash(&[header("y")], &head), None);
        assert_eq!(hash(&[policy(HashInput::SourceIp)], &head), of("10.0.0.1"));
        assert_eq!(hash(&[policy(HashInput::Query("a".into()))], &head), of("1"));
        assert_eq!(hash(&[policy(HashInput::Query("c".into()))], &head), None);
        let cookie = |name: &str| policy(HashInput::Cookie(Cookie { name: name.into(), attributes: None }));
        assert_eq!(hash(&[cookie("c")], &head), of("q"));
        assert_eq!(hash(&[cookie("d")], &head), of("e"));
        assert_eq!(hash(&[cookie("f")], &head), None);
    }

    #[test]
    fn policies_are_combined_until_a_terminal_one_has_a_hash() {
        let head = request("GET", "/", "h", &[("x", "v"), ("y", "w")]);
        let [x, y] = [b"v", b"w"].map(|text| xxhash64(text, 0));
        assert_eq!(hash(&[header("x"), header("y")], &head), Some(x.rotate_left(1) ^ y));
        assert_ne!(hash(&[header("x"), header("x")], &head), Some(0));
        let terminal = |name| HashPolicy { terminal: true, ..header(name) };
        assert_eq!(hash(&[terminal("x"), header("y")], &head), Some(x));
        assert_eq!(hash(&[terminal("z"), header("y")], &head), Some(y));
        // One that has none of its own, after one that had.
        assert_eq!(hash(&[header("x"), terminal("z"), header("y")], &head), Some(x));
    }

    #[test]
    fn a_client_without_a_cookie_is_given_one() {
        let cookie = Cookie { name: "c".into(), attributes: Some("; Max-Age=5; HttpOnly".into()) };
        let policies = [policy(HashInput::Cookie(cookie))];
        let mut affinity = Affinity::default();
        let made = affinity.combine(&policies, &request("GET", "/", "h", &[]), ends()).unwrap();
        let mut response = HeaderBlock::default();
        affinity.set_cookies(&mut response);
        let text = String::from_utf8(response.get_by_name(b"set-cookie").unwrap().to_vec()).unwrap();
        let value = text.strip_prefix("c=\"").and_then(|text| text.split_once('"')).unwrap();
        assert_eq!((value.0.len(), value.1), (16, "; Max-Age=5; HttpOnly"));
        let sent = format!("c={}", value.0);
        assert_eq!(hash(&policies, &request("GET", "/", "h", &[("cookie", &sent)])), Some(made));
    }

    #[test]
    fn the_order_of_values_does_not_matter_and_rewrites_come_first() {
        let rewrite = (regex::bytes::Regex::new("^t(.)$").unwrap(), b"${1}".to_vec().into_boxed_slice());
        let rewritten = policy(HashInput::Header { name: "x".into(), rewrite: Some(rewrite) });
        let head = |values: [&str; 2]| request("GET", "/", "h", &[("x", values[0]), ("x", values[1])]);
        let hashed = hash(&[header("x")], &head(["a", "b"]));
        assert!(hashed.is_some());
        assert_eq!(hash(&[header("x")], &head(["b", "a"])), hashed);
        assert_eq!(hash(&[rewritten], &head(["tb", "a"])), hashed);
    }
}
