%%% @doc What an operator asks: start, stop, one pool, one worker, versions.
%%% @private
-module(py_admin).

-export([stop/1, restart/0, start_pool/2, stop_pool/2, versions/0]).
-export([start_gateway/1, stop_gateway/1]).
-export([child_spec/2, restart_pool/2, resize/2, add_worker/1, remove_worker/1, restart_worker/1, reload/1, reload/2]).

-spec stop(Drain :: timeout() | default) -> {ok, stopped}.
stop(Drain) ->
    is_drain(Drain) orelse py_error:badarg(1, "must be milliseconds or infinity", {stop, [Drain]}),
    py_service_sup:drain(Drain),
    py_pools:stop(Drain).

is_drain(Drain) -> Drain =:= default orelse Drain =:= infinity orelse (is_integer(Drain) andalso Drain >= 0).

-spec restart() -> {ok, restarted} | {error, term()}.
restart() ->
    {ok, stopped} = stop(default),
    case py_pools:start() of
        {ok, started} -> {ok, restarted};
        Error -> Error
    end.

%% @doc Start a pool; returns when its workers serve.
-spec start_pool(py_config:pool_name(), py_pool_options:options()) -> {ok, pid()} | {error, {py, term()}}.
start_pool(Name, Options) when is_atom(Name) ->
    case py_pool_options:check(Options) of
        {ok, Config} ->
            case whereis(py_pools_sup) of
                undefined -> {error, {py, not_started}};
                _ -> py_pools_sup:start_pool(Name, Config)
            end;
        {error, Problem} ->
            py_error:badarg(2, py_options:describe(Problem), {start_pool, [Name, py_pool_options:without_secrets(Options)]})
    end;
start_pool(Name, Options) ->
    py_error:badarg(1, "must be the name of a pool, an atom", {start_pool, [Name, py_pool_options:without_secrets(Options)]}).

%% @doc The specification of a pool as a child of another supervisor.
-spec child_spec(py_config:pool_name(), py_pool_options:options()) -> supervisor:child_spec().
child_spec(Name, Options) ->
    Api = {child_spec, [Name, py_pool_options:without_secrets(Options)]},
    is_atom(Name) orelse py_error:badarg(1, "must be the name of a pool, an atom", Api),
    case py_pool_options:check(Options) of
        {ok, Config} -> py_pool_owner:child_spec(Name, Config);
        {error, Problem} -> py_error:badarg(2, py_options:describe(Problem), Api)
    end.

