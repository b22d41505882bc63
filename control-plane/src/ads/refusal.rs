//! What clients are told that are not served, or no longer: the status, and that it is counted.

use tonic::Status;

use super::session::Context;
use super::store::NoSnapshot;
use crate::metrics::Refusal;
use crate::snapshot::NoResources;

/// All that a client learns whom we do not serve.
pub(super) fn unauthenticated() -> Status {
    Status::unauthenticated("not authenticated")
}

/// What a client learns that has shown something which is over: it knows it, and is to show something new.
pub(super) fn expired() -> Status {
    Status::unauthenticated("the proof of identity has ended; show a new one")
}

/// Counts a refusal on its way to the client.
pub(super) fn refuse(context: &Context, refusal: Refusal, status: Status) -> Status {
    context.metrics.refused(refusal);
    status
}

/// Why a node has no snapshot, as its client is told.
pub(super) fn refuse_node(context: &Context, reason: &NoSnapshot) -> Status {
    match reason {
        NoSnapshot::NoResources(NoResources::Unknown(unknown)) => {
            refuse(context, Refusal::UnknownNode, Status::not_found(unknown.to_string()))
        }
        NoSnapshot::NoResources(refused @ NoResources::Refused { .. }) => {
            refuse(context, Refusal::Untranslated, Status::failed_precondition(refused.to_string()))
        }
        NoSnapshot::Defect(text) => {
            tracing::error!("{text}");
            Status::internal(text.clone())
        }
    }
}

/// The end of a stream as its transport tells it: a client that goes away is no error; one that sends what we cannot
/// read must hear about it.
pub(super) fn ended(status: Status) -> Result<(), Status> {
    match status.code() {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange | tonic::Code::Internal => Err(status),
        _ => Ok(()),
    }
}
