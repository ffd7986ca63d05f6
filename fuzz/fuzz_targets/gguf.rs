#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| magid::fuzzing::gguf(data));
