//! Checks that `embed.context` leaves room for a chunk.

use crate::domain::model_limits::CHARACTERS_PER_TOKEN;
use crate::embed::Settings;
use crate::pipeline::chat::Prompts;
use crate::report::Invalid;

/// Checks that a context leaves at least half of what the model takes of a text to the chunk that follows it.
pub(super) fn check(prompts: &Prompts, settings: &Settings) -> Result<(), Invalid> {
    let Some(prompt) = prompts.context() else { return Ok(()) };
    let limits = settings.limits();
    let most = (limits.tokens_per_text.get() / 2).min((limits.characters_per_text.get() / 2 / CHARACTERS_PER_TOKEN) as u64);
    if u64::from(prompt.max_tokens()) <= most {
        return Ok(());
    }
    Err(Invalid {
        key: "embed.context",
        problem: format!(
            "is `{}`, whose answers may have {} tokens; beside them `{}` would have too little room for a chunk",
            prompt.name,
            prompt.max_tokens(),
            settings.model()
        ),
        help: format!("give that prompt a `max-tokens` of at most {most}; 100 are enough for a sentence or two"),
    })
}
