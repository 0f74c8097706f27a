#![doc = include_str!("../README.md")]

pub mod docs;

pub mod model;
pub mod report;
pub mod telemetry;

pub mod source;

pub mod extract;

pub mod chunk;

pub mod plan;

pub mod bedrock;

pub mod ledger;

pub mod sink;

pub mod emulator;

pub mod pipeline;

pub mod config;

pub mod status;

pub mod service;

pub mod cli;
