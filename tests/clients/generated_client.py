"""Uses the user services through a client that is generated from their OpenAPI document, and through nothing else.

    generated_client.py URL FOLDER SPOOL      exits with 0 when everything is as it should be

The client goes into FOLDER; recovery messages are in SPOOL; the administrator is `root`, with the password below.
"""

import base64
import hashlib
import hmac
import importlib
import json
import pathlib
import pkgutil
import struct
import subprocess
import sys
import time

import httpx
from openapi_spec_validator import OpenAPIV31SpecValidator

URL, FOLDER, SPOOL = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
PASSWORD = "correct horse battery"


def generate():
    document = httpx.get(f"{URL}/openapi.json", trust_env=False).json()
    mistakes = [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not mistakes, mistakes
    (FOLDER / "openapi.json").write_text(json.dumps(document))
    (FOLDER / "config.yml").write_text("post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    command += ["--path", FOLDER / "openapi.json", "--output-path", FOLDER / "users", "--config", FOLDER / "config.yml"]
    subprocess.run(command, check=True)
    sys.path.insert(0, str(FOLDER))


generate()

import users.api
from users import AuthenticatedClient, Client, models
from users.types import UNSET

HTTPX = {"trust_env": False}
anybody = Client(base_url=URL, httpx_args=HTTPX)
modules = [name for _, name, package in pkgutil.walk_packages(users.api.__path__, "users.api.") if not package]
operations = {name.rsplit(".", 1)[1]: importlib.import_module(name) for name in modules}
called = set()


def call(name, status, client, *path, **arguments):
    """Calls an operation; its answer, which has this status and the model that belongs to it."""
    called.add(name)
    answer = operations[name].sync_detailed(*path, client=client, **arguments)
    assert answer.status_code == status, (name, answer)
    assert answer.headers["x-request-id"]
    if status >= 400:
        problem = answer.parsed
        assert isinstance(problem, models.Problem), (name, answer)
        assert problem.status == status and problem.request_id == answer.headers["x-request-id"]
        assert problem.type_.startswith("urn:tidegate:problem:") and problem.title, problem
    elif status == 200:
        assert answer.parsed is not None, (name, answer)
    return answer


def problem(name, status, kind, client, *path, **arguments):
    found = call(name, status, client, *path, **arguments)
    assert found.parsed.type_ == f"urn:tidegate:problem:{kind}", found.parsed
    return found


def bearing(tokens):
    return AuthenticatedClient(base_url=URL, token=tokens.access_token, httpx_args=HTTPX)


def login(name, password=PASSWORD, **more):
    request = models.LoginRequest(username=name, password=password, **more)
    return call("login", 200, anybody, body=request)


def register(name, **more):
    request = models.RegisterRequest(username=name, email=f"{name}@example.org", password=PASSWORD, **more)
    return call("register", 201, anybody, body=request)


def totp_code(secret):
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, struct.pack(">Q", int(time.time()) // 30), hashlib.sha1)
    (number,) = struct.unpack_from(">I", digest, digest[-1] & 15)
    return f"{(number & 0x7FFFFFFF) % 1_000_000:06}"


def accounts():
    made = register("anna", phone="+4930901820")
    anna = made.parsed
    assert made.headers["location"] == f"/v1/users/{anna.id}" and anna.created_at.tzinfo
    again = models.RegisterRequest(username="anna", email="other@example.org", password=PASSWORD)
    problem("register", 409, "taken", anybody, body=again)
    short = models.RegisterRequest(username="bob", email="bob@example.org", password="short")
    refused = problem("register", 422, "invalid-field", anybody, body=short)
    assert "password" in refused.parsed.detail, refused.parsed
    wrong = models.LoginRequest(username="anna", password="wrong password")
    problem("login", 401, "wrong-credentials", anybody, body=wrong)
    return anna


def profile(anna):
    logged_in = login("anna")
    me = bearing(logged_in.parsed)
    seen = logged_in.headers["tidegate-seen"]
    read = call("read_me", 200, me, tidegate_seen=seen)
    assert (read.parsed.id, read.parsed.display_name, read.parsed.phone) == (anna.id, None, "+4930901820")
    tag = read.headers["etag"]
    assert call("read_me", 304, me, if_none_match=tag).headers["etag"] == tag
    change = models.ChangeRequest(display_name="Anna")
    changed = call("change_me", 200, me, body=change, if_match=tag)
    assert changed.parsed.display_name == "Anna" and changed.parsed.phone == "+4930901820"
    problem("change_me", 412, "precondition-failed", me, body=change, if_match=tag)
    away = call("change_me", 200, me, body=models.ChangeRequest(display_name=None))
    assert away.parsed.display_name is None and away.parsed.email == "anna@example.org"
    bearer = problem("read_me", 401, "unauthenticated", AuthenticatedClient(URL, "none", httpx_args=HTTPX))
    assert bearer.headers["www-authenticate"].startswith("Bearer")
    return logged_in.parsed


def others(anna, me):
    bob = register("bob").parsed
    found = call("read_users", 200, me, body=models.BatchRequest(ids=[bob.id, anna.id, "1"])).parsed
    assert [user.username for user in found.users] == ["bob", "anna"]
    assert call("read_user", 200, me, bob.id).parsed.username == "bob"
    problem("read_user", 404, "not-found", me, "1")
    return bob


def sessions(tokens):
    me = bearing(tokens)
    next_ = call("refresh", 200, anybody, body=models.RefreshRequest(refresh_token=tokens.refresh_token)).parsed
    assert next_.refresh_token != tokens.refresh_token and next_.expires_in > 0
    other = bearing(login("anna").parsed)
    items = call("list_sessions", 200, me).parsed.items
    assert len(items) == 2 and sum(item.current for item in items) == 1
    (ended,) = [item.id for item in items if not item.current]
    call("end_session", 204, me, ended)
    problem("end_session", 404, "not-found", me, ended)
    call("read_me", 401, other)
    return bearing(next_)


def history(me):
    deadline = time.time() + 10
    while len(call("read_history", 200, me).parsed.items) < 4:
        assert time.time() < deadline, "logins are in the history a moment later"
        time.sleep(0.05)
    kinds, before = [], UNSET
    while before is not None:
        page = call("read_history", 200, me, limit=3, before=before).parsed
        kinds += [item.kind for item in page.items]
        before = page.next_
    assert sorted(kinds) == ["login", "login", "login_failed", "session_revoked"], kinds
    problem("read_history", 422, "invalid-field", me, limit=101)


def second_factor(me):
    proof = models.ProofRequest(password=PASSWORD)
    problem("begin_totp", 401, "wrong-credentials", me, body=models.ProofRequest(password="wrong password"))
    offer = call("begin_totp", 200, me, body=proof).parsed
    assert offer.uri.startswith("otpauth://totp/")
    code = models.CodeRequest(code=totp_code(offer.secret))
    codes = call("confirm_totp", 200, me, body=code).parsed.recovery_codes
    problem("confirm_totp", 409, "totp-not-pending", me, body=code)
    problem("begin_totp", 409, "totp-on", me, body=proof)
    request = models.LoginRequest(username="anna", password=PASSWORD)
    problem("login", 401, "totp-required", anybody, body=request)
    login("anna", totp=codes[0])
    assert call("export_me", 200, me).parsed.totp.recovery_codes == 9
    call("end_totp", 204, me, body=proof)


def passwords(me):
    change = models.PasswordRequest(current_password=PASSWORD, password="another good one")
    assert call("change_password", 204, me, body=change).headers["tidegate-seen"]
    call("request_recovery", 202, anybody, body=models.RecoveryRequest(email="anna@example.org"))
    deadline = time.time() + 10
    while not (messages := list(SPOOL.glob("*.json"))):
        assert time.time() < deadline, "a message is in the spool soon"
        time.sleep(0.05)
    token = json.loads(messages[0].read_text())["token"]
    confirm = models.ConfirmRequest(token=token, password=PASSWORD)
    call("confirm_recovery", 204, anybody, body=confirm)
    problem("confirm_recovery", 401, "invalid-recovery-token", anybody, body=confirm)
    call("read_me", 401, me)


def administration(anna, bob):
    root = bearing(login("root").parsed)
    found = call("find_user", 200, root, username="bob").parsed
    assert (found.id, found.role, found.totp, found.disabled_at) == (bob.id, "user", False, None)
    call("disable_user", 204, root, bob.id)
    assert call("find_user", 200, root, email="bob@example.org").parsed.disabled_at.tzinfo
    request = models.LoginRequest(username="bob", password=PASSWORD)
    problem("login", 403, "account-disabled", anybody, body=request)
    call("enable_user", 204, root, bob.id)
    problem("find_user", 403, "forbidden", bearing(login("bob").parsed), phone="+4930901820")
    problem("find_user", 422, "invalid-field", root)
    problem("disable_user", 409, "own-account", root, call("read_me", 200, root).parsed.id)
    assert call("find_user", 200, root, phone="+4930901820").parsed.id == anna.id


def service():
    (key,) = call("read_keys", 200, anybody).parsed.keys
    assert (key.kty, key.crv, key.alg) == ("OKP", "Ed25519", "EdDSA")
    assert call("read_health", 200, anybody).parsed.status == "ok"
    assert call("read_document", 200, anybody).parsed["openapi"] == "3.1.0"


def the_end():
    call("logout", 204, (bob := bearing(login("bob").parsed)))
    problem("logout", 401, "unauthenticated", bob)
    me = bearing(login("anna").parsed)
    call("delete_me", 204, me, body=models.ProofRequest(password=PASSWORD))
    request = models.LoginRequest(username="anna", password=PASSWORD)
    problem("login", 401, "wrong-credentials", anybody, body=request)


def locked_out():
    wrong = models.LoginRequest(username="nobody", password="wrong password")
    for _ in range(10):
        problem("login", 401, "wrong-credentials", anybody, body=wrong)
    wait = problem("login", 429, "locked-out", anybody, body=wrong).headers["retry-after"]
    assert 1 <= int(wait) <= 60, wait


anna = accounts()
tokens = profile(anna)
bob = others(anna, bearing(tokens))
me = sessions(tokens)
history(me)
second_factor(me)
passwords(me)
administration(anna, bob)
service()
the_end()
locked_out()
assert called == operations.keys(), f"never called: {operations.keys() - called}"
