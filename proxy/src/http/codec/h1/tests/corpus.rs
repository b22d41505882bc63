//! Messages to start from and a seeded mutator, for the tests that look for what nobody thought of.

use fastrand::Rng;

/// What connections carry, good and bad; each is followed by another request when it is fed.
pub(super) const REQUESTS: [&str; 28] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a/b?c=d HTTP/1.1\r\nHost: mesh.local:8080\r\nUser-Agent: x/1\r\nAccept: */*\r\nX-Request-Id: 12\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
    "POST /p HTTP/1.1\r\nhost: a\r\nContent-Length: 0\r\nContent-Type: text/plain\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    "POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\nx-b: 2\r\n\r\n",
    "PUT /p HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabc",
    "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET http://b:81/x?y HTTP/1.1\r\nhost: a\r\n\r\n",
    "CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n",
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-gone, te\r\nx-gone: 1\r\nte: trailers\r\n\r\n",
    "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
    "\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "DELETE /a HTTP/1.1\r\nhost: [::1]:80\r\ncookie: a=b; c=d\r\ncookie: e=f\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx-empty:\r\nx-blank: \t\r\nx-pad: \t b \t\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nG",
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n z\r\n\r\n",
    "GET / HTTP/1.1\nhost: a\n\n",
    "GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET foo HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\ncontent-length: 2\r\n\r\nok",
];

/// More requests, on which our codec and others are known to differ.
pub(super) const DISPUTED: [&str; 10] = [
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "CONNECT b:443 HTTP/1.1\r\nhost: b\r\ncontent-length: 5\r\n\r\nhello",
    "GET /a<b>{c}|d HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET http://b?y HTTP/1.1\r\nhost: a\r\n\r\n",
    "OPTIONS http://b HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;x\x1dy\r\nbc\r\n0\r\n\r\n",
    "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: , chunked\r\n\r\n0\r\n\r\n",
    "GET http://u@b/ HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: a b\r\n\r\n",
];

/// Replies to a GET.
pub(super) const RESPONSES: [&str; 18] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: text/plain\r\nserver: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;a\r\na\r\n2\r\nbc\r\n0\r\nx-sum: 1\r\n\r\n",
    "HTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx",
    "HTTP/1.1 200 \r\ncontent-length: 1\r\n\r\nx",
    "HTTP/1.1 200 OK\r\nx: until close\r\n\r\nall of it",
    "HTTP/1.0 200 OK\r\n\r\nold",
    "HTTP/1.0 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nold",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\netag: \"x\"\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno",
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nx: y\r\n z\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 503 Busy \u{2013} later\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
];

/// More replies, on which our codec and others are known to differ.
pub(super) const DISPUTED_RESPONSES: [&str; 10] = [
    "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;\x1d\r\na\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nupgrade: a b\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: x-gone\r\nx-gone: 1\r\nx-kept: 2\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\ncontent-length: +9\r\n\r\n",
    "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
    "\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nconnection: a b\r\ncontent-length: 0\r\n\r\n",
];

/// Pieces that parsers disagree about.
const TOKENS: [&[u8]; 56] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b";",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
    b"0",
    b"1",
    b"5",
    b"0\r\n\r\n",
    b"00",
    b"fffffffffffffffff",
    b"+",
    b"-",
    b"0x",
    b"\"",
    b"#",
    b"?",
    b"/",
    b"*",
    b"@",
    b"%00",
    b"_",
    b"chunked",
    b", chunked",
    b"identity",
    b"gzip",
    b"content-length: 5\r\n",
    b"content-length: 3\r\n",
    b"Content-Length:0\r\n",
    b"transfer-encoding: chunked\r\n",
    b"Transfer-Encoding:\tchunked\r\n",
    b"host: b\r\n",
    b"connection: close\r\n",
    b"connection: keep-alive\r\n",
    b"connection: content-length\r\n",
    b"connection: transfer-encoding\r\n",
    b"expect: 100-continue\r\n",
    b"upgrade: h2c\r\n",
    b"te: trailers\r\n",
    b"x: y\r\n",
    b"\r\n ",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"HTTP/2.0",
    b"GET / HTTP/1.1\r\nhost: c\r\n\r\n",
];

/// Random numbers and rounds for a test: the same every time, unless `OUTRIGGER_FUZZ_SEED` and
/// `OUTRIGGER_FUZZ_ROUNDS` ask for others or more.
pub(super) fn effort(seed: u64, rounds: usize) -> (Rng, usize) {
    let asked = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let rounds = asked("OUTRIGGER_FUZZ_ROUNDS").map_or(rounds, |rounds| rounds as usize);
    (Rng::with_seed(asked("OUTRIGGER_FUZZ_SEED").unwrap_or(seed)), rounds)
}

/// Changes `message` in one to three places.
pub(super) fn mutate(rng: &mut Rng, message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..rng.usize(1..=3) {
        let at = rng.usize(..=bytes.len());
        let length = rng.usize(..=8).min(bytes.len() - at);
        match rng.u8(..7) {
            0 => bytes.insert(at, rng.u8(..)),
            1 if length > 0 => bytes[at] = rng.u8(..),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            4 if length > 0 => bytes[at] ^= 0x20,
            5 => bytes.truncate(at),
            _ => {
                let token = TOKENS[rng.usize(..TOKENS.len())];
                let replaced = if rng.bool() { length } else { 0 };
                bytes.splice(at..at + replaced, token.iter().copied());
            }
        }
    }
    bytes
}

/// Cuts `bytes` into pieces: one by one when `fine`, else at random.
pub(super) fn cut<'a>(rng: &mut Rng, mut bytes: &'a [u8], fine: bool) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let length = if fine { 1 } else { rng.usize(1..=bytes.len().min(40)) };
        let (piece, rest) = bytes.split_at(length);
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
