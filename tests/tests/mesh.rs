//! App Mesh definitions, our control plane, and both data planes as sidecars and gateways: the same requests have the
//! same outcomes.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::mesh::{EDGE, FRONT, Shop, request, upstream_of};
use outrigger_tests::requirement::met;
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::Value;

on_both_data_planes!(
    routes_match_as_the_definitions_say,
    weights_divide_the_requests,
    retry_policies_are_carried_out,
    timeouts_end_requests,
    http2_and_grpc_services_are_called,
    tcp_services_are_reached_by_port,
    a_gateway_rewrites_and_routes,
);

async fn routes_match_as_the_definitions_say(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let cases: [(&str, &[&str], &str); 8] = [
        ("/", &[], "price-1"),
        ("/", &["x-preview: yes"], "price-2"),
        ("/", &["x-preview: yes!"], "price-1"),
        ("/items/42?full=1", &["x-rank: 10"], "price-2"),
        ("/items/42?full=1", &["x-rank: 20"], "price-1"),
        ("/items/42?full=2", &["x-rank: 10"], "price-1"),
        ("/items/42", &["x-rank: 10"], "price-1"),
        ("/items/42/x?full=1", &["x-rank: 10"], "price-1"),
    ];
    for (path, fields, wanted) in cases {
        let found = upstream_of(&shop.price(path, fields).await?)?;
        assert_eq!(found, wanted, "{path} {fields:?}");
    }
    let mut connection = h1::Connection::open(shop.egress()).await?;
    let posted = connection.exchange(
        "POST /items/42?full=1 HTTP/1.1\r\nHost: price.shop.local\r\nx-rank: 10\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(upstream_of(&posted.await?)?, "price-1", "the method is part of the match");
    assert_eq!(request(shop.egress(), "nobody.shop.local", "/", &[]).await?.status, 404);
    assert_eq!(upstream_of(&request(shop.ingress(), "anything", "/", &[]).await?)?, "front");
    Ok(())
}

async fn weights_divide_the_requests(plane: DataPlane) -> Result<()> {
    const REQUESTS: u64 = 600;
    let shop = Shop::open().await?;
    let _sidecar = shop.proxy(plane, FRONT, 2).await?;
    let mut connection = h1::Connection::open(shop.egress()).await?;
    for _ in 0..REQUESTS {
        let response = connection.exchange("GET / HTTP/1.1\r\nHost: price.shop.local\r\n\r\n").await?;
        upstream_of(&response)?;
    }
    let (one, two) = (shop.price_one.counts().requests(), shop.price_two.counts().requests());
    assert_eq!(one + two, REQUESTS);
    // Three of four; eight standard deviations of a fair choice either way.
    assert!((365..=535).contains(&one), "{one} to price-1, {two} to price-2");
    Ok(())
}

async fn retry_policies_are_carried_out(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    // Server errors and 409 are retried twice, 404 is not; the hidden default retries 503 only, twice.
    for (path, status, attempts) in [
        ("/flaky", 500, 3),
        ("/flaky", 409, 3),
        ("/flaky", 404, 1),
        ("/slow", 503, 1),
        ("/", 503, 3),
        ("/", 500, 1),
    ] {
        let before = shop.price_one.counts().requests();
        let response = shop.price(path, &[&format!("x-echo-status: {status}")]).await?;
        assert_eq!(response.status, status, "{path}");
        assert_eq!(shop.price_one.counts().requests() - before, attempts, "{path} with {status}");
    }
    Ok(())
}

async fn timeouts_end_requests(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let late: &[&str] = &["x-echo-delay-ms: 8000"];
    let response = shop.price("/slow", late).await?;
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    let response = request(shop.ingress(), "front", "/", late).await?;
    assert_eq!((response.status, response.text().as_str()), (504, "upstream request timeout"));
    assert_eq!(upstream_of(&shop.price("/slow", &["x-echo-delay-ms: 1"]).await?)?, "price-1");
    Ok(())
}

async fn http2_and_grpc_services_are_called(plane: DataPlane) -> Result<()> {
    let shop = Shop::open().await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let from_one = request(shop.egress(), "stock.shop.local", "/7", &[]).await?.json()?;
    assert_eq!((&from_one["upstream"], &from_one["version"]), (&"stock".into(), &"HTTP/2".into()));
    let mut connection = h2::Connection::open(shop.egress()).await?;
    let from_two = connection.exchange(h2::get("stock.shop.local", "/7")?).await?.json()?;
    assert_eq!((&from_two["upstream"], &from_two["version"]), (&"stock".into(), &"HTTP/2".into()));

    let reply = grpc::call(shop.egress(), "quote.shop.local", "/shop.Quotes/Get", &[b"one", b"two"]).await?;
    assert_eq!((reply.http_status, reply.status), (200, Some(0)));
    assert_eq!(reply.messages, [&b"one"[..], b"two"]);
    let before = shop.quote.counts().requests();
    let failing = grpc::call(shop.egress(), "quote.shop.local", "/other.Service/Get", &[b"one"]).await?;
    assert_eq!(failing.status, Some(12), "no route: unimplemented");
    assert_eq!(shop.quote.counts().requests(), before);
    let head = http::Request::post("http://quote.shop.local/shop.Quotes/Fail")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-echo-grpc-status", "14");
    let unavailable = grpc::call_with(&mut connection, head, &[b"one"]).await?;
    assert_eq!(unavailable.status, Some(14));
    assert_eq!(shop.quote.counts().requests() - before, 3, "unavailable is retried twice");
    Ok(())
}

async fn tcp_services_are_reached_by_port(plane: DataPlane) -> Result<()> {
    let shop = Shop::open().await?;
    let _sidecar = shop.proxy(plane, FRONT, 1).await?;
    let mut connection = h1::Connection::open(shop.ledger_service()).await?;
    connection.send("any bytes\0").await?;
    assert_eq!(connection.exact_bytes(10).await?, b"any bytes\0");
    connection.shut_down().await?;
    assert_eq!(connection.rest().await?, b"bye");
    Ok(())
}

async fn a_gateway_rewrites_and_routes(plane: DataPlane) -> Result<()> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let _gateway = shop.proxy(plane, EDGE, 1).await?;
    let seen = |response: h1::Response| -> Result<[String; 3]> {
        let body = response.json()?;
        let host = pairs(&body["headers"]).remove("host");
        let authority = body["target"].as_str().unwrap_or_default().to_owned();
        let upstream = body["upstream"].as_str().unwrap_or_default().to_owned();
        Ok([upstream, authority, host.unwrap_or_default()])
    };
    let prices = request(shop.edge(), "shop.example.com", "/prices/list?all=1", &[]).await?;
    assert_eq!(seen(prices)?, ["price-1", "/list?all=1", "price.shop.local"]);
    let preview = request(shop.edge(), "shop.example.com", "/prices/list", &["x-preview: yes"]).await?;
    assert_eq!(upstream_of(&preview)?, "price-2", "the routes of the service apply behind the gateway's");
    let stock = request(shop.edge(), "shop.example.com", "/stock/7", &[]).await?;
    assert_eq!(
        seen(stock)?[..2],
        ["stock", "http://shop.example.com/v1/7"],
        "Host is kept where it is to be"
    );
    assert_eq!(request(shop.edge(), "shop.example.org", "/stock/7", &[]).await?.status, 404);
    assert_eq!(request(shop.edge(), "shop.example.com", "/else", &[]).await?.status, 404);
    Ok(())
}

