//! What the roles may do, with a real MinIO's users and the policies of the documentation.

mod policy;

use ark_engine::store::{Store, StoreError, StoreOptions};
use ark_engine::{
    Error, InitOptions, OpenOptions, PruneOptions, Repository, RestoreRecord, Role, Unlock,
};
use ark_testkit::{Minio, MinioOptions};
use bytes::Bytes;

use crate::roundtrip::{assert_sound, backup, contents, env, items, unlock};

const URL: &str = "s3://backups/ark";
const NOW: PruneOptions = PruneOptions {
    now: true,
    max_unused: 0.05,
};

fn backup_key() -> Unlock {
    Unlock::from_key_file(&[8; 32]).unwrap()
}

/// The bucket as a user sees it.
fn store_as(minio: &Minio, (access, secret): &(String, String)) -> Store {
    let mut env: std::collections::BTreeMap<String, String> = minio
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    env.insert("AWS_ACCESS_KEY_ID".into(), access.clone());
    env.insert("AWS_SECRET_ACCESS_KEY".into(), secret.clone());
    let options = StoreOptions {
        allow_http: true,
        env,
        ..StoreOptions::default()
    };
    Store::open(URL, &options).unwrap()
}

async fn open(store: Store, unlock: &Unlock) -> Repository {
    Repository::open(store, env(), unlock, OpenOptions::default())
        .await
        .unwrap()
}

/// A user's keys.
type Keys = (String, String);

/// A bucket, its users, and a repository of the full role in it with a slot of the backup role.
async fn three_roles(minio: &Minio, policy: impl Fn(&str) -> String) -> ([Keys; 3], Repository) {
    minio.create_versioned_bucket("backups").await.unwrap();
    let mut users = Vec::new();
    for role in ["backup", "restore", "full"] {
        users.push(minio.create_user(role, &policy(role)).await.unwrap());
    }
    let users: [Keys; 3] = users.try_into().unwrap();
    let first = InitOptions { unlock: unlock() };
    let full = Repository::init(store_as(minio, &users[2]), env(), first)
        .await
        .unwrap()
        .repository;
    full.add_key(&backup_key(), Role::Backup).await.unwrap();
    (users, full)
}

fn denied(what: &str, result: Result<impl std::fmt::Debug, StoreError>) {
    assert!(
        matches!(&result, Err(StoreError::PermissionDenied { code, .. }) if code.as_deref() == Some("AccessDenied")),
        "{what}: {result:?}"
    );
}

fn refused_by_the_bucket(what: &str, result: Result<impl std::fmt::Debug, Error>) {
    assert!(
        matches!(
            &result,
            Err(Error::Store(StoreError::PermissionDenied { .. }))
        ),
        "{what}: {result:?}"
    );
}

fn refused_by_the_key(what: &str, result: Result<impl std::fmt::Debug, Error>) {
    assert!(
        matches!(&result, Err(Error::Role { .. })),
        "{what}: {result:?}"
    );
}

#[tokio::test]
async fn each_role_does_its_work_and_no_more() {
    let minio = Minio::start().await.unwrap();
    let ([backup_user, restore_user, full_user], full) =
        three_roles(&minio, policy::for_minio).await;
    let bytes = || Bytes::from_static(b"something else");

    // The backup role: backups, restores, verifies, and records of them.
    let store = store_as(&minio, &backup_user);
    let role = open(store.clone(), &backup_key()).await;
    let content = items(400, |_| 1);
    let one = backup(&role, "one", &content).await.unwrap();
    let changed = items(400, |n| u32::from(n % 10 == 0));
    let two = backup(&role, "two", &changed).await.unwrap();
    assert_eq!(contents(&role, &one.id).await.unwrap(), content);
    let record = RestoreRecord {
        name: "again".into(),
        backup: one.id.to_string(),
        document: b"{}".to_vec(),
        report: b"{}".to_vec(),
        log: Vec::new(),
    };
    role.record_restore(&record).await.unwrap();
    assert_sound(&role).await;
    assert_eq!(store.list("verify").await.unwrap().len(), 1);

    // Its key can neither forget nor publish, whatever the bucket allows.
    refused_by_the_key("forget", role.forget(&[one.id]).await);
    refused_by_the_key("prune", role.prune(&NOW, |_| {}).await);
    refused_by_the_key("undelete", {
        full.forget(&[two.id]).await.unwrap();
        role.undelete(&two.id).await
    });
    full.undelete(&two.id).await.unwrap();
    refused_by_the_key("add", role.add_key(&unlock(), Role::Full).await);
    refused_by_the_key("remove", role.remove_key("0123456789abcdef").await);
    refused_by_the_key("rotate", role.rotate_data_key().await);

    // Its credentials cannot either, whatever the key allows.
    let with_full_key = open(store.clone(), &unlock()).await;
    refused_by_the_bucket("forget", with_full_key.forget(&[one.id]).await);
    refused_by_the_bucket("prune", with_full_key.prune(&NOW, |_| {}).await);
    let add = with_full_key.add_key(&backup_key(), Role::Full).await;
    refused_by_the_bucket("add", add);
    refused_by_the_bucket("rotate", with_full_key.rotate_data_key().await);
    let epoch = full.info().await.unwrap().epoch;
    for key in [
        "keys/0123456789abcdef",
        "keys/data/0002",
        "epochs/fffffffffffffff0",
        "forgotten/00000000000000000000000000000000",
        "index/epoch-0000000000000009-00000000000000000000000000000000",
        "reserve",
        "elsewhere",
    ] {
        denied(key, store.create(key, bytes()).await);
    }
    let outside = minio.s3().as_user(&backup_user);
    for key in [
        "other/object",
        "ark/ark.json",
        "ark/epochs/ffffffffffffffff",
    ] {
        let answer = outside.put("backups", key, b"1").await.unwrap();
        assert_eq!(answer.status, 403, "{key}: {answer:?}");
    }
    for object in store.list("").await.unwrap() {
        denied(&object.key, store.delete(&object.key).await);
    }
    assert_eq!(full.info().await.unwrap().epoch, epoch);
    assert_eq!(full.backups().await.unwrap().len(), 2);

    // What the full role has rotated to, the backup role uses.
    assert_eq!(full.rotate_data_key().await.unwrap().number, 2);
    let more = items(100, |_| 5);
    let rotated = backup(&role, "rotated", &more).await.unwrap();
    assert_eq!(contents(&full, &rotated.id).await.unwrap(), more);

    // Who restores pins and reports, and cannot write a backup.
    let store = store_as(&minio, &restore_user);
    let role = open(store.clone(), &backup_key()).await;
    assert_eq!(contents(&role, &two.id).await.unwrap(), changed);
    role.record_restore(&record).await.unwrap();
    assert_sound(&role).await;
    let more = backup(&role, "three", &items(50, |_| 3)).await;
    refused_by_the_bucket("backup", more);
    denied("pack", store.create("packs/data/00/x", bytes()).await);
    denied("segment", store.create("index/x", bytes()).await);
    denied("delete", store.delete("ark.json").await);

    // The full role collects, and cannot take away what a bucket keeps of what was deleted.
    let role = open(store_as(&minio, &full_user), &unlock()).await;
    role.forget(&[one.id]).await.unwrap();
    let report = role.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(report.backups_removed, ["one"]);
    assert!(report.packs_deleted > 0, "{report:?}");
    assert_eq!(report.forged, Vec::<String>::new());
    assert_eq!(contents(&role, &two.id).await.unwrap(), changed);
    assert_sound(&role).await;
    let admin = minio.s3().as_user(&full_user);
    let suspend = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let answer = admin
        .call("PUT", "/backups", &[("versioning", "")], &[], suspend)
        .await
        .unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(report.kept.packs, report.packs_deleted);
    for version in minio.s3().versions("backups", "ark/packs").await.unwrap() {
        let answer = admin.delete_version("backups", &version).await.unwrap();
        assert_eq!(answer.status, 403, "{version:?}: {answer:?}");
    }
}

