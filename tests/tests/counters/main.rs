//! Counters are exact: after requests of every kind each counter is what the test itself kept, gauges are back at
//! zero, and what the test keeps no book of equals Envoy's count of the same story.

mod failures;
mod grpc;
mod http;
mod mixed;
mod scene;
mod tcp;
mod tunnels;
