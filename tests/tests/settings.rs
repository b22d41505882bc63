//! Settings of a bootstrap that are about the process: where names are looked up, which statistics are shown, and
//! where in the text a fault is.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use outrigger_tests::bootstrap::{
    address, cluster, http_listener, inline, prefix_route, route_config, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes, on_data_plane};
use serde_json::{Value, json};

on_both_data_planes!(
    names_are_asked_of_configured_servers,
    statistics_are_shown_as_configured,
    requests_to_admin_are_logged,
    unknown_fields_are_left_out_when_asked,
);
on_data_plane!(
    outrigger_only,
    Outrigger,
    faults_of_static_resources_have_a_place,
    admin_answers_on_both_loopbacks,
);

/// Answers every A question with 127.0.0.1 and every other with nothing, until dropped with the test's process.
fn name_server() -> Result<SocketAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut packet) {
            let _ = socket.send_to(&answer(&packet[..length]), peer);
        }
    });
    Ok(at)
}

/// RFC 1035: the question with its header turned into a response, and one record behind it.
fn answer(question: &[u8]) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = question[HEADER..].iter().position(|byte| *byte == 0).unwrap_or_default();
    let end = HEADER + name + 5;
    let is_a = question[HEADER + name + 1..end] == [0, 1, 0, 1];
    let counts = [0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
    let mut packet = [&question[..2], &[0x81, 0x80], &counts, &question[HEADER..end]].concat();
    if is_a {
        packet.extend([0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    packet
}

async fn unknown_fields_are_left_out_when_asked(plane: DataPlane) -> Result<()> {
    let mut bootstrap = with_static(&[], &[cluster("a", &[])]);
    bootstrap["static_resources"]["clusters"][0]["of_tomorrow"] = json!({"x": 1});
    let limit = Duration::from_secs(20);
    let text = bootstrap.to_string();
    let arguments = ["--mode", "validate", "--config-yaml", &text];
    let (status, said) = plane.launch()?.run_to_end(&arguments, limit).await?;
    assert!(!status.success() && said.contains("of_tomorrow"), "{said}");
    for flag in ["--allow-unknown-static-fields", "--allow-unknown-fields"] {
        let (status, said) = plane.launch()?.args(&[flag]).run_to_end(&arguments, limit).await?;
        assert!(status.success() && said.contains("of_tomorrow"), "{flag}: {said}");
    }
    Ok(())
}

async fn admin_answers_on_both_loopbacks(plane: DataPlane) -> Result<()> {
    let launch = plane.launch()?.env("ENVOY_ADMIN_ACCESS_ENABLE_IPV6", "1");
    let sidecar = launch.start(&with_static(&[], &[])).await?;
    let port = sidecar.admin().port();
    assert_eq!(sidecar.admin(), (Ipv4Addr::LOCALHOST, port).into());
    assert_eq!(sidecar.get("/server_info").await?.status, 200);
    match std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => {
            let reply = h1::get((Ipv6Addr::LOCALHOST, port).into(), "localhost", "/server_info").await?;
            assert_eq!(reply.status, 200);
        }
        // It says so, and does without.
        Err(_) => assert!(sidecar.said("the admin endpoint does not answer on [::1]")),
    }
    Ok(())
}

fn routed_to_a(port: &Port) -> Value {
    let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
    http_listener("ingress", port.address(), inline(routes))
}

async fn names_are_asked_of_configured_servers(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Echo::new("a"))?;
    let server = name_server()?;
    let typed = json!({"typed_dns_resolver_config": {
        "name": "envoy.network.dns_resolver.cares",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [address(server)],
            "dns_resolver_options": {"no_default_search_domain": true},
        },
    }});
    let old = json!({"dns_resolution_config": {"resolvers": [address(server)]}});
    for setting in [typed, old] {
        let port = Port::lease()?;
        let mut named = cluster("a", &[upstream.address()]);
        named["type"] = json!("STRICT_DNS");
        named["dns_lookup_family"] = json!("V4_ONLY");
        let endpoint = &mut named["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["socket_address"]["address"] = json!("only.there.example");
        let mut bootstrap = with_static(&[routed_to_a(&port)], &[named]);
        for (field, value) in setting.as_object().into_iter().flatten() {
            bootstrap[field] = value.clone();
        }
        let _sidecar = plane.launch()?.start(&bootstrap).await?;
        let response = h1::get(port.address(), "svc", "/").await?;
        assert_eq!(response.status, 200, "{setting} {response:?}");
    }
    Ok(())
}

async fn statistics_are_shown_as_configured(plane: DataPlane) -> Result<()> {
    let (port, upstream) = (Port::lease()?, Upstream::start(Echo::new("a"))?);
    let mut bootstrap = with_static(&[routed_to_a(&port)], &[cluster("a", &[upstream.address()])]);
    bootstrap["stats_flush_interval"] = json!("0.1s");
    bootstrap["stats_config"] = json!({
        "stats_tags": [{"tag_name": "team", "fixed_value": "boats"}],
        "stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "http.ingress."}]}},
        "histogram_bucket_settings": [{"match": {"prefix": "cluster."}, "buckets": [7.0, 77.0]}],
    });
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    assert_eq!(h1::get(port.address(), "svc", "/").await?.status, 200);
    sidecar.until_stat("cluster.a.upstream_rq_200", |count| count == 1).await?;
    let page = sidecar.get("/stats").await?.text();
    assert!(page.lines().all(|line| !line.starts_with("http.ingress.")), "{page}");
    let bucket =
        "envoy_cluster_upstream_cx_connect_ms_bucket{team=\"boats\",envoy_cluster_name=\"a\",le=\"77\"}";
    let page = || async {
        let page = sidecar.get("/stats/prometheus").await.ok()?.text();
        page.contains("envoy_cluster_upstream_cx_connect_ms_bucket").then_some(page)
    };
    let page = outrigger_tests::wait::until("the histograms", Duration::from_secs(10), page).await?;
    assert!(page.contains(bucket), "no {bucket} in {page}");
    assert!(!page.contains("envoy_cluster_name=\"a\",le=\"5\""), "{page}");
    Ok(())
}

async fn requests_to_admin_are_logged(plane: DataPlane) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let files = ["old", "new"].map(|name| directory.path().join(name));
    let mut bootstrap = with_static(&[], &[]);
    bootstrap["admin"]["access_log_path"] = json!(files[0]);
    bootstrap["admin"]["access_log"] = json!([{"name": "l", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": files[1]}}]);
    let sidecar = plane.launch()?.start(&bootstrap).await?;
    let asked =
        "GET /nothing?x=%22 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: probe\r\nX-Request-Id: 7\r\n\r\n";
    let mut client = h1::Connection::open(sidecar.admin()).await?;
    let answer = client.exchange(asked).await?;
    assert_eq!(answer.status, 404);
    let read = || {
        let texts = files.each_ref().map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let lines = texts.map(|text| {
            text.lines().find(|line| line.contains("/nothing") && line.ends_with("\"-\"")).map(str::to_owned)
        });
        std::future::ready(lines.into_iter().collect::<Option<Vec<_>>>())
    };
    let lines = outrigger_tests::wait::until("both lines", Duration::from_secs(15), read).await?;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let size = answer.text().len().to_string();
        assert!(words[0].starts_with("[20") && words[0].ends_with("Z]"), "{line}");
        assert_eq!(
            words[1..8],
            ["\"GET", "/nothing?x=%22", "HTTP/1.1\"", "404", "-", "0", size.as_str()],
            "{line}"
        );
        assert!(words[8].parse::<u64>().is_ok() && words[9] == "-", "{line}");
        // Envoy adds the machine's address to x-forwarded-for, the tenth.
        assert_eq!(words[11..], ["\"probe\"", "\"7\"", "\"localhost\"", "\"-\""], "{line}");
    }
    Ok(())
}

async fn faults_of_static_resources_have_a_place(plane: DataPlane) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("envoy.yaml");
    let text = "static_resources:
  clusters:
  - name: good
    type: STATIC
    load_assignment: {cluster_name: good}
  - name: bad
    type: STATIC
    lb_policy: CLUSTER_PROVIDED
    load_assignment: {cluster_name: bad}
";
    std::fs::write(&file, text)?;
    let file = file.display().to_string();
    for mode in ["validate", "serve"] {
        let limit = Duration::from_secs(20);
        let (status, said) = plane.launch()?.run_to_end(&["-c", &file, "--mode", mode], limit).await?;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{file}:8:5: Cluster \"bad\": lb_policy: ")), "{said}");
    }
    Ok(())
}
