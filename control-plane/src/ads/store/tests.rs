use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::snapshot::tests::eds_cluster;
use crate::snapshot::{NodeResources, TypeUrl, UnknownNode};

/// Knows every node whose id starts with `n`, and counts how often it is asked.
struct Counting(AtomicUsize);

impl ResourceSource for Counting {
    fn resources(&self, node_id: &str, _: Audience) -> Result<NodeResources, NoResources> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if !node_id.starts_with('n') {
            return Err(UnknownNode::new(node_id, "no", ["n1"]).into());
        }
        let mut resources = NodeResources::default();
        resources.insert("a", &eds_cluster("a", ""));
        if node_id == "nbroken" {
            resources.insert_encoded(TypeUrl::CLUSTER, "b", vec![0xff]);
        }
        Ok(resources)
    }
}

fn store() -> (Store, Arc<Counting>) {
    let source = Arc::new(Counting(AtomicUsize::new(0)));
    (Store::new(Builder::default(), Arc::clone(&source) as Arc<dyn ResourceSource>), source)
}

#[tokio::test]
async fn a_snapshot_is_built_once_per_node_and_generation() {
    let (store, source) = store();
    let mut generations = store.subscribe();
    let first = Arc::clone(&generations.borrow_and_update());
    let all =
        futures_util::future::join_all((0..50).map(|_| store.snapshot(&first, "n1", Audience::Proxy))).await;
    assert!(all.iter().all(|s| Arc::ptr_eq(s.as_ref().unwrap(), all[0].as_ref().unwrap())));
    assert_eq!(source.0.load(Ordering::Relaxed), 1);

    let next = Arc::new(Counting(AtomicUsize::new(0)));
    store.publish(next);
    let second = Arc::clone(&generations.borrow_and_update());
    assert_eq!((first.number(), second.number()), (1, 2));
    let snapshot = store.snapshot(&second, "n1", Audience::Proxy).await.unwrap();
    store.snapshot(&second, "n1", Audience::GrpcClient).await.unwrap();
    let old = all[0].as_ref().unwrap();
    assert!(snapshot.same_content(old));
    let cluster = |s: &NodeSnapshot| Arc::clone(s.get(&TypeUrl::CLUSTER).get("a").unwrap());
    assert!(Arc::ptr_eq(&cluster(&snapshot), &cluster(old)), "equal resources are one allocation");
}

#[tokio::test]
async fn failures_are_told_and_not_kept() {
    let (store, source) = store();
    let generation = Arc::clone(&store.subscribe().borrow());
    for _ in 0..2 {
        let error = store.snapshot(&generation, "stranger", Audience::Proxy).await.unwrap_err();
        assert!(matches!(error, NoSnapshot::NoResources(NoResources::Unknown(_))));
    }
    assert_eq!(source.0.load(Ordering::Relaxed), 2);
    let error = store.snapshot(&generation, "nbroken", Audience::Proxy).await.unwrap_err().to_string();
    assert!(error.contains("nbroken") && error.contains("CDS \"b\""), "{error}");
    assert!(generation.nodes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nodes_that_nobody_uses_do_not_pile_up() {
    let (store, _) = store();
    let generation = Arc::clone(&store.subscribe().borrow());
    let used = store.snapshot(&generation, "n-used", Audience::Proxy).await.unwrap();
    for i in 0..CACHED_NODES + 10 {
        store.snapshot(&generation, &format!("n{i}"), Audience::Proxy).await.unwrap();
    }
    assert!(generation.nodes.lock().unwrap().len() <= CACHED_NODES);
    assert!(Arc::ptr_eq(&used, &store.snapshot(&generation, "n-used", Audience::Proxy).await.unwrap()));
}

/// Nodes whose id starts with `slow` wait for an authority that answers when it is not closed.
struct Gated(Arc<AtomicBool>);

impl ResourceSource for Gated {
    fn resources(&self, _: &str, _: Audience) -> Result<NodeResources, NoResources> {
        let mut resources = NodeResources::default();
        resources.insert("a", &eds_cluster("a", ""));
        Ok(resources)
    }

    fn is_prepared(&self, node_id: &str, _: Audience) -> bool {
        !node_id.starts_with("slow")
    }

    fn prepare(&self, _: &str, _: Audience) -> Result<(), NoResources> {
        while self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_slow_authority_holds_back_nobody_who_does_not_need_it() {
    let closed = Arc::new(AtomicBool::new(true));
    let source = Arc::new(Gated(Arc::clone(&closed))) as Arc<dyn ResourceSource>;
    let store = Arc::new(Store::new(Builder::default(), source));
    let generation = Arc::clone(&store.subscribe().borrow());
    let waiting: Vec<_> = (0..2 * PREPARERS)
        .map(|number| {
            let (store, generation) = (Arc::clone(&store), Arc::clone(&generation));
            tokio::spawn(async move {
                store.snapshot(&generation, &format!("slow{number}"), Audience::Proxy).await.is_ok()
            })
        })
        .collect();
    while store.preparers.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    for number in 0..2 * BUILDERS {
        store.snapshot(&generation, &format!("n{number}"), Audience::Proxy).await.unwrap();
    }
    assert!(waiting.iter().all(|one| !one.is_finished()));
    closed.store(false, Ordering::SeqCst);
    for one in waiting {
        assert!(one.await.unwrap());
    }
}

#[tokio::test]
async fn a_burst_of_updates_is_passed_on_as_its_first_and_its_last() {
    let (updates, updated) = watch::channel(0);
    let passed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&passed);
    let interval = Duration::from_millis(200);
    let task =
        tokio::spawn(throttle(updated, interval, move |n| sink.lock().unwrap().push((n, Instant::now()))));
    updates.send_replace(1);
    while passed.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    for n in 2..=100 {
        updates.send_replace(n);
        tokio::task::yield_now().await;
    }
    drop(updates);
    task.await.unwrap();
    let passed = passed.lock().unwrap();
    assert_eq!(passed.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 100]);
    assert!(passed[1].1 - passed[0].1 >= interval);
}
