//! Metrics of the process under the names that the clients of Prometheus share, so without the prefix of the operator.

use k8s_openapi::jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Start and memory of the process.
pub(super) struct ProcessMetrics {
    registry: Registry,
    start: Gauge,
    resident: Gauge,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let start = Gauge::default();
        registry.register(
            "process_start_time_seconds",
            "Start of the process in seconds since 1970",
            start.clone(),
        );
        let resident = Gauge::default();
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the process in bytes, 0 if it cannot be read",
            resident.clone(),
        );
        Self {
            registry,
            start,
            resident,
        }
    }
}

impl ProcessMetrics {
    /// Sets the start of the process.
    pub(super) fn set_start(&self, time: Timestamp) {
        self.start.set(time.as_second());
    }

    /// Returns the metrics with their current values.
    pub(super) fn current(&self) -> &Registry {
        // The kernel answers from memory: the read does not wait for a disk.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        self.resident.set(resident_bytes(&status).unwrap_or_default());
        &self.registry
    }
}

/// Returns the resident memory in a `status` file of the kernel.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resident_memory_is_a_line_of_the_status() {
        let status = "VmHWM:\t   90000 kB\nVmRSS:\t   81920 kB\nThreads:\t4\n";
        assert_eq!(resident_bytes(status), Some(81920 * 1024));
        assert_eq!(resident_bytes("VmRSS:\tunknown kB\n"), None);
        assert_eq!(resident_bytes(""), None);
    }
}
