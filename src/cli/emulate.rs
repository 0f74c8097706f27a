//! `riverbed emulate`: the Bedrock emulator alone.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{FILE, Failure, Global, StopRequests, print, runtime};
use crate::config::Loaded;
use crate::emulator::{self, Emulator, FaultRates, Gullible, Quota, Vectors};
use crate::report::Exit;

const HELP: &str = "\
At run time it is driven over HTTP, on the same port, by any client:
  GET  /_riverbed            settings, and counts of everything it was asked
  PUT  /_riverbed/settings   {\"requests\": \"20/s\", \"faults\": \"429 10%\", \"latency\": \"100ms\"}: those named change
  POST /_riverbed/script     [\"429\", \"none\", \"reset\"]: how the next calls go, one each
  POST /_riverbed/reset      settings as at the start, counts at zero
Faults: 429, 500, 502, 503, 504, 5xx, 408, 424, 529, reset, hang, cut, garbage, wrong-vectors, no-counts.
Keys stand in `[emulator]` of the configuration too; flags go over them. Any AWS key opens it; signatures made
with the key of AWS's documentation, AKIAIOSFODNN7EXAMPLE, are recomputed.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// How long every answer takes, as 100ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    latency: Option<Duration>,
    /// Up to so much longer, by chance
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    jitter: Option<Duration>,
    /// Requests that each model takes, as 20/s, "200/s burst 20", "60/min window", "20/s for 3m, 5/s"
    #[arg(long, value_name = "QUOTA")]
    requests: Option<Quota>,
    /// Tokens that each model takes, in the same words
    #[arg(long, value_name = "QUOTA")]
    tokens: Option<Quota>,
    /// How often calls go wrong by chance, as "429 10%, 5xx 5%, reset 2%, hang 1%, cut 0.5%"
    #[arg(long, value_name = "RATES")]
    faults: Option<FaultRates>,
    /// What faults and jitter are drawn by: the same number, the same calls go wrong
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Which vectors it answers with
    #[arg(long)]
    vectors: Option<Vectors>,
    /// How long a streamed answer waits between two events, as 20ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    chunk_latency: Option<Duration>,
    /// Whose orders its chat models obey beside the prompt's
    #[arg(long)]
    gullible: Option<Gullible>,
}

impl Arguments {
    fn over(self, config: emulator::Config) -> emulator::Config {
        emulator::Config {
            latency: self.latency.unwrap_or(config.latency),
            jitter: self.jitter.unwrap_or(config.jitter),
            requests: self.requests.unwrap_or(config.requests),
            tokens: self.tokens.unwrap_or(config.tokens),
            faults: self.faults.unwrap_or(config.faults),
            seed: self.seed.unwrap_or(config.seed),
            vectors: self.vectors.unwrap_or(config.vectors),
            chunk_latency: self.chunk_latency.unwrap_or(config.chunk_latency),
            gullible: self.gullible.unwrap_or(config.gullible),
        }
    }
}

pub(super) fn run(arguments: Arguments, global: &Global) -> Result<Exit, Failure> {
    // It runs without a file too: whoever only wants a server has none.
    let config = match &global.config {
        None if !Path::new(FILE).exists() => Loaded::without_file(&global.overrides(Vec::new()))?,
        Some(_) | None => global.load(Vec::new())?.config,
    };
    let listen = arguments.listen;
    let config = arguments.over(config.emulator);
    let made = if config.vectors == Vectors::Lexical { "lexical stand-ins, not a model's" } else { "hashes without meaning" };
    runtime()?.block_on(async {
        let mut stop = StopRequests::listen()?;
        let emulator = Emulator::start(listen, config).await.map_err(|error| {
            Failure::new(error, Exit::Io).help("choose another address with --listen, as 127.0.0.1:0 for any free port")
        })?;
        let endpoint = emulator.endpoint();
        print(&format!(
            "listening on {endpoint}\n\
             vectors are {made}\n\
             try: AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_REGION=us-east-1 \\\n     \
             aws bedrock-runtime invoke-model --endpoint-url {endpoint} --model-id amazon.titan-embed-text-v2:0 \\\n     \
             --cli-binary-format raw-in-base64-out --body '{{\"inputText\":\"hello\"}}' /dev/stdout\n"
        ))?;
        stop.next().await;
        emulator.stop().await;
        Ok(Exit::Done)
    })
}
