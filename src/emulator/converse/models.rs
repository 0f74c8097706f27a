//! The chat models, and their differences. Ids, limits and refusals as of November 2026; a new model is a row.

use crate::emulator::models::{Family, Model};

/// What a chat model takes and what it refuses.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a yes or no of its own, and a table reads best so")]
pub(in super::super) struct Traits {
    pub(super) vendor: Vendor,
    /// Tokens that a request and its answer may have together.
    pub(super) context: u64,
    /// Tokens that an answer may have; also what it may have where a request does not say.
    pub(super) max_output: u64,
    pub(super) system: bool,
    pub(super) sampling: Sampling,
    pub(super) stops: Stops,
    pub(super) tools: ToolUse,
    pub(super) images: bool,
    pub(super) documents: bool,
    /// Fewest tokens of a prefix that is cached; `None` where nothing is.
    pub(super) cache: Option<u64>,
    pub(super) reasoning: bool,
    /// Whether a conversation may end with the beginning of the answer.
    pub(super) prefill: bool,
    /// Whether text may be beside tool uses, and beside tool results.
    pub(super) mixes: Mixes,
    /// The fewest tokens that an answer may be limited to.
    pub(super) min_output: u64,
    /// How many times a token of an answer counts in a quota.
    pub(super) burndown: u64,
}

/// Whose model it is: each words its refusals in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Amazon,
    Anthropic,
    DeepSeek,
    Meta,
    Mistral,
    OpenAi,
    Qwen,
}

