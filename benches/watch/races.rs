//! 10,000 races between a file and a link to what nobody may read, while a daemon reads.

use std::fs;
use std::num::NonZeroUsize;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::block_in_place;

use crate::figures::Figures;
use crate::hostile::{canaries, has_canary, race, set_traps};
use crate::support::{Scene, changes_until, ends, signal};

const SWAPS: usize = 10_000;

pub async fn bench(figures: &mut Figures) {
    for symlinks in ["ignore", "inside"] {
        let scene = Scene::cheap()
            .await
            .set("source.settle", "\"1ms\"")
            .set("log.level", "\"error\"")
            .set("source.symlinks", &format!("\"{symlinks}\""));
        scene.emulator.record(NonZeroUsize::new(100_000).unwrap());
        let _socket = set_traps(&scene);
        let child = scene.follow();
        changes_until(&scene.path("out"), || scene.path("out/vectors.jsonl").exists()).await;
        block_in_place(|| race(&scene, SWAPS, between));
        let text = |number: usize| format!("Harmless words, number {number}.");
        let is_out = |number: usize| fs::read_to_string(scene.path("out/vectors.jsonl")).unwrap().contains(&text(number));
        changes_until(&scene.path("out"), || is_out(SWAPS) && is_out(SWAPS + 1)).await;
        signal(&child, Signal::TERM);
        assert_eq!(ends(child).await, Some(0));
        let requests = scene.emulator.requests();
        let leaked = requests.iter().filter(|request| has_canary(request.body.to_string().as_bytes())).count();
        figures.exactly(&format!("canaries in requests, 10,000 swaps, symlinks = {symlinks}"), leaked, 0);
        figures.exactly("canaries in output and ledger", canaries(&scene.path("out")).len(), 0);
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        figures.at_least("versions read in the middle of it", requests.len() as f64, 100.0, "versions");
    }
}

/// Now and then long enough for the daemon to look and to read, most often not.
fn between(number: usize) {
    if number.is_multiple_of(7) {
        #[expect(clippy::disallowed_methods, reason = "the process that swaps files pauses for any length")]
        std::thread::sleep(Duration::from_micros(u64::try_from(number % 31).unwrap() * 300));
    }
}
