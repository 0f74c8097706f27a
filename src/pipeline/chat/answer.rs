//! One question, from its first call to its answer.

use std::cell::OnceCell;
use std::mem;
use std::ops::Add;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::Asker;
use super::map_reduce::{self, Keeping, Part};
use super::questions::{Joining, PendingPrompt, Texts, failure, too_long};
use crate::bedrock::{CallError, ModelKey};
use crate::chat::guardrail::{Side, Trace};
use crate::chat::prompt::{About, Asking, CannotAsk};
use crate::chat::{
    Chat,
    response::{Answer, Reasoning},
};
use crate::chat::{Draft, Prepared, Prompt, context_overflow};
use crate::chunk;
use crate::domain::moment::exact_rfc3339;
use crate::domain::{
    Answered, Billed, Body, ContentHash, DocumentPath, Failure, QuestionKey, Record, Stage as At, Tier, TokenCount, TokensUsed,
    Usd,
};
use crate::pipeline::call::{Bill, Call, CallEnd, Place, Tried, Under, Weight, closed, until_decided};
use crate::pipeline::embed::no_more_alone;
use crate::pipeline::{Mode, PipelineError};
use crate::throttle::gate::Input;
use crate::throttle::price::Used;
use crate::throttle::{Lane, budget::Estimate};

/// Bytes of the answers to a long text's parts together: more than the largest context takes.
const MOST_JOINED: usize = 4 << 20;

/// At most so many rounds join the answers to a long text's parts.
const MOST_ROUNDS: usize = 4;

/// What the model finds too long is made shorter so often at most: without numbers in the refusals that is to a twelfth.
const MOST_SHORTENED: usize = 7;

/// What answers are got with.
pub(in crate::pipeline) struct AnswerStage {
    pub(in crate::pipeline) chat: Chat,
    pub(in crate::pipeline) lane: Arc<Lane>,
    pub(in crate::pipeline) under: Under,
    /// Where answers about the parts of long texts are kept, if they are.
    pub(in crate::pipeline) keeping: Option<Keeping>,
}

/// One request, as often as it takes.
struct Ask<'a> {
    chat: &'a Chat,
    request: &'a Prepared,
    /// What was written of the answer in attempts that broke off.
    draft: Draft,
    input: Input,
}

impl Call for Ask<'_> {
    type Answer = Answer;

    fn weigh(&self, _: &Lane) -> Weight {
        let (input, quota) = (self.request.estimated_input(), self.request.reserved());
        Weight { quota, most: Estimate { input, output: self.request.longest_answer(), tier: self.request.tier() } }
    }

    fn attempt(&self) -> impl Future<Output = Result<Answer, CallError>> + Send {
        self.chat.answer(self.request, &self.draft)
    }

    fn input(&self) -> Option<Input> {
        Some(self.input)
    }

    fn is_of_input(&self, error: &CallError) -> bool {
        error.is_of_input() || context_overflow::kept(error).is_some()
    }

    fn bill(&self, _: &Lane, answer: &Answer) -> Bill {
        let used = used(answer, self.request);
        Bill { quota: answer.usage.map(|usage| self.request.taken(usage)), used, emulated: answer.emulated, texts: 1 }
    }
}

/// Returns what a call used: as the service says, else as was estimated and asked for.
fn used(answer: &Answer, request: &Prepared) -> Used {
    let tier = answer.service_tier.as_deref().map_or_else(|| request.tier(), Tier::of);
    let (input, output) = (request.estimated_input(), request.longest_answer());
    let estimated = || Used { calls: 1, input, output, rate: tier.into(), ..Used::default() };
    answer.usage.map_or_else(estimated, |usage| usage.used(tier))
}

