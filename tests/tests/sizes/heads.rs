//! Sizes that the test knows: names and values of a head with its pseudo-headers, bytes of a body without its framing.

use bytes::Bytes;
use http::Request;
use outrigger_tests::bootstrap::{manager_of, over_http2, prefix_route};
use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::upstream::{Echo, GrpcEcho, Scripted, Tunnel, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use super::{Scene, tracked};

on_both_data_planes!(
    http1_heads_to_the_byte,
    bodies_without_their_framing,
    over_http2_to_http1,
    over_http1_to_http2,
    grpc_calls,
    interim_responses_add_up,
    a_tunnel,
    mirrored_copies,
);

/// Bytes and fields.
type Size = (u64, u64);

fn sum<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Size {
    fields.fold((0, 0), |(bytes, count), (name, value)| {
        (bytes + name.len() as u64 + value.len() as u64, count + 1)
    })
}

/// Of a request head that arrived over HTTP/1.
fn request_size(head: &str) -> Size {
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let mut lines = head.split("\r\n");
    let mut line = lines.next().unwrap_or_default().split(' ');
    let pseudo = [(":method", line.next()), (":path", line.next()), (":scheme", Some("http"))];
    let pseudo = pseudo.into_iter().map(|(name, value)| (name, value.unwrap_or_default()));
    let fields =
        lines.filter_map(|line| line.split_once(": ")).filter(|(name, _)| *name != "transfer-encoding");
    sum(pseudo.chain(fields.map(|(name, value)| (if name == "host" { ":authority" } else { name }, value))))
}

/// Of the request that [`Echo`] describes, sent to this authority and path.
fn described_size(request: &Value, authority: &str, path: &str) -> Size {
    let method = request["method"].as_str().unwrap_or_default();
    let pseudo = [(":method", method), (":path", path), (":scheme", "http"), (":authority", authority)];
    let headers = request["headers"].as_array().into_iter().flatten();
    let headers = headers.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)));
    sum(pseudo.into_iter().chain(headers.filter(|(name, _)| !["host", "transfer-encoding"].contains(name))))
}

/// Of a response as its host sent it: without what proxies add.
fn response_size<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Size {
    const ADDED: [&str; 2] = ["server", "x-envoy-upstream-service-time"];
    sum(headers.filter(|(name, _)| !ADDED.contains(name)).chain([(":status", "200")]))
}

fn of_h1(response: &h1::Response) -> Size {
    response_size(response.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn of_h2(headers: &http::HeaderMap) -> Size {
    response_size(headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))))
}

/// A response head of so many bytes, and a body of seven.
fn answer(bytes: usize) -> String {
    let fixed = ":status200".len() + "content-length7".len() + "x-fill".len() + "connectionkeep-alive".len();
    let fill = "f".repeat(bytes - fixed);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nX-Fill:  {fill} \r\nConnection: keep-alive\r\n\r\nanswers"
    )
}

/// Heads at both edges of one of Envoy's buckets: a byte more or less would show in either sum.
async fn http1_heads_to_the_byte(plane: DataPlane) -> Result<()> {
    let scripts = [("/p", 100), ("/a", 200), ("/b", 209)]
        .map(|(path, bytes)| (path, Scripted::answering(answer(bytes))));
    let transcripts = scripts.each_ref().map(|(_, script)| script.transcripts());
    let mut upstreams = Vec::new();
    for (path, script) in scripts {
        upstreams.push((path, Upstream::start(script)?));
    }
    let routes: Vec<_> = upstreams.iter().map(|(path, _)| prefix_route(path, &path[1..])).collect();
    let clusters: Vec<_> =
        upstreams.iter().map(|(path, upstream)| tracked(&path[1..], &[upstream.address()])).collect();
    let scene = Scene::start(plane, &routes, &clusters).await?;
    let mut base = 0;
    for (index, (path, wanted)) in [("/p", 0), ("/a", 400), ("/b", 409)].into_iter().enumerate() {
        let pad = "p".repeat(wanted - base.min(wanted));
        let request =
            format!("POST {path} HTTP/1.1\r\nHost: svc\r\nX-Pad:{pad}\r\nContent-Length: 5\r\n\r\nhello");
        let mut connection = h1::Connection::open(scene.address()).await?;
        assert_eq!(connection.exchange(request).await?.body, b"answers");
        let received = transcripts[index].all().concat();
        let (bytes, fields) = request_size(&received);
        if index == 0 {
            base = bytes as usize;
            continue;
        }
        assert_eq!(bytes as usize, wanted, "{received}");
        let name = &path[1..];
        scene
            .all_recorded(
                name,
                &[
                    ("upstream_rq_headers_size", &[bytes]),
                    ("upstream_rq_headers_count", &[fields]),
                    ("upstream_rq_body_size", &[5]),
                    ("upstream_rs_headers_size", &[if index == 1 { 200 } else { 209 }]),
                    ("upstream_rs_headers_count", &[4]),
                    ("upstream_rs_body_size", &[7]),
                ],
            )
            .await?;
    }
    Ok(())
}

