//! One binary for all integration tests: each more would link the SDK again.

#![expect(clippy::unwrap_used, reason = "Clippy lets tests unwrap, but not the functions they share")]
#![expect(unreachable_pub, reason = "one binary: what the files share is public to each other only")]

mod answers;
mod budget;
mod chat;
mod cli;
mod concurrent_writers;
mod conditions;
mod config;
mod connections;
mod contexts;
mod converse;
mod crash;
mod credentials;
mod daemon;
mod disposal;
mod edits;
mod emulator;
mod endpoints;
mod error_classes;
mod explain;
mod failed;
mod failures;
mod fake_service;
mod families;
mod hostile;
mod identity;
mod keys;
mod limits;
mod load;
mod manual;
mod once;
mod online;
mod operator;
mod outside;
mod overlong;
mod peers;
mod plan;
mod recorded;
mod reload;
mod renames;
mod secrets;
mod service;
mod skipped;
mod source;
mod status;
mod stops;
mod support;
mod suspects;
mod terminal;
mod tidy;
mod upgrade;
mod verify;
mod watching;
mod words;
