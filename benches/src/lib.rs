//! Load tests of the sidecar against its peers.
//!
//! One core runs the proxy under test with one worker, another the load generator and the backend, over loopback.
//! Each round runs every subject once, freshly started, one after the other, so that the machine's moods hit all of
//! them alike; ratios are taken within a round and then summarised. A run with a single error yields no ratio.

pub mod backend;
pub mod cores;
pub mod exchange;
pub mod frames;
pub mod histogram;
pub mod idle;
pub mod instructions;
pub mod load;
pub mod measure;
pub mod micro;
pub mod mutual;
pub mod packages;
pub mod poll;
pub mod push;
pub mod report;
pub mod rounds;
pub mod scenario;
pub mod subject;

pub use outrigger_tests::Result;
