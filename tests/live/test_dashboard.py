"""The real server on a free loopback port: its answers and refusals."""

import contextlib
import io
import json
import re
import socket
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image

from deepfreak.errors import FrameError, InputError
from deepfreak.live.dashboard import app as app_module
from deepfreak.live.dashboard.app import make_app, without_paths
from deepfreak.live.dashboard.event_stream import MAX_CLIENTS
from deepfreak.live.dashboard.security import Security, check_binding, security_for
from deepfreak.live.dashboard.server import ConnectionLimits, serve
from deepfreak.live.dashboard.upload import UploadLimits, suffix_of
from deepfreak.live.messages import SeriesBegan
from deepfreak.live.statistics import Statistics
from tests.live.frame_outcomes import CLASSES, outcome, picture, rows
from tests.live.sessions import wait_until

TOKEN = "a-token-of-good-length"  # noqa: S105 - it opens nothing but this test
EVERYWHERE = "0.0.0.0"  # noqa: S104 - is refused here
HOSTILE = '<img src=x onerror="alert(1)">/../../etc/passwd'


def verdict(data, suffix):
    if data == b"a wrong image":
        raise FrameError("cannot read '/home/somebody/secret.cbf': expected an image\nat all")
    if data == b"a bug":
        raise RuntimeError("/home/somebody/secret.py has a bug")
    return {"label": "good", "suffix": suffix, "bytes": len(data)}


@contextlib.contextmanager
def running(*, security=None, classify=verdict, statistics=None, upload_limits=None, **limits):
    statistics = statistics or Statistics(classes=CLASSES)
    app = make_app(
        statistics=statistics,
        metrics=lambda: (b"deepfreak_frames_total 7\n", "text/plain; version=0.0.4"),
        classify=classify,
        security=security or Security(),
        upload_limits=upload_limits,
    )
    handle = serve(app, host="127.0.0.1", port=0, limits=ConnectionLimits(**limits))
    try:
        with httpx.Client(base_url=handle.address, timeout=10) as client:
            client.port = handle.port
            client.publisher = app.state.publisher
            yield client
    finally:
        handle.stop()


@pytest.fixture(scope="module")
def client():
    statistics = Statistics(classes=CLASSES, metadata={"source": HOSTILE})
    statistics.notice(SeriesBegan(series=HOSTILE, kind="file"))
    shown = picture(size=300)
    now = time.time()
    statistics.add(rows(outcome(i, now, series=HOSTILE, picture=shown) for i in range(3)))
    with running(statistics=statistics) as client:
        client.statistics = statistics
        yield client


@pytest.fixture(scope="module")
def guarded():
    with running(security=Security(token=TOKEN)) as client:
        yield client


