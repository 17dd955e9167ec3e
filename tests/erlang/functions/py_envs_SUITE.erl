%%% Environments: built once by real tools from wheels that the tests have made, kept, given to pools and runs; and what dies meanwhile.
-module(py_envs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    an_environment_is_built_once_and_looked_up_from_then_on/1,
    those_who_ask_at_once_wait_for_one_build/1,
    pip_alone_builds_the_same/1,
    what_the_tool_refuses_is_told_in_its_own_words/1,
    a_pool_has_an_environment_and_its_programs_are_where_it_is/1,
    a_run_builds_its_environment_and_its_pool_ends_when_idle/1,
    a_run_whose_environment_can_t_be_built_is_an_error/1,
    a_run_that_was_building_is_built_again_after_a_restart/1,
    more_environments_than_pools_take_turns/1,
    a_build_that_hangs_ends_at_its_deadline/1,
    a_server_that_is_killed_builds_again_for_who_waits/1,
    a_node_that_is_killed_leaves_nothing_that_is_taken_for_whole/1,
    what_is_used_is_not_pruned/1,
    what_can_t_be_kept_or_asked_for_is_told/1
]).

-define(LONG_MS, 60_000).

suite() -> [{timetrap, {minutes, 3}}].

all() ->
    [
        an_environment_is_built_once_and_looked_up_from_then_on,
        those_who_ask_at_once_wait_for_one_build,
        pip_alone_builds_the_same,
        what_the_tool_refuses_is_told_in_its_own_words,
        a_pool_has_an_environment_and_its_programs_are_where_it_is,
        a_run_builds_its_environment_and_its_pool_ends_when_idle,
        a_run_whose_environment_can_t_be_built_is_an_error,
        a_run_that_was_building_is_built_again_after_a_restart,
        more_environments_than_pools_take_turns,
        a_build_that_hangs_ends_at_its_deadline,
        a_server_that_is_killed_builds_again_for_who_waits,
        a_node_that_is_killed_leaves_nothing_that_is_taken_for_whole,
        what_is_used_is_not_pruned,
        what_can_t_be_kept_or_asked_for_is_told
    ].

%% Without uv it is pip that all cases but one are about; the words of the report say which.
init_per_suite(Config) ->
    _ = application:load(py),
    Wheels = py_wheels:make(filename:join(?config(priv_dir, Config), "wheels")),
    application:unset_env(py, environments),
    Tool = py_env_builder:uv(),
    ct:comment("built with ~ts", [if Tool =:= none -> "pip: no uv here, scripts/setup python installs it"; true -> Tool end]),
    [{wheels, Wheels}, {tool, Tool} | Config].

end_per_suite(_Config) -> ok.

