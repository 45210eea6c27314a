//! A short run of `make chaos`: processes on a folder and on MinIO at once, killed and disturbed at random, and nothing is lost.

use std::time::Duration;

use ark_testkit::{ChaosOptions, chaos};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whatever_dies() {
    let seed = std::env::var("ARK_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let options = ChaosOptions {
        ark: env!("CARGO_BIN_EXE_ark").into(),
        time: Duration::from_secs(24),
        phase: Duration::from_secs(24),
        workers: 3,
        cores: 1.5,
        seed,
        only: None,
    };
    let summary = chaos(&options).await.unwrap();
    let text = serde_json::to_string_pretty(&summary).unwrap();
    assert!(
        summary.unexpected.is_empty() && summary.losses == 0,
        "{text}"
    );
    // A run in which nothing was done or nobody was killed shows nothing.
    assert!(summary.operations >= 10 && summary.kills >= 1, "{text}");
}
