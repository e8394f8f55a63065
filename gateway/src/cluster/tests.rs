use std::collections::HashMap;

use super::*;

fn cluster(weights: &[u32]) -> Cluster {
    let members = weights.iter().enumerate().map(|(at, weight)| {
        let address = format!("192.0.2.{at}:80");
        (
            Endpoint::start(&address, PeerSettings::for_tests(), None, None),
            *weight,
        )
    });
    Cluster::new("c".into(), members.collect(), 1, true)
}

fn picks(cluster: &Cluster, count: usize) -> HashMap<String, usize> {
    let mut picked = HashMap::new();
    for _ in 0..count {
        let address = cluster
            .pick(&[])
            .map_or("none".into(), |one| one.address.clone());
        *picked.entry(address).or_insert(0) += 1;
    }
    picked
}

#[test]
fn requests_follow_weight_and_health() {
    let cluster = cluster(&[3, 1, 0]);
    let picked = picks(&cluster, 40);
    assert_eq!(picked["192.0.2.0:80"], 30);
    assert_eq!(picked["192.0.2.1:80"], 10);
    assert_eq!(picked.len(), 2, "weight 0 drains");

    cluster.members[0].0.judge(false);
    assert_eq!(picks(&cluster, 10)["192.0.2.1:80"], 10);
    cluster.members[1].0.judge(false);
    assert_eq!(picks(&cluster, 10)["none"], 10);
    cluster.members[0].0.judge(true);
    assert_eq!(picks(&cluster, 10)["192.0.2.0:80"], 10);
}

#[test]
fn an_endpoint_that_was_tried_is_passed_over() {
    let cluster = cluster(&[1, 1]);
    let first = cluster.pick(&[]).unwrap().clone();
    for _ in 0..4 {
        let second = cluster.pick(std::slice::from_ref(&first)).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
    }
    let both: Vec<_> = cluster.members.iter().map(|(one, _)| one.clone()).collect();
    assert!(cluster.pick(&both).is_none());
}
