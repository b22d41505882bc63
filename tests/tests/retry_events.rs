//! App Mesh's retry events, from a template to the attempts that reach an upstream: what each of them means, what it
//! does not, and the policy that nobody wrote.

use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;

use outrigger_tests::client::{grpc, h1, h2};
use outrigger_tests::control_plane::{ControlPlane, Launch};
use outrigger_tests::data_plane::{DataPlane, Sidecar};
use outrigger_tests::mesh::request;
use outrigger_tests::ports::Port;
use outrigger_tests::upstream::{Behaviour, Closing, Counts, Echo, GrpcEcho, Upstream};
use outrigger_tests::{Result, on_both_data_planes};
use tokio::net::TcpStream;

on_both_data_planes!(http_events, streams_that_are_refused, grpc_events);

/// Retries that the policies allow.
const RETRIES: u64 = 2;
/// Where proxies listen: the ports of listeners and applications are the same.
const PROXY: &str = "127.0.0.2";
/// The node whose proxy is tested.
const CALLER: &str = "mesh/events/virtualNode/caller";

/// Routes of a service by path: each has the events of its name, `-` between them; the last one has no policy.
const EVENTS: [&str; 7] =
    ["server-error", "gateway-error", "client-error", "stream-error", "connection-error", "none", ""];

/// A template that names one resource after the other.
#[derive(Default)]
struct Template(String);

impl Template {
    fn resource(&mut self, kind: &str, name: &str, spec: &str) {
        let id = self.0.matches("Type:").count();
        let _ = write!(
            self.0,
            "  R{id}:\n    Type: AWS::AppMesh::{kind}\n    Properties:\n      MeshName: events\n      {kind}Name: {name}\n      Spec: {spec}\n"
        );
    }

    fn node(&mut self, name: &str, protocol: &str, port: u16) {
        let spec = format!(
            "{{Listeners: [{{PortMapping: {{Port: {port}, Protocol: {protocol}}}}}], ServiceDiscovery: {{DNS: {{Hostname: 127.0.0.1}}}}}}"
        );
        self.resource("VirtualNode", name, &spec);
    }

    fn service(&mut self, name: &str, protocol: &str) {
        let provider = format!("{{Provider: {{VirtualRouter: {{VirtualRouterName: {name}}}}}}}");
        self.resource("VirtualService", &format!("{name}.mesh.local"), &provider);
        let listener = format!("{{Listeners: [{{PortMapping: {{Port: 80, Protocol: {protocol}}}}}]}}");
        self.resource("VirtualRouter", name, &listener);
    }

    fn route(&mut self, router: &str, name: &str, priority: usize, route: &str) {
        let id = self.0.matches("Type:").count();
        let _ = write!(
            self.0,
            "  R{id}:\n    Type: AWS::AppMesh::Route\n    Properties:\n      MeshName: events\n      VirtualRouterName: {router}\n      RouteName: {name}\n      Spec: {{Priority: {priority}, {route}}}\n"
        );
    }

    /// A service `NAME.mesh.local` with a route for each of [`EVENTS`], to a node at `port`.
    fn events(&mut self, name: &str, protocol: &str, port: u16) {
        self.node(&format!("{name}-node"), protocol, port);
        self.service(name, protocol);
        let kind = if protocol == "http2" { "Http2Route" } else { "HttpRoute" };
        for (priority, event) in EVENTS.into_iter().enumerate() {
            let policy = match event {
                "" => String::new(),
                "none" => policy(0, "HttpRetryEvents: [server-error]"),
                "connection-error" => policy(RETRIES, "TcpRetryEvents: [connection-error]"),
                event => policy(RETRIES, &format!("HttpRetryEvents: [{event}]")),
            };
            let action = format!("Action: {{WeightedTargets: [{{VirtualNode: {name}-node, Weight: 1}}]}}");
            let route = format!("{kind}: {{Match: {{Prefix: /{event}}}, {policy} {action}}}");
            self.route(name, &format!("r{priority}"), priority, &route);
        }
    }
}

fn policy(retries: u64, events: &str) -> String {
    format!("RetryPolicy: {{MaxRetries: {retries}, PerRetryTimeout: {{Unit: s, Value: 5}}, {events}}},")
}

/// The mesh, served, and the caller's proxy.
struct Scene {
    _control_plane: ControlPlane,
    sidecar: Sidecar,
    egress: Port,
}

impl Scene {
    /// `services`: names of the services that the caller may call.
    async fn start(plane: DataPlane, mut template: Template, services: &[&str]) -> Result<Self> {
        let egress = Port::lease()?;
        let backends: Vec<String> = services
            .iter()
            .map(|name| format!("{{VirtualService: {{VirtualServiceName: {name}.mesh.local}}}}"))
            .collect();
        template.resource("VirtualNode", "caller", &format!("{{Backends: [{}]}}", backends.join(", ")));
        let text = format!(
            "Resources:\n  Mesh: {{Type: AWS::AppMesh::Mesh, Properties: {{MeshName: events}}}}\n{}",
            template.0
        );
        let launch = Launch::of(&text)?.args(["--no-interception", "--bind", PROXY]);
        let launch = launch.args(["--egress-port".to_owned(), egress.number().to_string()]);
        let control_plane = launch.start().await?;
        let sidecar = plane.launch()?.concurrency(1).start_in_mesh(CALLER, control_plane.xds()).await?;
        control_plane.until_accepted(CALLER).await?;
        Ok(Self { _control_plane: control_plane, sidecar, egress })
    }

