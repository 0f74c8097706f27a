//! Fourteen kinds of writer beside a daemon, in real time.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::concurrent_writers::{self, Ground, Work};
use crate::figures::Figures;
use crate::support::{Scene, changes_until, ends, signal};

/// Files of each kind.
const FILES: usize = 50;
const SETTLE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_mins(2);
/// Parts of a file whose writer pauses.
const PARTS: usize = 3;

pub async fn bench(figures: &mut Figures) {
    assert!(concurrent_writers::is_installed("rsync"), "rsync is one of the writers: install it (`apt-get install rsync`)");
    let scene = Scene::cheap().await.set("source.settle", "\"500ms\"").set("log.level", "\"error\"");
    scene.emulator.record(NonZeroUsize::new(100_000).unwrap());
    let child = scene.follow();
    changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;

    let mut all = BTreeMap::new();
    let mut writing = JoinSet::new();
    for (number, (kind, replaces, write)) in concurrent_writers::KINDS.into_iter().enumerate() {
        let ground = Ground::new(scene.path("drop").join(kind), scene.path("stage").join(kind));
        let works = concurrent_writers::works(FILES, number * 1000, replaces);
        concurrent_writers::prepare(&ground, &works);
        all.insert(kind, works.clone());
        writing.spawn_blocking(move || write(&ground, &works, &pause));
    }
    let begun = Instant::now();
    let pausing = pausing(&scene);
    let paused = timeout(PATIENCE, pausing).await.expect("a version comes in each pause");
    while let Some(written) = writing.join_next().await {
        written.unwrap();
    }
    println!("       written in {:.1} s", begun.elapsed().as_secs_f64());
    let is_done = || {
        let texts = texts(&scene);
        let is_out = |kind: &str, work: &Work| {
            texts.get(&concurrent_writers::document(kind, work)).and_then(|texts| texts.last()) == Some(&work.whole)
        };
        all.iter().all(|(kind, works)| works.iter().all(|work| is_out(kind, work)))
    };
    changes_until(&scene.path("out"), is_done).await;
    sleep(20 * SETTLE).await; // whatever might still come
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));

    let texts = texts(&scene);
    let requests: HashSet<String> = scene.emulator.requests().into_iter().flat_map(|request| request.texts).collect();
    let works: Vec<Work> = all.values().flatten().cloned().collect();
    let is_partial = |text: &&String| !concurrent_writers::is_whole(&works, text) && !paused.contains(*text);
    let partial: Vec<_> = requests.iter().filter(is_partial).collect();
    for text in &partial {
        println!("       half a file: {text}");
    }
    figures.exactly("thirteen kinds of writer, 50 files each: partial contents embedded", partial.len(), 0);
    for (kind, works) in &all {
        let versions: usize =
            works.iter().map(|work| texts.get(&concurrent_writers::document(kind, work)).map_or(0, Vec::len)).sum();
        let whole = works.iter().filter(|work| requests.contains(&work.whole)).count();
        // One that replaces something may be too quick for what was there before to be seen.
        let most = if works[0].before.is_some() { 2 * FILES } else { FILES };
        figures.exactly(&format!("{kind}: whole files embedded"), whole, FILES);
        figures.at_most(&format!("{kind}: versions"), count(versions), count(most), "versions");
    }
    let versions: usize = (0..FILES).map(|number| texts.get(&format!("pauses/{number}.txt")).map_or(0, Vec::len)).sum();
    figures.exactly("pauses: versions of 50 files, one superseding version a pause", versions, FILES * PARTS);
}

/// Writes files in parts, with a pause of three quiet periods after each and until it has come out. Returns the texts in between.
async fn pausing(scene: &Scene) -> HashSet<String> {
    let folder: PathBuf = scene.path("drop/pauses");
    fs::create_dir_all(&folder).unwrap();
    let text = |number: usize, parts: usize| {
        let parts: Vec<_> = (1..=parts).map(|part| format!("Part {part} of {number}.")).collect();
        parts.concat()
    };
    let mut written = HashSet::new();
    for part in 1..=PARTS {
        for number in 0..FILES {
            let mut file = File::options().create(true).append(true).open(folder.join(format!("{number}.txt"))).unwrap();
            file.write_all(format!("Part {part} of {number}.").as_bytes()).unwrap();
            written.insert(text(number, part));
        }
        sleep(3 * SETTLE).await;
        let is_out = || {
            let texts = texts(scene);
            (0..FILES).all(|number| {
                texts.get(&format!("pauses/{number}.txt")).and_then(|texts| texts.last()) == Some(&text(number, part))
            })
        };
        changes_until(&scene.path("out"), is_out).await;
    }
    written
}

/// Returns the texts that each document has had, in order.
fn texts(scene: &Scene) -> BTreeMap<String, Vec<String>> {
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    for line in whole_lines(scene).iter().filter(|line| line["op"] == "upsert") {
        texts.entry(text(line, "document")).or_default().push(text(line, "text"));
    }
    texts
}

/// Returns the lines that have been written to their end.
fn whole_lines(scene: &Scene) -> Vec<Value> {
    let text = fs::read_to_string(scene.path("out/vectors.jsonl")).unwrap_or_default();
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a writer takes its time, on a thread of its own")]
    std::thread::sleep(time);
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn count(number: usize) -> f64 {
    number as f64
}
