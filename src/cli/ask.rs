//! `riverbed ask`: one answer, streamed to the terminal; with `--prompt` what a configured prompt would write about a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use serde::Serialize;

use super::{Failure, Global, Needs, call_exit, call_help, document_arg, format::plain, print, print_on, run, write};
use crate::bedrock::client::Emulated;
use crate::bedrock::{CallError, Client, ModelId, ModelKey};
use crate::chat::openai::{Conversation, Settings, Traits, translate};
use crate::chat::prompt::{About, Per};
use crate::chat::{Answer, Ending, Prepared, Prompt};
use crate::config::Loaded;
use crate::daemon::startup;
use crate::domain::escape::plain_json;
use crate::domain::{Body, Chunk, ContentHash, DocumentPath, Tier};
use crate::pipeline::chat::{Asker, try_out};
use crate::report::{Exit, nearest};
use crate::{chunk, extract};

#[derive(Debug, Args)]
pub(super) struct AskArguments {
    /// Question to ask
    #[arg(required_unless_present = "prompt", conflicts_with = "prompt")]
    question: Option<String>,
    /// File that the question is about; can be repeated. With --prompt: the document
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Vec<PathBuf>,
    /// Chat model [default: the first in the configuration]
    #[arg(short, long, value_parser = model_id, conflicts_with = "prompt")]
    model: Option<ModelId>,
    /// Name of a `[[chat]]` prompt to test on the file; prints the line that a run would write
    #[arg(short, long, value_name = "NAME", requires = "file")]
    prompt: Option<String>,
}

fn model_id(id: &str) -> Result<ModelId, String> {
    ModelId::try_from(id.to_owned()).map_err(|error| error.to_string())
}

/// The most tokens of an answer that no prompt bounds.
const MAX_TOKENS: u32 = 2048;

pub(super) fn run(arguments: AskArguments, global: &Global) -> Result<Exit, Failure> {
    let loaded = global.load_for(Needs::Anything, Vec::new())?;
    super::runtime()?.block_on(async {
        let emulator = run::emulator_of(&loaded.config).await?;
        let emulated = emulator.as_ref().map(|emulator| Emulated { url: emulator.endpoint() });
        let client = Client::connect(&loaded.config.bedrock, emulated.as_ref()).await?;
        let ended = match &arguments.prompt {
            Some(name) => prompt(name, &arguments.file, &loaded, client).await,
            None => question(arguments, &loaded, client).await,
        };
        if let Some(emulator) = emulator {
            emulator.stop().await;
        }
        ended
    })
}

/// A file's text, as a run reads it.
struct FileText {
    path: DocumentPath,
    version: ContentHash,
    extracted: extract::Extracted,
}

/// Reads a file, of which no more is held than a run would hold; `before` are the bytes of the files before it.
fn read(file: &Path, before: &mut u64, loaded: &Loaded) -> Result<FileText, Failure> {
    let shown = plain(&file.display().to_string());
    let failed = |why: String, exit| Failure::new(format!("cannot read `{shown}`: {why}"), exit);
    let size = std::fs::metadata(file).map_err(|error| failed(error.to_string(), Exit::Io))?.len();
    let most = loaded.config.source.max_file_size.as_u64();
    let too_large = |before: u64| {
        let together = if before == 0 { "it is" } else { "the files are together" };
        failed(format!("{together} larger than `source.max-file-size`"), Exit::Usage)
    };
    if before.saturating_add(size) > most {
        return Err(too_large(*before));
    }
    // Not more than that of a file that grows, or that has no size, as a pipe.
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|file| file.take(most - *before + 1).read_to_end(&mut bytes));
    let size = opened.map_err(|error| failed(error.to_string(), Exit::Io))? as u64;
    if before.saturating_add(size) > most {
        return Err(too_large(*before));
    }
    *before += size;
    let name = file.file_name().map(PathBuf::from).unwrap_or_default();
    let path = document_arg::below(&loaded.config.source.path, file).map_or_else(|| DocumentPath::new(&name), Ok);
    let path = path.map_err(|error| failed(error.to_string(), Exit::Usage))?;
    let version = ContentHash::of(&bytes);
    let extracted = extract::text(&path, bytes).map_err(|why| failed(why.to_string(), Exit::Usage))?;
    Ok(FileText { path, version, extracted })
}

