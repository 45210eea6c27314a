//! Repair of a backup of which a part is lost: the entries of the resources that it belongs to say so, and no others.

use std::collections::BTreeSet;

use crate::gate::Gate;
use crate::repair::{ALL, flip, keys, repair};
use crate::roundtrip::{Items, backup, contents, index, items, new_repository};

/// Lost leaves of the tree: the own entries of resources in the hole come from another backup and say that it is one.
#[tokio::test]
async fn a_hole_is_told_in_the_entries_of_its_resources() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let resources = ["a", "b", "c", "d"];
    let own = |resource: &str| format!("group\0{resource}\0").into_bytes();
    let content = |version: u32| {
        let mut content = Items::new();
        for resource in resources {
            content.insert(own(resource), format!("entry of {resource}").into_bytes());
            for n in 0..700 {
                let key = format!("group\0{resource}\0ns/item-{n:04}").into_bytes();
                let value = format!("{resource} {n} of version {version} with some filling");
                content.insert(key, value.into_bytes());
            }
        }
        content
    };
    let one = backup(&repository, "one", &content(1)).await.unwrap();
    let all = content(2);
    let two = backup(&repository, "two", &all).await.unwrap();
    // Frames are stored as they are ready: the one with the first leaves is the large one without the root.
    let root = repository.manifest(&two.id).await.unwrap().row.datasets[0].1;
    let index = index(&repository).await;
    let root = index.locate(&root.id).unwrap()[0];
    let frames = index.segments().iter().flat_map(|loaded| {
        let tables = &loaded.segment.tables;
        let packs = tables.packs.iter().filter(|row| row.name == root.pack);
        packs.flat_map(|row| &tables.frames[row.first_frame as usize..][..row.frames as usize])
    });
    let leaves = frames
        .filter(|frame| frame.chunks > 0 && frame.offset != root.offset)
        .max_by_key(|frame| frame.stored)
        .unwrap();
    let packs = keys(&repository, "packs/meta").await;
    let pack = packs.iter().find(|key| key.contains(&two.id.to_string()));
    gate.replace(pack.unwrap(), flip(leaves.offset as usize + 50))
        .await;
    let report = repair(&repository, ALL).await;
    let damaged = report.plan.backups.iter().find(|b| b.id == two.id).unwrap();
    assert!(
        !damaged.entirely && damaged.count() > 500,
        "{}",
        report.plan
    );
    let repaired = contents(&repository, &report.repaired[0].id).await.unwrap();
    let told = |resource| {
        let entry = String::from_utf8(repaired[&own(resource)].clone()).unwrap();
        assert!(
            entry.starts_with(&format!("entry of {resource}")),
            "{entry}"
        );
        entry.contains("lost by damage")
    };
    for resource in resources {
        let objects = |items: &Items| {
            let keys = items.keys().filter(|key| key.starts_with(&own(resource)));
            keys.count()
        };
        let whole = objects(&repaired) == objects(&all);
        assert_eq!(told(resource), !whole, "{resource}: {}", report.plan);
    }
    assert!(told("a") && !told("d"));
    for (key, value) in &repaired {
        assert!(all.get(key) == Some(value) || key.ends_with(b"\0"));
    }
    assert_eq!(contents(&repository, &one.id).await.unwrap(), content(1));
}

#[tokio::test]
async fn a_hole_in_one_leaf_marks_its_resource_only() {
    let gate = Gate::new();
    let repository = new_repository(gate.store()).await;
    let mut content = items(0, |_| 0);
    for resource in ["a", "b", "c"] {
        let own = format!("group\0{resource}\0").into_bytes();
        content.insert(own, format!("entry of {resource}").into_bytes());
        for n in 0..300 {
            let key = format!("group\0{resource}\0ns/item-{n:04}").into_bytes();
            content.insert(key, format!("{resource} {n} ").repeat(40).into_bytes());
        }
    }
    let first = content.clone();
    backup(&repository, "one", &first).await.unwrap();
    let before: BTreeSet<String> = keys(&repository, "packs/data").await.into_iter().collect();
    let changed = b"group\0b\0ns/item-0100".to_vec();
    content.insert(changed.clone(), b"changed ".repeat(40));
    let two = backup(&repository, "two", &content).await.unwrap();
    for key in keys(&repository, "packs/data").await {
        if !before.contains(&key) {
            repository.store().delete(&key).await.unwrap();
        }
    }
    let report = repair(&repository, ALL).await;
    let damaged = report.plan.backups.iter().find(|b| b.id == two.id).unwrap();
    assert_eq!(damaged.count(), 1);
    assert_eq!(damaged.lost[0].item, "b.group ns/item-0100");
    assert!(
        report
            .plan
            .to_string()
            .contains("objects: b.group ns/item-0100")
    );
    let repaired = contents(&repository, &report.repaired[0].id).await.unwrap();
    content.remove(&changed);
    let own = |resource: &str| format!("group\0{resource}\0").into_bytes();
    let told = String::from_utf8(repaired[&own("b")].clone()).unwrap();
    assert_eq!(
        told,
        "entry of b but objects were lost by damage of the repository"
    );
    for resource in ["a", "c"] {
        assert_eq!(repaired[&own(resource)], content[&own(resource)]);
    }
    content.insert(own("b"), told.into_bytes());
    assert_eq!(repaired, content);
}
