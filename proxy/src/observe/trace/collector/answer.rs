//! What a collector's answer means for the spans that were sent. Source: OpenTelemetry Protocol Specification (partial
//! success, failures, throttling), `google.rpc.RetryInfo`.

use std::time::Duration;

use super::Form;
use crate::observe::protobuf::read::{Fields, Unreadable};
use crate::observe::trace::transport::{Answer, NoAnswer};

/// gRPC: no compression, and the length of the message.
pub(super) const GRPC_PREFIX: usize = 5;
/// The first pause; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest that a collector can make us wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// gRPC status.
const OK: u32 = 0;
const RESOURCE_EXHAUSTED: u32 = 8;
/// CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS.
const PASSING: [u32; 6] = [1, 4, 10, 11, 14, 15];

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector has it, but for so many spans.
    Taken {
        /// Spans that it threw away.
        rejected: u64,
    },
    /// It may take it later.
    Again {
        /// When it said.
        after: Option<Duration>,
        why: String,
    },
    /// It never will.
    Refused(String),
}

/// Judges an answer. One that does not come in time has had its time: who is that slow is not asked the same again.
pub(super) fn judge(form: Form, answer: Result<Answer, NoAnswer>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why @ NoAnswer::Late) => return Outcome::Refused(why.to_string()),
        Err(NoAnswer::Broken(why)) => return Outcome::Again { after: None, why },
    };
    match (form, answer.status) {
        (Form::OtlpGrpc, 200) => of_grpc(&answer),
        (Form::OtlpHttp, 200..=299) => Outcome::Taken { rejected: rejected(&answer.body) },
        (_, 200..=299) if form != Form::OtlpGrpc => Outcome::Taken { rejected: 0 },
        (_, status @ (429 | 502..=504)) => {
            Outcome::Again { after: answer.retry_after, why: format!("answered {status}") }
        }
        (_, status) => Outcome::Refused(format!("answered {status}")),
    }
}

fn of_grpc(answer: &Answer) -> Outcome {
    let Some(code) = answer.grpc_status else {
        return Outcome::Refused("answered without a status".to_owned());
    };
    let after = answer.grpc_details.as_deref().and_then(retry_delay);
    let why = format!("answered with gRPC status {code}");
    match code {
        OK => Outcome::Taken { rejected: answer.body.get(GRPC_PREFIX..).map_or(0, rejected) },
        // Without a time it is the spans that are too many.
        RESOURCE_EXHAUSTED if after.is_none() => Outcome::Refused(why),
        RESOURCE_EXHAUSTED => Outcome::Again { after, why },
        code if PASSING.contains(&code) => Outcome::Again { after, why },
        _ => Outcome::Refused(why),
    }
}

/// `ExportTraceServiceResponse.partial_success.rejected_spans`; nothing of what cannot be read.
fn rejected(message: &[u8]) -> u64 {
    let read = || -> Result<u64, Unreadable> {
        let mut rejected = 0;
        let mut fields = Fields::of(message);
        while let Some((field, item)) = fields.field()? {
            if field == 1 {
                let mut inner = Fields::of(item.bytes()?);
                while let Some((field, item)) = inner.field()? {
                    if field == 1 {
                        rejected = item.number()?;
                    }
                }
            }
        }
        // A negative number is none.
        Ok(if rejected > i64::MAX as u64 { 0 } else { rejected })
    };
    read().unwrap_or(0)
}

/// `RetryInfo.retry_delay` among the details of a `google.rpc.Status`.
fn retry_delay(status: &[u8]) -> Option<Duration> {
    let details = all(status, 3)?;
    let of_type = |any: &&[u8]| {
        let url = all(any, 1).and_then(|urls| urls.first().copied());
        url.is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo"))
    };
    let info = all(details.iter().copied().find(|any| of_type(any))?, 2)?.first().copied()?;
    let delay = all(info, 1)?.first().copied()?;
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields::of(delay);
    while let Some((field, item)) = fields.field().ok()? {
        match field {
            1 => seconds = item.number().ok()?,
            2 => nanos = item.number().ok()?,
            _ => {}
        }
    }
    let whole = Duration::from_secs(seconds.min(LONGEST_PAUSE.as_secs()));
    Some(whole + Duration::from_nanos(nanos.min(999_999_999)))
}