async fn bodies_without_their_framing(plane: DataPlane) -> Result<()> {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nchunks\r\n2\r\n!!\r\n0\r\nx-late: 1\r\n\r\n";
    let script = Scripted::answering(ANSWER);
    let transcripts = script.transcripts();
    let upstream = Upstream::start(script)?;
    let scene = Scene::to(plane, upstream.address()).await?;
    let mut connection = h1::Connection::open(scene.address()).await?;
    let head = "POST / HTTP/1.1\r\nHost: svc\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = connection.exchange(format!("{head}3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n")).await?;
    assert_eq!(answer.body, b"chunks!!");
    let (bytes, fields) = request_size(&transcripts.all().concat());
    let coding = ":status200transfer-encodingchunked".len() as u64;
    scene
        .all_recorded(
            "a",
            &[
                ("upstream_rq_headers_size", &[bytes]),
                ("upstream_rq_headers_count", &[fields]),
                ("upstream_rq_body_size", &[13]),
                ("upstream_rs_headers_size", &[coding]),
                ("upstream_rs_headers_count", &[2]),
                ("upstream_rs_body_size", &[8]),
            ],
        )
        .await
}

/// The request that the echo describes in `body`, and its answer, are what was recorded.
async fn is_told(scene: &Scene, body: &[u8], authority: &str, sent: u64, answered: Size) -> Result<()> {
    let request: Value = serde_json::from_slice(body)?;
    let (bytes, fields) = described_size(&request, authority, "/p?q=1");
    scene
        .all_recorded(
            "a",
            &[
                ("upstream_rq_headers_size", &[bytes]),
                ("upstream_rq_headers_count", &[fields]),
                ("upstream_rq_body_size", &[sent]),
                ("upstream_rs_headers_size", &[answered.0]),
                ("upstream_rs_headers_count", &[answered.1]),
                ("upstream_rs_body_size", &[body.len() as u64]),
            ],
        )
        .await
}

async fn over_http2_to_http1(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let scene = Scene::to(plane, upstream.address()).await?;
    let mut connection = h2::Connection::open(scene.address()).await?;
    let request = Request::post("http://svc/p?q=1").header("x-some", "thing").header("content-length", "4");
    let response = connection.exchange(request.body(Bytes::from_static(b"four"))?).await?;
    is_told(&scene, &response.body, "svc", 4, of_h2(&response.headers)).await
}

async fn over_http1_to_http2(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let to = over_http2(tracked("a", &[upstream.address()]));
    let scene = Scene::start(plane, &[prefix_route("/", "a")], &[to]).await?;
    let mut connection = h1::Connection::open(scene.address()).await?;
    let request = "POST /p?q=1 HTTP/1.1\r\nHost: svc\r\nCookie: a=b\r\nContent-Length: 4\r\n\r\nfour";
    let response = connection.exchange(request).await?;
    is_told(&scene, &response.body, "svc", 4, of_h1(&response)).await
}

