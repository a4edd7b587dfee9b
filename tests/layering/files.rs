//! Circles of files, types that are defined or extended in several files, and the depth of folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{first_word, root, rust_files, without_comments};

/// A source file: its module, its production code, and what it re-exports.
struct Source {
    place: String,
    module: Vec<String>,
    code: String,
    faces: BTreeMap<String, Vec<String>>,
}

fn sources() -> Vec<Source> {
    let folder = root().join("src");
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    let read = |file: PathBuf| {
        let place = file.strip_prefix(&folder).unwrap().display().to_string();
        (place, std::fs::read_to_string(&file).unwrap())
    };
    sources_of(files.into_iter().map(read))
}

/// Returns the sources of files, each with its path below `src` and its text.
fn sources_of(files: impl Iterator<Item = (String, String)>) -> Vec<Source> {
    let source = |(place, text): (String, String)| {
        let name = place.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = match name {
            "lib" => Vec::new(),
            name => name.split('/').map(str::to_owned).collect(),
        };
        // What follows the first test module is its content: tests stand at the end of a file.
        let code = without_comments(&text)
            .replace("#[cfg(test)]\nmod tests;", "")
            .split("#[cfg(test)]\nmod ")
            .next()
            .unwrap_or_default()
            .to_owned();
        Source {
            place,
            module,
            code,
            faces: BTreeMap::new(),
        }
    };
    let mut sources: Vec<Source> = files
        .map(source)
        .filter(|s| s.place != "main.rs" && !s.place.ends_with("/tests.rs"))
        .collect();
    for source in &mut sources {
        for (public, path) in uses(source) {
            if let (true, Some(name)) = (public, path.last()) {
                source.faces.insert(name.clone(), path.clone());
            }
        }
    }
    sources
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(&rest[..length]);
        }
        rest = &rest[length..];
    }
    tokens
}

