//! Connections that a filter has served.

use outrigger_tests::bootstrap::tcp_listener;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scene::{GET, Kind, Scene, terminal};

on_both_data_planes!(
    connections_with_requests,
    connections_whose_requests_go_wrong,
    resets_between_requests,
    tcp_sessions,
    sessions_without_a_host,
);

/// Bytes are those of the connection, with the heads.
async fn connections_with_requests(plane: DataPlane) -> Result<()> {
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    let mut sent = 0;
    for _ in 0..2 {
        let response = connection.exchange(GET).await?;
        sent += response.head.len() + response.body.len();
    }
    drop(connection);
    let begins = format!("-|0|-|-|{}|", 2 * GET.len());
    let line = scene.line().await?;
    assert!(line.starts_with(&begins) && line.ends_with("|HTTP/1.1|NotSet|in|127.0.0.1|-|-"), "{line}");
    let told: usize = line.split('|').nth(5).ok_or("no bytes")?.parse()?;
    assert!((sent..sent + 16).contains(&told), "{told} of {sent}");
    assert_eq!(scene.filter.lines(2).await?.len(), 2);
    Ok(())
}

async fn connections_whose_requests_go_wrong(plane: DataPlane) -> Result<()> {
    let broken = "bad bad\r\n\r\n";
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send(broken).await?;
    connection.response().await?;
    drop(connection);
    let line = scene.line().await?;
    assert!(line.starts_with("DPE|0|-|-|11|") && line.contains("|-|NotSet|in|127.0.0.1|"), "{line}");

    // The same over HTTP/2: a frame of settings that are no settings.
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\u{5}\u{4}\0\0\0\0\0abcde").await?;
    let _ = connection.rest().await;
    let line = scene.line().await?;
    assert!(line.starts_with("DPE|0|-|-|38|") && line.contains("|-|NotSet|in|127.0.0.1|"), "{line}");

    // Half a head: the request has begun, for connection managers too.
    let (scene, _upstream) = Kind::Http.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("GET / HTTP/1.1\r\nho").await?;
    drop(connection);
    assert_eq!(scene.line().await?, "-|0|-|-|18|0|HTTP/1.1|NotSet|in|127.0.0.1|-|-");
    let lines = scene.filter.lines(1).await?;
    assert_eq!(lines, ["DC|0|downstream_remote_disconnect|-|0|0|HTTP/1.1|DownstreamEnd|in|127.0.0.1|-|-"]);
    assert_eq!(scene.sidecar.stat("http.in.downstream_rq_rx_reset").await?, 1);
    assert_eq!(scene.sidecar.stat("http.in.downstream_cx_destroy_remote_active_rq").await?, 1);

    // A head that does not come in time is answered.
    let slow = |listener: &mut Value| terminal(listener)["request_headers_timeout"] = json!("0.3s");
    let (scene, _upstream) = Kind::Http.scene(plane, slow).await?;
    let mut connection = scene.connect().await?;
    connection.send("GET / HTTP/1.1\r\nho").await?;
    let response = connection.response().await?;
    assert_eq!((response.status, &*response.text()), (408, "request header timeout"));
    drop(connection);
    let line = scene.line().await?;
    assert!(line.starts_with("-|0|-|-|18|171|HTTP/1.1|NotSet|"), "{line}");
    let lines = scene.filter.lines(1).await?;
    assert_eq!(lines, ["-|408|request_header_timeout|-|0|22|HTTP/1.1|DownstreamEnd|in|127.0.0.1|-|-"]);
    Ok(())
}

/// A client that resets what is idle has begun nothing.
async fn resets_between_requests(plane: DataPlane) -> Result<()> {
    let http1 = |listener: &mut Value| terminal(listener)["codec_type"] = json!("HTTP1");
    let (scene, _upstream) = Kind::Http.scene(plane, http1).await?;
    for requests in [0, 1] {
        let mut stream = tokio::net::TcpStream::connect(scene.at).await?;
        for _ in 0..requests {
            stream.write_all(GET.as_bytes()).await?;
            let read = stream.read(&mut [0; 4096]).await?;
            assert!(read > 0);
        }
        stream.set_zero_linger()?;
    }
    assert_eq!(scene.listener.lines(2).await?.len(), 2);
    assert_eq!(scene.filter.lines(1).await?.len(), 1);
    assert_eq!(scene.sidecar.stat("http.in.downstream_rq_rx_reset").await?, 0);
    assert_eq!(scene.sidecar.stat("http.in.downstream_rq_total").await?, 1);
    assert_eq!(scene.sidecar.stat("http.in.downstream_cx_destroy_remote_active_rq").await?, 0);
    Ok(())
}

async fn tcp_sessions(plane: DataPlane) -> Result<()> {
    let (scene, _upstream) = Kind::Tcp.scene(plane, |_| ()).await?;
    let mut connection = scene.connect().await?;
    connection.send("hello").await?;
    connection.exact_bytes(5).await?;
    drop(connection);
    let line = scene.line().await?;
    // The host says "bye" at the end.
    assert_eq!(line, "-|0|-|-|5|8|-|NotSet|in|127.0.0.1|-|-");
    assert_eq!(scene.filter.lines(1).await?, [line.replace("NotSet", "TcpConnectionEnd")]);

    let idle = |listener: &mut Value| terminal(listener)["idle_timeout"] = json!("0.3s");
    let (scene, _upstream) = Kind::Tcp.scene(plane, idle).await?;
    scene.wait_for_end().await?;
    assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_session_idle_timeout|-");
    Ok(())
}

/// A reason instead of details, as in Envoy, and the flags in its order.
async fn sessions_without_a_host(plane: DataPlane) -> Result<()> {
    let nobody = Port::lease()?;
    for (hosts, cluster, told) in [
        (vec![], "a", "UH|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_initializion_failure:1|-"),
        (vec![nobody.address()], "a", "UF,URX|0|-|-|0|0|-|NotSet|in|127.0.0.1|tcp_initializion_failure:0|-"),
    ] {
        let port = Port::lease()?;
        let scene = Scene::start(plane, tcp_listener("in", port.address(), cluster), port, &hosts).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, told);
        assert_eq!(scene.filter.lines(1).await?, [told.replace("NotSet", "TcpConnectionEnd")]);
    }
    Ok(())
}
