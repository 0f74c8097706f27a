//! `riverbed check`: what can be known without asking AWS.

use super::{Failure, Global, print, run};
use crate::report::Exit;

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let loaded = global.load(Vec::new())?;
    run::source_is_there(&loaded)?;
    super::runtime()?.block_on(async {
        let config = &loaded.config;
        let place = match config.bedrock.endpoint {
            Some(crate::bedrock::Endpoint::Emulator) => "the built-in emulator".to_owned(),
            _ => crate::bedrock::Client::connect(&config.bedrock, None).await?.place().to_owned(),
        };
        let settings = &loaded.settings;
        print(&format!(
            "configuration  {file}: fine\n\
             source         {source}\n\
             bedrock        {place}, at most {in_flight} calls at once\n\
             embed          {model}, {dimensions} dimensions\n\
             chunk          at most {max} tokens, up to {overlap} of them overlap\n\
             sink           {sink}\n",
            file = global.config.display(),
            source = config.source.path.display(),
            in_flight = config.bedrock.max_in_flight,
            model = settings.model(),
            dimensions = settings.dimensions(),
            max = config.chunk.max_tokens,
            overlap = config.chunk.overlap_tokens,
            sink = config.sink.path.display(),
        ))
    })
}
