//! Access loggers: sink, format and filter.
//! Source: `envoy.config.accesslog.v3.AccessLog`, `envoy.config.core.v3.SubstitutionFormatString`.

mod service;

use std::sync::Arc;

use outrigger_xds_protos::any::{self, Typed};
use outrigger_xds_protos::v3::accesslog::access_log::ConfigType;
use outrigger_xds_protos::v3::accesslog::access_log_filter::FilterSpecifier;
use outrigger_xds_protos::v3::accesslog::comparison_filter::Op;
use outrigger_xds_protos::v3::accesslog::{
    AccessLog as LogMessage, AccessLogFilter, ComparisonFilter, GrpcStatusFilter, LogTypeFilter,
    MetadataFilter, ResponseFlagFilter, RuntimeFilter, grpc_status_filter,
};
use outrigger_xds_protos::v3::accesslog_data::AccessLogType;
use outrigger_xds_protos::v3::cel_formatter::Cel;
use outrigger_xds_protos::v3::core::substitution_format_string::Format as FormatField;
use outrigger_xds_protos::v3::core::{SubstitutionFormatString, TypedExtensionConfig};
use outrigger_xds_protos::v3::file_log::{FileAccessLog, file_access_log};
use outrigger_xds_protos::v3::grpc_log::{HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig};
use outrigger_xds_protos::v3::stream_log::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use outrigger_xds_protos::v3::wkt::{self, value::Kind};
use serde_json::{Map, Value};

use super::fields;

use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{cel, data_source, matchers, value_match};
use crate::base::error::ResponseFlags;
use crate::config::value_match::{MetadataMatch, MetadataSource};
use crate::observe::access_log::filter::{Comparison, ComparisonOp, LogFilter};
use crate::observe::access_log::{AccessLog, LogFormat};
use crate::observe::cel::Dialect;
use crate::observe::format::Format;
use crate::observe::format::json::JsonFormat;

/// Deepest nesting of and/or filters.
const MAX_DEPTH: usize = 16;

/// Compiles the loggers of one filter.
pub(super) fn compile(
    messages: &[LogMessage],
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Vec<Arc<AccessLog>>, Rejection> {
    let mut logs = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        logs.extend(logger(message, &path.index(i), scope)?.map(Arc::new));
    }
    Ok(logs)
}

