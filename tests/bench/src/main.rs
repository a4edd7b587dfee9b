//! `imm-bench`: measures the cost and the speed of the operator, in comparison with alternatives and with theoretical
//! limits. `make bench` builds and runs it; docs/src/project/benchmarks.md explains each benchmark. A benchmark that
//! cannot run is an error; a missed goal is only reported.

mod apply;
mod burst;
mod effort;
mod fleet;
mod gallery;
mod kills;
mod memory;
mod missing;
mod pace;
mod peer;
mod race;
mod rest;
mod resync;
mod size;
mod stage;
mod storing;
mod stub;
mod table;
mod turns;
mod usage;

use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use self::table::{Row, render};

/// Any error; it ends the benchmark and is printed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of measuring functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Measures the operator.
#[derive(Parser)]
#[command(name = "imm-bench", version)]
pub struct Arguments {
    /// Benchmarks to run, separated by commas, for example B5,B8; default: all.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The operator's binary; default: the static one in the target folder, as in the image.
    #[arg(long)]
    operator: Option<PathBuf>,
    /// File for the results as JSON; default: bench.json in the target folder.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A Python interpreter with the packages of requirements.txt.
    #[arg(long)]
    python: PathBuf,
    /// Number of measurements of memory and start; the median is reported.
    #[arg(long, default_value_t = 3)]
    repeat: usize,
    /// Numbers of grants for memory and start on a real API server.
    #[arg(long, value_delimiter = ',', default_value = "1,1000,10000")]
    sizes: Vec<usize>,
    /// Number of grants served by an emulated API server; 0 for none.
    #[arg(long, default_value_t = 100_000)]
    large: usize,
    /// Seconds for which an idle operator is observed.
    #[arg(long, default_value_t = 60)]
    quiet_seconds: u64,
}

impl Arguments {
    /// Returns whether a benchmark was requested.
    fn wants(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one.eq_ignore_ascii_case(id))
    }

    /// Returns a binary built beside this one. Fails if it is missing.
    fn beside(name: &str) -> Result<PathBuf> {
        built(std::env::current_exe()?.with_file_name(name))
    }

    /// Returns the operator's binary. Fails if it is missing.
    fn operator(&self) -> Result<PathBuf> {
        match &self.operator {
            Some(path) if path.is_file() => Ok(path.clone()),
            Some(path) => Err(format!("{} is not a file", path.display()).into()),
            None => {
                let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
                built(target_folder()?.join(target).join("release/imm-operator"))
            }
        }
    }
}

fn built(path: PathBuf) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path);
    }
    Err(format!("{} is missing: tests/bench/run.sh builds it", path.display()).into())
}

/// Returns the target folder, two levels above this binary.
fn target_folder() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    Ok(here
        .ancestors()
        .nth(2)
        .ok_or("this binary is not in a target folder")?
        .to_owned())
}

type Benchmark = for<'a> fn(&'a Arguments) -> Pin<Box<dyn Future<Output = Result<Vec<Row>>> + 'a>>;

/// Every benchmark: the ids it measures, and its function. Each file has one.
const BENCHMARKS: [(&[&str], Benchmark); 14] = [
    (&["B1"], |arguments| Box::pin(pace::run(arguments))),
    (&["B2"], |arguments| Box::pin(effort::run(arguments))),
    (&["B3"], |arguments| Box::pin(missing::run(arguments))),
    (&["B4"], |arguments| Box::pin(kills::run(arguments))),
    (&["B5", "B6", "B7"], |arguments| Box::pin(rest::run(arguments))),
    (&["B8"], |arguments| Box::pin(resync::run(arguments))),
    (&["B9"], |arguments| Box::pin(apply::run(arguments))),
    (&["B10"], |arguments| Box::pin(race::run(arguments))),
    (&["B11"], |arguments| Box::pin(burst::run(arguments))),
    (&["B13"], |arguments| Box::pin(storing::run(arguments))),
    (&["B14"], |arguments| {
        Box::pin(std::future::ready(size::run(arguments)))
    }),
    (&["B15"], |arguments| Box::pin(turns::run(arguments))),
    (&["B18"], |arguments| Box::pin(memory::run(arguments))),
    (&["P8"], |arguments| Box::pin(fleet::run(arguments))),
];

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let known = |id: &str| {
        BENCHMARKS
            .iter()
            .any(|(ids, _)| ids.iter().any(|one| one.eq_ignore_ascii_case(id)))
    };
    if let Some(unknown) = arguments.only.iter().find(|id| !known(id)) {
        let all: Vec<&str> = BENCHMARKS
            .iter()
            .flat_map(|(ids, _)| ids.iter().copied())
            .collect();
        eprintln!(
            "there is no benchmark {unknown}; known benchmarks: {}",
            all.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let (mut rows, mut failed) = (Vec::new(), false);
    for (ids, benchmark) in BENCHMARKS {
        if !ids.iter().any(|id| arguments.wants(id)) {
            continue;
        }
        eprintln!("Running {} ...", ids.join(", "));
        match benchmark(&arguments).await {
            Ok(found) => rows.extend(found),
            Err(error) => {
                eprintln!("failed to run {}: {error}", ids.join(", "));
                failed = true;
            }
        }
        // Stored after each benchmark, so that an interruption loses only one.
        if let Err(error) = keep(&arguments, &rows) {
            eprintln!("failed to write the results: {error}");
            failed = true;
        }
    }
    println!("{}", render(&rows));
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn keep(arguments: &Arguments, rows: &[Row]) -> Result<()> {
    let path = if let Some(path) = &arguments.json {
        path.clone()
    } else {
        target_folder()?.join("bench.json")
    };
    let text = serde_json::to_string_pretty(&json!({ "rows": rows }))?;
    std::fs::write(&path, text + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(())
}
