//! Streams, decoded by the SDK: whole, and broken in every way.

use aws_sdk_bedrockruntime::types::{ContentBlockDelta, ContentBlockStart, ConverseStreamOutput as Event, StopReason};
use riverbed::emulator::{Break, Fault};
use tokio::time::timeout;

use super::*;

/// Reads a stream to its end: the events, and the error that ended it if there was one.
async fn read(mut output: ConverseStreamOutput) -> (Vec<Event>, Option<String>) {
    let mut events = Vec::new();
    loop {
        match timeout(PATIENCE, output.stream.recv()).await.expect("the stream neither went on nor ended") {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => {
                let name = error.as_service_error().and_then(|error| error.code().or(error.meta().code())).map(str::to_owned);
                return (events, Some(name.unwrap_or_else(|| format!("{error:?}"))));
            }
        }
    }
}

async fn events(client: &Client, model: &str, body: &Value) -> Vec<Event> {
    let (events, error) = read(converse_stream(client, model, body).await.unwrap()).await;
    assert_eq!(error, None);
    events
}

/// Returns what the deltas of a stream say, one kind of them.
fn joined(events: &[Event], pick: impl Fn(&ContentBlockDelta) -> Option<String>) -> String {
    let deltas = events.iter().filter_map(|event| event.as_content_block_delta().ok()?.delta());
    deltas.filter_map(pick).collect()
}

fn texts(events: &[Event]) -> String {
    joined(events, |delta| delta.as_text().ok().cloned())
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    let kind = |event: &Event| match event {
        Event::MessageStart(_) => "messageStart",
        Event::ContentBlockStart(_) => "contentBlockStart",
        Event::ContentBlockDelta(_) => "contentBlockDelta",
        Event::ContentBlockStop(_) => "contentBlockStop",
        Event::MessageStop(_) => "messageStop",
        Event::Metadata(_) => "metadata",
        _ => "another",
    };
    let mut kinds: Vec<_> = events.iter().map(kind).collect();
    kinds.dedup();
    kinds
}

#[tokio::test]
async fn a_stream_says_what_the_object_says_in_the_order_of_the_service() {
    let (emulator, client) = start().await;
    let body = about(LEAVE, "Summarise it.");
    let output = converse(&client, NOVA, &body).await.unwrap();
    let events = events(&client, NOVA, &body).await;
    assert_eq!(kinds(&events), ["messageStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"]);
    assert!(events.len() > 8, "it comes in pieces");
    assert_eq!(texts(&events), text(&output));
    let Some(Event::MessageStop(stop)) = events.iter().find(|event| event.is_message_stop()) else { panic!("{events:?}") };
    assert_eq!(stop.stop_reason(), output.stop_reason());
    let Some(Event::Metadata(metadata)) = events.last() else { panic!("{events:?}") };
    assert_eq!(metadata.usage(), output.usage());
    assert!(metadata.metrics().is_some());
    let chat = emulator.counts().chat;
    assert_eq!((chat.calls, chat.streams), (2, 1));
    assert_eq!(chat.output_tokens, 2 * u64::try_from(output.usage().unwrap().output_tokens()).unwrap());
}

#[tokio::test]
async fn tool_uses_and_thoughts_are_streamed_as_blocks_of_their_own() {
    let (emulator, client) = start().await;
    let schema = json!({"type": "object", "properties": {"place": {"type": "string"}}});
    let config =
        json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": schema}}}], "toolChoice": {"any": {}}});
    let body = json!({"messages": [turn("user", "How is the weather in Oslo?")], "toolConfig": config});
    let events_of_tool = events(&client, NOVA, &body).await;
    let order = ["messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"];
    assert_eq!(kinds(&events_of_tool), order);
    let Event::ContentBlockStart(start) = &events_of_tool[1] else { panic!("{events_of_tool:?}") };
    let Some(ContentBlockStart::ToolUse(used)) = start.start() else { panic!("{start:?}") };
    assert_eq!(used.name(), "weather");
    let input = joined(&events_of_tool, |delta| Some(delta.as_tool_use().ok()?.input().to_owned()));
    assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), json!({"place": "How is the weather in Oslo?"}));

    emulator.script([Fault::Reasoning]);
    let events = events(&client, CLAUDE, &question("Who swims?")).await;
    let thought = joined(&events, |delta| delta.as_reasoning_content().ok()?.as_text().ok().cloned());
    let signature = joined(&events, |delta| delta.as_reasoning_content().ok()?.as_signature().ok().cloned());
    assert!(thought.contains("Who swims?") && signature.len() == 16, "{thought} {signature}");
    assert_eq!(texts(&events), "Who swims?");
}

#[tokio::test]
async fn a_blocked_stream_carries_the_trace_in_its_metadata() {
    let (emulator, client) = start().await;
    emulator.fault_where("weapons", Fault::Guardrail { word: "weapons".to_owned() });
    let mut body = question("Tell me about weapons.");
    body["guardrailConfig"] =
        json!({"guardrailIdentifier": "abc123", "guardrailVersion": "1", "trace": "enabled", "streamProcessingMode": "async"});
    let events = events(&client, NOVA, &body).await;
    let Some(Event::MessageStop(stop)) = events.iter().find(|event| event.is_message_stop()) else { panic!("{events:?}") };
    assert_eq!(stop.stop_reason(), &StopReason::GuardrailIntervened);
    let Some(Event::Metadata(metadata)) = events.last() else { panic!("{events:?}") };
    assert!(metadata.trace().unwrap().guardrail().unwrap().input_assessment().unwrap().contains_key("abc123"));
}

