//! How `envoy.filters.http.ext_authz` asks over gRPC: what of the connection is shown, what is asked again, and what is left
//! of a question whose request is gone.

use std::time::Duration;

use http::Request;
use outrigger_tests::bootstrap::terminate_tls;
use outrigger_tests::client::{h1, h2};
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{self, Authority};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

use crate::authz::{Court, grpc};
use crate::scene::request;

const LIMIT: Duration = Duration::from_secs(15);

on_both_data_planes!(
    certificates_and_names_are_shown_where_wanted,
    a_question_is_asked_again_as_its_policy_says,
    a_reset_stream_frees_its_question,
);

async fn certificates_and_names_are_shown_where_wanted(plane: DataPlane) -> Result<()> {
    let authority = Authority::new()?;
    let mut socket = terminate_tls(&authority.issue(&["svc.example"])?, &[]);
    socket["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.certificate()}});
    let caller = authority.issue(&["spiffe://mesh/a"])?;
    for wanted in [true, false] {
        let court = Court::open()?;
        let mut config = grpc();
        config["include_peer_certificate"] = json!(wanted);
        config["include_tls_session"] = json!(wanted);
        let scene = court.chain(config).transport(socket.clone()).start(plane).await?;
        for shown in [Some(&caller), None] {
            let client = authority.client(&[], shown)?;
            let stream = tls::connect(&Place::Host, scene.port.address(), "svc.example", client).await?;
            let answer = h1::Connection::over(stream).exchange(request("GET", "/", &[], "")).await?;
            assert_eq!(answer.status, 200, "{wanted} {}", answer.text());
        }
        let asked = court.seen.all();
        let certificate = |at: usize| asked[at]["source"]["certificate"].as_u64();
        assert_eq!(certificate(0).map(|length| length > 500), Some(wanted), "{asked:?}");
        assert_eq!(certificate(1), Some(0), "{asked:?}");
        assert_eq!(asked[0]["source"]["principal"], "spiffe://mesh/a");
        assert_eq!(asked[1]["source"]["principal"], "");
        let sni = if wanted { json!("svc.example") } else { Value::Null };
        assert!(asked.iter().all(|one| one["sni"] == sni), "{asked:?}");
        assert!(asked.iter().all(|one| one["destination"]["principal"] == "svc.example"), "{asked:?}");
    }
    Ok(())
}

async fn a_question_is_asked_again_as_its_policy_says(plane: DataPlane) -> Result<()> {
    for (policy, place, questions, status) in [
        (Value::Null, "", 1, 403),
        (json!({"num_retries": 1, "retry_on": "5xx"}), "", 2, 403),
        (json!({"num_retries": 2, "retry_on": "5xx"}), "", 3, 200),
        (json!({"num_retries": 2, "retry_on": "reset"}), "", 1, 403),
        // This one is for streams of discovery.
        (json!({"num_retries": 2, "retry_on": "5xx"}), "envoy_grpc", 1, 403),
    ] {
        let court = Court::open()?;
        let mut config = grpc();
        let service = &mut config["grpc_service"];
        if !policy.is_null() {
            let at = if place.is_empty() { service } else { &mut service[place] };
            at["retry_policy"] = policy.clone();
        }
        let scene = court.chain(config).start(plane).await?;
        let answer = scene.get("/", &[("x-judge", "{\"busy\": 2}")]).await?;
        let asked = court.seen.all().len();
        assert_eq!((answer.status, asked), (status, questions), "{policy} {place}");
        let repeated = scene.sidecar.stat("cluster.judge-grpc.upstream_rq_retry").await?;
        assert_eq!(repeated, questions as u64 - 1, "{policy} {place}");
    }
    Ok(())
}

async fn a_reset_stream_frees_its_question(plane: DataPlane) -> Result<()> {
    const GAUGES: [&str; 5] = [
        "http.ingress.downstream_rq_active",
        "cluster.judge-grpc.upstream_rq_active",
        "cluster.judge-grpc.upstream_rq_pending_active",
        "cluster.a.upstream_rq_active",
        "cluster.a.upstream_rq_pending_active",
    ];
    let court = Court::open()?;
    let mut config = grpc();
    config["grpc_service"]["timeout"] = json!("300s");
    let scene = court.chain(config).start(plane).await?;
    let mut connection = h2::Connection::open(scene.port.address()).await?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let request = Request::get("http://svc/").header("x-judge", "{\"hang\":true}").body(())?;
        streams.push(connection.start(request, true).await?);
    }
    scene.sidecar.until_stat("cluster.judge-grpc.upstream_rq_active", |now| now == 3).await?;
    for (_, stream) in &mut streams {
        stream.send_reset(::h2::Reason::CANCEL);
    }
    drop(streams);
    let freed = async || {
        for gauge in GAUGES {
            if scene.sidecar.stat(gauge).await.ok()? != 0 {
                return None;
            }
        }
        Some(())
    };
    wait::until("everything to be free", LIMIT, freed).await?;
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_rq_rx_reset").await?, 3);
    assert_eq!(scene.sidecar.stat("http.ingress.downstream_cx_active").await?, 1);
    assert_eq!(scene.upstream.counts().requests(), 0);
    // The connection is of use still.
    assert_eq!(connection.exchange(h2::get("svc", "/")?).await?.status, 200);
    Ok(())
}
