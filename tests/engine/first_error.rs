//! When work fails and its pin cannot be ended either, the user is told why the work failed.

use ark_engine::verify::Unwatched;
use ark_engine::{BeginBackup, Error, VerifyOptions};

use crate::gate::{End, Gate, Op};
use crate::roundtrip::{backup, cluster, items, new_repository};

/// The first error names this, and not the end of the pin.
fn tells<T>(what: &str, result: Result<T, Error>, part: &str) {
    let Err(error) = result else {
        panic!("{what} works");
    };
    let text = error.to_string();
    assert!(
        text.contains(part) && !text.contains("manifests/"),
        "{what}: {text}"
    );
}

/// The next request fails, and so does every fence after it.
fn break_down(gate: &Gate, op: Op, part: &str) {
    gate.fail(op, part, 1, End::Refuse);
    gate.fail(Op::Put, "manifests/", 100, End::Refuse);
}

#[tokio::test]
async fn the_first_error_is_told() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    backup(&repository, "one", &items(50, |_| 1)).await.unwrap();
    let begin = || {
        repository.begin_backup(BeginBackup {
            name: "two".into(),
            cluster: cluster(),
        })
    };

    break_down(&gate, Op::Put, "names/");
    tells("a claim", begin().await, "names/");
    gate.open();
    break_down(&gate, Op::List, "forgotten");
    tells("a view", begin().await, "forgotten");
    gate.open();
    break_down(&gate, Op::List, "keys/data");
    tells("the data keys", begin().await, "keys/data");
    gate.open();
    break_down(&gate, Op::Get, "index/0");
    tells("an index", begin().await, "index/0");
    gate.open();
    break_down(&gate, Op::List, "everything");
    let options = VerifyOptions::default();
    let verified = repository.verify(options, &Unwatched).await;
    tells("a verify", verified, "");
    gate.open();

    // What could not be ended is fenced when it is silent; nothing is in the way of another one.
    backup(&repository, "three", &items(50, |_| 2))
        .await
        .unwrap();
}
