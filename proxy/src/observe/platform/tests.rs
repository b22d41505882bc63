use serde_json::json;
use tokio::net::TcpListener;

use super::*;

const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task/shop/0123456789abcdef";

#[test]
fn names_come_from_both_forms_of_the_document() {
    let ec2 = json!({ "Cluster": "shop", "TaskARN": ARN, "Family": "cart", "Revision": "3",
        "ServiceName": "cart-service", "AvailabilityZone": "eu-west-1a" });
    let container = json!({ "Name": "envoy", "DockerId": "cafe", "LogDriver": "awslogs",
        "ContainerARN": "arn:aws:ecs:eu-west-1:123456789012:container/shop/0123456789abcdef/1",
        "LogOptions": { "awslogs-group": "/ecs/cart", "awslogs-region": "eu-west-1", "awslogs-stream": "a/b/c" } });
    let named = Platform {
        cluster_name: "shop".into(),
        cluster_arn: "arn:aws:ecs:eu-west-1:123456789012:cluster/shop".into(),
        account: "123456789012".into(),
        region: "eu-west-1".into(),
        container_name: "envoy".into(),
        container_id: "cafe".into(),
        container_arn: "arn:aws:ecs:eu-west-1:123456789012:container/shop/0123456789abcdef/1".into(),
        log_group: "/ecs/cart".into(),
        log_group_arn: "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/cart".into(),
        service_name: "cart-service".into(),
        task_family: "cart".into(),
        task_id: "0123456789abcdef".into(),
        task_arn: ARN.into(),
        zone: "eu-west-1a".into(),
        ..Platform::default()
    };
    assert_eq!(ecs::platform(&ec2, &container, &Platform::default()), named);
    let fargate = json!({ "Cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/shop", "TaskARN": ARN,
        "Family": "cart", "Group": "service:cart-service", "AvailabilityZone": "eu-west-1a" });
    assert_eq!(ecs::platform(&fargate, &container, &Platform::default()), named);
    let alone = json!({ "Cluster": "shop", "TaskARN": ARN, "Family": "cart", "Group": "family:cart" });
    let alone =
        ecs::platform(&alone, &Value::Null, &Platform { container_id: "own".into(), ..Platform::default() });
    assert_eq!((&*alone.service_name, &*alone.container_id, &*alone.log_group_arn), ("", "own", ""));
    let nonsense = json!({ "Cluster": "shop", "TaskARN": "arn:aws", "Family": 3 });
    assert_eq!(ecs::platform(&nonsense, &Value::Null, &Platform::default()).cluster_arn, "");
}

#[test]
fn a_container_is_found_in_its_control_groups() {
    let id = "0123456789abcdef".repeat(4);
    let groups =
        format!("12:pids:/ecs/task/{id}\n1:name=systemd:/kubepods/pod1-2/cri-containerd-{id}.scope\n");
    assert_eq!(container_id(&groups), id);
    for none in ["0::/\n", "", "1:cpu:/docker/0123456789abcdef\n"] {
        assert_eq!(container_id(none), "");
    }
}

/// Answers each connection with the next of these texts, asked for with this path; an empty one closes it.
async fn serve(answers: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for (path, answer) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(format!("GET {path} HTTP/1.0\r\n").as_bytes()));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/v4/id")
}

#[tokio::test]
async fn an_endpoint_that_throttles_is_asked_again() {
    const TASK: &str = "/v4/id/task";
    const ANSWERS: &[(&str, &str)] = &[
        (TASK, "HTTP/1.0 429 Too Many Requests\r\n\r\n"),
        (TASK, ""),
        (
            TASK,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Cluster\":\"shop\",\"Family\":\"cart\"}",
        ),
        ("/v4/id", "HTTP/1.0 429 Too Many Requests\r\n\r\n"),
        ("/v4/id", "HTTP/1.1 200 OK\r\n\r\n{\"Name\":\"envoy\"}"),
    ];
    let place = Place::known(Platform { namespace: "kept".into(), ..Platform::default() });
    assert_eq!(place.now().cluster_name, "");
    place.ask(&serve(ANSWERS).await, Duration::from_millis(1)).await;
    assert_eq!((place.now().cluster_name.as_str(), place.now().task_family.as_str()), ("shop", "cart"));
    assert_eq!((place.now().namespace.as_str(), place.now().container_name.as_str()), ("kept", "envoy"));
}
