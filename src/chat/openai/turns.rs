//! Messages to turns: the user's and the assistant's, one after the other, as Bedrock wants them.

use std::collections::BTreeSet;

use super::Settings;
use super::parts::{Cache, Content, Kind, Part, Ttl};
use super::schema::{Message, Role, Thinking};
use super::{data_uri, is_blank, tools};
use crate::chat::capabilities::{Caching, Dialect, Traits};
use crate::chat::converse::{Block, CachePoint, Guarded, Reasoning, ResultBlock, System, ToolResult, Turn, TurnRole};
use crate::chat::refusal::{At, Notes, Refusal};

/// The translated messages.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub(super) system: Vec<System>,
    pub(super) turns: Vec<Turn>,
    /// Whether there are calls of tools.
    pub(super) uses_tools: bool,
    pub(super) notes: Notes,
}

/// A turn with the places of its pieces, kinds apart: results come before what else the user says, reasoning before the
/// assistant's text, calls after it. Models want them so.
#[derive(Debug)]
struct Draft {
    role: TurnRole,
    /// Of its first message.
    message: usize,
    /// Each with whether a cache point follows it.
    results: Vec<(usize, ToolResult, Option<CachePoint>)>,
    reasoning: Vec<Block>,
    said: Vec<(At, Block)>,
    calls: Vec<(String, Block)>,
}

/// Goes through the messages once.
struct Translation<'a> {
    settings: &'a Settings,
    traits: &'a Traits,
    system: Vec<System>,
    drafts: Vec<Draft>,
    documents: usize,
    call_ids: BTreeSet<String>,
    notes: Notes,
}

/// Translates the messages of a conversation, after the system text that the conversation has beside them.
pub(super) fn translate(
    system: Option<&Content>,
    messages: &[Message],
    settings: &Settings,
    traits: &Traits,
) -> Result<Translated, Refusal> {
    let mut translation = Translation {
        settings,
        traits,
        system: Vec::new(),
        drafts: Vec::new(),
        documents: 0,
        call_ids: BTreeSet::new(),
        notes: Notes::default(),
    };
    if let Some(content) = system {
        translation.instruct(content, "system")?;
    }
    for (index, message) in messages.iter().enumerate() {
        check_fields(message, index, &mut translation.notes)?;
        match message.role {
            // Bedrock has one place for instructions. Those later in the conversation go there too, in their order.
            Role::System | Role::Developer => {
                if let Some(content) = &message.content {
                    translation.instruct(content, &format!("messages[{index}].content"))?;
                }
            }
            Role::User => translation.user(message, index)?,
            Role::Assistant => translation.assistant(message, index)?,
            Role::Tool => translation.result(message, index)?,
        }
        if let Some(cache) = message.cache_control {
            translation.cache(cache, message.role, index);
        }
    }
    translation.finish()
}

