%%% Services that are runs: what becomes of them when the processes die that look after them.
-module(py_service_runs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, end_per_testcase/2]).
-export([
    the_death_of_its_attempt_and_of_the_server_of_runs_is_not_the_service_s/1,
    one_that_is_stopped_while_it_starts_leaves_nothing/1,
    one_that_is_stopped_by_its_name_is_a_stopped_run/1,
    one_that_is_asked_for_in_a_box_does_not_run_out_of_it/1,
    one_that_ends_with_its_supervisor_is_started_again/1,
    an_application_that_is_started_again_has_those_that_last/1
]).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        the_death_of_its_attempt_and_of_the_server_of_runs_is_not_the_service_s,
        one_that_is_stopped_while_it_starts_leaves_nothing,
        one_that_is_stopped_by_its_name_is_a_stopped_run,
        one_that_is_asked_for_in_a_box_does_not_run_out_of_it,
        one_that_ends_with_its_supervisor_is_started_again,
        an_application_that_is_started_again_has_those_that_last
    ].

-define(WAIT_MS, 60_000).

init_per_suite(Config) ->
    _ = application:load(py),
    application:set_env(py, state_dir, filename:join(?config(priv_dir, Config), "state")),
    Source = filename:join(?config(priv_dir, Config), "source"),
    ok = filelib:ensure_path(Source),
    ok = file:write_file(filename:join(Source, "main.py"), [
        "import os, time\n"
        "def init(context, file=None):\n"
        "    open(file + '.begun', 'w').close() if file else None\n"
        "    while file and not os.path.exists(file):\n"
        "        time.sleep(0.05)\n"
        "def handler(context, event):\n"
        "    return str(os.getpid())\n"
    ]),
    started(),
    case py:func('importlib.util', find_spec, [<<"uvicorn">>]) of
        undefined ->
            end_per_suite(Config),
            {skip, "uvicorn is not installed: scripts/setup serve"};
        _ ->
            [{source, unicode:characters_to_binary(filename:absname(Source))} | Config]
    end.

