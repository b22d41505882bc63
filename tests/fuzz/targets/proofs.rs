//! Signed questions to AWS.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger::fuzz::proofs(data));
