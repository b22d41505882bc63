//! What a segment tells beyond App Mesh's: each try as a subsegment, why something failed, where we run.

use super::{MAX_TEXT, Settings, flags};
use crate::observe::platform::Platform;
use crate::observe::trace::attempt::AttemptSpan;
use crate::observe::trace::id::SpanId;
use crate::observe::trace::json::Object;
use crate::observe::trace::span::{Finished, Outcome};
use crate::observe::trace::xray::segment_name;

/// Longest explanation, bytes.
const MAX_MESSAGE: usize = 1000;
/// Longest name of a log group with what an ARN adds, bytes.
const MAX_LOG_GROUP: usize = 640;

/// `path` up to its query.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// The configured block, with where we run and who sends this.
pub(super) fn aws(settings: &Settings, place: &Platform, segment: &mut Object<'_>) {
    let mut aws = segment.object("aws");
    // An object without its braces.
    let fields = settings.aws.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    aws.fields(fields.unwrap_or_default().as_bytes());
    if !place.task_arn.is_empty() {
        let mut ecs = aws.object("ecs");
        ecs.text("container", place.host_name.as_bytes(), MAX_TEXT);
        ecs.text("container_id", place.container_id.as_bytes(), MAX_TEXT);
        ecs.text("container_arn", place.container_arn.as_bytes(), MAX_TEXT);
        ecs.text("cluster_arn", place.cluster_arn.as_bytes(), MAX_TEXT);
        ecs.text("task_arn", place.task_arn.as_bytes(), MAX_TEXT);
        ecs.text("task_family", place.task_family.as_bytes(), MAX_TEXT);
        ecs.text("launch_type", place.launch_type.as_bytes(), MAX_TEXT);
        ecs.text("availability_zone", place.zone.as_bytes(), MAX_TEXT);
        ecs.end();
    } else if !place.pod.is_empty() {
        let mut eks = aws.object("eks");
        eks.text("cluster_name", place.cluster_name.as_bytes(), MAX_TEXT);
        eks.text("pod", place.pod.as_bytes(), MAX_TEXT);
        eks.text("container_id", place.container_id.as_bytes(), MAX_TEXT);
        eks.end();
    }
    aws.text("account_id", place.account.as_bytes(), MAX_TEXT);
    if !place.log_group.is_empty() {
        aws.list("cloudwatch_logs", std::iter::once(()), |(), group| {
            group.text("log_group", place.log_group.as_bytes(), MAX_LOG_GROUP);
            group.text("arn", place.log_group_arn.as_bytes(), MAX_LOG_GROUP);
        });
    }
    let mut sdk = aws.object("xray");
    sdk.text("sdk", b"outrigger", MAX_TEXT);
    sdk.text("sdk_version", env!("CARGO_PKG_VERSION").as_bytes(), MAX_TEXT);
    sdk.end();
    aws.end();
}

/// Cause and details.
pub(super) fn add(finished: &Finished<'_>, segment: &mut Object<'_>) {
    let (record, outcome) = (finished.record, finished.outcome());
    if outcome.fault && !record.details.is_empty() && record.details != "via_upstream" {
        cause(finished.span.id, record.details, segment, |exception| {
            exception.written("type", MAX_TEXT, |out| flags(record.flags, out));
        });
    }
    let mut metadata = segment.object("metadata");
    let mut own = metadata.object("outrigger");
    own.text("response_code_details", record.details.as_bytes(), MAX_MESSAGE);
    own.text("virtual_host", record.virtual_host.as_bytes(), MAX_TEXT);
    if let Some(host) = record.upstream_host {
        own.text("upstream_host", host.display.as_bytes(), MAX_TEXT);
    }
    own.end();
    metadata.end();
}

/// Tries, where they are told of.
pub(super) fn attempts(settings: &Settings, finished: &Finished<'_>, lean: bool, segment: &mut Object<'_>) {
    if !finished.span.attempts.is_empty() {
        let callee = Callee::of(settings, finished);
        let tries = finished.span.attempts.iter().enumerate();
        segment.list("subsegments", tries, |(i, attempt), object| {
            subsegment(i + 1, attempt, &callee, finished, lean, object);
        });
    }
}

/// One exception, whose identifier is made from that of its span.
fn cause(of: SpanId, message: &str, parent: &mut Object<'_>, more: impl Fn(&mut Object<'_>)) {
    let mut cause = parent.object("cause");
    cause.list("exceptions", std::iter::once(()), |(), exception| {
        exception.text("id", &SpanId(of.0.rotate_left(32)).hex(), MAX_TEXT);
        exception.text("message", message.as_bytes(), MAX_MESSAGE);
        more(exception);
    });
    cause.end();
}

/// Who is called.
struct Callee {
    name: Box<str>,
    /// A member of the mesh, which sends a segment of its own.
    traced: bool,
}

impl Callee {
    /// A cluster of App Mesh's is called `cds_egress_<mesh>_<node>_<protocol>_<port>`: its segments are named
    /// `<mesh>/<node>`, or as its task says, which X-Ray finds by their parent. Others are named after the host, as X-Ray's SDKs do.
    fn of(settings: &Settings, finished: &Finished<'_>) -> Self {
        if let Some(name) = Self::member(settings, finished.record.cluster) {
            return Self { name, traced: true };
        }
        let name = segment_name(&finished.callee());
        let fallback = || segment_name(finished.record.cluster);
        Self { name: if name.is_empty() { fallback() } else { name }, traced: false }
    }

    fn member(settings: &Settings, cluster: &str) -> Option<Box<str>> {
        let mesh = Some(&*settings.mesh).filter(|mesh| !mesh.is_empty())?;
        let rest = cluster.strip_prefix("cds_egress_")?.strip_prefix(mesh)?.strip_prefix('_')?;
        let (node, _) = rest.rsplit_once('_')?.0.rsplit_once('_')?;
        Some(segment_name(&format!("{mesh}/{node}"))).filter(|_| !node.is_empty())
    }
}

fn subsegment(
    number: usize,
    attempt: &AttemptSpan,
    callee: &Callee,
    finished: &Finished<'_>,
    lean: bool,
    object: &mut Object<'_>,
) {
    let (start, end) = attempt.times(finished);
    object.text("name", callee.name.as_bytes(), usize::MAX);
    object.text("id", &attempt.id.hex(), MAX_TEXT);
    object.seconds("start_time", start);
    object.seconds("end_time", end);
    object.text("namespace", b"remote", MAX_TEXT);
    let Outcome { error, fault, throttle } = attempt.outcome(finished);
    object.flag("error", error);
    object.flag("fault", fault);
    object.flag("throttle", throttle);
    if let Some(failure) = attempt.failure.as_ref().filter(|text| !lean && !text.is_empty()) {
        cause(attempt.id, failure, object, |exception| exception.flag("remote", true));
    }
    let head = finished.head;
    let mut http = object.object("http");
    let mut request = http.object("request");
    if !lean {
        request.text("method", head.method_text(), MAX_TEXT);
        let path = without_query(head.path_and_query());
        request.parts("url", &[head.scheme().as_bytes(), b"://", head.authority(), path], MAX_TEXT);
    }
    // Of what was never sent no segment will come.
    request.flag("traced", callee.traced && attempt.sent);
    request.end();
    if attempt.status > 0 {
        let mut response = http.object("response");
        response.number("status", attempt.status.into());
        response.end();
    }
    http.end();
    let mut annotations = object.object("annotations");
    annotations.number("attempt", number as u64);
    annotations.text("upstream_host", attempt.host.display.as_bytes(), MAX_TEXT);
    annotations.end();
}
