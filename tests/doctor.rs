//! `imm-operator doctor` as a program, in emulated worlds whose clouds differ from each other. The program uses the
//! real names of the services, through a proxy.

#[cfg(test)]
mod doctor {
    mod access_log;
    mod assumptions;
    mod attribution;
    mod follow;
    mod forms;
    mod forms_ends;
    mod further_endpoints;
    mod limits;
    mod limits_roles;
    mod locks;
    mod own_policies;
    mod pass_role;
    mod probe_ends;
    mod probe_keys;
    mod probe_setup;
    mod probes;
    mod probing;
    mod questions;
    mod regions;
    mod report;
    mod revocation;
    mod setup;
    mod ways;
    mod worlds;
}
