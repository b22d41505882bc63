//! What comes out must not depend on how the bytes were cut into reads, whatever the bytes are.

use fastrand::Rng;

use super::corpus::{REQUESTS, RESPONSES, cut, effort, mutate};
use super::harness::server_options;
use super::outcome::{ask, serve};
use crate::http::codec::h1::ServerOptions;

/// Mutations of each message.
const ROUNDS: usize = 20;

#[tokio::test]
async fn requests_mean_the_same_however_they_are_cut() {
    let (mut rng, rounds) = effort(1, ROUNDS);
    for seed in REQUESTS {
        for round in 0..rounds {
            let mut input = seed.as_bytes().to_vec();
            if round > 0 {
                input = mutate(&mut rng, &input);
            }
            input.extend_from_slice(b"GET /canary HTTP/1.1\r\nhost: c\r\n\r\n");
            let whole = serve(&[&input], server_options()).await;
            for fine in [true, false] {
                let pieces = cut(&mut rng, &input, fine);
                let parts = serve(&pieces, server_options()).await;
                assert_eq!(parts, whole, "{:?} in {} pieces", String::from_utf8_lossy(&input), pieces.len());
            }
        }
    }
}

#[tokio::test]
async fn limits_mean_the_same_however_heads_are_cut() {
    let mut rng = Rng::with_seed(2);
    for bytes in 20..120 {
        let options = || ServerOptions { max_head_bytes: bytes, max_fields: bytes / 25, ..server_options() };
        let seed = REQUESTS[bytes % REQUESTS.len()];
        let input = mutate(&mut rng, seed.as_bytes());
        let whole = serve(&[&input], options()).await;
        for fine in [true, false] {
            let parts = serve(&cut(&mut rng, &input, fine), options()).await;
            assert_eq!(parts, whole, "{:?} within {bytes}", String::from_utf8_lossy(&input));
        }
    }
}

#[tokio::test]
async fn responses_mean_the_same_however_they_are_cut() {
    let (mut rng, rounds) = effort(3, ROUNDS);
    for seed in RESPONSES {
        for round in 0..rounds {
            let mut input = seed.as_bytes().to_vec();
            if round > 0 {
                input = mutate(&mut rng, &input);
            }
            let method = if rng.u8(..4) == 0 { "HEAD" } else { "GET" };
            let whole = ask(method, &[&input], true).await;
            for fine in [true, false] {
                let pieces = cut(&mut rng, &input, fine);
                let mut parts = ask(method, &pieces, true).await;
                // Whether bytes behind the response have come yet is a matter of time.
                parts.reusable &= whole.reusable;
                let expected = super::outcome::Reply { reusable: parts.reusable, ..whole.clone() };
                assert_eq!(parts, expected, "{:?}", String::from_utf8_lossy(&input));
            }
        }
    }
}
