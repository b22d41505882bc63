use std::collections::BTreeMap;

use crate::diagnostics::Severity;
use crate::model::ServiceDiscovery;
use crate::source::files::SourceFile;
use crate::source::{LoadOptions, Loaded, load};

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile { name: name.into(), text: text.into(), named: true }
}

fn options(parameters: &[(&str, &str)]) -> LoadOptions {
    let parameters = parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    LoadOptions { parameters, ..LoadOptions::default() }
}

fn codes(loaded: &Loaded) -> Vec<&'static str> {
    loaded.report.sorted().iter().map(|d| d.code).collect()
}

/// The name of a mesh whose name is this YAML expression, in a template with a bit of everything.
fn name(expression: &str, with: &LoadOptions) -> (Option<String>, Vec<&'static str>) {
    let text = format!(
        "Parameters:
  P: {{Type: String, Default: def}}
  Unset: {{Type: String}}
  List: {{Type: CommaDelimitedList, Default: 'a, b'}}
  Stored: {{Type: 'AWS::SSM::Parameter::Value<String>', Default: /path}}
Mappings: {{M: {{top: {{second: mapped}}}}}}
Conditions:
  Yes: !Equals [!Ref P, def]
  No: !Not [!Condition Yes]
  Both: !And [{{Condition: Yes}}, !Or [{{Condition: No}}, !Equals [a, a]]]
  Loop: !Condition Loop
Resources:
  Other: {{Type: 'AWS::AppMesh::Mesh', Properties: {{MeshName: other}}}}
  Nameless: {{Type: 'AWS::AppMesh::Mesh'}}
  Node: {{Type: 'AWS::AppMesh::VirtualNode', Properties: {{MeshName: other, VirtualNodeName: node, Spec: {{}}}}}}
  Service: {{Type: 'AWS::ServiceDiscovery::Service', Properties: {{Name: registered}}}}
  Balancer: {{Type: 'AWS::ElasticLoadBalancingV2::LoadBalancer'}}
  Subject:
    Type: AWS::AppMesh::Mesh
    Properties: {{MeshName: {expression}}}
"
    );
    let loaded = load(&[file("stack.yaml", &text)], with);
    let found = loaded.definitions.meshes.get(2).map(|m| m.meta.name.clone());
    (found, codes(&loaded).into_iter().filter(|c| !["generated-name", "stack-name"].contains(c)).collect())
}

#[test]
fn intrinsic_functions_give_their_values() {
    let none = options(&[]);
    for (expression, wanted) in [
        ("!Ref P", "def"),
        ("{Ref: P}", "def"),
        ("!GetAtt Other.MeshName", "other"),
        ("!GetAtt [Other, MeshName]", "other"),
        ("{'Fn::GetAtt': [Node, VirtualNodeName]}", "node"),
        ("!GetAtt Node.MeshName", "other"),
        ("!GetAtt Nameless.MeshName", "stack-Nameless"),
        ("!GetAtt Service.Name", "registered"),
        ("!Sub 'x-${P}-${Other.MeshName}-${!P}'", "x-def-other-${P}"),
        ("!Sub ['${A}-${P}', {A: !Ref P}]", "def-def"),
        ("{'Fn::Sub': 'y-${P}'}", "y-def"),
        ("!Join ['-', [a, !Ref P]]", "a-def"),
        ("!Join ['-', !Ref List]", "a-b"),
        ("!Select [1, !Split ['.', a.b.c]]", "b"),
        ("!Select ['0', !Ref List]", "a"),
        ("!If [Yes, y, n]", "y"),
        ("!If [No, y, n]", "n"),
        ("!If [Both, y, n]", "y"),
        ("!FindInMap [M, top, second]", "mapped"),
        ("!FindInMap [M, top, gone, {DefaultValue: fallback}]", "fallback"),
        ("!Select [{'Fn::Length': [x]}, [a, b]]", "b"),
        ("!Sub '${AWS::StackName}-${AWS::Partition}'", "stack-aws"),
        ("!Ref AWS::StackName", "stack"),
    ] {
        assert_eq!(name(expression, &none), (Some(wanted.to_owned()), vec![]), "{expression}");
    }
}

#[test]
fn values_from_outside_are_taken() {
    let given = options(&[
        ("P", "mine"),
        ("Unset", "u"),
        ("AWS::StackName", "prod"),
        ("Balancer.DNSName", "lb"),
        ("Stored", "s"),
    ]);
    for (expression, wanted) in [
        ("!Ref P", "mine"),
        ("!Ref Unset", "u"),
        ("!Ref Stored", "s"),
        ("!GetAtt Nameless.MeshName", "prod-Nameless"),
        ("!Sub '${Balancer.DNSName}'", "lb"),
    ] {
        assert_eq!(name(expression, &given).0.as_deref(), Some(wanted), "{expression}");
    }
    let imports = BTreeMap::from([("E".to_owned(), "imported".to_owned())]);
    let with = LoadOptions {
        imports,
        account: Some("123456789012".into()),
        region: Some("eu-west-1".into()),
        ..options(&[])
    };
    assert_eq!(name("!ImportValue E", &with).0.as_deref(), Some("imported"));
    assert_eq!(
        name("!Sub '${AWS::AccountId}-${AWS::Region}'", &with).0.as_deref(),
        Some("123456789012-eu-west-1")
    );
}

