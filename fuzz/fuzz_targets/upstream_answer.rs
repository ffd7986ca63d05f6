#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| magi_gateway::fuzzing::upstream_answer(data));
