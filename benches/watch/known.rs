//! The cost of known files: nothing is read, nothing written, and a scan over them is quick.
//!
//! The ledger is generated: one document goes through the daemon, and its row is the model for all others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::{Connection, params};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::figures::Figures;
use crate::process::{cpu_secs, mib};
use crate::support::{Scene, ends, signal};

/// Files in each folder.
const A_FOLDER: usize = 1000;
/// A scan of many takes a while, on a slow machine.
const PATIENCE: Duration = Duration::from_mins(5);

/// Known files in memory, followed by a daemon that has scanned them once.
struct Known {
    scene: Scene,
    _source: TempDir,
    child: Child,
}

/// 100,000 known files, and nothing happens: a minute of that, and a two-hundredth of the scan that comes every five minutes.
pub async fn idle(figures: &mut Figures) {
    let known = Known::start(100_000).await;
    let window = Duration::from_mins(1);
    let before = cpu_secs(&known.child);
    sleep(window).await;
    let idle = (cpu_secs(&known.child) - before) / window.as_secs_f64();
    let before = cpu_secs(&known.child);
    known.rescan().await;
    let scan = (cpu_secs(&known.child) - before) / Duration::from_mins(5).as_secs_f64();
    println!("       {:.3} % of a core waiting, {:.3} % scanning every five minutes", idle * 100.0, scan * 100.0);
    figures.at_most("100,000 known files, idle", (idle + scan) * 100.0, 1.0, "% of a core");
    known.end().await;
}

/// 1,000,000 known files: one scan of them.
pub async fn rescan(figures: &mut Figures) {
    const FILES: usize = 1_000_000;
    let known = Known::start(FILES).await;
    let before = state_of(&known.scene.path("out"));
    let mut took = known.rescan().await;
    for _ in 0..2 {
        took = took.min(known.rescan().await);
    }
    #[expect(clippy::cast_precision_loss, reason = "it is exact")]
    figures.at_least("rescan of 1,000,000 unchanged files", FILES as f64 / took.as_secs_f64(), 100_000.0, "files/s");
    figures.at_most("peak memory of that daemon, its start included", mib(&known.child, "VmHWM"), 100.0, "MB (MiB)");
    let written = state_of(&known.scene.path("out")).into_iter().filter(|(path, state)| before.get(path) != Some(state));
    figures.exactly("files of output and ledger written to", written.count(), 0);
    figures.exactly("calls", usize::try_from(known.scene.emulator.counts().calls).unwrap(), 1);
    known.end().await;
}

impl Known {
    async fn start(files: usize) -> Self {
        let memory = Path::new("/dev/shm");
        let source = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let scene = Scene::cheap().await.set("log.level", "\"debug\"").set("run.progress-every", "\"1h\"");
        let scene = scene.set("source.path", &format!("\"{}\"", source.path().display()));
        fs::write(source.path().join("model.txt"), "A document that all others are like.").unwrap();
        let made = scene.once().await;
        assert_eq!(made.code, Some(0), "{made:?}");
        let begun = Instant::now();
        generate(&scene, source.path(), files);
        println!("       {files} files and their ledger made in {:.1} s", begun.elapsed().as_secs_f64());
        let log = File::create(scene.path("log")).unwrap();
        let begun = Instant::now();
        let child = scene.riverbed(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let known = Self { scene, _source: source, child };
        known.scanned(1).await;
        println!("       started and scanned in {:.1} s", begun.elapsed().as_secs_f64());
        known
    }

    /// Has the daemon scan once more, and returns how long that took from the signal to its word.
    async fn rescan(&self) -> Duration {
        let scans = self.scans();
        let begun = Instant::now();
        signal(&self.child, Signal::HUP);
        self.scanned(scans + 1).await;
        begun.elapsed()
    }

    async fn scanned(&self, scans: usize) {
        let wait = async {
            while self.scans() < scans {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, wait).await.is_ok(), "{}", self.log());
    }

    fn scans(&self) -> usize {
        self.log().matches("scanned elapsed_ms=").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scene.path("log")).unwrap()
    }

    async fn end(self) {
        signal(&self.child, Signal::TERM);
        let log = self.log();
        assert_eq!(ends(self.child).await, Some(0), "{log}");
    }
}

/// Makes files without contents in memory, and a row of the ledger for each, as the daemon would have written it.
fn generate(scene: &Scene, source: &Path, files: usize) {
    let mut ledger = Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
    let writing = ledger.transaction().unwrap();
    {
        let mut insert = writing
            .prepare(
                "INSERT INTO documents (path, state, version, config, observation, device, size, media_type, chunks, ended_at)
                 SELECT ?1, state, version, config, ?2, ?3, size, media_type, chunks, ended_at FROM documents WHERE path = ?4",
            )
            .unwrap();
        for number in 1..files {
            let name = format!("{:04}/document-{number:07}.txt", number / A_FOLDER);
            let path = source.join(&name);
            if number == 1 || number.is_multiple_of(A_FOLDER) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            let file = File::create(&path).unwrap();
            file.set_len(36).unwrap();
            let seen = file.metadata().unwrap();
            let device = seen.dev().cast_signed();
            insert.execute(params![name.as_bytes(), observation(&seen), device, &b"model.txt"[..]]).unwrap();
        }
    }
    writing.commit().unwrap();
}

/// Returns what the ledger keeps of a file's looks: seven numbers.
fn observation(seen: &fs::Metadata) -> Vec<u8> {
    let unsigned = [seen.dev(), seen.ino(), seen.size()];
    let signed = [seen.mtime(), seen.mtime_nsec(), seen.ctime(), seen.ctime_nsec()];
    let numbers = unsigned.map(u64::to_le_bytes).into_iter().chain(signed.map(i64::to_le_bytes));
    numbers.flatten().collect()
}

/// Returns size and time of every file below a folder, but for what `SQLite` shares between processes in memory.
fn state_of(folder: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut states = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let seen = fs::symlink_metadata(&path).unwrap();
        if seen.is_dir() {
            states.extend(state_of(&path));
        } else if !path.as_os_str().as_encoded_bytes().ends_with(b"-shm") {
            states.insert(path, (seen.len(), seen.modified().unwrap()));
        }
    }
    states
}
