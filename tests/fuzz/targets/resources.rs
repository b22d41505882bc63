//! Resources of discovery, as they come over the wire.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::resources(data));
