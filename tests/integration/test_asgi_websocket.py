# SPDX-License-Identifier: MIT
"""WebSocket as the ASGI specification and its users expect it, from the handshake to the close
codes, over real processes, in both hosts of Python and on both event loops."""

import ast
import asyncio
import os
import signal

import pytest
import websockets
from asgi_talk import HOSTS, AsgiSite, script, talk, values
from conftest import until
from test_asgi_http import GROWTH_MIB, memory_mib, refused, settled
from ws_talk import CLOSE, CONTINUATION, PING, PONG, TEXT

MIB = 1 << 20
ACCEPT = {"type": "websocket.accept"}


@pytest.fixture(scope="module", params=HOSTS, ids=" ".join)
def site(request, module_site_of):
    site = AsgiSite(module_site_of, *request.param)
    yield site
    assert site.process.stop() == 0


def text(data):
    return {"type": "websocket.send", "text": data}


def close(**more):
    return {"type": "websocket.close", **more}


def refusal(status=401, headers=()):
    return {"type": "websocket.http.response.start", "status": status, "headers": list(headers)}


def refusal_body(data=b"", more_body=False):
    return {"type": "websocket.http.response.body", "body": data, "more_body": more_body}


def scope_of(site, target="/show_scope", **more):
    with site.socket(target, **more) as ws:
        return ast.literal_eval(ws.get())


def opened(site, *steps, **more):
    """A socket to a script that takes the steps after its connect message."""
    target, key = script("receive", *steps)
    ws = site.socket(target, **more)
    return ws, key


# ---- scope and handshake ----


def test_scope_of_a_websocket(site):
    scope = scope_of(site, "/show_scope/caf%C3%A9?x=1", fields=[("X-A", "1"), ("X-A", "2")])
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"]) == ("/show_scope/café", b"/show_scope/caf%C3%A9")
    assert (scope["query_string"], scope["root_path"]) == (b"x=1", "")
    assert [value for name, value in scope["headers"] if name == b"x-a"] == [b"1", b"2"]
    assert list(scope["server"]) == ["127.0.0.1", site.address[1]]
    assert scope["client"][0] == "127.0.0.1" and type(scope["client"][1]) is int
    assert list(scope["subprotocols"]) == []
    assert scope["state"]["number"] == 1
    assert "method" not in scope


def test_open_ones_take_no_requests_place(site_of):
    site = AsgiSite(site_of, "--concurrency", "2", "--queue-timeout", "5")
    sockets = [opened(site, ACCEPT, "receive")[0] for _ in range(12)]
    assert [site.get("/").status for _ in range(20)] == [200] * 20
    for ws in sockets:
        ws.close()


def test_beyond_max_websockets_they_do(site_of):
    site = AsgiSite(
        site_of, "--concurrency", "1", "--max-websockets", "1", "--queue-timeout", "0.5"
    )
    beside = opened(site, ACCEPT, "receive")[0]
    counted = opened(site, ACCEPT, "receive")[0]
    assert site.get("/").status == 503
    counted.close()
    until(lambda: site.get("/").status == 200)
    beside.close()


def test_scheme_is_wss_when_a_trusted_proxy_says_so(site_of):
    site = AsgiSite(site_of, "--trusted-proxies", "127.0.0.1")
    assert scope_of(site, fields=[("X-Forwarded-Proto", "https")])["scheme"] == "wss"


def test_the_first_message_is_connect(site):
    ws, key = opened(site, ACCEPT, "drain")
    with ws:
        assert ws.answer.status == 101
        assert site.notes(key)[0] == {"type": "websocket.connect"}


def test_83_close_before_accept_is_403(site):
    ws, key = opened(site, close())
    with ws:
        assert ws.answer.status == 403
    notes = site.ended(key)
    assert notes[1] == "sent"


def test_83b_an_exception_before_accept_is_500(site):
    ws, key = opened(site, "raise")
    with ws:
        assert ws.answer.status == 500
    site.wait_log(f"RuntimeError: raised by {key}")


def test_83c_returning_before_accept_is_a_refusal(site):
    ws, key = opened(site)
    with ws:
        assert ws.answer.status in (403, 500)


def test_84_a_refusal_with_an_answer_of_the_applications(site):
    headers = [(b"www-authenticate", b"Basic"), (b"x-mine", b"1")]
    ws, key = opened(site, refusal(401, headers), refusal_body(b"go ", True), refusal_body(b"away"))
    with ws:
        assert (ws.answer.status, ws.answer.body) == (401, b"go away")
        assert values(ws.answer, "x-mine") == ["1"]
    assert scope_of(site)["extensions"] == {"websocket.http.response": {}}


