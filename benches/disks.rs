//! Disks that are full, and disks that fail. These need a mount and a tracer, so they are a program of their own that runs under
//! `unshare -rm`, with strace installed, and fails where one of them does:
//!
//! ```text
//! unshare -rm cargo bench --profile dev --bench disks
//! ```
#![expect(clippy::print_stdout, reason = "a bench says what it shows")]
#![expect(clippy::unwrap_used, reason = "what it shares with the tests unwraps")]
#![expect(unreachable_pub, reason = "what it shares with the tests is public to them")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tokio::process::Child;
use tokio::task::yield_now;
use tokio::time::timeout;

use support::{PATIENCE, Scene, ends, finish, paragraph, signal};

#[path = "../tests/it/support.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod support;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let show = |name: &str, shown: std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        runtime.block_on(shown);
        println!("ok     {}", name.replace('_', " "));
    };
    show("a_full_disk_of_the_output_is_waited_for", Box::pin(a_full_disk_of_the_output_is_waited_for()));
    show("a_full_disk_of_the_ledger_is_waited_for", Box::pin(a_full_disk_of_the_ledger_is_waited_for()));
    show("a_full_disk_of_output_and_ledger_is_waited_for", Box::pin(a_full_disk_of_output_and_ledger_is_waited_for()));
    show("a_stop_on_a_full_disk_of_the_ledger_keeps_what_was_paid", Box::pin(a_stop_on_a_full_disk_of_the_ledger()));
    show("without_room_for_its_reserve_nothing_is_paid", Box::pin(without_room_for_its_reserve_nothing_is_paid()));
    for folder in ["state", "out"] {
        show(&format!("no inodes left on the disk of {folder}"), Box::pin(no_inodes_are_waited_for(folder)));
    }
    show("a_start_without_inodes_for_the_ledger_says_so", Box::pin(a_start_without_inodes_for_the_ledger_says_so()));
    show("a_stop_without_inodes_keeps_what_was_paid", Box::pin(a_stop_without_inodes_keeps_what_was_paid()));
    show("a_disk_that_cannot_be_read_is_not_called_damage", Box::pin(a_disk_that_cannot_be_read_is_not_called_damage()));
    show(
        "a_failed_sync_of_the_output_ends_it_and_the_next_start_goes_on_in_a_new_file",
        Box::pin(a_failed_sync_of_the_output_ends_it_and_the_next_start_goes_on_in_a_new_file()),
    );
    show(
        "a_failed_sync_of_the_ledger_ends_it_and_loses_nothing",
        Box::pin(a_failed_sync_of_the_ledger_ends_it_and_loses_nothing()),
    );
}

/// How soon work must go on once there is room.
const SOON: Duration = Duration::from_secs(5);
const DOCUMENTS: usize = 800;

async fn scene() -> Scene {
    let scene = Scene::cheap_after(Duration::from_millis(1)).await;
    scene.emulator.tell_apart();
    // A small queue, so that work stops soon after the writer does.
    let scene = scene.set("embed.dimensions", "256").set("bedrock.max-in-flight", "8").set("run.queue", "8");
    scene.set("ledger.path", "\"state/ledger.db\"").set("sink.sync-every", "\"20ms\"")
}

fn drop_documents(scene: &Scene) {
    for number in 0..DOCUMENTS {
        scene.drop(&format!("{number}.txt"), paragraph(number, 20));
    }
}

/// A disk of its own for a folder of a scene, most of it taken by another file.
struct SmallDisk {
    folder: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(scene: &Scene, folder: &str, bytes: u64) -> Self {
        Self::mount_with(scene, folder, &format!("size={bytes}"))
    }

    fn mount_with(scene: &Scene, folder: &str, options: &str) -> Self {
        let folder = scene.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&folder).status();
        assert!(mounted.unwrap().success(), "nothing can be mounted here: run it under `unshare -rm`");
        Self { folder }
    }

    /// Leaves about as much room as that.
    fn leave(&self, bytes: u64) {
        let found = rustix::fs::statvfs(&self.folder).unwrap();
        let taken = (found.f_bavail * found.f_frsize).saturating_sub(bytes);
        let file = File::create(self.folder.join("somebody-elses")).unwrap();
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, taken).unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.folder.join("somebody-elses")).unwrap();
    }

    /// Takes all inodes that are left.
    fn take_inodes(&self) {
        let folder = self.folder.join("somebody-elses");
        fs::create_dir(&folder).unwrap();
        let mut number = 0;
        while File::create(folder.join(number.to_string())).is_ok() {
            number += 1;
        }
        assert_eq!(rustix::fs::statvfs(&self.folder).unwrap().f_ffree, 0);
    }

    fn give_inodes(&self) {
        fs::remove_dir_all(self.folder.join("somebody-elses")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // It goes with the namespace anyway; this keeps the temporary folder removable.
        let _gone = std::process::Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn follow(scene: &Scene) -> Child {
    scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(File::create(scene.path("log")).unwrap()).spawn().unwrap()
}

fn log(scene: &Scene) -> String {
    fs::read_to_string(scene.path("log")).unwrap()
}

async fn until(scene: &Scene, what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            yield_now().await;
        }
    };
    assert!(timeout(patience, wait).await.is_ok(), "{what}: not within {patience:?}\n{}", log(scene));
}

