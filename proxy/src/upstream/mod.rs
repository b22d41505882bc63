//! Getting a request to a host: balancers, circuit breakers, connections and their pools, all owned by
//! one worker, and the view a request holds while it runs.

pub mod aggregate;
pub mod breaker;
pub mod connect;
pub mod destination;
pub mod dns;
pub mod lb;
pub mod local;
pub mod outlier;
pub mod pool;
pub mod view;
