//! Large buffers go back to the system as soon as they are free.
//!
//! glibc raises the size from which an allocation gets pages of its own (`M_MMAP_THRESHOLD`, mallopt(3)) whenever such a
//! one is freed. Pages of lists and packs, some megabytes each and of every size, then end up in the heaps of the threads,
//! which they tear to pieces: a backup's memory grew with the cluster although what it holds does not. A fixed threshold
//! keeps it flat, and costs less system time than the growing and trimming of the heaps.

/// Allocations of so many bytes and more get pages of their own; the value that glibc starts with.
#[cfg(target_env = "gnu")]
const OWN_PAGES: i32 = 128 << 10;

/// Fixes the threshold. Called once, before other threads are there.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    #[allow(
        unsafe_code,
        reason = "a setting of the C library, which has no safe wrapper"
    )]
    // SAFETY: mallopt takes two integers and only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
    }
}
