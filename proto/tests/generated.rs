//! The checked-in code is what the proto files generate, so that nobody needs protoc.
//!
//! `REGENERATE=1 cargo test -p magi-proto --test generated` writes it anew.

use std::fs;
use std::path::Path;

const DESCRIPTORS: &str = "magi.v1.bin";
const CODE: &str = "magi.v1.rs";

#[test]
fn generated_code_is_in_step_with_the_proto_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().unwrap();
    generate(root, fresh.path());

    let kept = root.join("src/generated");
    for name in [CODE, DESCRIPTORS] {
        let generated = fs::read(fresh.path().join(name)).unwrap();
        if std::env::var_os("REGENERATE").is_some() {
            fs::write(kept.join(name), &generated).unwrap();
        }
        let checked_in = fs::read(kept.join(name)).unwrap_or_default();
        assert!(
            generated == checked_in,
            "{name} is not what proto/magi/v1/*.proto generates: run `cargo xtask generate`"
        );
    }
}

fn generate(root: &Path, out: &Path) {
    let files = [
        "magi/v1/daemon.proto",
        "magi/v1/gateway.proto",
        "magi/v1/generation.proto",
        "magi/v1/model.proto",
        "magi/v1/profile.proto",
        "magi/v1/server.proto",
    ];
    let descriptors = protox::compile(files, [root]).unwrap();
    fs::write(
        out.join(DESCRIPTORS),
        prost::Message::encode_to_vec(&descriptors),
    )
    .unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .compile_fds(descriptors)
        .unwrap();
}
