//! Parts of the engine that the simulation takes away one by one, to show that each is missed. The
//! switch exists with the feature `mutants` only, which nothing but the tests asks for; without it
//! [`lacks`] is a constant `false` that leaves no trace.

/// What can be taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What RECHECK finds out is ignored.
    Recheck,
    /// An opt-out counts as written, and is not.
    OptOut,
    /// Who gave no clear answer has refused: the next carrier is asked.
    Unclear,
    /// FENCE lets everything through, however late.
    Fence,
    /// One empty list, however early, is proof of absence.
    Proof,
}

/// Whether this part is missing here.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn lacks(_: Part) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use switch::Taken;
#[cfg(feature = "mutants")]
pub(crate) use switch::lacks;

#[cfg(feature = "mutants")]
mod switch {
    use std::cell::Cell;

    use super::Part;

    // Of the thread: a simulated world has one to itself.
    thread_local! {
        static MISSING: Cell<Option<Part>> = const { Cell::new(None) };
    }

    pub(crate) fn lacks(part: Part) -> bool {
        MISSING.get() == Some(part)
    }

    /// A part is missing on this thread until this is dropped.
    #[derive(Debug)]
    pub struct Taken(());

    impl Taken {
        /// Takes `part` away.
        #[must_use]
        pub fn away(part: Part) -> Self {
            MISSING.set(Some(part));
            Self(())
        }
    }

    impl Drop for Taken {
        fn drop(&mut self) {
            MISSING.set(None);
        }
    }
}