/// The bytes of every field of this number.
fn all(message: &[u8], number: u32) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let mut fields = Fields::of(message);
    while let Some((field, item)) = fields.field().ok()? {
        if field == number {
            found.push(item.bytes().ok()?);
        }
    }
    Some(found)
}

/// How long to wait after so many tries: as long as the collector said, else longer each time, of which half is chance:
/// sidecars lose their collector together and must not come back together.
pub(super) fn pause(told: Option<Duration>, tries: u32, random: f64) -> Duration {
    let own =
        || FIRST_PAUSE.saturating_mul(1 << (tries - 1).min(8)).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    told.unwrap_or_else(own).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::observe::protobuf::Message;

    fn answer(status: u16, grpc_status: Option<u32>) -> Answer {
        Answer { status, body: Bytes::new(), grpc_status, grpc_details: None, retry_after: None }
    }

    fn partial(rejected: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Message(&mut out).message(1, |partial| {
            partial.number(1, rejected);
            partial.bytes(2, b"too old");
        });
        out
    }

    /// A `google.rpc.Status` with a `RetryInfo` of so many seconds.
    fn details(seconds: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut status = Message(&mut out);
        status.number(1, 8);
        status.message(3, |any| {
            any.bytes(1, b"type.googleapis.com/google.rpc.RetryInfo");
            any.message(2, |info| info.message(1, |delay| delay.number(1, seconds)));
        });
        out
    }

    fn again(outcome: &Outcome) -> Option<Option<Duration>> {
        if let Outcome::Again { after, .. } = outcome { Some(*after) } else { None }
    }

    #[test]
    fn what_a_collector_rejects_is_not_sent() {
        let body = Bytes::from(partial(3));
        let http = Answer { body: body.clone(), ..answer(200, None) };
        assert_eq!(judge(Form::OtlpHttp, Ok(http)), Outcome::Taken { rejected: 3 });
        let framed = [&[0, 0, 0, 0, body.len() as u8][..], &body].concat();
        let grpc = Answer { body: framed.into(), ..answer(200, Some(0)) };
        assert_eq!(judge(Form::OtlpGrpc, Ok(grpc)), Outcome::Taken { rejected: 3 });
        for body in [&b""[..], b"\x0a\xff", b"not protobuf", &partial(u64::MAX)] {
            let odd = Answer { body: Bytes::copy_from_slice(body), ..answer(200, None) };
            assert_eq!(judge(Form::OtlpHttp, Ok(odd)), Outcome::Taken { rejected: 0 }, "{body:?}");
        }
    }

    #[test]
    fn what_passes_is_tried_again_when_the_collector_says() {
        for status in [429, 502, 503, 504] {
            for form in [Form::OtlpHttp, Form::OtlpGrpc, Form::ZipkinJson, Form::Datadog] {
                let busy = Answer { retry_after: Some(Duration::from_secs(7)), ..answer(status, None) };
                assert_eq!(again(&judge(form, Ok(busy))), Some(Some(Duration::from_secs(7))), "{status}");
            }
        }
        for (code, expected) in [(14, Some(None)), (1, Some(None)), (8, None), (3, None), (12, None)] {
            assert_eq!(again(&judge(Form::OtlpGrpc, Ok(answer(200, Some(code))))), expected, "{code}");
        }
        for code in [8, 14] {
            let busy = Answer { grpc_details: Some(details(5)), ..answer(200, Some(code)) };
            let after = again(&judge(Form::OtlpGrpc, Ok(busy)));
            assert_eq!(after, Some(Some(Duration::from_secs(5))), "{code}");
        }
        for refusal in [answer(400, None), answer(404, None), answer(500, None), answer(200, None)] {
            assert_eq!(again(&judge(Form::OtlpGrpc, Ok(refusal))), None);
        }
        assert_eq!(again(&judge(Form::OtlpHttp, Err(NoAnswer::Broken("refused".to_owned())))), Some(None));
        assert_eq!(again(&judge(Form::OtlpHttp, Err(NoAnswer::Late))), None);
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let seconds = |told, tries| [0.0, 1.0].map(|random| pause(told, tries, random).as_secs_f64());
        assert_eq!([1, 2, 3].map(|tries| seconds(None, tries)), [[0.5, 1.0], [1.0, 2.0], [2.0, 4.0]]);
        assert_eq!(seconds(Some(Duration::from_secs(12)), 1), [12.0, 12.0]);
        assert_eq!(seconds(Some(Duration::from_secs(3600)), 1), [30.0, 30.0]);
    }
}
