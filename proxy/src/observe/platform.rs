//! Where this process runs, as the platform tells it: ECS by its metadata endpoint, Kubernetes by files and
//! variables of the pod.
//!
//! Asked in the background: nothing waits for it, and a platform that never answers costs its names only.
//! Source: ECS task metadata endpoint, version 4.

mod ecs;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Names of the place. Empty is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// ECS or EKS cluster, short.
    pub cluster_name: String,
    /// ECS cluster, whole.
    pub cluster_arn: String,
    /// AWS account.
    pub account: String,
    /// AWS region.
    pub region: String,
    /// What the host calls itself: of a task its address, of a pod its name.
    pub host_name: String,
    /// Our container: its name in the task definition, what its runtime calls it, and its ARN.
    pub container_name: String,
    /// See above.
    pub container_id: String,
    /// See above.
    pub container_arn: String,
    /// CloudWatch log group that our output goes to, and its ARN.
    pub log_group: String,
    /// See above.
    pub log_group_arn: String,
    /// ECS service.
    pub service_name: String,
    /// ECS task definition family.
    pub task_family: String,
    /// ECS task id.
    pub task_id: String,
    /// ECS task, whole.
    pub task_arn: String,
    /// ECS launch type: `EC2`, `FARGATE`.
    pub launch_type: String,
    /// Kubernetes namespace.
    pub namespace: String,
    /// Kubernetes pod.
    pub pod: String,
    /// Availability zone.
    pub zone: String,
}

/// What is known so far. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    first: Arc<Platform>,
    task: Arc<OnceLock<Platform>>,
}

/// One answer must come within this.
const ANSWER: Duration = Duration::from_secs(2);
/// Between attempts: first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest answer.
const MAX_ANSWER: u64 = 256 * 1024;
/// Where a pod's manifest tells its namespace (downward API, `metadata.namespace`).
const NAMESPACE_VARIABLE: &str = "POD_NAMESPACE";
/// Names of a container, for those that ask for them in vain, are asked for this often.
const CONTAINER_TRIES: usize = 3;
/// Where Kubernetes does, unless the pod has no service account's token.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// Where the kernel tells the host's name.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";
/// Where it tells our control groups.
const CGROUP_FILE: &str = "/proc/self/cgroup";

impl Place {
    /// What variables and files say at once. `cluster` is the operator's name of the cluster, which on EKS
    /// nothing else tells.
    pub fn find(cluster: Option<&str>) -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let in_pod = !variable("KUBERNETES_SERVICE_HOST").is_empty();
        let of_file = || std::fs::read_to_string(NAMESPACE_FILE).unwrap_or_default().trim().to_owned();
        let text_of = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let region = Some(variable("AWS_REGION")).filter(|name| !name.is_empty());
        let namespace =
            || Some(variable(NAMESPACE_VARIABLE)).filter(|name| !name.is_empty()).unwrap_or_else(of_file);
        let first = Platform {
            cluster_name: cluster.unwrap_or_default().to_owned(),
            namespace: if in_pod { namespace() } else { String::new() },
            pod: if in_pod { variable("HOSTNAME") } else { String::new() },
            region: region.unwrap_or_else(|| variable("AWS_DEFAULT_REGION")),
            host_name: text_of(HOST_NAME_FILE).trim().to_owned(),
            container_id: container_id(&text_of(CGROUP_FILE)).to_owned(),
            ..Platform::default()
        };
        Self { first: Arc::new(first), task: Arc::default() }
    }

    /// Of a process that runs nowhere in particular, or in a place that is known.
    pub fn known(platform: Platform) -> Self {
        Self { first: Arc::new(platform), task: Arc::default() }
    }

    /// What is known now.
    pub fn now(&self) -> &Platform {
        self.task.get().unwrap_or(&self.first)
    }

    /// Asks ECS until it answers; `endpoint` is `ECS_CONTAINER_METADATA_URI_V4`. Run it as a task of its own.
    pub async fn ask_ecs(self, endpoint: String) {
        self.ask(&endpoint, PAUSE).await;
    }

    async fn ask(&self, endpoint: &str, mut pause: Duration) {
        loop {
            match tokio::time::timeout(ANSWER, get(&format!("{endpoint}/task"))).await {
                Ok(Ok(task)) => {
                    let container = self.container(endpoint, pause).await;
                    // Only this task sets it.
                    let _ = self.task.set(ecs::platform(&task, &container, &self.first));
                    return;
                }
                Ok(Err(error)) => tracing::debug!(%endpoint, %error, "the task metadata endpoint failed"),
                Err(_) => tracing::debug!(%endpoint, "the task metadata endpoint does not answer"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// The document of our own container; null when it is not to be had. Dimensions wait for it, so it is not asked
    /// for without end.
    async fn container(&self, endpoint: &str, pause: Duration) -> Value {
        for _ in 0..CONTAINER_TRIES {
            if let Ok(Ok(container)) = tokio::time::timeout(ANSWER, get(endpoint)).await {
                return container;
            }
            tokio::time::sleep(pause).await;
        }
        tracing::debug!(%endpoint, "the container metadata endpoint does not answer");
        Value::Null
    }
}

/// The container's identifier in the names of its control groups: the last 64 hexadecimal digits in a row. With a
/// namespace of its own there is none.
fn container_id(groups: &str) -> &str {
    let mut words = groups.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
    words.next_back().unwrap_or_default()
}

/// `GET` of a JSON document over plain HTTP; the endpoint is link-local. HTTP/1.0 has no chunks.
async fn get(url: &str) -> std::io::Result<Value> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(|| invalid("is no http:// address"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = if host.contains(':') {
        TcpStream::connect(host).await?
    } else {
        TcpStream::connect((host, 80)).await?
    };
    stream.write_all(format!("GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(|| invalid("sent no HTTP answer"))?;
    let (head, body) = answer.split_at(end + 4);
    match head.get(9..12) {
        Some(b"200") => serde_json::from_slice(body).map_err(|error| invalid(&error.to_string())),
        status => Err(invalid(&format!("answered {}", String::from_utf8_lossy(status.unwrap_or_default())))),
    }
}

#[cfg(test)]
mod tests;
