//! Access logs.

use std::collections::HashMap;

use outrigger_xds_protos::v3::accesslog::AccessLog as AccessLogMessage;
use outrigger_xds_protos::v3::accesslog::access_log::ConfigType;
use outrigger_xds_protos::v3::core::data_source::Specifier;
use outrigger_xds_protos::v3::core::substitution_format_string::Format;
use outrigger_xds_protos::v3::core::{DataSource, SubstitutionFormatString};
use outrigger_xds_protos::v3::file_log::FileAccessLog;
use outrigger_xds_protos::v3::file_log::file_access_log::AccessLogFormat;
use outrigger_xds_protos::v3::wkt;

use super::message::packed;
use crate::model::{AccessLog, LogFormat};

/// The access log of a listener or route manager; none when none is written.
pub fn access_log(log: Option<&AccessLog>) -> Vec<AccessLogMessage> {
    let Some(log) = log else { return Vec::new() };
    let format = log.format.as_ref().map(|f| AccessLogFormat::LogFormat(format(f)));
    let file = FileAccessLog { path: log.path.clone(), access_log_format: format };
    vec![AccessLogMessage {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(ConfigType::TypedConfig(packed(&file))),
    }]
}

fn format(format: &LogFormat) -> SubstitutionFormatString {
    let format = match format {
        LogFormat::Text(text) => {
            let source =
                DataSource { specifier: Some(Specifier::InlineString(text.clone())), ..Default::default() };
            Format::TextFormatSource(source)
        }
        LogFormat::Json(pairs) => {
            let text =
                |value: &String| wkt::Value { kind: Some(wkt::value::Kind::StringValue(value.clone())) };
            let fields: HashMap<_, _> = pairs.iter().map(|(key, value)| (key.clone(), text(value))).collect();
            Format::JsonFormat(wkt::Struct { fields })
        }
    };
    SubstitutionFormatString { format: Some(format), ..Default::default() }
}