/// One logger; `None` when the context opens no sinks (validation).
fn logger(
    message: &LogMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Option<AccessLog>, Rejection> {
    let LogMessage { name, filter, config_type } = message;
    let filter_path = path.field("filter");
    let filter = match filter {
        None => LogFilter::All,
        Some(filter) => self::filter(filter, &filter_path, MAX_DEPTH)?,
    };
    let config_path = path.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = config_type else { return Err(config_path.missing()) };
    let service = if any::is::<HttpGrpcAccessLogConfig>(config) {
        Some(service::http(&unpack(config, &config_path)?, &config_path, scope)?)
    } else if any::is::<TcpGrpcAccessLogConfig>(config) {
        Some(service::tcp(&unpack(config, &config_path)?, &config_path, scope)?)
    } else {
        None
    };
    if let Some(settings) = service {
        let logs = scope.context.grpc_logs.as_ref();
        return Ok(logs.map(|logs| AccessLog::to_service(filter, logs.open(&settings))));
    }
    let (file, format) = if any::is::<FileAccessLog>(config) {
        file_log(unpack(config, &config_path)?, &config_path)?
    } else if any::is::<StdoutAccessLog>(config) {
        let StdoutAccessLog { access_log_format } = unpack(config, &config_path)?;
        let format = access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stdout".to_owned(), stream_format(format, &config_path)?)
    } else if any::is::<StderrAccessLog>(config) {
        let StderrAccessLog { access_log_format } = unpack(config, &config_path)?;
        let format = access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stderr".to_owned(), stream_format(format, &config_path)?)
    } else {
        return Err(path.reject(format_args!(
            "{name:?} ({}) is not supported; use a file or an access-log service over gRPC",
            config.type_url
        )));
    };
    let Some(sinks) = &scope.context.sinks else { return Ok(None) };
    let sink = sinks
        .open(std::path::Path::new(&file))
        .map_err(|error| config_path.field("path").reject(format_args!("cannot open {file:?}: {error}")))?;
    Ok(Some(AccessLog::new(format, filter, sink)))
}

fn unpack<M: Typed>(config: &wkt::Any, path: &Path<'_>) -> Result<M, Rejection> {
    any::unpack(config).map_err(|error| path.reject(error))
}

#[allow(deprecated, reason = "the older format fields are still sent")]
fn file_log(message: FileAccessLog, path: &Path<'_>) -> Result<(String, LogFormat), Rejection> {
    use file_access_log::AccessLogFormat;
    let FileAccessLog { path: file, access_log_format } = message;
    fields::required(&file, &path.field("path"))?;
    let plain = Dialect::default();
    let format = match &access_log_format {
        None => default_format(path)?,
        Some(AccessLogFormat::Format(text)) if text.is_empty() => default_format(path)?,
        Some(AccessLogFormat::Format(text)) => text_format(text, false, plain, &path.field("format"))?,
        Some(AccessLogFormat::JsonFormat(json)) => {
            json_format(json, false, plain, &path.field("json_format"))?
        }
        Some(AccessLogFormat::TypedJsonFormat(json)) => {
            json_format(json, false, plain, &path.field("typed_json_format"))?
        }
        Some(AccessLogFormat::LogFormat(format)) => substitution(format, &path.field("log_format"))?,
    };
    Ok((file, format))
}

fn stream_format(format: Option<SubstitutionFormatString>, path: &Path<'_>) -> Result<LogFormat, Rejection> {
    match format {
        None => default_format(path),
        Some(format) => substitution(&format, &path.field("log_format")),
    }
}

fn default_format(path: &Path<'_>) -> Result<LogFormat, Rejection> {
    LogFormat::default_text().map_err(|error| path.reject(error))
}

#[allow(deprecated, reason = "text_format is still sent")]
/// A format as it stands in many messages. Its `content_type` is for bodies and left to the caller.
pub(super) fn substitution(
    message: &SubstitutionFormatString,
    path: &Path<'_>,
) -> Result<LogFormat, Rejection> {
    let SubstitutionFormatString {
        omit_empty_values,
        content_type: _, // For local replies.
        formatters,
        json_format_options: _, // Asks for sorted keys at most; they always are.
        format,
    } = message;
    let dialect = formatters_of(formatters, &path.field("formatters"))?;
    match format {
        None => Err(path.reject("needs one of text_format_source, json_format")),
        Some(FormatField::TextFormat(text)) => {
            text_format(text, *omit_empty_values, dialect, &path.field("text_format"))
        }
        Some(FormatField::TextFormatSource(source)) => {
            let path = path.field("text_format_source");
            let text = data_source::read(source, &path)?;
            let text = String::from_utf8(text).map_err(|_| path.reject("is not UTF-8"))?;
            text_format(&text, *omit_empty_values, dialect, &path)
        }
        Some(FormatField::JsonFormat(json)) => {
            json_format(json, *omit_empty_values, dialect, &path.field("json_format"))
        }
    }
}

/// Extensions that bring operators: those whose operators are always there here. One of them says what expressions may
/// do.
fn formatters_of(messages: &[TypedExtensionConfig], path: &Path<'_>) -> Result<Dialect, Rejection> {
    const KNOWN: &[&str] = &[
        "envoy.extensions.formatter.metadata.v3.Metadata",
        "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
    ];
    let mut dialect = Dialect::default();
    for (i, TypedExtensionConfig { name, typed_config }) in messages.iter().enumerate() {
        let path = path.index(i);
        let path = path.field("typed_config");
        let config = fields::message(typed_config, &path)?;
        if any::is::<Cel>(config) {
            let Cel { cel_config } = unpack(config, &path)?;
            dialect = cel::dialect(cel_config.as_ref());
        } else if !any::type_name(&config.type_url).is_some_and(|kind| KNOWN.contains(&kind)) {
            return Err(path.reject(format_args!("{name:?} ({}) is not supported", config.type_url)));
        }
    }
    Ok(dialect)
}

fn text_format(
    text: &str,
    omit_empty: bool,
    dialect: Dialect,
    path: &Path<'_>,
) -> Result<LogFormat, Rejection> {
    let format = Format::parse_with(text, dialect).map_err(|error| path.reject(error))?;
    Ok(LogFormat::Text { format, omit_empty })
}

fn json_format(
    json: &wkt::Struct,
    omit_empty: bool,
    dialect: Dialect,
    path: &Path<'_>,
) -> Result<LogFormat, Rejection> {
    let format = JsonFormat::parse_with(&object(json), omit_empty, dialect);
    format.map(LogFormat::Json).map_err(|error| path.reject(error))
}

/// A protobuf struct as JSON. Its depth is bounded by the protobuf decoder.
pub(super) fn object(message: &wkt::Struct) -> Map<String, Value> {
    message.fields.iter().map(|(key, field)| (key.clone(), value(field))).collect()
}

fn value(message: &wkt::Value) -> Value {
    match &message.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => Value::Bool(*flag),
        // Every number is a double in protobuf; whole ones are written as such.
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Value::from(*number as i64)
        }
        Some(Kind::NumberValue(number)) => Value::from(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(value).collect()),
    }
}

