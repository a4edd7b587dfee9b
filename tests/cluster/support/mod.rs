//! Shared by the tests on a real cluster: a stage with a control plane, the emulator and the operator, started once for
//! each test program; tenants with a namespace and a bucket of their own; and the end of the program, which stops the
//! operator and searches all its output for secrets.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test program uses another part of this"
)]

pub mod commands;
pub mod holds;
pub mod leaks;
pub mod oidc;
pub mod play;
pub mod prometheus;
pub mod seen;
pub mod stage;
pub mod tenant;
pub mod user;

pub use holds::until_held;
pub use play::{Part, play};
pub use seen::{condition, reason};
pub use stage::{ACCOUNT_A, ACCOUNT_B, PATIENCE, REGION, Stage, chart};
pub use tenant::Tenant;

/// Lists tests by module and name; a test that is not listed is dead code, which the lints reject. `together` tests
/// run at the same time. `alone` tests stop the operator or revoke its permissions, so only `apart` tests, which have
/// a cluster of their own, run at the same time.
#[macro_export]
macro_rules! parts {
    (@one apart $module:ident :: $name:ident) => { $crate::parts!(@part Apart, $module, $name) };
    (@one together $module:ident :: $name:ident) => { $crate::parts!(@part Together, $module, $name) };
    (@one alone $module:ident :: $name:ident) => { $crate::parts!(@part Alone, $module, $name) };
    (@part $how:ident, $module:ident, $name:ident) => {
        $crate::support::Part {
            name: concat!(stringify!($module), "::", stringify!($name)),
            isolation: $crate::support::play::Isolation::$how,
            run: |stage| Box::pin($module::$name(stage)),
        }
    };
    ($($how:ident $module:ident :: $name:ident),+ $(,)?) => {
        vec![$($crate::parts!(@one $how $module::$name)),+]
    };
}
