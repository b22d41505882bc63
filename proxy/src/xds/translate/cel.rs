//! Expressions of CEL: their dialects, filters of logs, and expressions that come parsed.
//! Sources: `envoy.config.core.v3.CelExpressionConfig`, `google.api.expr.v1alpha1.Expr`.

use outrigger_xds_protos::any;
use outrigger_xds_protos::v3::accesslog::ExtensionFilter;
use outrigger_xds_protos::v3::accesslog::extension_filter::ConfigType;
use outrigger_xds_protos::v3::cel::constant::ConstantKind;
use outrigger_xds_protos::v3::cel::expr::create_struct::Entry;
use outrigger_xds_protos::v3::cel::expr::create_struct::entry::KeyKind;
use outrigger_xds_protos::v3::cel::expr::{Call, CreateList, CreateStruct, ExprKind, Ident, Select};
use outrigger_xds_protos::v3::cel::{Constant, Expr};
use outrigger_xds_protos::v3::cel_log_filter::ExpressionFilter;
use outrigger_xds_protos::v3::core::CelExpressionConfig;

use super::fields;
use super::path::{Path, Rejection};
use crate::observe::cel::syntax::{Literal, Syntax};
use crate::observe::cel::{Dialect, Program};

/// What a configuration of the language allows.
pub(super) fn dialect(message: Option<&CelExpressionConfig>) -> Dialect {
    let Some(CelExpressionConfig { enable_string_conversion, enable_string_concat, enable_string_functions }) =
        message
    else {
        return Dialect::default();
    };
    Dialect {
        conversion: *enable_string_conversion,
        concatenation: *enable_string_concat,
        functions: *enable_string_functions,
    }
}

/// The `extension_filter` of a log: there is one, of expressions.
pub(super) fn log_filter(message: &ExtensionFilter, path: &Path<'_>) -> Result<Program, Rejection> {
    let ExtensionFilter { name, config_type } = message;
    let path = path.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = config_type else { return Err(path.missing()) };
    if !any::is::<ExpressionFilter>(config) {
        return Err(path.reject(format_args!("{name:?} ({}) is not supported", config.type_url)));
    }
    let unpacked = any::unpack::<ExpressionFilter>(config).map_err(|error| path.reject(error))?;
    let ExpressionFilter { expression, cel_config } = unpacked;
    let program = Program::parse(&expression, dialect(cel_config.as_ref()));
    program.map_err(|error| path.field("expression").reject(error))
}

/// A condition of access rules.
pub(super) fn condition(message: &Expr, dialect: Dialect, path: &Path<'_>) -> Result<Program, Rejection> {
    let syntax = syntax(message, path)?;
    Program::of(syntax, dialect).map_err(|error| path.reject(error))
}

/// The message without its numbers. Its depth is bounded by the protobuf decoder.
fn syntax(message: &Expr, path: &Path<'_>) -> Result<Syntax, Rejection> {
    let Expr { id: _, expr_kind } = message;
    let Some(kind) = expr_kind else { return Err(path.reject("has an expression of no kind")) };
    let all = |many: &[Expr]| many.iter().map(|one| syntax(one, path)).collect::<Result<Vec<_>, _>>();
    Ok(match kind {
        ExprKind::ConstExpr(constant) => Syntax::Literal(literal(constant, path)?),
        ExprKind::IdentExpr(Ident { name }) => Syntax::Name(name.as_str().into()),
        ExprKind::SelectExpr(select) => {
            let Select { operand, field, test_only } = &**select;
            let of = fields::message(operand, &path.field("select_expr").field("operand"))?;
            Syntax::Select { of: Box::new(syntax(of, path)?), field: field.as_str().into(), test: *test_only }
        }
        ExprKind::CallExpr(call) => {
            let Call { target, function, args } = &**call;
            let target = target.as_ref().map(|target| syntax(target, path).map(Box::new)).transpose()?;
            Syntax::Call { target, name: function.as_str().into(), arguments: all(args)? }
        }
        ExprKind::ListExpr(CreateList { elements, optional_indices }) if optional_indices.is_empty() => {
            Syntax::List(all(elements)?)
        }
        ExprKind::ListExpr(_) => return Err(path.field("list_expr").field("optional_indices").unsupported()),
        ExprKind::StructExpr(CreateStruct { message_name, entries }) => {
            let path = path.field("struct_expr");
            if !message_name.is_empty() {
                return Err(path.field("message_name").unsupported());
            }
            Syntax::Map(
                entries.iter().map(|one| entry(one, &path.field("entries"))).collect::<Result<_, _>>()?,
            )
        }
        ExprKind::ComprehensionExpr(_) => return Err(path.field("comprehension_expr").unsupported()),
    })
}

fn entry(message: &Entry, path: &Path<'_>) -> Result<(Syntax, Syntax), Rejection> {
    let Entry { id: _, value, optional_entry, key_kind } = message;
    if *optional_entry {
        return Err(path.field("optional_entry").unsupported());
    }
    let Some(KeyKind::MapKey(key)) = key_kind else { return Err(path.field("map_key").missing()) };
    let value = fields::message(value, &path.field("value"))?;
    Ok((syntax(key, path)?, syntax(value, path)?))
}

#[allow(deprecated, reason = "deprecated kinds are refused by their names")]
fn literal(message: &Constant, path: &Path<'_>) -> Result<Literal, Rejection> {
    let Constant { constant_kind } = message;
    Ok(match constant_kind {
        Some(ConstantKind::NullValue(_)) => Literal::Null,
        Some(ConstantKind::BoolValue(value)) => Literal::Bool(*value),
        Some(ConstantKind::Int64Value(number)) => Literal::Int(*number),
        Some(ConstantKind::Uint64Value(number)) => Literal::Uint(*number),
        Some(ConstantKind::DoubleValue(number)) => Literal::Double(*number),
        Some(ConstantKind::StringValue(text)) => Literal::Text(text.as_str().into()),
        Some(ConstantKind::BytesValue(bytes)) => Literal::Bytes(bytes.as_slice().into()),
        Some(ConstantKind::DurationValue(_)) => return Err(path.field("duration_value").unsupported()),
        Some(ConstantKind::TimestampValue(_)) => return Err(path.field("timestamp_value").unsupported()),
        None => return Err(path.field("const_expr").reject("has no value")),
    })
}
