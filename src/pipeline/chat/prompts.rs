//! The prompts that run over documents: the prompts that are configured, and the files of messages.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tracing::info;

use crate::bedrock::ModelId;
use crate::chat::openai::{self, Messages, Refusal};
use crate::chat::prompt::{self, About, Per};
use crate::chat::{Prepared, Prompt};
use crate::chunk;
use crate::domain::{Asks, DocumentPath, Fingerprint};
use crate::folder::Globs;
use crate::ledger::{self, Ledger, LedgerError};
use crate::report::Invalid;

/// The prompts that run over documents.
#[derive(Debug, Default)]
pub struct Prompts {
    prompts: Vec<Configured>,
    messages: Option<Messages>,
    context: Option<Arc<str>>,
}

/// A prompt with the documents that it is meant for.
#[derive(Debug)]
struct Configured {
    prompt: Arc<Prompt>,
    include: Globs,
    exclude: Globs,
    written: String,
}

impl Prompts {
    /// Checks `[[chat]]` and `[messages]`, without asking AWS. `context` names the prompt whose answers are contexts, if there is one.
    ///
    /// # Errors
    /// When one of them cannot work.
    pub fn resolve(
        chat: &[prompt::PromptConfig],
        messages: &openai::config::MessagesConfig,
        context: Option<&str>,
    ) -> Result<Self, Invalid> {
        let mut prompts: Vec<Configured> = Vec::new();
        for config in chat {
            let globs = |key, globs: &[String]| {
                let invalid = |error: crate::folder::NotAGlob| Invalid {
                    key,
                    problem: format!("of `{}` has a mistake: {error}", config.name),
                    help: "give globs as in `source.include`".into(),
                };
                Globs::new(globs.to_vec()).map_err(invalid)
            };
            let (include, exclude) = (globs("chat.include", &config.include)?, globs("chat.exclude", &config.exclude)?);
            let written = format!("{:?} {:?} {:?}", config.per, config.include, config.exclude);
            let prompt = Prompt::resolve(config.clone())?;
            let prompt = if context == Some(&*prompt.name) { prompt.for_contexts()? } else { prompt };
            let prompt = Arc::new(prompt);
            if prompts.iter().any(|other| other.prompt.name == prompt.name) {
                let problem = format!("`{}` is listed twice", prompt.name);
                return Err(Invalid { key: "chat.name", problem, help: "give each prompt a name of its own".into() });
            }
            prompts.push(Configured { prompt, include, exclude, written });
        }
        let models: Vec<_> = chat.iter().map(|config| (config.model.clone(), config.family.clone())).collect();
        let prompts = Self { prompts, messages: Messages::resolve(messages, &models)?, context: context.map(Arc::from) };
        match context {
            Some(name) if prompts.context().is_none() => {
                let known: Vec<_> = prompts.all().map(|prompt| format!("`{}`", prompt.name)).collect();
                let help = if known.is_empty() {
                    "configure it under `[[chat]]`".into()
                } else {
                    format!("there are {}", known.join(", "))
                };
                Err(Invalid { key: "embed.context", problem: format!("is `{name}`, and there is no such prompt"), help })
            }
            _ => Ok(prompts),
        }
    }

