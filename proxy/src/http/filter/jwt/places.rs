//! Where requests carry tokens: headers, query parameters and cookies.

use crate::base::matcher::cookie_value;
use crate::config::filter::jwt::Provider;
use crate::http::filter::query;
use crate::http::head::RequestHead;

/// Where a token was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place<'p> {
    Header(&'p str),
    Parameter(&'p str),
    Cookie(&'p str),
}

impl Place<'_> {
    /// Whether a provider has tokens there.
    pub(super) fn is_of(self, provider: &Provider) -> bool {
        match self {
            Place::Header(name) => provider.headers.iter().any(|(header, _)| **header == *name),
            Place::Parameter(name) => provider.parameters.iter().any(|parameter| **parameter == *name),
            Place::Cookie(name) => provider.cookies.iter().any(|cookie| **cookie == *name),
        }
    }

    /// Takes the token out of the request. Cookies stay, as in Envoy.
    pub(super) fn remove(self, head: &mut RequestHead) {
        match self {
            Place::Header(name) => head.block.remove_named(name.as_bytes()),
            Place::Parameter(name) => {
                let named = |pair: &&[u8]| query::pairs(pair).next().is_some_and(|(key, _)| key == *name);
                let kept: Vec<&[u8]> = query::split(head.query()).filter(|pair| !named(pair)).collect();
                let kept = kept.join(&b"&"[..]);
                query::replace(head, &kept);
            }
            Place::Cookie(_) => {}
        }
    }
}

/// The tokens that a request carries where the provider has them.
pub(super) fn tokens<'p>(provider: &'p Provider, head: &RequestHead) -> Vec<(Place<'p>, String)> {
    let mut found = Vec::new();
    for (name, prefix) in &provider.headers {
        let lines: Vec<&[u8]> = head.lines(name).collect();
        let value = String::from_utf8_lossy(&lines.join(&b","[..])).into_owned();
        if lines.is_empty() {
            continue;
        }
        let token = match prefix.is_empty() {
            true => Some(value),
            false => value.find(&**prefix).map(|at| begun(&value[at + prefix.len()..]).to_owned()),
        };
        found.extend(token.map(|token| (Place::Header(name), token)));
    }
    for name in &provider.parameters {
        let value = query::pairs(head.query()).find(|(key, _)| *key == **name).map(|(_, value)| value);
        found.extend(value.map(|value| (Place::Parameter(name), value)));
    }
    for name in &provider.cookies {
        let value = cookie_value(head.lines("cookie"), name).filter(|value| !value.is_empty());
        let text = value.map(|value| String::from_utf8_lossy(value).into_owned());
        found.extend(text.map(|text| (Place::Cookie(name), text)));
    }
    found
}

/// From the first character on that a token may have. What follows the token makes it another one, as in Envoy.
fn begun(text: &str) -> &str {
    text.trim_start_matches(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::filter::jwt::{InMetadata, KeySource, Keys};
    use crate::http::test_heads::request;

    fn provider() -> Provider {
        Provider {
            issuer: "".into(),
            audiences: Vec::new(),
            subjects: None,
            require_expiration: false,
            max_lifetime: None,
            keys: KeySource::Local(Keys::parse(br#"{"keys": [{"kty": "oct", "k": "YWJj"}]}"#).unwrap()),
            headers: vec![("authorization".into(), "Bearer ".into()), ("x-t".into(), "".into())],
            parameters: vec!["t".into()],
            cookies: vec!["c".into()],
            forward: false,
            payload_header: None,
            claims: Vec::new(),
            skew: 0,
            metadata: InMetadata::default(),
            clear_route: false,
        }
    }

    #[test]
    fn tokens_are_found_in_headers_parameters_and_cookies() {
        let provider = provider();
        let fields = [
            ("authorization", "Bearer a.b.c"),
            ("x-t", "h"),
            ("cookie", "b=1; c=\"d.e.f\""),
            ("cookie", "c=x"),
        ];
        let mut head = request("GET", "/p?t=q.r.s&u=1", "h", &fields);
        let found = tokens(&provider, &head);
        let expected = [
            (Place::Header("authorization"), "a.b.c"),
            (Place::Header("x-t"), "h"),
            (Place::Parameter("t"), "q.r.s"),
            (Place::Cookie("c"), "d.e.f"),
        ];
        assert_eq!(found, expected.map(|(place, text)| (place, text.to_owned())));
        found.iter().for_each(|(place, _)| place.remove(&mut head));
        assert_eq!(head.path_and_query(), b"/p?u=1");
        assert!(head.lines("authorization").next().is_none() && head.lines("cookie").count() == 2);
        assert!(tokens(&provider, &request("GET", "/", "h", &[("cookie", "c=; cc=1; d")])).is_empty());
    }

    /// Whatever clients write where tokens are looked for is found or not, and taken out without harm.
    #[test]
    fn damaged_carriers_are_read_or_left() {
        let (provider, mut rng) = (provider(), fastrand::Rng::with_seed(5));
        const TEXT: &[u8] = b"tc=&;\"%2 .Bearer,ab\xff\x80";
        let noise = |rng: &mut fastrand::Rng| -> Vec<u8> {
            (0..rng.usize(..40)).map(|_| TEXT[rng.usize(..TEXT.len())]).collect()
        };
        for _ in 0..20_000 {
            let mut head = request("GET", "/p", "h", &[]);
            let path = [&b"/p?"[..], &noise(&mut rng)].concat();
            head.set_path(&path);
            for name in ["cookie", "authorization", "x-t"] {
                head.block.append(name.as_bytes(), &noise(&mut rng));
            }
            for (place, _) in tokens(&provider, &head) {
                place.remove(&mut head);
            }
            assert!(head.path_and_query().starts_with(b"/p"));
        }
    }
}