/// Asks until there is an answer, or a reason why there is none, and sends it.
pub(super) async fn run(
    stage: Arc<AnswerStage>,
    mut place: Place,
    open: PendingPrompt,
    records: mpsc::Sender<Record>,
) -> Result<(), PipelineError> {
    // The room of its texts is given back when the answer is on its way.
    let PendingPrompt { mut question, keys, asking, about, document: _document, requests: _requests } = open;
    let model = asking.requests.first().map(|request| request.model().to_string()).unwrap_or_default();
    let mut spent = Spent::default();
    let about_what = (&question.inquiry.path, question.chunk, Some(question.key));
    let record = match converse(&stage, &mut place, about_what, asking, about.as_ref(), &mut spent).await {
        Ok((answer, long)) => {
            question.key = keys[usize::from(answer.emulated)];
            let held = answer.held.clone();
            let body = body(answer, long, &model, &spent);
            Record::Answered(Box::new(Answered { question, body, billed: spent.billed, held }))
        }
        // Vectors do not end for that, and no document is at fault.
        Err(Ended::Halted(_) | Ended::Left) => Record::LeftUnasked(question),
        Err(Ended::Stopped) => return Ok(()),
        Err(Ended::Broken(error)) => return Err(error),
        Err(Ended::Failed(failure)) => Record::Unanswered(question, failure),
    };
    for record in std::iter::once(record).chain(no_more_alone(&stage.lane)) {
        // A writer that has stopped has ended the pipeline, and says why itself.
        let _ended = records.send(record).await;
    }
    Ok(())
}

/// Asks a prompt about something and waits for its answer, as a run does; nothing is written.
///
/// # Errors
/// With the reason why there is no answer.
pub async fn try_out(asker: &Asker, prompt: &Arc<Prompt>, about: &About<'_>) -> Result<Body, Failure> {
    let asking = prompt.ask(about, chunk::prompt_tokens, chunk::pieces).map_err(|cannot| failure(&cannot, Some(prompt)))?;
    let joining = Joining {
        texts: Texts::of(prompt, about, &OnceCell::new()),
        prompt: Arc::clone(prompt),
        media_type: about.media_type.to_owned(),
        headings: about.headings.into(),
        chunks: about.chunks,
    };
    let (chat, lane) = (asker.chat.clone(), Arc::clone(&asker.lane));
    let under = Under { mode: Mode::Once, counters: Arc::default(), stop: CancellationToken::new(), is_trial: true };
    let mut place = Place::new(&lane, None);
    let stage = AnswerStage { chat, lane, under, keeping: None };
    let mut spent = Spent::default();
    match converse(&stage, &mut place, (about.document, about.chunk, None), asking, Some(&joining), &mut spent).await {
        Ok((answer, long)) => Ok(body(answer, long, &asker.model, &spent)),
        Err(Ended::Failed(failure)) => Err(failure),
        Err(Ended::Halted(error)) => Err(given_up(&error, 1, Some(&joining), None)),
        Err(Ended::Left | Ended::Stopped | Ended::Broken(_)) => Err(given_up(&closed(), 0, Some(&joining), None)),
    }
}

/// What a question has taken so far.
#[derive(Default)]
pub(in crate::pipeline) struct Spent {
    pub(in crate::pipeline) billed: Billed,
    usage: Total<TokensUsed>,
    cost: Total<Usd>,
    latency_ms: Total<u64>,
    /// What of the question was left out or changed.
    notes: Vec<String>,
}

/// A sum of what the calls of one question say; one of them that does not say leaves it unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Total<T> {
    #[default]
    Nothing,
    Known(T),
    Unknown,
}

impl<T> Total<T> {
    fn add(&mut self, more: Option<T>, sum: impl FnOnce(T, T) -> T) {
        *self = match (mem::take(self), more) {
            (Self::Nothing, Some(more)) => Self::Known(more),
            (Self::Known(before), Some(more)) => Self::Known(sum(before, more)),
            (Self::Unknown, _) | (_, None) => Self::Unknown,
        };
    }

