//! The simulator's command line.

#[cfg(madsim)]
mod agenda;
#[cfg(madsim)]
mod chance;
#[cfg(madsim)]
mod clock;
#[cfg(madsim)]
mod disk;
#[cfg(madsim)]
mod env;
#[cfg(madsim)]
mod net;
#[cfg(madsim)]
mod trace;
#[cfg(madsim)]
mod world;

fn main() {}
