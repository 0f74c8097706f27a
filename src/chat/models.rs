//! The chat models of Bedrock, one row for all that are alike.
//!
//! Sources, as of [`AS_OF`]: context windows, output limits, vision, caching, schemas and effort from the model table of litellm
//! 1.109.1; system texts, documents and tool choice from the Bedrock user guide ("Supported models and model features" of Converse);
//! sampling, stop sequences, least outputs and forced tools from litellm's Bedrock transformation; the end of prefills with Claude 4.6
//! from Anthropic's notes on that version; Mistral's refusal of a text beside a tool's result from its chat template. Where no source
//! says that a model refuses something, it is let through, and the service has the last word.

use super::capabilities::{Caching, Dialect, Effort, Sampling, Thinking, Tools, TopK, Traits};
use crate::domain::TokenCount;

/// When the table was last compared with its sources.
pub const AS_OF: &str = "2026-11";

/// Bedrock's own bound on stop sequences (service model).
const STOP_SEQUENCES: usize = 2500;

const fn thousand(tokens: u64) -> TokenCount {
    TokenCount::new(tokens * 1000)
}

/// Words for how hard a model thinks, each table as far as its model knows them.
const TO_MEDIUM: &[&str] = &["low", "medium"];
const TO_HIGH: &[&str] = &["low", "medium", "high"];
const TO_XHIGH: &[&str] = &["low", "medium", "high", "xhigh"];
const TO_MAX: &[&str] = &["low", "medium", "high", "xhigh", "max"];
const MAX_BUT_NO_XHIGH: &[&str] = &["low", "medium", "high", "max"];

/// What a model takes of which nothing else is known.
const PLAIN: Traits = Traits {
    name: "",
    ids: &[],
    dialect: Dialect::Plain,
    system: true,
    images: false,
    documents: true,
    tools: Tools::Auto,
    strict_tools: false,
    text_beside_results: true,
    prefill: true,
    caching: Caching::No,
    top_k: TopK::No,
    sampling: Sampling::Free,
    stop_sequences: STOP_SEQUENCES,
    json_schema: false,
    effort: Effort::No,
    efforts: &[],
    thinking: Thinking::No,
    context: thousand(128),
    max_output: 8_000,
    min_output: 1,
};

const CLAUDE: Traits = Traits {
    dialect: Dialect::Claude,
    images: true,
    tools: Tools::Named,
    caching: Caching::FiveMinutes,
    top_k: TopK::Field,
    context: thousand(200),
    ..PLAIN
};

/// Claude from 4.6 on.
const CLAUDE_LATER: Traits = Traits {
    prefill: false,
    caching: Caching::OneHour,
    strict_tools: true,
    effort: Effort::OutputConfig,
    efforts: MAX_BUT_NO_XHIGH,
    thinking: Thinking::Either,
    context: thousand(1000),
    max_output: 128_000,
    ..CLAUDE
};

/// Claude from 4.7 on: no sampling parameters, and no budget of tokens to think in.
const CLAUDE_FIXED: Traits =
    Traits { sampling: Sampling::Fixed, top_k: TopK::No, efforts: TO_XHIGH, thinking: Thinking::Adaptive, ..CLAUDE_LATER };

/// GPT from 5.4 on.
const GPT: Traits = Traits {
    images: true,
    tools: Tools::Named,
    sampling: Sampling::Fixed,
    effort: Effort::Field,
    efforts: TO_XHIGH,
    context: thousand(922),
    max_output: 128_000,
    min_output: 16,
    ..PLAIN
};

const NOVA: Traits = Traits {
    dialect: Dialect::Nova,
    images: true,
    tools: Tools::Named,
    caching: Caching::FiveMinutes,
    top_k: TopK::Nova,
    stop_sequences: 4, // Amazon Nova user guide, complete request schema
    context: thousand(300),
    max_output: 10_000,
    ..PLAIN
};

const MISTRAL: Traits = Traits { text_beside_results: false, prefill: false, ..PLAIN };