/// Returns all lines by number. A file whose sync failed is left as it is, and what of it is not known to be on disk is said
/// again in the next one: then the same line is there twice, with the same number.
fn lines(scene: &Scene) -> BTreeMap<u64, String> {
    let mut lines = BTreeMap::new();
    for entry in fs::read_dir(scene.path("out")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("vectors") {
            continue;
        }
        for line in fs::read_to_string(path).unwrap().split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let read: Value = serde_json::from_str(line).unwrap();
            let before = lines.insert(read["seq"].as_u64().unwrap(), line.to_owned());
            assert!(before.is_none_or(|before| before == line), "two lines have one number: {line}");
        }
    }
    lines
}

fn count(scene: &Scene) -> usize {
    fs::read_to_string(scene.path("out/vectors.jsonl")).unwrap_or_default().matches('\n').count()
}

/// Checks that the output has one line for each document, numbered from 1.
fn whole(scene: &Scene) {
    let lines = lines(scene);
    let documents: std::collections::BTreeSet<_> =
        lines.values().map(|line| serde_json::from_str::<Value>(line).unwrap()["document"].to_string()).collect();
    assert_eq!((lines.len(), documents.len()), (DOCUMENTS, DOCUMENTS));
    assert_eq!(lines.keys().copied().collect::<Vec<_>>(), (1..=DOCUMENTS as u64).collect::<Vec<_>>());
}

async fn a_full_disk_is_waited_for(scene: Scene, disk: SmallDisk, leave: u64, says: &str) {
    let mut child = follow(&scene);
    until(&scene, "it starts", PATIENCE, || log(&scene).contains("started")).await;
    disk.leave(leave);
    drop_documents(&scene);
    until(&scene, "it says that the disk is full", PATIENCE, || log(&scene).contains(says)).await;
    // What is in flight comes in; then nothing moves.
    until(&scene, "no call is in flight", PATIENCE, || scene.emulator.counts().in_flight == 0).await;
    assert!(scene.emulator.counts().texts < DOCUMENTS as u64, "intake pauses");
    assert_eq!(child.try_wait().unwrap(), None, "a full disk ends nothing: {}", log(&scene));
    let before = count(&scene);
    disk.make_room();
    let begun = Instant::now();
    until(&scene, "lines are written again", SOON, || count(&scene) > before).await;
    println!("resumed after {} ms", begun.elapsed().as_millis());
    until(&scene, "all is done", PATIENCE, || count(&scene) == DOCUMENTS).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
    whole(&scene);
    assert_eq!(scene.lines("failed.jsonl"), Vec::<Value>::new());
    let counts = scene.emulator.counts();
    assert_eq!((counts.texts, counts.distinct), (DOCUMENTS as u64, DOCUMENTS as u64), "nothing is paid for again");
}

async fn a_full_disk_of_the_output_is_waited_for() {
    let scene = scene().await;
    let disk = SmallDisk::mount(&scene, "out", 8 << 20);
    a_full_disk_is_waited_for(scene, disk, 300 << 10, "output disk is full").await;
}

async fn a_full_disk_of_the_ledger_is_waited_for() {
    let scene = scene().await;
    // 16 MiB of it are set aside for a clean stop.
    let disk = SmallDisk::mount(&scene, "state", 48 << 20);
    a_full_disk_is_waited_for(scene, disk, 600 << 10, "cannot commit; retrying").await;
}

async fn a_full_disk_of_output_and_ledger_is_waited_for() {
    let scene = scene().await.set("ledger.path", "\"out/.riverbed/ledger.db\"");
    let disk = SmallDisk::mount(&scene, "out", 48 << 20);
    a_full_disk_is_waited_for(scene, disk, 900 << 10, "full").await;
}

