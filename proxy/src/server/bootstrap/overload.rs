//! The overload manager of the bootstrap. Source: `envoy.config.overload.v3.OverloadManager`.

use std::time::Duration;

use outrigger_xds_protos::any;
use outrigger_xds_protos::any::Typed;
use outrigger_xds_protos::pb::google::protobuf::Any;
use outrigger_xds_protos::v3::cgroup_memory::CgroupMemoryConfig;
use outrigger_xds_protos::v3::downstream_connections::DownstreamConnectionsConfig;
use outrigger_xds_protos::v3::fixed_heap::FixedHeapConfig;
use outrigger_xds_protos::v3::injected_resource::InjectedResourceConfig;
use outrigger_xds_protos::v3::overload::resource_monitor::ConfigType;
use outrigger_xds_protos::v3::overload::scale_timers_overload_action_config::scale_timer::OverloadAdjust;
use outrigger_xds_protos::v3::overload::scale_timers_overload_action_config::{ScaleTimer, TimerType};
use outrigger_xds_protos::v3::overload::trigger::TriggerOneof;
use outrigger_xds_protos::v3::overload::{
    LoadShedPoint, OverloadAction, OverloadManager, ResourceMonitor, ScaleTimersOverloadActionConfig,
    ScaledTrigger, ThresholdTrigger, Trigger as TriggerMessage,
};
use outrigger_xds_protos::v3::types::Percent;

use super::reduce::Notes;
use crate::config::overload::{
    Action, ActionKind, Floor, Monitor, OverloadSettings, Resource, ScaledTimer, ShedPoint, Shedding, Trigger,
};
use crate::xds::translate::fields::{self, refuse};
use crate::xds::translate::{Path, Rejection};

/// Envoy's default `refresh_interval`.
const REFRESH: Duration = Duration::from_secs(1);