/// Returns the paths of a `use` tree, without names after `as`, and the tokens after it.
fn tree<'a>(tokens: &'a [&'a str], before: &[String]) -> (Vec<Vec<String>>, &'a [&'a str]) {
    match tokens {
        ["{", inner @ ..] => {
            let (mut paths, mut rest) = (Vec::new(), inner);
            while !matches!(rest, ["}", ..] | []) {
                let (found, after) = tree(rest, before);
                paths.extend(found);
                rest = if let [",", after @ ..] = after {
                    after
                } else {
                    after
                };
            }
            (paths, rest.get(1..).unwrap_or_default())
        }
        [token, "::", rest @ ..] => tree(rest, &[before, &[(*token).to_owned()]].concat()),
        ["self", rest @ ..] => (vec![before.to_vec()], rest),
        [token, "as", _, rest @ ..] | [token, rest @ ..] => {
            (vec![[before, &[(*token).to_owned()]].concat()], rest)
        }
        [] => (Vec::new(), tokens),
    }
}

/// Returns a path from the root of the crate; `None` for another crate.
fn absolute(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut start = match first.as_str() {
        "crate" => return Some(rest.to_vec()),
        "self" => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => return None,
    };
    let mut rest = rest;
    while let [up, after @ ..] = rest
        && up == "super"
    {
        start.pop();
        rest = after;
    }
    Some([start.as_slice(), rest].concat())
}

/// Returns what a file imports, and whether it re-exports it.
fn uses(source: &Source) -> Vec<(bool, Vec<String>)> {
    let tokens = tokens(&source.code);
    // A path can also start with a module that the file declares.
    let declared: BTreeSet<&str> = tokens
        .windows(3)
        .filter(|three| three[0] == "mod" && three[2] == ";")
        .map(|three| three[1])
        .collect();
    let absolute = |path: &Vec<String>| match path.first() {
        Some(first) if declared.contains(first.as_str()) => {
            Some([source.module.as_slice(), path.as_slice()].concat())
        }
        _ => absolute(&source.module, path),
    };
    let mut found = Vec::new();
    for (index, _) in tokens.iter().enumerate().filter(|(_, token)| **token == "use") {
        let public = index > 0 && ["pub", ")"].contains(&tokens[index - 1]);
        let (paths, _) = tree(&tokens[index + 1..], &[]);
        let paths = paths.iter().filter_map(absolute);
        found.extend(paths.map(|path| (public, path)));
    }
    found
}

/// Returns the file that defines what a path names, also behind re-exports.
fn definition(sources: &[Source], path: &[String]) -> Option<usize> {
    let module = |path: &[String]| sources.iter().position(|s| s.module == path);
    let length = (0..=path.len()).rev().find(|n| module(&path[..*n]).is_some())?;
    let index = module(&path[..length])?;
    match path.get(length).and_then(|name| sources[index].faces.get(name)) {
        Some(face) => definition(sources, &[face, &path[length + 1..]].concat()),
        None => Some(index),
    }
}

/// Returns the files that the production code of a file uses.
fn used_files(sources: &[Source], source: &Source) -> BTreeSet<usize> {
    let is_module = |path: &Vec<String>| sources.iter().any(|s| s.module == *path);
    let mut modules = BTreeMap::new();
    let mut paths = Vec::new();
    for (public, path) in uses(source) {
        match path.last() {
            // A module counts when one of its names is used.
            Some(name) if is_module(&path) => {
                modules.insert(name.clone(), path.clone());
            }
            _ if public => {}
            _ => paths.push(path),
        }
    }
    for child in sources {
        if let Some((name, parent)) = child.module.split_last()
            && parent == source.module
        {
            modules.insert(name.clone(), child.module.clone());
        }
    }
    let tokens = tokens(&source.code);
    // A path continues after `::`, and `pub(in …)` uses nothing.
    let starts = |index: usize| {
        let before = &tokens[index.saturating_sub(2)..index];
        before.last() != Some(&"::") && before != ["(", "in"]
    };
    let mut skip = false;
    for index in 0..tokens.len() {
        skip = tokens[index] == "use" || skip && tokens[index] != ";";
        if skip || !starts(index) || tokens.get(index + 1) != Some(&"::") {
            continue;
        }
        let (found, _) = tree(&tokens[index..], &[]);
        for path in found {
            match modules.get(&path[0]) {
                Some(module) => paths.push([module, &path[1..]].concat()),
                None => paths.extend(absolute(&source.module, &path)),
            }
        }
    }
    let files = paths.iter().filter_map(|path| definition(sources, path));
    files
        .filter(|index| sources[*index].place != source.place)
        .collect()
}

/// Returns the files that each file uses.
fn all_used(sources: &[Source]) -> Vec<BTreeSet<usize>> {
    sources.iter().map(|source| used_files(sources, source)).collect()
}

/// Returns the circles of files: for each, its files with those of them that they use.
fn circles(sources: &[Source], used: &[BTreeSet<usize>]) -> Vec<Vec<String>> {
    let reach: Vec<BTreeSet<usize>> = used
        .iter()
        .map(|first| {
            let (mut reached, mut open) = (first.clone(), first.clone());
            while let Some(next) = open.pop_first() {
                open.extend(used[next].difference(&reached));
                reached.extend(&used[next]);
            }
            reached
        })
        .collect();
    let mut circles = BTreeMap::<Vec<usize>, Vec<String>>::new();
    for (index, source) in sources.iter().enumerate().filter(|(i, _)| reach[*i].contains(i)) {
        let circle: Vec<usize> = reach[index]
            .iter()
            .copied()
            .filter(|i| reach[*i].contains(&index))
            .collect();
        let ties = used[index]
            .iter()
            .filter(|i| circle.contains(i))
            .map(|i| sources[*i].place.as_str());
        let line = format!("{} -> {}", source.place, ties.collect::<Vec<_>>().join(", "));
        circles.entry(circle).or_default().push(line);
    }
    circles.into_values().collect()
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let sources = sources();
    let used = all_used(&sources);
    assert!(used.iter().map(BTreeSet::len).sum::<usize>() > 500);
    let circles = circles(&sources, &used);
    assert!(circles.is_empty(), "files in circles: {circles:#?}");
}

#[test]
fn a_circle_that_goes_through_a_re_export_is_seen() {
    for export in [
        "pub use left::Left;",
        "pub use self::left::{Left};",
        "pub use super::a::left::Left;",
    ] {
        let parent = format!("mod left;\nmod right;\n{export}\n");
        let files = [
            ("a/mod.rs", parent.as_str()),
            ("a/left.rs", "use super::right::Right;\n"),
            ("a/right.rs", "use super::Left;\n"),
        ];
        let sources = sources_of(
            files
                .map(|(place, text)| (place.to_owned(), text.to_owned()))
                .into_iter(),
        );
        let found = circles(&sources, &all_used(&sources));
        assert_eq!(
            found,
            [["a/left.rs -> a/right.rs", "a/right.rs -> a/left.rs"]],
            "{export}"
        );
    }
}

#[test]
fn a_type_is_defined_once_and_its_methods_stand_in_one_file() {
    let (mut methods, mut types) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::new());
    for source in sources() {
        for line in source.code.lines() {
            let tokens = tokens(line);
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.strip_prefix("pub(super) ").unwrap_or(line);
            if let Some((kind, name)) = line.split_once(' ')
                && ["struct", "enum", "trait", "type"].contains(&kind)
            {
                let name = first_word(name);
                let places = types.entry(name).or_insert_with(Vec::new);
                places.push(source.place.clone());
            }
            if tokens.first() == Some(&"impl") && !tokens.contains(&"for") {
                let name = line
                    .split_once(if tokens[1] == "<" { "> " } else { " " })
                    .unwrap()
                    .1;
                methods
                    .entry(first_word(name))
                    .or_default()
                    .insert(source.place.clone());
            }
        }
    }
    assert!(
        types.len() > 300 && methods.len() > 100,
        "{} {}",
        types.len(),
        methods.len()
    );
    types.retain(|_, places| places.len() > 1);
    assert!(types.is_empty(), "types with the same name: {types:#?}");
    methods.retain(|_, places| places.len() > 1);
    assert!(
        methods.is_empty(),
        "types with methods in several files: {methods:#?}"
    );
}

#[test]
fn folders_have_at_most_three_levels() {
    let deep: Vec<String> = sources()
        .into_iter()
        .map(|s| s.place)
        .filter(|place| place.matches('/').count() > 3)
        .collect();
    assert!(deep.is_empty(), "more than three folders: {deep:#?}");
}
