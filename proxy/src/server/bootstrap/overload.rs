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
use outrigger_xds_protos::v3::overload::trigger::TriggerOneof;
use outrigger_xds_protos::v3::overload::{
    OverloadAction, OverloadManager, ResourceMonitor, ScaledTrigger, ThresholdTrigger,
    Trigger as TriggerMessage,
};

use super::reduce::Notes;
use crate::config::overload::{Action, ActionKind, Monitor, OverloadSettings, Resource, Trigger};
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
    refuse!(path; loadshed_points);
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
        let action = action(message, &settings, &list.index(i))?;
        if settings.actions.iter().any(|known| known.kind == action.kind) {
            return Err(list.index(i).field("name").reject("occurs twice"));
        }
        settings.actions.push(action);
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
    settings: &OverloadSettings,
    path: &Path<'_>,
) -> Result<Action, Rejection> {
    let OverloadAction { name, triggers, typed_config } = message;
    let known = ActionKind::ALL.iter().find(|(known, _)| known == name);
    let Some((_, kind)) = known else {
        return Err(path.field("name").reject(format_args!("{name:?} is not supported")));
    };
    refuse!(path; typed_config);
    let list = path.field("triggers");
    if triggers.is_empty() {
        return Err(list.missing());
    }
    let one = |(i, message)| trigger(message, settings, &list.index(i));
    Ok(Action { kind: *kind, triggers: triggers.iter().enumerate().map(one).collect::<Result<_, _>>()? })
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
