//! Definitions of meshes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger::fuzz::definitions(data));
