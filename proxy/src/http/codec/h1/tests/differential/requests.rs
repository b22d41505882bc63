//! Server half against hyper's server.

use super::super::corpus::{DISPUTED, REQUESTS, effort, mutate};
use super::super::harness::server_options;
use super::super::outcome::{Event, serve_to_rest};
use super::oracle::{self, Raw, Theirs};
use super::{Row, Tally, count, has_bare_line_feed, is_token};

/// Mutations of each message.
const ROUNDS: usize = 100;

/// The first thing that came out differently.
#[derive(Debug)]
struct Difference {
    input: String,
    /// What we left unread: the message that we refused, when we did.
    rest: String,
    ours: Option<Event>,
    theirs: Option<Theirs>,
}

impl Difference {
    /// We refuse with `status` what hyper takes: its view of the head.
    fn refused(&self, status: u16) -> Option<&Raw> {
        match (&self.ours, &self.theirs) {
            (Some(Event::Invalid(ours)), Some(Theirs::Request(_, raw) | Theirs::BrokenBody(raw)))
                if *ours == status =>
            {
                Some(raw)
            }
            _ => None,
        }
    }

    /// Number of fields called `name` in the refused message.
    fn count(&self, name: &str) -> usize {
        count(&self.rest, name)
    }
}

fn is_plain_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("six", port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let name_is_plain =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-._~!$&'()*+;=".contains(c));
    let port_is_plain = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| {
            digits.parse::<u16>().is_ok() && digits.len() <= 5 && digits.chars().all(|c| c.is_ascii_digit())
        });
    name_is_plain && port_is_plain
}

/// In the order in which they are tried: the particular before the general.
const ROWS: &[Row<Difference>] = &[
    Row {
        name: "bare line feed in a head",
        why: "RFC 9112 2.2 lets a recipient take it for a line end; peers that do not see other lines",
        explains: |it| it.ours == Some(Event::Invalid(400)) && has_bare_line_feed(&it.rest),
    },
    Row {
        name: "bare line feed in a trailer section",
        why: "as in a head",
        explains: |it| {
            matches!((&it.ours, &it.theirs), (Some(Event::BrokenBody(_)), Some(Theirs::Request(..))))
                && has_bare_line_feed(&it.input)
        },
    },
    Row {
        name: "length beside a coding",
        why: "RFC 9112 6.1: smuggling; hyper drops the length",
        explains: |it| {
            it.refused(400).is_some() && it.count("content-length") > 0 && it.count("transfer-encoding") > 0
        },
    },
    Row {
        name: "repeated length",
        why: "hyper collapses equal ones; RFC 9110 8.6 allows refusing them",
        explains: |it| {
            it.refused(400).is_some() && it.count("content-length") > 1
                || it.refused(400).is_some_and(|raw| raw.members("content-length").len() > 1)
        },
    },
    Row {
        name: "coding other than chunked",
        why: "we cannot say where such a body ends for everyone behind us",
        explains: |it| {
            let odd = |raw: &Raw| {
                !raw.values("transfer-encoding")[..].iter().all(|it| it.eq_ignore_ascii_case("chunked"))
            };
            it.refused(501).is_some_and(odd)
        },
    },
    Row {
        name: "unknown expectation",
        why: "RFC 9110 10.1.1: 417; forwarded ones desynchronise",
        explains: |it| {
            let odd = |raw: &Raw| !matches!(&raw.values("expect")[..], [one] if one.eq_ignore_ascii_case("100-continue"));
            it.refused(417).is_some_and(odd)
        },
    },
    Row {
        name: "missing, repeated or malformed host",
        why: "RFC 9112 3.2 demands 400; hyper leaves it to the application",
        explains: |it| {
            let odd = |raw: &Raw| match &raw.values("host")[..] {
                [host] => !is_plain_host(host),
                [] => raw.version == hyper::Version::HTTP_11,
                _ => true,
            };
            it.refused(400).is_some_and(odd)
        },
    },
    Row {
        name: "fragment in the target",
        why: "not part of a target; hyper drops it, so policy and peer would see different things",
        explains: |it| {
            it.refused(400).is_some() && it.rest.lines().next().is_some_and(|line| line.contains('#'))
        },
    },
    Row {
        name: "bytes above 127 in the target",
        why: "RFC 9112 3.2: a target is ASCII",
        explains: |it| {
            it.refused(400)
                .is_some_and(|raw| !raw.uri.path().is_ascii() || !raw.uri.query().unwrap_or("").is_ascii())
        },
    },
    Row {
        name: "target form that the method does not have",
        why: "RFC 9112 3.2; hyper takes a bare word for an authority and * for any method",
        explains: |it| {
            let odd = |raw: &Raw| {
                let is_path =
                    raw.uri.scheme().is_none() && raw.uri.authority().is_none() && raw.uri.path() != "*";
                match raw.method.as_str() {
                    "CONNECT" => raw.uri.scheme().is_some() || raw.uri.port_u16().is_none(),
                    "OPTIONS" if raw.uri.path() == "*" => false,
                    _ => !is_path && raw.uri.scheme_str() != Some("http"),
                }
            };
            it.refused(400).is_some_and(odd)
        },
    },
    Row {
        name: "malformed authority in the target",
        why: "the same rules as for host",
        explains: |it| {
            it.refused(400)
                .is_some_and(|raw| raw.uri.authority().is_some_and(|it| !is_plain_host(it.as_str())))
        },
    },
    Row {
        name: "connection option that is no token",
        why: "RFC 9110 7.6.1; an option we cannot read may name a field we then pass on",
        explains: |it| {
            it.refused(400)
                .is_some_and(|raw| raw.members("connection").iter().any(|option| !is_token(option)))
        },
    },
    Row {
        name: "upgrade protocol that is no token",
        why: "RFC 9110 7.8",
        explains: |it| {
            let odd = |protocol: &String| !protocol.split('/').all(is_token);
            it.refused(400).is_some_and(|raw| raw.members("upgrade").iter().any(odd))
        },
    },
    Row {
        name: "body on CONNECT",
        why: "what follows a CONNECT is the tunnel",
        explains: |it| {
            it.refused(400).is_some_and(|raw| raw.method == "CONNECT")
                && it.count("content-length") + it.count("transfer-encoding") > 0
        },
    },
    Row {
        name: "fields that connection names",
        why: "we take them out, as a proxy must; hyper is none",
        explains: |it| {
            let (Some(Event::Request(ours)), Some(Theirs::Request(theirs, raw))) = (&it.ours, &it.theirs)
            else {
                return false;
            };
            let named = raw.members("connection");
            let mut kept = theirs.clone();
            kept.fields.retain(|(name, _)| !named.iter().any(|option| option.eq_ignore_ascii_case(name)));
            kept == *ours
        },
    },
    Row {
        name: "absolute-form without a path",
        why: "RFC 9112 3.2.1 and 3.2.4: the path is / or, for OPTIONS, *; hyper leaves it to the application",
        explains: |it| {
            let (Some(Event::Request(ours)), Some(Theirs::Request(theirs, raw))) = (&it.ours, &it.theirs)
            else {
                return false;
            };
            let query = raw.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let path = if ours.line == "OPTIONS *" { "*".to_owned() } else { format!("/{query}") };
            raw.uri.scheme().is_some()
                && raw.uri.path() == "/"
                && ours.line == format!("{} {path}", raw.method)
                && ours.body == theirs.body
        },
    },
    Row {
        name: "control bytes in a chunk extension",
        why: "RFC 9112 7.1.1 has none; hyper looks for line ends only",
        explains: |it| {
            let broken =
                matches!((&it.ours, &it.theirs), (Some(Event::BrokenBody(_)), Some(Theirs::Request(..))));
            broken && it.input.lines().any(|line| line.contains(';') && line.chars().any(char::is_control))
        },
    },
    Row {
        name: "target bytes outside RFC 3986",
        why: "visible ASCII passes as it does through Envoy; hyper's URI type refuses some of it",
        explains: |it| {
            let is_odd = |seen: &str| seen.contains(['<', '>', '"', '\\', '^', '`', '{', '|', '}']);
            matches!((&it.ours, &it.theirs), (Some(Event::Request(seen)), Some(Theirs::Error)) if is_odd(&seen.line))
        },
    },
];

