//! HTTP protocol options that listeners and clusters share.
//! Source: `envoy.config.core.v3.{Http1ProtocolOptions,Http2ProtocolOptions,HttpProtocolOptions}`.

use std::time::Duration;

use outrigger_xds_protos::v3::core::http_protocol_options::HeadersWithUnderscoresAction;
use outrigger_xds_protos::v3::core::http1_protocol_options::{
    HeaderKeyFormat, header_key_format::HeaderFormat,
};
use outrigger_xds_protos::v3::core::{
    Http1ProtocolOptions, Http2ProtocolOptions, HttpProtocolOptions, KeepaliveSettings,
};

use super::fields;
use super::fields::{refuse, refuse_true, warn_set};
use super::path::{Path, Rejection};
use super::scope::Scope;
use crate::config::listener::{HeaderCase, Http1Settings, Http2Settings, Underscores};

/// Envoy's default idle timeout of connections, both sides.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Envoy's default field count limit.
const MAX_FIELDS: u32 = 100;
/// Envoy's default head limit.
const MAX_HEAD_KB: u32 = 60;
/// Largest head limit that Envoy accepts.
pub(super) const LARGEST_HEAD_KB: u32 = 8192;

/// Options of `common_http_protocol_options`.
pub(super) struct CommonOptions {
    pub(super) idle_timeout: Duration,
    pub(super) max_connection_duration: Duration,
    pub(super) max_stream_duration: Duration,
    pub(super) max_fields: usize,
    pub(super) max_response_head_bytes: usize,
    pub(super) max_requests_per_connection: u32,
    pub(super) underscores: Underscores,
}

/// Options for every HTTP version; defaults for an absent message.
pub(super) fn common(
    message: Option<&HttpProtocolOptions>,
    path: &Path<'_>,
) -> Result<CommonOptions, Rejection> {
    let absent = HttpProtocolOptions::default();
    let HttpProtocolOptions {
        idle_timeout,
        max_connection_duration,
        max_connection_duration_jitter,
        max_headers_count,
        max_response_headers_kb,
        max_stream_duration,
        headers_with_underscores_action,
        max_requests_per_connection,
    } = message.unwrap_or(&absent);
    refuse!(path; max_connection_duration_jitter);
    let off = |value, name| fields::duration_or_off(value, &path.field(name));
    let fields_path = path.field("max_headers_count");
    let head_path = path.field("max_response_headers_kb");
    let head_kb = fields::count_in(max_response_headers_kb, 1..=LARGEST_HEAD_KB, &head_path)?;
    Ok(CommonOptions {
        idle_timeout: fields::duration(idle_timeout, &path.field("idle_timeout"))?.unwrap_or(IDLE_TIMEOUT),
        max_connection_duration: off(max_connection_duration, "max_connection_duration")?,
        max_stream_duration: off(max_stream_duration, "max_stream_duration")?,
        max_fields: fields::count_in(max_headers_count, 1..=u32::MAX, &fields_path)?.unwrap_or(MAX_FIELDS)
            as usize,
        max_response_head_bytes: kib(head_kb.unwrap_or(MAX_HEAD_KB)),
        max_requests_per_connection: fields::count(max_requests_per_connection).unwrap_or(0),
        underscores: underscores(*headers_with_underscores_action, path)?,
    })
}

/// KiB to bytes.
pub(super) fn kib(kib: u32) -> usize {
    kib as usize * 1024
}

/// The request head limit of a listener, bytes.
pub(super) fn request_head_bytes(
    value: &Option<outrigger_xds_protos::v3::wkt::UInt32Value>,
    path: &Path<'_>,
) -> Result<usize, Rejection> {
    Ok(kib(fields::count_in(value, 1..=LARGEST_HEAD_KB, path)?.unwrap_or(MAX_HEAD_KB)))
}

fn underscores(number: i32, path: &Path<'_>) -> Result<Underscores, Rejection> {
    Ok(match HeadersWithUnderscoresAction::try_from(number) {
        Ok(HeadersWithUnderscoresAction::Allow) => Underscores::Allow,
        Ok(HeadersWithUnderscoresAction::RejectRequest) => Underscores::Reject,
        Ok(HeadersWithUnderscoresAction::DropHeader) => Underscores::Drop,
        Err(_) => {
            return Err(path.field("headers_with_underscores_action").reject(fields::unknown_enum(number)));
        }
    })
}

/// HTTP/1 options; defaults for an absent message.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn http1(
    message: Option<&Http1ProtocolOptions>,
    path: &Path<'_>,
) -> Result<Http1Settings, Rejection> {
    let absent = Http1ProtocolOptions::default();
    let Http1ProtocolOptions {
        allow_absolute_url,
        accept_http_10,
        default_host_for_http_10,
        header_key_format,
        enable_trailers,
        allow_chunked_length,
        override_stream_error_on_invalid_http_message,
        send_fully_qualified_url,
        use_balsa_parser: _,     // Chooses between two parsers of Envoy's.
        allow_custom_methods: _, // Any token is a method here, which this would switch on.
        ignore_http_11_upgrade,
    } = message.unwrap_or(&absent);
    refuse!(path; allow_chunked_length, send_fully_qualified_url, ignore_http_11_upgrade);
    refuse_true!(path; override_stream_error_on_invalid_http_message);
    Ok(Http1Settings {
        accept_http_10: *accept_http_10,
        default_host_for_http_10: match default_host_for_http_10.as_str() {
            "" => None,
            host => Some(host.into()),
        },
        allow_absolute_url: fields::flag(allow_absolute_url, true),
        enable_trailers: *enable_trailers,
        header_case: header_case(header_key_format, &path.field("header_key_format"))?,
    })
}