fn filter(message: &AccessLogFilter, path: &Path<'_>, depth: usize) -> Result<LogFilter, Rejection> {
    let Some(specifier) = &message.filter_specifier else {
        return Err(path.reject("needs one kind of filter"));
    };
    let Some(depth) = depth.checked_sub(1) else { return Err(path.reject("filters are nested too deeply")) };
    match specifier {
        FilterSpecifier::StatusCodeFilter(filter) => {
            let path = path.field("status_code_filter");
            comparison(&filter.comparison, &path.field("comparison")).map(LogFilter::StatusCode)
        }
        FilterSpecifier::DurationFilter(filter) => {
            let path = path.field("duration_filter");
            comparison(&filter.comparison, &path.field("comparison")).map(LogFilter::Duration)
        }
        FilterSpecifier::NotHealthCheckFilter(_) => Ok(LogFilter::NotHealthCheck),
        FilterSpecifier::RuntimeFilter(filter) => sampled(filter, &path.field("runtime_filter")),
        FilterSpecifier::AndFilter(all) => {
            filters(&all.filters, &path.field("and_filter"), depth).map(LogFilter::And)
        }
        FilterSpecifier::OrFilter(any) => {
            filters(&any.filters, &path.field("or_filter"), depth).map(LogFilter::Or)
        }
        FilterSpecifier::HeaderFilter(filter) => {
            let path = path.field("header_filter");
            let path = path.field("header");
            matchers::header(fields::message(&filter.header, &path)?, &path).map(LogFilter::Header)
        }
        FilterSpecifier::ResponseFlagFilter(filter) => flags(filter, &path.field("response_flag_filter")),
        FilterSpecifier::TraceableFilter(_) => Ok(LogFilter::Traceable),
        FilterSpecifier::GrpcStatusFilter(filter) => grpc_status(filter, &path.field("grpc_status_filter")),
        FilterSpecifier::ExtensionFilter(filter) => {
            cel::log_filter(filter, &path.field("extension_filter")).map(LogFilter::Expression)
        }
        FilterSpecifier::MetadataFilter(filter) => metadata(filter, &path.field("metadata_filter")),
        FilterSpecifier::LogTypeFilter(filter) => log_type(filter, &path.field("log_type_filter")),
    }
}

fn filters(messages: &[AccessLogFilter], path: &Path<'_>, depth: usize) -> Result<Vec<LogFilter>, Rejection> {
    let path = path.field("filters");
    if messages.len() < 2 {
        return Err(path.reject("needs two filters or more"));
    }
    messages.iter().enumerate().map(|(i, message)| filter(message, &path.index(i), depth)).collect()
}

