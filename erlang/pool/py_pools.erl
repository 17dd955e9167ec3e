%%% @doc The pools of this node as a whole: the application's start and stop, and all workers that there are. Other nodes ask this, too.
%%% @private
-module(py_pools).

-export([start/0, stop/1, workers/0, workers/1]).

%% @doc Start the application and what it needs. A start that fails is also logged, since `erl -s py' shows no result.
-spec start() -> {ok, started} | {error, py_error:reason() | term()}.
start() ->
    _ = application:load(py),
    %% Where it does not start, `py_app' puts the reason there.
    application:set_env(py, start_failure, none),
    Result = application:ensure_all_started(py),
    Failure = application:get_env(py, start_failure, none),
    application:unset_env(py, start_failure),
    case Result of
        {ok, _} ->
            {ok, started};
        {error, {py, Reason}} ->
            Error = start_reason(Reason, Failure),
            logger:error("py did not start: ~ts", [text(Error)]),
            {error, Error};
        {error, _} = Error ->
            Error
    end.

%% The application controller wraps what `py_app:start/2' returned.
start_reason({shutdown, {py_app, start, _}}, {py, _} = Failure) -> Failure;
start_reason({{py, _} = Error, {py_app, start, _}}, _) -> Error;
start_reason(Reason, _) -> Reason.

text(Error) ->
    case py_error:text(Error) of
        "" -> io_lib:format("~tp", [Error]);
        Text -> Text
    end.

%% @doc Stop the application, when the open calls have ended or after this time; returns when no interpreter is left.
-spec stop(Drain :: timeout() | default) -> {ok, stopped}.
stop(Drain) ->
    Drain =:= default orelse drain(Drain),
    _ = application:stop(py),
    {ok, stopped}.

%% What the application's own stop finds has ended then.
drain(Drain) ->
    case py_registry:pools() of
        [] ->
            ok;
        Pools ->
            py_nodes:part(Drain),
            py_registry:stopping(),
            py_pools_sup:drain(Pools, Drain)
    end.

%% @doc All workers of all pools.
-spec workers() -> [py_worker:info()].
workers() -> lists:append([infos(Pool) || Pool <- py_registry:pools()]).

%% @doc The workers of one pool, by slot. One that is just being replaced is left out. Fails with
%% `{py, {unknown_pool, Pool}}' or `{py, not_started}'.
-spec workers(py_config:pool_name()) -> [py_worker:info()].
workers(Pool) ->
    case py_registry:pool(Pool) of
        {ok, _} -> infos(Pool);
        {error, Reason} -> py_error:raise({py, Reason}, {workers, [Pool]})
    end.

infos(Pool) ->
    lists:append([
        case py_worker:info(Worker) of
            {ok, Info} -> [Info];
            {error, _} -> []
        end
     || {_Slot, Worker} <- py_registry:workers(Pool)
    ]).
