use super::*;
use std::sync::Arc;

fn levels() -> (LogLevels, Arc<Mutex<Vec<String>>>) {
    let applied = Arc::new(Mutex::new(Vec::new()));
    let seen = applied.clone();
    let apply = Box::new(move |directives: &str| {
        directives.parse::<tracing_subscriber::filter::Targets>().map_err(|error| error.to_string())?;
        seen.lock().unwrap().push(directives.to_owned());
        Ok(())
    });
    (LogLevels::new(Level::Info, apply), applied)
}

#[test]
fn changes_reach_the_subscriber_and_the_list() {
    let (levels, applied) = levels();
    levels.set(&[("http", "debug"), ("pool", "off")]).unwrap();
    assert!(levels.list().contains(&("http", Level::Debug)));
    assert!(levels.list().contains(&("main", Level::Info)));
    let directives = applied.lock().unwrap().pop().unwrap();
    assert!(directives.starts_with("info,"), "{directives}");
    assert!(directives.contains("outrigger_proxy::http=debug") && directives.contains("::pool=off"));
    levels.set_all("warn").unwrap();
    assert!(levels.list().iter().all(|(_, level)| *level == Level::Warning));
}

#[test]
fn unknown_names_change_nothing() {
    let (levels, applied) = levels();
    assert_eq!(levels.set(&[("http", "debug"), ("nope", "info")]), Err(LogLevelError::UnknownLogger));
    assert_eq!(levels.set(&[("http", "loud")]), Err(LogLevelError::UnknownLevel));
    assert_eq!(levels.set_all(""), Err(LogLevelError::UnknownLevel));
    assert!(applied.lock().unwrap().is_empty());
    assert!(levels.list().contains(&("http", Level::Info)));
}