    fn egress(&self) -> Result<std::net::SocketAddr> {
        Ok((PROXY.parse::<std::net::IpAddr>()?, self.egress.number()).into())
    }

    /// Retries of all clusters so far.
    async fn retries(&self) -> Result<u64> {
        let stats = self.sidecar.get("/stats?filter=upstream_rq_retry$").await?.text();
        let values = stats.lines().filter_map(|line| line.rsplit_once(": ")?.1.parse::<u64>().ok());
        Ok(values.sum())
    }

    /// Retries that one request leads to.
    async fn retries_of(&self, service: &str, path: &str, fields: &[&str]) -> Result<(u16, u64)> {
        let before = self.retries().await?;
        let host = format!("{service}.mesh.local");
        let response: h1::Response = request(self.egress()?, &host, path, fields).await?;
        Ok((response.status, self.retries().await? - before))
    }
}

async fn http_events(plane: DataPlane) -> Result<()> {
    let [echo, closing] = [Upstream::start(Echo::new("a"))?, Upstream::start(Closing::BeforeResponse)?];
    let refused = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut template = Template::default();
    template.events("answers", "http", echo.address().port());
    template.events("closes", "http", closing.address().port());
    template.events("refuses", "http", refused);
    let scene = Scene::start(plane, template, &["answers", "closes", "refuses"]).await?;
    for (event, retried, passed) in [
        ("server-error", &[500, 501, 502, 503, 504, 505, 511][..], &[509, 512, 409, 429][..]),
        ("gateway-error", &[502, 503, 504], &[500, 501]),
        ("client-error", &[409], &[404, 503]),
        ("stream-error", &[], &[503]),
        ("connection-error", &[], &[503]),
        ("none", &[], &[503]),
        ("", &[503], &[500, 502, 504, 409]),
    ] {
        let path = format!("/{event}");
        for (statuses, retries) in [(retried, RETRIES), (passed, 0)] {
            for status in statuses {
                let found =
                    scene.retries_of("answers", &path, &[&format!("x-echo-status: {status}")]).await?;
                assert_eq!(found, (*status, retries), "{event}: {status}");
            }
        }
    }
    // Without any answer: a reset is part of the two server errors and of the hidden policy, a refused connection of
    // those and of its own event.
    for event in EVENTS {
        let reset = matches!(event, "server-error" | "gateway-error" | "");
        let refused = reset || event == "connection-error";
        for (service, retried) in [("closes", reset), ("refuses", refused)] {
            let (_, retries) = scene.retries_of(service, &format!("/{event}"), &[]).await?;
            assert_eq!(retries, if retried { RETRIES } else { 0 }, "{event}: {service}");
        }
    }
    Ok(())
}

/// Refuses every stream before it processes anything of it.
struct Refusing;

impl Behaviour for Refusing {
    async fn serve(self: Arc<Self>, stream: TcpStream, counts: Arc<Counts>) {
        let Ok(mut connection) = ::h2::server::handshake(stream).await else { return };
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            counts.request();
            respond.send_reset(::h2::Reason::REFUSED_STREAM);
        }
    }
}

async fn streams_that_are_refused(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(Refusing)?;
    let mut template = Template::default();
    template.events("streams", "http2", upstream.address().port());
    let scene = Scene::start(plane, template, &["streams"]).await?;
    for event in EVENTS {
        let retried = matches!(event, "server-error" | "gateway-error" | "stream-error" | "");
        let (status, retries) = scene.retries_of("streams", &format!("/{event}"), &[]).await?;
        assert_eq!((status, retries), (503, if retried { RETRIES } else { 0 }), "{event}");
    }
    Ok(())
}

async fn grpc_events(plane: DataPlane) -> Result<()> {
    let upstream = Upstream::start(GrpcEcho)?;
    let mut template = Template::default();
    template.node("calls-node", "grpc", upstream.address().port());
    template.service("calls", "grpc");
    let events = [
        ("cancelled", 1),
        ("deadline-exceeded", 4),
        ("internal", 13),
        ("resource-exhausted", 8),
        ("unavailable", 14),
    ];
    for (priority, (event, status)) in events.into_iter().enumerate() {
        let policy = policy(RETRIES, &format!("GrpcRetryEvents: [{event}]"));
        let action = "Action: {WeightedTargets: [{VirtualNode: calls-node, Weight: 1}]}";
        let route = format!("GrpcRoute: {{Match: {{ServiceName: s.On{status}}}, {policy} {action}}}");
        template.route("calls", &format!("r{priority}"), priority, &route);
    }
    let scene = Scene::start(plane, template, &["calls"]).await?;
    let mut connection = h2::Connection::open(scene.egress()?).await?;
    for (_, covered) in events {
        for (method, status, retries) in [("Fail", covered, RETRIES), ("Fail", 2, 0), ("Get", covered, 0)] {
            let before = scene.retries().await?;
            let head = http::Request::post(format!("http://calls.mesh.local/s.On{covered}/{method}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("x-echo-grpc-status", status.to_string());
            let reply = grpc::call_with(&mut connection, head, &[b"one"]).await?;
            assert_eq!(reply.status, Some(status), "{covered}: {method}");
            assert_eq!(scene.retries().await? - before, retries, "{covered}: {method} with {status}");
        }
    }
    Ok(())
}
