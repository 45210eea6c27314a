//! A log, as it arrives.

use crate::cli::context::Context;
use crate::cli::error::Result;
use crate::cli::exit::Exit;
use crate::cli::printer::safe_text;
use crate::server::reading::Pieces;

/// Prints text that comes in pieces. A character may be cut in two by that, a terminal never gets anything raw.
pub async fn print(mut pieces: Pieces, context: &mut Context) -> Result<Exit> {
    let interrupt = context.interrupt.clone();
    let mut kept: Vec<u8> = Vec::new();
    while let Some(piece) = interrupt.unless(pieces.next()).await?? {
        kept.extend_from_slice(&piece.body);
        let whole = whole(&kept);
        let rest = kept.split_off(whole);
        let text = String::from_utf8_lossy(&kept);
        context.printer.text(&safe_text(&text))?;
        kept = rest;
    }
    let text = String::from_utf8_lossy(&kept);
    context.printer.text(&safe_text(&text))?;
    Ok(Exit::Ok)
}

/// How many of these bytes hold no character whose rest is yet to come.
fn whole(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_kept_until_all_of_it_is_there() {
        let text = "aé€".as_bytes();
        let found: Vec<usize> = (0..=text.len()).map(|end| whole(&text[..end])).collect();
        assert_eq!(found, [0, 1, 1, 3, 3, 3, 6]);
        // What is none never becomes one.
        assert_eq!(whole(b"a\xffb"), 3);
    }
}
