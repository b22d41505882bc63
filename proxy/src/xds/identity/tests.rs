use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn renewals_come_after_two_thirds_and_spread() {
    let now = SystemTime::UNIX_EPOCH + 1_000_000 * SECOND;
    let at = |random| due(now, now + 900 * SECOND, random).unwrap().duration_since(now).unwrap().as_secs();
    assert_eq!((at(0.0), at(0.5), at(1.0)), (540, 600, 660));
    assert_eq!(due(now, now, 0.5), None);
    assert_eq!(due(now, now - SECOND, 0.5), None);
}

#[test]
fn waits_leave_time_for_more_attempts() {
    assert_eq!(pause(30 * SECOND, Some(8 * SECOND)), 2 * SECOND);
    assert_eq!(pause(SECOND, Some(3600 * SECOND)), SECOND);
    assert_eq!(pause(Duration::ZERO, None), Duration::from_millis(100));
    assert_eq!(pause(60 * SECOND, Some(Duration::ZERO)), NAP);
}

#[test]
fn complaints_say_what_will_happen_and_are_not_repeated() {
    let mut told = Told::default();
    let mut say = |reason: &str, left: u32| told.complaint(reason, Some(left * SECOND));
    let first = say("no connection", 100).unwrap();
    assert!(first.contains("no connection") && first.contains("ends in 100 s"), "{first}");
    assert_eq!(say("no connection", 80), None);
    assert!(say("it does not answer", 79).is_some());
    assert!(say("it does not answer", 39).is_some(), "half of the time is gone");
    assert!(say("it does not answer", 0).unwrap().contains("has expired"));
    assert_eq!(say("it does not answer", 0), None);
    assert!(Told::default().complaint("x", None).unwrap().contains("none yet"));
}
