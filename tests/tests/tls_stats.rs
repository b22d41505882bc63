//! What TLS handshakes count in, on listeners and clusters; and our own address in the access log.

use std::time::{Duration, SystemTime};

use outrigger_tests::access_log::AccessLog;
use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, manager_of, prefix_route, route_config, terminate_tls, virtual_host,
    with_static,
};
use outrigger_tests::client::h1::{self, Connection};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::netns::Place;
use outrigger_tests::ports::Port;
use outrigger_tests::tls::{self, Authority, Identity};
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, wait};
use serde_json::{Value, json};

on_both_data_planes!(
    listeners_count_handshakes,
    clusters_count_handshakes,
    our_address_is_logged,
    certificates_are_shown,
    what_ends_soon_is_told,
    what_ends_behind_the_first_is_told_too,
);

const GET: &str = "GET / HTTP/1.1\r\nHost: svc\r\n\r\n";

fn routed_to_a(port: &Port) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    http_listener("ingress", port.address(), inline(routes))
}

/// Who is trusted, and under which name.
fn trust(authority: &Authority, name: &str) -> Value {
    json!({
        "trusted_ca": {"inline_string": authority.certificate()},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": name}}],
    })
}

async fn listeners_count_handshakes(plane: DataPlane) -> Result<()> {
    let (port, unnamed, upstream) = (Port::lease()?, Port::lease()?, Upstream::start(Echo::new("a"))?);
    let (ours, foreign) = (Authority::new()?, Authority::new()?);
    let mut listener = routed_to_a(&port);
    let mut socket = terminate_tls(&ours.issue(&["svc"])?, &["http/1.1"]);
    let mut open = routed_to_a(&unnamed);
    open["name"] = json!("open");
    let mut any = socket.clone();
    any["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": ours.certificate()}});
    open["filter_chains"][0]["transport_socket"] = any;
    socket["typed_config"]["common_tls_context"]["validation_context"] = trust(&ours, "friend");
    listener["filter_chains"][0]["transport_socket"] = socket;
    let bootstrap = with_static(&[listener, open], &[cluster("a", &[upstream.address()])]);
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    let stat = |name: &str| format!("listener.127.0.0.1_{}.ssl.{name}", port.number());
    let dial = async |port: &Port, identity: Option<&Identity>| -> Result<Connection> {
        let config = ours.client(&["http/1.1"], identity)?;
        Ok(Connection::over(tls::connect(&Place::Host, port.address(), "svc", config).await?))
    };

    // Nobody insists on a certificate: who shows none is let in.
    let mut nameless = dial(&unnamed, None).await?;
    assert_eq!(nameless.exchange(GET).await?.status, 200);
    let of_open = |name: &str| format!("listener.127.0.0.1_{}.ssl.{name}", unnamed.number());
    sidecar.until_stat(&of_open("handshake"), |count| count == 1).await?;
    assert_eq!(sidecar.stat(&of_open("no_certificate")).await?, 1);
    assert_eq!(sidecar.stat("http.ingress.downstream_cx_ssl_total").await?, 1);
    assert_eq!(sidecar.stat("http.ingress.downstream_cx_ssl_active").await?, 1);
    drop(nameless);
    sidecar.until_stat("http.ingress.downstream_cx_ssl_active", |count| count == 0).await?;

    let mut friend = dial(&port, Some(&ours.issue(&["friend"])?)).await?;
    assert_eq!(friend.exchange(GET).await?.status, 200);
    sidecar.until_stat(&stat("handshake"), |count| count == 1).await?;
    assert_eq!(sidecar.stat(&stat("no_certificate")).await?, 0);

    // The client of TLS 1.3 has done its part of the handshake before it is refused.
    let refused = [
        (Some(ours.issue(&["other"])?), "fail_verify_san"),
        (Some(foreign.issue(&["friend"])?), "fail_verify_error"),
        (None, "fail_verify_no_cert"),
    ];
    for (identity, counter) in refused {
        let refused = match dial(&port, identity.as_ref()).await {
            Ok(mut client) => client.exchange(GET).await.map(drop),
            Err(error) => Err(error),
        };
        assert!(refused.is_err());
        sidecar.until_stat(&stat(counter), |count| count == 1).await?;
    }
    let mut plain = Connection::open(port.address()).await?;
    plain.send(GET).await?;
    sidecar.until_stat(&stat("connection_error"), |count| count == 1).await?;
    assert_eq!(sidecar.stat(&stat("handshake")).await?, 1);
    Ok(())
}

