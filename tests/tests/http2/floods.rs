//! Floods of frames end with the connection, cost bounded memory, and hurt nobody else.

use outrigger_tests::client::frames::{
    CONTINUATION, Connection, DATA, END_HEADERS, GET, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, fields,
    frame, request,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};

use super::Scene;

on_both_data_planes!(
    requests_that_are_reset_end_their_connection,
    continuation_frames,
    empty_data_frames,
    answers_that_nobody_reads,
);
on_data_plane!(outrigger_only, Outrigger, too_many_resets_are_told, resets_in_one_piece);

/// What a flood may cost; a program that keeps what it is sent needs more.
const MEMORY: u64 = 24 << 20;
/// What a client that floods sends at most.
const FLOOD: usize = 64 << 20;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
const ENHANCE_YOUR_CALM: u32 = 11;
/// The fields of a request that is under way for a minute.
const SLOW: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/slow"), (":authority", "a")];

impl Scene {
    /// Others are served as ever.
    async fn serves(&self) -> Result<()> {
        assert_eq!(h1::get(self.port.address(), "a", "/").await?.status, 200);
        Ok(())
    }

    fn resident(&mut self) -> Result<u64> {
        self.sidecar.process().resident()
    }

    /// Begins requests and resets them, one after the other, until the connection ends.
    async fn reset(&self, connection: &mut Connection) -> Result<()> {
        for n in 0..600u64 {
            let stream = 2 * n as u32 + 1;
            if connection.send(request(stream, &SLOW)).await.is_err() {
                return Ok(());
            }
            // Once it is being served.
            let active = self.sidecar.until_stat("http.ingress.downstream_rq_total", |total| total > n);
            if self.count("downstream_rq_too_many_premature_resets").await? > 0 || active.await.is_err() {
                return Ok(());
            }
            if connection.send(frame(RST_STREAM, 0, stream, &CANCEL)).await.is_err() {
                return Ok(());
            }
        }
        Err("600 requests were begun and reset".into())
    }
}

async fn requests_that_are_reset_end_their_connection(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    scene.reset(&mut connection).await?;
    connection.rest().await?;
    assert_eq!(scene.count("downstream_rq_too_many_premature_resets").await?, 1);
    // Half of five hundred.
    assert!((250..=251).contains(&scene.count("downstream_rq_total").await?));
    scene.sidecar.until_stat("http.ingress.downstream_rq_active", |active| active == 0).await?;
    scene.sidecar.until_stat("cluster.slow.upstream_rq_active", |active| active == 0).await?;
    scene.serves().await
}

/// Envoy just closes.
async fn too_many_resets_are_told(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    scene.reset(&mut connection).await?;
    let frames = connection.rest().await?;
    let last = frames.iter().rfind(|frame| frame.kind == GOAWAY).ok_or("no GOAWAY")?;
    assert_eq!(last.code(), Some(ENHANCE_YOUR_CALM));
    Ok(())
}

/// So fast that nobody sees the requests.
async fn resets_in_one_piece(plane: DataPlane) -> Result<()> {
    let scene = Scene::start(plane).await?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let pair = |n: u32| [request(2 * n + 1, &SLOW), frame(RST_STREAM, 0, 2 * n + 1, &CANCEL)].concat();
    let pairs: Vec<u8> = (0..600).flat_map(pair).collect();
    // It may be cut short.
    let _sent = connection.send(pairs).await;
    let frames = connection.rest().await?;
    assert!(frames.iter().any(|frame| frame.code() == Some(ENHANCE_YOUR_CALM)), "{frames:?}");
    let errors = scene.count("downstream_cx_protocol_error").await?;
    assert_eq!(errors + scene.count("downstream_rq_too_many_premature_resets").await?, 1);
    scene.serves().await
}

async fn continuation_frames(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    let before = scene.resident()?;
    let mut connection = Connection::open(scene.port.address()).await?;
    connection.send(frame(HEADERS, 0, 1, &fields(&GET))).await?;
    let piece = frame(CONTINUATION, 0, 1, &fields(&[("x-more", "of the same, again and again")]));
    assert!(connection.press(&piece, FLOOD).await < FLOOD);
    connection.rest().await?;
    assert!(scene.resident()? < before + MEMORY);
    scene.serves().await
}

async fn empty_data_frames(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    let before = scene.resident()?;
    let mut connection = Connection::open(scene.port.address()).await?;
    let post = [(":method", "POST"), (":scheme", "http"), (":path", "/slow"), (":authority", "a")];
    connection.send(frame(HEADERS, END_HEADERS, 1, &fields(&post))).await?;
    let pieces = frame(DATA, 0, 1, b"").repeat(100);
    assert!(connection.press(&pieces, FLOOD).await < FLOOD);
    connection.rest().await?;
    assert!(scene.resident()? < before + MEMORY);
    if plane == DataPlane::Outrigger {
        scene.sidecar.until_stat("http.ingress.downstream_cx_protocol_error", |count| count == 1).await?;
    }
    scene.serves().await
}

/// Each of these has an answer. A client that reads none is read no further, or cut.
async fn answers_that_nobody_reads(plane: DataPlane) -> Result<()> {
    let mut scene = Scene::start(plane).await?;
    let before = scene.resident()?;
    for piece in [frame(SETTINGS, 0, 0, b""), frame(PING, 0, 0, b"12345678")] {
        let mut connection = Connection::open(scene.port.address()).await?;
        assert!(connection.press(&piece.repeat(1000), FLOOD).await < FLOOD);
        assert!(scene.resident()? < before + MEMORY);
        scene.serves().await?;
    }
    Ok(())
}
