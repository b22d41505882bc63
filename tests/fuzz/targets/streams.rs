//! What clients of discovery say, over both variants.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger::fuzz::streams(data));