    /// Returns whether nothing is ever asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty() && self.messages.is_none()
    }

    /// Returns the prompts, in the order of the configuration.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        self.prompts.iter().map(|configured| &configured.prompt)
    }

    /// Returns the prompts whose answers have lines of their own, in the order of the configuration.
    pub fn answered(&self) -> impl Iterator<Item = &Arc<Prompt>> {
        self.all().filter(|prompt| Some(&prompt.name) != self.context.as_ref())
    }

    /// Returns the prompt whose answers are contexts, if there is one.
    #[must_use]
    pub fn context(&self) -> Option<&Arc<Prompt>> {
        self.find(self.context.as_deref()?)
    }

    /// Returns the prompt that is asked for the contexts of a document's chunks, if one is.
    #[must_use]
    pub(in crate::pipeline) fn context_of(&self, path: &DocumentPath) -> Option<&Arc<Prompt>> {
        self.context().filter(|prompt| self.is_for(&prompt.name, path))
    }

    /// Returns a prompt by its name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Prompt>> {
        self.all().find(|prompt| &*prompt.name == name)
    }

    /// Returns what files of messages may ask for, if they are asked.
    #[must_use]
    pub fn messages(&self) -> Option<&Messages> {
        self.messages.as_ref()
    }

    /// Returns whether a file holds messages, and no document.
    #[must_use]
    pub fn is_messages(&self, path: &DocumentPath) -> bool {
        self.messages.is_some() && Messages::is_file(path)
    }

    /// Returns the models that are asked, each with the longest answer that is asked for in tokens.
    #[must_use]
    pub fn models(&self) -> BTreeMap<String, (ModelId, u32)> {
        let mut models = BTreeMap::new();
        let prompts = self.all().map(|prompt| (&prompt.model, prompt.max_tokens()));
        let messages = self.messages.iter().flat_map(|messages| messages.models().map(|model| (model, messages.max_tokens())));
        for (model, max_tokens) in prompts.chain(messages) {
            let (_, most) = models.entry(model.to_string()).or_insert_with(|| (model.clone(), max_tokens));
            *most = max_tokens.max(*most);
        }
        models
    }

    /// Returns whether a model is known, or it is said whose rules it follows.
    #[must_use]
    pub fn is_known(&self, model: &ModelId) -> bool {
        let is_unknown = |prompt: &Arc<Prompt>| prompt.model == *model && !prompt.is_known();
        !self.all().any(is_unknown) && !self.messages.iter().any(|messages| messages.unknown().contains(model))
    }

    /// Returns a small request to a model, in the form in which it is asked; `None` for one that never is.
    #[must_use]
    pub fn probe(&self, model: &ModelId) -> Option<Prepared> {
        const TEXT: &str = "riverbed";
        if let Some(prompt) = self.all().find(|prompt| prompt.model == *model) {
            let document = DocumentPath::new(Path::new(TEXT)).ok()?;
            let about = About {
                document: &document,
                media_type: "text/plain",
                text: TEXT,
                document_text: TEXT,
                headings: &[],
                chunk: (prompt.per == Per::Chunk).then_some(0),
                chunks: 1,
            };
            return prompt.ask(&about, chunk::prompt_tokens, chunk::pieces).ok()?.requests.pop();
        }
        let file = serde_json::json!({"model": model, "messages": [{"role": "user", "content": TEXT}]});
        let request = self.messages.as_ref()?.read(file.to_string().as_bytes()).ok()?;
        Some(Prepared::new(request, chunk::prompt_tokens))
    }

    /// Returns the prompts that run over a document.
    #[must_use]
    pub fn asks(&self, path: &DocumentPath) -> Vec<Asks> {
        let is_meant =
            |configured: &&Configured| configured.is_for(path) && Some(&configured.prompt.name) != self.context.as_ref();
        let meant = self.prompts.iter().filter(is_meant);
        meant
            .map(|Configured { prompt, .. }| Asks { prompt: Some(Arc::clone(&prompt.name)), model: prompt.model.as_str().into() })
            .collect()
    }

    /// Returns whether a prompt is meant for a document.
    pub(in crate::pipeline) fn is_for(&self, prompt: &str, path: &DocumentPath) -> bool {
        !self.is_messages(path)
            && self.prompts.iter().any(|configured| &*configured.prompt.name == prompt && configured.is_for(path))
    }

    /// Returns whether what was asked under a configuration is what is asked now: messages always are.
    pub(in crate::pipeline) fn still_ask(&self, prompt: Option<&str>, config: Fingerprint) -> bool {
        let Some(name) = prompt else { return true };
        let is = |prompt: &Arc<Prompt>| [false, true].iter().any(|emulated| self.fingerprint(prompt, *emulated) == config);
        self.find(name).is_some_and(is)
    }

    /// Holds what waits in the ledger to these prompts, and says what that brings. Returns the documents that the source has to take
    /// again; a scan that compares with the ledger does so by itself.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub fn hold(&self, ledger: &mut Ledger, emulated: bool) -> Result<Vec<DocumentPath>, LedgerError> {
        let mut prompts = Vec::new();
        let meant: Vec<_> =
            self.answered().map(|prompt| (prompt, move |path: &DocumentPath| self.is_for(&prompt.name, path))).collect();
        for (prompt, is_for) in &meant {
            let config = self.fingerprint(prompt, emulated);
            prompts.push(ledger::Prompt { name: &prompt.name, model: prompt.model.as_str(), config, is_for });
        }
        let held = ledger.hold_asks_to(&prompts, self.messages.is_some(), messages_config())?;
        for (prompt, documents) in std::iter::zip(&prompts, held.waiting).filter(|(_, documents)| *documents > 0) {
            info!(prompt = prompt.name, documents, "prompt is new or changed; running it over these documents");
        }
        Ok(held.anew)
    }

    /// Reads a file of messages, and returns the request with the model that it goes to.
    ///
    /// # Errors
    /// With what is wrong with it.
    pub(in crate::pipeline) fn read_messages(&self, json: &[u8]) -> Result<Prepared, Refusal> {
        let messages = self.messages.as_ref().expect("only asked where messages are");
        Ok(Prepared::new(messages.read(json)?, chunk::prompt_tokens))
    }

    /// Returns the configuration of a prompt as the ledger knows it: what it asks, and about which documents.
    #[must_use]
    pub fn fingerprint(&self, prompt: &Prompt, emulated: bool) -> Fingerprint {
        let written = self.prompts.iter().find(|configured| configured.prompt.name == prompt.name);
        let written = written.map_or("", |configured| configured.written.as_str());
        Fingerprint::of(&[("asks", &prompt.fingerprint(emulated).to_string()), ("about", written)])
    }
}

/// Returns the configuration under which a file of messages need not be taken again.
#[must_use]
pub fn messages_config() -> Fingerprint {
    Fingerprint::of(&[("messages", "1")])
}

impl Configured {
    fn is_for(&self, path: &DocumentPath) -> bool {
        (self.include.is_empty() || self.include.match_file(path.as_path())) && !self.exclude.match_file(path.as_path())
    }
}