impl Translation<'_> {
    fn instruct(&mut self, content: &Content, place: &str) -> Result<(), Refusal> {
        for (part, at) in parts(content) {
            let at = at.map_or_else(|| place.to_owned(), |part| format!("{place}[{part}]"));
            let block = match part.kind {
                Kind::Text(text) if is_blank(&text) => continue,
                Kind::Guarded(text) if is_blank(&text) => continue,
                Kind::Text(text) => System::Text(text),
                Kind::Guarded(text) => System::GuardContent(guarded(text, self.settings, &at)?),
                Kind::Image(_) | Kind::File(_) | Kind::Refusal(_) => {
                    return Err(Refusal::new(at, "is no text; Bedrock takes only texts as instructions"));
                }
            };
            if !self.traits.system {
                return Err(Refusal::new(
                    at,
                    "the model takes no system text: put it into the user's message, or ask another model",
                ));
            }
            self.system.push(block);
            if let Some(cache) = part.cache {
                let point = cache_point(cache, self.traits, &format!("{at}.cache_control"), &mut self.notes);
                self.system.extend(point.map(System::CachePoint));
            }
        }
        Ok(())
    }

    /// Sets the cache point of a whole message behind what it said last, unless one is there.
    fn cache(&mut self, cache: Cache, role: Role, index: usize) {
        let field = format!("messages[{index}].cache_control");
        let Some(point) = cache_point(cache, self.traits, &field, &mut self.notes) else { return };
        if matches!(role, Role::System | Role::Developer) {
            if !matches!(self.system.last(), None | Some(System::CachePoint(_))) {
                self.system.push(System::CachePoint(point));
            }
            return;
        }
        let Some(draft) = self.drafts.last_mut() else { return };
        match (role, draft.results.last_mut(), draft.said.last()) {
            (Role::Tool, Some((_, _, after)), _) => *after = Some(point),
            // Calls come behind all that is said: there is no place behind them that every model takes.
            (_, _, Some((_, Block::CachePoint(_))) | None) => {}
            (_, _, Some((at, _))) => {
                let at = *at;
                draft.said.push((at, Block::CachePoint(point)));
            }
        }
    }

    fn user(&mut self, message: &Message, index: usize) -> Result<(), Refusal> {
        let Some(content) = &message.content else { return Ok(()) };
        for (part, place) in parts(content) {
            let at = At { message: index, part: place };
            let block = match part.kind {
                Kind::Text(text) if is_blank(&text) => continue,
                Kind::Guarded(text) if is_blank(&text) => continue,
                Kind::Text(text) => Block::Text(text),
                Kind::Guarded(text) => Block::GuardContent(guarded(text, self.settings, &at.to_string())?),
                Kind::Refusal(_) => return Err(Refusal::new(at, "a refusal is the assistant's")),
                Kind::Image(_) if !self.traits.images => {
                    return Err(Refusal::new(at.field("image_url"), "the model sees no images: ask another one"));
                }
                Kind::File(_) if !self.traits.documents => {
                    return Err(Refusal::new(at.field("file"), "the model reads no documents: ask another one"));
                }
                Kind::Image(image) => Block::Image(data_uri::image(&image, at, &mut self.notes)?),
                Kind::File(file) => {
                    self.documents += 1;
                    Block::Document(data_uri::document(&file, self.documents, at)?)
                }
            };
            let point = self.point(part.cache, at);
            let draft = self.draft(TurnRole::User, index);
            draft.said.push((at, block));
            draft.said.extend(point.map(|point| (at, Block::CachePoint(point))));
        }
        Ok(())
    }

    fn assistant(&mut self, message: &Message, index: usize) -> Result<(), Refusal> {
        for (number, thinking) in message.thinking_blocks.iter().flatten().enumerate() {
            let field = format!("messages[{index}].thinking_blocks[{number}]");
            if self.traits.dialect != Dialect::Claude {
                return Err(Refusal::new(field, "the model accepts no reasoning in a request: leave it out"));
            }
            let reasoning = match thinking {
                Thinking::Thinking { thinking, signature } => {
                    Reasoning::ReasoningText { text: thinking.clone(), signature: signature.clone() }
                }
                Thinking::RedactedThinking { data } => {
                    let bytes = data_uri::base64(data);
                    Reasoning::RedactedContent(
                        bytes.map_err(|error| Refusal::new(format!("{field}.data"), format!("is not base64: {error}")))?,
                    )
                }
            };
            self.draft(TurnRole::Assistant, index).reasoning.push(Block::ReasoningContent(reasoning));
        }
        let refusal = message.refusal.clone().map(|text| (Part { kind: Kind::Refusal(text), cache: None }, None));
        for (part, place) in message.content.iter().flat_map(parts).chain(refusal) {
            let at = At { message: index, part: place };
            let text = match part.kind {
                // What the model said when it refused is what it said.
                Kind::Text(text) | Kind::Refusal(text) => text,
                Kind::Guarded(_) => return Err(Refusal::new(at, "only what the user says can be guarded")),
                Kind::Image(_) => return Err(Refusal::new(at.field("image_url"), "Bedrock takes images only from the user")),
                Kind::File(_) => return Err(Refusal::new(at.field("file"), "Bedrock takes documents only from the user")),
            };
            if is_blank(&text) {
                continue;
            }
            let point = self.point(part.cache, at);
            let draft = self.draft(TurnRole::Assistant, index);
            draft.said.push((at, Block::Text(text)));
            draft.said.extend(point.map(|point| (at, Block::CachePoint(point))));
        }
        for (number, call) in message.tool_calls.iter().flatten().enumerate() {
            let field = format!("messages[{index}].tool_calls[{number}]");
            if let Some(cache) = call.cache_control {
                let place = format!("{field}.cache_control");
                if cache_point(cache, self.traits, &place, &mut self.notes).is_some() {
                    self.notes.add(place, "was left out: there are no cache points behind calls of tools");
                }
            }
            let call = tools::call(call, &field)?;
            if !self.call_ids.insert(call.tool_use_id.clone()) {
                return Err(Refusal::new(format!("{field}.id"), "is the id of another call too"));
            }
            self.draft(TurnRole::Assistant, index).calls.push((field, Block::ToolUse(call)));
        }
        Ok(())
    }

    fn result(&mut self, message: &Message, index: usize) -> Result<(), Refusal> {
        let field = |name: &str| format!("messages[{index}].{name}");
        let Some(id) = &message.tool_call_id else {
            return Err(Refusal::new(field("tool_call_id"), "is missing: it says which call this is the result of"));
        };
        let tool_use_id = tools::id(id, &field("tool_call_id"))?;
        let (mut content, mut point) = (Vec::new(), None);
        for (part, place) in message.content.iter().flat_map(parts) {
            let at = At { message: index, part: place };
            match part.kind {
                Kind::Text(text) if is_blank(&text) => {}
                Kind::Text(text) => content.push(ResultBlock::Text(text)),
                Kind::Image(_) if !self.traits.images || self.traits.dialect == Dialect::Plain => {
                    return Err(Refusal::new(at.field("image_url"), "the model sees no images in results of tools"));
                }
                Kind::Image(image) => content.push(ResultBlock::Image(data_uri::image(&image, at, &mut self.notes)?)),
                Kind::Guarded(_) | Kind::Refusal(_) | Kind::File(_) => {
                    return Err(Refusal::new(at, "only texts and images can be results of tools"));
                }
            }
            // There are none inside results; behind the whole of it is the nearest place.
            point = self.point(part.cache, at).or(point);
        }
        // A tool that has done its work and has nothing to say: the service takes a result without content (measured).
        self.draft(TurnRole::User, index).results.push((index, ToolResult { tool_use_id, content }, point));
        Ok(())
    }

    fn point(&mut self, cache: Option<Cache>, at: At) -> Option<CachePoint> {
        cache_point(cache?, self.traits, &at.field("cache_control"), &mut self.notes)
    }

    /// Returns the turn that a message adds to: the last one, if it is of the same role.
    fn draft(&mut self, role: TurnRole, message: usize) -> &mut Draft {
        if self.drafts.last().is_none_or(|last| last.role != role) {
            let (results, reasoning, said, calls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            self.drafts.push(Draft { role, message, results, reasoning, said, calls });
        }
        self.drafts.last_mut().expect("there is one now")
    }

    fn finish(self) -> Result<Translated, Refusal> {
        let Self { system, drafts, traits, notes, .. } = self;
        match drafts.first() {
            None => {
                return Err(Refusal::new(
                    "messages",
                    "the user says nothing; Bedrock needs at least one message of theirs that is not empty",
                ));
            }
            Some(first) if first.role == TurnRole::Assistant => {
                return Err(Refusal::new(
                    format!("messages[{}].role", first.message),
                    "the assistant speaks first; Bedrock takes only conversations that the user begins",
                ));
            }
            Some(_) => {}
        }
        let mut before: Option<&Draft> = None;
        for draft in &drafts {
            check_results(before, draft)?;
            check_company(draft, traits)?;
            before = Some(draft);
        }
        if let Some(last) = drafts.last() {
            check_end(last, traits)?;
        }
        let uses_tools = drafts.iter().any(|draft| !draft.calls.is_empty());
        Ok(Translated { system, turns: drafts.into_iter().map(Draft::finish).collect(), uses_tools, notes })
    }
}

