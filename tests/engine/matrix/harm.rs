//! What can happen to an object, and where in it.

use std::ops::Range;

use ark_format::layout::{self, Object};
use ark_format::pack::{FOOTER, HEADER, decode_footer, decode_trailer};

use super::base::{Base, Objects};

/// The AEAD's tag.
const TAG: usize = 16;

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The clear header; in `ark.json` the settings.
    Header,
    /// The sealed content, its salt included.
    Ciphertext,
    /// The tag of the seal.
    Tag,
    /// What only fills.
    Padding,
    /// What stands at the end: a pack's trailer and footer, the MAC of a slot or of `ark.json`.
    Trailer,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Missing,
    Truncated,
    Zeroed,
    Flipped(Region),
    /// It has the content of another object of its kind, and that one has its content.
    Swapped,
    /// An object of its kind that was deleted is there again.
    Replayed,
}

pub const HARMS: [Harm; 10] = [
    Harm::Missing,
    Harm::Truncated,
    Harm::Zeroed,
    Harm::Flipped(Region::Header),
    Harm::Flipped(Region::Ciphertext),
    Harm::Flipped(Region::Tag),
    Harm::Flipped(Region::Padding),
    Harm::Flipped(Region::Trailer),
    Harm::Swapped,
    Harm::Replayed,
];

impl Harm {
    pub fn title(self) -> &'static str {
        match self {
            Harm::Missing => "missing",
            Harm::Truncated => "truncated",
            Harm::Zeroed => "zeroed",
            Harm::Flipped(Region::Header) => "header",
            Harm::Flipped(Region::Ciphertext) => "ciphertext",
            Harm::Flipped(Region::Tag) => "tag",
            Harm::Flipped(Region::Padding) => "padding",
            Harm::Flipped(Region::Trailer) => "trailer",
            Harm::Swapped => "swapped",
            Harm::Replayed => "replayed",
        }
    }
}

/// A damaged state.
pub struct Damaged {
    /// Before.
    pub sound: Objects,
    pub objects: Objects,
    /// Keys whose bytes are not what they were.
    pub changed: Vec<String>,
}

/// `None` where there is no such thing: no such region, no other object, none that was deleted.
pub fn harmed(base: &Base, key: &str, harm: Harm) -> Option<Damaged> {
    let mut sound = base.objects.clone();
    if key == layout::RESERVE {
        sound.insert(key.to_owned(), base.reserve.clone());
    }
    let mut objects = sound.clone();
    let bytes = &sound[key];
    let mut changed = vec![key.to_owned()];
    match harm {
        Harm::Missing => {
            objects.remove(key);
        }
        Harm::Truncated => {
            objects.insert(key.to_owned(), bytes.slice(..bytes.len() / 2));
        }
        Harm::Zeroed => {
            objects.insert(key.to_owned(), vec![0; bytes.len()].into());
        }
        Harm::Flipped(region) => {
            let (_, place) = regions(base, key, bytes)
                .into_iter()
                .find(|(r, _)| *r == region)?;
            let mut flipped = bytes.to_vec();
            flipped[place.start + place.len() / 2] ^= 1 << (place.len() % 8);
            objects.insert(key.to_owned(), flipped.into());
        }
        Harm::Swapped => {
            let mut others = sound.keys().rev().filter(|other| *other != key);
            let other = others.find(|other| same_kind(key, other))?.clone();
            objects.insert(key.to_owned(), sound[&other].clone());
            objects.insert(other.clone(), bytes.clone());
            changed.push(other);
        }
        Harm::Replayed => {
            let (other, bytes) = base.gone.iter().find(|(gone, _)| same_kind(key, gone))?;
            objects.insert(other.clone(), bytes.clone());
            changed = vec![other.clone()];
        }
    }
    Some(Damaged {
        sound,
        objects,
        changed,
    })
}

/// Whether two keys are of one kind.
fn same_kind(one: &str, two: &str) -> bool {
    let (Some(one), Some(two)) = (layout::parse(one), layout::parse(two)) else {
        return false;
    };
    match (&one, &two) {
        (Object::Pack(one), Object::Pack(two)) => one.class == two.class,
        _ => std::mem::discriminant(&one) == std::mem::discriminant(&two),
    }
}

/// The parts of an object, in order.
fn regions(base: &Base, key: &str, bytes: &[u8]) -> Vec<(Region, Range<usize>)> {
    let end = bytes.len();
    let sealed = |header: usize, end: usize| {
        vec![
            (Region::Header, 0..header),
            (Region::Ciphertext, header..end - TAG),
            (Region::Tag, end - TAG..end),
        ]
    };
    match layout::parse(key) {
        Some(Object::Config) => vec![
            (Region::Header, 0..end - 75),
            (Region::Trailer, end - 67..end - 3),
        ],
        Some(Object::Slot(_)) => {
            let mut parts = sealed(56, end - 32);
            parts.push((Region::Trailer, end - 32..end));
            parts
        }
        Some(Object::Segment(..)) => {
            let mut parts = sealed(16, end);
            // The stream ends in zeros, if there is room for any.
            parts.push((Region::Padding, end - TAG - 1..end - TAG));
            parts
        }
        Some(Object::Pack(name)) => {
            let length = decode_footer(&bytes[end - FOOTER..]).unwrap() as usize;
            let trailer = end - FOOTER - length;
            let frames = decode_trailer(
                ark_format::config::Config::decode(&base.objects[layout::CONFIG])
                    .unwrap()
                    .unauthenticated()
                    .cipher,
                base.repository,
                &base.keys.index,
                &name,
                end as u64,
                &bytes[trailer..end - FOOTER],
            )
            .unwrap();
            let place = |frame: &ark_format::pack::FrameEntry| {
                frame.offset as usize..(frame.offset + frame.stored) as usize
            };
            let content = place(frames.iter().find(|f| !f.ids.is_empty()).unwrap());
            let mut parts = vec![
                (Region::Header, 0..HEADER),
                (Region::Ciphertext, content.start..content.end - TAG),
                (Region::Tag, content.end - TAG..content.end),
                (Region::Trailer, trailer..end),
            ];
            let padding = frames.iter().find(|f| f.ids.is_empty());
            parts.extend(padding.map(|frame| (Region::Padding, place(frame))));
            parts
        }
        _ => sealed(8, end),
    }
}
