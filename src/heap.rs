//! Large buffers go back to the system as soon as they are free, and all threads share one heap.
//!
//! glibc raises the size from which an allocation gets pages of its own (`M_MMAP_THRESHOLD`, mallopt(3)) whenever such a
//! one is freed, and gives threads heaps of their own (`M_ARENA_MAX`). Pages of lists and packs, some megabytes each and of
//! every size, then tear all those heaps to pieces: a backup's memory grew with the cluster although what it holds does
//! not. With both fixed it stays flat. The values are the cheapest that did: a lower threshold costs system time.

/// Allocations of so many bytes and more get pages of their own.
#[cfg(target_env = "gnu")]
const OWN_PAGES: i32 = 1 << 20;

/// Fixes both. Called once, before other threads are there.
pub fn settle() {
    #[cfg(target_env = "gnu")]
    #[allow(
        unsafe_code,
        reason = "settings of the C library, which have no safe wrapper"
    )]
    // SAFETY: mallopt takes two integers and only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