impl Draft {
    fn finish(self) -> Turn {
        let results = self
            .results
            .into_iter()
            .flat_map(|(_, result, point)| std::iter::once(Block::ToolResult(result)).chain(point.map(Block::CachePoint)));
        let said = self.said.into_iter().map(|(_, block)| block);
        let calls = self.calls.into_iter().map(|(_, call)| call);
        Turn { role: self.role, content: results.chain(self.reasoning).chain(said).chain(calls).collect() }
    }
}

/// Every call has its result in the turn after it, and every result its call in the turn before.
fn check_results(before: Option<&Draft>, draft: &Draft) -> Result<(), Refusal> {
    let mut open: Vec<_> = before
        .iter()
        .flat_map(|before| &before.calls)
        .filter_map(|(field, call)| match call {
            Block::ToolUse(call) => Some((field, &call.tool_use_id)),
            _ => None,
        })
        .collect();
    for (message, result, _) in &draft.results {
        let Some(place) = open.iter().position(|(_, id)| **id == result.tool_use_id) else {
            return Err(Refusal::new(
                format!("messages[{message}].tool_call_id"),
                "is the id of no call that the assistant made just before, or of one that has its result already",
            ));
        };
        open.remove(place);
    }
    match open.first() {
        Some((field, _)) => Err(Refusal::new(*field, "has no result; it must follow before anything else is said")),
        None => Ok(()),
    }
}

fn check_company(draft: &Draft, traits: &Traits) -> Result<(), Refusal> {
    if let (false, false, Some((at, _))) = (traits.text_beside_results, draft.results.is_empty(), draft.said.first()) {
        return Err(Refusal::new(at, "the model takes nothing beside the results of its calls in the same turn"));
    }
    let document = draft.said.iter().find(|(_, block)| matches!(block, Block::Document(_)));
    let has_text = draft.said.iter().any(|(_, block)| matches!(block, Block::Text(_)));
    match document {
        Some((at, _)) if !has_text => {
            Err(Refusal::new(at.field("file"), "a document needs a text beside it that says what to do with it"))
        }
        _ => Ok(()),
    }
}

