//! The rules of the protocol, each as the mutant that leaves it out.
//!
//! A rule that can be left out without a counterexample is either not needed or not modelled. So each variant has a
//! test that demands a counterexample, and the chapter on the protocol names the variant next to its rule.

/// A protocol with exactly one rule left out or broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A writer reuses chunks in packs that its view lists as condemned.
    ReuseCondemned,
    /// A writer skips the check per chunk for a parent that its view's head did not mark; and [`Self::UnlistedDroppedAtOnce`],
    /// for one of the two rules is enough for writers.
    TrustUnmarkedParent,
    /// A writer goes on although an epoch was published between its two reads of the head.
    StalePin,
    /// A writer lists manifests after it read the head by which it judges them.
    HeadBeforeListing,
    /// A writer adopts packs of a crashed session that its view lists as retired, or packs condemned there.
    AdoptRetired,
    /// A writer reports success without reading the head again after its commit.
    NoConfirm,
    /// A pack is named by its content, so that a name can come back after its pack was dropped.
    PackNamesReused,
    /// The pruner lists manifests before sessions.
    ManifestsBeforeSessions,
    /// The pruner lists segments after sessions, and deletes those of sessions that it did not see.
    SegmentsAfterSessions,
    /// The pruner treats an expired session as closed without creating a fence.
    NoFence,
    /// The fence is created under a key of its own; the writer looks for it before it commits.
    FenceElsewhere,
    /// The pruner drops condemned packs without waiting for sessions older than the condemnation.
    NoQuiescence,
    /// An epoch overwrites another one of the same number.
    EpochOverwritten,
    /// Old epoch stubs are deleted, so that their numbers can be created again.
    StubsDeleted,
    /// Dropped packs are deleted before the epoch that drops them is published.
    DeleteBeforePublish,
    /// Segments that seem to be nobody's are deleted before the epoch is published.
    SegmentsDeletedBeforePublish,
    /// Segments of a forgotten backup no longer count, absorbed or not.
    ForgetInvalidatesSegments,
    /// Only live entries of packs that are kept survive in the index; a condemned pack's entries go at once.
    EntriesDroppedEarly,
    /// Fences are deleted as soon as an epoch lists their sessions as retired, above the watermark too.
    FenceDeletedAboveWatermark,
    /// The watermark is the number of the epoch that is being published, not at most its parent's.
    WatermarkAhead,
    /// A pin below the watermark, of a writer that read the head long ago, takes the watermark back.
    WatermarkGoesBack,
    /// An undelete reads the head, where the backup is still listed, and publishes no epoch of its own.
    UndoWithoutEpoch,
    /// Repack drops the old location in the epoch that publishes the new one.
    RepackDropsAtOnce,
    /// A restore or a verify reads without a pin.
    NoReaderPin,
    /// A forgotten backup stays on the list until the watermark has passed it, although its packs are condemned.
    ForgottenStaysListed,
    /// An epoch that takes away a backup which no epoch has listed drops packs like any other epoch.
    UnlistedDroppedAtOnce,
    /// What a fenced session left is left to it although a backup has adopted one of its packs.
    LeftAfterAdoption,
}