fn header_case(format: &Option<HeaderKeyFormat>, path: &Path<'_>) -> Result<HeaderCase, Rejection> {
    match format.as_ref().and_then(|format| format.header_format.as_ref()) {
        None => Ok(HeaderCase::Lower),
        Some(HeaderFormat::ProperCaseWords(_)) => Ok(HeaderCase::Proper),
        Some(HeaderFormat::StatefulFormatter(_)) => Err(path.field("stateful_formatter").unsupported()),
    }
}

/// Smallest window that a peer may be given (RFC 9113, 6.9.2: it may have sent as much before it knows), bytes.
const SMALLEST_WINDOW: u32 = 65_535;
/// Envoy's default windows, bytes.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 24 << 20;
/// Streams that may stand still before all of their connection does.
const STREAMS_PER_WINDOW: u32 = 16;

/// What a window lets in is held until somebody reads it, so one that nobody has set follows from the buffer limit.
fn stream_window(buffer_limit: usize) -> u32 {
    u32::try_from(buffer_limit).unwrap_or(u32::MAX).clamp(SMALLEST_WINDOW, STREAM_WINDOW)
}

fn connection_window(buffer_limit: usize) -> u32 {
    stream_window(buffer_limit).saturating_mul(STREAMS_PER_WINDOW).min(CONNECTION_WINDOW)
}

/// HTTP/2 options; defaults for an absent message.
#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
pub(super) fn http2(
    message: Option<&Http2ProtocolOptions>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Http2Settings, Rejection> {
    let absent = Http2ProtocolOptions::default();
    let Http2ProtocolOptions {
        hpack_table_size,
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        allow_connect,
        allow_metadata,
        max_outbound_frames,
        max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent,
        stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message,
        custom_settings_parameters,
        connection_keepalive,
        use_oghttp2_codec: _,       // Chooses between two codecs of Envoy's.
        max_metadata_size: _,       // Only with allow_metadata, which is refused.
        enable_huffman_encoding: _, // A matter of the encoder; both forms decode.
        max_header_field_size_kb,
        disallow_obs_text: _, // RFC 9110 allows the bytes; passing them on is Envoy's default too.
        stream_reset_burst,
        stream_reset_rate,
    } = message.unwrap_or(&absent);
    refuse!(path; allow_metadata, stream_error_on_invalid_http_messaging, custom_settings_parameters);
    refuse_true!(path; override_stream_error_on_invalid_http_message);
    warn_set!(scope, path, "is not in effect: the codec's own flood limits hold";
        max_outbound_frames, max_outbound_control_frames, max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream, max_inbound_window_update_frames_per_data_frame_sent,
        stream_reset_burst, stream_reset_rate);
    warn_set!(scope, path, "is not in effect: only the size of the whole head is limited";
        max_header_field_size_kb);
    let window = |value, name| fields::count_in(value, SMALLEST_WINDOW..=i32::MAX as u32, &path.field(name));
    let streams_path = path.field("max_concurrent_streams");
    let streams = fields::count_in(max_concurrent_streams, 1..=i32::MAX as u32, &streams_path)?;
    let (keepalive_interval, keepalive_timeout) =
        keepalive(connection_keepalive, &path.field("connection_keepalive"), scope)?;
    Ok(Http2Settings {
        max_concurrent_streams: streams.unwrap_or(1024),
        stream_window: window(initial_stream_window_size, "initial_stream_window_size")?
            .unwrap_or_else(|| stream_window(scope.buffer_limit)),
        connection_window: window(initial_connection_window_size, "initial_connection_window_size")?
            .unwrap_or_else(|| connection_window(scope.buffer_limit)),
        hpack_table_size: fields::count(hpack_table_size).unwrap_or(4096),
        allow_connect: *allow_connect,
        keepalive_interval,
        keepalive_timeout,
    })
}

fn keepalive(
    message: &Option<KeepaliveSettings>,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<(Duration, Duration), Rejection> {
    let Some(KeepaliveSettings { interval, timeout, interval_jitter, connection_idle_interval }) = message
    else {
        return Ok((Duration::ZERO, Duration::ZERO));
    };
    warn_set!(scope, path, "is not in effect: pings are sent at the plain interval"; interval_jitter);
    warn_set!(scope, path, "is not in effect: use interval"; connection_idle_interval);
    let interval = fields::positive_duration(interval, &path.field("interval"))?.unwrap_or(Duration::ZERO);
    let timeout_path = path.field("timeout");
    let timeout = fields::positive_duration(timeout, &timeout_path)?.ok_or_else(|| timeout_path.missing())?;
    Ok((interval, timeout))
}
