//! A guardrail's action without its findings: a trace quotes the very words that it blocks.

use aws_sdk_bedrockruntime::types::{
    GuardrailAssessment, GuardrailAutomatedReasoningPolicyAssessment as Reasoned,
    GuardrailContextualGroundingPolicyAssessment as Grounded, GuardrailTraceAssessment,
};

/// A summary of a guardrail's trace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Why it did what it did, in its own words.
    pub reason: Option<String>,
    /// What its policies say.
    pub findings: Vec<Finding>,
}

/// What one policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of what.
    pub side: Side,
    /// The policy, as `topic`.
    pub policy: &'static str,
    /// What it is about: a topic's name, a kind of content or of personal data. Never a quotation.
    pub about: String,
    /// What was done, as `BLOCKED`, `ANONYMIZED` or `NONE`.
    pub action: String,
}

/// What a guardrail looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The question.
    Input,
    /// The answer.
    Output,
}

impl Trace {
    /// Sums a trace up.
    pub(super) fn of(trace: GuardrailTraceAssessment) -> Self {
        let mut findings = Vec::new();
        for assessment in trace.input_assessment.into_iter().flatten().map(|(_, assessment)| assessment) {
            add(&mut findings, Side::Input, &assessment);
        }
        for assessment in trace.output_assessments.into_iter().flatten().flat_map(|(_, assessments)| assessments) {
            add(&mut findings, Side::Output, &assessment);
        }
        Self { reason: trace.action_reason, findings }
    }
}

fn add(findings: &mut Vec<Finding>, side: Side, assessment: &GuardrailAssessment) {
    let mut add = |policy, about: &str, action: &str| {
        findings.push(Finding { side, policy, about: about.to_owned(), action: action.to_owned() });
    };
    for topic in assessment.topic_policy.iter().flat_map(|policy| &policy.topics) {
        add("topic", &topic.name, topic.action.as_str());
    }
    for filter in assessment.content_policy.iter().flat_map(|policy| &policy.filters) {
        add("content", filter.r#type.as_str(), filter.action.as_str());
    }
    for word in assessment.word_policy.iter().flat_map(|policy| &policy.custom_words) {
        add("word", "custom", word.action.as_str());
    }
    for word in assessment.word_policy.iter().flat_map(|policy| &policy.managed_word_lists) {
        add("word", word.r#type.as_str(), word.action.as_str());
    }
    for entity in assessment.sensitive_information_policy.iter().flat_map(|policy| &policy.pii_entities) {
        add("sensitive-information", entity.r#type.as_str(), entity.action.as_str());
    }
    for regex in assessment.sensitive_information_policy.iter().flat_map(|policy| &policy.regexes) {
        add("sensitive-information", regex.name.as_deref().unwrap_or("a regular expression"), regex.action.as_str());
    }
    for filter in assessment.contextual_grounding_policy.iter().flat_map(Grounded::filters) {
        add("contextual-grounding", filter.r#type.as_str(), filter.action.as_str());
    }
    let reasoned = assessment.automated_reasoning_policy.iter().flat_map(Reasoned::findings).count();
    if reasoned > 0 {
        add("automated-reasoning", &format!("{reasoned} findings"), "NONE");
    }
}
