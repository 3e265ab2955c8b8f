"""Asks for a login on locust's web page, and keeps pages of other sites from using it in a browser that is logged in."""

import hmac
import os
import secrets
from typing import Any
from urllib.parse import urlsplit

from flask import Response, abort, redirect, request, session
from flask_login import UserMixin, login_user  # type: ignore[import-untyped]

from common.gateway.loopback_only import is_loopback

PASSWORD_VARIABLE = "LOAD_PASSWORD"
LOGIN_PATH = "/log-in"


class User(UserMixin):
    """Whoever knows the password."""

    id = "load"


def require_password(web_ui: Any) -> str:
    """Ask for a password, that of LOAD_PASSWORD or one made here; returns the sentence that tells the user which."""
    user_password, app = os.environ.get(PASSWORD_VARIABLE), web_ui.app
    password = user_password or secrets.token_urlsafe(12)
    app.secret_key = secrets.token_bytes(32)
    # Strict: a request that begins on another site has no cookie. A name of its own, because all ports of a host share cookies.
    app.config.update(SESSION_COOKIE_NAME="load", SESSION_COOKIE_SAMESITE="Strict", SESSION_COOKIE_HTTPONLY=True)
    web_ui.login_manager.user_loader(lambda name: User() if name == User.id else None)
    base = (web_ui.environment.parsed_options.web_base_path or "").rstrip("/")
    web_ui.auth_args = {"custom_form": {
        "inputs": [{"label": "Password", "name": "password", "is_secret": True}],
        "callback_url": base + LOGIN_PATH,
        "submit_button_text": "Log in"}}  # fmt: skip

    def log_in() -> Response:
        if hmac.compare_digest(request.form.get("password", "").encode(), password.encode()):
            session.pop("auth_error", None)
            login_user(User())
            return redirect(base + "/")  # type: ignore[return-value]
        session["auth_error"] = "another password is needed: locust printed it when it started"
        return redirect(base + "/login")  # type: ignore[return-value]

    app.add_url_rule(base + LOGIN_PATH, "log_in", log_in, methods=["POST"])
    app.before_request(lambda: _refuse_other_sites(web_ui.host))
    return f"locust's page asks for the password {f'in {PASSWORD_VARIABLE}' if user_password else password}"


def _refuse_other_sites(host: str) -> None:
    """Refuses requests of other sites' pages; on this machine alone also other host names, which may be such a page's."""
    if is_loopback(host) and not is_loopback(urlsplit(f"//{request.host}").hostname or ""):
        abort(403)
    origin = request.headers.get("Origin")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin") or (
        origin is not None and urlsplit(origin).netloc != request.host
    ):
        abort(403)
