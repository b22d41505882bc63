"""Puts segments into moto's X-Ray and log events into moto's CloudWatch Logs, and reads both back."""

import json
import sys
from collections import Counter

import boto3
from moto import mock_aws

SEGMENTS_PER_CALL = 50
TRACES_PER_CALL = 5
EVENTS_PER_CALL = 1000
REGION = {
    "region_name": "eu-west-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


def parts(items, size):
    return (items[at : at + size] for at in range(0, len(items), size))


def put_segments(documents):
    xray = boto3.client("xray", **REGION)
    refused = []
    for part in parts(documents, SEGMENTS_PER_CALL):
        refused += xray.put_trace_segments(TraceSegmentDocuments=part)["UnprocessedTraceSegments"]
    traces = sorted({json.loads(document)["trace_id"] for document in documents})
    known = Counter()
    for part in parts(traces, TRACES_PER_CALL):
        for trace in xray.batch_get_traces(TraceIds=part)["Traces"]:
            known.update(segment["Document"] for segment in trace["Segments"])
    return refused, sum((known & Counter(documents)).values())


def put_events(events):
    logs = boto3.client("logs", **REGION)
    stream = {"logGroupName": "mesh", "logStreamName": "sidecar"}
    logs.create_log_group(logGroupName="mesh")
    logs.create_log_stream(**stream)
    ordered = sorted(({"timestamp": time, "message": text} for time, text in events), key=lambda one: one["timestamp"])
    refused = []
    for part in parts(ordered, EVENTS_PER_CALL):
        answer = logs.put_log_events(logEvents=part, **stream)
        refused += [answer["rejectedLogEventsInfo"]] if answer.get("rejectedLogEventsInfo") else []
    known, token = Counter(), None
    while True:
        page = {"nextToken": token} if token else {}
        answer = logs.get_log_events(startFromHead=True, limit=1000, **stream, **page)
        if not answer["events"]:
            return refused, sum((known & Counter(text for _, text in events)).values())
        known.update(event["message"] for event in answer["events"])
        token = answer["nextForwardToken"]


given = json.load(sys.stdin)
with mock_aws():
    refused_segments, segments = put_segments(given["segments"])
    refused_events, stored = put_events(given["events"])
json.dump(
    {
        "refused_segments": refused_segments,
        "segments": segments,
        "refused_events": refused_events,
        "events": stored,
    },
    sys.stdout,
)
