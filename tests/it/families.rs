//! Every model family: the client's own bodies, through the real SDK, against the emulator's reading of the same service.

use std::num::NonZeroUsize;

use riverbed::bedrock::{self, CallError, Class, Client, client::Emulated};
use riverbed::domain::TokenCount;
use riverbed::embed::{self, Embedded, Embedder, EmbeddingType, InputType, Settings};
use riverbed::emulator::{self, Emulator, Fault};
use serde_json::{Value, json};

use crate::support::Scene;

const TITAN_V1: &str = "amazon.titan-embed-text-v1";
const TITAN_V2: &str = "amazon.titan-embed-text-v2:0";
const TITAN_MULTIMODAL: &str = "amazon.titan-embed-image-v1";
const NOVA: &str = "amazon.nova-2-multimodal-embeddings-v1:0";
const COHERE_V3: &str = "cohere.embed-multilingual-v3";
const COHERE_V4: &str = "global.cohere.embed-v4:0";
const MARENGO_2: &str = "us.twelvelabs.marengo-embed-2-7-v1:0";
const MARENGO_3: &str = "eu.twelvelabs.marengo-embed-3-0-v1:0";

const ALL: [&str; 8] = [TITAN_V1, TITAN_V2, TITAN_MULTIMODAL, NOVA, COHERE_V3, COHERE_V4, MARENGO_2, MARENGO_3];

/// Four tokens, as the service counts them.
const TEXT: &str = "Test normalization disabled";

async fn start() -> Emulator {
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), emulator::EmulatorConfig::default()).await.unwrap();
    emulator.record(NonZeroUsize::MIN);
    emulator
}

async fn embedder(emulator: &Emulator, model: &str, change: impl FnOnce(&mut embed::EmbedConfig)) -> Embedder {
    let mut config = embed::EmbedConfig { model: model.to_owned().try_into().unwrap(), ..embed::EmbedConfig::default() };
    change(&mut config);
    let emulated = Emulated { url: emulator.endpoint() };
    let client = Client::connect(&bedrock::BedrockConfig::default(), Some(&emulated)).await.unwrap();
    Embedder::new(client, Settings::resolve(&config).unwrap())
}

/// Embeds the text and returns the answer beside the body that was sent for it.
async fn exchange(model: &str, change: impl FnOnce(&mut embed::EmbedConfig)) -> (Embedded, Value) {
    let emulator = start().await;
    let answer = embedder(&emulator, model, change).await.embed(&[TEXT]).await.unwrap();
    let request = emulator.requests().remove(0);
    assert_eq!((request.model_id.as_deref(), request.texts.as_slice()), (Some(model), [TEXT.to_owned()].as_slice()));
    (answer, request.body)
}

async fn refused(model: &str, text: &str) -> CallError {
    let emulator = start().await;
    let error = embedder(&emulator, model, |_| ()).await.embed(&[text]).await.unwrap_err();
    assert!(error.request_id.is_some());
    error
}

fn numbers(answer: &Embedded) -> Vec<f64> {
    serde_json::from_str(answer.vectors[0].as_raw().get()).unwrap()
}

#[tokio::test]
async fn each_family_sends_its_own_body_and_reads_its_own_answer() {
    let nova = json!({
        "schemaVersion": "nova-multimodal-embed-v1",
        "taskType": "SINGLE_EMBEDDING",
        "singleEmbeddingParams": {
            "embeddingPurpose": "GENERIC_INDEX",
            "embeddingDimension": 3072,
            "text": {"truncationMode": "NONE", "value": TEXT}
        }
    });
    let cohere_v4 = json!({"texts": [TEXT], "input_type": "search_document", "truncate": "NONE", "output_dimension": 1536});
    // What the header counts of a Nova text are the instructions around it too.
    for (model, body, dimensions, tokens) in [
        (TITAN_V1, json!({"inputText": TEXT}), 1536, 4),
        (TITAN_V2, json!({"inputText": TEXT, "dimensions": 1024}), 1024, 4),
        (TITAN_MULTIMODAL, json!({"inputText": TEXT, "embeddingConfig": {"outputEmbeddingLength": 1024}}), 1024, 4),
        (NOVA, nova, 3072, 18),
        (COHERE_V3, json!({"texts": [TEXT], "input_type": "search_document", "truncate": "NONE"}), 1024, 4),
        (COHERE_V4, cohere_v4, 1536, 4),
        (MARENGO_2, json!({"inputType": "text", "inputText": TEXT, "textTruncate": "none"}), 1024, 4),
        (MARENGO_3, json!({"inputType": "text", "text": {"inputText": TEXT}}), 512, 4),
    ] {
        let (answer, sent) = exchange(model, |_| ()).await;
        assert_eq!(sent, body, "{model}");
        assert_eq!(answer.vectors.len(), 1, "{model}");
        assert_eq!((numbers(&answer).len(), answer.tokens), (dimensions, Some(TokenCount::new(tokens))), "{model}");
        assert!(answer.emulated);
    }
}

