"""DECTRIS detectors: Stream V2 (CBOR) and V1 (JSON) over ZeroMQ, received and spoken."""