started() -> ok = py_application:start([{default, #{size => 1}}]).

end_per_suite(_Config) ->
    Stopped = py_application:stop(),
    application:unset_env(py, state_dir),
    Stopped.

end_per_testcase(_Case, _Config) ->
    _ = [py_run:stop(Id) || #{id := Id} <- py_run:list(#{state => ['PENDING', 'BUILDING', 'READY', 'RUNNING']})],
    py_eventually:equals([], fun() -> py_run:list(#{state => ['PENDING', 'BUILDING', 'READY', 'RUNNING']}) end, ?WAIT_MS).

%% As `erl.serving.action' begins one.
begun(Config, Init, Lasts) -> begun(Config, Init, Lasts, <<"default">>).

begun(Config, Init, Lasts, Pool) ->
    Source = #{directory => ?config(source, Config), hash => <<"0123456789abcdef">>, handler => <<"handler">>, init_function => <<"init">>,
        init_parameters => Init, project => <<"p">>},
    Options = [{handler, <<"f:handler">>}, {source, json(Source)}, {replicas, 1}, {timeout, ?WAIT_MS}],
    {ok, Id} = py_function:begin_run(<<"{}">>, <<>>, [
        {project, <<"p">>}, {function, <<"f">>}, {pool, Pool}, {retries, 0}, {action, serve}, {environment, []}, {service, [Lasts, Options]}
    ]),
    Id.

json(Map) when is_map(Map) -> iolist_to_binary(["{", lists:join(",", [[$", atom_to_list(Key), "\":", json(Value)] || {Key, Value} <- maps:to_list(Map)]), "}"]);
json(Text) -> [$", Text, $"].

serving(Config) -> serving(begun(Config, #{}, true), 'RUNNING').

serving(Id, State) ->
    py_eventually:holds(fun() -> {ok, #{state := Now}} = py_run:get(Id), Now =:= State end, ?WAIT_MS),
    Id.

url(Id) ->
    {ok, #{state := 'RUNNING', service := #{url := Url}}} = py_run:get(Id),
    Url.

answer(Id) ->
    #{port := Port} = uri_string:parse(url(Id)),
    {200, _, OsPid} = py_http:once(Port, "/"),
    OsPid.

the_death_of_its_attempt_and_of_the_server_of_runs_is_not_the_service_s(Config) ->
    Id = serving(Config),
    OsPid = answer(Id),
    {ok, Attempt} = py_run_attempt:find(Id),
    exit(Attempt, kill),
    py_eventually:holds(fun() -> case py_run_attempt:find(Id) of {ok, Other} -> Other =/= Attempt; error -> false end end, ?WAIT_MS),
    ?assertEqual(OsPid, answer(Id)),
    {ok, #{attempt := 1}} = py_run:get(Id),
    killed(whereis(py_runs)),
    ?assertEqual(OsPid, answer(serving(Id, 'RUNNING'))),
    %% One whose attempt is killed meanwhile, too.
    {ok, Last} = py_run_attempt:find(Id),
    exit(Last, kill),
    killed(whereis(py_runs)),
    ?assertEqual(OsPid, answer(serving(Id, 'RUNNING'))),
    ok = py_run:stop(Id),
    {ok, #{state := 'STOPPED'}} = py_run:wait(Id),
    ?assertEqual([], py_service:list()).

one_that_is_asked_for_in_a_box_does_not_run_out_of_it(Config) ->
    case py:start_pool(boxed, #{size => 1, sandbox => bwrap}) of
        {ok, _} ->
            Id = serving(begun(Config, #{}, true, <<"boxed">>), 'ERROR'),
            {ok, #{message := Message}} = py_run:get(Id),
            ?assertMatch({match, _}, re:run(Message, "the pool boxed has boxes, .* Name a pool without the option sandbox")),
            %% Nor in an environment, whose Python is no pool's.
            Place = #{pool => <<"boxed">>, venv => "/nowhere", env => [], secrets => [], limits => #{}, directory => ?config(priv_dir, Config)},
            ?assertMatch({error, {py, {service, <<"s">>, "the pool boxed has boxes" ++ _}}}, py_service_runs:start(<<"s">>, #{handler => <<"f:handler">>}, Place)),
            ?assertEqual([], py_service:list()),
            ok = py:stop_pool(boxed);
        {error, Reason} ->
            {skip, lists:flatten(io_lib:format("there are no boxes here: ~tP", [Reason, 20]))}
    end.

killed(Server) ->
    exit(Server, kill),
    py_eventually:holds(fun() -> is_pid(whereis(py_runs)) andalso whereis(py_runs) =/= Server end, ?WAIT_MS).

one_that_is_stopped_while_it_starts_leaves_nothing(Config) ->
    File = filename:absname(filename:join(?config(priv_dir, Config), "never")),
    Id = begun(Config, #{file => unicode:characters_to_binary(File)}, true),
    py_eventually:holds(fun() -> filelib:is_regular(File ++ ".begun") end, ?WAIT_MS),
    {ok, #{state := 'PENDING'}} = py_run:get(Id),
    ok = py_run:stop(Id),
    {ok, #{state := 'STOPPED'}} = py_run:wait(Id),
    ?assertEqual([], py_service:list()).

one_that_is_stopped_by_its_name_is_a_stopped_run(Config) ->
    Id = serving(Config),
    [#{name := Name}] = py_service:list(),
    ok = py_service:stop(Name),
    {ok, #{state := 'STOPPED'}} = py_run:wait(Id).

one_that_ends_with_its_supervisor_is_started_again(Config) ->
    Id = serving(Config),
    Url = url(Id),
    exit(whereis(py_service_sup), kill),
    Again = fun() ->
        case py_run:get(Id) of
            {ok, #{state := 'RUNNING', attempt := Attempt}} -> Attempt =:= 2;
            _ -> false
        end
    end,
    py_eventually:holds(Again, ?WAIT_MS),
    ?assertEqual(Url, url(Id)),
    _ = answer(Id),
    ok.

an_application_that_is_started_again_has_those_that_last(Config) ->
    Id = serving(Config),
    Own = serving(begun(Config, #{}, false), 'RUNNING'),
    Url = url(Id),
    ok = py_application:stop(),
    started(),
    {ok, #{state := 'STOPPED'}} = py_run:get(Own),
    ?assertEqual(Url, url(serving(Id, 'RUNNING'))),
    _ = answer(Id),
    ok.
