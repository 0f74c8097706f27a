//! "Prompt is too long": detects such a rejection, and by how much.
//!
//! Each provider has its own words, and few have numbers. That the input was refused is decided by status and code, as for any failure;
//! words only distinguish a refusal for length from others, and a throttle that speaks of tokens is none.

use crate::bedrock::error::{CallError, Class};

/// What providers say of a prompt that is too long, in lower case.
const SAID: [&str; 18] = [
    "prompt is too long",
    "input is too long",
    "too many input tokens",
    "too many tokens",
    "input tokens exceeded",
    "number of input tokens exceeds",
    "exceeds maximum length",
    "exceed context limit",
    "exceeds context limit",
    "context length",
    "context_length",
    "context window",
    "expected maxlength",
    "number of tokens in the prompt",
    "input length",
    "reduce the length of the",
    "request too large",
    "request_too_large",
];

/// What they say where the answer is what may not be so long.
const OF_THE_ANSWER: [&str; 2] = ["maximum tokens you requested", "max_tokens:"];

/// What is kept where no numbers say by how much it is too long: five such steps are to a sixth.
const BLINDLY: f64 = 0.7;

/// Smaller numbers are places in the request, or parts of names.
const LEAST: u64 = 256;

/// Returns what part of a request's input the model would have taken, less than one, where it was refused for its length.
#[must_use]
pub fn kept(error: &CallError) -> Option<f64> {
    let message = error.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let is_too_large = error.status == Some(413);
    if error.class != Class::Refused || !(is_too_large || says(&SAID)) || says(&OF_THE_ANSWER) {
        return None;
    }
    Some(share(&message).filter(|share| (0.01..1.0).contains(share)).unwrap_or(BLINDLY))
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(message: &str) -> Option<f64> {
    let numbers = numbers(message);
    // `198000 + 8192 > 200000`: what goes in, what may come out, and what both may be together.
    if let ([input, output, most, ..], true) = (numbers.as_slice(), message.contains(" + ")) {
        return Some(most.saturating_sub(*output) as f64 / (*input).max(1) as f64);
    }
    let (least, most) = (numbers.iter().min()?, numbers.iter().max()?);
    Some(*least as f64 / *most as f64)
}

fn numbers(message: &str) -> Vec<u64> {
    let plain = message.replace(',', "");
    // Not those inside of names, as `gpt-6` or `200k`.
    let words = plain.split(|character: char| character.is_whitespace() || ":;()[]`'\">".contains(character));
    words.filter_map(|word| word.trim_end_matches('.').parse().ok()).filter(|number| *number >= LEAST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_of(class: Class, status: u16, message: &str) -> Option<f64> {
        let (code, request_id, retry_after) = (None, None, None);
        kept(&CallError { class, status: Some(status), code, message: message.into(), request_id, retry_after })
    }

    #[test]
    fn each_providers_words_are_understood_with_their_numbers_where_they_have_some() {
        for (message, expected) in [
            (
                "The model returned the following errors: prompt is too long: 215000 tokens > 200000 maximum",
                200_000.0 / 215_000.0,
            ),
            ("prompt is too long: 1,208,544 tokens > 1,000,000 maximum", 1_000_000.0 / 1_208_544.0),
            (
                "input length and `max_tokens` exceed context limit: 198000 + 8192 > 200000, decrease input length",
                191_808.0 / 198_000.0,
            ),
            ("Input is too long for requested model.", BLINDLY),
            (
                "Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.",
                BLINDLY,
            ),
            (
                "This model's maximum context length is 131072 tokens. However, your prompt has 140000 tokens.",
                131_072.0 / 140_000.0,
            ),
            ("This model's maximum context length is 8192 tokens. Please reduce the length of the prompt", BLINDLY),
            ("Too many input tokens. Max input tokens: 8192, request input token count: 9875", 8192.0 / 9875.0),
            ("too many tokens: total number of tokens in the prompt cannot exceed 4081 - received 9000.", 4081.0 / 9000.0),
            ("Your input exceeds the context window of this model.", BLINDLY),
            ("context_length_exceeded", BLINDLY),
            ("prompt is too long: 100000000 tokens > 300 maximum", BLINDLY),
        ] {
            let found = kept_of(Class::Refused, 400, message).unwrap_or_else(|| panic!("{message}"));
            assert!((found - expected).abs() < 1e-9, "{message}: {found}");
        }
        assert_eq!(kept_of(Class::Refused, 413, ""), Some(BLINDLY));
    }

    #[test]
    fn what_is_no_refusal_for_length_is_none() {
        assert_eq!(kept_of(Class::Throttled, 429, "Too many tokens, please wait before trying again."), None);
        for message in [
            "The maximum tokens you requested exceeds the model limit of 8192. Try again with a maximum tokens value that is lower.",
            "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens",
            "The text field in the ContentBlock object at messages.0.content.0 is blank.",
            "Malformed input request: #: extraneous key [x] is not permitted",
        ] {
            assert_eq!(kept_of(Class::Refused, 400, message), None, "{message}");
        }
    }
}
