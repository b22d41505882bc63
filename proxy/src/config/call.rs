//! Services that filters call: where they are and how long they may take.
//! Source: `envoy.config.core.v3.HttpUri`, `GrpcService`.

use std::sync::Arc;
use std::time::Duration;

use super::retry::RetryPolicy;
use crate::base::ids::ClusterId;

/// Who is called.
#[derive(Clone, Debug)]
pub struct Callee {
    /// Its cluster, with that cluster's TLS, breakers and statistics.
    pub cluster: ClusterId,
    /// From the pick of a host to the end of the answer, retries included; zero is five minutes.
    pub timeout: Duration,
    /// When it is asked again.
    pub retry: Option<Arc<RetryPolicy>>,
}
