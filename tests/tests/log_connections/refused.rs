//! Connections that came to no filter, or that one refused.

use outrigger_tests::client::h1::Connection;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::tls::{Authority, connect};
use outrigger_tests::{Result, on_both_data_planes};
use serde_json::{Value, json};

use crate::scene::{GET, Kind, secured};

on_both_data_planes!(connections_that_no_chain_serves, handshakes_that_fail, connections_that_filters_refuse,);

/// No filter sees these, and no filter logs them.
async fn connections_that_no_chain_serves(plane: DataPlane) -> Result<()> {
    for kind in [Kind::Http, Kind::Tcp] {
        let unmatched = |listener: &mut Value| {
            listener["filter_chains"][0]["filter_chain_match"] = json!({"destination_port": 1});
        };
        let (scene, _upstream) = kind.scene(plane, unmatched).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, "NR|0|filter_chain_not_found|-|0|0|-|NotSet|in|127.0.0.1|-|-");

        let inspector = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        let inspected = |listener: &mut Value| {
            listener["listener_filters_timeout"] = json!("0.2s");
            listener["listener_filters"] = json!([{"name": "i", "typed_config": {"@type": inspector}}]);
        };
        let (scene, _upstream) = kind.scene(plane, inspected).await?;
        scene.wait_for_end().await?;
        assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|-");
        assert!(scene.filter.lines_now().is_empty());
    }
    Ok(())
}

/// Under a TCP proxy its own log tells of them too.
async fn handshakes_that_fail(plane: DataPlane) -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (identity, foreign) = (authority.issue(&["localhost"])?, stranger.issue(&["x"])?);
    let failed = "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|TLS_error";
    for kind in [Kind::Http, Kind::Tcp] {
        let (scene, _upstream) = kind.scene(plane, |listener| secured(listener, &identity, None)).await?;
        let mut connection = scene.connect().await?;
        connection.send(GET).await?;
        let _ = connection.rest().await;
        assert_eq!(scene.line().await?, failed, "plaintext");
        let logs_itself = matches!(kind, Kind::Tcp);
        if logs_itself {
            let lines = scene.filter.lines(1).await?;
            assert!(lines[0].contains("|TcpConnectionEnd|in|127.0.0.1|-|TLS_error:"), "{lines:?}");
        }

        for identity_shown in [None, Some(&foreign)] {
            let mutual = |listener: &mut Value| secured(listener, &identity, Some(&authority));
            let (scene, _upstream) = kind.scene(plane, mutual).await?;
            let client = authority.client(&["http/1.1"], identity_shown)?;
            if let Ok(stream) = connect(&Place::Host, scene.at, "localhost", client).await {
                let _ = Connection::over(stream).rest().await;
            }
            assert_eq!(scene.line().await?, failed, "{}", identity_shown.is_some());
        }

        // The client says nothing of why it goes.
        let (scene, _upstream) = kind.scene(plane, |listener| secured(listener, &identity, None)).await?;
        drop(scene.connect().await?);
        assert_eq!(scene.line().await?, "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|-|-");

        let slow = |listener: &mut Value| {
            secured(listener, &identity, None);
            listener["filter_chains"][0]["transport_socket_connect_timeout"] = json!("0.3s");
        };
        let (scene, _upstream) = kind.scene(plane, slow).await?;
        scene.wait_for_end().await?;
        let late =
            "-|0|-|transport socket timeout was reached|0|0|-|NotSet|in|127.0.0.1|transport_socket_timeout|-";
        assert_eq!(scene.line().await?, late);
        assert!(
            (200..5_000).contains(&scene.duration()?),
            "from when it was accepted: {}",
            scene.duration()?
        );
    }
    Ok(())
}

/// Puts a filter before the terminal one.
fn guard(listener: &mut Value, kind: &str, mut config: Value) {
    config["@type"] = json!(format!("type.googleapis.com/envoy.extensions.filters.network.{kind}"));
    let filters = &mut listener["filter_chains"][0]["filters"];
    let terminal = filters[0].take();
    *filters = json!([{"name": "guard", "typed_config": config}, terminal]);
}

async fn connections_that_filters_refuse(plane: DataPlane) -> Result<()> {
    let anyone = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    let rules = json!({"stat_prefix": "x", "rules": {"action": "DENY", "policies": {"p": anyone}}});
    let bucket = json!({"stat_prefix": "x", "token_bucket": {"max_tokens": 1, "fill_interval": "3600s"}});
    let limit = json!({"stat_prefix": "x", "max_connections": 1});
    for kind in [Kind::Http, Kind::Tcp] {
        let (scene, _upstream) =
            kind.scene(plane, |listener| guard(listener, "rbac.v3.RBAC", rules.clone())).await?;
        let mut connection = scene.connect().await?;
        // Envoy decides when the first bytes have come, and has read them.
        let _ = connection.send("x").await;
        let _ = connection.rest().await;
        let line = scene.line().await?;
        assert!(line.starts_with("-|0|-|rbac_access_denied_matched_policy[p]|"), "{line}");
        assert!(line.ends_with("|0|-|NotSet|in|127.0.0.1|rbac_deny_close|-"), "{line}");

        for (name, config, told) in [
            (
                "local_ratelimit.v3.LocalRateLimit",
                &bucket,
                "URX|0|-|-|0|0|-|NotSet|in|127.0.0.1|local_ratelimit_close_over_limit|-",
            ),
            (
                "connection_limit.v3.ConnectionLimit",
                &limit,
                "-|0|-|-|0|0|-|NotSet|in|127.0.0.1|over_connection_limit|-",
            ),
        ] {
            let (scene, _upstream) =
                kind.scene(plane, |listener| guard(listener, name, config.clone())).await?;
            let mut first = scene.connect().await?;
            // It is there once it has been answered.
            first.send(GET).await?;
            first.some_bytes().await?;
            scene.wait_for_end().await?;
            assert_eq!(scene.line().await?, told);
            if matches!(kind, Kind::Tcp) {
                assert_eq!(scene.filter.lines(1).await?[0], told.replace("NotSet", "TcpConnectionEnd"));
            }
        }
    }
    Ok(())
}
