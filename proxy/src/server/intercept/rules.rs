//! The rules as text for `iptables-restore`, and the variables they come from.
//!
//! Only the beginning of a connection (`--syn`) is looked at: one that was open before the rules came is new to the
//! kernel's connection tracking, and redirected in its middle it would be reset.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::server::environment::{VariableError, Variables};

/// An IP family and its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// For people.
    fn name(self) -> &'static str {
        match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        }
    }

    /// The program that lists rules.
    pub fn program(self) -> &'static str {
        match self {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        }
    }

    /// The program that applies a rule file.
    pub fn restore(self) -> &'static str {
        match self {
            Family::V4 => "iptables-restore",
            Family::V6 => "ip6tables-restore",
        }
    }
}

/// What to intercept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    ignored_uid: Option<u32>,
    ignored_gid: Option<u32>,
    app_ports: Vec<u16>,
    ingress_port: Option<u16>,
    egress_port: u16,
    ignored_ports: Vec<u16>,
    ignored_nets: Vec<IpNet>,
    ipv6: bool,
}

impl Rules {
    /// Reads the route manager's variables.
    pub fn from_environment(variables: &dyn Variables) -> Result<Self, VariableError> {
        let rules = Self {
            ignored_uid: one(variables, "APPMESH_IGNORE_UID")?,
            ignored_gid: one(variables, "APPMESH_IGNORE_GID")?,
            app_ports: list(variables, "APPMESH_APP_PORTS")?,
            ingress_port: one(variables, "APPMESH_ENVOY_INGRESS_PORT")?,
            egress_port: one(variables, "APPMESH_ENVOY_EGRESS_PORT")?
                .ok_or_else(|| error("APPMESH_ENVOY_EGRESS_PORT", "is required, usually 15001"))?,
            ignored_ports: ignored_ports(variables)?,
            ignored_nets: nets(variables)?,
            ipv6: one::<u8>(variables, "APPMESH_ENABLE_IPV6")? == Some(1),
        };
        if rules.ignored_uid.is_none() && rules.ignored_gid.is_none() {
            let advice = "or APPMESH_IGNORE_GID is required: the user the proxy runs as, usually 1337";
            return Err(error("APPMESH_IGNORE_UID", advice));
        }
        if !rules.app_ports.is_empty() && rules.ingress_port.is_none() {
            return Err(error(
                "APPMESH_ENVOY_INGRESS_PORT",
                "is required with APPMESH_APP_PORTS, usually 15000",
            ));
        }
        Ok(rules)
    }

    /// Families to program.
    pub fn families(&self) -> &'static [Family] {
        if self.ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] }
    }

    /// The rule file of one family.
    pub fn render(&self, family: Family) -> String {
        let mut text = String::from("*nat\n:APPMESH_INGRESS - [0:0]\n:APPMESH_EGRESS - [0:0]\n");
        self.egress(family, &mut text);
        self.ingress(&mut text);
        text.push_str("COMMIT\n");
        text
    }

    fn egress(&self, family: Family, text: &mut String) {
        let mut rule = |line: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        };
        if let Some(uid) = self.ignored_uid {
            rule(format_args!("-A APPMESH_EGRESS -m owner --uid-owner {uid} -j RETURN"));
        }
        if let Some(gid) = self.ignored_gid {
            rule(format_args!("-A APPMESH_EGRESS -m owner --gid-owner {gid} -j RETURN"));
        }
        for port in &self.ignored_ports {
            rule(format_args!("-A APPMESH_EGRESS -p tcp --dport {port} -j RETURN"));
        }
        for net in
            self.ignored_nets.iter().filter(|net| matches!(net, IpNet::V4(_)) == (family == Family::V4))
        {
            rule(format_args!("-A APPMESH_EGRESS -p tcp -d {net} -j RETURN"));
        }
        rule(format_args!("-A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports {}", self.egress_port));
        rule(format_args!("-A OUTPUT -p tcp --syn -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS"));
    }

    fn ingress(&self, text: &mut String) {
        let Some(target) = self.ingress_port.filter(|_| !self.app_ports.is_empty()) else { return };
        for port in &self.app_ports {
            let _ =
                writeln!(text, "-A APPMESH_INGRESS -p tcp --dport {port} -j REDIRECT --to-ports {target}");
        }
        text.push_str("-A PREROUTING -p tcp --syn -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS\n");
    }
}

/// Whether a family is intercepted, in words, and its rules of ours, from a listing (`-S`).
pub fn status(family: Family, listing: &str) -> String {
    let ours: Vec<&str> = listing.lines().filter(|line| line.contains("APPMESH_")).collect();
    let is_on = if ours.is_empty() { "off" } else { "on" };
    let mut text = format!("{}: {is_on}\n", family.name());
    for rule in ours {
        let _ = writeln!(text, "{rule}");
    }
    text
}

/// A rule file that removes our jumps and chains from a listing (`-S`); empty when there is nothing of ours.
pub fn deletions(listing: &str) -> String {
    let jumps = listing.lines().filter(|line| {
        line.starts_with("-A ")
            && (line.ends_with("-j APPMESH_INGRESS") || line.ends_with("-j APPMESH_EGRESS"))
    });
    let mut text = String::new();
    for jump in jumps {
        let _ = writeln!(text, "-D {}", &jump[3..]);
    }
    for chain in ["APPMESH_INGRESS", "APPMESH_EGRESS"] {
        if listing.lines().any(|line| line.strip_prefix("-N ") == Some(chain)) {
            let _ = writeln!(text, "-F {chain}\n-X {chain}");
        }
    }
    if text.is_empty() { text } else { format!("*nat\n{text}COMMIT\n") }
}

