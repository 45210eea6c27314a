//! The names of the objects in a repository, and their inverse: a key that does not parse is not ark's.

use crate::id::PackClass;
use crate::{PackName, SessionId};

/// The settings.
pub const CONFIG: &str = "ark.json";
/// Space that prune may free on a full disk (`file://` only).
pub const RESERVE: &str = "reserve";
/// All key slots and data keys.
pub const KEYS: &str = "keys/";
/// The wrapped data keys.
pub const DATA_KEYS: &str = "keys/data/";
/// Epoch stubs, newest first.
pub const EPOCHS: &str = "epochs/";
/// Epoch bodies and index segments.
pub const INDEX: &str = "index/";
/// Pins.
pub const SESSIONS: &str = "sessions/";
/// Commits and fences.
pub const MANIFESTS: &str = "manifests/";
/// Tombstones.
pub const FORGOTTEN: &str = "forgotten/";
/// Claims of names.
pub const NAMES: &str = "names/";
/// Packs.
pub const PACKS: &str = "packs/";
/// Records of restores.
pub const RESTORES: &str = "restores/";
/// Records of verifies.
pub const VERIFY: &str = "verify/";

/// `keys/<slot>`.
pub fn slot(id: &str) -> String {
    format!("keys/{id}")
}

/// `keys/data/<n>`.
pub fn data_key(number: u16) -> String {
    format!("keys/data/{number:04x}")
}

/// `epochs/<2^64-1-n>`: the newest sorts first.
pub fn epoch_stub(number: u64) -> String {
    format!("epochs/{:016x}", u64::MAX - number)
}

/// `index/epoch-<n>-<nonce>`.
pub fn epoch_body(number: u64, nonce: &[u8; 16]) -> String {
    format!("index/epoch-{number:016x}-{}", hex::encode(nonce))
}

/// `index/<sid>-<k>`.
pub fn segment(session: SessionId, number: u32) -> String {
    format!("index/{session}-{number:08x}")
}

/// `sessions/<e>-<sid>`.
pub fn session(epoch: u64, session: SessionId) -> String {
    format!("sessions/{epoch:016x}-{session}")
}

/// `sessions/<e>-<sid>.hb<k>`.
pub fn heartbeat(epoch: u64, session: SessionId, number: u32) -> String {
    format!("sessions/{epoch:016x}-{session}.hb{number:08x}")
}

/// `manifests/<e>-<sid>`: the commit of a session, or the fence that excludes it.
pub fn manifest(epoch: u64, session: SessionId) -> String {
    format!("manifests/{epoch:016x}-{session}")
}

/// `forgotten/<sid>`, and `forgotten/<sid>.<k>` when it was undone and is forgotten again.
pub fn tombstone(session: SessionId, number: u32) -> String {
    if number == 0 {
        format!("forgotten/{session}")
    } else {
        format!("forgotten/{session}.{number:08x}")
    }
}

/// The tombstone's key and `.undo`.
pub fn undo(session: SessionId, number: u32) -> String {
    tombstone(session, number) + ".undo"
}

/// `names/<keyed hash>/<n>`.
pub fn claim(hash: &str, number: u32) -> String {
    format!("names/{hash}/{number:08x}")
}

/// `restores/<id>-<k>`.
pub fn restore(id: SessionId, number: u32) -> String {
    format!("restores/{id}-{number:08x}")
}

/// `verify/<id>`.
pub fn verify(id: SessionId) -> String {
    format!("verify/{id}")
}

/// `packs/<class>/<xx>/<sid>-<seq>`; xx spreads the keys and is a checksum of the name.
pub fn pack(name: &PackName) -> String {
    let class = match name.class {
        PackClass::Data => "data",
        PackClass::Meta => "meta",
    };
    let stem = format!("{}-{:08x}", name.session, name.sequence);
    let spread = blake3::hash(stem.as_bytes()).as_bytes()[0];
    format!("packs/{class}/{spread:02x}/{stem}")
}

/// An object of ark's, told by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `ark.json`.
    Config,
    /// `reserve`.
    Reserve,
    /// `keys/<slot>`.
    Slot(String),
    /// `keys/data/<n>`.
    DataKey(u16),
    /// `epochs/…`.
    EpochStub(u64),
    /// `index/epoch-…`.
    EpochBody(u64),
    /// `index/<sid>-<k>`.
    Segment(SessionId, u32),
    /// `sessions/<e>-<sid>`.
    Session(u64, SessionId),
    /// `sessions/<e>-<sid>.hb<k>`.
    Heartbeat(u64, SessionId, u32),
    /// `manifests/<e>-<sid>`.
    Manifest(u64, SessionId),
    /// `forgotten/<sid>`.
    Tombstone(SessionId, u32),
    /// `forgotten/<sid>.undo`.
    Undo(SessionId, u32),
    /// `names/…`.
    Claim(String, u32),
    /// `packs/…`.
    Pack(PackName),
    /// `restores/<id>-<k>`.
    Restore(SessionId, u32),
    /// `verify/<id>`.
    Verify(SessionId),
}

