use std::collections::VecDeque;
use std::sync::atomic::AtomicI64;

use fastrand::Rng;

use super::*;

fn is_ready(waiting: &mut Waiting) -> bool {
    waiting.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn connections(limit: u32, per_host: Option<u32>) -> Arc<Connections> {
    Arc::new(Connections::new(Limit::new(limit), per_host))
}

#[test]
fn places_go_to_the_first_in_line() {
    let (all, host) = (connections(1, None), Arc::<HostLive>::default());
    assert!(all.try_acquire(0, &host) && !all.try_acquire(1, &host));
    let [mut one, mut two] = [0, 1].map(|worker| Waiting::enter(&all, worker, &host));
    all.release(0, &host);
    assert!(!all.try_acquire(2, &host), "nobody pushes in");
    assert!(!is_ready(&mut two) && is_ready(&mut one));
    all.release(0, &host);
    assert!(is_ready(&mut two) && !all.has_waiting());
}

#[test]
fn who_gives_up_lets_the_next_one_go() {
    let (all, host) = (connections(1, None), Arc::<HostLive>::default());
    assert!(all.try_acquire(0, &host));
    let [one, two, mut three] = [0, 1, 2].map(|worker| Waiting::enter(&all, worker, &host));
    drop(two);
    all.release(0, &host);
    // It was the first one's turn, but it is not interested any more.
    drop(one);
    assert!(is_ready(&mut three));
    all.release(2, &host);
    assert_eq!((host.cx_active.load(Ordering::Relaxed), all.try_acquire(0, &host)), (0, true));
}

#[test]
fn a_full_host_does_not_hold_up_the_others() {
    let all = connections(10, Some(1));
    let [busy, free] = [0, 1].map(|_| Arc::<HostLive>::default());
    assert!(all.try_acquire(0, &busy) && !all.try_acquire(0, &busy));
    let mut first = Waiting::enter(&all, 0, &busy);
    let mut second = Waiting::enter(&all, 0, &free);
    assert!(!is_ready(&mut first) && is_ready(&mut second));
    all.release(0, &busy);
    assert!(is_ready(&mut first));
}

/// Random connections, waits, cancellations and ends against a plain model: never beyond a limit, nothing lost, turns
/// in order.
#[test]
fn the_books_balance_whatever_happens() {
    for seed in 0..400 {
        let mut rng = Rng::with_seed(seed);
        let (max, per_host) = (rng.u32(1..6), rng.bool().then(|| rng.u32(1..4)));
        let all = connections(max, per_host);
        let hosts: Vec<Arc<HostLive>> = (0..3).map(|_| Arc::default()).collect();
        let (mut open, mut line) = (Vec::<usize>::new(), VecDeque::<(usize, Waiting)>::new());
        for _ in 0..300 {
            let host = rng.usize(0..hosts.len());
            match rng.u32(0..4) {
                0 if all.try_acquire(host, &hosts[host]) => open.push(host),
                0 => line.push_back((host, Waiting::enter(&all, host, &hosts[host]))),
                1 if !open.is_empty() => {
                    let host = open.swap_remove(rng.usize(0..open.len()));
                    all.release(host, &hosts[host]);
                }
                2 if !line.is_empty() => drop(line.remove(rng.usize(0..line.len()))),
                _ => {
                    let mut held_up = false;
                    line.retain_mut(|(host, waiting)| {
                        let ready = is_ready(waiting);
                        assert!(!(ready && held_up && per_host.is_none()), "seed {seed}: out of turn");
                        held_up |= !ready;
                        open.extend(ready.then_some(*host));
                        !ready
                    });
                    assert!(open.len() <= max as usize, "seed {seed}");
                    assert!(
                        line.is_empty() || open.len() == max as usize || per_host.is_some(),
                        "seed {seed}"
                    );
                    for (index, host) in hosts.iter().enumerate() {
                        let count = open.iter().filter(|open| **open == index).count();
                        assert_eq!(host.cx_active.load(Ordering::Relaxed), count as i64, "seed {seed}");
                        assert!(per_host.is_none_or(|per_host| count <= per_host as usize), "seed {seed}");
                    }
                }
            }
        }
        line.clear();
        open.drain(..).for_each(|host| all.release(host, &hosts[host]));
        assert!(hosts.iter().all(|host| host.cx_active.load(Ordering::Relaxed) == 0), "seed {seed}");
        assert!(!all.has_waiting());
        assert_eq!(all.limit.remaining(), u64::from(max), "seed {seed}: every place is back");
    }
}

#[test]
fn threads_never_hold_more_places_than_there_are_and_all_get_one() {
    let (all, host) = (connections(2, None), Arc::<HostLive>::default());
    let held = AtomicI64::new(0);
    let hold = |worker: usize| {
        for round in 0..2_000 {
            if !all.try_acquire(worker, &host) {
                let mut waiting = Waiting::enter(&all, worker, &host);
                if round % 7 == 0 {
                    continue;
                }
                while !is_ready(&mut waiting) {
                    std::thread::yield_now();
                }
            }
            assert!(held.fetch_add(1, Ordering::SeqCst) < 2);
            held.fetch_sub(1, Ordering::SeqCst);
            all.release(worker, &host);
        }
    };
    std::thread::scope(|scope| {
        (0..4).for_each(|worker| {
            drop(scope.spawn({
                let hold = &hold;
                move || hold(worker)
            }))
        })
    });
    assert_eq!((all.limit.remaining(), all.has_waiting()), (2, false));
}
