//! Reloads under load: nothing is lost, doubled or leaked, and the service manager is notified each turn.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::time::timeout;

use crate::service::{Manager, start};
use crate::support::{PATIENCE, Scene, ends, paragraph, signal};

/// What a process has open, but for its sockets' numbers.
fn descriptors(child: &Child) -> Vec<String> {
    let folder = fs::read_dir(format!("/proc/{}/fd", child.id().expect("it runs"))).unwrap();
    let mut open: Vec<_> =
        folder.map(|entry| fs::read_link(entry.unwrap().path()).unwrap_or_default().display().to_string()).collect();
    open.sort_unstable();
    open
}

/// Receives one reload, from its beginning to its end, and returns the time of its beginning and what is said of it.
async fn reload(child: &Child, manager: &Manager) -> (u64, String) {
    signal(child, Signal::HUP);
    let begun = manager.next_turn().await;
    let time = begun.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
    let time = time.and_then(|time| time.parse().ok()).unwrap_or_else(|| panic!("{begun}"));
    let ended = manager.next_turn().await;
    let said = ended.strip_prefix("READY=1\nSTATUS=").and_then(|rest| rest.strip_suffix('\n'));
    (time, said.unwrap_or_else(|| panic!("{ended}")).to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_with_valid_and_invalid_files_under_64_calls_lose_and_leak_nothing() {
    const CALLS: usize = 64;
    const DOCUMENTS: usize = CALLS + 20;
    const PROMPT: &str = "name = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"A title for:\\n{{text}}\"\n";
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", &CALLS.to_string()).set("source.rescan", "\"24h\"");
    let mut scene = scene.set("run.queue", "1000").chat(PROMPT);
    scene.emulator.hold();
    for number in 0..DOCUMENTS {
        scene.drop(&format!("{number}.txt"), format!("{number} {}", paragraph(number, 8)));
    }
    let (child, manager) = start(&scene, Duration::from_secs(30));
    assert!(manager.next_turn().await.starts_with("READY=1\n"));
    scene.emulator.called(CALLS as u64).await;
    let open = descriptors(&child);
    let mut last = 0;
    for round in 0..20_u32 {
        let level = if round.is_multiple_of(4) { "\"debug\"" } else { "\"info\"" };
        scene = scene.set("log.level", level).set("budget.max-usd-per-day", &format!("{}", 100 + round));
        // A prompt that changes, too, and comes back to what it was.
        scene = scene.chat_again(&if round.is_multiple_of(4) { PROMPT.replace("title for", "name for") } else { PROMPT.into() });
        let is_valid = round.is_multiple_of(2);
        if is_valid {
            scene.write();
        } else {
            scene.write_as("[bedrock]\nmax-in-flight = \"many\"\n");
        }
        let (time, said) = reload(&child, &manager).await;
        assert!(time > last, "{time} is not after {last}");
        last = time;
        let outcome = if is_valid {
            "configuration reloaded: budget.max-usd-per-day"
        } else {
            "the configuration is invalid, nothing was changed"
        };
        assert!(said.starts_with(outcome), "{said}");
    }
    // The scan that each reload asks for has the folder open for a moment.
    let at_rest = async {
        while descriptors(&child) != open {
            tokio::task::yield_now().await;
        }
    };
    let is_at_rest = timeout(PATIENCE, at_rest).await.is_ok();
    assert!(is_at_rest, "{:#?} are open, and were {open:#?}", descriptors(&child));
    assert_eq!(scene.emulator.counts().calls, CALLS as u64, "calls in flight were left alone");
    scene.emulator.release();
    scene.vectors_reach(DOCUMENTS).await;
    scene.answers_reach(DOCUMENTS).await;
    signal(&child, Signal::TERM);
    assert!(manager.next_turn().await.starts_with("STOPPING=1\n"));
    assert_eq!(ends(child).await, Some(0));
    for lines in [scene.vectors(), scene.answers()] {
        let ids: BTreeSet<_> = lines.iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!((lines.len(), ids.len()), (DOCUMENTS, DOCUMENTS));
    }
    let counts = scene.emulator.counts();
    assert_eq!((counts.texts, counts.chat.calls), (DOCUMENTS as u64, DOCUMENTS as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_during_the_stop_is_no_turn() {
    let scene = Scene::cheap().await.set("run.grace", "\"1h\"").set("bedrock.max-in-flight", "1");
    scene.drop("a.txt", "words");
    scene.emulator.hold();
    let (child, manager) = start(&scene, Duration::from_secs(30));
    assert!(manager.next_turn().await.starts_with("READY=1\n"));
    scene.emulator.called(1).await;
    signal(&child, Signal::TERM);
    assert!(manager.next_turn().await.starts_with("STOPPING=1\n"));
    signal(&child, Signal::HUP);
    scene.emulator.release();
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.vectors().len(), 1);
    assert!(manager.is_silent(), "nothing is sent after the end has begun");
}
