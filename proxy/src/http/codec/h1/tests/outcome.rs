//! What a half makes of all the bytes that its peer sends on one connection.

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::harness::*;
use crate::http::codec::h1::ServerOptions;
use crate::http::codec::{BodySource, NextRequest, StreamError};
use crate::http::head::BodyLength;

/// What a server half yielded, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Request(Seen),
    BrokenBody(StreamError),
    Invalid(u16),
    Failed(StreamError),
    Closed,
}

/// A request as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub line: String,
    pub authority: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// Writes the pieces one by one, giving the other side time to read each, then ends the stream.
async fn feed(mut peer: UnixStream, pieces: Vec<Vec<u8>>) {
    for piece in pieces {
        if peer.write_all(&piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    let _ = peer.shutdown().await;
    read_all(&mut peer).await;
}

fn owned(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    pieces.iter().map(|piece| piece.to_vec()).collect()
}

/// Feeds `pieces` to a server half and answers whatever comes out of it.
pub(super) async fn serve(pieces: &[&[u8]], options: ServerOptions) -> Vec<Event> {
    serve_to_rest(pieces, options).await.0
}

/// The same, with the bytes that were left unread: the message that was refused, when one was.
pub(super) async fn serve_to_rest(pieces: &[&[u8]], options: ServerOptions) -> (Vec<Event>, Vec<u8>) {
    let (mut conn, peer) = server_with(options);
    let feeding = tokio::spawn(feed(peer, owned(pieces)));
    let mut events = Vec::new();
    loop {
        let head = match next_request(&mut conn).await {
            NextRequest::Request(head) => head,
            NextRequest::Closed => break events.push(Event::Closed),
            NextRequest::Invalid(error) => break events.push(Event::Invalid(error.status)),
            NextRequest::Failed(error) => break events.push(Event::Failed(error)),
        };
        let body = match body(&mut conn).await {
            Ok(body) => body,
            Err(error) => break events.push(Event::BrokenBody(error)),
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        events.push(Event::Request(Seen {
            line: format!("{} {}", text(head.method_text()), text(head.path_and_query())),
            authority: text(head.authority()),
            fields: fields(&head.block),
            body,
            trailers: conn.take_trailers().map(|block| fields(&block)).unwrap_or_default(),
        }));
        conn.send_head(&response_head(200, BodyLength::None, &[]), false).unwrap();
        send_body(&mut conn, b"").await.unwrap();
        if !conn.finish_exchange(head) {
            break events.push(Event::Closed);
        }
    }
    let (_, rest) = conn.into_tunnel();
    let _ = feeding.await;
    (events, rest.filled().to_vec())
}

/// What a client half made of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub head: Result<(u16, Vec<(String, String)>), StreamError>,
    pub body: Result<Vec<u8>, StreamError>,
    pub reusable: bool,
}

/// Sends a request of `method` and feeds `pieces` as the answer; ends the stream after it when `close`.
pub(super) async fn ask(method: &str, pieces: &[&[u8]], close: bool) -> Reply {
    let (mut conn, mut peer) = client();
    conn.send_head(&request_head(method, "/", &[]), BodyLength::None).unwrap();
    send_body(&mut conn, b"").await.unwrap();
    read_until(&mut peer, "\r\n\r\n").await;
    let pieces = owned(pieces);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let feeding = tokio::spawn(async move {
        if close {
            return feed(peer, pieces).await;
        }
        for piece in pieces {
            let _ = peer.write_all(&piece).await;
        }
        let _ = stopped.await;
    });
    let head = loop {
        match response(&mut conn).await {
            Ok(head) if head.status < 200 && head.status != 101 => {}
            Ok(head) => break Ok((head.status, fields(&head.block))),
            Err(error) => break Err(error),
        }
    };
    let body = body(&mut conn).await;
    let reply = Reply { head, body, reusable: conn.is_reusable() };
    drop((conn, stop));
    let _ = feeding.await;
    reply
}