    fn known(self) -> Option<T> {
        match self {
            Self::Known(sum) => Some(sum),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

/// Why there is no answer.
pub(in crate::pipeline) enum Ended {
    Halted(CallError),
    Left,
    /// The run has been stopped.
    Stopped,
    Failed(Failure),
    /// The ledger cannot be read.
    Broken(PipelineError),
}

/// Asks what a question is made of: one request, or those about the parts of a long text and then about their answers.
///
/// What fits by our estimate may be too long by the model's own count. It is made shorter then, by as much as the refusal says, and asked
/// again in the way that the prompt has for long texts; refused calls cost nothing.
pub(in crate::pipeline) async fn converse(
    stage: &AnswerStage,
    place: &mut Place,
    (document, chunk, question): (&DocumentPath, Option<usize>, Option<QuestionKey>),
    mut asking: Asking,
    about: Option<&Joining>,
    spent: &mut Spent,
) -> Result<(Answer, Option<String>), Ended> {
    let mut long = None;
    let mut texts = about.and_then(|about| about.texts.clone());
    let (mut rounds, mut shortened) = (0, 0);
    'rounds: while rounds < MOST_ROUNDS {
        let Asking { requests, long: how, parts } = asking;
        let before = long.clone();
        long = long.or(how);
        let is_last = requests.len() == 1;
        let mut joined = String::new();
        let mut too_long = None;
        for (at, request) in requests.into_iter().enumerate() {
            if joined.len() > MOST_JOINED {
                break 'rounds;
            }
            let kept = match (&stage.keeping, question, parts.get(at)) {
                (Some(keeping), Some(question), Some(text)) => Some((keeping, map_reduce::key(question, at, text))),
                _ => None,
            };
            if let Some((keeping, key)) = kept
                && let Some(part) = keeping.recall(key).await.map_err(Ended::Broken)?
            {
                spent.add(&part);
                joined.push_str(&part.text);
                joined.push_str("\n\n");
                continue;
            }
            let input = input(document, chunk, question, about, (rounds + shortened, at));
            let ask = Ask { chat: &stage.chat, request: &request, draft: Draft::default(), input };
            let answer = match until_decided(place, &stage.under, &ask, document).await {
                Ok(answer) => answer,
                Err(CallEnd::Halted(error)) => return Err(Ended::Halted(error)),
                Err(CallEnd::Left) => return Err(Ended::Left),
                Err(CallEnd::Stopped) => return Err(Ended::Stopped),
                Err(CallEnd::GivenUp { error, attempts } | CallEnd::Doubted(Tried { error, attempts, .. })) => {
                    if let Some(share) = context_overflow::kept(&error)
                        && shortened < MOST_SHORTENED
                        && texts.is_some()
                    {
                        too_long = Some(room(&request, share));
                        break;
                    }
                    return Err(Ended::Failed(given_up(&error, attempts, about, ask.draft.written())));
                }
            };
            let (part, billed) = of_call(&answer, &request, &stage.lane);
            if is_last {
                spent.notes = request.notes().to_vec();
            }
            spent.add(&part);
            if is_last {
                spent.bill(billed);
                return Ok((answer, long));
            }
            match kept {
                Some((keeping, key)) => {
                    let model = format!("{}{}", if answer.emulated { "emulator/" } else { "" }, request.model());
                    keeping.keep(key, &part, model, billed).await;
                }
                None => spent.bill(billed),
            }
            joined.push_str(&answer.text);
            joined.push_str("\n\n");
        }
        let about = about.expect("only a prompt has a text that comes in parts, or can be made shorter");
        if too_long.is_none() {
            rounds += 1;
            let joined: Arc<str> = joined.trim_end().into();
            texts = Some(Texts { text: Arc::clone(&joined), document_text: joined });
        } else {
            shortened += 1;
            long = before;
        }
        let Texts { text, document_text } = texts.clone().expect("it is there, or was just set");
        asking = ask_again(about, document.clone(), chunk, text, document_text, too_long).await?;
    }
    let prompt = about.map(|about| &*about.prompt);
    let context = TokenCount::default();
    Err(Ended::Failed(failure(&CannotAsk::TooLong { needed: TokenCount::new(spent.billed.input), context }, prompt)))
}

/// Makes the requests about a text that is shorter now, or is what was answered to the parts. It takes time with the length of the text.
async fn ask_again(
    about: &Joining,
    document: DocumentPath,
    chunk: Option<usize>,
    text: Arc<str>,
    document_text: Arc<str>,
    room: Option<TokenCount>,
) -> Result<Asking, Ended> {
    let (prompt, headings) = (Arc::clone(&about.prompt), Arc::clone(&about.headings));
    let (media_type, chunks) = (about.media_type.clone(), about.chunks);
    let made = spawn_blocking(move || {
        let about = About {
            document: &document,
            media_type: &media_type,
            text: &text,
            document_text: &document_text,
            headings: &headings,
            chunk,
            chunks,
        };
        match room {
            Some(room) => prompt.ask_within(&about, room, chunk::prompt_tokens, chunk::pieces),
            None => prompt.ask(&about, chunk::prompt_tokens, chunk::pieces),
        }
        .map_err(|cannot| failure(&cannot, Some(&prompt)))
    });
    made.await.map_err(|error| Ended::Broken(PipelineError::Panicked(error)))?.map_err(Ended::Failed)
}

/// Returns how much a request may be estimated at whose input the model would have taken this share of, a little less than that.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of tokens is tokens"
)]
fn room(request: &Prepared, share: f64) -> TokenCount {
    TokenCount::new((request.estimated_input().get() as f64 * share * 0.95) as u64) + request.longest_answer()
}

