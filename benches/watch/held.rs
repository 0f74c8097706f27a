//! 200,000 files while nobody reads the events: the process is stopped, and the kernel's queue runs over.

use std::collections::HashSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::figures::Figures;
use crate::process::{cpu_secs, mib};
use crate::support::signal;

/// Files that are written, and again as many that are renamed in.
const FILES: usize = 100_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// Every wait is a multiple of this. With the default of 500 ms the youngest files would be waited for as long as the mark is.
const SETTLE_MS: &str = "100";

pub async fn bench(figures: &mut Figures) {
    let folder = tempfile::tempdir().unwrap();
    let (drop, stage) = (folder.path().join("drop"), folder.path().join("stage"));
    for folder in [&drop, &stage] {
        fs::create_dir(folder).unwrap();
    }
    for number in 0..FILES {
        fs::write(stage.join(format!("renamed-{number}")), "renamed").unwrap();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("follow").arg(&drop).arg(SETTLE_MS).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(told.next_line().await.unwrap().as_deref(), Some("scans 1"));
    let (memory, cpu) = (mib(&child, "VmRSS"), cpu_secs(&child));

    signal(&child, Signal::STOP);
    let begun = Instant::now();
    for number in 0..FILES {
        fs::write(drop.join(format!("written-{number}")), "written").unwrap();
    }
    for number in 0..FILES {
        let name = format!("renamed-{number}");
        fs::rename(stage.join(&name), drop.join(&name)).unwrap();
    }
    println!("       {} files in {:.1} s while nobody reads events", 2 * FILES, begun.elapsed().as_secs_f64());
    signal(&child, Signal::CONT);

    let released = Instant::now();
    let (mut known, mut last, mut twice, mut scans) = (HashSet::new(), Duration::ZERO, 0, 1);
    // Until nothing has come for a while: a scan too many would come after the last file.
    while let Ok(line) = timeout(if known.len() < 2 * FILES { PATIENCE } else { PATIENCE / 12 }, told.next_line()).await {
        match line.unwrap().expect("it goes on").split_once(' ').unwrap() {
            ("file", name) => {
                twice += usize::from(!known.insert(name.to_owned()));
                last = released.elapsed();
            }
            (_, number) => scans = number.parse().unwrap(),
        }
    }
    println!("       {:.2} CPU s per 100,000 files", (cpu_secs(&child) - cpu) / 2.0);
    figures.exactly("files known after a burst of 200,000", known.len(), 2 * FILES);
    figures.exactly("of them sent twice", twice, 0);
    figures.at_most("from release to the last of them", last.as_secs_f64(), 5.0, "s");
    figures.at_most("scans for it", f64::from(scans - 1), 3.0, "scans");
    figures.at_most("memory growth", mib(&child, "VmHWM") - memory, 64.0, "MiB");
    child.kill().await.unwrap();
}
