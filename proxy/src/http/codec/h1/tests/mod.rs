//! Tests of the HTTP/1 codec over Unix socket pairs, which have real readiness.

mod client;
mod corpus;
mod differential;
mod harness;
mod outcome;
mod server;
mod smuggling;
mod split;
