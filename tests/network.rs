//! The endpoints that the program uses, by its flags and environment.

#[cfg(test)]
mod network {
    mod endpoints;
}
