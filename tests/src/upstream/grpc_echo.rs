//! A gRPC server of opaque messages over HTTP/2 with prior knowledge.
//!
//! Any method echoes each request message as it arrives (so unary and streaming both work) and ends with trailers.
//! `x-echo-grpc-status` (and `x-echo-grpc-message`) asks for that status in trailers after the echo;
//! a method ending in `/Fail` answers trailers-only.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Behaviour, Counts};
use crate::client::grpc::{encode, next_message};

/// See the module.
#[derive(Debug)]
pub struct GrpcEcho;

impl Behaviour for GrpcEcho {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut calls = JoinSet::new();
        while let Some(Ok((request, respond))) = connection.accept().await {
            counts.request();
            calls.spawn(answer(request, respond));
            while calls.try_join_next().is_some() {}
        }
    }
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let status = trailers(request.headers());
    let trailers_only = request.uri().path().ends_with("/Fail");
    let mut body = request.into_body();
    if trailers_only {
        // A stream that is over before its request is reset, sometimes.
        while let Some(chunk) = body.data().await {
            body.flow_control().release_capacity(chunk?.len())?;
        }
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if trailers_only {
        head.headers_mut().extend(status.clone());
    }
    let mut sending = respond.send_response(head, trailers_only)?;
    if trailers_only {
        return Ok(());
    }
    echo(body, &mut sending).await?;
    sending.send_trailers(status)
}

async fn echo(mut body: h2::RecvStream, sending: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut buffer = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        buffer.extend_from_slice(&chunk);
        while let Some(message) = next_message(&mut buffer) {
            sending.send_data(encode(&[&message]), false)?;
        }
    }
    Ok(())
}

fn trailers(asked: &HeaderMap) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let status = asked.get("x-echo-grpc-status").cloned();
    trailers.insert("grpc-status", status.unwrap_or(HeaderValue::from_static("0")));
    if let Some(message) = asked.get("x-echo-grpc-message") {
        trailers.insert("grpc-message", message.clone());
    }
    trailers
}
