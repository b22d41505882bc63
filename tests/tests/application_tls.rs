//! The last hop over TLS: an application that takes nothing else, behind its own sidecar, by one tag on its node.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use outrigger_tests::bootstrap::{
    cluster, http_listener, inline, prefix_route, route_config, terminate_tls, virtual_host, with_static,
};
use outrigger_tests::client::h1;
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::ports::Port;
use outrigger_tests::tls::Authority;
use outrigger_tests::upstream::{Echo, Upstream};
use outrigger_tests::{Result, on_both_data_planes};

on_both_data_planes!(an_application_may_want_tls);

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// An application that terminates TLS on loopback.
struct Application {
    port: Port,
    authority: Authority,
    _behind: Upstream,
    _front: Sidecar,
}

impl Application {
    async fn start() -> Result<Self> {
        let (port, authority) = (Port::lease()?, Authority::new()?);
        let behind = Upstream::start(Echo::new("application"))?;
        let routes = route_config("r", &[virtual_host("v", &["*"], &[prefix_route("/", "a")])]);
        let mut listener = http_listener("tls", port.address(), inline(routes));
        listener["filter_chains"][0]["transport_socket"] =
            terminate_tls(&authority.issue(&["application"])?, &["http/1.1"]);
        let bootstrap = with_static(&[listener], &[cluster("a", &[behind.address()])]);
        let front = DataPlane::Outrigger.launch()?.start(&bootstrap).await?;
        Ok(Self { port, authority, _behind: behind, _front: front })
    }
}

async fn an_application_may_want_tls(plane: DataPlane) -> Result<()> {
    let application = Application::start().await?;
    let files = tempfile::tempdir()?;
    let write = |name: &str, authority: &Authority| -> Result<String> {
        let path = files.path().join(name);
        std::fs::write(&path, authority.certificate())?;
        Ok(path.display().to_string())
    };
    let (right, wrong) =
        (write("right.pem", &application.authority)?, write("wrong.pem", &Authority::new()?)?);
    for (tag, status) in [(right.as_str(), 200), ("unverified", 200), (&wrong, 503)] {
        let (_control, sidecar) = serve(plane, application.port.number(), Some(tag)).await?;
        let response = h1::get((NODE, application.port.number()).into(), "application", "/").await?;
        assert_eq!(response.status, status, "{tag}: {}", response.text());
        if plane == DataPlane::Outrigger {
            let warned = sidecar.said("NOT VERIFIED");
            assert_eq!(warned, tag == "unverified", "trust that is missing is told");
        }
    }
    // Without the tag it is plain text, which this application does not take.
    let (_control, _sidecar) = serve(plane, application.port.number(), None).await?;
    let response = h1::get((NODE, application.port.number()).into(), "application", "/").await?;
    assert_ne!(response.status, 200);
    assert!(Path::new(&right).exists());
    Ok(())
}

async fn serve(plane: DataPlane, port: u16, tag: Option<&str>) -> Result<(ControlPlane, Sidecar)> {
    let tags = tag
        .map_or_else(String::new, |value| format!("{{key: 'outrigger:application-tls', value: '{value}'}}"));
    let definitions = format!(
        "
- {{meshName: shop, spec: {{}}}}
- meshName: shop
  virtualNodeName: a
  tags: [{tags}]
  spec:
    listeners: [{{portMapping: {{port: {port}, protocol: http}}}}]
    serviceDiscovery: {{dns: {{hostname: {NODE}}}}}
"
    );
    let arguments = ["--no-interception", "--bind", &NODE.to_string()].map(str::to_owned);
    let control = Launch::of(&definitions)?.args(arguments).start().await?;
    let sidecar = plane.launch()?.start_in_mesh("mesh/shop/virtualNode/a", control.xds()).await?;
    Ok((control, sidecar))
}
