//! The daemon is killed again and again during chat calls: every question must have one answer in the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use riverbed::emulator::FaultRates;

use crate::support::{Scene, finish, paragraph};

/// What came of it.
pub struct Report {
    pub documents: usize,
    pub kills: usize,
    pub needed: u64,
    pub asked: u64,
    /// What could be asked for twice: what was in flight, and what had come and was not committed yet.
    pub most: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { documents, kills, needed, asked, most } = self;
        writeln!(f, "{documents} documents, two prompts each, {kills} kills: every answer once, in order")?;
        write!(f, "{needed} answers, {asked} calls that succeeded, of at most {most}")
    }
}

const IN_FLIGHT: u64 = 8;
/// Records that the writer takes together at most.
const GROUP: u64 = 256;

/// Kills the daemon so often while it asks two prompts about each document, lets it finish, and compares the answers with the expected ones.
/// The documents are embedded too, or only asked about.
pub async fn run(documents: usize, kills: usize, faults: &str, are_embedded: bool) -> Report {
    let prompt = |name: &str, model: &str, asked: &str| {
        format!("name = \"{name}\"\nmodel = \"{model}\"\nprompt = \"{asked}\\n{{{{text}}}}\"\n")
    };
    let scene = Scene::cheap_after(Duration::from_millis(5))
        .await
        .chat(&prompt("summary", "amazon.nova-micro-v1:0", "Sum up {{document}}:"))
        .chat(&prompt("title", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "A title for {{document}}:"))
        .set("bedrock.max-in-flight", &IN_FLIGHT.to_string())
        .set("embed.enabled", &are_embedded.to_string());
    for number in 0..documents {
        scene.drop(&format!("{number}.md"), paragraph(number, 20));
    }
    scene.emulator.set_faults(faults.parse::<FaultRates>().expect("rates"));
    for kill in 1..=kills {
        let mut daemon = scene.follow();
        scene.answers_reach(2 * documents * kill / (kills + 1)).await;
        daemon.kill().await.unwrap();
        assert!(scene.answers().len() < 2 * documents, "kill {kill} came too late to show anything");
    }
    let ended = finish(scene.riverbed(&["run", "--once"])).await;
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);

    let lines = scene.answers();
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for line in &lines {
        *times.entry((line["document"].to_string(), line["prompt"].to_string())).or_default() += 1;
    }
    assert_eq!(times.len(), 2 * documents, "every document and prompt");
    assert!(times.values().all(|times| *times == 1), "exactly once");
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=2 * documents as u64).collect::<Vec<_>>());
    let verified = finish(scene.riverbed(&["verify"])).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    let needed = 2 * documents as u64;
    let counts = scene.emulator.counts();
    assert_eq!(scene.vectors().len(), if are_embedded { documents } else { 0 });
    let embedded = if are_embedded { documents as u64 } else { 0 };
    let asked = counts.answered.get(&200).copied().unwrap_or(0).saturating_sub(embedded);
    let most = needed + kills as u64 * (3 * IN_FLIGHT + GROUP);
    assert!(asked <= most, "{asked} calls, at most {most}");
    Report { documents, kills, needed, asked, most }
}
