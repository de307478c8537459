//! The binary: the real world, the command line.

fn main() {}
