//! A Converse request, parsed for the rules and the answer.

use serde_json::{Map, Value};

use super::content::{self, Block, Ttl};
use super::request_shape::{Members, Node, unknown_member};
use crate::emulator::response::Refusal;

/// More stop sequences than the service's model allows.
const MAX_STOPS: usize = 2_500;
const MAX_METADATA: usize = 16;
const MAX_RESPONSE_PATHS: usize = 10;

/// A request whose shape is right. Whether the model takes it is for the [rules](super::rules).
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    pub(super) system: Vec<Block>,
    pub(super) inference: Inference,
    pub(super) tools: Option<Tools>,
    pub(super) guardrail: Option<Guardrail>,
    /// The model's own fields.
    pub(super) additional: Map<String, Value>,
    pub(super) response_paths: Vec<String>,
    /// The JSON schema that the answer is to follow.
    pub(super) schema: Option<Value>,
    pub(super) latency: Option<&'static str>,
    pub(super) tier: Option<&'static str>,
}

/// A turn.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: Vec<Block>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    User,
    Assistant,
    System,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Inference {
    pub(super) max_tokens: Option<u64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) stops: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Tools {
    pub(super) specs: Vec<Tool>,
    pub(super) choice: Choice,
    pub(super) cache_point: Option<Ttl>,
}

#[derive(Debug, Clone)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
}

/// Which tool the model is to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    Any,
    Tool(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guardrail {
    pub(super) identifier: String,
    pub(super) trace: bool,
}

impl Conversation {
    /// Reads a request. `streamed` tells what only one of the two operations takes.
    pub(super) fn read(request: Value, streamed: bool) -> Result<Self, Refusal> {
        let mut members = Node::of(request).object()?;
        let mut read = Self {
            messages: list(&mut members, "messages")?.into_iter().map(message).collect::<Result<_, _>>()?,
            system: list(&mut members, "system")?.into_iter().map(content::system).collect::<Result<_, _>>()?,
            inference: members.take("inferenceConfig").map(inference).transpose()?.unwrap_or_default(),
            tools: members.take("toolConfig").map(tools).transpose()?,
            guardrail: members.take("guardrailConfig").map(|node| guardrail(node, streamed)).transpose()?,
            ..Self::default()
        };
        if let Some(node) = members.take("additionalModelRequestFields") {
            read.additional = match node.json() {
                Value::Object(fields) => fields,
                other => return Err(Node::of(other).object().err().expect("it is no object")),
            };
        }
        read.response_paths = response_paths(&mut members)?;
        read.schema = members.take("outputConfig").map(output).transpose()?.flatten();
        read.latency = chosen(&mut members, "performanceConfig", "latency", &["standard", "optimized"])?;
        read.tier = chosen(&mut members, "serviceTier", "type", &["priority", "default", "flex", "reserved"])?;
        metadata(&mut members)?;
        if members.take("promptVariables").is_some() {
            // The service's words have not been seen.
            return Err(Refusal::validation(
                "promptVariables can only be used with the ARN of a prompt as the model identifier.",
            ));
        }
        members.finish()?;
        Ok(read)
    }
}

fn list(members: &mut Members, key: &str) -> Result<Vec<Node>, Refusal> {
    members.take(key).map_or_else(|| Ok(Vec::new()), Node::list)
}

fn message(node: Node) -> Result<Message, Refusal> {
    let mut members = node.object()?;
    let role = match members.need("role")?.choice(&["user", "assistant", "system"])? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => Role::System,
    };
    let content = members.need("content")?.list()?.into_iter().map(content::read).collect::<Result<_, _>>()?;
    members.finish()?;
    Ok(Message { role, content })
}

fn inference(node: Node) -> Result<Inference, Refusal> {
    let mut members = node.object()?;
    let max_tokens = members.take("maxTokens").map(Node::at_least_one).transpose()?;
    let temperature = members.take("temperature").map(Node::share).transpose()?;
    let top_p = members.take("topP").map(Node::share).transpose()?;
    let mut stops = Vec::new();
    if let Some(node) = members.take("stopSequences") {
        let too_many = node.refuse(&format!("Member must have length less than or equal to {MAX_STOPS}"));
        let items = node.list()?;
        if items.len() > MAX_STOPS {
            return Err(too_many);
        }
        stops = items.into_iter().map(|item| item.text_of(1, usize::MAX)).collect::<Result<_, _>>()?;
    }
    members.finish()?;
    Ok(Inference { max_tokens, temperature, top_p, stops })
}

