//! Certificates and the matchers of their names.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::certificates(data));