#[tokio::test]
async fn an_exception_in_the_middle_ends_the_stream_with_its_name() {
    let (emulator, client) = start().await;
    for (name, code) in [
        ("throttlingException", "ThrottlingException"),
        ("internalServerException", "InternalServerException"),
        ("modelStreamErrorException", "ModelStreamErrorException"),
        ("serviceUnavailableException", "ServiceUnavailableException"),
        ("validationException", "ValidationException"),
    ] {
        let how = Break::Exception { name: name.to_owned(), message: "Too many tokens".to_owned() };
        emulator.script([Fault::Stream { after: 3, how }]);
        let (events, error) = read(converse_stream(&client, NOVA, &about(LEAVE, "Summarise it.")).await.unwrap()).await;
        assert_eq!(events.len(), 3);
        let error = error.unwrap();
        assert!(error.to_lowercase().contains(&code.to_lowercase()), "{name}: {error}");
    }
    emulator.script([Fault::Stream { after: 1, how: Break::Error { code: "Oops".to_owned(), message: "unknown".to_owned() } }]);
    let (events, error) = read(converse_stream(&client, NOVA, &question("Hello!")).await.unwrap()).await;
    assert_eq!((events.len(), error.is_some()), (1, true));
}

#[tokio::test]
async fn a_broken_stream_is_an_error_after_what_came_whole() {
    let (emulator, client) = start().await;
    for how in [Break::Cut, Break::Reset, Break::BadChecksum] {
        emulator.script([Fault::Stream { after: 4, how: how.clone() }]);
        let (events, error) = read(converse_stream(&client, NOVA, &about(LEAVE, "Summarise it.")).await.unwrap()).await;
        assert!(error.is_some(), "{how:?}");
        assert!(events.len() <= 4 && !events.iter().any(Event::is_message_stop), "{how:?}: {events:?}");
    }
    emulator.script([Fault::CutBody]);
    let (events, error) = read(converse_stream(&client, NOVA, &about(LEAVE, "Summarise it.")).await.unwrap()).await;
    assert!(error.is_some() && !events.iter().any(Event::is_message_stop));
    // What is no stream is answered as it deserves.
    emulator.script([Fault::Stream { after: 0, how: Break::Cut }]);
    assert_eq!(text(&converse(&client, NOVA, &question("Hello!")).await.unwrap()), "Hello!");
}

#[tokio::test]
async fn a_stream_that_hangs_ends_with_its_client() {
    let (emulator, client) = start().await;
    emulator.script([Fault::Stream { after: 2, how: Break::Hang }]);
    let mut output = converse_stream(&client, NOVA, &about(LEAVE, "Summarise it.")).await.unwrap();
    for _ in 0..2 {
        assert!(timeout(PATIENCE, output.stream.recv()).await.unwrap().unwrap().is_some());
    }
    let waited = timeout(Duration::from_millis(50), output.stream.recv()).await;
    assert!(waited.is_err(), "something came: {waited:?}");
    drop(output);
    timeout(PATIENCE, emulator.stop()).await.unwrap();
}

#[tokio::test]
async fn refusals_and_throttles_come_before_the_stream() {
    let (emulator, client) = start().await;
    emulator.script([Fault::Throttle]);
    let failure = converse_stream(&client, NOVA, &question("Hello!")).await.unwrap_err();
    assert_eq!(failure.code(), Some("ThrottlingException"));
    emulator.script([Fault::NotJson]);
    let ended = match converse_stream(&client, NOVA, &question("Hello!")).await {
        Ok(output) => read(output).await.1.is_some(),
        Err(_) => true,
    };
    assert!(ended, "a page of HTML is no stream");
}

#[tokio::test]
async fn each_event_waits_for_its_time() {
    let chunk_latency = Duration::from_millis(20);
    let (_emulator, client) = start_with(emulator::EmulatorConfig { chunk_latency, ..emulator::EmulatorConfig::default() }).await;
    let begun = std::time::Instant::now();
    let events = events(&client, NOVA, &question("Hello!")).await;
    let pauses = u32::try_from(events.len()).unwrap() - 1;
    assert!(begun.elapsed() >= chunk_latency * pauses);
    let Some(Event::Metadata(metadata)) = events.last() else { panic!("{events:?}") };
    assert!(metadata.metrics().unwrap().latency_ms() >= i64::from(20 * pauses));
}

#[tokio::test]
async fn payloads_are_padded_and_the_padding_is_the_same_every_time() {
    let (emulator, _) = start().await;
    let body = question("Otters swim in the river and sleep in the reeds.").to_string();
    let request = crate::emulator::post("/model/amazon.nova-micro-v1%3A0/converse-stream", crate::emulator::SIGNED, &body);
    let raw = async || {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(emulator.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let (one, other) = (raw().await, raw().await);
    assert!(one.contains("content-type: application/vnd.amazon.eventstream") && one.contains("transfer-encoding: chunked"));
    let paddings =
        |answer: &str| answer.split("\"p\":\"").skip(1).map(|rest| rest.split('"').next().unwrap().len()).collect::<Vec<_>>();
    assert_eq!(paddings(&one), paddings(&other));
    let different: std::collections::BTreeSet<_> = paddings(&one).into_iter().collect();
    assert!(different.len() > 2, "{different:?}");
}
