use std::path::Path;

use super::*;

fn config(more: &str) -> PromptConfig {
    let base = "name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\n";
    let prompt = if more.starts_with("prompt =") { "" } else { "prompt = \"Sum up:\\n{{text}}\"\n" };
    toml::from_str(&format!("{base}{prompt}{more}")).unwrap()
}

fn ask(prompt: &Prompt, text: &str) -> Result<Asking, CannotAsk> {
    let document = DocumentPath::new(Path::new("a.md")).unwrap();
    let about = About {
        document: &document,
        media_type: "text/markdown",
        text,
        document_text: text,
        headings: &[],
        chunk: None,
        chunks: 1,
    };
    prompt.ask(&about, tokens, pieces)
}

/// Four bytes a token will do here.
fn tokens(text: &str) -> TokenCount {
    TokenCount::new(text.len() as u64 / 4)
}

fn pieces(text: &str, parts: usize) -> Vec<std::ops::Range<usize>> {
    (0..parts).map(|part| text.len() * part / parts..text.len() * (part + 1) / parts).collect()
}

fn refused(more: &str) -> String {
    let mut table: toml::Table = toml::Table::try_from(config("")).unwrap();
    table.extend(toml::from_str::<toml::Table>(more).unwrap());
    let invalid = Prompt::resolve(table.try_into().unwrap()).unwrap_err();
    format!("{invalid}\n  help: {}", invalid.help)
}

#[test]
fn a_value_that_cannot_work_is_rejected_at_start_with_its_key() {
    insta::assert_snapshot!([
        refused("name = \"\""),
        refused("model = \"amazon.titan-embed-text-v2:0\""),
        refused("family = \"claude-5\""),
        refused("prompt = \"Sum up.\""),
        refused("prompt = \"{{text}} {{date}}\""),
        refused("temperature = 1.5"),
        refused("max-tokens = 1000000"),
        refused("model = \"anthropic.claude-sonnet-4-6\"\ntemperature = 0.1\ntop-p = 0.5"),
        refused("model = \"mistral.mistral-7b-instruct-v0:2\"\nsystem = \"Be short.\""),
    ]
    .join("\n"), @r"
    `chat.name` of `(without a name)` is empty or has control characters in it
      help: give it a word, as `summary`
    `chat.model` of `summary` cannot be used: `amazon.titan-embed-text-v2:0` is no chat model: it makes vectors or ranks texts, and writes none
      help: name another model, or say in `family` whose rules it follows; `any` leaves it to the service
    `chat.family` of `summary` cannot be used: `amazon.nova-micro-v1:0` is of the family `nova-micro`
      help: name another model, or say in `family` whose rules it follows; `any` leaves it to the service
    `chat.prompt` of `summary` never shows the text
      help: write `{{text}}` where the document's text belongs
    `chat.prompt` of `summary` has the unknown variable `{{date}}`; there are {{text}}, {{document-text}}, {{document}}, {{headings}}, {{chunk}}, {{chunks}}, {{media-type}}
      help: write `{{text}}` where the document's text belongs
    `chat.temperature` of `summary` would be refused: temperature: is 1.5; Bedrock takes 0 to 1, also where OpenAI takes more
      help: change it, leave it out, or name another model
    `chat.max-tokens` of `summary` would be refused: max_tokens: is 1000000; the model takes 1 to 10000
      help: change it, leave it out, or name another model
    `chat.top-p` of `summary` would be refused: top_p: the model takes `temperature` or `top_p`, not both: leave one out
      help: change it, leave it out, or name another model
    `chat.system` of `summary` would be refused: system: the model takes no system text: put it into the user's message, or ask another model
      help: change it, leave it out, or name another model
    ");
}

#[test]
fn what_shapes_an_answer_and_nothing_else_is_in_the_fingerprint() {
    let fingerprint = |more: &str| Prompt::resolve(config(more)).unwrap().fingerprint(false);
    let plain = fingerprint("");
    for shaping in [
        "prompt = \"Sum this up:\\n{{text}}\"",
        "system = \"Be short.\"",
        "max-tokens = 7",
        "temperature = 0.5",
        "top-p = 0.5",
        "top-k = 5",
        "stop-sequences = [\"END\"]",
        "long = \"truncate\"",
        "guardrail = \"g\"",
    ] {
        assert_ne!(fingerprint(shaping), plain, "{shaping}");
    }
    for other in [
        "cache-prompt = true",
        "cache-ttl = \"1h\"",
        "service-tier = \"priority\"",
        "latency = \"optimized\"",
        "metadata = { team = \"search\" }",
        "guardrail-trace = true",
        "include = [\"*.md\"]",
        "exclude = [\"*.md\"]",
    ] {
        assert_eq!(fingerprint(other), plain, "{other}");
    }
    // Keys that came later count where they are set; without them a prompt is what it was before there were any.
    assert_ne!(fingerprint("thinking = \"off\""), plain);
    let of_claude = |more: &str| {
        let prompt = format!(
            "name = \"n\"\nmodel = \"us.anthropic.claude-sonnet-4-6\"\nprompt = \"{{{{text}}}}\"\nmax-tokens = 4000\n{more}"
        );
        Prompt::resolve(toml::from_str(&prompt).unwrap()).unwrap().fingerprint(false)
    };
    let shapes = ["", "effort = \"low\"", "effort = \"high\"", "thinking = 2048", "thinking = \"adaptive\""].map(of_claude);
    assert_eq!(shapes.iter().collect::<std::collections::HashSet<_>>().len(), shapes.len());
    let before = Fingerprint::of(&[
        ("emulated", "false"),
        ("model", "amazon.nova-micro-v1:0"),
        ("system", ""),
        ("prompt", "Sum up:\n{{text}}"),
        ("max-tokens", "1024"),
        ("temperature", ""),
        ("top-p", ""),
        ("top-k", ""),
        ("stop-sequences", ""),
        ("long", "Fail"),
        ("guardrail", ""),
        ("guardrail-version", "DRAFT"),
    ]);
    assert_eq!(plain, before);
    assert_ne!(Prompt::resolve(config("")).unwrap().fingerprint(true), plain, "an emulator's answers are no model's");
}

#[test]
fn a_text_that_fits_is_one_request() {
    let asking = ask(&Prompt::resolve(config("")).unwrap(), "words").unwrap();
    assert_eq!((asking.requests.len(), asking.long), (1, None));
}

#[test]
fn a_text_that_is_too_long_is_refused_cut_or_asked_in_parts_as_configured() {
    // Nova micro's context is 128,000 tokens.
    let text = "Otters hold hands while they sleep. ".repeat(20_000);
    let asking = |long: &str| ask(&Prompt::resolve(config(&format!("long = \"{long}\""))).unwrap(), &text);
    let too_long = asking("fail").unwrap_err();
    let CannotAsk::TooLong { needed, context } = too_long else { panic!("{too_long}") };
    assert!(needed > context && context.get() == 128_000, "{needed} {context}");

    let cut = asking("truncate").unwrap();
    assert_eq!(cut.requests.len(), 1);
    let reserved = cut.requests[0].reserved();
    assert!(reserved <= context && reserved.get() > 100_000, "{reserved}");
    assert!(cut.long.unwrap().starts_with("truncated to "));

    let parts = asking("map-reduce").unwrap();
    assert!(parts.requests.len() > 1 && parts.requests.iter().all(|request| request.reserved() <= context));
    let sum: u64 = parts.requests.iter().map(|request| request.estimated_input().get()).sum();
    assert!(sum >= needed.get() - 1024, "all of it is sent: {sum} of {needed}");
}
