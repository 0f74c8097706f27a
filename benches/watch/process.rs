//! Process figures that the system reports.

use std::fs;

use tokio::process::Child;

/// Clock ticks in a second, as `/proc` counts them on every machine.
const TICKS: f64 = 100.0;

/// Returns a field of `/proc/PID/status` in MiB.
pub fn mib(child: &Child, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    let kib: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}

/// Returns the CPU time that a process has used, in seconds.
pub fn cpu_secs(child: &Child) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id().unwrap())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap());
    ticks.sum::<f64>() / TICKS
}