#[tokio::test]
async fn every_size_that_a_family_offers_is_made() {
    for (model, sizes) in [
        (TITAN_V2, [256, 512, 1024].as_slice()),
        (TITAN_MULTIMODAL, &[256, 384, 1024]),
        (NOVA, &[256, 384, 1024, 3072]),
        (COHERE_V4, &[256, 512, 1024, 1536]),
    ] {
        for size in sizes {
            let (answer, _) = exchange(model, |config| config.dimensions = Some(*size)).await;
            assert_eq!(numbers(&answer).len(), *size as usize, "{model}");
        }
    }
}

#[tokio::test]
async fn every_type_that_a_family_offers_is_made_of_the_numbers_that_it_promises() {
    for (model, embedding_type, length, least, most) in [
        (TITAN_V2, EmbeddingType::Binary, 1024, 0, 1),
        (COHERE_V3, EmbeddingType::Int8, 1024, -128, 127),
        (COHERE_V3, EmbeddingType::Uint8, 1024, 0, 255),
        (COHERE_V3, EmbeddingType::Binary, 128, -128, 127),
        (COHERE_V3, EmbeddingType::Ubinary, 128, 0, 255),
        (COHERE_V4, EmbeddingType::Int8, 1536, -128, 127),
        (COHERE_V4, EmbeddingType::Uint8, 1536, 0, 255),
        (COHERE_V4, EmbeddingType::Binary, 192, -128, 127),
        (COHERE_V4, EmbeddingType::Ubinary, 192, 0, 255),
    ] {
        let (answer, sent) = exchange(model, |config| config.embedding_type = embedding_type).await;
        let types = if model == TITAN_V2 { &sent["embeddingTypes"] } else { &sent["embedding_types"] };
        assert_eq!(*types, json!([embedding_type.as_str()]));
        let numbers: Vec<i16> = serde_json::from_str(answer.vectors[0].as_raw().get()).unwrap();
        assert_eq!(numbers.len(), length, "{model} {embedding_type:?}");
        assert!(numbers.iter().all(|number| (least..=most).contains(number)), "{model} {embedding_type:?}");
        assert!(numbers.iter().any(|number| *number != numbers[0]));
    }
}

#[tokio::test]
async fn nova_and_cohere_are_told_what_the_vectors_are_for() {
    let (_, sent) = exchange(NOVA, |config| config.input_type = Some(InputType::SearchQuery)).await;
    assert_eq!(sent["singleEmbeddingParams"]["embeddingPurpose"], "TEXT_RETRIEVAL");
    let (_, sent) = exchange(COHERE_V4, |config| config.input_type = Some(InputType::SearchQuery)).await;
    assert_eq!(sent["input_type"], "search_query");
}

#[tokio::test]
async fn titan_is_told_not_to_normalise() {
    let (answer, sent) = exchange(TITAN_V2, |config| config.normalize = Some(false)).await;
    assert_eq!(sent, json!({"inputText": TEXT, "dimensions": 1024, "normalize": false}));
    assert!(numbers(&answer).iter().map(|number| number.powi(2)).sum::<f64>() > 2.0);
}

#[tokio::test]
async fn an_empty_text_is_refused_by_every_model() {
    for model in ALL {
        let error = refused(model, "").await;
        assert_eq!((error.class, error.status), (Class::Refused, Some(400)));
        assert!(error.message.contains("expected minLength: 1, actual: 0"), "{model}: {}", error.message);
    }
}

#[tokio::test]
async fn a_text_beyond_its_models_limit_is_refused_and_never_cut() {
    let words = |count: usize| "word ".repeat(count);
    let titan = |max: u64| {
        format!("400 Bad Request: Too many input tokens. Max input tokens: {max}, request input token count: {}", max + 1)
    };
    let malformed = |place: &str, max: usize| {
        format!(
            "Malformed input request: {place}expected maxLength: {max}, actual: {}, please reformat your input and try again.",
            max + 1
        )
    };
    let cohere = "too many tokens: total number of tokens in the prompt cannot exceed 512 - received 513. Try using a shorter prompt, or \
                  enabling prompt truncating.";
    for (model, text, message) in [
        (TITAN_V1, words(8_193), titan(8_192)),
        (TITAN_V1, "x".repeat(50_001), malformed("", 50_000)),
        (TITAN_V2, words(8_193), titan(8_192)),
        (TITAN_V2, "x".repeat(50_001), malformed("", 50_000)),
        (TITAN_MULTIMODAL, words(129), titan(128)),
        (NOVA, words(8_173), titan(8_172)),
        (NOVA, "x".repeat(50_001), malformed("", 50_000)),
        (COHERE_V3, "7 ".repeat(513), cohere.to_owned()),
        (COHERE_V3, "x".repeat(2_049), malformed("#/texts/0: ", 2_048)),
        (COHERE_V4, words(128_001), "cannot exceed 128000 - received 128001".to_owned()),
        (MARENGO_2, words(78), "has 78 tokens, more than the maximum of 77".to_owned()),
        (MARENGO_3, words(501), "has 501 tokens, more than the maximum of 500".to_owned()),
    ] {
        let error = refused(model, &text).await;
        assert_eq!((error.class, error.code.as_deref()), (Class::Refused, Some("ValidationException")), "{model}");
        assert!(error.message.contains(&message), "{model}: {}", error.message);
    }
}