def test_84b_with_or_without_a_body(site):
    for steps in ([refusal(404), refusal_body()], [refusal(503), refusal_body(b"x")]):
        ws, key = opened(site, *steps)
        with ws:
            assert ws.answer.status == steps[0]["status"]


def test_84c_but_not_after_accept(site):
    ws, key = opened(site, ACCEPT, refusal(), text("still open"))
    with ws:
        assert ws.get() == "still open"
    assert refused(site.ended(key)[2])


@pytest.mark.parametrize("offered", [["a", "b"], ["a"], ["chat.v2", "chat.v1", "x"]])
def test_85_subprotocols_are_a_list_and_the_chosen_one_is_told(site, offered):
    assert list(scope_of(site, protocols=offered)["subprotocols"]) == offered
    ws, key = opened(site, {**ACCEPT, "subprotocol": offered[-1]}, protocols=offered)
    with ws:
        assert ws.answer["Sec-WebSocket-Protocol"] == offered[-1]


def test_85b_none_chosen_is_none_told(site):
    ws, key = opened(site, {**ACCEPT, "subprotocol": None}, protocols=["a"])
    with ws:
        assert (ws.answer.status, ws.answer["Sec-WebSocket-Protocol"]) == (101, None)


def test_85c_headers_of_the_acceptance(site):
    headers = [(b"x-mine", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    ws, key = opened(site, {**ACCEPT, "headers": headers})
    with ws:
        assert values(ws.answer, "x-mine") == ["1"]
        assert values(ws.answer, "set-cookie") == ["a=1", "b=2"]


@pytest.mark.parametrize(
    "header", [(b"x-a", b"1\r\nX-Evil: 1"), (b"x-a\r\nX-Evil", b"1"), ("text", b"1")], ids=repr
)
def test_85d_forbidden_characters_in_them_raise(site, header):
    ws, key = opened(site, {**ACCEPT, "headers": [header]}, ACCEPT, text("fine"))
    with ws:
        assert values(ws.answer, "x-evil") == []
        assert ws.get() == "fine"
    assert refused(site.ended(key)[1])


# ---- messages ----


@pytest.mark.parametrize(
    "message",
    ["text", "", "h\xe9llo \u20ac \U0001f600", b"bytes", b"", bytes(range(256)), "x" * 125, "x" * 126]
    + ["x" * 65535, "x" * 65536, b"y" * 300_000, b"z" * (2 * MIB)],
    ids=lambda m: f"{type(m).__name__}-{len(m)}",
)
def test_messages_come_back_as_they_went(site, message):
    with site.socket() as ws:
        ws.put(message)
        assert ws.get() == message


def test_messages_stay_in_order(site):
    with site.socket() as ws:
        sent = [f"{n}" if n % 2 else b"%d" % n for n in range(500)]
        for message in sent:
            ws.put(message)
        assert [ws.get() for _ in sent] == sent


def test_fragments_arrive_as_one_message_with_pings_between(site):
    with site.socket() as ws:
        ws.send_frame(TEXT, "caf".encode(), fin=False)
        ws.send_frame(PING, b"are you there")
        ws.send_frame(CONTINUATION, b"\xc3", fin=False)
        ws.send_frame(CONTINUATION, b"\xa9", fin=True)
        got = ws.frame()
        assert (got.op, got.data) == (PONG, b"are you there")
        assert ws.get() == "café"


def test_either_of_text_and_bytes_may_be_none(site):
    both = {"type": "websocket.send", "bytes": None, "text": "t"}
    other = {"type": "websocket.send", "bytes": b"b", "text": None}
    ws, key = opened(site, ACCEPT, both, other)
    with ws:
        assert (ws.get(), ws.get()) == ("t", b"b")


def test_a_received_message_has_text_or_bytes(site):
    ws, key = opened(site, ACCEPT, "receive", "receive", "drain")
    with ws:
        ws.put("t")
        ws.put(b"b")
        ws.leave()
    received = site.ended(key)[2:4]
    assert [m["type"] for m in received] == ["websocket.receive"] * 2
    assert [(m.get("text"), m.get("bytes")) for m in received] == [("t", None), (None, b"b")]


@pytest.mark.parametrize(
    "wrong",
    [
        ACCEPT,
        {"type": "websocket.send"},
        {"type": "websocket.send", "text": b"bytes"},
        {"type": "websocket.send", "bytes": "text"},
        {"type": "websocket.send", "text": None, "bytes": None},
        {"type": "websocket.nonsense"},
        {"type": "http.response.start", "status": 200},
        close(code="1000"),
        {},
        None,
    ],
    ids=repr,
)
def test_a_wrong_message_raises_in_the_application(site, wrong):
    ws, key = opened(site, ACCEPT, wrong, text("still open"))
    with ws:
        assert ws.get() == "still open"
    assert refused(site.ended(key)[2])


def test_sending_before_accept_raises(site):
    ws, key = opened(site, text("early"), ACCEPT, text("fine"))
    with ws:
        assert ws.get() == "fine"
    assert refused(site.ended(key)[1])


def test_a_message_reaches_the_client_before_the_next_is_made(site):
    ws, key = opened(site, ACCEPT, text("one"), "receive", text("two"))
    with ws:
        assert ws.get() == "one"
        ws.put("go")
        assert ws.get() == "two"


def test_one_task_may_receive_while_another_sends(site):
    with site.socket("/ws_tasks") as ws:
        for n in range(20):
            ws.put(f"{n}")
            assert ws.get() == f"{n}"


# ---- ends ----


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (4001, "caf\xe9 closed"), (1001, "")])
def test_86_the_clients_close_code_reaches_the_application(site, code, reason):
    ws, key = opened(site, ACCEPT, "receive", "receive")
    with ws:
        assert ws.leave(code, reason)[0] == code
        assert ws.is_closed()
    _, _, first, second, end = site.ended(key)
    assert first == {"type": "websocket.disconnect", "code": code, "reason": reason}


