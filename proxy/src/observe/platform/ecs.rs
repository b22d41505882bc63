//! What ECS tells of a task and of our container in it.

use serde_json::Value;

use super::Platform;

/// The names in the documents of a task and of our container. `Cluster` is a short name on EC2 and an ARN on Fargate.
pub(super) fn platform(task: &Value, container: &Value, first: &Platform) -> Platform {
    let text = |field: &str| of(task, field);
    let service = match text("ServiceName") {
        "" => text("Group").strip_prefix("service:").unwrap_or_default(),
        name => name,
    };
    let arn = Arn::read(text("TaskARN"));
    let cluster = text("Cluster");
    let named = if first.cluster_name.is_empty() { last(cluster) } else { &first.cluster_name };
    let log_group = container.get("LogOptions").map_or("", |options| of(options, "awslogs-group"));
    let log_region = container.get("LogOptions").map_or("", |options| of(options, "awslogs-region"));
    Platform {
        cluster_name: named.to_owned(),
        cluster_arn: match arn {
            _ if cluster.starts_with("arn:") => cluster.to_owned(),
            Some(arn) if !cluster.is_empty() => arn.sibling("ecs", arn.region, &format!("cluster/{cluster}")),
            _ => String::new(),
        },
        account: arn.map_or("", |arn| arn.account).to_owned(),
        region: arn.map_or(&*first.region, |arn| arn.region).to_owned(),
        service_name: service.to_owned(),
        task_family: text("Family").to_owned(),
        task_id: last(text("TaskARN")).to_owned(),
        task_arn: text("TaskARN").to_owned(),
        launch_type: text("LaunchType").to_owned(),
        zone: text("AvailabilityZone").to_owned(),
        container_name: of(container, "Name").to_owned(),
        container_id: Some(of(container, "DockerId"))
            .filter(|id| !id.is_empty())
            .unwrap_or(&first.container_id)
            .to_owned(),
        container_arn: of(container, "ContainerARN").to_owned(),
        log_group: log_group.to_owned(),
        log_group_arn: match arn {
            Some(arn) if !log_group.is_empty() => {
                let region = if log_region.is_empty() { arn.region } else { log_region };
                arn.sibling("logs", region, &format!("log-group:{log_group}"))
            }
            _ => String::new(),
        },
        ..first.clone()
    }
}

fn of<'v>(document: &'v Value, field: &str) -> &'v str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Parts of `arn:<partition>:<service>:<region>:<account>:...`
#[derive(Clone, Copy)]
struct Arn<'a> {
    partition: &'a str,
    region: &'a str,
    account: &'a str,
}

impl<'a> Arn<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.strip_prefix("arn:")?.splitn(5, ':');
        let (partition, _service) = (parts.next()?, parts.next()?);
        Some(Self { partition, region: parts.next()?, account: parts.next()? })
    }

    /// The ARN of something else in the same account.
    fn sibling(&self, service: &str, region: &str, resource: &str) -> String {
        format!("arn:{}:{service}:{region}:{}:{resource}", self.partition, self.account)
    }
}
