//! `riverbed emulate`: the Bedrock emulator alone.

use std::net::SocketAddr;

use clap::Args;

use super::{Failure, Global, StopRequests, print, runtime};
use crate::emulator::{self, Emulator};
use crate::report::Exit;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    listen: SocketAddr,
}

pub(super) fn run(arguments: &Arguments, global: &Global) -> Result<Exit, Failure> {
    // It runs without a file too: whoever only wants a server has none.
    let config = if global.config.exists() { global.load(Vec::new())?.config.emulator } else { emulator::Config::default() };
    runtime()?.block_on(async {
        let mut stop = StopRequests::listen()?;
        let emulator = Emulator::start(arguments.listen, config).await.map_err(|error| {
            Failure::new(error, Exit::Io).help("choose another address with --listen, as 127.0.0.1:0 for any free port")
        })?;
        let endpoint = emulator.endpoint();
        print(&format!(
            "listening on {endpoint}\n\
             vectors are lexical stand-ins, not a model's\n\
             try: AWS_ACCESS_KEY_ID=x AWS_SECRET_ACCESS_KEY=x AWS_REGION=us-east-1 \\\n     \
             aws bedrock-runtime invoke-model --endpoint-url {endpoint} --model-id amazon.titan-embed-text-v2:0 \\\n     \
             --cli-binary-format raw-in-base64-out --body '{{\"inputText\":\"hello\"}}' /dev/stdout\n"
        ))?;
        stop.next().await;
        emulator.stop().await;
        Ok(Exit::Done)
    })
}
