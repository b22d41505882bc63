//! What upstreams answer, beside hyper.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| outrigger_proxy::fuzz::h1_responses(data));
