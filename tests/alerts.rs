//! Alerts and dashboard use series that the program exports, every alert has an entry in docs/src/operate/alerts.md,
//! and the rules pass the tests of promtool in tests/alerts.

#[cfg(test)]
mod alerts {
    use std::collections::{BTreeMap, BTreeSet};
    use std::process::Command;

    use imm_harness::tools::Tool;
    use imm_operator::api::{GrantReason, JobReason};
    use imm_operator::runtime::metrics::{Metrics, ObjectLabels};
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    mod expressions;
    use expressions::{expressions, read, series, source_alerts, targets, text};

    /// Labels that Prometheus adds to every series of the release.
    const TARGET: [&str; 3] = ["namespace", "job", "pod"];

    /// Returns the labels of every series of the program, by name, right after its start but for one object.
    fn exported() -> BTreeMap<String, BTreeSet<String>> {
        let metrics = Metrics::default();
        metrics.started(Timestamp::UNIX_EPOCH);
        metrics.object_changed(
            None,
            Some(ObjectLabels {
                kind: "ImmBucketGrant",
                state: "Current",
                reason: "Applied",
            }),
        );
        let mut found = BTreeMap::new();
        let text = metrics.render();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let labels = labels.map(|(labels, _)| labels).unwrap_or_default();
            let names = labels.split(',').filter_map(|label| label.split_once('='));
            found
                .entry(name.to_owned())
                .or_insert_with(BTreeSet::new)
                .extend(names.map(|(name, _)| name.to_owned()));
        }
        let families = text
            .lines()
            .filter(|line| line.starts_with("# TYPE immops_"))
            .count();
        let source = read("src/runtime/metrics.rs");
        let table = source.split_once("\nmetrics! {\n").unwrap().1;
        let registered = table.split_once("\n}\n").unwrap().0.lines().count();
        assert_eq!(
            families, registered,
            "a family has no series at the start: {text}"
        );
        // Prometheus itself adds it for each target.
        found.insert("up".to_owned(), BTreeSet::new());
        found
    }

    #[test]
    fn check_10_every_series_and_label_is_exported() {
        let exported = exported();
        let mut used = BTreeSet::new();
        for (place, expression) in expressions() {
            let all = series(&expression);
            assert!(!all.is_empty(), "{place}: {expression}");
            let mut labels = BTreeSet::new();
            for (name, matchers) in &all {
                let known = exported.get(name);
                let known = known.unwrap_or_else(|| panic!("{place}: the program exports no {name}"));
                labels.extend(known.iter().cloned());
                for (label, _) in matchers {
                    let exists = known.contains(label) || TARGET.contains(&label.as_str());
                    assert!(exists, "{place}: {name} has no label {label}");
                }
                used.insert(name.clone());
            }
            for list in expression.split(" by (").skip(1) {
                for label in list.split(')').next().unwrap().split(", ") {
                    let exists = labels.contains(label) || TARGET.contains(&label);
                    assert!(exists, "{place}: no series of {expression} has the label {label}");
                }
            }
        }
        let base = |name: &String| {
            let ends = ["_bucket", "_count", "_sum"];
            ends.iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name)
                .to_owned()
        };
        let all: BTreeSet<String> = exported.keys().map(base).collect();
        let shown: BTreeSet<String> = used.iter().map(base).collect();
        assert_eq!(shown, all, "series that neither an alert nor the dashboard uses");
    }

    #[test]
    fn every_value_of_a_label_can_occur() {
        let page = read("docs/src/operate/monitor.md");
        let (grants, jobs): (BTreeSet<&str>, BTreeSet<&str>) = (
            GrantReason::ALL.iter().map(|reason| reason.as_str()).collect(),
            JobReason::ALL.iter().map(|reason| reason.as_str()).collect(),
        );
        let mut checked = 0;
        for (place, expression) in expressions() {
            for (name, matchers) in series(&expression) {
                let of = |label: &str| matchers.iter().find(|(found, _)| found == label);
                let kind = of("kind").map(|(_, kind)| kind.as_str());
                for (label, values) in &matchers {
                    for value in values.split('|') {
                        let occurs = match (name.as_str(), label.as_str()) {
                            ("immops_objects", "kind") => {
                                ["ImmBucketGrant", "ImageScoreJob"].contains(&value)
                            }
                            ("immops_objects", "state") => {
                                ["Failed", "Stalled", "Reconciling", "Ineffective", "Current"]
                                    .contains(&value)
                            }
                            ("immops_objects", "reason") => match kind {
                                Some("ImmBucketGrant") => grants.contains(value),
                                Some(_) => jobs.contains(value),
                                None => grants.contains(value) || jobs.contains(value),
                            },
                            (_, "outcome") => page
                                .lines()
                                .filter(|line| line.starts_with(&format!("| `{name}`")))
                                .any(|line| line.contains(value)),
                            _ => continue,
                        };
                        assert!(occurs, "{place}: {name} has no {label} {value}");
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 40, "only {checked} values were checked");
    }

    /// Returns the reasons that a matcher of an alert lists.
    fn listed(alert: &str) -> BTreeSet<String> {
        let alerts = source_alerts();
        let alert = alerts.iter().find(|found| found["alert"] == alert).unwrap();
        let matchers = series(&text(alert, "expr")).into_iter().flat_map(|(_, all)| all);
        let reasons = matchers.filter(|(label, _)| label == "reason");
        reasons
            .flat_map(|(_, all)| all.split('|').map(ToOwned::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// The alerts select by state, which the conditions give, and not by reason: a reason that is left out needs no
    /// action, or has an alert of its own.
    #[test]
    fn no_reason_that_needs_action_is_left_out() {
        let meanings = [GrantReason::MEANINGS, JobReason::MEANINGS].concat();
        let mut covered = listed("ImmJobBudgetUsedUp");
        covered.extend(listed("ImmJobWaitsForGrant"));
        covered.insert("Cancelled".to_owned());
        assert!(listed("ImmObjectStalled").is_empty());
        for alert in ["ImmObjectRetrying", "ImmJobFailed"] {
            let left_out = listed(alert);
            assert!(!left_out.is_empty(), "{alert}");
            for (reason, meaning) in meanings.iter().filter(|(reason, _)| left_out.contains(*reason)) {
                assert!(
                    covered.contains(*reason) || meaning.contains("No action needed"),
                    "{alert} leaves out {reason}, which needs action and raises no alert"
                );
            }
        }
    }

    #[test]
    fn every_alert_has_an_entry_and_a_row() {
        let page = read("docs/src/operate/alerts.md");
        let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let alerts = source_alerts();
        let names: Vec<String> = alerts.iter().map(|alert| text(alert, "alert")).collect();
        assert_eq!(headings, names);
        let titles: BTreeSet<String> = targets().iter().map(|(panel, _)| text(panel, "title")).collect();
        for alert in &alerts {
            let name = text(alert, "alert");
            let waits = match alert["for"].as_str() {
                None => "at once".to_owned(),
                Some(time) => time.replace('m', " min").replace('h', " h"),
            };
            let row = format!("| `{name}` | {} | {waits} |", text(&alert["labels"], "severity"));
            let (_, panel) = page
                .split_once(&row)
                .unwrap_or_else(|| panic!("docs/src/operate/alerts.md has no row {row}"));
            for title in panel.lines().next().unwrap().split('*').skip(1).step_by(2) {
                assert!(
                    titles.contains(title),
                    "{name}: the dashboard has no panel {title}"
                );
            }
            assert!(
                panel.starts_with(" *"),
                "{name}: name the panel that shows what the alert is about"
            );
            let runbook = format!("$(runbooks)#{}", name.to_lowercase());
            assert_eq!(text(&alert["annotations"], "runbook_url"), runbook);
            for member in ["summary", "description"] {
                assert!(text(&alert["annotations"], member).len() > 20, "{name}: {member}");
            }
        }
    }

    /// A panel that shows one value says what is true at the end of the time range: a range query would show the last
    /// value before the operator died.
    #[test]
    fn a_panel_with_one_value_asks_for_the_value_now() {
        let mut checked = 0;
        for (panel, target) in targets() {
            let one_value = ["stat", "table"].contains(&panel["type"].as_str().unwrap());
            assert_eq!(target["instant"] == true, one_value, "{panel}");
            assert_eq!(target["range"] == false, one_value, "{panel}");
            checked += usize::from(one_value);
        }
        assert!(checked > 8, "only {checked} queries");
    }

    /// Grafana assumes a scrape every 15 s unless the data source or the query says otherwise, and `$__rate_interval` is four
    /// times that. The chart accepts up to two minutes, and a rate needs two samples.
    #[test]
    fn the_range_of_each_rate_has_two_samples_of_the_longest_scrape_interval() {
        let mut checked = 0;
        for (panel, target) in targets() {
            if text(&target, "expr").contains("$__rate_interval") {
                assert_eq!(target["interval"], "1m", "{panel}");
                checked += 1;
            }
        }
        assert!(checked > 8, "only {checked} rates");
    }

    /// What happens before the first scrape of a process raises an alert, so it is also visible.
    #[test]
    fn the_panel_of_unusual_events_has_the_expressions_of_its_alerts() {
        let flat = |text: String| text.split_whitespace().collect::<String>();
        let shown: Vec<String> = targets()
            .iter()
            .filter(|(panel, _)| panel["title"] == "Unusual events in an hour")
            .map(|(_, target)| flat(text(target, "expr")))
            .collect();
        for name in ["ImmOperatorPanics", "ImmDriftDetected", "ImmPolicyNotBackedUp"] {
            let alerts = source_alerts();
            let alert = alerts.iter().find(|alert| alert["alert"] == name).unwrap();
            let selector = r#"namespace="$namespace", job="$job""#;
            let expression = flat(text(alert, "expr").replace("$(selector)", selector));
            assert!(
                shown.iter().any(|shown| shown.starts_with(&expression)),
                "{name}: {shown:?}"
            );
        }
    }

    /// Returns the queries of the dashboard as recording rules, such as `grants_applied:A`.
    fn panels() -> Value {
        let rules = targets().into_iter().map(|(panel, target)| {
            let title = text(&panel, "title").to_lowercase();
            let name = title.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
            let expression = text(&target, "expr")
                .replace("$namespace", "imm-system")
                .replace("$job", "release")
                .replace("$__rate_interval", "4m")
                .replace("$__range", "1h");
            json!({"record": format!("{name}:{}", text(&target, "refId")), "expr": expression})
        });
        json!({"name": "dashboard", "rules": rules.collect::<Vec<_>>()})
    }

    /// Returns the output of a command that must succeed.
    fn run(command: &mut Command) -> String {
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{command:?}: {text}");
        text
    }

    #[test]
    fn check_10_the_rules_pass_the_tests_of_promtool() {
        let folder = tempfile::tempdir().unwrap();
        let rendered = run(Command::new(Tool::Helm4.path().unwrap())
            .args(["template", "release", "--namespace", "imm-system"])
            .args([
                "--set",
                "metrics.rules.enabled=true,metrics.rules.renderMode=always,metrics.rules.maxBillableRequestsPerHour=1000",
            ])
            .args(["--show-only", "templates/monitoring/prometheusrule.yaml"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/charts/imm-operator")));
        let mut rendered: Value = serde_saphyr::from_str(&rendered).unwrap();
        rendered["spec"]["groups"].as_array_mut().unwrap().push(panels());
        std::fs::write(folder.path().join("rules.json"), rendered["spec"].to_string()).unwrap();
        let promtool = Tool::Promtool.path().unwrap();
        run(Command::new(&promtool)
            .args(["check", "rules", "rules.json"])
            .current_dir(folder.path()));
        let mut tested = String::new();
        let mut files = 0;
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            let name = path.file_name().unwrap().to_owned();
            tested += &std::fs::read_to_string(&path).unwrap();
            std::fs::copy(&path, folder.path().join(&name)).unwrap();
            run(Command::new(&promtool)
                .args(["test", "rules"])
                .arg(name)
                .current_dir(folder.path()));
            files += 1;
        }
        assert!(files >= 4, "only {files} files with tests");
        for alert in source_alerts() {
            let firing = format!("alertname=\"{}\"", text(&alert, "alert"));
            assert!(tested.contains(&firing), "no test lets {firing} fire");
        }
    }
}
