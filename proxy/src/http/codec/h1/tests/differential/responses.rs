//! Client half against hyper's client.

use super::super::corpus::{DISPUTED_RESPONSES, RESPONSES, effort, mutate};
use super::super::outcome::{Reply, ask};
use super::oracle::{self, Raw, TheirReply};
use super::{Row, Tally, count, has_bare_line_feed, is_token};
use crate::http::codec::StreamError;

/// Mutations of each reply.
const ROUNDS: usize = 100;

/// A reply that came out differently.
#[derive(Debug)]
struct Difference {
    #[allow(dead_code, reason = "printed when a difference has no row")]
    method: &'static str,
    input: String,
    ours: Reply,
    theirs: Option<TheirReply>,
}

impl Difference {
    /// We refuse the head of a reply that hyper takes: its view of it.
    fn refused(&self) -> Option<&Raw> {
        let theirs =
            self.theirs.as_ref().filter(|_| matches!(self.ours.head, Err(StreamError::Protocol(_))))?;
        Some(&theirs.raw)
    }

    /// We refuse a body that hyper takes.
    fn broke(&self) -> bool {
        let whole = self.theirs.as_ref().is_some_and(|theirs| theirs.body.is_some());
        whole && matches!(self.ours.body, Err(StreamError::Protocol(_)))
    }

    fn mentions(&self, name: &str) -> bool {
        count(&self.input, name) > 0
    }
}

/// In the order in which they are tried: the particular before the general.
const ROWS: &[Row<Difference>] = &[
    Row {
        name: "bare line feed in a head",
        why: "RFC 9112 2.2 lets a recipient take it for a line end; peers that do not see other lines",
        explains: |it| it.refused().is_some() && has_bare_line_feed(&it.input),
    },
    Row {
        name: "bare line feed in a trailer section",
        why: "as in a head",
        explains: |it| it.broke() && has_bare_line_feed(&it.input),
    },
    Row {
        name: "length beside a coding",
        why: "RFC 9112 6.3: smuggling; hyper drops the length",
        explains: |it| {
            it.refused().is_some() && it.mentions("content-length") && it.mentions("transfer-encoding")
        },
    },
    Row {
        name: "repeated length",
        why: "hyper collapses equal ones",
        explains: |it| it.refused().is_some() && count(&it.input, "content-length") > 1,
    },
    Row {
        name: "malformed length where no body follows",
        why: "hyper does not look at it in answers to HEAD and in 304; it would be passed on",
        explains: |it| {
            let odd = |raw: &Raw| {
                raw.values("content-length")
                    .iter()
                    .any(|it| it.parse::<i64>().is_err() || it.starts_with('+'))
            };
            it.refused().is_some_and(odd)
        },
    },
    Row {
        name: "repeated coding",
        why: "RFC 9112 6.1: chunked is applied once",
        explains: |it| it.refused().is_some() && count(&it.input, "transfer-encoding") > 1,
    },
    Row {
        name: "empty lines before a status line",
        why: "RFC 9112 2.2 has them before requests only",
        explains: |it| {
            it.refused().is_some()
                && (it.input.starts_with("\r\n") || it.input.contains("\r\n\r\n\r\nHTTP/1."))
        },
    },
    Row {
        name: "coding other than chunked",
        why: "hyper reads such a body until close, whatever the last coding; nobody behind us may agree",
        explains: |it| {
            let odd = |raw: &Raw| {
                !raw.values("transfer-encoding").iter().all(|it| it.eq_ignore_ascii_case("chunked"))
            };
            it.refused().is_some_and(odd)
        },
    },
    Row {
        name: "coding in HTTP/1.0",
        why: "RFC 9112 6.1: faulty framing",
        explains: |it| {
            it.refused().is_some_and(|raw| raw.version == hyper::Version::HTTP_10)
                && it.mentions("transfer-encoding")
        },
    },
    Row {
        name: "switch that was not asked for",
        why: "RFC 9110 15.2.2; hyper leaves it to the application",
        explains: |it| {
            it.refused().is_some() && it.theirs.as_ref().is_some_and(|theirs| theirs.status == 101)
        },
    },
    Row {
        name: "body announced where there is none",
        why: "204 and 1xx have none; a length or coding there means that the peer sends one",
        explains: |it| {
            it.refused().is_some()
                && (it.mentions("content-length") || it.mentions("transfer-encoding"))
                && ["HTTP/1.1 1", "HTTP/1.1 204", "HTTP/1.0 204"].iter().any(|start| it.input.contains(start))
        },
    },
    Row {
        name: "connection option that is no token",
        why: "RFC 9110 7.6.1; an option we cannot read may name a field we then pass on",
        explains: |it| {
            it.refused().is_some_and(|raw| raw.members("connection").iter().any(|option| !is_token(option)))
        },
    },
    Row {
        name: "upgrade protocol that is no token",
        why: "RFC 9110 7.8",
        explains: |it| {
            let odd = |protocol: &String| !protocol.split('/').all(is_token);
            it.refused().is_some_and(|raw| raw.members("upgrade").iter().any(odd))
        },
    },
    Row {
        name: "control bytes in a chunk extension",
        why: "RFC 9112 7.1.1 has none; hyper looks for line ends only",
        explains: |it| {
            it.broke()
                && it.input.lines().any(|line| line.contains(';') && line.chars().any(char::is_control))
        },
    },
    Row {
        name: "fields that connection names",
        why: "we take them out, as a proxy must; hyper is none",
        explains: |it| {
            let (Ok((_, ours)), Some(theirs)) = (&it.ours.head, &it.theirs) else { return false };
            let named = theirs.raw.members("connection");
            let is_kept =
                |(name, _): &&(String, String)| !named.iter().any(|option| option.eq_ignore_ascii_case(name));
            let mut ours = ours.clone();
            ours.sort();
            theirs.fields.iter().filter(is_kept).eq(&ours)
                && it.ours.body.as_ref().ok() == theirs.body.as_ref()
        },
    },
];

async fn compare(method: &'static str, input: &[u8]) -> Option<Difference> {
    let ours = ask(method, &[input], true).await;
    let theirs = oracle::ask(method, input).await;
    let is_same = match (&ours.head, &theirs) {
        (Err(_), None) => true,
        (Ok((status, fields)), Some(theirs)) => {
            let mut fields = fields.clone();
            fields.sort();
            (*status, &fields) == (theirs.status, &theirs.fields)
                && ours.body.as_ref().ok() == theirs.body.as_ref()
        }
        _ => false,
    };
    (!is_same).then(|| Difference {
        method,
        input: String::from_utf8_lossy(input).into_owned(),
        ours,
        theirs,
    })
}

/// Fails for a difference without a row.
pub(in super::super) async fn check(method: &'static str, input: &[u8]) {
    if let Some(difference) = compare(method, input).await {
        assert!(ROWS.iter().any(|row| (row.explains)(&difference)), "{difference:#?}");
    }
}

#[tokio::test]
async fn every_difference_is_explained() {
    let (mut rng, rounds) = effort(8, ROUNDS);
    let mut tally = Tally::new(ROWS);
    for seed in RESPONSES.iter().chain(&DISPUTED_RESPONSES) {
        for round in 0..rounds {
            let mut input = seed.as_bytes().to_vec();
            if round > 0 {
                input = mutate(&mut rng, &input);
            }
            let method = if rng.u8(..6) == 0 { "HEAD" } else { "GET" };
            if let Some(difference) = compare(method, &input).await {
                tally.add(difference);
            }
        }
    }
    tally.finish();
}
