//! Trace context in headers.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::trace_headers(data));