#[test]
fn names_given_by_ref_work_with_a_warning() {
    let none = options(&[]);
    for expression in ["!Ref Other", "!Sub '${Other}'", "!GetAtt Other.Arn", "arn:aws:appmesh:r:1:mesh/other"]
    {
        let (found, codes) = name(expression, &none);
        assert_eq!(found.as_deref(), Some("other"), "{expression}");
        assert!(
            codes.contains(&"ref-for-name") || codes.contains(&"arn-for-name"),
            "{expression}: {codes:?}"
        );
    }
}

#[test]
fn dynamic_references_may_be_given() {
    let given = [("resolve:ssm:/a/b:1", "x"), ("resolve:secretsmanager:c", "{{resolve:ssm:b}}")];
    let variables = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let with = LoadOptions { variables, ..options(&[]) };
    let found = name("'a-{{resolve:ssm:/a/b:1}}-{{resolve:secretsmanager:c}}'", &with);
    assert_eq!(found, (Some("a-x-{{resolve:ssm:b}}".into()), vec![]), "what is given is not looked up again");
}

/// Nobody reads them: what is not known of them is no reason to refuse the mesh.
#[test]
fn foreign_tags_may_be_anything() {
    for (key, told) in [("CostCenter", false), ("outrigger:backend-access", true)] {
        let text =
            "Resources: {M: {Type: AWS::AppMesh::Mesh, Properties: {MeshName: m, Tags: [{Key: 'KEY', Value: \
                    '{{resolve:ssm:/cc:1}}'}]}}}"
                .replace("KEY", key);
        let loaded = load(&[file("stack.yaml", &text)], &LoadOptions::default());
        assert_eq!(codes(&loaded).contains(&"unknown-value"), told, "{key}: {text}");
    }
}

#[test]
fn what_the_files_do_not_say_is_a_warning_with_a_remedy() {
    for expression in [
        "!Ref Unset",
        "!Ref Stored",
        "'{{resolve:ssm:/a/b:1}}'",
        "!Sub 'a-{{resolve:ssm:/a/b:1}}'",
        "!Ref Balancer",
        "!GetAtt Balancer.DNSName",
        "!ImportValue gone",
        "!Ref AWS::Region",
        "!Select [0, !Split [',', !Ref Unset]]",
        "!Join ['-', [a, !Ref Unset]]",
        "!FindInMap [M, !Ref Unset, second]",
    ] {
        assert_eq!(name(expression, &options(&[])).1, ["unknown-value"], "{expression}");
    }
    let strict = LoadOptions { missing: Severity::Error, ..options(&[]) };
    let loaded = load(
        &[file(
            "t.yaml",
            "Parameters: {X: {Type: String}}\nResources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshName: !Ref X}}}",
        )],
        &strict,
    );
    let finding = loaded.report.sorted()[0].to_string();
    assert_eq!(
        finding,
        "t.yaml:2:68: error[unknown-value]: parameter X has no value; give --parameter X=VALUE"
    );
}

#[test]
fn misuse_is_an_error_and_nothing_loops() {
    for (expression, code) in [
        ("!Ref Gone", "cfn-unknown-name"),
        ("!GetAtt Gone.Arn", "cfn-unknown-name"),
        ("!GetAtt Other.Name", "cfn-unknown-attribute"),
        ("!GetAtt Other", "cfn-arguments"),
        ("!FindInMap [M, top, gone]", "cfn-mapping"),
        ("!Select [9, [a]]", "cfn-arguments"),
        ("!If [Gone, a, b]", "cfn-unknown-condition"),
        ("!If [Loop, a, b]", "cfn-cycle"),
        ("!GetAtt Subject.MeshName", "cfn-cycle"),
        ("!Nonsense x", "cfn-function"),
        ("!Sub '${List}x'", "cfn-arguments"),
        ("!Join [x]", "cfn-arguments"),
    ] {
        assert!(
            name(expression, &options(&[])).1.contains(&code),
            "{expression}: {:?}",
            name(expression, &options(&[]))
        );
    }
}

#[test]
fn values_that_multiply_are_bounded() {
    let mut text = String::from("Resources:\n");
    for i in 0..40 {
        let part = if i == 0 {
            "'x'".to_owned()
        } else {
            format!("!Sub '${{M{0}.MeshName}}${{M{0}.MeshName}}'", i - 1)
        };
        text.push_str(&format!("  M{i}: {{Type: 'AWS::AppMesh::Mesh', Properties: {{MeshName: {part}}}}}\n"));
    }
    let loaded = load(&[file("t.yaml", &text)], &options(&[]));
    assert!(codes(&loaded).contains(&"cfn-cycle") || codes(&loaded).contains(&"bad-name"));
}

