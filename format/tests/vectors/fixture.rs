//! The fixed keys, names and salts of the vectors. They are no secrets.

use ark_format::id::PackClass;
use ark_format::keys::Key;
use ark_format::seal::{Cipher, SALT};
use ark_format::{KeySet, PackName, RepositoryId, SessionId};

pub const REPOSITORY: RepositoryId = RepositoryId([0x0F; 16]);
pub const CIPHER: Cipher = Cipher::Aes256Gcm;
pub const RAW_KEY: Key = [0xA0; 32];
pub const DATA_KEY: Key = [0xD1; 32];
/// Data key 2, with which the second backup of the repository is sealed.
pub const SECOND_DATA_KEY: Key = [0xD2; 32];
pub const PASSPHRASE: &str = "correct horse battery stäple";
/// Argon2id of [`PASSPHRASE`] with 64 KiB, 2 passes, 2 lanes and a salt of 32 bytes 0xA5.
pub const PASSPHRASE_KEY: &str = "b8c7a5fef7ce1d31c5d1f91f93a1cff808b07c5e042ee303adee50a9601c77cd";

/// The key set: each key is 32 times one byte.
pub fn keys() -> KeySet {
    let mut byte = 0u8;
    KeySet::from_random(|| {
        byte += 0x11;
        [byte; 32]
    })
}

/// The session that writes the backup of the vectors.
pub fn session() -> SessionId {
    SessionId::new(1_700_000_000_000, [0x51; 10])
}

/// Another session.
pub fn other_session() -> SessionId {
    SessionId::new(1_700_000_600_000, [0x52; 10])
}

pub fn pack_name(class: PackClass, sequence: u32) -> PackName {
    PackName {
        session: session(),
        sequence,
        class,
    }
}

/// The salt of the unit `label`: the first 24 bytes of its BLAKE3.
pub fn salt(label: &str) -> [u8; SALT] {
    let mut salt = [0; SALT];
    salt.copy_from_slice(&blake3::hash(label.as_bytes()).as_bytes()[..SALT]);
    salt
}