/// The last turn is the user's, or the beginning of the answer, from which the model goes on.
fn check_end(last: &Draft, traits: &Traits) -> Result<(), Refusal> {
    if let Some((field, _)) = last.calls.first() {
        return Err(Refusal::new(field, "has no result; it must follow before the model can go on"));
    }
    if last.role == TurnRole::User {
        return Ok(());
    }
    let at = format!("messages[{}]", last.message);
    match last.said.last() {
        _ if !traits.prefill => {
            Err(Refusal::new(at, "the assistant speaks last, and the model does not go on from there: end with the user"))
        }
        Some((at, Block::Text(text))) if traits.dialect == Dialect::Claude && text.ends_with(char::is_whitespace) => {
            Err(Refusal::new(at, "ends in white space, from which Claude does not go on: cut it"))
        }
        Some((_, Block::Text(_))) => Ok(()),
        _ => Err(Refusal::new(at, "the assistant speaks last without a text from which the model could go on")),
    }
}

/// Refuses fields that do not belong to a message of its role.
fn check_fields(message: &Message, index: usize, notes: &mut Notes) -> Result<(), Refusal> {
    use Role::{Assistant, Tool};
    let role = message.role;
    let is_some_json = |json: &Option<serde_json::Value>| json.as_ref().is_some_and(|json| !json.is_null());
    for (field, stray, problem) in [
        (
            "tool_calls",
            message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()) && role != Assistant,
            "only the assistant calls tools",
        ),
        ("tool_call_id", message.tool_call_id.is_some() && role != Tool, "only a message of the role `tool` has one"),
        ("refusal", message.refusal.is_some() && role != Assistant, "only the assistant has one"),
        (
            "thinking_blocks",
            message.thinking_blocks.as_ref().is_some_and(|blocks| !blocks.is_empty()) && role != Assistant,
            "only the assistant has them",
        ),
        ("audio", is_some_json(&message.audio), "Bedrock has nothing like it: leave it out"),
        ("function_call", is_some_json(&message.function_call), "is long out of use: write `tool_calls`"),
    ] {
        if stray {
            return Err(Refusal::new(format!("messages[{index}].{field}"), problem));
        }
    }
    for (field, is_there, what) in [
        // Of a tool it repeats what the call says.
        ("name", message.name.is_some() && role != Tool, "was left out: Bedrock knows only roles, so say in the text who speaks"),
        (
            "annotations",
            message.annotations.as_ref().is_some_and(|list| !list.is_empty()),
            "were left out: they are about an answer, and no part of it",
        ),
        (
            "reasoning_content",
            is_some_json(&message.reasoning_content),
            "was left out: no model accepts its reasoning without its signature (`thinking_blocks`)",
        ),
    ] {
        if is_there {
            notes.add(format_args!("messages.{field}"), what);
        }
    }
    Ok(())
}

/// Returns the parts of a content with their places; a string is one part without.
fn parts(content: &Content) -> impl Iterator<Item = (Part, Option<usize>)> {
    let (text, list) = match content {
        Content::Text(text) => (Some((Part::text(text), None)), [].as_slice()),
        Content::Parts(parts) => (None, parts.as_slice()),
    };
    text.into_iter().chain(list.iter().enumerate().map(|(place, part)| (part.clone(), Some(place))))
}

fn guarded(text: String, settings: &Settings, at: &str) -> Result<Guarded, Refusal> {
    if settings.guardrail.is_some() {
        Ok(Guarded::text(text))
    } else {
        Err(Refusal::new(at, "there is no guardrail that would look at it"))
    }
}

/// Returns a cache point, where the model keeps one; a model that keeps none, or not so long, is asked without.
pub(super) fn cache_point(cache: Cache, traits: &Traits, field: &str, notes: &mut Notes) -> Option<CachePoint> {
    match (traits.caching, cache.ttl) {
        (Caching::No, _) => {
            notes.add(field, "was left out: the model keeps no cache");
            None
        }
        (Caching::FiveMinutes, ttl) => {
            if ttl == Some(Ttl::OneHour) {
                notes.add(format_args!("{field}.ttl"), "`1h` was left out: the model keeps its cache for five minutes");
            }
            // Five minutes are what it is anyway, and not every model knows the word.
            Some(CachePoint::lasting(None))
        }
        (Caching::OneHour, ttl) => Some(CachePoint::lasting(ttl)),
    }
}
