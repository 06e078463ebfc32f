//! The fake W&B server by itself, to look at what a client does.
//!
//! ```text
//! fake_wandb KEY
//! ```
//!
//! Prints its address, and its facts when standard input ends.
#![allow(clippy::print_stdout)]

use std::io::Read as _;

use lem_testkit::wandb::FakeWandb;

fn main() {
    let key = std::env::args().nth(1).unwrap_or_else(|| "key".to_owned());
    let fake = FakeWandb::start(&key);
    println!("{}", fake.server.url());
    let mut ignored = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut ignored); // its end is all that matters
    for request in fake.server.requests() {
        println!("{} {}", request.method, request.path);
    }
    for fact in fake.facts() {
        println!("{fact}");
    }
}
