%%% @doc The services of this node, each under its name.
%%% @private
-module(py_service_sup).
-behaviour(supervisor).

-export([start_link/0, check/1, problem/1, start_service/3, stop_service/2, find/1, infos/0, metrics/0, drain/1]).
-export([init/1]).

%% What ending fronts, replicas and the socket takes beside the drain.
-define(STOP_MS, 30_000).
%% How long the end of a run may take to be written.
-define(WRITTEN_MS, 2_000).

-spec start_link() -> supervisor:startlink_ret().
start_link() -> supervisor:start_link({local, ?MODULE}, ?MODULE, []).

%% @doc Options of a service and of its pool, checked.
-spec check(term()) -> {ok, {Service :: map(), py_config:pool()}} | {error, py_options:problem()}.
check(Options) ->
    case py_service_options:check(Options) of
        {ok, {Service, Pool}} ->
            case py_service_server:config(Service, Pool) of
                {ok, Config} -> {ok, {Service, Config}};
                Error -> Error
            end;
        Error ->
            Error
    end.

%% @doc What is wrong with options, for Python; nothing where they are right.
-spec problem([{atom(), term()}]) -> binary().
problem(Options) ->
    case check(py_service_options:of_pairs(Options)) of
        {ok, _} -> <<>>;
        {error, Problem} -> unicode:characters_to_binary(py_options:describe(Problem))
    end.

%% @doc Start one; returns when it is ready.
-spec start_service(Name :: binary(), Service :: map(), py_config:pool()) -> ok | {error, {py, py_error:reason()}}.
start_service(Name, Service, Config) ->
    case py_service_port:free(Service) of
        {ok, Port} -> started(Name, Service#{port := Port}, Config);
        {error, Text} -> {error, {py, {service, Name, Text}}}
    end.

started(Name, Service, Config) ->
    Child = #{
        id => Name, start => {py_service_server, start_link, [Service#{metrics => fun ?MODULE:metrics/0}, Config]}, restart => transient, shutdown => ?STOP_MS
    },
    case py_children:ask(?MODULE, {start_child, Child}) of
        {ok, Server} ->
            case py_service_server:await(Server) of
                ok ->
                    ok;
                {error, _} = Error ->
                    _ = py_children:remove(?MODULE, Name),
                    Error
            end;
        {error, already_present} ->
            _ = py_children:ask(?MODULE, {delete_child, Name}),
            started(Name, Service, Config);
        {error, {already_started, _}} ->
            {error, {py, {service, Name, "a service of that name runs already"}}};
        {error, {{py, _} = Reason, _Child}} ->
            {error, Reason};
        {error, {py, _} = Reason} ->
            {error, Reason};
        {error, Reason} ->
            {error, {py, {service, Name, lists:flatten(io_lib:format("~tP", [Reason, 20]))}}}
    end.

%% @doc Stop one, with its replicas.
-spec stop_service(Name :: binary(), timeout() | default) -> ok | {error, {py, py_error:reason()}}.
stop_service(Name, Drain) ->
    case find(Name) of
        {ok, Server} ->
            py_service_server:drain(Server, Drain),
            _ = py_children:remove(?MODULE, Name),
            ok;
        error ->
            {error, {py, {unknown_service, Name}}}
    end.

-spec find(term()) -> {ok, pid()} | error.
find(Name) ->
    case lists:keyfind(Name, 1, py_children:list(?MODULE)) of
        {Name, Server} -> {ok, Server};
        false -> error
    end.

%% @doc What there is of each.
-spec infos() -> [py_service:info()].
infos() -> [Info || {_, Server} <- py_children:list(?MODULE), {ok, Info} <- [py_service_server:info(Server)]].

%% @doc The metrics of this node, as any of its fronts tells them.
-spec metrics() -> binary().
metrics() -> py_service_figures:text(infos()).

%% @doc The application is about to stop: no new requests, and the open ones may end.
-spec drain(timeout() | default) -> ok.
drain(Drain) ->
    %% Runs that are services know then why those end.
    Ending = py_runs_sup:drain(),
    Monitors = [spawn_monitor(fun() -> stop_service(Name, Drain) end) || {Name, _} <- py_children:list(?MODULE)],
    lists:foreach(fun({_, Monitor}) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Monitors),
    lists:foreach(fun(Id) -> py_run:wait(Id, ?WRITTEN_MS) end, Ending).

-spec init([]) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init([]) ->
    py_service_server:new(),
    py_run_service:provide(py_service_runs),
    {ok, {#{strategy => one_for_one, intensity => 10, period => 10}, []}}.