/// A sidecar in front of a sidecar that terminates TLS as `identity`; the first trusts `authority` and expects `svc`.
async fn originating(
    plane: DataPlane,
    upstream: &Upstream,
    identity: &Identity,
    authority: &Authority,
) -> Result<(Sidecar, Port, Sidecar)> {
    let (inner, outer) = (Port::lease()?, Port::lease()?);
    let mut listener = routed_to_a(&inner);
    listener["filter_chains"][0]["transport_socket"] = terminate_tls(identity, &["http/1.1"]);
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let server = plane.launch()?.start(&bootstrap).await?;

    let mut secured = cluster("a", &[inner.address()]);
    secured["transport_socket"] = json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"validation_context": trust(authority, "svc")},
        },
    });
    let client = plane.launch()?.start(&with_static(&[routed_to_a(&outer)], &[secured])).await?;
    Ok((server, outer, client))
}

async fn clusters_count_handshakes(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let (ours, foreign) = (Authority::new()?, Authority::new()?);
    let cases = [
        (ours.issue(&["svc"])?, 200, "handshake"),
        (ours.issue(&["other"])?, 503, "fail_verify_san"),
        (foreign.issue(&["svc"])?, 503, "fail_verify_error"),
    ];
    for (identity, status, counter) in cases {
        let (_server, port, client) = originating(plane, &upstream, &identity, &ours).await?;
        let response = h1::get(port.address(), "svc", "/").await?;
        assert_eq!(response.status, status, "{counter} {}", response.text());
        client.until_stat(&format!("cluster.a.ssl.{counter}"), |count| count == 1).await?;
        assert_eq!(client.stat("cluster.a.ssl.handshake").await?, u64::from(status == 200));
        assert_eq!(client.stat("cluster.a.ssl.connection_error").await?, 0);
    }
    Ok(())
}

async fn our_address_is_logged(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let log = AccessLog::of(&["UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_HOST"])?;
    let mut listener = routed_to_a(&port);
    manager_of(&mut listener)["access_log"] = log.config();
    let bootstrap = with_static(&[listener], &[cluster("a", &[upstream.address()])]);
    let _sidecar = plane.launch()?.start(&bootstrap).await?;
    assert_eq!(h1::get(port.address(), "svc", "/").await?.status, 200);
    let line = log.lines(1).await?.swap_remove(0);
    let (local, host) = line.split_once('|').ok_or("no separator")?;
    assert_eq!(host, upstream.address().to_string());
    let local: std::net::SocketAddr = local.parse().map_err(|e| format!("{line}: {e}"))?;
    assert!(local.ip().is_loopback() && local.port() != 0, "{line}");
    Ok(())
}

async fn certificates_are_shown(plane: DataPlane) -> Result<()> {
    let (port, authority, directory) = (Port::lease()?, Authority::new()?, tempfile::tempdir()?);
    let identity = authority.issue(&["svc.mesh", "10.1.2.3", "spiffe://mesh/svc"])?;
    identity.write(directory.path(), "svc")?;
    let file = |name: &str| directory.path().join(name).display().to_string();
    let mut listener = routed_to_a(&port);
    let mut socket = terminate_tls(&identity, &["http/1.1"]);
    let common = &mut socket["typed_config"]["common_tls_context"];
    common["tls_certificates"] = json!([{
        "certificate_chain": {"filename": file("svc.pem")},
        "private_key": {"filename": file("svc.key")},
    }]);
    common["validation_context"] = json!({"trusted_ca": {"inline_string": authority.certificate()}});
    listener["filter_chains"][0]["transport_socket"] = socket;
    let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[])])).await?;

    let shown = sidecar.get("/certs").await?.json()?;
    let pair = &shown["certificates"][0];
    assert_eq!(shown["certificates"].as_array().map(Vec::len), Some(1), "{shown}");
    let (own, trusted) = (&pair["cert_chain"][0], &pair["ca_cert"][0]);
    assert_eq!((&own["path"], &trusted["path"]), (&json!(file("svc.pem")), &json!("<inline>")), "{shown}");
    let mut names = own["subject_alt_names"].as_array().cloned().unwrap_or_default();
    names.sort_by_key(Value::to_string);
    let want =
        [json!({"dns": "svc.mesh"}), json!({"ip_address": "10.1.2.3"}), json!({"uri": "spiffe://mesh/svc"})];
    assert_eq!(names, want, "{shown}");
    // Of an authority of the year 1975 to 4096, as the harness makes them.
    for certificate in [own, trusted] {
        assert_eq!(certificate["valid_from"], "1975-01-01T00:00:00Z", "{shown}");
        assert_eq!(certificate["expiration_time"], "4096-01-01T00:00:00Z", "{shown}");
        let days = certificate["days_until_expiration"].as_str().map(str::parse::<u64>);
        assert!(days.is_some_and(|days| days.is_ok_and(|days| days > 700_000)), "{shown}");
        assert!(certificate["serial_number"].as_str().is_some_and(|serial| serial.len() >= 16), "{shown}");
    }
    Ok(())
}