def test_86b_a_close_without_a_code_is_1005(site):
    ws, key = opened(site, ACCEPT, "receive")
    with ws:
        ws.leave(None)
    assert site.ended(key)[2]["code"] == 1005


def test_86c_a_client_that_vanishes_is_1006(site):
    ws, key = opened(site, ACCEPT, "receive")
    ws.close()
    assert site.ended(key)[2]["code"] == 1006


def test_86d_sending_after_the_disconnect_raises_an_os_error(site):
    ws, key = opened(site, ACCEPT, "drain", text("late"), close(), text("later"))
    ws.close()
    note = site.ended(key)
    assert "OSError" in note[-4], note
    assert refused(note[-2])


ENDS = [(1000, ""), (1001, "bye"), (4999, "d\xe9j\xe0"), (3000, "r" * 123)]


@pytest.mark.parametrize(("code", "reason"), ENDS)
def test_87_the_applications_close_code_and_reason_reach_the_client(site, code, reason):
    ws, key = opened(site, ACCEPT, close(code=code, reason=reason), "receive")
    with ws:
        assert ws.end() == (code, reason)
        ws.leave(code)
        assert ws.is_closed()


def test_87b_close_has_defaults_and_nothing_may_follow(site):
    ws, key = opened(site, ACCEPT, close(reason=None), text("late"))
    with ws:
        assert ws.end() == (1000, "")
    assert refused(site.ended(key)[-2])


@pytest.mark.parametrize("wrong", [close(code=999), close(code=1005), close(reason="r" * 200)], ids=str)
def test_87c_what_no_close_frame_can_say_raises_or_is_mended(site, wrong):
    ws, key = opened(site, ACCEPT, wrong, close(code=4000))
    with ws:
        code, _ = ws.end()
        assert code is not None and code not in (999, 1005, 1006)


def test_returning_is_a_close_1000(site):
    ws, key = opened(site, ACCEPT, text("last"))
    with ws:
        assert ws.get() == "last"
        assert ws.end()[0] == 1000


def test_an_exception_is_a_close_1011_and_a_traceback(site):
    ws, key = opened(site, ACCEPT, text("last"), "raise")
    with ws:
        assert ws.get() == "last"
        assert ws.end()[0] == 1011
    site.wait_log(f"RuntimeError: raised by {key}")


def test_a_close_ends_what_was_sent_before_it(site):
    ws, key = opened(site, ACCEPT, *[text(f"{n}") for n in range(50)], close(code=4002))
    with ws:
        assert [ws.get() for _ in range(50)] == [f"{n}" for n in range(50)]
        assert ws.end()[0] == 4002


# ---- pressure ----


def test_a_client_that_does_not_read_holds_the_application_back(site):
    pids = [site.site.proxy(), *site.site.workers()]
    before = [memory_mib(pid) for pid in pids]
    with site.socket("/ws_flow?8000", receive_buffer=65536) as ws:
        ws.get()
        sent = settled(lambda: site.value("/ws_flow/seen"))
        grown = [memory_mib(pid) - mib for pid, mib in zip(pids, before)]
        assert sent < 256
        assert max(grown) < GROWTH_MIB, grown
        for _ in range(400):
            assert len(ws.get()) == 65536


