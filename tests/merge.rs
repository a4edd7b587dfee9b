//! The pure merge: tables of (policy read, grants) → plan, and properties over arbitrary documents.

#[cfg(test)]
mod merge {
    mod build;
    mod crowd;
    mod properties;
    mod table;
}
