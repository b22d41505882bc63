//! Interception rules: what App Mesh's route manager programmed, from the same variables.
//!
//! Chains `APPMESH_INGRESS` and `APPMESH_EGRESS` in table `nat`, TCP only, for IPv4 and, when asked, IPv6.
//! Enabling replaces what an earlier run left, so it can be repeated; disabling removes only our chains.

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
            for family in rules.families() {
                remove(*family)?;
                restore(*family, &rules.render(*family))?;
            }
        }
        InterceptAction::Disable => {
            for family in [Family::V4, Family::V6] {
                remove(family)?;
            }
        }
        InterceptAction::Status => {
            let text = output(Family::V4, &["-t", "nat", "-S"])?;
            let ours = text.lines().filter(|line| line.contains("APPMESH_"));
            let _ = writeln!(std::io::stdout(), "{}", ours.collect::<Vec<_>>().join("\n"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes our jumps and chains; what is not there is not an error.
fn remove(family: Family) -> Result<(), String> {
    let Ok(listing) = output(family, &["-t", "nat", "-S"]) else {
        // A kernel without IPv6 has nothing to remove.
        return if family == Family::V6 { Ok(()) } else { output(family, &["-t", "nat", "-S"]).map(drop) };
    };
    let deletions = rules::deletions(&listing);
    if deletions.is_empty() {
        return Ok(());
    }
    restore(family, &deletions)
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
