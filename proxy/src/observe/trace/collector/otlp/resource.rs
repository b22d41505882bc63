//! Who sends spans, and where it runs. Source: OpenTelemetry's semantic conventions for resources (cloud, container,
//! `aws.ecs`, `k8s`), of which `awsxrayexporter` makes a segment's origin and its `aws` block.

use super::Settings;
use crate::observe::platform::Platform;

/// Attributes with a value.
pub(super) fn attributes<'a>(
    settings: &'a Settings,
    place: &'a Platform,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let own = [
        ("service.name", &*settings.service),
        ("telemetry.sdk.name", "outrigger"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let container = [("container.name", &*place.container_name), ("container.id", &*place.container_id)];
    own.into_iter()
        .chain(cloud(place))
        .chain(container)
        .chain(ecs(place))
        .chain(kubernetes(place))
        .filter(|(_, value)| !value.is_empty())
}

/// Pods tell that they run on AWS by the region that EKS gives them.
fn cloud(place: &Platform) -> [(&'static str, &str); 5] {
    let (ecs, eks) = (!place.task_arn.is_empty(), !place.pod.is_empty() && !place.region.is_empty());
    let platform = match (ecs, eks) {
        (true, _) => "aws_ecs",
        (false, true) => "aws_eks",
        _ => "",
    };
    [
        ("cloud.provider", if platform.is_empty() { "" } else { "aws" }),
        ("cloud.platform", platform),
        ("cloud.account.id", &place.account),
        ("cloud.region", &place.region),
        ("cloud.availability_zone", &place.zone),
    ]
}

fn ecs(place: &Platform) -> [(&'static str, &str); 7] {
    // Lower case, as the conventions have it.
    let launch_type = match &*place.launch_type {
        "EC2" => "ec2",
        "FARGATE" => "fargate",
        _ => "",
    };
    [
        ("aws.ecs.cluster.arn", &place.cluster_arn),
        ("aws.ecs.task.arn", &place.task_arn),
        ("aws.ecs.task.family", &place.task_family),
        ("aws.ecs.container.arn", &place.container_arn),
        ("aws.ecs.launchtype", launch_type),
        ("aws.log.group.names", &place.log_group),
        ("aws.log.group.arns", &place.log_group_arn),
    ]
}

fn kubernetes(place: &Platform) -> [(&'static str, &str); 3] {
    let in_pod = !place.pod.is_empty();
    [
        ("k8s.pod.name", &place.pod),
        ("k8s.namespace.name", &place.namespace),
        ("k8s.cluster.name", if in_pod { &place.cluster_name } else { "" }),
    ]
}
