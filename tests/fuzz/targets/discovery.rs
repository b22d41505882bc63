//! What happens to a proxy and its control plane, over both variants of discovery.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::discovery(data));