/// Asks a question and shows the answer as it is written.
async fn question(arguments: AskArguments, loaded: &Loaded, client: Client) -> Result<Exit, Failure> {
    let first = || loaded.prompts.all().next().map(|prompt| prompt.model.clone());
    let of_messages = || loaded.prompts.messages().and_then(|messages| messages.models().next().cloned());
    let Some(model) = arguments.model.or_else(first).or_else(of_messages) else {
        let help = "name one with `--model`, as `--model amazon.nova-micro-v1:0`; or configure a `[[chat]]` prompt";
        return Err(Failure::new("no chat model is configured", Exit::Usage).help(help));
    };
    let configured = loaded.config.chat.iter().find(|prompt| prompt.model == model);
    let family = configured.and_then(|prompt| prompt.family.as_deref());
    let traits = Traits::resolve(&model, family).map_err(|unknown| {
        Failure::new(unknown, Exit::Usage)
            .help("name a model of a family that is known, or configure a `[[chat]]` prompt with its `family`")
    })?;
    let mut asked = arguments.question.unwrap_or_default();
    let mut before = 0;
    for file in &arguments.file {
        let text = read(file, &mut before, loaded)?;
        let _infallible = write!(asked, "\n\n{}:\n{}", text.path, Prompt::block(&text.extracted.text));
    }
    let max_tokens = MAX_TOKENS.min(traits.max_output).try_into().expect("every model writes something");
    let settings = Settings { max_tokens, ..Settings::default() };
    let request = translate(&Conversation::ask(None, asked), &model, traits, &settings)
        .map_err(|refusal| Failure::new(refusal, Exit::Usage).help("ask something else, or another model"))?;
    let request = Prepared::new(request, chunk::prompt_tokens);
    let asker = startup::asker(loaded, None, None, client, &model, MAX_TOKENS)?;
    let mut streaming = asker.chat.stream(&request).await.map_err(call_failure)?;
    let mut ends_in_line = true;
    while let Some(piece) = streaming.next().await.map_err(call_failure)? {
        ends_in_line = piece.ends_with('\n');
        if print_on(&piece)? == ControlFlow::Break(()) {
            return Ok(Exit::Done);
        }
    }
    let answer = streaming.finish().await.map_err(call_failure)?;
    if !ends_in_line {
        print("\n")?;
    }
    eprint_said(&answer, &asker, &model);
    Ok(if answer.ending == Ending::Whole { Exit::Done } else { Exit::DocumentsFailed })
}

/// Says on standard error how the answer ended and what it took.
fn eprint_said(answer: &Answer, asker: &Asker, model: &ModelId) {
    let mut said = format!("{model}: {}", plain(&answer.stop_reason));
    if let Some(usage) = answer.usage {
        let used = usage.used(answer.service_tier.as_deref().map(Tier::of).unwrap_or_default());
        let _infallible = write!(said, ", {} tokens in, {} out", used.input, used.output);
        if let Some(cost) = asker.lane.account.cost(used).filter(|_| !answer.emulated) {
            let _infallible = write!(said, ", {cost}");
        }
    }
    if answer.emulated {
        said.push_str("; an emulator answered, with sentences of what it was given, and charges nothing");
    }
    #[expect(clippy::print_stderr, reason = "beside the answer, which goes to standard output")]
    {
        eprintln!("{said}");
    }
}

/// What would be written.
#[derive(Serialize)]
struct Line<'a> {
    document: String,
    version: ContentHash,
    prompt: &'a str,
    chunk: Option<usize>,
    #[serde(flatten)]
    body: Body,
}

/// Tries a configured prompt on a file.
async fn prompt(name: &str, files: &[PathBuf], loaded: &Loaded, client: Client) -> Result<Exit, Failure> {
    let Some(prompt) = loaded.prompts.find(name) else {
        let known: Vec<_> = loaded.prompts.all().map(|prompt| format!("`{}`", prompt.name)).collect();
        let meant = nearest(name, loaded.prompts.all().map(|prompt| &*prompt.name));
        let meant = meant.map(|meant| format!("did you mean `{meant}`? ")).unwrap_or_default();
        let help = if known.is_empty() {
            "configure one under `[[chat]]`".to_owned()
        } else {
            format!("{meant}there are {}", known.join(", "))
        };
        return Err(Failure::new(format!("there is no prompt `{}`", plain(name)), Exit::Usage).help(help));
    };
    let [file] = files else {
        return Err(Failure::new("a prompt is tried on one file", Exit::Usage).help("give one `--file`"));
    };
    let FileText { path, version, extracted } = read(file, &mut 0, loaded)?;
    let text = &extracted.text;
    let chunks = match prompt.per {
        Per::Document => vec![Chunk { span: 0..text.len(), headings: Arc::default(), tokens: chunk::tokens(""), part: None }],
        Per::Chunk => chunk::split(text, extracted.format, &loaded.config.chunk, &loaded.chunk_limits()),
    };
    let asker = startup::asker(loaded, None, None, client, &prompt.model, prompt.max_tokens())?;
    for (index, chunk) in chunks.iter().enumerate() {
        let about = About {
            document: &path,
            media_type: &extracted.media_type,
            text: &text[chunk.span.clone()],
            document_text: text,
            headings: &chunk.headings,
            chunk: (prompt.per == Per::Chunk).then_some(index),
            chunks: chunks.len(),
        };
        let body = try_out(&asker, prompt, &about)
            .await
            .map_err(|failure| Failure::new(failure.message, Exit::DocumentsFailed).help(failure.advice))?;
        let line = Line { document: path.to_string(), version, prompt: &prompt.name, chunk: about.chunk, body };
        let json = serde_json::to_string(&line).expect("a line is JSON");
        if write(&plain_json(&(json + "\n")))? == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(Exit::Done)
}

fn call_failure(error: CallError) -> Failure {
    let (exit, help) = (call_exit(&error), call_help(&error, ModelKey::Chat));
    Failure::new(error, exit).help(help)
}
