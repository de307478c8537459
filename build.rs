//! Makes Rust of the protocol's schema tables. See `src/protocol/schema/header.schema`.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/protocol/codegen.rs"]
mod codegen;
#[path = "src/protocol/schema.rs"]
#[allow(dead_code)]
mod schema;

const TABLES: &str = "src/protocol/schema";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/protocol/codegen.rs");
    println!("cargo::rerun-if-changed=src/protocol/schema.rs");
    println!("cargo::rerun-if-changed={TABLES}");

    let mut files = vec![];
    for entry in fs::read_dir(TABLES).expect("the tables are part of the source") {
        let path = entry.expect("the directory is readable").path();
        files.push((path.display().to_string(), fs::read_to_string(&path).expect("UTF-8")));
    }
    files.sort();
    let (apis, messages) = schema::parse(&files);

    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    write(&out.join("api_keys.rs"), codegen::api_keys(&apis));
    write(&out.join("messages.rs"), codegen::messages(&messages));
}

fn write(path: &Path, text: String) {
    fs::write(path, text).expect("OUT_DIR is writable");
}