/// Follows the folder to its end, stops, and compares the output with the expected one: each text was paid once.
async fn all_is_done_once(scene: &Scene, child: Child) {
    until(scene, "all is done", PATIENCE, || count_all(scene) == DOCUMENTS).await;
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(scene));
    whole(scene);
    let counts = scene.emulator.counts();
    assert_eq!((counts.texts, counts.distinct), (DOCUMENTS as u64, DOCUMENTS as u64), "nothing is paid for again");
}

fn count_all(scene: &Scene) -> usize {
    let names = fs::read_dir(scene.path("out")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let outputs = names.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    outputs.map(|path| fs::read_to_string(path).unwrap_or_default().matches('\n').count()).sum()
}

/// What was in flight when the disk ran full is committed by the stop, in the room that was set aside for it.
async fn a_stop_on_a_full_disk_of_the_ledger() {
    let scene = scene().await;
    let disk = SmallDisk::mount(&scene, "state", 48 << 20);
    let child = follow(&scene);
    until(&scene, "it starts", PATIENCE, || log(&scene).contains("started")).await;
    assert!(scene.path("state/ledger.db-reserve").exists(), "room is set aside");
    disk.leave(600 << 10);
    drop_documents(&scene);
    until(&scene, "it says that the disk is full", PATIENCE, || log(&scene).contains("cannot commit; retrying")).await;
    until(&scene, "no call is in flight", PATIENCE, || scene.emulator.counts().in_flight == 0).await;
    let (paid, written) = (scene.emulator.counts().texts, count(&scene) as u64);
    assert!(written < paid, "some of what was paid waits for the disk: {written} of {paid}");
    signal(&child, Signal::TERM);
    assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
    assert_eq!(scene.emulator.counts().texts, count(&scene) as u64, "what was paid has its line");
    println!("{} paid texts were committed by the stop", paid - written);
    // On the disk that is still full calls wait.
    let child = follow(&scene);
    until(&scene, "it says what is short", PATIENCE, || log(&scene).contains("reason=\"disk\"")).await;
    disk.make_room();
    all_is_done_once(&scene, child).await;
}

/// A disk that is so full that no room can be set aside for a stop.
async fn without_room_for_its_reserve_nothing_is_paid() {
    let scene = scene().await;
    let disk = SmallDisk::mount(&scene, "state", 48 << 20);
    disk.leave(700 << 10);
    drop_documents(&scene);
    for _ in 0..2 {
        let child = follow(&scene);
        until(&scene, "it says what is short", PATIENCE, || log(&scene).contains("ledger disk is too full for a clean stop"))
            .await;
        until(&scene, "it takes files in", PATIENCE, || log(&scene).contains("in_flight=0")).await;
        assert_eq!(scene.emulator.counts().texts, 0, "{}", log(&scene));
        signal(&child, Signal::TERM);
        assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
    }
    let child = follow(&scene);
    until(&scene, "it says what is short", PATIENCE, || log(&scene).contains("ledger disk is too full for a clean stop")).await;
    disk.make_room();
    all_is_done_once(&scene, child).await;
}

/// A disk that has room, and no inodes: no file can be made on it, and those that are open are written.
async fn no_inodes_are_waited_for(folder: &str) {
    let scene = scene().await.set("sink.rotate-size", "\"100KiB\"");
    let disk = SmallDisk::mount_with(&scene, folder, "size=64m,nr_inodes=60");
    let child = follow(&scene);
    until(&scene, "it starts", PATIENCE, || log(&scene).contains("started")).await;
    disk.take_inodes();
    drop_documents(&scene);
    until(&scene, "lines are written", PATIENCE, || count_all(&scene) > DOCUMENTS / 4).await;
    disk.give_inodes();
    all_is_done_once(&scene, child).await;
}

/// A start that cannot make the ledger's files says what is short, and pays for nothing.
async fn a_start_without_inodes_for_the_ledger_says_so() {
    let scene = scene().await;
    let disk = SmallDisk::mount_with(&scene, "state", "size=64m,nr_inodes=60");
    disk.take_inodes();
    drop_documents(&scene);
    assert_eq!(ends(follow(&scene)).await, Some(74), "{}", log(&scene));
    assert!(log(&scene).contains("has no inodes left") && log(&scene).contains("df -i"), "{}", log(&scene));
    assert_eq!(scene.emulator.counts().texts, 0);
    disk.give_inodes();
    let child = follow(&scene);
    all_is_done_once(&scene, child).await;
}

async fn a_stop_without_inodes_keeps_what_was_paid() {
    for folder in ["state", "out"] {
        let scene = scene().await.set("sink.rotate-size", "\"100KiB\"");
        let disk = SmallDisk::mount_with(&scene, folder, "size=64m,nr_inodes=60");
        let child = follow(&scene);
        until(&scene, "it starts", PATIENCE, || log(&scene).contains("started")).await;
        disk.take_inodes();
        drop_documents(&scene);
        until(&scene, "lines are written", PATIENCE, || count_all(&scene) > DOCUMENTS / 4).await;
        signal(&child, Signal::TERM);
        assert_eq!(ends(child).await, Some(0), "{}", log(&scene));
        let paid = scene.emulator.counts().texts;
        let child = follow(&scene);
        disk.give_inodes();
        all_is_done_once(&scene, child).await;
        println!("{paid} of {DOCUMENTS} texts before the stop, on the disk of {folder}");
    }
}

/// Returns the program under a tracer, which watches these calls on a file and makes some of them fail.
fn traced(scene: &Scene, arguments: &[&str], calls: &str, inject: &str, file: &str) -> tokio::process::Command {
    let plain = scene.riverbed(arguments);
    let plain = plain.as_std();
    let mut traced = tokio::process::Command::new("strace");
    traced.args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={inject}")]);
    traced.arg("-P").arg(fs::canonicalize(scene.path(".")).unwrap().join(file)).arg("-o").arg(scene.path("trace"));
    traced.arg(plain.get_program()).args(plain.get_args()).current_dir(plain.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Runs under strace until a sync of the file fails, restarts, and compares the output with the expected one.
async fn a_failed_sync_ends_it(file: &str, call: &str, which: u32) -> Scene {
    let scene = scene().await;
    drop_documents(&scene);
    let ended = finish(traced(&scene, &["run"], "fsync,fdatasync", &format!("{call}:error=EIO:when={which}"), file)).await;
    assert_eq!(ended.code, Some(74), "{ended:?}");
    let trace = fs::read_to_string(scene.path("trace")).unwrap();
    let (_, after) = trace.split_once("(INJECTED)").unwrap_or_else(|| panic!("nothing was injected: {trace}"));
    assert!(!after.contains("sync("), "no sync follows one that failed: {trace}");

    let paid = scene.emulator.counts().texts;
    let again = scene.once().await;
    assert_eq!(again.code, Some(0), "{again:?}");
    whole(&scene);
    println!("{paid} texts before, {} after, {DOCUMENTS} needed", scene.emulator.counts().texts);
    // In flight, in the queue, and one group of up to 256.
    assert!(scene.emulator.counts().texts <= DOCUMENTS as u64 + 8 + 8 + 256);
    scene
}

/// A disk that fails before anything is known: each start ends with its words and changes nothing, and a sound disk shows a sound output.
async fn a_disk_that_cannot_be_read_is_not_called_damage() {
    let scene = scene().await;
    drop_documents(&scene);
    assert_eq!(scene.once().await.code, Some(0));
    let paid = scene.emulator.counts().texts;
    let mut failed = 0;
    for (file, most) in [("state/ledger.db", 24), ("out/vectors.jsonl", 2)] {
        for which in 1..=most {
            let ended =
                finish(traced(&scene, &["run", "--once"], "pread64", &format!("pread64:error=EIO:when={which}+"), file)).await;
            assert!(!ended.stderr.contains("damaged") && !ended.stderr.contains("rebuild"), "{file}, {which}: {}", ended.stderr);
            // Past the last read that a start needs nothing fails.
            assert!(matches!(ended.code, Some(0 | 74)), "{file}, {which}: {ended:?}");
            if ended.code == Some(74) {
                failed += 1;
                assert!(ended.stderr.contains("check that the disk is sound"), "{file}, {which}: {}", ended.stderr);
            }
        }
    }
    assert!(failed > 10, "{failed} starts met the disk");
    println!("{failed} starts said that the disk is the matter");
    assert_eq!(scene.once().await.code, Some(0));
    whole(&scene);
    assert_eq!(scene.emulator.counts().texts, paid, "nothing is paid for again");
}

async fn a_failed_sync_of_the_output_ends_it_and_the_next_start_goes_on_in_a_new_file() {
    let scene = a_failed_sync_ends_it("out/vectors.jsonl", "fdatasync", 3).await;
    assert!(scene.path("out/vectors-000001.jsonl").exists(), "the file is set aside");
}

async fn a_failed_sync_of_the_ledger_ends_it_and_loses_nothing() {
    a_failed_sync_ends_it("state/ledger.db-wal", "fsync", 20).await;
}
