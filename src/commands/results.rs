//! `imm-operator results`: all results of a job in order of index, whether they are in its status or in reports.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::ValueEnum;

use crate::api::ItemResult;
use crate::core::grant::ObjectKey;
use crate::runtime::results;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Flags of `results`.
#[derive(Debug, clap::Args)]
pub struct Results {
    /// Namespace of the job.
    #[arg(long, short, default_value = "default")]
    namespace: String,
    /// Name of the ImageScoreJob.
    job: String,
    /// How to print them.
    #[arg(long, short, value_enum, default_value_t = Output::Csv)]
    output: Output,
}

/// Prints the results. Exit code 1 when the job cannot be read or an index appears twice.
pub async fn run(flags: &Results) -> ExitCode {
    let key = ObjectKey {
        namespace: flags.namespace.clone(),
        name: flags.job.clone(),
    };
    let mut results = match results(&key).await {
        Ok(results) => results,
        Err(error) => {
            eprintln!("imm-operator results: {error}");
            return ExitCode::FAILURE;
        }
    };
    results.sort_by_key(|r| r.index);
    let doubled = results
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.index == b.index));
    let mut out = BufWriter::new(io::stdout().lock());
    // A reader that goes away early (head) is no failure of ours.
    let _ = print(&mut out, flags.output, &results).and_then(|()| out.flush());
    if doubled {
        eprintln!("imm-operator results: an index appears twice; somebody else has written reports");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn print(out: &mut impl Write, output: Output, results: &[ItemResult]) -> io::Result<()> {
    if output == Output::Csv {
        writeln!(out, "index,uri,score,code")?;
    }
    for result in results {
        match output {
            Output::Csv => {
                let text = |value: &Option<String>| value.clone().unwrap_or_default();
                let (score, code) = (text(&result.score), text(&result.code));
                writeln!(out, "{},{},{score},{code}", result.index, quoted(&result.uri))?;
            }
            Output::Jsonl => writeln!(out, "{}", serde_json::to_string(result)?)?,
        }
    }
    Ok(())
}

/// A field of a CSV line: in quotes where a reader could take it for more than one.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_keys_stay_one_field() {
        let result = |index, uri: &str, score: Option<&str>| ItemResult {
            index,
            uri: uri.to_owned(),
            score: score.map(ToOwned::to_owned),
            code: score.is_none().then(|| "InvalidArgument".to_owned()),
        };
        let results = [
            result(0, "oss://pics/a,\"b\".jpg", Some("0.5")),
            result(1, "oss://pics/c", None),
        ];
        let mut out = Vec::new();
        print(&mut out, Output::Csv, &results).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "index,uri,score,code\n0,\"oss://pics/a,\"\"b\"\".jpg\",0.5,\n1,oss://pics/c,,InvalidArgument\n"
        );
    }
}
