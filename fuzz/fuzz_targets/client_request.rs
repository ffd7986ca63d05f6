#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| magi_gateway::fuzzing::client_request(data));
