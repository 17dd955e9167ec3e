%%% @doc What an operator asks: start, stop, pools, workers, versions.
-module(py_admin).

-export([start/0, stop/0, restart/0, start_pool/2, stop_pool/1, workers/0, workers/1, versions/0]).

%% @doc Start the application and what it needs. A start that fails is also logged, since `erl -s py' shows no result.
-spec start() -> {ok, started} | {error, py_error:reason() | term()}.
start() ->
    case application:ensure_all_started(py) of
        {ok, _} ->
            {ok, started};
        {error, {py, Reason}} ->
            Error = start_reason(Reason),
            logger:error("py did not start: ~ts", [text(Error)]),
            {error, Error}
    end.

%% The application controller wraps what `py_app:start/2' returned.
start_reason({{py, _} = Error, {py_app, start, _}}) -> Error;
start_reason(Reason) -> Reason.

text(Error) ->
    case py_error:text(Error) of
        "" -> io_lib:format("~tp", [Error]);
        Text -> Text
    end.

%% @doc Stop the application; returns when no interpreter is left.
-spec stop() -> {ok, stopped}.
stop() ->
    _ = application:stop(py),
    {ok, stopped}.

-spec restart() -> {ok, restarted} | {error, term()}.
restart() ->
    {ok, stopped} = stop(),
    case start() of
        {ok, started} -> {ok, restarted};
        Error -> Error
    end.

%% @doc Start a pool; returns when its workers serve.
-spec start_pool(py_config:pool_name(), py_config:pool_options()) -> {ok, pid()} | {error, {py, term()}}.
start_pool(Name, Options) when is_atom(Name) ->
    case py_config:pool(Options) of
        {ok, Config} ->
            case whereis(py_pools_sup) of
                undefined -> {error, {py, not_started}};
                _ -> py_pools_sup:start_pool(Name, Config)
            end;
        {error, Problem} ->
            py_error:badarg(2, py_config:describe(Problem), {start_pool, [Name, Options]})
    end;
start_pool(Name, Options) ->
    py_error:badarg(1, "must be the name of a pool, an atom", {start_pool, [Name, Options]}).

-spec stop_pool(py_config:pool_name()) -> ok | {error, {py, not_started | {unknown_pool, term()}}}.
stop_pool(Name) ->
    case whereis(py_pools_sup) of
        undefined ->
            {error, {py, not_started}};
        _ ->
            case py_pools_sup:stop_pool(Name) of
                ok -> ok;
                {error, not_found} -> {error, {py, {unknown_pool, Name}}}
            end
    end.

%% @doc All workers of all pools.
-spec workers() -> [py_worker:info()].
workers() -> lists:append([infos(Pool) || Pool <- py_table:pools()]).

%% @doc The workers of one pool, by slot. One that is just being replaced is left out. Fails with
%% `{py, {unknown_pool, Pool}}' or `{py, not_started}'.
-spec workers(py_config:pool_name()) -> [py_worker:info()].
workers(Pool) ->
    case py_table:pool(Pool) of
        {ok, _} -> infos(Pool);
        {error, Reason} -> py_error:raise({py, Reason}, {workers, [Pool]})
    end.

infos(Pool) ->
    lists:append([
        case py_worker:info(Worker) of
            {ok, Info} -> [Info];
            {error, _} -> []
        end
     || {_Slot, Worker} <- py_table:workers(Pool)
    ]).

%% @doc Versions of everything that takes part. Starts nothing.
-spec versions() -> [{atom(), string() | undefined | not_started | [string()]}].
versions() ->
    [
        {erlang, erlang:system_info(otp_release)},
        {emulator, erlang:system_info(version)},
        {'driver-version', erlang:system_info(driver_version)},
        {lfe, application_version(lfe)},
        {erlport, "0.9.8"},
        {py, application_version(py)},
        {python, python()}
    ].

application_version(Name) ->
    _ = application:load(Name),
    case application:get_key(Name, vsn) of
        {ok, Version} -> Version;
        undefined -> undefined
    end.

python() ->
    case py_table:pools() of
        [] -> not_started;
        [Pool | _] -> string:split(py_call:const(const, [sys, version, #{pool => Pool, timeout => 5_000}]), "\n", all)
    end.