fn comparison(message: &Option<ComparisonFilter>, path: &Path<'_>) -> Result<Comparison, Rejection> {
    let ComparisonFilter { op, value } = fields::message(message, path)?;
    let op = match Op::try_from(*op) {
        Ok(Op::Eq) => ComparisonOp::Equal,
        Ok(Op::Ge) => ComparisonOp::AtLeast,
        Ok(Op::Le) => ComparisonOp::AtMost,
        Ok(Op::Ne) => ComparisonOp::NotEqual,
        Err(_) => return Err(path.field("op").reject(fields::unknown_enum(*op))),
    };
    // There is no runtime, so the key is never found and the default holds.
    let value = fields::message(value, &path.field("value"))?.default_value;
    Ok(Comparison { op, value: value.into() })
}

fn sampled(message: &RuntimeFilter, path: &Path<'_>) -> Result<LogFilter, Rejection> {
    let RuntimeFilter {
        runtime_key: _, // There is no runtime, so the default holds.
        percent_sampled,
        use_independent_randomness,
    } = message;
    let path = path.field("percent_sampled");
    // Absent means 0 %, as in Envoy.
    let share = percent_sampled.as_ref().map(|fraction| fields::fraction(fraction, &path));
    let (numerator, denominator) = share.transpose()?.unwrap_or((0, 100));
    Ok(LogFilter::Sampled { numerator, denominator, independent: *use_independent_randomness })
}

fn flags(message: &ResponseFlagFilter, path: &Path<'_>) -> Result<LogFilter, Rejection> {
    let path = path.field("flags");
    if message.flags.is_empty() {
        return Ok(LogFilter::AnyFlag);
    }
    let mut wanted = ResponseFlags::NONE;
    for (i, name) in message.flags.iter().enumerate() {
        let refused = || path.index(i).reject(format_args!("{name:?} is no response flag"));
        wanted.insert(ResponseFlags::named(name).ok_or_else(refused)?);
    }
    Ok(LogFilter::Flags(wanted))
}

/// As in Envoy `invert` has no say.
fn metadata(message: &MetadataFilter, path: &Path<'_>) -> Result<LogFilter, Rejection> {
    let MetadataFilter { matcher, match_if_key_not_found } = message;
    let path = path.field("matcher");
    let wanted =
        matcher.as_ref().map(|matcher| value_match::metadata(matcher, MetadataSource::Request, &path));
    let wanted = wanted.transpose()?.map(|wanted| Arc::new(MetadataMatch { invert: false, ..wanted }));
    Ok(LogFilter::Metadata { wanted, missing: fields::flag(match_if_key_not_found, true) })
}

fn grpc_status(message: &GrpcStatusFilter, path: &Path<'_>) -> Result<LogFilter, Rejection> {
    let path = path.field("statuses");
    let mut codes = 0;
    for (i, status) in message.statuses.iter().enumerate() {
        if grpc_status_filter::Status::try_from(*status).is_err() {
            return Err(path.index(i).reject(fields::unknown_enum(*status)));
        }
        codes |= 1u32 << status;
    }
    Ok(LogFilter::GrpcStatus { codes, exclude: message.exclude })
}

/// Of the moments that Envoy can log at, ours are the end of a request and of a TCP session; those of listeners have no
/// name.
fn log_type(message: &LogTypeFilter, path: &Path<'_>) -> Result<LogFilter, Rejection> {
    let path = path.field("types");
    let mut types = Vec::with_capacity(message.types.len());
    for (i, number) in message.types.iter().enumerate() {
        let known = AccessLogType::try_from(*number);
        types.push(known.map_err(|_| path.index(i).reject(fields::unknown_enum(*number)))?);
    }
    let logs = |wanted| types.contains(&wanted) != message.exclude;
    Ok(LogFilter::LogType {
        http: logs(AccessLogType::DownstreamEnd),
        tcp: logs(AccessLogType::TcpConnectionEnd),
        unnamed: logs(AccessLogType::NotSet),
    })
}