/// Returns the identity of a question, for refusals. A file of messages is about nothing but itself.
fn input(
    document: &DocumentPath,
    chunk: Option<usize>,
    question: Option<QuestionKey>,
    about: Option<&Joining>,
    part: (usize, usize),
) -> Input {
    let asked = question.map_or_else(|| format!("{document} {chunk:?}"), |question| question.to_string());
    let id = ContentHash::of(format!("{asked} {part:?}").as_bytes());
    match about {
        Some(_) => Input::configured(id),
        None => Input::written(id),
    }
}

impl Spent {
    fn add(&mut self, part: &Part) {
        self.cost.add(part.usd.map(Usd::new), Add::add);
        self.usage.add(part.usage, |sum, more| TokensUsed {
            input_tokens: sum.input_tokens + more.input_tokens,
            output_tokens: sum.output_tokens + more.output_tokens,
            cache_read_tokens: sum.cache_read_tokens + more.cache_read_tokens,
            cache_write_tokens: sum.cache_write_tokens + more.cache_write_tokens,
            cache_write_hour_tokens: sum.cache_write_hour_tokens + more.cache_write_hour_tokens,
        });
        self.latency_ms.add(part.latency_ms, u64::saturating_add);
    }

    fn bill(&mut self, billed: Billed) {
        self.billed.calls += billed.calls;
        self.billed.input += billed.input;
        self.billed.cache_read += billed.cache_read;
        self.billed.cache_write += billed.cache_write;
        self.billed.cache_write_hour += billed.cache_write_hour;
        self.billed.output += billed.output;
        // Calls of one question are of one tier; the last, about the answers to the parts, is the one that is not billed by itself.
        self.billed.rate = billed.rate;
    }
}

/// Returns what one call came to, and what it was billed.
fn of_call(answer: &Answer, request: &Prepared, lane: &Lane) -> (Part, Billed) {
    let used = lane.account.rated(used(answer, request));
    let usage = answer.usage.map(|usage| TokensUsed {
        input_tokens: usage.input_tokens.get(),
        output_tokens: usage.output_tokens.get(),
        cache_read_tokens: usage.cache_read_tokens.get(),
        cache_write_tokens: usage.cache_write_tokens.get(),
        cache_write_hour_tokens: usage.cache_write_hour_tokens.get(),
    });
    // What a guess would cost is kept for the day's sum, and is no cost of this answer.
    let usd = usage.and_then(|_| lane.account.cost(used)).map(Usd::dollars);
    let billed = Billed {
        calls: 1,
        input: used.input.get(),
        cache_read: used.cache_read.get(),
        cache_write: used.cache_write.get(),
        cache_write_hour: used.cache_write_hour.get(),
        output: used.output.get(),
        rate: used.rate,
    };
    (Part { text: answer.text.clone(), usage, usd, latency_ms: answer.latency_ms }, billed)
}

