//! The resource usage of a process, as reported by the kernel.

use std::time::Duration;

use imm_harness::until;

use crate::Result;

/// Clock ticks per second in `/proc`; Linux fixes the value at 100 for user space.
const TICKS: f64 = 100.0;

/// The resource usage of a process at one time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Resident memory in MB (millions of bytes), and its peak so far.
    pub rss: f64,
    pub peak: f64,
    /// Processor time so far, in seconds.
    pub cpu: f64,
}

/// Reads the usage of a process. Fails if the process does not exist.
pub fn of(process: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{process}/{file}");
        std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    };
    let (status, stat) = (read("status")?, read("stat")?);
    let kilobytes = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number: f64 = number.ok_or_else(|| format!("no {name} in /proc"))?.parse()?;
        Ok(number * 1024.0 / 1e6)
    };
    // The program's name may contain blanks; the fields after its closing bracket do not.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|t| t.parse().ok()).collect();
    Ok(Usage {
        rss: kilobytes("VmRSS:")?,
        peak: kilobytes("VmHWM:")?,
        cpu: ticks.iter().sum::<f64>() / TICKS,
    })
}

/// Waits until a process has used less than 25 ms of processor time in a second, and returns its usage. Fails after 60
/// s.
pub async fn at_rest(process: u32) -> Result<Usage> {
    let quiet = until("a process to become idle", Duration::from_secs(60), || async {
        let before = of(process)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (after, spent) = (of(process)?, of(process)?.cpu - before.cpu);
        if spent < 0.025 {
            Ok(after)
        } else {
            Err(crate::Error::from(format!(
                "used {spent:.2} s of processor time in a second"
            )))
        }
    });
    Ok(quiet.await?)
}
