//! Files of one folder that are renamed all the time, from the system calls to the lines.

use std::time::{Duration, Instant};

use crate::figures::Figures;
use crate::process::{cpu_secs, mib};
use crate::renames::{Report, run, scene};

/// Until all lines are out, after each part of it.
const PATIENCE: Duration = Duration::from_mins(20);

/// 200,000 files.
pub async fn all(figures: &mut Figures) {
    bench(figures, 200_000).await;
}

/// A tenth of them.
pub async fn tenth(figures: &mut Figures) {
    bench(figures, 20_000).await;
}

async fn bench(figures: &mut Figures, files: usize) {
    let scene = scene().await;
    let (begun, mut most) = (Instant::now(), 0_f64);
    let report = run(&scene, files, PATIENCE, |when, child| {
        most = most.max(mib(child, "VmHWM"));
        println!("       {when}: after {:.0} s, {:.0} CPU s", begun.elapsed().as_secs_f64(), cpu_secs(child));
    });
    let report = report.await;
    let is_paid_once = report.is_paid_once();
    let Report { files: left, renames, lines, texts, distinct, kills } = report;
    println!(
        "       {left} files left after {renames} renames: {lines} lines, {texts} texts paid, {distinct} different, {kills} kill"
    );
    figures.exactly(&format!("{files} files renamed: texts paid beyond what kills allow"), usize::from(!is_paid_once), 0);
    figures.at_most("peak memory of the daemon", most, 256.0, "MiB");
}