init_per_testcase(Case, Config) ->
    %% A name that scripts, shells and configuration files have to quote.
    Directory = filename:join([?config(priv_dir, Config), house(), atom_to_list(Case)]),
    _ = application:load(py),
    application:set_env(py, state_dir, Directory),
    settings(#{}, Config),
    [os:putenv(Name, "1") || Name <- ["UV_OFFLINE", "PIP_NO_INDEX"]],
    ok = py_application:start(),
    [{state_dir, Directory}, {log, filename:join(?config(priv_dir, Config), atom_to_list(Case) ++ ".log")} | Config].

%% Under another locale than UTF-8 uv and pip take no such name.
house() ->
    case file:native_name_encoding() of
        utf8 -> "tea é house";
        latin1 -> "tea house"
    end.

end_per_testcase(_, _Config) ->
    Stopped = py_application:stop(),
    [os:unsetenv(Name) || Name <- ["UV_OFFLINE", "PIP_NO_INDEX"]],
    [application:unset_env(py, Key) || Key <- [state_dir, environments]],
    Stopped.

settings(More, Config) ->
    application:set_env(py, environments, maps:merge(#{uv => ?config(tool, Config), find_links => [?config(wheels, Config)]}, More)).

%% The tool behind a script that notes each of its starts, and does something first.
noted(First, Config) ->
    case ?config(tool, Config) of
        none -> none;
        Tool ->
            Script = ?config(log, Config) ++ ".sh",
            ok = file:write_file(Script, io_lib:format("#!/bin/sh\necho $$ >> '~ts'\n~ts\nexec '~ts' \"$@\"\n", [?config(log, Config), First, Tool])),
            ok = file:change_mode(Script, 8#755),
            settings(#{uv => Script}, Config),
            Script
    end.

starts(Config) ->
    case file:read_file(?config(log, Config)) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim]);
        {error, enoent} -> []
    end.

%% A tool that says so and does nothing until it is ended, as one does that waits for a server.
hanging(Config) ->
    Script = ?config(log, Config) ++ "-hangs.sh",
    ok = file:write_file(Script, io_lib:format("#!/bin/sh\necho $$ >> '~ts'\necho fetching\nsleep 1000 & wait\n", [?config(log, Config)])),
    ok = file:change_mode(Script, 8#755),
    settings(#{uv => Script}, Config).

hangs(Config) -> py_eventually:holds(fun() -> starts(Config) =/= [] end, ?LONG_MS).

is_gone(OsPid) -> not filelib:is_dir("/proc/" ++ binary_to_list(OsPid)) orelse py_fence:group(binary_to_integer(OsPid)) =:= error.

tealeaf() -> #{requirements => [<<"tealeaf">>]}.

entries(Name, Config) ->
    case file:list_dir(filename:join([?config(state_dir, Config), "envs", Name])) of
        {ok, Names} -> Names;
        {error, enoent} -> []
    end.

an_environment_is_built_once_and_looked_up_from_then_on(Config) ->
    _ = noted("", Config),
    {ok, #{key := Key, path := Path, packages := Packages} = Env} = py_env:build(tealeaf()),
    ?assertMatch([<<"cloudpickle==", _/binary>>, <<"erlang", _, "py==", _/binary>>, <<"tealeaf==1.0">>], Packages),
    {ok, Lock} = file:read_file(filename:join(Path, "requirements.lock")),
    ?assertMatch({match, _}, re:run(Lock, "tealeaf==1\\.0.*--hash=sha256:[0-9a-f]{64}", [dotall])),
    ?assertEqual([], entries("new", Config)),
    Started = starts(Config),
    {ok, Again} = py_env:build(#{requirements => [" tealeaf "]}),
    ?assertEqual(maps:remove(used, Env), maps:remove(used, Again)),
    %% Other words for the same.
    {ok, Same} = py_env:build(#{requirements => ["tealeaf==1.0"], offline => true}),
    ?assertEqual(Key, maps:get(key, Same)),
    Looked = starts(Config),
    _ = ?config(tool, Config) =:= none orelse ?assertEqual({3, 4}, {length(Started), length(Looked)}),
    {ok, stopped} = py:stop(),
    ok = py_application:start(),
    ?assertMatch({ok, #{key := Key}}, py_env:build(tealeaf())),
    ?assertEqual(Looked, starts(Config)),
    ?assertMatch([#{key := Key}], py_env:list()).

those_who_ask_at_once_wait_for_one_build(Config) ->
    _ = noted("", Config),
    Self = self(),
    Ask = fun() -> Self ! {self(), py_env:build(tealeaf())} end,
    First = spawn(Ask),
    Pids = [spawn(Ask) || _ <- lists:seq(1, 5)],
    exit(First, kill),
    Keys = [receive {Pid, {ok, #{key := Key}}} -> Key after ?LONG_MS -> error(no_answer) end || Pid <- Pids],
    receive {First, _} -> ok after 0 -> ok end,
    ?assertMatch([_], lists:usort(Keys)),
    _ = ?config(tool, Config) =:= none orelse ?assertEqual(3, length(starts(Config))),
    ?assertMatch([_], py_env:list()).

pip_alone_builds_the_same(Config) ->
    settings(#{uv => none}, Config),
    {ok, #{path := Path, tool := <<"pip">>, key := Key}} = py_env:build(tealeaf()),
    {ok, Lock} = file:read_file(filename:join(Path, "requirements.lock")),
    ?assertMatch({match, _}, re:run(Lock, "tealeaf==1\\.0 --hash=sha256:[0-9a-f]{64}")),
    ?assertEqual("steeped\n", os:cmd("'" ++ unicode:characters_to_list(filename:join([Path, "bin", "steep"])) ++ "'")),
    %% What was fetched is enough for the next.
    {ok, 1} = py_env:prune(),
    settings(#{uv => none, find_links => []}, Config),
    ?assertMatch({ok, #{key := Key}}, py_env:build((tealeaf())#{offline => true})),
    {error, {py, {env, Said}}} = py_env:build(#{requirements => ["no-such-tea"], offline => true}),
    ?assertNotEqual(nomatch, string:find(Said, "No matching distribution found for no-such-tea")).

what_the_tool_refuses_is_told_in_its_own_words(Config) ->
    {error, {py, {env, Said}}} = py_env:build(#{requirements => ["tealeaf", "no-such-tea>=2"]}),
    ?assertNotEqual(nomatch, string:find(Said, "no-such-tea")),
    ?assertEqual(Said, lists:flatten(py_error:text({py, {env, Said}}))),
    ?assertEqual([], py_env:list()),
    ?assertEqual([], entries("new", Config)).

a_pool_has_an_environment_and_its_programs_are_where_it_is(_Config) ->
    {ok, #{path := Path}} = py_env:build(tealeaf()),
    {ok, _} = py:start_pool(tea, #{python => {venv, Path}, size => 1}),
    ?assertEqual(unicode:characters_to_list(Path), py:func(tealeaf, steep, [], #{pool => tea})),
    %% The application's own package, which goes with the application.
    [Site] = filelib:wildcard("lib/python3.*/site-packages", unicode:characters_to_list(Path)),
    {ok, Package} = file:read_link_all(filename:join([Path, Site, "erl"])),
    ?assertEqual(py_env_builder:own_package(), Package),
    ?assertEqual("steeped\n", os:cmd("'" ++ unicode:characters_to_list(filename:join([Path, "bin", "steep"])) ++ "'")),
    py:stop_pool(tea).

states(Run) ->
    {ok, #{transitions := Transitions}} = py_run:get(Run),
    [State || #{status := State} <- Transitions].

a_run_builds_its_environment_and_its_pool_ends_when_idle(Config) ->
    settings(#{idle => 300, pool => #{size => 1}}, Config),
    {ok, First} = py_run:start(tealeaf, steep, [], #{environment => tealeaf()}),
    {ok, _} = py_run:wait(First, ?LONG_MS),
    ?assertEqual(['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED'], states(First)),
    {ok, #{path := Path}} = py_env:build(tealeaf()),
    ?assertEqual({ok, unicode:characters_to_list(Path)}, py_run:result(First)),
    py_eventually:equals([default], fun() -> lists:sort(py_registry:pools()) end, ?LONG_MS),
    {ok, Second} = py_run:start(tealeaf, steep, [], #{environment => tealeaf()}),
    {ok, _} = py_run:wait(Second, ?LONG_MS),
    ?assertEqual(['CREATED', 'PENDING', 'RUNNING', 'COMPLETED'], states(Second)).

a_run_whose_environment_can_t_be_built_is_an_error(_Config) ->
    {ok, Run} = py_run:start(tealeaf, steep, [], #{environment => #{requirements => ["no-such-tea"]}}),
    {ok, #{state := 'ERROR', message := Message, attempt := 0}} = py_run:wait(Run, ?LONG_MS),
    ?assertNotEqual(nomatch, binary:match(Message, <<"no-such-tea">>)),
    {error, {py, {env, Text}}} = py_run:result(Run),
    ?assertNotEqual(nomatch, string:find(Text, "no-such-tea")),
    {ok, Log} = py_run:logs(Run),
    ?assertNotEqual(nomatch, binary:match(Log, <<"no-such-tea">>)),
    ?assertMatch({error, {py, {env, _}}}, py_run:start(tealeaf, steep, [], #{environment => #{requirements => ["-r /etc/passwd"]}})),
    ?assertError(badarg, py_run:start(tealeaf, steep, [], #{environment => tealeaf(), pool => default})).

a_run_that_was_building_is_built_again_after_a_restart(Config) ->
    hanging(Config),
    {ok, Run} = py_run:start(tealeaf, steep, [], #{environment => tealeaf()}),
    hangs(Config),
    py_eventually:equals({ok, 'BUILDING'}, fun() -> {ok, #{state := State}} = py_run:get(Run), {ok, State} end, ?LONG_MS),
    {ok, stopped} = py:stop(),
    settings(#{}, Config),
    ok = py_application:start(),
    {ok, #{state := 'COMPLETED'}} = py_run:wait(Run, ?LONG_MS),
    ?assertEqual(['CREATED', 'PENDING', 'BUILDING', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED'], states(Run)).

more_environments_than_pools_take_turns(Config) ->
    settings(#{pools => 1, pool => #{size => 1}}, Config),
    Asked = [tealeaf(), #{}, tealeaf()],
    Runs = [element(2, {ok, _} = py_run:start(os, getpid, [], #{environment => Each})) || Each <- Asked],
    [{ok, #{state := 'COMPLETED'}} = py_run:wait(Run, ?LONG_MS) || Run <- Runs],
    ?assertEqual(2, length(py_env:list())).

a_build_that_hangs_ends_at_its_deadline(Config) ->
    hanging(Config),
    {error, {py, {env, Text}}} = py_env:build((tealeaf())#{timeout => 2_000}),
    ?assertNotEqual(nomatch, string:find(Text, "timeout")),
    ?assertNotEqual(nomatch, string:find(Text, "fetching")),
    [OsPid] = starts(Config),
    py_eventually:holds(fun() -> is_gone(OsPid) end, ?LONG_MS),
    ?assertEqual([], entries("new", Config)).

a_server_that_is_killed_builds_again_for_who_waits(Config) ->
    hanging(Config),
    Self = self(),
    Pid = spawn(fun() -> Self ! {self(), py_env:build(tealeaf())} end),
    hangs(Config),
    settings(#{}, Config),
    exit(whereis(py_envs), kill),
    receive
        {Pid, Answer} -> ?assertMatch({ok, #{packages := [_ | _]}}, Answer)
    after ?LONG_MS -> error(no_answer)
    end,
    [OsPid] = starts(Config),
    py_eventually:holds(fun() -> is_gone(OsPid) end, ?LONG_MS),
    ?assertEqual([], entries("new", Config)).

a_node_that_is_killed_leaves_nothing_that_is_taken_for_whole(Config) ->
    {ok, stopped} = py:stop(),
    hanging(Config),
    Node = py_runs_node:start(),
    _ = py_runs_node:call(Node, {application, load, [py]}),
    _ = py_runs_node:call(Node, {application, set_env, [py, environments, application:get_env(py, environments, #{})]}),
    ok = py_runs_node:call(Node, {py_runs_node, with_runs, [?config(state_dir, Config), #{size => 1}]}, ?LONG_MS),
    py_runs_node:cast(Node, {py_env, build, [tealeaf()]}),
    hangs(Config),
    [_] = entries("new", Config),
    py_runs_node:kill(Node),
    [OsPid] = starts(Config),
    py_eventually:holds(fun() -> is_gone(OsPid) end, ?LONG_MS),
    settings(#{}, Config),
    ok = py_application:start(),
    ?assertEqual([], py_env:list()),
    ?assertEqual([], entries("new", Config)),
    ?assertMatch({ok, _}, py_env:build(tealeaf())).

what_is_used_is_not_pruned(Config) ->
    {ok, #{path := Path, key := Key}} = py_env:build(tealeaf()),
    {ok, _} = py_env:build(),
    {ok, _} = py:start_pool(tea, #{python => {venv, Path}, size => 1}),
    ?assertEqual({ok, 0}, py_env:prune(#{unused => 3_600_000})),
    ?assertEqual({ok, 1}, py_env:prune()),
    ?assertMatch([#{key := Key}], py_env:list()),
    ?assertMatch([_], entries("requests", Config)),
    py:stop_pool(tea),
    ?assertEqual({ok, 1}, py_env:prune()),
    ?assertEqual([], py_env:list()),
    py_eventually:equals([], fun() -> entries("gone", Config) end, ?LONG_MS).

what_can_t_be_kept_or_asked_for_is_told(Config) ->
    ok = filelib:ensure_path(?config(state_dir, Config)),
    ok = file:write_file(filename:join(?config(state_dir, Config), "envs"), <<>>),
    ?assertMatch({error, {py, {state_dir, _, _}}}, py_env:build(tealeaf())),
    {ok, Run} = py_run:start(tealeaf, steep, [], #{environment => tealeaf()}),
    ?assertMatch({ok, #{state := 'ERROR'}}, py_run:wait(Run, ?LONG_MS)),
    %% There is a place for them again: no restart is needed.
    ok = file:delete(filename:join(?config(state_dir, Config), "envs")),
    ?assertMatch({ok, _}, py_env:build(tealeaf())),
    ?assertError(badarg, py_env:build(#{requirements => "tealeaf"})),
    ?assertError(badarg, py_env:build(#{unknown => 1})),
    {error, {py, {env, Lists}}} = py_env:build(#{python_version => "3.99"}),
    ?assertNotEqual(nomatch, string:find(Lists, unicode:characters_to_list(maps:get(version, hd(py_env:pythons()))))),
    {error, {py, {env, Instructions}}} = py_env:build(#{instructions => ["apt-get install -y git"]}),
    ?assertNotEqual(nomatch, string:find(Instructions, "Docker")).
