//! Files that crashed the process.

use std::fs;
use std::process::Stdio;

use riverbed::ledger::Ledger;
use rustix::process::Signal;

use crate::limits::limited;
use crate::support::{Scene, changes_until, ends, paragraph, signal};

/// Leaves the ledger as a process does that dies while it reads these files, and has the next one record that.
fn die_over(scene: &Scene, names: &[&str]) {
    let ledger = scene.path("out/.riverbed/ledger.db");
    let mut places = Vec::new();
    for name in names {
        let mut place = u32::try_from(name.len()).unwrap().to_le_bytes().to_vec();
        place.extend_from_slice(name.as_bytes());
        place.extend_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
        place.resize(4608, 0);
        places.extend(place);
    }
    fs::write(scene.path("out/.riverbed/ledger.db-working"), places).unwrap();
    let mut ledger = Ledger::open(&ledger, bytesize::ByteSize::mib(16)).unwrap();
    let (_, left) = ledger.working().unwrap();
    assert_eq!(left.len(), names.len());
}

fn large() -> String {
    (0..4000).map(|number| paragraph(number, 60) + "\n\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_crashed_two_processes_fails_and_its_neighbours_do_not() {
    let scene = Scene::cheap().await;
    scene.drop("before.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));

    die_over(&scene, &["guilty.txt", "beside.txt"]);
    // The second time it was alone, since it was a suspect.
    die_over(&scene, &["guilty.txt"]);
    for name in ["guilty.txt", "beside.txt"] {
        scene.drop(name, large() + name);
    }
    let ended = scene.once().await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let failed = scene.lines("failed.jsonl");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((failed[0]["document"].as_str(), failed[0]["class"].as_str()), (Some("guilty.txt"), Some("crash")));
    assert!(failed[0]["message"].as_str().unwrap().contains("died 2 times"), "{failed:?}");
    assert!(scene.vectors().iter().any(|line| line["document"] == "beside.txt"));
    // A file that was processed is no suspect any more.
    die_over(&scene, &["beside.txt"]);
    scene.drop("beside.txt", large() + "and more");
    assert_eq!(scene.once().await.code, Some(2));
    assert_eq!(scene.lines("failed.jsonl").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_exhausts_memory_twice_fails_and_the_service_goes_on() {
    let scene = Scene::cheap().await;
    scene.drop("before.txt", "words");
    assert_eq!(scene.once().await.code, Some(0));
    // It has no room in what the process may have.
    scene.drop("guilty.txt", "words of a file \n".repeat((240 << 20) / 17));
    let start = || limited(&scene, "ulimit -c 0 && ulimit -d 250000", &["run"]).stdout(Stdio::null()).spawn().unwrap();
    for death in 1..=2 {
        assert_eq!(ends(start()).await, None, "death {death} is no end of its own");
        assert!(scene.lines("failed.jsonl").is_empty(), "death {death}");
    }
    let child = start();
    let failed = scene.failed_reach(1).await;
    assert_eq!((failed[0]["document"].as_str(), failed[0]["class"].as_str()), (Some("guilty.txt"), Some("crash")));
    assert!(failed[0]["message"].as_str().unwrap().contains("died 2 times"), "{failed:?}");
    scene.drop("after.txt", "other words");
    changes_until(&scene.path("out"), || scene.vectors().iter().any(|line| line["document"] == "after.txt")).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!(scene.lines("failed.jsonl").len(), 1);
}
