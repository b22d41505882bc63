use serde_json::json;
use tokio::net::TcpListener;

use super::*;

const ARN: &str = "arn:aws:ecs:eu-west-1:123456789012:task/shop/0123456789abcdef";

#[test]
fn names_come_from_both_forms_of_the_document() {
    let ec2 = json!({ "Cluster": "shop", "TaskARN": ARN, "Family": "cart", "Revision": "3",
        "ServiceName": "cart-service", "AvailabilityZone": "eu-west-1a" });
    let named = Platform {
        cluster_name: "shop".into(),
        service_name: "cart-service".into(),
        task_family: "cart".into(),
        task_id: "0123456789abcdef".into(),
        task_arn: ARN.into(),
        zone: "eu-west-1a".into(),
        ..Platform::default()
    };
    assert_eq!(task_platform(&ec2, &Platform::default()), named);
    let fargate = json!({ "Cluster": "arn:aws:ecs:eu-west-1:123456789012:cluster/shop", "TaskARN": ARN,
        "Family": "cart", "Group": "service:cart-service", "AvailabilityZone": "eu-west-1a" });
    assert_eq!(task_platform(&fargate, &Platform::default()), named);
    let alone = json!({ "Cluster": "shop", "TaskARN": ARN, "Family": "cart", "Group": "family:cart" });
    assert_eq!(task_platform(&alone, &Platform::default()).service_name, "");
}

/// Answers each connection with the next of these texts; an empty one closes it.
async fn serve(answers: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /v4/id/task HTTP/1.0\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("http://{address}/v4/id")
}

#[tokio::test]
async fn an_endpoint_that_throttles_is_asked_again() {
    const ANSWERS: &[&str] = &[
        "HTTP/1.0 429 Too Many Requests\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Cluster\":\"shop\",\"Family\":\"cart\"}",
    ];
    let place = Place::known(Platform { namespace: "kept".into(), ..Platform::default() });
    assert_eq!(place.now().cluster_name, "");
    place.ask(&serve(ANSWERS).await, Duration::from_millis(1)).await;
    assert_eq!((place.now().cluster_name.as_str(), place.now().task_family.as_str()), ("shop", "cart"));
    assert_eq!(place.now().namespace, "kept");
}