#[tokio::test]
async fn a_text_that_keeps_the_limits_of_its_model_is_taken() {
    let emulator = start().await;
    for model in ALL {
        let embedder = embedder(&emulator, model, |_| ()).await;
        let limits = embedder.settings().limits();
        let tokens = usize::try_from(limits.tokens_per_text.get()).unwrap();
        // The emulator counts eight letters to a token; as many characters as are allowed, in no more tokens than are.
        let text: String = "extraord".chars().cycle().take(limits.characters_per_text.get().min(8 * tokens)).collect();
        let text = [text.as_str()].repeat(limits.texts_per_call.get().min(2));
        embedder.embed(&text).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_call_comes_back_in_the_order_of_its_texts() {
    let emulator = start().await;
    let texts: Vec<String> = (0..96).map(|number| format!("text number {number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for model in [COHERE_V3, COHERE_V4] {
        let embedder = embedder(&emulator, model, |config| config.embedding_type = EmbeddingType::Int8).await;
        let all = embedder.embed(&texts).await.unwrap();
        let last = embedder.embed(&texts[95..]).await.unwrap();
        assert_eq!(all.vectors.len(), 96);
        assert_eq!(all.vectors[95].as_raw().get(), last.vectors[0].as_raw().get());
    }
}

#[tokio::test]
async fn a_model_that_is_served_through_a_profile_only_says_so() {
    let error = refused("twelvelabs.marengo-embed-2-7-v1:0", TEXT).await;
    assert_eq!(error.class, Class::Model);
    assert!(
        error.message.contains("on-demand throughput isn") && error.message.contains("inference profile"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn spoilt_vectors_of_every_family_are_never_taken() {
    let emulator = start().await;
    for model in ALL {
        let embedder = embedder(&emulator, model, |_| ()).await;
        for fault in [Fault::WrongDimensions, Fault::MissingVector, Fault::NotFinite, Fault::NotJson] {
            emulator.script([fault.clone()]);
            let error = embedder.embed(&[TEXT]).await.unwrap_err();
            assert_eq!((error.class, error.status), (Class::BadAnswer, Some(200)), "{model} {fault:?}");
        }
    }
}

#[tokio::test]
async fn spoilt_integers_are_never_taken() {
    let emulator = start().await;
    for (model, embedding_type) in
        [(TITAN_V2, EmbeddingType::Binary), (COHERE_V3, EmbeddingType::Int8), (COHERE_V4, EmbeddingType::Ubinary)]
    {
        let embedder = embedder(&emulator, model, |config| config.embedding_type = embedding_type).await;
        for fault in [Fault::WrongDimensions, Fault::NotFinite] {
            emulator.script([fault.clone()]);
            assert_eq!(embedder.embed(&[TEXT]).await.unwrap_err().class, Class::BadAnswer, "{model} {fault:?}");
        }
    }
}

#[tokio::test]
async fn without_a_count_in_body_or_header_the_tokens_are_not_known() {
    let emulator = start().await;
    for (model, known) in [(TITAN_V1, true), (TITAN_MULTIMODAL, true), (NOVA, false), (COHERE_V3, false), (MARENGO_3, false)] {
        emulator.script([Fault::NoTokenCount]);
        let answer = embedder(&emulator, model, |_| ()).await.embed(&[TEXT]).await.unwrap();
        assert_eq!(answer.tokens.is_some(), known, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_become_lines_through_every_family() {
    for (model, dimensions) in
        [(TITAN_V1, 1536), (TITAN_MULTIMODAL, 1024), (NOVA, 3072), (COHERE_V3, 1024), (MARENGO_2, 1024), (MARENGO_3, 512)]
    {
        let scene = Scene::cheap().await.set("embed.model", &format!("\"{model}\""));
        // More than the smallest model takes at once: the chunker knows each one's limits.
        scene.drop("a.txt", "An otter swims across the river, dives, and comes up with a trout. ".repeat(40));
        let ended = scene.once().await;
        assert_eq!(ended.code, Some(0), "{model}: {ended:?}");
        let lines = scene.vectors();
        assert!(!lines.is_empty());
        for line in lines {
            assert_eq!(
                (&line["dimensions"], line["embedding"].as_array().unwrap().len()),
                (&json!(dimensions), dimensions),
                "{model}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_packed_bits_hold_integers_and_the_dimensions_of_the_model() {
    let scene = Scene::cheap().await.set("embed.model", &format!("\"{COHERE_V4}\"")).set("embed.embedding-type", "\"ubinary\"");
    scene.drop("a.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    let line = &scene.vectors()[0];
    assert_eq!(line["dimensions"], 1536);
    let packed: Vec<u8> = serde_json::from_value(line["embedding"].clone()).unwrap();
    assert_eq!(packed.len(), 192);
}
