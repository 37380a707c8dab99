"""The Flask application of a workspace: authentication, recording of requests, error responses."""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterator

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.testing.errors import ApiError
from langchain_dbx_eval.testing.http.driver_proxy import add_driver_proxy_routes
from langchain_dbx_eval.testing.http.json_body import json_body, to_json
from langchain_dbx_eval.testing.http.lakehouse_routes import add_lakehouse_routes
from langchain_dbx_eval.testing.http.serving_routes import add_serving_routes
from langchain_dbx_eval.testing.lakehouse.statement_api import DOWNLOAD_PATH
from langchain_dbx_eval.testing.state import RecordedRequest, WorkspaceState

__all__ = ["create_app"]

_logger = get_logger(__name__)

_DISCOVERY_PATH = "/.well-known/databricks-config"
_OIDC_DISCOVERY_PATH = "/oidc/.well-known/oauth-authorization-server"
_PUBLIC_PATHS = (_DISCOVERY_PATH, _OIDC_DISCOVERY_PATH, DOWNLOAD_PATH)


def create_app(state: WorkspaceState) -> Flask:
    """Create the WSGI application of a workspace.

    Args:
        state: The workspace, read on each request.
    """
    app = Flask(__name__, static_folder=None)
    # Otherwise werkzeug answers a doubled slash with a redirect (308).
    app.url_map.merge_slashes = False
    _add_request_hooks(app, state)
    _add_error_handlers(app)
    _add_discovery_routes(app, state)
    add_serving_routes(app, state)
    add_driver_proxy_routes(app)
    add_lakehouse_routes(app, state)
    return app


def _add_request_hooks(app: Flask, state: WorkspaceState) -> None:
    @app.before_request
    def record() -> None:
        g.request_id = str(uuid.uuid4())
        headers = dict(request.headers.items())
        if "Authorization" in headers:
            headers["Authorization"] = "***"
        body = json_body(request)
        state.requests.append(RecordedRequest(request.method, request.path, headers, body))

    @app.before_request
    def check_cluster() -> None:
        # Before the token is verified: measured on Databricks.
        cluster = (request.view_args or {}).get("cluster")
        if cluster in state.stopped_clusters:
            raise ApiError(400, "INVALID_STATE", f"Cluster {cluster} is in Terminated state")

    @app.before_request
    def authenticate() -> None:
        if not request.path.startswith(_PUBLIC_PATHS):
            _verify_token(request.headers.get("Authorization", ""), state.token)

    @app.after_request
    def add_request_id(response: Response) -> Response:
        response.headers.setdefault("x-request-id", g.request_id)
        return response


def _verify_token(authorization: str, token: str) -> None:
    """Raise for a missing or wrong token, with the gateway's wording and statuses.

    Databricks answers a missing credential with 401 (pipedream issue 20701), a wrong token with
    403 (databricks-sdk-go issue 873), both with the status as a number in `error_code`.
    """
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "bearer":
        message = "Credential was not sent or was of an unsupported type for this API."
        headers = {"WWW-Authenticate": 'Bearer realm="DatabricksRealm"'}
        raise ApiError(401, 401, f"{message} [ReqId: {g.request_id}]", headers)
    if not hmac.compare_digest(credential.strip().encode(), token.encode()):
        reason = "Invalid access token."
        headers = {"X-Databricks-Reason-Phrase": reason}
        raise ApiError(403, 403, f"{reason} [ReqId: {g.request_id}]", headers)


def _add_error_handlers(app: Flask) -> None:
    @app.errorhandler(ApiError)
    def to_response(error: ApiError) -> Response:
        text = to_json(error.payload)
        return Response(text, error.status, error.headers, mimetype="application/json")

    @app.errorhandler(HTTPException)
    def on_unknown_route(_: HTTPException) -> Response:
        message = f"No API found for '{request.method} {request.path}'"
        return to_response(ApiError(404, "ENDPOINT_NOT_FOUND", message))

    @app.errorhandler(ConnectionResetError)
    def close_connection(_: ConnectionResetError) -> Response:
        # The server closes the connection when the body raises OSError.
        return Response(_raise_before_headers(), mimetype="application/json")

    @app.errorhandler(Exception)
    def on_backend_error(_: Exception) -> Response:
        # The author of the function needs the traceback; Databricks does not send it to clients.
        _logger.exception("%s %s failed", request.method, request.path)
        message = f"The server encountered an internal error. [ReqId: {g.request_id}]"
        return to_response(ApiError(500, "INTERNAL_ERROR", message))


def _raise_before_headers() -> Iterator[bytes]:
    raise ConnectionResetError
    yield


def _add_discovery_routes(app: Flask, state: WorkspaceState) -> None:
    """Add the documents that databricks-sdk reads before it authenticates (0.156: always)."""

    @app.get(_DISCOVERY_PATH)
    def databricks_config() -> dict[str, str]:
        return {"oidc_endpoint": f"{request.host_url}oidc", "workspace_id": state.org_id}

    @app.get(_OIDC_DISCOVERY_PATH)
    def oauth_authorization_server() -> dict[str, str]:
        oidc = f"{request.host_url}oidc/v1"
        return {"authorization_endpoint": f"{oidc}/authorize", "token_endpoint": f"{oidc}/token"}
