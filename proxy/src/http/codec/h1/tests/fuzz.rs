//! Arbitrary bytes for either half: hyper has another opinion only where the tables say so, and neither half depends on
//! how the bytes come.

use fastrand::Rng;
use tokio::runtime::{Builder, Runtime};

use super::corpus::cut;
use super::differential::{requests, responses};
use super::harness::server_options;
use super::outcome::{ask, serve};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

/// What comes after the message that is looked at: it must not become part of it, nor begin inside it.
const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nhost: c\r\n\r\n";

/// Bytes of a client.
pub fn h1_requests(data: &[u8]) {
    let input = [data, CANARY].concat();
    let pieces = cut_by_itself(&input);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            requests::check(&input).await;
            let whole = serve(&[&input], server_options()).await;
            assert_eq!(serve(&pieces, server_options()).await, whole, "in {} pieces", pieces.len());
        });
    });
}

/// Bytes of an upstream; the first of them says what was asked.
pub fn h1_responses(data: &[u8]) {
    let Some((first, input)) = data.split_first() else { return };
    let method = if *first == b'H' { "HEAD" } else { "GET" };
    let pieces = cut_by_itself(input);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            responses::check(method, input).await;
            let whole = ask(method, &[input], true).await;
            let parts = ask(method, &pieces, true).await;
            assert_eq!((parts.head, parts.body), (whole.head, whole.body), "in {} pieces", pieces.len());
        });
    });
}

/// Pieces of `input` that are the same for the same bytes.
fn cut_by_itself(input: &[u8]) -> Vec<&[u8]> {
    let sum = input.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    cut(&mut Rng::with_seed(sum), input, sum % 4 == 0 && input.len() < 300)
}
