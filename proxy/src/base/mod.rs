//! Foundations every other module may use: dense ids, response flags, errors,
//! compiled matchers and drain signals. Imports nothing else of ours.

pub mod drain;
pub mod error;
pub mod ids;
pub mod matcher;
mod re2;
