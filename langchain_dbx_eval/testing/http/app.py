"""The workspace's routes: who may ask, what is found where, and how errors look."""

from __future__ import annotations

import hmac
import logging
import uuid
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from langchain_dbx_eval.testing.errors import Refusal
from langchain_dbx_eval.testing.http import driver_proxy
from langchain_dbx_eval.testing.http import invocations as serving
from langchain_dbx_eval.testing.lakehouse.routes import add_data_routes
from langchain_dbx_eval.testing.lakehouse.statement_api import LINKS
from langchain_dbx_eval.testing.request_log import RecordedRequest
from langchain_dbx_eval.testing.serving.endpoints import EndpointKind
from langchain_dbx_eval.testing.state import WorkspaceState

__all__ = ["create_app"]

_logger = logging.getLogger(__name__)

_DISCOVERY = "/.well-known/databricks-config"
_OIDC_DISCOVERY = "/oidc/.well-known/oauth-authorization-server"
_ALIASES: dict[str, EndpointKind] = {
    "/serving-endpoints/chat/completions": "chat",
    "/serving-endpoints/completions": "completions",
    "/serving-endpoints/embeddings": "embeddings",
    "/serving-endpoints/responses": "responses",
}


def create_app(site: WorkspaceState) -> Flask:
    """The HTTP side of a workspace.

    Args:
        site: What the workspace holds; the app reads it anew for each request.

    Returns:
        A WSGI application.
    """
    app = Flask(__name__, static_folder=None)
    # Otherwise werkzeug answers a doubled slash with a redirect (308).
    app.url_map.merge_slashes = False
    _add_checks(app, site)
    _add_errors(app)
    _add_discovery(app, site)
    _add_serving(app, site)
    _add_driver_proxy(app)
    add_data_routes(app, site.lakehouse, site.sql_faults)
    return app


def _add_checks(app: Flask, site: WorkspaceState) -> None:
    @app.before_request
    def record() -> None:
        g.request_id = str(uuid.uuid4())
        headers = dict(request.headers.items())
        if "Authorization" in headers:
            headers["Authorization"] = "***"
        body = serving.json_body(request)
        site.log.add(RecordedRequest(request.method, request.path, headers, body))

    @app.before_request
    def refuse_stopped_cluster() -> None:
        # Before the token is looked at: so Databricks does, as measured.
        cluster = (request.view_args or {}).get("cluster")
        if cluster in site.stopped_clusters:
            raise Refusal(400, "INVALID_STATE", f"Cluster {cluster} is in Terminated state")

    @app.before_request
    def authenticate() -> None:
        if request.path not in (_DISCOVERY, _OIDC_DISCOVERY) and not request.path.startswith(LINKS):
            _check_token(request.headers.get("Authorization", ""), site.token)

    @app.after_request
    def add_request_id(response: Response) -> Response:
        response.headers.setdefault("x-request-id", g.request_id)
        return response


def _check_token(authorization: str, token: str) -> None:
    """Refuse a missing or a wrong token, in the gateway's words and statuses.

    Databricks answers a missing credential with 401 (pipedream issue 20701), a wrong token with
    403 (databricks-sdk-go issue 873), both with the status as a number in `error_code`.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        message = "Credential was not sent or was of an unsupported type for this API."
        headers = {"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'}
        raise Refusal(401, 401, f"{message} [ReqId: {g.request_id}]", headers)
    if not hmac.compare_digest(given.strip().encode(), token.encode()):
        reason = "Invalid access token."
        headers = {"X-Databricks-Reason-Phrase": reason}
        raise Refusal(403, 403, f"{reason} [ReqId: {g.request_id}]", headers)


def _add_errors(app: Flask) -> None:
    def answer(refusal: Refusal) -> Response:
        text = serving.to_json(refusal.payload)
        return Response(text, refusal.status, refusal.headers, mimetype="application/json")

    app.register_error_handler(Refusal, answer)

    @app.errorhandler(HTTPException)
    def no_such_route(_: HTTPException) -> Response:
        message = f"No API found for '{request.method} {request.path}'"
        return answer(Refusal(404, "ENDPOINT_NOT_FOUND", message))

    @app.errorhandler(ConnectionResetError)
    def hang_up(_: ConnectionResetError) -> Response:
        # To the server an OSError in the body means: hang up without an end.
        return Response(_broken_off(), mimetype="application/json")

    @app.errorhandler(Exception)
    def model_failed(_: Exception) -> Response:
        # For whoever wrote the function; the client learns no more than from Databricks.
        _logger.exception("%s %s failed", request.method, request.path)
        message = f"The server encountered an internal error. [ReqId: {g.request_id}]"
        return answer(Refusal(500, "INTERNAL_ERROR", message))


def _broken_off() -> Iterator[bytes]:
    # Before the first byte, so not even the headers are sent.
    raise ConnectionResetError
    yield


def _add_discovery(app: Flask, site: WorkspaceState) -> None:
    """What databricks-sdk asks before it authenticates (0.156: even with a token)."""

    @app.get(_DISCOVERY)
    def databricks_config() -> dict[str, str]:
        return {"oidc_endpoint": f"{request.host_url}oidc", "workspace_id": site.org_id}

    @app.get(_OIDC_DISCOVERY)
    def oauth_authorization_server() -> dict[str, str]:
        oidc = f"{request.host_url}oidc/v1"
        return {"authorization_endpoint": f"{oidc}/authorize", "token_endpoint": f"{oidc}/token"}


def _add_serving(app: Flask, site: WorkspaceState) -> None:
    @app.post("/serving-endpoints/<name>/invocations")
    def invoke(name: str) -> Response:
        return serving.query(site, serving.find_endpoint(site, name), request)

    def query_alias() -> Response:
        return serving.query_by_model(site, _ALIASES[request.path], request)

    for path in _ALIASES:
        app.add_url_rule(path, view_func=query_alias, methods=["POST"])

    @app.get("/api/2.0/serving-endpoints/<name>")
    def describe(name: str) -> dict[str, object]:
        return serving.find_endpoint(site, name).describe()

    @app.get("/api/2.0/serving-endpoints")
    def list_endpoints() -> dict[str, object]:
        return {"endpoints": [endpoint.describe() for endpoint in list(site.endpoints.values())]}


def _add_driver_proxy(app: Flask) -> None:
    app.url_map.converters["app_path"] = driver_proxy.AppPath
    base = "/driver-proxy-api/o/<org>/<cluster>/<int(min=1, max=65535):port>"
    options: dict[str, Any] = {"methods": driver_proxy.METHODS, "provide_automatic_options": False}

    @app.route(base, **options)
    @app.route(f"{base}/<app_path:path>", **options)
    def proxy(port: int, **_: str) -> Response:
        return driver_proxy.forward(request, port)