/// If-None-Match is demanded of every write: ark always sends it, and nothing else gets through.
#[tokio::test]
async fn nothing_is_overwritten_where_create_is_demanded() {
    let port = policy::plugin(&["backup", "restore", "full"]).await;
    let options = MinioOptions {
        policy_port: Some(port),
        ..MinioOptions::default()
    };
    let minio = Minio::start_with(options).await.unwrap();
    let ([user, _, _], full) = three_roles(&minio, policy::for_minio).await;
    let role = open(store_as(&minio, &user), &backup_key()).await;
    let content = items(200, |_| 1);
    let one = backup(&role, "one", &content).await.unwrap();
    assert_sound(&role).await;

    let client = minio.s3().as_user(&user);
    let create = [("if-none-match", "*")];
    for object in role.store().list("").await.unwrap() {
        let key = format!("ark/{}", object.key);
        let over = client.put("backups", &key, b"encrypted").await.unwrap();
        assert_eq!(over.status, 403, "{key}: {over:?}");
        let path = format!("/backups/{key}");
        let over = client.call("PUT", &path, &[], &create, b"encrypted");
        let status = over.await.unwrap().status;
        // Where the role may write the condition fails, elsewhere it may not even ask.
        assert!([403, 412].contains(&status), "{key}: {status}");
        let source = [
            ("if-none-match", "*"),
            ("x-amz-copy-source", "/backups/ark/ark.json"),
            ("x-amz-metadata-directive", "REPLACE"),
        ];
        let copy = client.call("PUT", &path, &[], &source, b"").await.unwrap();
        let parts = client.call("POST", &path, &[("uploads", "")], &[], b"");
        let parts = parts.await.unwrap();
        assert_eq!(parts.status, 403, "{key}: {parts:?}");
        assert_eq!(copy.status, 403, "{key}: {copy:?}");
        assert_eq!(client.delete("backups", &key).await.unwrap().status, 403);
    }
    let path = "/backups/ark/verify/new";
    let bare = client.call("PUT", path, &[], &[], b"1").await.unwrap();
    assert_eq!(bare.status, 403, "{bare:?}");
    let new = client.call("PUT", path, &[], &create, b"1").await.unwrap();
    assert_eq!(new.status, 200, "{new:?}");
    minio
        .s3()
        .delete("backups", "ark/verify/new")
        .await
        .unwrap();

    assert_eq!(contents(&full, &one.id).await.unwrap(), content);
    full.forget(&[one.id]).await.unwrap();
    full.prune(&NOW, |_| {}).await.unwrap();
    assert_eq!(full.backups().await.unwrap().len(), 0);
    assert_sound(&full).await;
}

/// Why MinIO's own policies stand without the condition. When this fails, MinIO has learned it.
#[tokio::test]
async fn minio_does_not_know_the_condition() {
    let minio = Minio::start().await.unwrap();
    let policy = policy::documented("backup").to_string();
    let error = minio.create_user("backup", &policy).await.unwrap_err();
    assert!(error.to_string().contains("if-none-match"), "{error}");
}
