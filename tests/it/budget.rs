//! The daily budget.

use std::process::Stdio;

use insta::assert_snapshot;
use riverbed::emulator::Fault;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::support::{Ended, PATIENCE, Scene, ends, finish, paragraph, signal};

/// A tenth of a cent a token.
const DEAR: &str = "{ \"amazon.titan-embed-text-v2:0\" = { input = 1000 } }";

/// Sixty documents that cost six cents each and a bit.
async fn scene(max_usd_per_day: &str) -> Scene {
    let scene = Scene::cheap().await.set("budget.prices", DEAR).set("budget.max-usd-per-day", max_usd_per_day);
    for number in 0..60 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    scene
}

fn spent(scene: &Scene) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let tokens = scene.emulator.counts().tokens as f64;
    tokens * 0.001
}

/// Returns what the ledger says of usage: calls and tokens of all days.
fn usage(scene: &Scene) -> (String, i64, i64) {
    let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    let query = "SELECT model, sum(calls), sum(tokens) FROM usage";
    ledger.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

fn waiting(ended: &Ended) -> usize {
    let line = ended.stdout.lines().find(|line| line.starts_with("waiting")).unwrap_or_default();
    line.split_whitespace().nth(1).unwrap_or("0").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_leaves_what_the_day_cannot_pay_and_the_next_goes_on_there() {
    let scene = scene("1.50").await;
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let done = scene.vectors().len();
    assert!(done > 5 && done < 60, "{done}");
    assert_eq!(waiting(&ended), 60 - done);
    assert!(spent(&scene) <= 1.5 && spent(&scene) > 1.2, "{}", spent(&scene));
    assert!(ended.stdout.contains(" 0 failed of 60 found") && !ended.stdout.contains("\nleft "), "{}", ended.stdout);
    let counts = scene.emulator.counts();
    assert_eq!(
        usage(&scene),
        ("emulator/amazon.titan-embed-text-v2:0".into(), counts.calls.cast_signed(), counts.tokens.cast_signed())
    );
    let said = "the day's budget is spent: no calls until midnight UTC";
    assert_eq!(ended.stderr.matches(said).count(), 1, "{}", ended.stderr);

    // The money of the day is still spent after a restart.
    let again = scene.once().await;
    assert_eq!((again.code, scene.emulator.counts().calls), (Some(2), counts.calls));
    assert_eq!(waiting(&again), 60 - done);

    let scene = scene.set("budget.max-usd-per-day", "100");
    let last = scene.once().await;
    assert_eq!((last.code, scene.vectors().len(), scene.emulator.counts().calls), (Some(0), 60, 60), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partly_paid_document_is_resumed_and_equal_texts_wait_together() {
    let scene = Scene::cheap().await.set("budget.prices", DEAR).set("budget.max-usd-per-day", "0.50");
    let scene = scene.set("chunk.max-tokens", "128").set("chunk.overlap-tokens", "0");
    let long: String = (0..40).map(|number| paragraph(number, 40) + "\n\n").collect();
    scene.drop("a.txt", &long);
    scene.drop("b.txt", &long);
    let ended = scene.once().await;
    let (paid, lines) = (scene.emulator.counts().texts, scene.vectors().len());
    assert_eq!((ended.code, waiting(&ended)), (Some(2), 2), "{ended:?}");
    assert!(paid > 0 && lines as u64 >= paid, "{lines} lines of {paid} texts");
    let scene = scene.set("budget.max-usd-per-day", "100");
    let ended = scene.once().await;
    let lines = scene.vectors();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scene.emulator.counts().texts * 2, lines.len() as u64, "every text was paid once, for both documents");
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_that_has_spent_its_share_stops_no_vector_and_goes_on_where_it_was() {
    let prices = "{ \"amazon.titan-embed-text-v2:0\" = { input = 0.02 }, \"amazon.nova-micro-v1:0\" = { request = 0.1 } }";
    let scene = Scene::cheap().await.set("budget.prices", prices).set("budget.max-chat-usd-per-day", "1.0");
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    for number in 0..30 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    let ended = scene.once().await;
    assert_eq!((ended.code, scene.vectors().len()), (Some(2), 30), "{ended:?}");
    // A question costs ten cents, and twice as much is set aside for one before it is put.
    let (answers, asked) = (scene.answers().len(), scene.emulator.counts().chat.calls);
    assert!((9..=10).contains(&answers) && answers as u64 == asked, "{answers} answers to {asked} questions");
    assert!(ended.stderr.contains("the day's chat budget is spent"), "{}", ended.stderr);
    let said: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("for chat") || line.starts_with("budget")).collect();
    assert!(said.len() == 1 && said[0].ends_with(" of $1.00 spent today (UTC)"), "{}", ended.stdout);
    let status = finish(scene.riverbed(&["status"])).await.stdout;
    let cost = status.lines().find(|line| line.trim_start().starts_with("cost")).unwrap_or_else(|| panic!("{status}"));
    assert!(cost.contains(" of $1.00 for chat") && !cost.contains("are left"), "{cost}");
    let again = scene.once().await;
    assert_eq!((again.code, scene.emulator.counts().chat.calls), (Some(2), asked), "it is spent after a restart, too");
    let scene = scene.set("budget.max-chat-usd-per-day", "100");
    assert_eq!((scene.once().await.code, scene.answers().len(), scene.emulator.counts().chat.calls), (Some(0), 30, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_waits_and_fails_nothing() {
    let scene = scene("1.50").await;
    let mut child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let closed = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it goes on");
            if line.contains("calls are held back; waiting") {
                return line;
            }
        }
    };
    let closed = timeout(PATIENCE, closed).await.expect("the gate was never closed");
    assert!(closed.contains("reason=\"budget\""), "{closed}");
    let calls = scene.emulator.counts().calls;
    signal(&child, Signal::KILL);
    ends(child).await;
    assert!(calls < 60 && spent(&scene) <= 1.5);
    assert_eq!(scene.lines("failed.jsonl").len(), 0);
    let scene = scene.set("budget.max-usd-per-day", "100");
    let ended = scene.once().await;
    assert_eq!((ended.code, scene.vectors().len()), (Some(0), 60), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_cannot_be_kept_is_an_error_that_says_what_to_write() {
    // No price of this model is known for the government's eastern region.
    let scene = Scene::cheap().await.set("embed.model", "\"amazon.nova-2-multimodal-embeddings-v1:0\"");
    let scene = scene.set("bedrock.region", "\"us-gov-east-1\"").set("budget.max-usd-per-day", "1");
    let unknown = scene.once().await;
    let scene = scene.set("bedrock.region", "\"us-gov-west-1\"").set("budget.max-usd-per-day", "0.00001");
    let small = scene.once().await;
    assert_eq!((unknown.code, small.code), (Some(78), Some(78)));
    insta::with_settings!({filters => vec![(r"pipeline\.toml:\d+", "pipeline.toml:[line]")]}, {
        assert_snapshot!(unknown.stderr);
        assert_snapshot!(small.stderr);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_is_not_known_is_said_and_not_taken_for_nothing() {
    let scene = Scene::cheap().await.set("embed.model", "\"amazon.nova-2-multimodal-embeddings-v1:0\"");
    let scene = scene.set("bedrock.region", "\"us-gov-east-1\"");
    scene.drop("a.txt", "words");
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0));
    let cost: Vec<_> = ended.stdout.lines().skip_while(|line| !line.starts_with("cost")).take(2).collect();
    assert_snapshot!(cost.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_emulator_was_paid_comes_out_of_what_is_left_where_one_is_asked() {
    let scene = scene("1.50").await;
    assert_eq!(scene.once().await.code, Some(2));
    let left = async |scene: &Scene| {
        let status = finish(scene.riverbed(&["status", "--json"])).await;
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_else(|error| panic!("{error}: {status:?}"));
        status["money"]["budget_left_usd"].as_f64().unwrap()
    };
    let found = left(&scene).await;
    assert!((found - (1.5 - spent(&scene))).abs() < 1e-6, "{found} are left of 1.50, with {} spent", spent(&scene));
    // On AWS it is real money, and none of that was spent.
    let found = left(&scene.unset("bedrock.endpoint")).await;
    assert!((found - 1.5).abs() < 1e-6, "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_the_service_does_not_count_are_estimated_and_said_to_be() {
    let scene = Scene::cheap().await.set("embed.model", "\"cohere.embed-english-v3\"");
    let scene = scene.set("budget.max-usd-per-day", "5");
    let scene = scene.chat("name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up: {{text}}\"");
    scene.emulator.fault_where("untold", Fault::NoTokenCount);
    scene.drop("a.txt", format!("untold {}", paragraph(1, 40)));
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let said = |what: &str| ended.stdout.lines().find(|line| line.starts_with(what)).unwrap().to_owned();
    assert!(said("tokens").starts_with("tokens     about "), "{}", ended.stdout);
    assert!(ended.stdout.contains("           about "), "{}", ended.stdout);
    let answer = scene.answers().remove(0);
    assert_eq!((&answer["usage"], &answer["usd"]), (&Value::Null, &Value::Null), "{answer}");
    let story = finish(scene.riverbed(&["explain", "a.txt", "--json"])).await;
    let story: Value = serde_json::from_str(&story.stdout).unwrap();
    let asked = &story["answers"][0];
    assert_eq!((&asked["uncounted"], &asked["input_tokens"]), (&1.into(), &0.into()), "{asked}");
    // Of both models a call is in the day's account, and not at nothing.
    let status = finish(scene.riverbed(&["status", "--json"])).await;
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let left = status["money"]["budget_left_usd"].as_f64().unwrap();
    assert!(left < 5.0 && left > 4.9, "{status}");
    let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    let least: i64 = ledger.query_row("SELECT min(tokens) FROM usage", [], |row| row.get(0)).unwrap();
    assert!(least > 0, "{least}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_to_nothing_counts_for_the_day_and_does_not_go_on_being_paid_for() {
    // Each answer is cut, and each was billed: without an end the run would pay for one after the other.
    let scene = Scene::cheap().await.set("budget.prices", DEAR).set("budget.max-usd-per-day", "1.50");
    scene.emulator.set_faults("cut 100%".parse().unwrap());
    for number in 0..60 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 40));
    }
    let ended = scene.once().await;
    assert_eq!((ended.code, waiting(&ended)), (Some(2), 60), "{ended:?}");
    assert!(ended.stderr.contains("the day's budget is spent: no calls until midnight UTC"), "{}", ended.stderr);
    assert!(spent(&scene) > 0.5 && spent(&scene) <= 3.0, "{} were billed", spent(&scene));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_day_is_at_most_so_much_where_a_model_of_today_has_no_price() {
    let scene = Scene::cheap().await.set("embed.model", "\"amazon.nova-2-multimodal-embeddings-v1:0\"");
    let scene = scene.set("bedrock.region", "\"us-gov-east-1\"");
    scene.drop("a.txt", "Words.");
    assert_eq!(scene.once().await.code, Some(0));
    let scene = scene.set("bedrock.region", "\"us-gov-west-1\"").unset("embed.model").set("budget.max-usd-per-day", "5");
    let scene = scene.set("budget.prices", "{ \"amazon.nova-2-multimodal-embeddings-v1:0\" = { output = 1.0 } }");
    let plan = finish(scene.riverbed(&["plan", "--json"])).await;
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["budget"]["unpriced_calls_today"], 1, "{plan}");
    let shown = finish(scene.riverbed(&["plan"])).await.stdout;
    assert!(shown.contains("\nbudget     at most $5.00 of $5.00 left today (UTC)"), "{shown}");
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\nbudget     at least $"), "{}", ended.stdout);
    assert!(ended.stdout.contains(" of $5.00 spent today (UTC): the price of 1 call is not known"), "{}", ended.stdout);
    let status = finish(scene.riverbed(&["status"])).await.stdout;
    assert!(status.contains("; at most $") && status.contains("; 1 call at an unknown price"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_not_said_to_be_enough_for_questions_whose_price_is_not_known() {
    let scene = Scene::cheap().await.set("budget.max-usd-per-day", "5");
    scene.drop("a.txt", paragraph(1, 40));
    let asks = |tier: &str| {
        format!(
            "name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nservice-tier = \"{tier}\"\nprompt = \"Sum up: {{{{text}}}}\""
        )
    };
    let scene = scene.chat(&asks("default"));
    let shown = async |scene: &Scene| {
        let shown = finish(scene.riverbed(&["plan"])).await.stdout;
        shown.lines().find(|line| line.starts_with("budget")).unwrap().to_owned()
    };
    assert_eq!(shown(&scene).await, "budget     $5.00 of $5.00 left today (UTC): enough");
    // What this model costs in this tier is on no list.
    let scene = scene.chat_again(&asks("priority"));
    assert_eq!(shown(&scene).await, "budget     $5.00 of $5.00 left today (UTC): enough for what is known of it");
}