/// Compiles the manager.
pub(super) fn compile(
    message: &Option<OverloadManager>,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<Option<OverloadSettings>, Rejection> {
    let Some(message) = message else { return Ok(None) };
    let OverloadManager {
        refresh_interval,
        resource_monitors,
        actions,
        loadshed_points,
        buffer_factory_config,
    } = message;
    if buffer_factory_config.is_some() {
        notes.warn(&path.field("buffer_factory_config"), "is not in effect: streams are not reset by memory");
    }
    let refresh = fields::positive_duration(refresh_interval, &path.field("refresh_interval"))?;
    let mut settings =
        OverloadSettings { refresh: refresh.unwrap_or(REFRESH), ..OverloadSettings::default() };
    let list = path.field("resource_monitors");
    for (i, message) in resource_monitors.iter().enumerate() {
        monitor(message, &mut settings, &list.index(i))?;
    }
    let list = path.field("actions");
    for (i, message) in actions.iter().enumerate() {
        let action = action(message, &mut settings, &list.index(i))?;
        if settings.actions.iter().any(|known| known.kind == action.kind) {
            return Err(list.index(i).field("name").reject("occurs twice"));
        }
        settings.actions.push(action);
    }
    let list = path.field("loadshed_points");
    for (i, message) in loadshed_points.iter().enumerate() {
        let shedding = shedding(message, &settings, &list.index(i))?;
        if settings.sheds.iter().any(|known| known.point == shedding.point) {
            return Err(list.index(i).field("name").reject("occurs twice"));
        }
        settings.sheds.push(shedding);
    }
    Ok(Some(settings))
}

fn monitor(
    message: &ResourceMonitor,
    settings: &mut OverloadSettings,
    path: &Path<'_>,
) -> Result<(), Rejection> {
    let ResourceMonitor { name, config_type } = message;
    let name = fields::required(name, &path.field("name"))?;
    let config_path = path.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = config_type else { return Err(config_path.missing()) };
    if settings.monitors.iter().any(|known| *known.name == *name) {
        return Err(path.field("name").reject(format_args!("{name:?} occurs twice")));
    }
    if any::is::<DownstreamConnectionsConfig>(config) {
        let DownstreamConnectionsConfig { max_active_downstream_connections: max } =
            unpack(config, &config_path)?;
        let max_path = config_path.field("max_active_downstream_connections");
        let max = u64::try_from(max).ok().filter(|max| *max > 0);
        settings.max_connections = Some(max.ok_or_else(|| max_path.reject("must be at least 1"))?);
        return Ok(());
    }
    let resource = resource(name, config, &config_path)?;
    settings.monitors.push(Monitor { name: name.into(), resource });
    Ok(())
}

fn resource(name: &str, config: &Any, path: &Path<'_>) -> Result<Resource, Rejection> {
    Ok(match any::type_name(&config.type_url) {
        Some(FixedHeapConfig::NAME) => {
            let FixedHeapConfig { max_heap_size_bytes, max_heap_size_bytes_runtime } = &unpack(config, path)?;
            refuse!(path; max_heap_size_bytes_runtime);
            if *max_heap_size_bytes == 0 {
                return Err(path.field("max_heap_size_bytes").reject("must be at least 1"));
            }
            Resource::Heap(*max_heap_size_bytes)
        }
        Some(CgroupMemoryConfig::NAME) => {
            let CgroupMemoryConfig { max_memory_bytes } = unpack(config, path)?;
            Resource::Cgroup((max_memory_bytes > 0).then_some(max_memory_bytes))
        }
        Some(InjectedResourceConfig::NAME) => {
            let InjectedResourceConfig { filename } = unpack(config, path)?;
            Resource::File(fields::required(&filename, &path.field("filename"))?.into())
        }
        _ => return Err(path.reject(format_args!("{name:?} ({}) is not supported", config.type_url))),
    })
}

fn unpack<M: Typed>(config: &Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

fn action(
    message: &OverloadAction,
    settings: &mut OverloadSettings,
    path: &Path<'_>,
) -> Result<Action, Rejection> {
    let OverloadAction { name, triggers, typed_config } = message;
    let known = ActionKind::ALL.iter().find(|(known, _)| known == name);
    let Some((_, kind)) = known else {
        return Err(path.field("name").reject(format_args!("{name:?} is not supported")));
    };
    let config_path = path.field("typed_config");
    match (kind, typed_config) {
        (ActionKind::ReduceTimeouts, Some(config)) => settings.timers = timers(config, &config_path)?,
        (ActionKind::ReduceTimeouts, None) => return Err(config_path.missing()),
        _ => refuse!(path; typed_config),
    }
    Ok(Action { kind: *kind, triggers: all_triggers(triggers, settings, &path.field("triggers"))? })
}

fn shedding(
    message: &LoadShedPoint,
    settings: &OverloadSettings,
    path: &Path<'_>,
) -> Result<Shedding, Rejection> {
    let LoadShedPoint { name, triggers } = message;
    let known = ShedPoint::ALL.iter().find(|(known, _)| known == name);
    let Some((_, point)) = known else {
        return Err(path.field("name").reject(format_args!("{name:?} is not supported")));
    };
    Ok(Shedding { point: *point, triggers: all_triggers(triggers, settings, &path.field("triggers"))? })
}

fn all_triggers(
    messages: &[TriggerMessage],
    settings: &OverloadSettings,
    list: &Path<'_>,
) -> Result<Vec<Trigger>, Rejection> {
    if messages.is_empty() {
        return Err(list.missing());
    }
    let one = |(i, message)| trigger(message, settings, &list.index(i));
    messages.iter().enumerate().map(one).collect()
}

/// The timers that shrink. There is one for flushing streams in Envoy, which no setting switches on here.
fn timers(config: &Any, path: &Path<'_>) -> Result<Vec<(ScaledTimer, Floor)>, Rejection> {
    let ScaleTimersOverloadActionConfig { timer_scale_factors } = unpack(config, path)?;
    let list = path.field("timer_scale_factors");
    if timer_scale_factors.is_empty() {
        return Err(list.missing());
    }
    let mut timers: Vec<(ScaledTimer, Floor)> = Vec::new();
    for (i, ScaleTimer { timer, overload_adjust }) in timer_scale_factors.iter().enumerate() {
        let path = list.index(i);
        let timer_path = path.field("timer");
        let timer = match TimerType::try_from(*timer) {
            Ok(TimerType::HttpDownstreamConnectionIdle) => ScaledTimer::ConnectionIdle,
            Ok(TimerType::HttpDownstreamStreamIdle) => ScaledTimer::StreamIdle,
            Ok(TimerType::TransportSocketConnect) => ScaledTimer::TransportConnect,
            Ok(TimerType::HttpDownstreamConnectionMax) => ScaledTimer::ConnectionMax,
            Ok(other) => {
                return Err(timer_path.reject(format_args!("{} is not supported", other.as_str_name())));
            }
            Err(_) => return Err(timer_path.reject(fields::unknown_enum(*timer))),
        };
        if timers.iter().any(|(known, _)| *known == timer) {
            return Err(timer_path.reject("occurs twice"));
        }
        let floor = match overload_adjust {
            Some(OverloadAdjust::MinTimeout(least)) => {
                let least = fields::duration_or_off(&Some(*least), &path.field("min_timeout"))?;
                Floor::Absolute(least)
            }
            Some(OverloadAdjust::MinScale(Percent { value })) if (0.0..=100.0).contains(value) => {
                Floor::Share(value / 100.0)
            }
            Some(OverloadAdjust::MinScale(_)) => {
                return Err(path.field("min_scale").reject("must be a percentage from 0 to 100"));
            }
            None => return Err(path.reject("needs one of min_timeout, min_scale")),
        };
        timers.push((timer, floor));
    }
    Ok(timers)
}

fn trigger(
    message: &TriggerMessage,
    settings: &OverloadSettings,
    path: &Path<'_>,
) -> Result<Trigger, Rejection> {
    let TriggerMessage { name, trigger_oneof } = message;
    let monitor = settings.monitors.iter().position(|monitor| *monitor.name == **name);
    let monitor = monitor
        .ok_or_else(|| path.field("name").reject(format_args!("{name:?} is not a resource monitor")))?;
    let share = |value: f64, path: &Path<'_>| {
        if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(path.reject("must be from 0 to 1")) }
    };
    let (start, full) = match trigger_oneof {
        Some(TriggerOneof::Threshold(ThresholdTrigger { value })) => {
            let value = share(*value, &path.field("threshold").field("value"))?;
            (value, value)
        }
        Some(TriggerOneof::Scaled(ScaledTrigger { scaling_threshold, saturation_threshold })) => {
            let path = path.field("scaled");
            let start = share(*scaling_threshold, &path.field("scaling_threshold"))?;
            let full = share(*saturation_threshold, &path.field("saturation_threshold"))?;
            if start >= full {
                return Err(path.reject("scaling_threshold must be below saturation_threshold"));
            }
            (start, full)
        }
        None => return Err(path.reject("needs one of threshold, scaled")),
    };
    Ok(Trigger { monitor, start, full })
}
