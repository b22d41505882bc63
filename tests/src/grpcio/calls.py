"""Unary calls of opaque messages over a channel whose target gRPC resolves itself; one line of JSON for each."""

import json
import sys
import time

import grpc


def main() -> None:
    wanted = json.loads(sys.argv[1])
    metadata = [tuple(pair) for pair in wanted["metadata"]]
    with grpc.insecure_channel(wanted["target"]) as channel:
        method = channel.unary_unary(wanted["method"])
        for number in range(wanted["count"]):
            outcome = {"code": "OK", "details": "", "answer": ""}
            try:
                message = f"call {number}".encode()
                answer = method(message, metadata=metadata, timeout=wanted["deadline_s"])
                outcome["answer"] = answer.decode()
            except grpc.RpcError as error:
                outcome["code"] = error.code().name
                outcome["details"] = error.details()
            print(json.dumps(outcome), flush=True)
            time.sleep(wanted["pause_s"])


main()