/// What the object with this key is; `None` if ark did not name it.
pub fn parse(key: &str) -> Option<Object> {
    match key {
        CONFIG => return Some(Object::Config),
        RESERVE => return Some(Object::Reserve),
        _ => {}
    }
    let (folder, rest) = key.split_once('/')?;
    match folder {
        "keys" => match rest.strip_prefix("data/") {
            Some(number) => Some(Object::DataKey(u16::try_from(hex_number(number, 4)?).ok()?)),
            None => {
                hex_number(rest, 16)?;
                Some(Object::Slot(rest.to_owned()))
            }
        },
        "epochs" => Some(Object::EpochStub(u64::MAX - hex_number(rest, 16)?)),
        "index" => match rest.strip_prefix("epoch-") {
            Some(body) => {
                let (number, nonce) = body.split_once('-')?;
                nonce.parse::<SessionId>().ok()?;
                Some(Object::EpochBody(hex_number(number, 16)?))
            }
            None => {
                let (session, number) = session_number(rest)?;
                Some(Object::Segment(session, number))
            }
        },
        "sessions" => {
            let (epoch, rest) = rest.split_once('-')?;
            let epoch = hex_number(epoch, 16)?;
            match rest.split_once(".hb") {
                Some((session, number)) => Some(Object::Heartbeat(
                    epoch,
                    session.parse().ok()?,
                    hex_number(number, 8)? as u32,
                )),
                None => Some(Object::Session(epoch, rest.parse().ok()?)),
            }
        }
        "manifests" => {
            let (epoch, session) = rest.split_once('-')?;
            Some(Object::Manifest(
                hex_number(epoch, 16)?,
                session.parse().ok()?,
            ))
        }
        "forgotten" => {
            let (stem, undone) = match rest.strip_suffix(".undo") {
                Some(stem) => (stem, true),
                None => (rest, false),
            };
            let (session, number) = match stem.split_once('.') {
                // Number 0 is the form without a number: a second spelling would be another object.
                Some((session, number)) => match hex_number(number, 8)? as u32 {
                    0 => return None,
                    number => (session.parse().ok()?, number),
                },
                None => (stem.parse().ok()?, 0),
            };
            Some(if undone {
                Object::Undo(session, number)
            } else {
                Object::Tombstone(session, number)
            })
        }
        "names" => {
            let (hash, number) = rest.split_once('/')?;
            hash.parse::<SessionId>().ok()?;
            Some(Object::Claim(
                hash.to_owned(),
                hex_number(number, 8)? as u32,
            ))
        }
        "packs" => {
            let mut parts = rest.split('/');
            let class = match parts.next()? {
                "data" => PackClass::Data,
                "meta" => PackClass::Meta,
                _ => return None,
            };
            let (session, sequence) = session_number(parts.nth(1)?)?;
            let name = PackName {
                session,
                sequence,
                class,
            };
            (pack(&name) == key).then_some(Object::Pack(name))
        }
        "restores" => {
            let (session, number) = session_number(rest)?;
            Some(Object::Restore(session, number))
        }
        "verify" => Some(Object::Verify(rest.parse().ok()?)),
        _ => None,
    }
}

fn session_number(text: &str) -> Option<(SessionId, u32)> {
    let (session, number) = text.split_once('-')?;
    Some((session.parse().ok()?, hex_number(number, 8)? as u32))
}

fn hex_number(text: &str, digits: usize) -> Option<u64> {
    let lower = text
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if text.len() == digits && lower {
        u64::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_parses_back() {
        let sid = SessionId::new(1_700_000_000_000, [7; 10]);
        let name = PackName {
            session: sid,
            sequence: 9,
            class: PackClass::Meta,
        };
        let cases = [
            (CONFIG.to_owned(), Object::Config),
            (RESERVE.to_owned(), Object::Reserve),
            (
                slot("00112233445566ff"),
                Object::Slot("00112233445566ff".into()),
            ),
            (data_key(3), Object::DataKey(3)),
            (epoch_stub(5), Object::EpochStub(5)),
            (epoch_body(5, &[1; 16]), Object::EpochBody(5)),
            (segment(sid, 2), Object::Segment(sid, 2)),
            (session(4, sid), Object::Session(4, sid)),
            (heartbeat(4, sid, 1), Object::Heartbeat(4, sid, 1)),
            (manifest(4, sid), Object::Manifest(4, sid)),
            (tombstone(sid, 0), Object::Tombstone(sid, 0)),
            (undo(sid, 0), Object::Undo(sid, 0)),
            (tombstone(sid, 2), Object::Tombstone(sid, 2)),
            (undo(sid, 2), Object::Undo(sid, 2)),
            (
                claim(&sid.to_string(), 1),
                Object::Claim(sid.to_string(), 1),
            ),
            (pack(&name), Object::Pack(name)),
            (restore(sid, 0), Object::Restore(sid, 0)),
            (verify(sid), Object::Verify(sid)),
        ];
        for (key, object) in cases {
            assert_eq!(parse(&key), Some(object), "{key}");
        }
        for foreign in [
            "velero/backups/x",
            "packs/data/zz/x",
            "ark.json.bak",
            "keys/data/1",
            "",
            "index/epoch-1-2",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
    }
}
