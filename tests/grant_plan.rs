//! The pure merge: tables of (policy read, grants) → plan, and properties over arbitrary documents.

#[cfg(test)]
mod grant_plan {
    mod build;
    mod crowd;
    mod ownership;
    mod preview;
    mod principals;
    mod properties;
    mod table;
}
