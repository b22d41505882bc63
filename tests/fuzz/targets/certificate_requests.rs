//! Certificate requests.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger::fuzz::certificate_requests(data));
