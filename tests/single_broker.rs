//! A whole node in this process, over real sockets and a real disk: what clients see of it, and
//! what it does when the input is bad or the machine is in trouble.

mod harness;

mod connections;
mod directories;
mod fetch;
mod frames;
mod golden;
mod many;
mod offsets;
mod process;
mod produce;
mod restart;
mod retention;
mod topics;
mod trouble;
