%%% @doc Services that are runs: what `py_run_service' has started, found and stopped.
%%%
%%% Replicas run in the Python of the run's pool, or in the environment of the function; what speaks HTTP, which that need not have, runs in the pool's.
%%% @private
-module(py_service_runs).
-behaviour(py_run_service).

-export([start/3, find/1, stop/1]).

%% How long the port that it had is waited for, and how often it is looked for.
-define(PORT_MS, 5_000).
-define(LOOK_MS, 100).
%% A pool's own, and what a service says itself.
-define(NOT_OF_POOL, [size, threads, max_queue, call_timeout, on_start, scheduler, python]).

-spec start(Name :: binary(), Options :: map(), py_run_service:place()) -> ok | {error, {py, py_error:reason()}}.
start(Name, Options, #{limits := Limits, directory := Directory, env := Env, secrets := Secrets} = Place) ->
    Memory = case Limits of #{memory := Bytes} -> #{max_memory => Bytes}; _ -> #{} end,
    Log = #{log => #{directory => Directory, hidden => [Secret || {Secret, _} <- Secrets]}},
    #{env := Before} = Own = maps:merge(#{env => []}, of_environment(Place)),
    Asked = maps:merge(maps:merge(Own, Options), maps:merge(Memory, Log#{name => Name, env => Before ++ Env ++ Secrets})),
    case {py_service_sup:check(Asked), named(Place)} of
        {{ok, {_, _}}, {ok, #{sandbox := Sandbox}}} when Sandbox =/= none ->
            {error, {py, {service, Name, no_box(Place)}}};
        {{ok, {Service, Config}}, _} ->
            Found = pool(Place),
            py_service_sup:start_service(Name, at_port(Service#{front => front(Found, Place)}, Place), placed(Config, Found, Place));
        {{error, Problem}, _} ->
            {error, {py, {service, Name, unicode:characters_to_list(py_options:describe(Problem))}}}
    end.

%% Whoever names a box does not trust the handler, whatever Python that would run in.
no_box(#{pool := Pool}) ->
    Text = "the pool ~ts has boxes, and replicas of a run's service are in none: they run with the rights of the node's user. "
        "Name a pool without the option sandbox for a handler that is trusted; py_service:start/1 with sandbox => bwrap serves a module in boxes",
    lists:flatten(io_lib:format(Text, [Pool])).

of_environment(#{venv := Venv}) -> (maps:without(?NOT_OF_POOL, py_env_spec:setting(pool)))#{python => {venv, Venv}};
of_environment(_) -> #{}.

%% That whose runs it would be among; of an environment's the one that front and run have in common.
pool(#{venv := _}) -> named(#{pool => <<"default">>});
pool(Place) -> named(Place).

named(#{pool := Pool}) ->
    case [Config || {Name, Config} <- py_registry:configs(), atom_to_binary(Name) =:= Pool] of
        [Config] -> {ok, Config};
        [] -> none
    end.

placed(#{env := Own} = Config, {ok, Pool}, Place) when not is_map_key(venv, Place) ->
    maps:merge(Config, maps:merge(maps:with([python, cd], Pool), surroundings(py_secret:reveal(Own), Pool)));
placed(Config, _Found, _Place) ->
    Config.

%% What the run says is nearer than what its pool says.
surroundings(Own, #{python_path := OfPool, env := Hidden}) ->
    Paths = case lists:keyfind("PYTHONPATH", 1, Own) of
        {_, [_ | _] = Path} -> string:lexemes(Path, ":") ++ OfPool;
        _ -> OfPool
    end,
    Others = [Variable || {Name, _} = Variable <- py_secret:reveal(Hidden), not lists:keymember(Name, 1, Own)],
    #{python_path => Paths, env => py_secret:hide(Others ++ lists:keydelete("PYTHONPATH", 1, Own))}.

%% Replicas in the pool's Python have uvicorn or not, as that has it; then it is asked with what they have.
front({ok, #{sandbox := none} = Pool}, #{venv := _, env := Env}) ->
    Own = [{unicode:characters_to_list(Name), unicode:characters_to_list(Value)} || {Name, Value} <- Env],
    maps:merge(maps:with([python], Pool), surroundings(Own, Pool));
front(_, #{venv := _}) ->
    #{python => undefined, python_path => []};
front(_, _) ->
    #{}.

%% Those who know its URL find it there again.
at_port(#{port := 0} = Service, #{former := Url}) ->
    case uri_string:parse(Url) of
        #{port := Port} -> awaited(Service#{port := Port}, ?PORT_MS div ?LOOK_MS);
        _ -> Service
    end;
at_port(Service, _Place) ->
    Service.

awaited(Service, 0) ->
    Service#{port := 0};
awaited(Service, Left) ->
    case py_service_port:free(Service) of
        {ok, _} -> Service;
        {error, _} -> receive after ?LOOK_MS -> awaited(Service, Left - 1) end
    end.

-spec find(Name :: binary()) -> {ok, pid(), Url :: binary()} | error.
find(Name) ->
    case py_service_sup:find(Name) of
        {ok, Server} when is_pid(Server) ->
            case {py_service_server:await(Server), py_service_server:url(Server)} of
                {ok, {ok, Url}} -> {ok, Server, Url};
                _ -> stop(Name), error
            end;
        _ ->
            error
    end.

-spec stop(Name :: binary()) -> ok.
stop(Name) ->
    _ = py_service_sup:stop_service(Name, default),
    ok.