%% @doc Give all workers of a pool a new Python, one after the other.
-spec restart_pool(py_config:pool_name(), #{start_first => boolean()}) -> ok | {error, {py, term()}}.
restart_pool(Name, Options) ->
    case py_options:check(Options, [#{start_first => [false, true]}]) of
        {ok, Checked} -> running(Name, fun() -> restarted(Name, maps:get(start_first, Checked, false)) end);
        {error, Problem} -> py_error:badarg(2, py_options:describe(Problem), {restart_pool, [Name, Options]})
    end.

restarted(Name, StartFirst) ->
    case proplists:get_value(Name, py_registry:configs()) of
        #{size := Size} when Size > 0 ->
            restarted(Name, StartFirst, [Worker || {_Slot, Worker} <- py_registry:workers(Name)]);
        %% Its workers are all somebody's, or it has been stopped just now.
        _ ->
            {error, {py, {unknown_pool, Name}}}
    end.

restarted(Name, StartFirst, [Worker | Rest]) ->
    case replaced(Name, StartFirst, Worker) of
        ok -> restarted(Name, StartFirst, Rest);
        %% It has gone meanwhile.
        {error, {py, {unknown_worker, Worker}}} -> restarted(Name, StartFirst, Rest);
        {error, _} = Error -> Error
    end;
restarted(_Name, _StartFirst, []) ->
    ok.

replaced(_Name, false, Worker) ->
    restart_worker(Worker);
replaced(Name, true, Worker) ->
    case py_pool:add_worker(Name) of
        {ok, _} -> py_pool:remove_worker(Name, Worker);
        {error, _} = Error -> Error
    end.

%% @doc Stop a pool when its open calls have ended or after this time.
-spec stop_pool(py_config:pool_name(), Drain :: timeout() | default) ->
    ok | {error, {py, not_started | {unknown_pool, term()}}}.
stop_pool(Name, Drain) ->
    is_drain(Drain) orelse py_error:badarg(2, "must be milliseconds or infinity", {stop_pool, [Name, Drain]}),
    case whereis(py_pools_sup) of
        undefined ->
            {error, {py, not_started}};
        _ ->
            case py_pools_sup:stop_pool(Name, Drain) of
                ok -> ok;
                {error, not_found} -> {error, {py, {unknown_pool, Name}}}
            end
    end.

%% @doc Let Python programs drive the pools.
-spec start_gateway(py_gateway_options:options()) -> {ok, file:filename()} | {error, {py, term()}}.
start_gateway(Options) ->
    case py_gateway:check(Options) of
        {ok, #{path := Path} = Checked} ->
            case py_gateway_sup:start_gateway(Checked) of
                {ok, _} -> {ok, Path};
                {error, _} = Error -> Error
            end;
        {error, Problem} ->
            py_error:badarg(1, py_options:describe(Problem), {start_gateway, [Options]})
    end.

-spec stop_gateway(file:name_all()) -> ok | {error, {py, term()}}.
stop_gateway(Path) ->
    py_gateway_options:is_path(Path) orelse py_error:badarg(1, "must be the path of a gateway", {stop_gateway, [Path]}),
    py_gateway_sup:stop_gateway(py_gateway_socket:path(Path)).

%% @doc Change how many workers a pool has. New ones serve when it returns, and those that are too many have ended their
%% calls.
-spec resize(py_config:pool_name(), pos_integer()) -> ok | {error, {py, term()}}.
resize(Name, Size) ->
    (is_integer(Size) andalso Size >= 1 andalso Size =< py_pool_options:max_workers()) orelse
        py_error:badarg(2, "must be an integer from 1 to 1024", {resize, [Name, Size]}),
    running(Name, fun() -> py_pool:resize(Name, Size) end).

-spec add_worker(py_config:pool_name()) -> {ok, pid()} | {error, {py, term()}}.
add_worker(Name) -> running(Name, fun() -> py_pool:add_worker(Name) end).

%% @doc Take a worker away when its open calls have ended, or after its pool's `drain_timeout'.
-spec remove_worker(pid()) -> ok | {error, {py, term()}}.
remove_worker(Worker) ->
    case py_registry:place(Worker) of
        {ok, {Name, _}} -> py_pool:remove_worker(Name, Worker);
        error -> {error, {py, {unknown_worker, Worker}}}
    end.

%% @doc Give a worker a new interpreter when its open calls have ended, or after its pool's `drain_timeout'; returns when
%% that one serves.
-spec restart_worker(pid()) -> ok | {error, {py, term()}}.
restart_worker(Worker) ->
    case py_registry:place(Worker) of
        {ok, _} ->
            case gen_server:receive_response(py_worker:recycle(Worker), infinity) of
                {reply, ok} -> ok;
                {reply, {error, Reason}} -> {error, {py, {worker_down, Reason}}};
                {error, {Reason, _}} when Reason =:= shutdown; Reason =:= noproc -> {error, {py, {worker_down, stopped}}};
                {error, {Reason, _}} -> {error, {py, {worker_down, Reason}}}
            end;
        error ->
            {error, {py, {unknown_worker, Worker}}}
    end.

%% @doc Load a Python module again in all workers of all pools.
-spec reload(py_term:name()) -> [{pid(), ok | not_loaded | {error, term()}}].
reload(Module) -> lists:append([reload(Pool, Module) || Pool <- py_registry:pools()]).

%% @doc The same in one pool.
-spec reload(py_config:pool_name(), py_term:name()) -> [{pid(), ok | not_loaded | {error, term()}}].
reload(Pool, Module) ->
    running(Pool, fun() ->
        [{Worker, reload_in(Worker, Module)} || {_Slot, Worker} <- py_registry:workers(Pool)]
    end).

reload_in(Worker, Module) ->
    case py_route:perform({wrapper, call}, ['erl.calls.objects', reload, [Module], []], #{worker => Worker}, self()) of
        {ok, true} -> ok;
        {ok, false} -> not_loaded;
        {ok, _} -> {error, {py, {protocol, unreadable_answer}}};
        {error, _} = Error -> Error
    end.

running(Name, Fun) ->
    case py_registry:pool(Name) of
        {ok, _} -> Fun();
        {error, Reason} -> {error, {py, Reason}}
    end.

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
    case py_registry:pools() of
        [] -> not_started;
        [Pool | _] -> string:split(py_call:const(const, [sys, version, #{pool => Pool, timeout => 5_000}]), "\n", all)
    end.