def test_an_application_that_does_not_read_holds_the_client_back(site):
    pids = [site.site.proxy(), *site.site.workers()]
    before = [memory_mib(pid) for pid in pids]
    with site.socket("/ws_flow") as ws:
        ws.socket.settimeout(1)
        sent = 0
        try:
            while sent < 2000:
                ws.put(b"y" * 65536)
                sent += 1
        except TimeoutError:
            pass
        grown = [memory_mib(pid) - mib for pid, mib in zip(pids, before)]
        assert sent < 512
        assert max(grown) < GROWTH_MIB, grown
        site.get("/ws_flow/go")
        until(lambda: site.value("/ws_flow/seen") >= sent, "the messages")


@pytest.mark.parametrize("how", ["close", "vanish"])
def test_send_that_waits_for_a_client_fails_when_it_leaves(site, how):
    with site.socket("/ws_until_error", receive_buffer=65536) as ws:
        ws.get()
        if how == "close":
            ws.send_frame(CLOSE, b"\x0f\xa0bye")
            assert ws.end()[0] == 4000
    code, reason = (4000, "bye") if how == "close" else (1006, "")
    gone = {"type": "websocket.disconnect", "code": code, "reason": reason}
    until(lambda: site.value("/ws_until_error/seen") == [True, gone], "the end of the application")


def test_many_sockets_are_open_together(site):
    sockets = [site.socket() for _ in range(100)]
    for n, ws in enumerate(sockets):
        ws.put(f"{n}")
    assert [ws.get() for ws in sockets] == [f"{n}" for n in range(100)]
    assert site.get("/hello").status == 200
    for ws in sockets:
        ws.close()


# ---- a client from elsewhere ----


@pytest.mark.parametrize("compression", ["deflate", None])
def test_the_websockets_library_with_and_without_compression(site, compression):
    messages = ["h\xe9llo", b"\0\1\2", "x" * 100_000, os.urandom(100_000), "", "last"]

    async def conversation(ws):
        for message in messages:
            await ws.send(message)
        return [await ws.recv() for _ in messages]

    assert talk(site.url + "/ws_echo", conversation, compression=compression) == messages


def test_compression_is_negotiated(site):
    offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]
    with site.socket(fields=offer) as ws:
        chosen = ws.answer["Sec-WebSocket-Extensions"]
        assert chosen.startswith("permessage-deflate")
        ws.put("a" * 1000)
        got = ws.frame()
        assert got.rsv == 4 and len(got.data) < 100


def test_its_pings_are_answered(site):
    async def conversation(ws):
        await asyncio.wait_for(await ws.ping(), 10)
        return True

    assert talk(site.url + "/ws_echo", conversation)


def test_it_sees_code_and_reason_of_the_close(site):
    target, key = script("receive", ACCEPT, close(code=4010, reason="over"))

    async def conversation(ws):
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code, closed.rcvd.reason

    assert talk(site.url + target, conversation) == (4010, "over")


# ---- ends of processes ----


def test_a_site_that_stops_tells_its_websockets(site_of):
    site = AsgiSite(site_of, "--graceful-timeout", "3")
    target, key = script("receive", ACCEPT, text("open"), "drain")
    sockets = [site.socket(target) for _ in range(5)]
    assert {ws.get() for ws in sockets} == {"open"}
    site.process.signal(signal.SIGTERM)
    assert {ws.end()[0] for ws in sockets} <= {1001, 1012}
    assert site.process.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_the_application_hears_it_before_its_shutdown(site_of, tmp_path, number):
    journal = tmp_path / "journal"
    options = ["--graceful-timeout", "3", "--env", f"JOURNAL={journal}"]
    site = AsgiSite(site_of, *options, application="apps.asgi_journal")
    codes = {1012} if number == signal.SIGHUP else {1001, 1012}
    with site.socket("/") as ws:
        assert ws.get() == "open"
        site.process.signal(number)
        assert ws.end()[0] in codes
    until(lambda: "shutdown" in journal.read_text().split("\n"), "the shutdown")
    lines = journal.read_text().splitlines()
    [heard] = [line for line in lines if line.startswith("disconnect")]
    assert int(heard.split()[1]) in codes
    assert lines.index(heard) < lines.index("shutdown")