fn tools(node: Node) -> Result<Tools, Refusal> {
    let mut members = node.object()?;
    let node = members.need("tools")?;
    let none = node.refuse("Member must have length greater than or equal to 1");
    let (mut specs, mut cache_point) = (Vec::new(), None);
    for item in node.list()? {
        match item.union()? {
            (key, node) if key == "toolSpec" => specs.push(tool(node)?),
            (key, node) if key == "cachePoint" => cache_point = Some(content::cache_point(node)?),
            (key, _) if key == "systemTool" => {
                return Err(Refusal::validation("this emulator has no system tools"));
            }
            (key, node) => return Err(unknown_member(&node, &key)),
        }
    }
    if specs.is_empty() {
        return Err(none);
    }
    let choice = members.take("toolChoice").map(choice).transpose()?.unwrap_or(Choice::Auto);
    members.finish()?;
    Ok(Tools { specs, choice, cache_point })
}

fn tool(node: Node) -> Result<Tool, Refusal> {
    let mut members = node.object()?;
    let name = members.need("name")?.name(64, "_-")?;
    let description = members.take("description").map(|node| node.text_of(1, usize::MAX)).transpose()?;
    let mut schema = members.need("inputSchema")?.object()?;
    let json = schema.need("json")?.json();
    schema.finish()?;
    members.take("strict").map(Node::flag).transpose()?;
    members.finish()?;
    Ok(Tool { name, description: description.unwrap_or_default(), schema: json })
}

fn choice(node: Node) -> Result<Choice, Refusal> {
    let (key, node) = node.union()?;
    let chosen = match key.as_str() {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        "tool" => {
            let mut members = node.object()?;
            let name = members.need("name")?.name(64, "_-")?;
            members.finish()?;
            return Ok(Choice::Tool(name));
        }
        _ => return Err(unknown_member(&node, &key)),
    };
    node.object()?.finish()?;
    Ok(chosen)
}

fn guardrail(node: Node, streamed: bool) -> Result<Guardrail, Refusal> {
    let mut members = node.object()?;
    let identifier = members.need("guardrailIdentifier")?.name(2_048, ":/-")?;
    members.need("guardrailVersion")?.name(8, "")?;
    let trace = members.take("trace").map(|node| node.choice(&["enabled", "disabled", "enabled_full"])).transpose()?;
    if streamed {
        members.take("streamProcessingMode").map(|node| node.choice(&["sync", "async"])).transpose()?;
    }
    members.finish()?;
    Ok(Guardrail { identifier, trace: trace.is_some_and(|trace| trace != "disabled") })
}

fn response_paths(members: &mut Members) -> Result<Vec<String>, Refusal> {
    let Some(node) = members.take("additionalModelResponseFieldPaths") else { return Ok(Vec::new()) };
    let too_many = node.refuse(&format!("Member must have length less than or equal to {MAX_RESPONSE_PATHS}"));
    let paths = node.list()?;
    if paths.len() > MAX_RESPONSE_PATHS {
        return Err(too_many);
    }
    paths.into_iter().map(|path| path.text_of(1, 256)).collect()
}

fn output(node: Node) -> Result<Option<Value>, Refusal> {
    let mut members = node.object()?;
    members.take("effort").map(|node| node.choice(&["low", "medium", "high", "xhigh", "max"])).transpose()?;
    let Some(format) = members.take("textFormat") else {
        members.finish()?;
        return Ok(None);
    };
    members.finish()?;
    let mut format = format.object()?;
    format.need("type")?.choice(&["json_schema"])?;
    let mut structure = format.need("structure")?.object()?;
    let mut inner = structure.need("jsonSchema")?.object()?;
    let schema = inner.need("schema")?.text()?;
    inner.take("name").map(Node::text).transpose()?;
    inner.take("description").map(Node::text).transpose()?;
    inner.finish()?;
    structure.finish()?;
    format.finish()?;
    // The schema is JSON in a string. The service's words for one that is not have not been seen.
    let wrong = |_| Refusal::validation("The schema in outputConfig.textFormat.structure.jsonSchema is not valid JSON.");
    serde_json::from_str(&schema).map(Some).map_err(wrong)
}

fn chosen(members: &mut Members, key: &str, inner: &str, choices: &[&'static str]) -> Result<Option<&'static str>, Refusal> {
    let Some(node) = members.take(key) else { return Ok(None) };
    let mut members = node.object()?;
    let chosen = members.take(inner).map(|node| node.choice(choices)).transpose()?;
    members.finish()?;
    Ok(chosen)
}

fn metadata(members: &mut Members) -> Result<(), Refusal> {
    let Some(node) = members.take("requestMetadata") else { return Ok(()) };
    let too_many = node.refuse(&format!("Member must have length less than or equal to {MAX_METADATA}"));
    let Value::Object(pairs) = node.json() else { return Err(too_many) };
    if pairs.len() > MAX_METADATA {
        return Err(too_many);
    }
    for (key, value) in pairs {
        Node::of(Value::String(key)).text_of(1, 256)?;
        Node::of(value).text_of(0, 256)?;
    }
    Ok(())
}