/// Which of temperature and top-p a request may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    Both,
    OneOfThem,
    /// Neither, but for a temperature of 1.
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stops {
    Refused,
    AtMost(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToolUse {
    Refused,
    /// The model decides alone whether it uses one.
    Auto,
    /// A request may say that it must.
    Forced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mixes {
    Both,
    /// Text and results, but not text and uses.
    Results,
    Neither,
}

/// What most have in common.
const PLAIN: Traits = Traits {
    vendor: Vendor::Mistral,
    context: 128_000,
    max_output: 8_192,
    system: true,
    sampling: Sampling::Both,
    stops: Stops::AtMost(2_500),
    tools: ToolUse::Forced,
    images: false,
    documents: true,
    cache: None,
    reasoning: false,
    prefill: true,
    mixes: Mixes::Neither,
    min_output: 1,
    burndown: 1,
};

const CLAUDE: Traits = Traits {
    vendor: Vendor::Anthropic,
    context: 200_000,
    max_output: 64_000,
    sampling: Sampling::OneOfThem,
    images: true,
    cache: Some(1_024),
    reasoning: true,
    mixes: Mixes::Both,
    burndown: 5,
    ..PLAIN
};
const CLAUDE_HAIKU_4_5: Traits = Traits { cache: Some(4_096), ..CLAUDE };
const CLAUDE_SONNET_4_6: Traits = Traits { context: 1_000_000, prefill: false, ..CLAUDE };
const CLAUDE_OPUS_4_6: Traits = Traits { max_output: 128_000, ..CLAUDE_SONNET_4_6 };
/// From Opus 4.7 on: no sampling parameters at all.
const CLAUDE_OPUS_4_7: Traits = Traits { sampling: Sampling::Fixed, ..CLAUDE_OPUS_4_6 };
const CLAUDE_OPUS_4_8: Traits = Traits { burndown: 15, ..CLAUDE_OPUS_4_7 };
const CLAUDE_5: Traits = Traits { burndown: 10, ..CLAUDE_OPUS_4_7 };
const CLAUDE_5_5: Traits = Traits { tools: ToolUse::Auto, ..CLAUDE_5 };

const NOVA: Traits = Traits {
    vendor: Vendor::Amazon,
    max_output: 10_000,
    stops: Stops::AtMost(4),
    cache: Some(1_000),
    mixes: Mixes::Both,
    ..PLAIN
};
const NOVA_MICRO: Traits = Traits { documents: false, ..NOVA };
const NOVA_WITH_IMAGES: Traits = Traits { context: 300_000, images: true, ..NOVA };
const NOVA_PREMIER: Traits = Traits { context: 1_000_000, ..NOVA_WITH_IMAGES };
const NOVA_2: Traits = Traits { context: 1_000_000, max_output: 65_535, reasoning: true, ..NOVA_WITH_IMAGES };

const LLAMA: Traits = Traits { vendor: Vendor::Meta, tools: ToolUse::Auto, mixes: Mixes::Results, ..PLAIN };
const LLAMA_4: Traits = Traits { context: 1_000_000, images: true, ..LLAMA };

const MISTRAL: Traits = Traits { max_output: 32_000, images: true, prefill: false, ..PLAIN };
const MISTRAL_LARGE: Traits = Traits { context: 256_000, ..MISTRAL };
const MIXTRAL: Traits =
    Traits { context: 32_000, max_output: 4_096, images: false, system: false, tools: ToolUse::Refused, ..MISTRAL };

const GPT_OSS: Traits = Traits { vendor: Vendor::OpenAi, max_output: 16_384, reasoning: true, min_output: 16, ..PLAIN };
const GPT_6: Traits =
    Traits { context: 922_000, max_output: 128_000, images: true, sampling: Sampling::Fixed, stops: Stops::Refused, ..GPT_OSS };
const GROK: Traits = Traits {
    context: 500_000,
    max_output: 500_000,
    images: true,
    stops: Stops::Refused,
    reasoning: true,
    min_output: 16,
    ..PLAIN
};
const GLM: Traits = Traits { context: 200_000, max_output: 128_000, reasoning: true, ..PLAIN };
const GLM_5_3: Traits = Traits { context: 1_000_000, cache: Some(1_024), ..GLM };
const KIMI: Traits = Traits { context: 256_000, max_output: 16_000, images: true, reasoning: true, ..PLAIN };
const KIMI_K3: Traits = Traits { context: 1_000_000, max_output: 131_072, cache: Some(1_024), min_output: 16, ..KIMI };
const MINIMAX: Traits = Traits { context: 196_000, ..PLAIN };
const NEMOTRON: Traits = Traits { context: 256_000, max_output: 32_000, reasoning: true, ..PLAIN };
const GEMMA: Traits = Traits { images: true, ..PLAIN };
const COMMAND_R: Traits = Traits { max_output: 4_000, tools: ToolUse::Auto, ..PLAIN };
const VOXTRAL: Traits = Traits { context: 32_768, images: false, ..MISTRAL };
const CLAUDE_3_7: Traits = Traits { sampling: Sampling::Both, ..CLAUDE };
const DEEPSEEK: Traits = Traits { vendor: Vendor::DeepSeek, reasoning: true, ..PLAIN };
const QWEN: Traits = Traits { vendor: Vendor::Qwen, context: 32_768, ..PLAIN };

const WORLD: &[&str] = &["us", "eu", "apac", "jp", "au", "global"];
const US_EU_APAC: &[&str] = &["us", "eu", "apac"];
const US_GLOBAL: &[&str] = &["us", "global"];

/// A model that calls name themselves.
const fn itself(id: &'static str, profiles: &'static [&'static str], traits: &'static Traits) -> Model {
    Model { id, profiles, on_demand: true, family: Family::Chat(traits) }
}

/// A model that is only reached through an inference profile.
const fn profiled(id: &'static str, profiles: &'static [&'static str], traits: &'static Traits) -> Model {
    Model { id, profiles, on_demand: false, family: Family::Chat(traits) }
}

pub(in super::super) const MODELS: &[Model] = &[
    profiled("anthropic.claude-haiku-4-5-20251001-v1:0", WORLD, &CLAUDE_HAIKU_4_5),
    profiled("anthropic.claude-sonnet-4-5-20250929-v1:0", WORLD, &CLAUDE),
    profiled("anthropic.claude-sonnet-4-6", WORLD, &CLAUDE_SONNET_4_6),
    profiled("anthropic.claude-sonnet-5", WORLD, &CLAUDE_5),
    profiled("anthropic.claude-sonnet-5-5", WORLD, &CLAUDE_5_5),
    profiled("anthropic.claude-haiku-5-5", WORLD, &CLAUDE_5),
    profiled("anthropic.claude-opus-4-5-20251101-v1:0", WORLD, &CLAUDE),
    profiled("anthropic.claude-opus-4-6", WORLD, &CLAUDE_OPUS_4_6),
    profiled("anthropic.claude-opus-4-7", WORLD, &CLAUDE_OPUS_4_7),
    profiled("anthropic.claude-opus-4-8", WORLD, &CLAUDE_OPUS_4_8),
    profiled("anthropic.claude-opus-5", WORLD, &CLAUDE_5),
    profiled("anthropic.claude-opus-5-5", WORLD, &CLAUDE_5_5),
    profiled("anthropic.claude-fable-5", WORLD, &CLAUDE_5),
    profiled("anthropic.claude-fable-5-1", WORLD, &CLAUDE_5_5),
    itself("amazon.nova-micro-v1:0", US_EU_APAC, &NOVA_MICRO),
    itself("amazon.nova-lite-v1:0", US_EU_APAC, &NOVA_WITH_IMAGES),
    itself("amazon.nova-pro-v1:0", US_EU_APAC, &NOVA_WITH_IMAGES),
    profiled("amazon.nova-premier-v1:0", &["us"], &NOVA_PREMIER),
    profiled("amazon.nova-2-lite-v1:0", &["us", "eu", "jp", "global"], &NOVA_2),
    itself("meta.llama3-1-8b-instruct-v1:0", &["us"], &LLAMA),
    profiled("meta.llama3-3-70b-instruct-v1:0", &["us"], &LLAMA),
    profiled("meta.llama4-scout-17b-instruct-v1:0", &["us"], &LLAMA_4),
    profiled("meta.llama4-maverick-17b-instruct-v1:0", &["us"], &LLAMA_4),
    itself("mistral.mistral-large-3-675b-instruct", &[], &MISTRAL_LARGE),
    itself("mistral.ministral-3-8b-instruct", &[], &MISTRAL),
    itself("mistral.mixtral-8x7b-instruct-v0:1", &[], &MIXTRAL),
    itself("mistral.mistral-7b-instruct-v0:2", &[], &MIXTRAL),
    itself("openai.gpt-oss-120b-1:0", &[], &GPT_OSS),
    itself("openai.gpt-oss-20b-1:0", &[], &GPT_OSS),
    itself("openai.gpt-oss-120b", &[], &GPT_OSS),
    itself("openai.gpt-oss-20b", &[], &GPT_OSS),
    profiled("openai.gpt-5.6-luna", US_GLOBAL, &GPT_6),
    profiled("openai.gpt-5.6-sol", US_GLOBAL, &GPT_6),
    profiled("openai.gpt-5.6-terra", US_GLOBAL, &GPT_6),
    itself("openai.gpt-6-luna", US_GLOBAL, &GPT_6),
    itself("openai.gpt-6-sol", US_GLOBAL, &GPT_6),
    profiled("openai.gpt-6-astra", US_GLOBAL, &GPT_6),
    profiled("openai.gpt-6.1-sol", US_GLOBAL, &GPT_6),
    profiled("openai.gpt-6.1-terra", US_GLOBAL, &GPT_6),
    profiled("xai.grok-4.6", &["us", "global", "us-gov"], &GROK),
    profiled("xai.grok-4.7", US_GLOBAL, &GROK),
    itself("zai.glm-4.7", &[], &GLM),
    itself("zai.glm-5", &[], &GLM),
    profiled("zai.glm-5.3", US_GLOBAL, &GLM_5_3),
    itself("moonshotai.kimi-k2.5", &[], &KIMI),
    itself("moonshotai.kimi-k3", &["us", "in", "global"], &KIMI_K3),
    itself("minimax.minimax-m2.1", &[], &MINIMAX),
    itself("minimax.minimax-m2.5", &[], &MINIMAX),
    itself("nvidia.nemotron-super-3-120b", &["us-gov"], &NEMOTRON),
    itself("google.gemma-3-27b-it", &[], &GEMMA),
    itself("cohere.command-r-v1:0", &[], &COMMAND_R),
    itself("cohere.command-r-plus-v1:0", &[], &COMMAND_R),
    itself("mistral.voxtral-small-24b-2507", &[], &VOXTRAL),
    itself("qwen.qwen3-next-80b-a3b", &[], &Traits { context: 256_000, ..QWEN }),
    profiled("amazon.nova-2-omni-v1:0", US_GLOBAL, &NOVA_2),
    profiled("anthropic.claude-3-7-sonnet-20250219-v1:0", &["us", "eu", "apac", "us-gov"], &CLAUDE_3_7),
    itself("deepseek.v3.2", &[], &DEEPSEEK),
    itself("qwen.qwen3-32b-v1:0", &[], &QWEN),
];
