//! One call of `StreamAccessLogs`: messages go up for as long as it lives, and nothing is expected down.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{self, ResponseFuture};
use h2::{RecvStream, SendStream};
use tokio::task::JoinHandle;

use crate::observe::trace::transport::{Dial, Target};

const METHOD: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// An open call; cancelled when dropped.
pub(super) struct Stream {
    up: SendStream<Bytes>,
    answer: Answer,
    driver: JoinHandle<()>,
}

/// What the service has said: some send their headers at once, some with the end.
enum Answer {
    Pending(ResponseFuture),
    Begun(RecvStream),
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Stream {
    /// Connects and calls. The error is for the log.
    pub(super) async fn open(target: &Target, authority: &str, dial: &Arc<dyn Dial>) -> Result<Self, String> {
        let io = dial.dial(target).await.map_err(|error| error.to_string())?;
        let (sender, connection) = client::handshake(io).await.map_err(|error| error.to_string())?;
        let driver = tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::post(format!("http://{authority}{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| error.to_string())?;
        let mut sender = sender.ready().await.map_err(|error| error.to_string())?;
        let (answer, up) = sender.send_request(request, false).map_err(|error| error.to_string())?;
        Ok(Self { up, answer: Answer::Pending(answer), driver })
    }

    /// Whether the service, or what lies between, has ended it.
    pub(super) fn is_over(&mut self) -> bool {
        self.answer.end().now_or_never().is_some()
    }

    /// Sends one message, as fast as the service reads.
    pub(super) async fn send(&mut self, mut message: Bytes) -> Result<(), String> {
        while !message.is_empty() {
            self.up.reserve_capacity(message.len());
            let room = tokio::select! {
                biased;
                why = self.answer.end() => return Err(why),
                room = poll_fn(|cx| self.up.poll_capacity(cx)) => room,
            };
            match room {
                Some(Ok(room)) => {
                    let part = message.split_to(room.min(message.len()));
                    self.up.send_data(part, false).map_err(|error| error.to_string())?;
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the stream is closed".to_owned()),
            }
        }
        Ok(())
    }

    /// Says that no more will come, and waits for the service to have heard it.
    pub(super) async fn finish(mut self) {
        if self.up.send_data(Bytes::new(), true).is_ok() {
            self.answer.end().await;
        }
    }
}

impl Answer {
    /// Waits for the end of the call; says what it was. May be given up and asked again.
    async fn end(&mut self) -> String {
        if let Answer::Pending(answer) = self {
            match answer.await {
                Ok(response) => *self = Answer::Begun(response.into_body()),
                Err(error) => return error.to_string(),
            }
        }
        if let Answer::Begun(body) = self {
            while let Some(part) = body.data().await {
                match part {
                    // Whatever it says is read, so that nothing piles up.
                    Ok(part) => drop(body.flow_control().release_capacity(part.len())),
                    Err(error) => return error.to_string(),
                }
            }
        }
        "the service ended the stream".to_owned()
    }
}
