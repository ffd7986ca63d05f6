//! Broken configurations.
use super::*;

#[test]
fn three_lines_are_a_profile() {
    let profile = profile("[servers.alpha]\nmodel = \"alpha.gguf\"\nn_gpu_layers = 99\n").unwrap();
    assert_eq!(profile.servers.len(), 1);
}