/// What one request comes to: everything that a client or an upstream can see, by what it is.
type Outcome = BTreeMap<String, String>;

/// Said to upstreams by Envoy alone: `te` where the upstream may not send trailers.
const ENVOY_ALONE: [&str; 1] = ["upstream saw te"];

/// Differ from request to request or from process to process.
const VARYING: [&str; 5] =
    ["date", "x-request-id", "x-envoy-upstream-service-time", "content-length", "x-forwarded-for"];

/// Requests with a single possible outcome.
const REQUESTS: [(&str, &str, &[&str]); 12] = [
    ("price.shop.local", "/", &[]),
    ("price.shop.local:80", "/a//b/./c/../d?q=%20x", &[]),
    ("PRICE.shop.local", "/", &["x-preview: yes", "X-Custom: One", "x-custom: two"]),
    ("price.shop.local", "/items/42?full=1", &["x-rank: 15"]),
    ("price.shop.local", "/flaky", &["x-echo-status: 503"]),
    ("price.shop.local", "/flaky", &["x-echo-status: 404", "x-echo-header: x-own=answer"]),
    ("price.shop.local", "/slow", &["x-echo-delay-ms: 8000"]),
    (
        "price.shop.local",
        "/",
        &["x-forwarded-for: 10.0.0.1", "x-forwarded-proto: https", "x-request-id: mine"],
    ),
    ("price.shop.local", "/", &["te: trailers", "keep-alive: timeout=5", "proxy-connection: close"]),
    ("price.shop.local", "/", &["x-envoy-max-retries: 9", "x-envoy-internal: true", "user-agent: test"]),
    ("stock.shop.local", "/", &[]),
    ("nobody.shop.local", "/", &[]),
];