/// Messages have five bytes before them; trailers belong to neither heads nor bodies.
async fn grpc_calls(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let to = over_http2(tracked("a", &[upstream.address()]));
    let scene = Scene::start(plane, &[prefix_route("/", "a")], &[to]).await?;
    for _ in 0..2 {
        let reply = grpc::call(scene.address(), "a", "/p.S/Echo", &[b"one", b"three"]).await?;
        assert_eq!(reply.status, Some(0));
    }
    // `te` is a field of the request, and the answer has one beside its status.
    let answer = ":status200content-typeapplication/grpc".len() as u64;
    scene
        .all_recorded(
            "a",
            &[
                ("upstream_rq_headers_count", &[9, 9]),
                ("upstream_rq_body_size", &[18, 18]),
                ("upstream_rs_headers_size", &[answer, answer]),
                ("upstream_rs_headers_count", &[2, 2]),
                ("upstream_rs_body_size", &[18, 18]),
            ],
        )
        .await
}

async fn interim_responses_add_up(plane: DataPlane) -> Result<()> {
    let script = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let upstream = Upstream::start(Scripted::answering(script))?;
    let scene = Scene::to(plane, upstream.address()).await?;
    let mut connection = h1::Connection::open(scene.address()).await?;
    connection.send("GET / HTTP/1.1\r\nHost: svc\r\n\r\n").await?;
    while connection.response().await?.status != 200 {}
    let heads = ":status103link</a>:status200content-length0".len() as u64;
    scene
        .all_recorded(
            "a",
            &[
                ("upstream_rs_headers_size", &[heads]),
                ("upstream_rs_headers_count", &[4]),
                ("upstream_rs_body_size", &[0]),
            ],
        )
        .await
}

/// What passes through a tunnel is its body.
async fn a_tunnel(plane: DataPlane) -> Result<()> {
    let tunnel = Tunnel::accepting_upgrades();
    let heads = tunnel.heads();
    let upstream = Upstream::start(tunnel)?;
    let edit = |bootstrap: &mut Value| {
        let listener = &mut bootstrap["static_resources"]["listeners"][0];
        manager_of(listener)["upgrade_configs"] = json!([{"upgrade_type": "websocket"}]);
    };
    let to = [tracked("a", &[upstream.address()])];
    let scene = Scene::start_with(plane, &[prefix_route("/", "a")], &to, edit).await?;
    let mut client = h1::Connection::open(scene.address()).await?;
    let request = "GET /chat HTTP/1.1\r\nHost: svc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.exchange(request).await?.status, 101);
    client.send("twelve bytes").await?;
    assert_eq!(client.exact_bytes(12).await?, b"twelve bytes");
    drop(client);
    // Half-closes go through our tunnels, and so the host says `bye`.
    let received = if plane == DataPlane::Envoy { 12 } else { 15 };
    let (bytes, fields) = request_size(&heads.all().concat());
    scene
        .all_recorded(
            "a",
            &[
                ("upstream_rq_headers_size", &[bytes]),
                ("upstream_rq_headers_count", &[fields]),
                ("upstream_rq_body_size", &[12]),
                ("upstream_rs_body_size", &[received]),
            ],
        )
        .await
}

/// Copies are requests to their cluster like others.
async fn mirrored_copies(plane: DataPlane) -> Result<()> {
    let (original, copy) = (Scripted::answering(answer(100)), Scripted::answering(answer(200)));
    let transcripts = copy.transcripts();
    let (original, copy) = (Upstream::start(original)?, Upstream::start(copy)?);
    let mut route = prefix_route("/", "a");
    route["route"]["request_mirror_policies"] = json!([{"cluster": "b"}]);
    let clusters = [tracked("a", &[original.address()]), tracked("b", &[copy.address()])];
    let scene = Scene::start(plane, &[route], &clusters).await?;
    let mut connection = h1::Connection::open(scene.address()).await?;
    let request = "POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(connection.exchange(request).await?.body, b"answers");
    scene.recorded("b", "upstream_rq_body_size", &[5]).await?;
    let (bytes, fields) = request_size(&transcripts.all().concat());
    scene
        .all_recorded(
            "b",
            &[
                ("upstream_rq_headers_size", &[bytes]),
                ("upstream_rq_headers_count", &[fields]),
                ("upstream_rs_headers_size", &[200]),
                ("upstream_rs_body_size", &[7]),
            ],
        )
        .await
}