/// The gauge looks at leaves and at every authority of a bundle. The rest of a chain is shown and warned about, too, by us.
async fn what_ends_behind_the_first_is_told_too(plane: DataPlane) -> Result<()> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (port, now) = (Port::lease()?, SystemTime::now());
    let ending = |name: &'static str, days: u32| {
        Authority::new_with(move |params| {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, name);
            params.not_before = (now - 300 * DAY).into();
            params.not_after = (now + days * DAY + DAY / 2).into();
        })
    };
    let (first, second) = (ending("first", 100)?, ending("second", 9)?);
    let middle = first.intermediate_with("middle", |params| {
        params.not_before = (now - 300 * DAY).into();
        params.not_after = (now + 7 * DAY + DAY / 2).into();
    })?;
    let leaf = middle.issue(&["svc"])?;
    let identity =
        Identity { certificate: format!("{}{}", leaf.certificate, middle.certificate()), key: leaf.key };
    let mut socket = terminate_tls(&identity, &["http/1.1"]);
    let bundle = format!("{}{}", first.certificate(), second.certificate());
    socket["typed_config"]["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": bundle}});
    let mut listener = routed_to_a(&port);
    listener["filter_chains"][0]["transport_socket"] = socket;
    let sidecar = plane.launch()?.start(&with_static(&[listener], &[cluster("a", &[])])).await?;
    assert_eq!(sidecar.stat("server.days_until_first_cert_expiring").await?, 9);
    if plane == DataPlane::Outrigger {
        let shown = sidecar.get("/certs").await?.json()?;
        let days = |list: &str| -> Vec<String> {
            let all = shown["certificates"][0][list].as_array().cloned().unwrap_or_default();
            all.iter().map(|one| one["days_until_expiration"].as_str().unwrap_or("").to_owned()).collect()
        };
        assert_eq!(days("ca_cert"), ["100", "9"], "{shown}");
        assert_eq!(days("cert_chain").get(1).map(String::as_str), Some("7"), "{shown}");
        for text in [
            "(O=second,CN=test authority) was not renewed and expires in 9 d",
            "(CN=middle) was not renewed and expires in 7 d",
        ] {
            let told = || std::future::ready(sidecar.said(text).then_some(()));
            wait::until(&format!("the log to say {text:?}"), Duration::from_secs(20), told).await?;
        }
    }
    Ok(())
}

/// A certificate of ninety days that was not renewed in eighty: the gauge on both, and in our log what will happen when.
async fn what_ends_soon_is_told(plane: DataPlane) -> Result<()> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let (port, authority, now) = (Port::lease()?, Authority::new()?, SystemTime::now());
    let identity = authority.issue_with(&["svc"], |params| {
        params.not_before = (now - 80 * DAY).into();
        params.not_after = (now + 10 * DAY + DAY / 2).into();
    })?;
    let mut listener = routed_to_a(&port);
    listener["filter_chains"][0]["transport_socket"] = terminate_tls(&identity, &["http/1.1"]);
    let bootstrap = with_static(&[listener], &[cluster("a", &[])]);
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    assert_eq!(sidecar.stat("server.days_until_first_cert_expiring").await?, 10);
    let shown = sidecar.get("/certs").await?.json()?;
    assert_eq!(shown["certificates"][0]["cert_chain"][0]["days_until_expiration"], "10", "{shown}");
    if plane == DataPlane::Outrigger {
        let seconds = sidecar.stat("server.seconds_until_first_cert_expiring").await?;
        assert!((10 * 86_400..11 * 86_400).contains(&seconds), "{seconds}");
        let told = || {
            let whole = sidecar.said("was not renewed and expires in 10 d")
                && sidecar.said("from then on handshakes with it fail, open connections stay");
            std::future::ready(whole.then_some(()))
        };
        wait::until("the log to say what will happen when", Duration::from_secs(20), told).await?;
    }
    Ok(())
}
