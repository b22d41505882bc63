//! Every sink has them, in its own form.

use std::net::UdpSocket;

use outrigger_tests::bootstrap::{cluster, prefix_route};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::{DataPlane, Launch};
use outrigger_tests::upstream::{Scripted, Upstream};
use outrigger_tests::{Result, emf, on_both_data_planes, on_data_plane, wait};
use serde_json::{Value, json};

use super::{LIMIT, NAMES, Scene, tracked};

on_both_data_planes!(only_clusters_that_ask_have_them, buckets_are_those_configured, statsd_is_told_each);
on_data_plane!(outrigger_only, Outrigger, cloudwatch_is_told_values_and_units);

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanswers";
const REQUEST: &str = "POST / HTTP/1.1\r\nHost: svc\r\nContent-Length: 3\r\n\r\nabc";

async fn post(scene: &Scene) -> Result<()> {
    let mut connection = h1::Connection::open(scene.address()).await?;
    assert_eq!(connection.exchange(REQUEST).await?.status, 200);
    Ok(())
}

async fn only_clusters_that_ask_have_them(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Scripted::answering(ANSWER))?;
    let routes = [prefix_route("/", "a"), prefix_route("/b", "b")];
    let mut named = tracked("a", &[upstream.address()]);
    named["alt_stat_name"] = json!("other");
    let scene = Scene::start(plane, &routes, &[named, cluster("b", &[upstream.address()])]).await?;
    post(&scene).await?;
    scene.recorded("other", "upstream_rq_body_size", &[3]).await?;
    let page = scene.sidecar.get("/stats").await?.text();
    for name in NAMES {
        assert!(page.contains(&format!("cluster.other.{name}: ")), "{name} is missing");
        assert!(!page.contains(&format!("cluster.b.{name}")), "{name}");
    }
    Ok(())
}

async fn buckets_are_those_configured(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Scripted::answering(ANSWER))?;
    let settings = |bootstrap: &mut Value| {
        bootstrap["stats_config"] = json!({"histogram_bucket_settings":
            [{"match": {"suffix": "_body_size"}, "buckets": [1, 5, 1000]}]});
    };
    let to = [tracked("a", &[upstream.address()])];
    let scene = Scene::start_with(plane, &[prefix_route("/", "a")], &to, settings).await?;
    post(&scene).await?;
    post(&scene).await?;
    scene.until("a", "upstream_rs_body_size", 2).await?;
    let page = scene.sidecar.get("/stats/prometheus?filter=_body_size").await?.text();
    for (way, counts) in [("rq", [0, 2, 2, 2]), ("rs", [0, 0, 2, 2])] {
        for (bound, count) in ["1", "5", "1000", "+Inf"].iter().zip(counts) {
            let line = format!(
                "envoy_cluster_upstream_{way}_body_size_bucket{{envoy_cluster_name=\"a\",le=\"{bound}\"}} {count}"
            );
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
    }
    Ok(())
}

/// As timings, like every histogram of Envoy's.
async fn statsd_is_told_each(plane: DataPlane) -> Result<()> {
    let agent = UdpSocket::bind("127.0.0.1:0")?;
    agent.set_nonblocking(true)?;
    let upstream = Upstream::start(Scripted::answering(ANSWER))?;
    let port = agent.local_addr()?.port();
    let sink = |bootstrap: &mut Value| {
        bootstrap["stats_sinks"] = json!([{"name": "s", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.metrics.v3.StatsdSink",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]);
    };
    let to = [tracked("a", &[upstream.address()])];
    let scene = Scene::start_with(plane, &[prefix_route("/", "a")], &to, sink).await?;
    post(&scene).await?;
    let mut said = String::new();
    for line in ["upstream_rq_body_size:3|ms", "upstream_rs_body_size:7|ms", "upstream_rs_headers_count:2|ms"]
    {
        let line = format!("envoy.cluster.a.{line}");
        wait::until(&line, LIMIT, || {
            let mut datagram = [0; 65536];
            while let Ok(length) = agent.recv(&mut datagram) {
                said.push_str(&String::from_utf8_lossy(&datagram[..length]));
                said.push('\n');
            }
            std::future::ready(said.lines().any(|found| found == line).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Percentiles need values and how often each occurred.
async fn cloudwatch_is_told_values_and_units(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Scripted::answering(ANSWER))?;
    let to = [tracked("a", &[upstream.address()])];
    let prepare = |launch: Launch| {
        launch
            .env("OUTRIGGER_EMF", "stdout")
            .env("OUTRIGGER_EMF_INTERVAL_S", "1")
            .env("OUTRIGGER_EMF_METRICS", "envoy_cluster_upstream_r*_size,envoy_cluster_*_percent_used")
    };
    let mut scene = Scene::launch(plane, &[prefix_route("/", "a")], &to, |_| {}, prepare).await?;
    for _ in 0..3 {
        post(&scene).await?;
    }
    scene.sidecar.terminate(LIMIT).await?;
    let documents = emf::documents(&scene.sidecar.process().stdout())?;
    emf::hold_against_schema(&documents)?;
    let own = [("envoy_cluster_name", "a")];
    for (metric, unit, value) in [
        ("envoy_cluster_upstream_rq_body_size", "Bytes", Some(3)),
        ("envoy_cluster_upstream_rs_body_size", "Bytes", Some(7)),
        ("envoy_cluster_upstream_rs_headers_size", "Bytes", Some(":status200content-length7".len())),
        ("envoy_cluster_upstream_rq_headers_size", "Bytes", None),
        ("envoy_cluster_upstream_rq_timeout_budget_percent_used", "Percent", None),
        ("envoy_cluster_upstream_rq_timeout_budget_per_try_percent_used", "Percent", Some(0)),
    ] {
        assert_eq!(emf::sum(&documents, metric, &own), 3, "{metric}");
        for document in documents.iter().filter(|document| document.get(metric).is_some()) {
            let definitions = document["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
            let definition = definitions.into_iter().flatten().find(|one| one["Name"] == metric);
            assert_eq!(definition.map(|one| &one["Unit"]), Some(&json!(unit)), "{metric}");
            if let Some(value) = value {
                let near = document[metric]["Values"][0].as_f64().map(|found| (found - value as f64).abs());
                assert!(near.is_some_and(|off| off <= 0.06 * value as f64), "{metric}: {document}");
            }
        }
    }
    Ok(())
}