/// Every row; `any` is last. Rows of one name are one family: the first represents it where an id does not show which.
pub(super) const MODELS: &[Traits] = &[
    Traits {
        name: "claude-3-haiku",
        ids: &["anthropic.claude-3-haiku-20240307"],
        caching: Caching::No,
        max_output: 4_096,
        ..CLAUDE
    },
    Traits {
        name: "claude-3.5-haiku",
        ids: &["anthropic.claude-3-5-haiku-20241022"],
        images: false,
        max_output: 8_192,
        ..CLAUDE
    },
    Traits {
        name: "claude-3",
        ids: &["anthropic.claude-3-sonnet-20240229", "anthropic.claude-3-opus-20240229", "anthropic.claude-3-5-sonnet-20240620"],
        caching: Caching::No,
        max_output: 4_096,
        ..CLAUDE
    },
    Traits { name: "claude-3.5-sonnet", ids: &["anthropic.claude-3-5-sonnet-20241022"], max_output: 8_192, ..CLAUDE },
    Traits {
        name: "claude-3.7-sonnet",
        ids: &["anthropic.claude-3-7-sonnet-20250219"],
        thinking: Thinking::Budget,
        max_output: 64_000, // Anthropic's models overview; litellm's table has the least that is sure, 8,192
        ..CLAUDE
    },
    Traits {
        name: "claude-sonnet-4",
        ids: &["anthropic.claude-sonnet-4-20250514"],
        thinking: Thinking::Budget,
        max_output: 64_000,
        ..CLAUDE
    },
    Traits {
        name: "claude-opus-4",
        ids: &["anthropic.claude-opus-4-20250514"],
        thinking: Thinking::Budget,
        max_output: 32_000,
        ..CLAUDE
    },
    Traits {
        name: "claude-opus-4.1",
        ids: &["anthropic.claude-opus-4-1-20250805"],
        sampling: Sampling::OneOfTwo,
        thinking: Thinking::Budget,
        max_output: 32_000,
        ..CLAUDE
    },
    Traits {
        name: "claude-4.5",
        ids: &["anthropic.claude-haiku-4-5-20251001", "anthropic.claude-sonnet-4-5-20250929"],
        sampling: Sampling::OneOfTwo,
        caching: Caching::OneHour,
        strict_tools: true,
        json_schema: true,
        thinking: Thinking::Budget,
        max_output: 64_000,
        ..CLAUDE
    },
    Traits {
        name: "claude-opus-4.5",
        ids: &["anthropic.claude-opus-4-5-20251101"],
        sampling: Sampling::OneOfTwo,
        caching: Caching::OneHour,
        strict_tools: true,
        json_schema: true,
        effort: Effort::OutputConfig,
        efforts: TO_HIGH,
        thinking: Thinking::Budget,
        max_output: 64_000,
        ..CLAUDE
    },
    Traits {
        name: "claude-opus-4.6",
        ids: &["anthropic.claude-opus-4-6"],
        sampling: Sampling::OneOfTwo,
        json_schema: true,
        ..CLAUDE_LATER
    },
    Traits {
        name: "claude-sonnet-4.6",
        ids: &["anthropic.claude-sonnet-4-6"],
        sampling: Sampling::OneOfTwo,
        json_schema: true,
        max_output: 64_000,
        ..CLAUDE_LATER
    },
    Traits { name: "claude-5", ids: &["anthropic.claude-opus-5"], efforts: TO_MAX, ..CLAUDE_FIXED },
    Traits { name: "claude-5", ids: &["anthropic.claude-opus-4-7", "anthropic.claude-fable-5"], ..CLAUDE_FIXED },
    Traits {
        name: "claude-5-schema",
        ids: &["anthropic.claude-opus-4-8", "anthropic.claude-sonnet-5", "anthropic.claude-haiku-5-5"],
        json_schema: true,
        ..CLAUDE_FIXED
    },
    Traits {
        name: "claude-5-schema",
        ids: &["anthropic.claude-mythos-5", "anthropic.claude-mythos-5-1"],
        json_schema: true,
        thinking: Thinking::Always,
        ..CLAUDE_FIXED
    },
    Traits {
        name: "claude-5.5",
        ids: &["anthropic.claude-opus-5-5"],
        tools: Tools::Auto,
        efforts: TO_MAX,
        thinking: Thinking::Always,
        ..CLAUDE_FIXED
    },
    Traits {
        name: "claude-5.5",
        ids: &["anthropic.claude-fable-5-1"],
        tools: Tools::Auto,
        thinking: Thinking::Always,
        ..CLAUDE_FIXED
    },
    Traits {
        name: "claude-sonnet-5.5",
        ids: &["anthropic.claude-sonnet-5-5"],
        tools: Tools::Auto,
        json_schema: true,
        thinking: Thinking::Always,
        ..CLAUDE_FIXED
    },
    Traits { name: "nova-micro", ids: &["amazon.nova-micro"], images: false, documents: false, context: thousand(128), ..NOVA },
    Traits { name: "nova-lite-pro", ids: &["amazon.nova-lite", "amazon.nova-pro"], ..NOVA },
    Traits { name: "nova-premier", ids: &["amazon.nova-premier"], context: thousand(1000), ..NOVA },
    Traits {
        name: "nova-2",
        ids: &["amazon.nova-2-lite", "amazon.nova-2-pro", "amazon.nova-2-omni"],
        effort: Effort::ReasoningConfig,
        efforts: TO_MEDIUM, // at `high` the model takes no maxTokens, which is always sent
        context: thousand(1000),
        max_output: 64_000,
        ..NOVA
    },
    Traits {
        name: "titan-text",
        ids: &["amazon.titan-text-express", "amazon.titan-text-lite", "amazon.titan-text-premier"],
        system: false,
        tools: Tools::No,
        context: thousand(8),
        max_output: 4_000,
        ..PLAIN
    },
    Traits {
        name: "llama-3-8k",
        ids: &["meta.llama3-8b-instruct", "meta.llama3-70b-instruct"],
        tools: Tools::No,
        context: TokenCount::new(8_192),
        max_output: 2_048,
        ..PLAIN
    },
    Traits {
        name: "llama-3",
        ids: &[
            "meta.llama3-1-8b-instruct",
            "meta.llama3-1-70b-instruct",
            "meta.llama3-1-405b-instruct",
            "meta.llama3-3-70b-instruct",
        ],
        max_output: 4_096,
        ..PLAIN
    },
    Traits {
        name: "llama-3.2",
        ids: &["meta.llama3-2-1b-instruct", "meta.llama3-2-3b-instruct"],
        tools: Tools::No,
        max_output: 4_096,
        ..PLAIN
    },
    Traits {
        name: "llama-3.2-vision",
        ids: &["meta.llama3-2-11b-instruct", "meta.llama3-2-90b-instruct"],
        images: true,
        max_output: 4_096,
        ..PLAIN
    },
    Traits {
        name: "llama-4",
        ids: &["meta.llama4-maverick-17b-instruct", "meta.llama4-scout-17b-instruct"],
        images: true,
        context: thousand(1000),
        max_output: 8_192,
        ..PLAIN
    },
    Traits {
        name: "mistral-7b",
        ids: &["mistral.mistral-7b-instruct", "mistral.mixtral-8x7b-instruct"],
        system: false,
        tools: Tools::No,
        top_k: TopK::Field,
        context: thousand(32),
        max_output: 4_096,
        ..MISTRAL
    },
    Traits {
        name: "mistral-2402",
        ids: &["mistral.mistral-large-2402", "mistral.mistral-small-2402"],
        tools: Tools::Any,
        context: thousand(32),
        max_output: 4_096,
        ..MISTRAL
    },
    Traits { name: "mistral-large-2407", ids: &["mistral.mistral-large-2407"], tools: Tools::Any, max_output: 8_191, ..MISTRAL },
    Traits {
        name: "pixtral-large",
        ids: &["mistral.pixtral-large-2502"],
        images: true,
        tools: Tools::Any,
        max_output: 16_384,
        ..MISTRAL
    },
    Traits {
        name: "mistral-large-3",
        ids: &["mistral.mistral-large-3-675b-instruct"],
        images: true,
        tools: Tools::Any,
        json_schema: true,
        context: thousand(256),
        max_output: 32_000,
        ..MISTRAL
    },
    Traits {
        name: "ministral-3",
        ids: &["mistral.ministral-3-3b-instruct", "mistral.ministral-3-8b-instruct", "mistral.ministral-3-14b-instruct"],
        images: true,
        tools: Tools::Any,
        json_schema: true,
        ..MISTRAL
    },
    Traits {
        name: "voxtral",
        ids: &["mistral.voxtral-mini-3b-2507", "mistral.voxtral-small-24b-2507"],
        json_schema: true,
        context: TokenCount::new(32_768),
        max_output: 8_192,
        ..MISTRAL
    },
    Traits {
        name: "magistral",
        ids: &["mistral.magistral-small-2509"],
        images: true,
        tools: Tools::Any,
        max_output: 40_000,
        ..MISTRAL
    },
    Traits {
        name: "devstral-2",
        ids: &["mistral.devstral-2-123b"],
        tools: Tools::Any,
        context: thousand(256),
        max_output: 32_000,
        ..MISTRAL
    },
    Traits {
        name: "gpt-oss",
        ids: &["openai.gpt-oss-20b", "openai.gpt-oss-120b"],
        effort: Effort::Field,
        efforts: TO_HIGH,
        max_output: 16_384,
        min_output: 16,
        ..PLAIN
    },
    Traits {
        name: "gpt-oss-safeguard",
        ids: &["openai.gpt-oss-safeguard-20b", "openai.gpt-oss-safeguard-120b"],
        max_output: 16_000,
        min_output: 16,
        ..PLAIN
    },
    Traits { name: "gpt-5", ids: &["openai.gpt-5.4", "openai.gpt-5.5"], ..GPT },
    Traits {
        name: "gpt-5.6",
        ids: &["openai.gpt-5.6-luna", "openai.gpt-5.6-sol", "openai.gpt-5.6-terra"],
        stop_sequences: 0,
        efforts: TO_MAX,
        ..GPT
    },
    Traits {
        name: "gpt-6",
        ids: &["openai.gpt-6-astra", "openai.gpt-6-luna", "openai.gpt-6-sol", "openai.gpt-6.1-sol", "openai.gpt-6.1-terra"],
        stop_sequences: 0,
        efforts: TO_MAX,
        ..GPT
    },
    Traits {
        name: "grok-4",
        ids: &["xai.grok-4.6", "xai.grok-4.7"],
        images: true,
        tools: Tools::Named,
        stop_sequences: 0,
        context: thousand(500),
        max_output: 500_000,
        min_output: 16,
        ..PLAIN
    },
    Traits { name: "deepseek-r1", ids: &["deepseek.r1"], tools: Tools::No, max_output: 8_192, ..PLAIN },
    Traits {
        name: "deepseek-v3",
        ids: &["deepseek.v3", "deepseek.v3.2"],
        tools: Tools::Any,
        json_schema: true,
        effort: Effort::Field,
        efforts: TO_HIGH,
        ..PLAIN
    },
    Traits {
        name: "qwen3-32b",
        ids: &["qwen.qwen3-32b"],
        tools: Tools::Any,
        json_schema: true,
        context: TokenCount::new(32_768),
        max_output: 8_192,
        ..PLAIN
    },
    Traits {
        name: "qwen3",
        ids: &["qwen.qwen3-235b-a22b-2507", "qwen.qwen3-next-80b-a3b"],
        tools: Tools::Any,
        json_schema: true,
        context: thousand(256),
        ..PLAIN
    },
    Traits {
        name: "qwen3-vl",
        ids: &["qwen.qwen3-vl-235b-a22b"],
        images: true,
        tools: Tools::Any,
        json_schema: true,
        context: thousand(256),
        ..PLAIN
    },
    Traits {
        name: "qwen3-coder",
        ids: &["qwen.qwen3-coder-30b-a3b", "qwen.qwen3-coder-480b-a35b", "qwen.qwen3-coder-next"],
        tools: Tools::Any,
        context: thousand(256),
        max_output: 16_000,
        ..PLAIN
    },
    Traits {
        name: "gemma-3",
        ids: &["google.gemma-3-4b-it", "google.gemma-3-12b-it", "google.gemma-3-27b-it"],
        images: true,
        ..PLAIN
    },
    Traits {
        name: "kimi-k2",
        ids: &["moonshot.kimi-k2-thinking", "moonshotai.kimi-k2-thinking"],
        json_schema: true,
        context: thousand(256),
        max_output: 16_000,
        ..PLAIN
    },
    Traits {
        name: "kimi-k2.5",
        ids: &["moonshotai.kimi-k2.5"],
        images: true,
        tools: Tools::Any,
        context: thousand(256),
        max_output: 16_000,
        ..PLAIN
    },
    Traits {
        name: "kimi-k3",
        ids: &["moonshotai.kimi-k3"],
        images: true,
        tools: Tools::Any,
        caching: Caching::FiveMinutes,
        context: thousand(1000),
        max_output: 131_072,
        min_output: 16,
        ..PLAIN
    },
    Traits { name: "minimax-m2", ids: &["minimax.minimax-m2"], json_schema: true, context: thousand(1000), ..PLAIN },
    Traits {
        name: "minimax-m2.1",
        ids: &["minimax.minimax-m2.1", "minimax.minimax-m2.5"],
        tools: Tools::Any,
        context: thousand(196),
        ..PLAIN
    },
    Traits {
        name: "glm",
        ids: &["zai.glm-4.7", "zai.glm-4.7-flash", "zai.glm-5"],
        tools: Tools::Any,
        context: thousand(200),
        max_output: 128_000,
        ..PLAIN
    },
    Traits {
        name: "glm-5.3",
        ids: &["zai.glm-5.3"],
        tools: Tools::Any,
        caching: Caching::FiveMinutes,
        json_schema: true,
        context: thousand(1000),
        max_output: 128_000,
        ..PLAIN
    },
    Traits { name: "nemotron-nano", ids: &["nvidia.nemotron-nano-9b-v2"], ..PLAIN },
    Traits {
        name: "nemotron-nano",
        ids: &["nvidia.nemotron-nano-3-30b"],
        tools: Tools::Any,
        json_schema: true,
        context: thousand(256),
        ..PLAIN
    },
    Traits { name: "nemotron-nano-vl", ids: &["nvidia.nemotron-nano-12b-v2"], images: true, ..PLAIN },
    Traits {
        name: "nemotron-super-3",
        ids: &["nvidia.nemotron-super-3-120b"],
        tools: Tools::Any,
        context: thousand(256),
        max_output: 32_000,
        ..PLAIN
    },
    Traits {
        name: "jamba-1.5",
        ids: &["ai21.jamba-1-5-large", "ai21.jamba-1-5-mini"],
        context: thousand(256),
        max_output: 4_096,
        ..PLAIN
    },
    Traits { name: "jamba-instruct", ids: &["ai21.jamba-instruct"], context: thousand(70), max_output: 4_096, ..PLAIN },
    Traits {
        name: "command",
        ids: &["cohere.command-text", "cohere.command-light-text"],
        system: false,
        tools: Tools::No,
        context: TokenCount::new(4_096),
        max_output: 4_096,
        ..PLAIN
    },
    Traits { name: "command-r", ids: &["cohere.command-r", "cohere.command-r-plus"], max_output: 4_000, ..PLAIN },
    Traits {
        name: "palmyra-vision",
        ids: &["writer.palmyra-vision-7b"],
        images: true,
        context: TokenCount::new(4_096),
        max_output: 4_096,
        ..PLAIN
    },
    Traits { name: "palmyra", ids: &["writer.palmyra-x4", "writer.palmyra-x5"], max_output: 8_192, ..PLAIN },
    ANY,
];

/// A model that is newer than this table, or is behind an ARN that tells nothing: it takes everything, and the service has the last
/// word. Its context is not known, so that no text is too long before the service says so.
const ANY: Traits = Traits {
    name: "any",
    images: true,
    tools: Tools::Named,
    strict_tools: true,
    caching: Caching::OneHour,
    top_k: TopK::Field,
    json_schema: true,
    effort: Effort::Field,
    efforts: TO_MAX,
    thinking: Thinking::Either,
    context: thousand(100_000),
    max_output: 1_000_000,
    ..PLAIN
};

/// The same of which the id tells the provider: that is whose parameters it takes.
pub(super) const NEW_CLAUDE: Traits = Traits { dialect: Dialect::Claude, effort: Effort::OutputConfig, ..ANY };
pub(super) const NEW_NOVA: Traits =
    Traits { dialect: Dialect::Nova, top_k: TopK::Nova, effort: Effort::ReasoningConfig, efforts: TO_MEDIUM, ..ANY };
pub(super) const NEW: Traits = ANY;
