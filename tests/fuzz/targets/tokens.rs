//! Tokens of all kinds.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger::fuzz::tokens(data));
