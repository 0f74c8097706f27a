#![doc = include_str!("../README.md")]

pub mod domain;
pub mod report;
pub mod telemetry;

pub mod chunk;
pub mod extract;
pub mod folder;
pub mod plan;

pub mod bedrock;
pub mod chat;
pub mod embed;
pub mod throttle;

pub mod commitlog;
pub mod ledger;

pub mod emulator;

pub mod pipeline;

pub mod config;

pub mod status;
pub mod systemd;

pub mod daemon;

pub mod cli;

pub mod docs;
