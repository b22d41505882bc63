//! RE2 expressions.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::expressions(data));
