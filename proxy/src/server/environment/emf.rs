//! The `OUTRIGGER_EMF*` variables.

use std::time::Duration;

use super::outrigger::in_range;
use super::{VariableError, Variables, integer};
use crate::observe::emf::{Dimensions, Selection, Settings, Target};

const NAMESPACE: &str = "OUTRIGGER_EMF_NAMESPACE";
/// CloudWatch's limit, characters.
const MAX_NAMESPACE: usize = 255;

/// The exporter's settings; `None` when it is off. What is wrong stops the start even then.
pub(super) fn read(
    variables: &dyn Variables,
    warnings: &mut Vec<String>,
) -> Result<Option<Settings>, VariableError> {
    let interval = in_range(variables, "OUTRIGGER_EMF_INTERVAL_S", 1..=86_400)?.unwrap_or(60);
    let series = in_range(variables, "OUTRIGGER_EMF_MAX_SERIES", 1..=100_000)?.unwrap_or(200);
    let resolution = resolution(variables)?;
    let settings = Settings {
        target: Target::Stdout,
        namespace: namespace(variables)?,
        interval: Duration::from_secs(interval.unsigned_abs()),
        resolution,
        selection: parsed(variables, "OUTRIGGER_EMF_METRICS", Selection::parse)?.unwrap_or_default(),
        dimensions: parsed(variables, "OUTRIGGER_EMF_DIMENSIONS", Dimensions::parse)?
            .unwrap_or(Dimensions::MESH),
        prefix: parsed(variables, "OUTRIGGER_EMF_PREFIX", prefix)?.unwrap_or_default(),
        max_series: usize::try_from(series).unwrap_or(usize::MAX),
        log_group: variables.get("OUTRIGGER_EMF_LOG_GROUP"),
    };
    let Some(target) = target(variables)? else { return Ok(None) };
    if resolution == 1 && settings.interval > Duration::from_secs(10) {
        warnings.push(format!(
            "OUTRIGGER_EMF_RESOLUTION=1 tells no more than OUTRIGGER_EMF_INTERVAL_S={interval}: lower the interval"
        ));
    }
    if target == Target::Stdout && settings.log_group.is_some() {
        warnings
            .push("OUTRIGGER_EMF_LOG_GROUP is not in effect: only the CloudWatch agent reads it".to_owned());
    }
    Ok(Some(Settings { target, ..settings }))
}

fn target(variables: &dyn Variables) -> Result<Option<Target>, VariableError> {
    const NAME: &str = "OUTRIGGER_EMF";
    let Some(text) = variables.get(NAME).filter(|text| text != "off") else { return Ok(None) };
    let address = |address: &str| {
        let is_address = address
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        is_address.then(|| address.to_owned())
    };
    let target = match text.split_once("://") {
        None if text == "stdout" => Some(Target::Stdout),
        Some(("tcp", rest)) => address(rest).map(Target::Tcp),
        Some(("udp", rest)) => address(rest).map(Target::Udp),
        _ => None,
    };
    let wrong = || {
        VariableError::new(NAME, format!("{text:?} is none of off, stdout, tcp://host:port, udp://host:port"))
    };
    target.ok_or_else(wrong).map(Some)
}

fn resolution(variables: &dyn Variables) -> Result<u8, VariableError> {
    const NAME: &str = "OUTRIGGER_EMF_RESOLUTION";
    match integer(variables, NAME)? {
        None | Some(60) => Ok(60),
        Some(1) => Ok(1),
        Some(other) => Err(VariableError::new(NAME, format!("{other} is neither 1 nor 60"))),
    }
}

fn namespace(variables: &dyn Variables) -> Result<String, VariableError> {
    let name = variables.get(NAMESPACE).unwrap_or_else(|| "Outrigger".to_owned());
    let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._#:/-".contains(&byte));
    if !legal || name.len() > MAX_NAMESPACE {
        let message = format!("{name:?} must be up to {MAX_NAMESPACE} letters, digits and ._#:/-");
        return Err(VariableError::new(NAMESPACE, message));
    }
    if name.starts_with("AWS/") {
        return Err(VariableError::new(NAMESPACE, format!("{name:?}: AWS/ is reserved; choose another")));
    }
    Ok(name)
}

fn prefix(text: &str) -> Result<String, String> {
    let legal =
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte));
    if legal {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} must be up to 64 letters, digits and _.-/"))
    }
}

fn parsed<T>(
    variables: &dyn Variables,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, VariableError> {
    let parsed = variables.get(name).map(|text| parse(&text)).transpose();
    parsed.map_err(|message| VariableError::new(name, message))
}
