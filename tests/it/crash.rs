//! The process dies, and nothing is lost, said twice or paid for without need.

pub mod driver;

#[tokio::test(flavor = "multi_thread")]
async fn forty_kills_lose_nothing_and_double_nothing() {
    const SEED: u64 = 4;
    println!("seed {SEED}");
    let report = driver::run(40, SEED).await;
    println!("{report}");
    assert_eq!(report.kills, 40);
}
