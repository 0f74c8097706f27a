//! The source alone, in this process or in one of its own that can be stopped and whose memory can be read.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use riverbed::domain::{Change, Claims, What};
use riverbed::folder::{Contents, Found, SourceConfig, follow, read};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::memory::Remembering;

/// A folder that is followed in this process.
pub struct Following {
    pub config: SourceConfig,
    pub found: Found,
    changes: mpsc::Receiver<Change>,
    memory: Arc<Remembering>,
    _follower: JoinSet<()>,
}

impl Following {
    pub fn start(path: &Path, settle: Duration) -> Self {
        let config = SourceConfig { path: path.into(), settle, ..SourceConfig::default() };
        let (found, (sender, changes)) = (Found::default(), mpsc::channel(256));
        let mut follower = JoinSet::new();
        let memory = Arc::new(Remembering::default());
        let parts = (config.clone(), found.clone(), Arc::clone(&memory));
        follower.spawn(async move {
            let (config, found, memory) = parts;
            follow(config, memory, Claims::default(), sender, CancellationToken::new(), &found).await;
        });
        Self { config, found, changes, memory, _follower: follower }
    }

    /// Waits for the next file that can be read.
    pub async fn next(&mut self) -> (String, Contents) {
        loop {
            let change = self.changes.recv().await.expect("the source goes on");
            let What::There(seen) = change.what else { continue };
            match read(&self.config, &change.path, &seen, &CancellationToken::new()) {
                Ok(contents) => {
                    self.memory.remember(&change.path, Some(seen), None);
                    return (change.path.to_string(), contents);
                }
                Err(error) if error.is_passing() => change.claim.again(),
                Err(error) => panic!("{}: {error}", change.path),
            }
        }
    }
}

/// Follows a folder, and prints a line for each change and each scan: `follow FOLDER SETTLE_MS`.
pub async fn follow_and_tell(arguments: &[String]) {
    let [folder, settle_ms] = arguments else { panic!("follow FOLDER SETTLE_MS") };
    let settle = Duration::from_millis(settle_ms.parse().unwrap());
    let mut following = Following::start(Path::new(folder), settle);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let (mut scans, mut changes) = (0, Vec::new());
    loop {
        tokio::select! {
            received = following.changes.recv_many(&mut changes, 256) => assert!(received > 0, "the source goes on"),
            () = following.found.scanned(scans + 1) => {
                scans = following.found.scans();
                writeln!(out, "scans {scans}").unwrap();
            }
        }
        for change in changes.drain(..) {
            let What::There(seen) = change.what else { panic!("{} is there", change.path) };
            following.memory.remember(&change.path, Some(seen), None);
            writeln!(out, "file {}", change.path).unwrap();
        }
        out.flush().unwrap();
    }
}
