use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

use super::*;
use crate::admin::DrainRequest;
use crate::admin::test_world::World;
use crate::base::drain::DrainScope;

struct Running {
    world: World,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    let world = World::new();
    world.publish();
    let any = AdminAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = AdminServer::bind(&any, &[]).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(world.state.clone(), async {
        let _ = stopped.await;
    }));
    Running { world, address, stop: Some(stop), task }
}

impl Running {
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        exchange(&mut stream, request).await
    }

    async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str) -> String {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ))
        .await
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn the_copied_health_check_passes() {
    let running = start().await;
    let info = running.get("/server_info").await;
    assert!(info.lines().any(|line| line.contains("state") && line.contains("LIVE")), "{info}");
    assert!(info.contains("\"state\": \"LIVE\"") && info.contains("\"hot_restart_version\": \"disabled\""));
    assert!(info.contains("content-type: application/json\r\n"));
    let ready = running.get("/ready").await;
    assert_eq!(status(&ready), "200");
    assert!(ready.ends_with("LIVE\n"));
    for header in ["cache-control: no-cache, max-age=0", "x-content-type-options: nosniff", "server: envoy"] {
        assert!(ready.contains(header), "{ready}");
    }
}

#[tokio::test]
async fn every_read_endpoint_answers() {
    let running = start().await;
    for path in [
        "/",
        "/help",
        "/certs",
        "/clusters",
        "/clusters?format=json",
        "/config_dump",
        "/init_dump",
        "/listeners",
        "/listeners?format=json",
        "/memory",
        "/runtime",
        "/stats",
        "/stats?format=json",
        "/stats?format=prometheus",
        "/stats/prometheus",
        "/hot_restart_version",
    ] {
        assert_eq!(status(&running.get(path).await), "200", "{path}");
    }
    assert!(running.get("/listeners").await.contains("lds_ingress::127.0.0.1:18080\n"));
    assert!(running.get("/listeners?format=json").await.contains("\"port_value\": 18080"));
    assert!(running.get("/stats").await.contains("http.admin.downstream_rq_2xx: "));
    let missing = running.get("/nope").await;
    assert_eq!(status(&missing), "404");
    assert!(missing.contains("invalid path. admin commands are:\n  /: Admin home page"));
}

#[tokio::test]
async fn commands_need_post_and_reach_the_process() {
    let running = start().await;
    let refused = running.get("/quitquitquit").await;
    assert_eq!(status(&refused), "405");
    assert!(refused.contains("Method GET not allowed, POST required."));
    for path in [
        "/healthcheck/fail",
        "/drain_listeners?graceful&inboundonly",
        "/drain_listeners",
        "/reset_counters",
        "/reopen_logs",
        "/quitquitquit",
    ] {
        assert!(
            running.post(path).await.ends_with("OK\n\r\n0\r\n\r\n")
                || running.post(path).await.ends_with("OK\n"),
            "{path}"
        );
    }
    let script = &running.world.script;
    assert!(script.quits.load(Ordering::Relaxed) >= 1 && script.reopened.load(Ordering::Relaxed) >= 1);
    let drains = script.drains.lock().unwrap().clone();
    assert_eq!(drains[0], DrainRequest { scope: DrainScope::InboundOnly, graceful: true, skip_exit: false });
    assert!(drains.contains(&DrainRequest { scope: DrainScope::All, graceful: false, skip_exit: false }));
    let failing = running.get("/ready").await;
    assert_eq!(status(&failing), "503");
    assert!(failing.ends_with("DRAINING\n"));
    running.post("/healthcheck/ok").await;
    assert_eq!(status(&running.get("/ready").await), "200");
}

#[tokio::test]
async fn logging_lists_and_changes() {
    let running = start().await;
    let changed = running.post("/logging?http=debug").await;
    assert!(
        changed.contains("active loggers:\n  admin: info\n") && changed.contains("  http: debug\n"),
        "{changed}"
    );
    assert!(running.post("/logging?paths=http:error,pool:trace").await.contains("  pool: trace\n"));
    let all = running.post("/logging?level=warning").await;
    assert!(all.contains("  http: warning\n") && !all.contains("info\n"));
    for (query, error) in [
        ("level=foo", "error: unknown logger level"),
        ("nolog=info", "error: unknown logger name"),
        ("admin=info&http=debug", "error: invalid number of parameters"),
    ] {
        let refused = running.post(&format!("/logging?{query}")).await;
        assert_eq!(status(&refused), "400");
        assert!(refused.contains(error) && refused.contains("usage: /logging?<name>=<level>"), "{refused}");
    }
}

#[tokio::test]
async fn foreign_hosts_and_sites_are_refused() {
    let running = start().await;
    let rebound = running.send("GET /stats HTTP/1.1\r\nhost: evil.com\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status(&rebound), "403");
    let cross = "POST /quitquitquit HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.com\r\n\
                 content-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!(status(&running.send(cross).await), "403");
    assert_eq!(running.world.script.quits.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn garbage_and_large_heads_end_the_connection() {
    let running = start().await;
    assert_eq!(status(&running.send("\x16\x03\x01garbage\r\n\r\n").await), "400");
    let flood = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    // The server may answer and close before it read everything.
    let _ = stream.write_all(flood.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"));
    assert_eq!(status(&running.get("/ready").await), "200");
}

#[tokio::test]
async fn replies_on_their_way_are_finished_at_shutdown() {
    let mut running = start().await;
    let mut kept = TcpStream::connect(running.address).await.unwrap();
    kept.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    kept.read_exact(&mut head).await.unwrap();
    running.stop.take().unwrap().send(()).unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"LIVE\n"), "the idle connection is closed after its reply");
    running.task.await.unwrap();
}

#[tokio::test]
async fn a_unix_socket_is_private_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    std::fs::write(&path, b"stale").unwrap();
    let server = AdminServer::bind(&AdminAddress::Unix(path.clone()), &[]).await.unwrap();
    assert_eq!(server.local_addr(), None);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let world = World::new();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(server.serve(world.state.clone(), async {
        let _ = stopped.await;
    }));
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let answer = exchange(&mut stream, "GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with("LIVE\n"), "{answer}");
    stop.send(()).unwrap();
    task.await.unwrap();
    assert!(!path.exists());
}
