//! Tests of the HTTP/1 codec over Unix socket pairs, which have real readiness.

#![cfg_attr(fuzzing, allow(dead_code, unused_imports, reason = "the fuzzer runs no tests"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

#[cfg(test)]
mod client;
mod corpus;
mod differential;
pub(crate) mod fuzz;
mod harness;
mod outcome;
#[cfg(test)]
mod server;
#[cfg(test)]
mod smuggling;
mod split;
