//! What a process lets out of its memory: no core dump, and nothing to others of its user.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use outrigger_tests::bootstrap::with_static;
use outrigger_tests::control_plane::Launch;
use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::netns::Place;
use outrigger_tests::process::Process;
use outrigger_tests::requirement::{Missing, met};
use outrigger_tests::{Result, binaries};
use rustix::process::{Resource as Limit, Rlimit, Signal, getrlimit, setrlimit};

use crate::LIMIT;

/// Another user than root.
const NOBODY: u32 = 65534;

#[tokio::test]
async fn a_dead_sidecar_leaves_no_core() -> Result<()> {
    if met(cores()).is_none() {
        return Ok(());
    }
    let bootstrap = with_static(&[], &[]);
    for (allowed, dumped) in [("0", false), ("1", true)] {
        let launch = DataPlane::Outrigger.launch()?.env("OUTRIGGER_CORE_DUMPS", allowed);
        let mut sidecar = launch.start(&bootstrap).await?;
        assert_eq!(sidecar.said("core dumps are allowed"), dumped);
        assert_eq!(dies(sidecar.process()).await?, dumped);
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_control_plane_leaves_no_core() -> Result<()> {
    if met(cores()).is_none() {
        return Ok(());
    }
    for (more, dumped) in [(&[][..], false), (&["--core-dumps"], true)] {
        let ca = tempfile::tempdir()?;
        let launch = Launch::of("[{meshName: shop, spec: {}}]")?.args(more.iter().copied());
        let mut plane = launch.args(["--mesh-ca", &ca.path().display().to_string()]).start().await?;
        assert_eq!(plane.process().stderr().contains("core dumps are allowed"), dumped);
        assert_eq!(dies(plane.process()).await?, dumped);
    }
    Ok(())
}

/// Whether a process that aborts leaves a core.
async fn dies(process: &mut Process) -> Result<bool> {
    let core = std::env::current_dir()?.join("core");
    process.signal(Signal::ABORT)?;
    let status = process.wait(LIMIT).await?;
    // Beside this test, where the kernel's pattern is the usual one.
    for core in [core.clone(), core.with_extension(process.id().to_string())] {
        let _ = std::fs::remove_file(core);
    }
    assert_eq!(status.signal(), Some(6));
    Ok(status.core_dumped())
}

/// The steps that replace a root are over too soon to be killed in time, so each is let die of a file that is too long,
/// with the key in its memory.
#[tokio::test]
async fn a_dead_step_of_the_authority_leaves_no_core() -> Result<()> {
    const TOO_LONG: i32 = 25;
    if met(cores()).is_none() {
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("root.pem"), "")?;
    let limited = |program: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new("prlimit");
        command.arg("--fsize=64").arg(program).args(arguments).current_dir(directory.path()).status()
    };
    let control = limited("dd".as_ref(), &["if=/dev/zero", "of=file", "bs=100", "count=1"]);
    let control = control.map_err(|error| error.to_string()).and_then(|status| match status.core_dumped() {
        true => Ok(()),
        false => Err(format!("dd that writes too much ends with {status}")),
    });
    if met(control.map_err(|why| missing_cores(&why))).is_none() {
        return Ok(());
    }
    let program = binaries::path(binaries::CONTROL_PLANE)?;
    let status = limited(&program, &["ca", "prepare", &directory.path().display().to_string()])?;
    assert_eq!((status.signal(), status.core_dumped()), (Some(TOO_LONG), false));
    assert!(std::fs::read_to_string(directory.path().join("next.key"))?.starts_with("-----BEGIN"));
    Ok(())
}

/// Whether this machine writes cores at all, once it is allowed to.
fn cores() -> Result<(), Missing> {
    let maximum = getrlimit(Limit::Core).maximum;
    let raised = setrlimit(Limit::Core, Rlimit { current: maximum, maximum });
    raised.map_err(|error| missing_cores(&error.to_string()))?;
    let directory = tempfile::tempdir().map_err(|error| missing_cores(&error.to_string()))?;
    let mut command = Command::new("sh");
    command.args(["-c", "kill -ABRT $$"]).current_dir(directory.path());
    match command.status() {
        Ok(status) if status.core_dumped() => Ok(()),
        Ok(status) => Err(missing_cores(&format!("a shell that aborts ends with {status}"))),
        Err(error) => Err(missing_cores(&error.to_string())),
    }
}

fn missing_cores(why: &str) -> Missing {
    Missing::new("core dumps", why, "raise the hard limit (ulimit -Hc) and have core_pattern name a file")
}

#[tokio::test]
async fn others_of_the_same_user_cannot_look_in() -> Result<()> {
    if met(other_user()).is_none() {
        return Ok(());
    }
    let bootstrap = with_static(&[], &[]);
    let mut sidecar = DataPlane::Outrigger.launch()?.user(NOBODY).start(&bootstrap).await?;
    let mut sleep = Command::new("sleep");
    sleep.arg("60").uid(NOBODY).gid(NOBODY);
    let mut open = Process::spawn("sleep", sleep, &Place::Host)?;
    let can_read = |process: u32, file: &str| -> Result<bool> {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec 3</proc/{process}/{file}")]).uid(NOBODY).gid(NOBODY);
        Ok(command.stderr(Stdio::null()).status()?.success())
    };
    assert!(can_read(open.id(), "environ")?, "of any other process of its user it is allowed");
    for file in ["environ", "mem", "maps"] {
        assert!(!can_read(sidecar.process().id(), file)?, "{file}");
    }
    open.signal(Signal::KILL)?;
    // What it reads of itself for its statistics it can still read.
    assert!(sidecar.stat("server.memory_physical_size").await? > 0);
    Ok(())
}

fn other_user() -> Result<(), Missing> {
    let mut command = Command::new("true");
    let done = command.uid(NOBODY).gid(NOBODY).status().map_err(|error| error.to_string());
    let fail = |why: String| Missing::new("another user", why, "run as root");
    done.map_err(fail).and_then(
        |status| {
            if status.success() { Ok(()) } else { Err(fail(status.to_string())) }
        },
    )
}
