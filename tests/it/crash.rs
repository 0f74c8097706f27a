//! After a crash nothing is lost, written twice or paid for without need.

pub mod driver;

use driver::Files;

#[tokio::test(flavor = "multi_thread")]
async fn forty_kills_lose_nothing_and_double_nothing() {
    const SEED: u64 = 4;
    println!("seed {SEED}");
    for (files, kills) in [(Files::Stay, 28), (Files::Move, 12)] {
        let report = driver::run(files, kills, SEED).await;
        println!("{report}");
        assert_eq!(report.fell.values().sum::<u32>(), kills);
    }
}