async fn compare(input: &[u8]) -> Option<Difference> {
    let (ours, rest) = serve_to_rest(&[input], server_options()).await;
    let theirs = oracle::serve(input).await;
    let at = (0..ours.len()).find(|at| !is_same(&ours[*at], theirs.get(*at)));
    let at = at.or((theirs.len() > ours.len()).then_some(ours.len()))?;
    Some(Difference {
        input: String::from_utf8_lossy(input).into_owned(),
        rest: String::from_utf8_lossy(&rest).into_owned(),
        ours: ours.get(at).cloned(),
        theirs: theirs.get(at).cloned(),
    })
}

fn is_same(ours: &Event, theirs: Option<&Theirs>) -> bool {
    match (ours, theirs) {
        (Event::Request(ours), Some(Theirs::Request(theirs, _))) => {
            let mut ours = ours.clone();
            ours.fields.sort();
            ours.trailers.sort();
            ours == *theirs
        }
        (Event::BrokenBody(_), Some(Theirs::BrokenBody(_))) => true,
        (Event::Invalid(_) | Event::Failed(_), Some(Theirs::Error)) => true,
        (Event::Closed, Some(Theirs::Closed)) => true,
        _ => false,
    }
}

/// Fails for a difference without a row.
pub(in super::super) async fn check(input: &[u8]) {
    if let Some(difference) = compare(input).await {
        assert!(ROWS.iter().any(|row| (row.explains)(&difference)), "{difference:#?}");
    }
}

#[tokio::test]
async fn every_difference_is_explained() {
    let (mut rng, rounds) = effort(7, ROUNDS);
    let mut tally = Tally::new(ROWS);
    for seed in REQUESTS.iter().chain(&DISPUTED) {
        for round in 0..rounds {
            let mut input = seed.as_bytes().to_vec();
            if round > 0 {
                input = mutate(&mut rng, &input);
            }
            input.extend_from_slice(b"GET /canary HTTP/1.1\r\nhost: c\r\n\r\n");
            if let Some(difference) = compare(&input).await {
                tally.add(difference);
            }
        }
    }
    tally.finish();
}
