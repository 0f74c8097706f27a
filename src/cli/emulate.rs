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
Any client controls it over HTTP, on the same port:
  GET  /_riverbed            settings, and counts of all calls
  PUT  /_riverbed/settings   {\"requests\": \"20/s\", \"faults\": \"429 10%\", \"latency\": \"100ms\"}: changes these settings
  POST /_riverbed/script     [\"429\", \"none\", \"reset\"]: outcomes of the next calls, one each
  POST /_riverbed/reset      restores the first settings and sets the counts to zero
Faults: 429, 500, 502, 503, 504, 5xx, 408, 424, 529, reset, hang, cut, garbage, wrong-vectors, no-counts.
The keys of `[emulator]` in the configuration apply too; flags take precedence. Any AWS key is accepted; signatures
with the key of AWS's documentation, AKIAIOSFODNN7EXAMPLE, are recomputed.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct EmulateArguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
    /// Latency of every response, such as 100ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    latency: Option<Duration>,
    /// Upper bound of a random extra latency
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    jitter: Option<Duration>,
    /// Requests per model: 20/s, "200/s burst 20", "60/min window", "20/s for 3m, 5/s"
    #[arg(long, value_name = "QUOTA")]
    requests: Option<Quota>,
    /// Tokens per model, in the same syntax
    #[arg(long, value_name = "QUOTA")]
    tokens: Option<Quota>,
    /// Random failures with their share: "429 10%, 5xx 5%, reset 2%, hang 1%, cut 0.5%"
    #[arg(long, value_name = "RATES")]
    faults: Option<FaultRates>,
    /// Seed of faults and jitter; the same number fails the same calls
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Kind of vectors
    #[arg(long)]
    vectors: Option<Vectors>,
    /// Wait between two events of a streamed answer, such as 20ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    chunk_latency: Option<Duration>,
    /// Whose instructions its chat models follow besides the prompt's
    #[arg(long)]
    gullible: Option<Gullible>,
}

impl EmulateArguments {
    fn over(self, config: emulator::EmulatorConfig) -> emulator::EmulatorConfig {
        emulator::EmulatorConfig {
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

pub(super) fn run(arguments: EmulateArguments, global: &Global) -> Result<Exit, Failure> {
    // It runs without a file too: a user who only wants a server has none.
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
