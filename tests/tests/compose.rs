//! The settings of the container are those of magi.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(tests.with_file_name(file)).unwrap()
}

#[test]
fn every_variable_of_magi_can_be_set_in_the_container() {
    let page = read("docs/configuration.md");
    let (_, environment) = page.split_once("\n## Environment\n").unwrap();
    let (environment, _) = environment.split_once("\n## ").unwrap();
    let rows = environment.lines().filter(|line| line.starts_with("| `"));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 15, "{names:?}");
    let (compose, example) = (
        read("docker-compose.yml"),
        read("packaging/docker/.env.example"),
    );
    for name in names {
        let passed = format!("\n      {name}: \"${{{name}:");
        assert!(
            compose.contains(&passed),
            "docker-compose.yml does not pass on {name}"
        );
        let told = format!("\n{name}=");
        assert!(example.contains(&told), ".env.example does not have {name}");
    }
}

#[test]
fn every_setting_of_the_container_is_in_the_example() {
    let example = read("packaging/docker/.env.example");
    for file in [
        "docker-compose.yml",
        "packaging/docker/dev.yml",
        "packaging/docker/mounted.yml",
    ] {
        for used in read(file).split("${").skip(1) {
            let name = used.split([':', '}']).next().unwrap();
            assert!(example.contains(&format!("\n{name}=")), "{file}: {name}");
        }
    }
}
