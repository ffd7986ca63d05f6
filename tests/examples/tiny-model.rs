//! Writes tiny models: `cargo run -p magi-tests --example tiny-model -- FOLDER alpha beta gamma`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| ".".into());
    for word in args {
        let path = Path::new(&folder).join(format!("{word}.gguf"));
        magi_tests::tiny_model(&path, &word)?;
        println!("{}", path.display());
    }
    Ok(())
}