#[test]
fn no_value_leaves_the_property_out_and_conditions_the_resource() {
    let text = "
Conditions: {Off: !Equals [a, b]}
Resources:
  M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshName: m, Spec: {EgressFilter: !If [Off, {Type: ALLOW_ALL}, !Ref 'AWS::NoValue']}}}
  N: {Type: 'AWS::AppMesh::Mesh', Condition: Off, Properties: {MeshName: n}}
";
    let loaded = load(&[file("t.yaml", text)], &options(&[]));
    assert_eq!((codes(&loaded), loaded.definitions.meshes.len()), (vec![], 1));
    assert_eq!(loaded.definitions.meshes[0].spec.egress_filter, None);
}

#[test]
fn exports_of_one_template_are_imports_of_another_in_any_order() {
    let user = "Parameters: {E: {Type: String, Default: dev}}
Resources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshName: {'Fn::ImportValue': !Sub '${E}:Mesh'}}}}";
    let owner = "Parameters: {E: {Type: String, Default: dev}, N: {Type: String, Default: shared}}
Resources: {X: {Type: 'AWS::S3::Bucket'}}
Outputs: {O: {Value: !Ref N, Export: {Name: !Sub '${E}:Mesh'}}}";
    for files in
        [[file("a.yaml", user), file("b.yaml", owner)], [file("a.yaml", owner), file("b.yaml", user)]]
    {
        let loaded = load(&files, &options(&[]));
        assert_eq!((codes(&loaded), loaded.definitions.meshes[0].meta.name.as_str()), (vec![], "shared"));
    }
}

/// Nobody can give an export whose name is not known yet: what its name lacks is asked for first.
#[test]
fn an_export_whose_name_lacks_a_value_asks_for_that_value() {
    let text = "Parameters: {E: {Type: String}}
Resources: {M: {Type: 'AWS::AppMesh::Mesh', Properties: {MeshName: {'Fn::ImportValue': !Sub '${E}:Mesh'}}}}";
    let loaded = load(&[file("a.yaml", text)], &options(&[]));
    let messages: Vec<String> = loaded.report.sorted().iter().map(ToString::to_string).collect();
    assert!(messages.len() == 1 && messages[0].contains("give --parameter E=VALUE"), "{messages:?}");
    let loaded = load(&[file("a.yaml", text)], &options(&[("E", "dev")]));
    let messages: Vec<String> = loaded.report.sorted().iter().map(ToString::to_string).collect();
    assert!(messages.len() == 1 && messages[0].contains("give --import dev:Mesh=VALUE"), "{messages:?}");
}

#[test]
fn json_templates_read_the_same() {
    let text = r#"{"Resources": {"M": {"Type": "AWS::AppMesh::Mesh", "Properties": {"MeshName": {"Fn::Join": ["-", ["a", "b"]]}}},
      "N": {"Type": "AWS::AppMesh::VirtualNode", "Properties": {"MeshName": {"Fn::GetAtt": ["M", "MeshName"]}, "VirtualNodeName": "n",
        "Spec": {"ServiceDiscovery": {"DNS": {"Hostname": "h", "ResponseType": "ENDPOINTS"}}}}}}}"#;
    let loaded = load(&[file("t.json", text)], &options(&[]));
    assert_eq!(codes(&loaded), Vec::<&str>::new());
    let node = &loaded.definitions.virtual_nodes[0];
    assert_eq!(node.meta.mesh.name, "a-b");
    assert!(
        matches!(&node.spec.service_discovery, Some(ServiceDiscovery::Dns { hostname, .. }) if hostname == "h")
    );
}

#[test]
fn resources_of_other_services_cannot_fail_a_load() {
    let text = "Resources: {X: {Type: 'AWS::S3::Bucket', Properties: {Name: !Ref Gone, A: !Nonsense x}},
  Y: {Type: 'AWS::CloudWatch::Alarm', Properties: {AlarmActions: [!Ref Later]}}, Later: {Type: 'AWS::SNS::Topic'}}";
    let loaded = load(&[file("alarms.yaml", text)], &options(&[]));
    assert_eq!(codes(&loaded), Vec::<&str>::new());
}

#[test]
fn parameters_are_checked() {
    let text = "Parameters: {W: {Type: Number, MaxValue: 5}, A: {Type: String, AllowedValues: [x, y]}}\nResources: {X: {Type: 'AWS::SNS::Topic'}}";
    let found = |pairs: &[(&str, &str)]| codes(&load(&[file("t.yaml", text)], &options(pairs)));
    assert_eq!(found(&[("W", "5"), ("A", "x")]), Vec::<&str>::new());
    for pair in [("W", "6"), ("W", "many"), ("A", "z"), ("Unknown", "1")] {
        assert_eq!(found(&[pair]), ["cfn-parameter"], "{pair:?}");
    }
}

#[test]
fn misspelt_types_are_named() {
    let text = "Resources: {X: {Type: 'AWS::AppMesh::VirtualNod'}}";
    let loaded = load(&[file("t.yaml", text)], &options(&[]));
    let found = loaded.report.sorted()[0].to_string();
    assert!(found.contains("did you mean \"AWS::AppMesh::VirtualNode\"?"), "{found}");
}
