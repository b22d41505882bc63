//! Interception rules: what App Mesh's route manager programmed, from the same variables.
//!
//! Chains `APPMESH_INGRESS` and `APPMESH_EGRESS` in table `nat`, TCP only, for IPv4 and, when asked, IPv6.
//! Enabling replaces what an earlier run left, in both families, so it can be repeated; disabling removes only our
//! chains.

mod rules;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use super::args::InterceptAction;
use super::environment::Variables;
use rules::{Family, Rules};

/// Carries out `action`. Needs root (NET_ADMIN) and the `iptables` programs.
pub fn run(action: InterceptAction, variables: &dyn Variables) -> Result<ExitCode, String> {
    match action {
        InterceptAction::Enable => {
            let rules = Rules::from_environment(variables).map_err(|error| error.to_string())?;
            for family in Family::ALL {
                remove(family)?;
                if rules.families().contains(&family) {
                    restore(family, &rules.render(family))?;
                }
            }
        }
        InterceptAction::Disable => {
            for family in Family::ALL {
                remove(family)?;
            }
        }
        InterceptAction::Status => {
            let mut text = String::new();
            for family in Family::ALL {
                text.push_str(&rules::status(family, &listing(family)?.unwrap_or_default()));
            }
            // A closed output is nobody's loss.
            let _ = write!(std::io::stdout(), "{text}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes our jumps and chains; what is not there is not an error.
fn remove(family: Family) -> Result<(), String> {
    let deletions = rules::deletions(&listing(family)?.unwrap_or_default());
    if deletions.is_empty() {
        return Ok(());
    }
    restore(family, &deletions)
}

/// The rules of table `nat`. `None`: a machine without IPv6 has none.
fn listing(family: Family) -> Result<Option<String>, String> {
    match (output(family, &["-t", "nat", "-S"]), family) {
        (Err(_), Family::V6) => Ok(None),
        (listing, _) => listing.map(Some),
    }
}

/// Applies a rule file in one step.
fn restore(family: Family, rules: &str) -> Result<(), String> {
    let program = family.restore();
    let mut child = Command::new(program)
        .arg("--noflush")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}; install iptables"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(rules.as_bytes()).map_err(|error| format!("{program}: {error}"))?;
    }
    let done = child.wait_with_output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() { Ok(()) } else { Err(refusal(program, &done.stderr)) }
}

fn output(family: Family, arguments: &[&str]) -> Result<String, String> {
    let program = family.program();
    let done = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}; install iptables"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        Err(refusal(program, &done.stderr))
    }
}

fn refusal(program: &str, stderr: &[u8]) -> String {
    format!("{program} refused: {} (root and NET_ADMIN are needed)", String::from_utf8_lossy(stderr).trim())
}
