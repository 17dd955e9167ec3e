%%% @doc A handler of Python's as a service: HTTP requests are answered by a pool of replicas, through one queue.
%%%
%%% ```
%%% 1> {ok, Service} = py_service:start(#{handler => "hello:handler", python_path => ["src"]}).
%%% 2> py_service:url(Service).
%%% <<"http://127.0.0.1:40123">>
%%% '''
%%%
%%% A front, a Python of its own, speaks HTTP and knows nothing of the handler; each of the replicas has run the init function before it is
%%% given a request. A replica that dies costs the request that it ran (502); a full queue is 503, a deadline 504. What a handler is given and may return, who
%%% is let in, and what happens to requests when something dies stands in `docs/services.md'.
-module(py_service).

-export([start/1, stop/1, stop/2, list/0, url/1, invoke/2]).
-export_type([service/0, info/0, request/0, response/0]).

-type service() :: binary().
%% The name.
-type info() :: #{
    name := service(),
    url := binary(),
    state := starting | ready | draining,
    handler := binary(),
    pool := py_config:pool_name() | undefined,
    replicas := pos_integer(),
    threads := pos_integer(),
    max_queue := non_neg_integer(),
    fronts := [OsPid :: pos_integer()],
    open := non_neg_integer(),
    left := non_neg_integer(),
    requests := non_neg_integer(),
    statuses := #{100..599 => non_neg_integer()},
    seconds := float(),
    latencies := [{UpTo :: float() | infinity, Count :: non_neg_integer()}]
}.
%% `open': requests without an answer; `left': clients that went away before theirs; `latencies': how many answers took no longer than so many
%% seconds, and longer than the bound before. Counted since the start.
-type request() :: #{
    method => atom() | binary() | string(),
    path => binary() | string(),
    headers => [{binary() | string(), binary() | string()}] | #{binary() | string() => binary() | string()},
    body => iodata(),
    timeout => timeout()
}.
%% `GET' where there is no body, `POST' where there is one; `/'; the service's timeout.
-type response() :: #{status := 200..599, headers := [{binary(), binary()}], body := binary()}.

%% @doc Start a service; returns when its replicas serve and its fronts listen. Options: {@link py_service_options:options()}, and those of
%% a pool. Errors: `{py, {start, Pool, Reason}}' where a replica does not start (its handler can't be imported, its init function raised);
%% `{py, {service, Name, Text}}' where a front does not (the port is taken, uvicorn is missing), or a service of that name runs; `{py, not_started}';
%% `badarg' for options.
-spec start(py_service_options:options() | [{atom(), term()}]) -> {ok, service()} | {error, {py, py_error:reason()}}.
start(Options) ->
    case py_service_sup:check(Options) of
        {ok, {#{name := Name} = Service, Config}} ->
            case py_service_sup:start_service(Name, Service, Config) of
                ok -> {ok, Name};
                {error, _} = Error -> Error
            end;
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), {?MODULE, start, [shown(Options)]})
    end.

shown(Options) when is_map(Options) -> maps:map(fun(init_parameters, _) -> '...'; (_, Value) -> Value end, py_pool_options:without_secrets(Options));
shown(Options) -> Options.

%% @doc Like {@link stop/2}; open requests may end within the pool's `drain_timeout'.
-spec stop(service() | atom()) -> ok | {error, {py, py_error:reason()}}.
stop(Service) -> stop(Service, default).

%% @doc Stop a service. New requests get 503 at once; open ones are answered if they end within `Drain' milliseconds.
-spec stop(service() | atom(), Drain :: timeout() | default) -> ok | {error, {py, py_error:reason()}}.
stop(Service, Drain) -> py_service_sup:stop_service(name(Service), Drain).

name(Service) when is_atom(Service) -> atom_to_binary(Service);
name(Service) -> Service.

%% @doc The services of this node, with their figures.
-spec list() -> [info()].
list() -> py_service_sup:infos().

%% @doc Where a service listens. Fails with `{py, {unknown_service, Service}}'.
-spec url(service() | atom()) -> binary().
url(Service) ->
    case py_service_sup:find(name(Service)) of
        {ok, Server} ->
            case py_service_server:url(Server) of
                {ok, Url} -> Url;
                error -> py_error:raise({py, {unknown_service, Service}}, {?MODULE, url, [Service]})
            end;
        error ->
            py_error:raise({py, {unknown_service, Service}}, {?MODULE, url, [Service]})
    end.

%% @doc Have the handler answer a request, through the queue that all requests wait in, but without HTTP: there is no token and no `Host'. A streamed answer
%% comes whole. Errors: `{py, overload}', `{py, timeout}', `{py, {worker_down, _}}' and the like, as of any call; `{py, {unknown_service, _}}'.
-spec invoke(service() | atom(), request()) -> {ok, response()} | {error, {py, py_error:reason()} | py_error:python_error()}.
invoke(Service, Request) when is_map(Request) ->
    case py_service_sup:find(name(Service)) of
        {ok, Server} -> py_service_request:invoke(py_service_server:service(Server), Request);
        error -> {error, {py, {unknown_service, Service}}}
    end;
invoke(Service, Request) ->
    py_error:badarg(2, "must be a map with method, path, headers and body", {?MODULE, invoke, [Service, Request]}).
