//! HTTP filters: what each does to requests and responses, and how routes override it, over both data planes.

mod authz;
mod buffer;
mod concurrency;
mod connections;
mod cors;
mod fault;
mod guards;
mod headers;
mod health;
mod identity;
mod jwt;
mod overrides;
mod questions;
mod rate_limit;
mod rbac;
mod scene;
