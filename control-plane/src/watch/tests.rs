use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// Long enough for a loaded machine; nothing waits for all of it when it works.
const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing must happen.
const SILENCE: Duration = Duration::from_millis(400);

/// Relies on events alone.
fn eager() -> Pace {
    Pace { quiet: Duration::from_millis(20), poll: Duration::from_secs(3600), ..Pace::default() }
}

async fn watch(path: &Path) -> Watcher {
    let watcher = Watcher::new(vec![path.to_owned()], eager()).await;
    assert!(watcher.notify.is_some());
    watcher
}

async fn expect_change(watcher: &mut Watcher, what: &str) {
    let changed = tokio::time::timeout(LIMIT, watcher.changed()).await;
    assert!(changed.is_ok(), "{what} was not seen");
}

async fn expect_silence(watcher: &mut Watcher, what: &str) {
    let changed = tokio::time::timeout(SILENCE, watcher.changed()).await;
    assert!(changed.is_err(), "{what} counted as a change");
}

#[tokio::test]
async fn edits_renames_and_removals_of_a_file_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    fs::write(&file, "1").unwrap();
    let mut watcher = watch(&file).await;
    expect_silence(&mut watcher, "nothing").await;
    fs::write(&file, "22").unwrap();
    expect_change(&mut watcher, "an edit in place").await;
    fs::write(directory.path().join("tmp"), "333").unwrap();
    fs::rename(directory.path().join("tmp"), &file).unwrap();
    expect_change(&mut watcher, "an atomic rename").await;
    fs::remove_file(&file).unwrap();
    expect_change(&mut watcher, "a removal").await;
    fs::write(&file, "1").unwrap();
    expect_change(&mut watcher, "a return").await;
}

#[tokio::test]
async fn reading_and_strangers_are_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mesh.yaml");
    fs::write(&file, "1").unwrap();
    let mut watcher = watch(&file).await;
    fs::read(&file).unwrap();
    fs::write(directory.path().join("other.txt"), "x").unwrap();
    expect_silence(&mut watcher, "reading, or another file").await;

    let mut watcher = watch(directory.path()).await;
    fs::create_dir(directory.path().join(".git")).unwrap();
    fs::write(directory.path().join(".git/index"), "x").unwrap();
    fs::write(directory.path().join(".mesh.yaml.swp"), "x").unwrap();
    expect_silence(&mut watcher, "a hidden file").await;
}

#[tokio::test]
async fn directories_are_followed_as_they_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("definitions");
    fs::create_dir(&root).unwrap();
    let mut watcher = watch(&root).await;
    fs::create_dir(root.join("team")).unwrap();
    fs::write(root.join("team/a.yaml"), "1").unwrap();
    expect_change(&mut watcher, "a new directory").await;
    fs::write(root.join("team/b.yaml"), "1").unwrap();
    expect_change(&mut watcher, "a file in it").await;

    // As a checkout of another revision may do.
    let new = directory.path().join("new");
    fs::create_dir(&new).unwrap();
    fs::write(new.join("c.yaml"), "1").unwrap();
    fs::rename(&root, directory.path().join("old")).unwrap();
    fs::rename(&new, &root).unwrap();
    expect_change(&mut watcher, "the directory itself replaced").await;
    fs::write(root.join("c.yaml"), "22").unwrap();
    expect_change(&mut watcher, "an edit in the new directory").await;
}

/// A mounted ConfigMap: files are links into `..data`, itself a link that is swapped.
#[tokio::test]
async fn the_swap_of_a_config_map_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path();
    let publish = |revision: &str, content: &str| {
        fs::create_dir(mount.join(revision)).unwrap();
        fs::write(mount.join(revision).join("mesh.yaml"), content).unwrap();
        symlink(revision, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    };
    publish("..1", "a");
    symlink("..data/mesh.yaml", mount.join("mesh.yaml")).unwrap();
    let (mut file, mut whole) = (watch(&mount.join("mesh.yaml")).await, watch(mount).await);
    for (revision, old) in [("..2", "..1"), ("..3", "..2")] {
        publish(revision, "b");
        fs::remove_dir_all(mount.join(old)).unwrap();
        expect_change(&mut file, "the swap, watching the file").await;
        expect_change(&mut whole, "the swap, watching the directory").await;
    }
}

#[tokio::test]
async fn the_target_of_a_link_is_watched() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(there.path().join("mesh.yaml"), "1").unwrap();
    symlink(there.path().join("mesh.yaml"), here.path().join("mesh.yaml")).unwrap();
    let mut watcher = watch(&here.path().join("mesh.yaml")).await;
    fs::write(there.path().join("mesh.yaml"), "22").unwrap();
    expect_change(&mut watcher, "an edit behind a link").await;
}

#[tokio::test]
async fn circles_of_links_end() {
    let directory = tempfile::tempdir().unwrap();
    symlink(".", directory.path().join("again")).unwrap();
    fs::write(directory.path().join("a.yaml"), "1").unwrap();
    let mut watcher = watch(directory.path()).await;
    fs::write(directory.path().join("a.yaml"), "22").unwrap();
    expect_change(&mut watcher, "an edit").await;
}

#[tokio::test]
async fn a_burst_is_one_change() {
    let directory = tempfile::tempdir().unwrap();
    let pace = Pace { quiet: Duration::from_millis(300), ..eager() };
    let mut watcher = Watcher::new(vec![directory.path().to_owned()], pace).await;
    for i in 0..20 {
        fs::write(directory.path().join(format!("{i}.yaml")), "1").unwrap();
    }
    expect_change(&mut watcher, "a burst").await;
    expect_silence(&mut watcher, "the rest of the burst").await;
}

#[tokio::test]
async fn an_endless_burst_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let pace = Pace { quiet: Duration::from_secs(3600), cap: Duration::from_millis(200), ..eager() };
    let mut watcher = Watcher::new(vec![directory.path().to_owned()], pace).await;
    fs::write(directory.path().join("a.yaml"), "1").unwrap();
    expect_change(&mut watcher, "a change without an end").await;
}

#[tokio::test]
async fn changes_are_found_without_events() {
    let directory = tempfile::tempdir().unwrap();
    let pace = Pace { poll_without_events: Duration::from_millis(20), ..eager() };
    let mut watcher = Watcher::new(vec![directory.path().to_owned()], pace).await;
    watcher.notify = None;
    fs::write(directory.path().join("a.yaml"), "1").unwrap();
    expect_change(&mut watcher, "a change without events").await;
}