def raw(port, data, *, finish=True):
    """Send bytes and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with contextlib.suppress(OSError):  # a server may refuse and close early
            connection.sendall(data)
            if finish:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionError):
            while chunk := connection.recv(65536):
                received += chunk
        return received


def test_the_page_and_its_parts_are_there_and_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    wanted = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    for name in sorted(wanted):
        script = client.get(name)
        assert script.status_code == 200
        wanted |= {"/static/" + each for each in re.findall(r'from "\./([^"]+)"', script.text)}
    for name in wanted:
        text = client.get(name).text
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text), name
        assert "innerHTML" not in text
    assert not re.search(r"<script(?![^>]*src=)|style=|\son\w+=", page.text)
    assert "https:" not in page.text


@pytest.mark.parametrize("path", ["/", "/docs", "/snapshot", "/static/page.js", "/nothing"])
def test_every_answer_has_the_headers_that_keep_it_in_its_place(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


def test_the_snapshot_is_the_tallys_with_the_colours_of_the_reports(client):
    from deepfreak.reports.palette import class_colours

    snapshot = client.get("/snapshot").json()
    assert snapshot["totals"]["frames"] == 3
    assert snapshot["colours"] == class_colours(CLASSES)
    assert snapshot["metadata"]["source"] == HOSTILE


def test_hits_are_pictures_with_tint_and_peaks(client):
    hit = client.statistics.hits()[0]
    image = Image.open(io.BytesIO(client.get(f"/hits/{hit.id}.png").content))
    assert (image.format, image.size) == ("PNG", (150, 150))
    tint = Image.open(io.BytesIO(client.get(f"/hits/{hit.id}/activation.png").content))
    assert tint.mode == "RGBA"
    peaks = np.array(client.get(f"/hits/{hit.id}/peaks").json()["peaks"])
    assert np.allclose(peaks * 300, hit.outcome.picture.peaks, atol=0.05)


@pytest.mark.parametrize(
    "number", ["0", "-1", "1e3", "x", "1" * 5000, "%2e%2e", "..%2f..%2fetc%2fpasswd", "٣", "1%00"]
)
def test_only_numbers_of_hits_that_are_kept_are_answered(client, number):
    answer = client.get(f"/hits/{number}.png")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "docs.html", "page.html", "%00"])
def test_only_the_parts_of_the_page_are_served(client, name):
    assert client.get(f"/static/{name}").status_code == 404


def test_metrics_and_health_are_told(client):
    metrics = client.get("/metrics")
    assert metrics.text == "deepfreak_frames_total 7\n"
    assert metrics.headers["content-type"] == "text/plain; version=0.0.4"
    assert client.get("/healthz").json() == {"status": "ok"}


def test_docs_list_every_operation_of_the_schema(client):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) >= {"/snapshot", "/events", "/metrics", "/healthz", "/classify"}
    content = schema["paths"]["/classify"]["post"]["requestBody"]["content"]
    assert list(content) == ["application/octet-stream"]
    docs = client.get("/docs").text
    for path in schema["paths"]:
        assert f"<code>{path}</code>" in docs


def test_events_come_at_once_and_go_on_after_a_reconnect(client):
    for last in ({}, {"Last-Event-ID": "99999"}):
        with client.stream("GET", "/events", headers=last) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            numbers = [line for line in _first(lines, 6) if line.startswith(("id:", "data:"))]
        first, data = numbers[0], numbers[1]
        assert int(first[3:]) >= 1
        assert json.loads(data[5:])["totals"]["frames"] == 3


def _first(lines, count):
    return [next(lines) for _ in range(count)]


def test_the_number_of_streams_is_bounded_and_they_are_given_back(client):
    with contextlib.ExitStack() as stack:
        streams = []  # one that is collected is closed
        for _ in range(MAX_CLIENTS):
            stream = stack.enter_context(httpx.stream("GET", f"{client.base_url}/events"))
            streams.append(stream.iter_lines())
            next(streams[-1])
        refused = client.get("/events")
        assert refused.status_code == 503
        assert client.get("/snapshot").status_code == 200
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with client.stream("GET", "/events") as stream:
            if stream.status_code == 200:
                return
    pytest.fail("streams that are gone still count")


@pytest.mark.parametrize(
    ("sent", "suffix"),
    [
        ({"content": b"image"}, ""),
        ({"content": b"image", "headers": {"Content-Type": "image/png"}}, ".png"),
        ({"content": b"image", "params": {"name": "a/b/Frame.CBF"}}, ".cbf"),
        ({"content": b"image", "params": {"name": "..\\..\\x.cbf"}}, ".cbf"),
        (
            {
                "content": b"image",
                "params": {"name": "noname"},
                "headers": {"Content-Type": "IMAGE/tiff; q=1"},
            },
            ".tif",
        ),
        ({"content": b"image", "params": {"name": "x./../etc"}}, ""),
    ],
)
def test_a_file_is_classified_with_its_suffix(client, sent, suffix):
    answer = client.post("/classify", **sent)
    assert answer.json() == {"label": "good", "suffix": suffix, "bytes": 5}


def test_a_binary_file_arrives_whole():
    data = np.random.default_rng(0).bytes(3_000_000) + b"\r\n--boundary\r\n"
    got = []

    def keep(received, suffix):
        got.append(received)
        return {}

    with running(classify=keep) as client:
        client.post("/classify", content=data)
    assert got == [data]


def test_errors_are_one_line_without_paths(client):
    answer = client.post("/classify", content=b"a wrong image")
    assert answer.status_code == 400
    assert answer.json() == {"error": "cannot read 'the file': expected an image at all"}
    answer = client.post("/classify", content=b"a bug")
    assert answer.status_code == 500
    assert answer.json() == {"error": "an error on our side: the program's log says more"}
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_whatever_looks_like_a_path_is_left_out():
    for path in ("/a/b", "C:\\x\\y.h5", "~/x/y", "/etc", "./x/../y", "\\\\host\\share"):
        line = without_paths(f"cannot read {path}: no {path} there")
        assert "/" not in line
        assert "\\" not in line
    assert without_paths("expected 3 of 5 frames") == "expected 3 of 5 frames"


def test_an_empty_body_and_a_form_are_refused(client):
    assert client.post("/classify", content=b"").status_code == 400
    answer = client.post("/classify", files={"file": ("x.h5", b"image")})
    assert answer.status_code == 415
    assert "as the body" in answer.json()["error"]


def test_a_body_that_says_it_is_too_large_is_not_read(client):
    size = UploadLimits().max_bytes + 1
    head = f"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
    assert raw(client.port, head.encode(), finish=False).startswith(b"HTTP/1.1 413")
    huge = head.replace(str(size), "9" * 30)
    assert raw(client.port, huge.encode(), finish=False)[9:12] in {b"400", b"413"}


def test_a_body_that_hides_its_size_is_cut_while_it_is_read():
    sent = 0

    def chunks():
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield b"\0" * (1 << 16)

    with (
        running(upload_limits=UploadLimits(max_bytes=1 << 20)) as client,
        contextlib.suppress(httpx.WriteError, httpx.ReadError),
    ):
        answer = client.post("/classify", content=chunks())
        assert answer.status_code == 413
    assert sent < 32 << 20  # what the sockets' buffers hold beside the megabyte


def test_a_slow_body_is_given_up():
    with running(upload_limits=UploadLimits(pause_s=0.2)) as client:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nab"
        answer = raw(client.port, head, finish=False)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'{"error":' in answer


def test_only_some_files_are_classified_at_once():
    go, busy = threading.Event(), threading.Semaphore(0)

    def slow(data, suffix):
        busy.release()
        go.wait(10)
        return {}

    with running(classify=slow) as client:
        url = f"{client.base_url}/classify"
        senders = [
            threading.Thread(target=httpx.post, args=(url,), kwargs={"content": b"x"})
            for _ in range(app_module.MAX_AT_ONCE)
        ]
        for sender in senders:
            sender.start()
        for _ in senders:
            assert busy.acquire(timeout=10)
        refused = client.post("/classify", content=b"x")
        go.set()
        for sender in senders:
            sender.join()
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert client.post("/classify", content=b"x").status_code == 200


def test_without_a_classifier_no_files_are_taken():
    with running(classify=None) as client:
        assert client.post("/classify", content=b"x").status_code in {404, 405}
        assert "/classify" not in client.get("/openapi.json").json()["paths"]


PATHS = ["/", "/snapshot", "/events", "/metrics", "/docs", "/openapi.json", "/static/page.js"]


@pytest.mark.parametrize("path", [*PATHS, "/hits/1.png", "/nothing"])
def test_without_the_token_nothing_is_told(guarded, path):
    for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = httpx.get(f"{guarded.base_url}{path}", headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", ["/", "/snapshot", "/metrics"])
def test_the_token_opens_as_bearer(guarded, path):
    answer = httpx.get(f"{guarded.base_url}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200


def test_health_needs_no_token(guarded):
    assert httpx.get(f"{guarded.base_url}/healthz").json() == {"status": "ok"}


def test_one_visit_with_the_token_sets_a_cookie_and_leaves_the_address(guarded):
    visit = httpx.get(f"{guarded.base_url}/?token={TOKEN}")
    assert visit.status_code == 303
    assert visit.headers["location"] == "/"
    cookie = visit.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    name, _, value = cookie.partition(";")[0].partition("=")
    assert str(guarded.port) in name
    page = httpx.get(f"{guarded.base_url}/snapshot", headers={"Cookie": f"{name}={value}"})
    assert page.status_code == 200
    for wrong in (f"{name}={value[:-1]}x", f"{name}=", f"other={value}", "\x01;;==", f"{name}=é"):
        answer = httpx.get(
            f"{guarded.base_url}/snapshot", headers={"Cookie": wrong.encode("latin-1")}
        )
        assert answer.status_code in {400, 401}
    assert httpx.get(f"{guarded.base_url}/?token=wrong").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:80", "", "a@localhost", "[::1"]
)
def test_other_names_of_this_address_are_refused(client, host):
    assert client.get("/snapshot", headers={"Host": host}).status_code in {400, 421}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:8000"])
def test_its_own_names_are_known(client, host):
    assert client.get("/snapshot", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_pages_of_other_origins_can_post_nothing(client, headers):
    answer = client.post("/classify", content=b"image", headers=headers)
    assert answer.status_code == 403


def test_pages_of_other_origins_can_load_nothing_but_link_here(client):
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    assert client.get("/events", headers=elsewhere).status_code == 403
    assert client.get("/", headers=elsewhere | {"Sec-Fetch-Mode": "navigate"}).status_code == 200
    own = {"Sec-Fetch-Site": "same-origin", "Origin": str(client.base_url).rstrip("/")}
    assert client.post("/classify", content=b"image", headers=own).status_code == 200


def test_only_loopback_is_bound_without_a_token():
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        check_binding(host, None)
    for host in (EVERYWHERE, "::", "192.168.1.5", "beamline.example", ""):
        with pytest.raises(InputError, match="token") as caught:
            check_binding(host, None)
        assert "\n" not in str(caught.value)
        check_binding(host, TOKEN)
    with pytest.raises(InputError, match="at least 16"):
        check_binding(EVERYWHERE, "short")


def test_a_server_for_others_knows_its_own_names():
    security = security_for("beam.example", TOKEN, names=["alias.example"])
    assert security.knows_host("beam.example:8000")
    assert security.knows_host("alias.example")
    assert security.knows_host(f"{socket.gethostname()}:8000")
    assert security.knows_host("10.1.2.3")
    assert not security.knows_host("other.example")


def test_silent_connections_are_closed():
    with running(head_s=0.2) as client:
        assert raw(client.port, b"", finish=False) == b""
        assert raw(client.port, b"GET / HTTP/1.1\r\nHost: loc", finish=False) == b""
        answered = raw(
            client.port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", finish=False
        )
        assert answered.endswith(b'{"status":"ok"}')  # and then the connection was closed


def test_a_client_that_does_not_read_is_disconnected():
    statistics = Statistics(classes=CLASSES, metadata={"long": "x" * 8_000_000})
    with (
        running(statistics=statistics, unread_s=0.2) as client,
        socket.create_connection(("127.0.0.1", client.port)) as connection,
    ):
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: client.publisher.clients == 1, "the stream")
        wait_until(lambda: client.publisher.clients == 0, "its end")


def test_a_flood_of_connections_leaves_those_that_are_open():
    with running(connections=20) as client:
        assert client.get("/healthz").status_code == 200  # this connection stays open
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(("127.0.0.1", client.port)))
            assert client.get("/healthz").status_code == 200
        with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as another:
            assert another.get(f"{client.base_url}/healthz").status_code == 200


def test_long_headers_are_refused(client):
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: "
    assert raw(client.port, head + b"x" * 20_000 + b"\r\n\r\n")[9:12] in {b"400", b"431"}
    assert raw(client.port, head + b"x" * 1_000_000)[9:12] in {b"400", b""}  # without an end


@pytest.mark.parametrize(
    "junk",
    [b"\0" * 100, b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"],
)
def test_what_is_no_http_is_refused_and_tells_nothing(client, junk):
    answer = raw(client.port, junk)
    assert b"Traceback" not in answer
    assert client.get("/healthz").status_code == 200


def test_other_methods_are_refused_in_one_line(client):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        answer = client.request(method, "/snapshot")
        assert answer.status_code == 405
        assert set(answer.json()) == {"error"}


def test_it_starts_at_once_and_frees_its_port():
    app = make_app(
        statistics=Statistics(classes=CLASSES),
        metrics=lambda: (b"", "text/plain"),
        classify=None,
        security=Security(),
    )
    began = time.monotonic()
    handle = serve(app, host="127.0.0.1", port=0)
    assert time.monotonic() - began < 10.0
    with httpx.stream("GET", f"{handle.address}/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        handle.stop()
        handle.stop()  # a second time, nothing happens
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", handle.port))


def test_a_port_that_is_taken_is_one_line():
    app = make_app(
        statistics=Statistics(classes=CLASSES),
        metrics=lambda: (b"", "text/plain"),
        classify=None,
        security=Security(),
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="another port"):
            serve(app, host="127.0.0.1", port=port)
    with pytest.raises(InputError, match="65535"):
        serve(app, host="127.0.0.1", port=70000)


def test_suffixes_are_letters_and_digits_only():
    assert suffix_of("a.CBF") == ".cbf"
    assert suffix_of("/x/y.tar/..") == ""
    assert suffix_of("x.a;rm -rf") == ""
    assert suffix_of("x." + "a" * 40) == ""