#[tokio::test]
async fn both_data_planes_do_the_same_with_the_same_requests() -> Result<()> {
    let mut outcomes = Vec::new();
    for plane in [DataPlane::Outrigger, DataPlane::Envoy] {
        if met(plane.launch()).is_none() {
            return Ok(());
        }
        outcomes.push(all_outcomes(plane).await?);
    }
    let envoy = outcomes.pop().unwrap_or_default();
    let pairs = outcomes.into_iter().flatten().zip(envoy);
    let different: Vec<String> = pairs.flat_map(|(ours, envoy)| differences(&ours, &envoy)).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    Ok(())
}

fn differences(ours: &Outcome, envoy: &Outcome) -> Vec<String> {
    let keys: BTreeSet<&String> = ours.keys().chain(envoy.keys()).collect();
    let compared = keys.into_iter().filter(|key| !ENVOY_ALONE.contains(&key.as_str()));
    let different = compared.filter(|key| ours.get(*key) != envoy.get(*key));
    let request = &ours["request"];
    different
        .map(|key| format!("{request}: {key}: ours {:?}, Envoy {:?}", ours.get(key), envoy.get(key)))
        .collect()
}

async fn all_outcomes(plane: DataPlane) -> Result<Vec<Outcome>> {
    let shop = Shop::open_with_weights(1, 0).await?;
    let sidecar = shop.proxy(plane, FRONT, 1).await?;
    let mut outcomes = Vec::new();
    for (host, path, fields) in REQUESTS {
        let response = request(shop.egress(), host, path, fields).await?;
        outcomes.push(outcome(format!("egress {host}{path} {fields:?}"), &response));
        let response = request(shop.ingress(), host, path, fields).await?;
        outcomes.push(outcome(format!("ingress {host}{path} {fields:?}"), &response));
    }
    drop(sidecar);
    let _gateway = shop.proxy(plane, EDGE, 1).await?;
    for path in ["/prices/list?all=1", "/prices/", "/stock/7", "/else"] {
        let response = request(shop.edge(), "shop.example.com", path, &["x-own: 1"]).await?;
        outcomes.push(outcome(format!("gateway {path}"), &response));
    }
    Ok(outcomes)
}

fn outcome(request: String, response: &h1::Response) -> Outcome {
    let mut all =
        BTreeMap::from([("request".to_owned(), request), ("status".to_owned(), response.status.to_string())]);
    all.extend(
        response
            .headers
            .iter()
            .map(|(name, value)| told(&format!("response {}", name.to_lowercase()), value)),
    );
    match response.json().ok().filter(|body| body["upstream"].is_string()) {
        Some(body) => {
            let seen = pairs(&body["headers"]);
            all.extend(seen.iter().map(|(name, value)| told(&format!("upstream saw {name}"), value)));
            for key in ["upstream", "method", "target", "version"] {
                all.insert(key.to_owned(), body[key].as_str().unwrap_or_default().to_owned());
            }
        }
        None => all.extend([("body".to_owned(), response.text())]),
    }
    all
}

/// Of what varies it counts that it is there, not what it says.
fn told(what: &str, value: &str) -> (String, String) {
    let varies = VARYING.iter().any(|name| what.ends_with(&format!(" {name}")));
    (what.to_owned(), if varies { "(some)".to_owned() } else { value.to_owned() })
}

fn pairs(headers: &Value) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for pair in headers.as_array().into_iter().flatten() {
        let text = |index: usize| pair[index].as_str().unwrap_or_default();
        let value = fields.entry(text(0).to_owned()).or_default();
        *value = if value.is_empty() { text(1).to_owned() } else { format!("{value}, {}", text(1)) };
    }
    fields
}