fn error(name: &str, message: &str) -> VariableError {
    VariableError { name: name.to_owned(), message: message.to_owned() }
}

fn one<T: std::str::FromStr>(variables: &dyn Variables, name: &str) -> Result<Option<T>, VariableError> {
    let parse =
        |text: String| text.parse().map_err(|_| error(name, &format!("{text:?} is not a valid number")));
    variables.get(name).map(parse).transpose()
}

fn list(variables: &dyn Variables, name: &str) -> Result<Vec<u16>, VariableError> {
    let text = variables.get(name).unwrap_or_default();
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| item.parse().map_err(|_| error(name, &format!("{item:?} is not a port")))).collect()
}

/// SSH is always left alone.
fn ignored_ports(variables: &dyn Variables) -> Result<Vec<u16>, VariableError> {
    let mut ports = list(variables, "APPMESH_EGRESS_IGNORED_PORTS")?;
    if !ports.contains(&22) {
        ports.push(22);
    }
    Ok(ports)
}

fn nets(variables: &dyn Variables) -> Result<Vec<IpNet>, VariableError> {
    const NAME: &str = "APPMESH_EGRESS_IGNORED_IP";
    let text = variables.get(NAME).unwrap_or_default();
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let parse = |item: &str| {
        let net = item.parse::<IpNet>().ok().or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from));
        net.ok_or_else(|| error(NAME, &format!("{item:?} is neither an address nor a network")))
    };
    items.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Table(BTreeMap<&'static str, &'static str>);

    impl Variables for Table {
        fn get(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|value| (*value).to_owned())
        }

        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }

    fn rules(pairs: &[(&'static str, &'static str)]) -> Result<Rules, VariableError> {
        Rules::from_environment(&Table(pairs.iter().copied().collect()))
    }

    const USUAL: [(&str, &str); 5] = [
        ("APPMESH_IGNORE_UID", "1337"),
        ("APPMESH_APP_PORTS", "8080, 8081"),
        ("APPMESH_ENVOY_INGRESS_PORT", "15000"),
        ("APPMESH_ENVOY_EGRESS_PORT", "15001"),
        ("APPMESH_EGRESS_IGNORED_IP", "169.254.170.2,fd00::/8"),
    ];

    #[test]
    fn the_usual_rules() {
        let text = rules(&USUAL).unwrap().render(Family::V4);
        let want = "*nat\n:APPMESH_INGRESS - [0:0]\n:APPMESH_EGRESS - [0:0]\n\
            -A APPMESH_EGRESS -m owner --uid-owner 1337 -j RETURN\n\
            -A APPMESH_EGRESS -p tcp --dport 22 -j RETURN\n\
            -A APPMESH_EGRESS -p tcp -d 169.254.170.2/32 -j RETURN\n\
            -A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports 15001\n\
            -A OUTPUT -p tcp --syn -m addrtype ! --dst-type LOCAL -j APPMESH_EGRESS\n\
            -A APPMESH_INGRESS -p tcp --dport 8080 -j REDIRECT --to-ports 15000\n\
            -A APPMESH_INGRESS -p tcp --dport 8081 -j REDIRECT --to-ports 15000\n\
            -A PREROUTING -p tcp --syn -m addrtype ! --src-type LOCAL -j APPMESH_INGRESS\nCOMMIT\n";
        assert_eq!(text, want);
    }

    #[test]
    fn missing_settings_are_named() {
        let name = |pairs: &[_]| rules(pairs).unwrap_err().name;
        assert_eq!(name(&USUAL[1..]), "APPMESH_IGNORE_UID");
        assert_eq!(name(&USUAL[..3]), "APPMESH_ENVOY_EGRESS_PORT");
        assert_eq!(name(&[USUAL[0], USUAL[1], USUAL[3]]), "APPMESH_ENVOY_INGRESS_PORT");
    }

    #[test]
    fn the_status_says_which_families_are_on() {
        let listing = "-P OUTPUT ACCEPT\n-N APPMESH_EGRESS\n-N DOCKER\n";
        assert_eq!(status(Family::V4, listing), "IPv4: on\n-N APPMESH_EGRESS\n");
        assert_eq!(status(Family::V6, "-P OUTPUT ACCEPT\n"), "IPv6: off\n");
    }

    #[test]
    fn only_our_own_rules_are_removed() {
        let listing = "-P OUTPUT ACCEPT\n-N APPMESH_EGRESS\n-N DOCKER\n-A OUTPUT -p tcp -j APPMESH_EGRESS\n\
            -A OUTPUT -j DOCKER\n-A APPMESH_EGRESS -p tcp -j REDIRECT --to-ports 15001\n";
        let want = "*nat\n-D OUTPUT -p tcp -j APPMESH_EGRESS\n-F APPMESH_EGRESS\n-X APPMESH_EGRESS\nCOMMIT\n";
        assert_eq!(deletions(listing), want);
        assert_eq!(deletions("-P OUTPUT ACCEPT\n-N DOCKER\n"), "");
    }
}