/// Returns an answer as it is in its line.
fn body(answer: Answer, long: Option<String>, model: &str, spent: &Spent) -> Body {
    Body {
        model: if answer.emulated { format!("emulator/{model}") } else { model.to_owned() },
        answer: answer.text,
        untrusted: true,
        ending: answer.ending,
        stop_reason: answer.stop_reason,
        long,
        tool_calls: answer
            .tool_calls
            .into_iter()
            .map(|call| json!({"id": call.id, "name": call.name, "input": call.input}))
            .collect(),
        reasoning: answer.reasoning.into_iter().map(reasoning).collect(),
        guardrail: answer.guardrail.map(guardrail),
        notes: spent.notes.clone(),
        service_tier: answer.service_tier,
        left_out: answer.left_out.into_iter().map(ToOwned::to_owned).collect(),
        usage: spent.usage.known(),
        usd: spent.cost.known().map(Usd::dollars),
        latency_ms: spent.latency_ms.known(),
        request_id: answer.request_id,
        answered_at: exact_rfc3339(SystemTime::now()),
    }
}

fn reasoning(thought: Reasoning) -> Value {
    match thought {
        Reasoning::Text { text, signature } => json!({"text": text, "signature": signature}),
        Reasoning::Redacted(bytes) => json!({"redacted": STANDARD.encode(bytes)}),
    }
}

fn guardrail(trace: Trace) -> Value {
    let findings = trace.findings.into_iter().map(|finding| {
        let side = match finding.side {
            Side::Input => "input",
            Side::Output => "output",
        };
        json!({"side": side, "policy": finding.policy, "about": finding.about, "action": finding.action})
    });
    json!({"reason": trace.reason, "findings": findings.collect::<Vec<_>>()})
}

fn asked(about: Option<&Joining>) -> ModelKey {
    if about.is_some() { ModelKey::Chat } else { ModelKey::Messages }
}

fn given_up(error: &CallError, attempts: u32, about: Option<&Joining>, written: Option<String>) -> Failure {
    let prompt = about.map(|about| format!("`{}`: ", about.prompt.name)).unwrap_or_default();
    let (class, advice) = match context_overflow::kept(error) {
        Some(_) => too_long(about.map(|about| &*about.prompt)),
        None => (error.class.as_str(), error.advice_for(asked(about))),
    };
    Failure {
        stage: At::Chat,
        class: class.into(),
        message: format!("{prompt}{error}"),
        attempts,
        request_id: error.request_id.clone(),
        advice: advice.into_owned(),
        written: written.map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_which_one_call_does_not_tell_its_part_is_not_known() {
        let part = |tokens: Option<u64>, usd, latency_ms| Part {
            text: String::new(),
            usage: tokens.map(|input_tokens| TokensUsed { input_tokens, ..TokensUsed::default() }),
            usd,
            latency_ms,
        };
        let sum = |parts: &[Part]| {
            let mut spent = Spent::default();
            for part in parts {
                spent.add(part);
            }
            let usage = spent.usage.known().map(|usage| usage.input_tokens);
            (usage, spent.cost.known().map(Usd::dollars), spent.latency_ms.known())
        };
        let told = || part(Some(7), Some(0.5), Some(300));
        assert_eq!(sum(&[]), (None, None, None));
        assert_eq!(sum(&[told(), told()]), (Some(14), Some(1.0), Some(600)));
        for parts in [[told(), part(None, None, None), told()], [part(None, None, None), told(), told()]] {
            assert_eq!(sum(&parts), (None, None, None));
        }
        assert_eq!(sum(&[told(), part(Some(1), None, Some(1))]), (Some(8), None, Some(301)));
    }
}
