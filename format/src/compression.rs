//! zstd, one frame at a time.
//!
//! A compressed body is exactly one zstd frame that yields exactly the length that stands before it. zstd itself would
//! take several frames in a row and frames to skip; refusing them leaves one reading of every body.

use crate::DecodeError;

/// Compresses `raw` at `level`, if that makes it shorter.
pub(crate) fn compress(raw: &[u8], level: i32) -> Result<Option<Vec<u8>>, DecodeError> {
    let body = zstd::bulk::compress(raw, level).map_err(|_| DecodeError::Compression)?;
    Ok(Some(body).filter(|body| body.len() < raw.len()))
}

/// Decompresses `body` to `length` bytes, which the caller has checked against a limit.
pub(crate) fn decompress(body: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
    if zstd::zstd_safe::find_frame_compressed_size(body) != Ok(body.len()) {
        return Err(DecodeError::Compression);
    }
    let raw = zstd::bulk::decompress(body, length).map_err(|_| DecodeError::Compression)?;
    if raw.len() != length {
        return Err(DecodeError::Compression);
    }
    Ok(raw)
}
