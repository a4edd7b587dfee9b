//! `imm-operator results`: prints the results of a job from its status and its reports: all in order of index, or
//! only the lowest scores.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;

use super::cluster::ClusterArgs;
use super::escape::escaped;
use super::kind::{JOB_KINDS, plain_kind};
use super::output::fail;
use crate::api::ItemResult;
use crate::app::read_results;
use crate::core::job::Score;

/// Examples in the help text.
const EXAMPLES: &str = "Examples:
  # All results of a job, in item order, as CSV
  imm-operator results -n analytics gallery > gallery.csv

  # The ten lowest scores
  imm-operator results -n analytics gallery --lowest 10

  # The images below a score of 0.4
  imm-operator results -n analytics gallery -o jsonl | jq -r 'select(.score and (.score | tonumber) < 0.4) | .uri'

Exit code 0: printed, 1: failed, 64: invalid command line.";

/// Output format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// One JSON object per line.
    Jsonl,
}

/// Flags of `results`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ResultsArgs {
    /// Namespace of the job. Default: the namespace of the context.
    #[arg(long, short)]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the ImageScoreJob: NAME or isj/NAME.
    #[arg(value_parser = parse_job)]
    job: String,
    /// Output format. Use jsonl to process the results with jq or a script: csv shows characters that a terminal
    /// would obey as \uXXXX, which in jsonl means the character itself.
    #[arg(long, short, value_enum, default_value_t = Output::Csv)]
    output: Output,
    /// Print only the N lowest scores, lowest first, without failed items. Default: all results in order of index.
    #[arg(long, alias = "worst", value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    lowest: Option<usize>,
}

/// Prints the results. Returns exit code 1 if the job cannot be read, the output fails or an index appears twice.
pub async fn run(flags: &ResultsArgs) -> ExitCode {
    let cluster = flags.cluster.options();
    let namespace = flags.namespace.as_deref().filter(|n| !n.is_empty());
    let mut kept = Vec::new();
    let read = read_results(&cluster, namespace, &flags.job, |page| {
        kept.extend(page);
        if let Some(most) = flags.lowest {
            keep_lowest(&mut kept, most);
        }
    });
    if let Err(error) = read.await {
        return fail("results", &error, ExitCode::FAILURE);
    }
    if flags.lowest.is_none() {
        kept.sort_by_key(|r| r.index);
    }
    let mut indexes: Vec<i32> = kept.iter().map(|r| r.index).collect();
    indexes.sort_unstable();
    let doubled = indexes.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    let mut out = BufWriter::new(io::stdout().lock());
    match print(&mut out, flags.output, &kept).and_then(|()| out.flush()) {
        // A reader that closes the pipe early, such as head, is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write all results to standard output: {error}");
            return fail("results", &message, ExitCode::FAILURE);
        }
        Ok(()) | Err(_) => {}
    }
    if doubled {
        let message = "an index appears twice: another process wrote reports; create the job again";
        return fail("results", &message, ExitCode::FAILURE);
    }
    ExitCode::SUCCESS
}

/// Parses the name of a job, with or without its kind.
fn parse_job(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        None => Ok(text.to_owned()),
        Some((kind, name)) if JOB_KINDS.contains(&plain_kind(kind).as_str()) => Ok(name.to_owned()),
        Some(_) => Err("a job is written as NAME or isj/NAME".to_owned()),
    }
}

/// Keeps the `most` lowest scores, lowest first. Called after each page, so that memory is limited also for large jobs.
fn keep_lowest(results: &mut Vec<ItemResult>, most: usize) {
    let score = |result: &ItemResult| Some(Score::parse(result.score.as_deref()?)?.millionths());
    results.retain(|result| score(result).is_some());
    results.sort_by_key(|result| (score(result), result.index));
    results.truncate(most);
}

fn print(out: &mut impl Write, output: Output, results: &[ItemResult]) -> io::Result<()> {
    if output == Output::Csv {
        writeln!(out, "index,uri,score,code")?;
    }
    for result in results {
        match output {
            Output::Csv => {
                let text = |value: &Option<String>| csv_field(&escaped(value.as_deref().unwrap_or_default()));
                let (score, code) = (text(&result.score), text(&result.code));
                let uri = csv_field(&escaped(&result.uri));
                writeln!(out, "{},{uri},{score},{code}", result.index)?;
            }
            Output::Jsonl => writeln!(out, "{}", escaped(&serde_json::to_string(result)?))?,
        }
    }
    Ok(())
}

/// Returns a CSV field, quoted if it contains a comma, a quote or a line break.
fn csv_field(text: &str) -> String {
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
            result(2, "oss://pics/\u{202e}gpj.\u{1b}[2J", None),
        ];
        let mut out = Vec::new();
        print(&mut out, Output::Csv, &results).unwrap();
        let text = String::from_utf8(out.clone()).unwrap();
        assert_eq!(
            text,
            "index,uri,score,code\n0,\"oss://pics/a,\"\"b\"\".jpg\",0.5,\n1,oss://pics/c,,InvalidArgument\n\
             2,oss://pics/\\u202egpj.\\u001b[2J,,InvalidArgument\n"
        );
        out.clear();
        print(&mut out, Output::Jsonl, &results[2..]).unwrap();
        let line: ItemResult = serde_json::from_slice(&out).unwrap();
        assert_eq!(line, results[2]);
        assert!(String::from_utf8(out).unwrap().is_ascii());
    }
}
