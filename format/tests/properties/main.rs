//! Properties of every encoder and decoder: what goes in comes out, any bytes are refused or understood and never
//! panic, every byte is authenticated, and what a decoder allocates is bounded by what it was given.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod allocation;
mod any_bytes;
mod authentic;
mod canonical;
mod roundtrip;
mod sample;

// Counts what decoders allocate; see `allocation`.
#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;
