//! ECS task definitions as far as a container engine can carry them out.

use std::path::Path;

use serde_json::Value;

use crate::Result;

/// A task definition.
#[derive(Debug, Clone)]
pub struct TaskDefinition(Value);

/// A container of a task definition.
#[derive(Debug, Clone, Copy)]
pub struct ContainerDefinition<'d>(&'d Value);

impl TaskDefinition {
    /// Reads one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(serde_json::from_str(&text)?))
    }

    /// The document.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// Its containers.
    pub fn containers(&self) -> Vec<ContainerDefinition<'_>> {
        self.0["containerDefinitions"].as_array().into_iter().flatten().map(ContainerDefinition).collect()
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Result<ContainerDefinition<'_>> {
        let found = self.containers().into_iter().find(|container| container.name() == name);
        found.ok_or_else(|| format!("no container {name} in {}", self.0["family"]).into())
    }

    /// What `proxyConfiguration` asks of the platform, as variables of the program that sets up the rules.
    pub fn interception(&self) -> Result<Vec<(String, String)>> {
        let properties = self.0["proxyConfiguration"]["properties"].as_array();
        let properties = properties.ok_or("no proxyConfiguration")?;
        properties
            .iter()
            .map(|property| {
                Ok((variable(text(&property["name"]))?.to_owned(), text(&property["value"]).to_owned()))
            })
            .collect()
    }
}

fn variable(property: &str) -> Result<&'static str> {
    Ok(match property {
        "IgnoredUID" => "APPMESH_IGNORE_UID",
        "IgnoredGID" => "APPMESH_IGNORE_GID",
        "ProxyIngressPort" => "APPMESH_ENVOY_INGRESS_PORT",
        "ProxyEgressPort" => "APPMESH_ENVOY_EGRESS_PORT",
        "AppPorts" => "APPMESH_APP_PORTS",
        "EgressIgnoredIPs" => "APPMESH_EGRESS_IGNORED_IP",
        "EgressIgnoredPorts" => "APPMESH_EGRESS_IGNORED_PORTS",
        other => return Err(format!("proxyConfiguration has no property {other}").into()),
    })
}

impl<'d> ContainerDefinition<'d> {
    /// Its name.
    pub fn name(self) -> &'d str {
        text(&self.0["name"])
    }

    /// The user it runs as, if it says so.
    pub fn user(self) -> Option<&'d str> {
        self.0["user"].as_str()
    }

    /// Arguments of the program, if they are not the image's.
    pub fn command(self) -> Vec<String> {
        let words = self.0["command"].as_array().into_iter().flatten();
        words.map(|word| text(word).to_owned()).collect()
    }

    /// The variables of its environment.
    pub fn environment(self) -> Vec<(String, String)> {
        let pairs = self.0["environment"].as_array().into_iter().flatten();
        pairs.map(|pair| (text(&pair["name"]).to_owned(), text(&pair["value"]).to_owned())).collect()
    }

    /// The text that its health check gives to the shell.
    pub fn health_check(self) -> Result<&'d str> {
        match self.0["healthCheck"]["command"].as_array().map(Vec::as_slice) {
            Some([kind, command]) if kind == "CMD-SHELL" => Ok(text(command)),
            other => {
                Err(format!("container {} has no CMD-SHELL health check: {other:?}", self.name()).into())
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
