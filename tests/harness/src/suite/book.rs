//! The stages `book` and `browser`: the book is built, its links lead somewhere, and a browser shows it and finds a
//! word in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use tokio::process::Command;

use super::site::Site;
use super::stage::Stage;
use crate::cargo_program::MDBOOK;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::tools::can_start;

/// The folder of the built book.
const BOOK: &str = "target/book";
/// The word to search for: a reason, with a section of its own.
const SEARCHED: &str = "PermissionDenied";
/// The book has more pages than this.
const PAGES: usize = 50;

/// Builds the book, and follows every link from one of its pages to another.
pub(super) async fn book(stage: &mut Stage<'_>) -> Result<()> {
    let mdbook = stage.installed(MDBOOK).await?;
    let script = "\"$0\" build \"$1\" --dest-dir \"$2\" 2>&1";
    let folder = stage.root().join(BOOK);
    let places = [mdbook, stage.root().join("docs"), folder.clone()].map(|path| path.display().to_string());
    let arguments = [&["-c", script][..], &places.each_ref().map(String::as_str)].concat();
    let printed = clients::run(Command::new("bash"), "bash", &arguments, None).await?;
    let complaints: Vec<&str> = printed
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    stage.check("mdBook has no complaint", empty(&complaints));

    let mut pages = Vec::new();
    find_pages(&folder, &mut pages)?;
    let enough = if pages.len() < PAGES {
        Err(format!("only {}", pages.len()))
    } else {
        Ok(())
    };
    stage.check("the book has all pages", enough);
    let mut broken = Vec::new();
    for page in &pages {
        let text = read(page)?;
        let targets = attributes(&text, " href=").chain(attributes(&text, " src="));
        for target in targets.filter(|target| is_own(target)) {
            if !leads_somewhere(page, target) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    stage.check("every link within the book leads somewhere", empty(&broken));
    Ok(())
}

/// Opens the built book in a browser, with the colours of day and night, and searches for a word.
pub(super) async fn browser(stage: &mut Stage<'_>) -> Result<()> {
    let folder = stage.root().join(BOOK);
    if !folder.join("index.html").is_file() {
        let text = format!("{BOOK}/index.html is missing: run the stage `book` first");
        return Err(HarnessError::Surprise(text));
    }
    let browsers = ["chromium", "chromium-browser", "google-chrome"];
    let browser = browsers.into_iter().find(|name| can_start(name));
    let browser = browser.ok_or_else(|| {
        let text = "this stage needs a browser: install the Debian package chromium and run the stage again";
        HarnessError::Surprise(text.to_owned())
    })?;
    let site = Site::start(&folder).await?;
    // The numbers are those of the setting preferredColorScheme.
    for (colours, number, theme) in [("light", 1, "light"), ("dark", 0, "navy")] {
        let profile = tempfile::tempdir().map_err(HarnessError::io("creating a folder for the browser"))?;
        let picture = stage.root().join(format!("target/book-{colours}.png"));
        let errors = profile.path().join("errors");
        let mut command = Command::new("bash");
        command.kill_on_drop(true);
        let script = "\"$0\" \"$@\" 2> \"$ERRORS\"";
        command
            .env("ERRORS", &errors)
            .args(["-c", script, browser])
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--enable-logging=stderr",
                "--window-size=1280,1600",
                "--virtual-time-budget=20000",
                "--dump-dom",
            ]);
        let arguments = [
            format!("--blink-settings=preferredColorScheme={number}"),
            format!("--user-data-dir={}", profile.path().join("profile").display()),
            format!("--screenshot={}", picture.display()),
            format!("{}/index.html?search={SEARCHED}", site.address()),
        ];
        let shown = clients::run(command, browser, &arguments, None).await?;
        let said = read(&errors)?;
        let console: Vec<&str> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
        stage.check(&format!("{colours}: the console has no message"), empty(&console));
        stage.check(
            &format!("{colours}: the search finds {SEARCHED}"),
            holds(
                shown.contains(&format!(" search results for '{SEARCHED}':")),
                "no result in the page",
            ),
        );
        let html = shown
            .lines()
            .find(|line| line.contains("<html"))
            .unwrap_or_default();
        stage.check(
            &format!("{colours}: the theme is {theme}"),
            holds(html.contains(&format!(" {theme}\"")), html),
        );
        println!("a picture of the page: {}", picture.display());
    }
    let missing = site.missing();
    stage.check("every request is answered", empty(&missing));
    Ok(())
}

fn holds(right: bool, observed: &str) -> std::result::Result<(), String> {
    if right { Ok(()) } else { Err(observed.to_owned()) }
}

/// Fails with the entries of a list.
fn empty<T: AsRef<str>>(found: &[T]) -> std::result::Result<(), String> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    holds(found.is_empty(), &found.join("\n"))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(HarnessError::io(format!("reading {}", path.display())))
}

/// Finds the pages below a folder, without those that mdBook adds: their links start at the root of the site.
fn find_pages(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let doing = || HarnessError::io(format!("listing {}", folder.display()));
    for entry in fs::read_dir(folder).map_err(doing())? {
        let path = entry.map_err(doing())?.path();
        let added = ["404.html", "print.html", "toc.html"];
        if path.is_dir() {
            find_pages(&path, found)?;
        } else if path.extension().is_some_and(|kind| kind == "html")
            && !added.iter().any(|name| path.ends_with(name))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns the values of an attribute in a page.
fn attributes<'a>(text: &'a str, name: &'static str) -> impl Iterator<Item = &'a str> {
    let values = text.split(name).skip(1);
    values.filter_map(|rest| rest.strip_prefix('"')?.split('"').next())
}

/// Returns whether a link leads to a file of the book.
fn is_own(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("data:") && !target.starts_with("mailto:")
}

/// Returns whether the file of a link exists, and in it the heading.
fn leads_somewhere(page: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let mut path = page.parent().unwrap_or(page).to_path_buf();
    for part in Path::new(file).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    if file.is_empty() {
        page.clone_into(&mut path);
    }
    if heading.is_empty() {
        return path.exists();
    }
    read(&path).is_ok_and(|text| {
        let ids: BTreeSet<&str> = attributes(&text, " id=").collect();
        ids.contains(heading)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_without_a_target_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("a/b.html");
        fs::create_dir(folder.path().join("a")).unwrap();
        let text =
            "<h1 id=\"one\"> <a href=\"../c.html#two\"> <a class=\"x\" href=\"#one\"> <img src=\"d.png\">";
        fs::write(&page, text).unwrap();
        fs::write(folder.path().join("c.html"), "<h2 id=\"two\">").unwrap();
        let links: Vec<&str> = attributes(text, " href=")
            .chain(attributes(text, " src="))
            .collect();
        assert_eq!(links, ["../c.html#two", "#one", "d.png"]);
        let right: Vec<bool> = links.iter().map(|link| leads_somewhere(&page, link)).collect();
        assert_eq!(right, [true, true, false]);
        assert!(!leads_somewhere(&page, "../c.html#three") && !leads_somewhere(&page, "#two"));
        assert!(is_own("c.html") && !is_own("https://example.com/"));
        let mut pages = Vec::new();
        find_pages(folder.path(), &mut pages).unwrap();
        assert_eq!(pages.len(), 2);
    }
}
