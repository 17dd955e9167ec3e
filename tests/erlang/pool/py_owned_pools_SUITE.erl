%%% Pools as children of other supervisors, pools that are given new Pythons, and an application without the pool `default'.
-module(py_owned_pools_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-compile([export_all, nowarn_export_all]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_pool_is_there_when_its_supervisor_has_started,
        a_supervisor_that_ends_lets_open_calls_end,
        an_owner_that_is_killed_is_replaced_with_its_pool,
        a_supervisor_that_is_killed_leaves_no_pool,
        a_pool_that_ends_comes_back_by_its_own_supervisor_alone,
        pools_of_the_application_that_end_come_back_and_those_of_others_by_theirs,
        whoever_keeps_the_owners_is_killed_and_finds_them_again,
        a_name_that_is_taken_is_an_error_of_the_start,
        an_owner_that_is_killed_where_the_name_is_taken_stops_nothing,
        a_python_that_does_not_start_is_an_error_of_the_start,
        an_application_that_does_not_run_is_an_error_of_the_start,
        options_are_checked_before_anything_is_started,
        a_pool_is_resized_and_keeps_its_size_in_its_worker_supervisors_place,
        no_call_is_lost_while_a_pool_is_given_new_pythons,
        a_pool_of_one_is_never_away_with_start_first,
        a_new_python_that_does_not_start_leaves_the_old_ones,
        whoever_wants_no_default_pool_has_none
    ].

init_per_testcase(whoever_wants_no_default_pool_has_none, Config) -> Config;
init_per_testcase(an_application_that_does_not_run_is_an_error_of_the_start, Config) -> Config;
init_per_testcase(_Case, Config) -> ok = py_application:start([{default, #{size => 1}}]), Config.

end_per_testcase(_Case, _Config) -> py_application:stop().

%%% As a child

a_pool_is_there_when_its_supervisor_has_started(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 2, env => [{"TEA", "green"}]})]),
    ?assertEqual("green", getenv()),
    ?assertEqual(2, length(py:workers(tea))),
    stop(Sup),
    ?assertEqual([default], py_registry:pools()),
    ?assertError({py, {unknown_pool, tea}}, getenv()),
    ?assertEqual([], owned()).

a_supervisor_that_ends_lets_open_calls_end(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1, drain_timeout => 20_000})]),
    Open = py:async(time, sleep, [1], #{pool => tea}),
    in_flight(tea, 1),
    stop(Sup),
    ?assertEqual(undefined, py:await(Open)),
    ?assertEqual([default], py_registry:pools()).

an_owner_that_is_killed_is_replaced_with_its_pool(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1, env => [{"TEA", "green"}], drain_timeout => 0})]),
    Python = python(),
    exit(owner(Sup), kill),
    py_eventually:equals(true, fun() -> catch_all(fun() -> getenv() =:= "green" andalso python() =/= Python end) end),
    ?assertEqual(1, length(py:workers(tea))),
    stop(Sup),
    ?assertEqual([default], py_registry:pools()).

a_supervisor_that_is_killed_leaves_no_pool(_Config) ->
    Before = length(py_os_process:descendants()),
    Sup = supervisor([py:child_spec(tea, #{size => 2, drain_timeout => 0})]),
    exit(Sup, kill),
    py_eventually:equals([default], fun py_registry:pools/0),
    py_eventually:equals([], fun owned/0),
    py_eventually:equals(Before, fun() -> length(py_os_process:descendants()) end).

a_pool_that_ends_comes_back_by_its_own_supervisor_alone(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1, env => [{"TEA", "green"}]})]),
    Owner = owner(Sup),
    exit(pool_sup(tea), kill),
    py_eventually:equals(true, fun() -> catch_all(fun() -> owner(Sup) =/= Owner andalso getenv() =:= "green" end) end),
    ok = supervisor:terminate_child(Sup, {py, tea}),
    ?assertError({py, {unknown_pool, tea}}, getenv()),
    {ok, _} = supervisor:restart_child(Sup, {py, tea}),
    ?assertEqual("green", getenv()),
    stop(Sup).

pools_of_the_application_that_end_come_back_and_those_of_others_by_theirs(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1, env => [{"TEA", "green"}]})]),
    Owner = owner(Sup),
    exit(whereis(py_pools_sup), kill),
    py_eventually:equals(true, fun() -> catch_all(fun() -> owner(Sup) =/= Owner andalso getenv() =:= "green" end) end),
    py_eventually:equals(true, fun() -> catch_all(fun() -> py:func(operator, add, [1, 2]) =:= 3 end) end),
    ?assertEqual([default, tea], py_registry:pools()),
    stop(Sup),
    ?assertEqual([default], py_registry:pools()).

whoever_keeps_the_owners_is_killed_and_finds_them_again(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1, env => [{"TEA", "green"}], drain_timeout => 0})]),
    Owner = owner(Sup),
    Before = whereis(py_pool_owners),
    exit(Before, kill),
    py_eventually:equals(true, fun() -> not lists:member(whereis(py_pool_owners), [undefined, Before]) end),
    ?assertEqual({Owner, "green"}, {owner(Sup), getenv()}),
    exit(Sup, kill),
    py_eventually:equals([default], fun py_registry:pools/0),
    py_eventually:equals([], fun owned/0).

%%% What goes wrong

a_name_that_is_taken_is_an_error_of_the_start(_Config) ->
    {ok, Pool} = py:start_pool(tea, #{size => 1}),
    ?assertMatch({error, {py, {already_started, Pool}}}, start(py:child_spec(tea, #{size => 1}))),
    ok = py:stop_pool(tea),
    Sup = supervisor([py:child_spec(tea, #{size => 1})]),
    ?assertMatch({error, {py, {already_started, _}}}, start(py:child_spec(tea, #{size => 1}))),
    ?assertMatch({error, {py, {already_started, _}}}, py:start_pool(tea, #{size => 1})),
    stop(Sup).

an_owner_that_is_killed_where_the_name_is_taken_stops_nothing(_Config) ->
    {ok, _} = py:start_pool(tea, #{size => 1, env => [{"TEA", "green"}]}),
    #{start := {Module, start_link, [Name, Options]}} = py:child_spec(tea, #{size => 1}),
    ok = sys:suspend(py_pools_sup),
    {Starting, Monitor} = spawn_monitor(fun() -> Module:start_link(Name, Options) end),
    py_eventually:equals(1, fun() -> {message_queue_len, Length} = process_info(whereis(py_pools_sup), message_queue_len), Length end),
    {links, [Owner]} = process_info(Starting, links),
    exit(Owner, kill),
    receive {'DOWN', Monitor, process, _, killed} -> ok end,
    ok = sys:resume(py_pools_sup),
    py_eventually:equals(#{}, fun() -> sys:get_state(py_pool_owners) end),
    ?assertEqual("green", getenv()),
    ok = py:stop_pool(tea).

a_python_that_does_not_start_is_an_error_of_the_start(_Config) ->
    Spec = py:child_spec(tea, #{python => "/no/such/python"}),
    ?assertMatch({error, {py, {start, tea, _}}}, start(Spec)),
    %% Twice: nothing of the first is in the way.
    ?assertMatch({error, {py, {start, tea, _}}}, start(Spec)),
    ?assertEqual([], owned()),
    Sup = supervisor([py:child_spec(tea, #{size => 1})]),
    stop(Sup).

an_application_that_does_not_run_is_an_error_of_the_start(_Config) ->
    ?assertMatch({error, {py, not_started}}, start(py:child_spec(tea, #{size => 1}))).

options_are_checked_before_anything_is_started(_Config) ->
    ?assertError(badarg, py:child_spec(tea, #{sise => 2})),
    ?assertError(badarg, py:child_spec("tea", #{})),
    ?assertError(badarg, py:restart_pool(default, #{start_frist => true})),
    ?assertError(badarg, py:restart_pool(default, #{start_first => 1})),
    ?assertEqual({error, {py, {unknown_pool, tea}}}, py:restart_pool(tea)).

a_pool_is_resized_and_keeps_its_size_in_its_worker_supervisors_place(_Config) ->
    Sup = supervisor([py:child_spec(tea, #{size => 1})]),
    ok = py:resize(tea, 3),
    exit(py_registry:worker_sup(tea), kill),
    py_eventually:equals(3, fun() -> length([W || #{state := serving} = W <- py:workers(tea)]) end),
    stop(Sup),
    ?assertEqual([default], py_registry:pools()).

%%% New Pythons

no_call_is_lost_while_a_pool_is_given_new_pythons(_Config) ->
    ok = py:resize(default, 2),
    lists:foreach(
        fun(StartFirst) ->
            Before = pythons(),
            Callers = callers(8),
            ?assertEqual(ok, py:restart_pool(default, #{start_first => StartFirst})),
            Wrong = ended(Callers),
            ?assertEqual([], Wrong),
            ?assertEqual({2, []}, {length(pythons()), [Python || Python <- pythons(), lists:member(Python, Before)]})
        end,
        [true, false]
    ).

%% Its Python takes its time to start: where the old one went first, a call would wait for that.
a_pool_of_one_is_never_away_with_start_first(_Config) ->
    {ok, _} = py:start_pool(slow, #{size => 1, on_start => {time, sleep, [2]}}),
    Self = self(),
    _ = spawn_link(fun() -> Self ! {restarted, py:restart_pool(slow, #{start_first => true})} end),
    Longest = longest(slow, 0),
    {Whole, ok} = timer:tc(fun() -> py:restart_pool(slow) end),
    %% The second figure of the same run: what a start takes.
    ?assert(Longest < Whole div 2, {Longest, Whole}),
    ok = py:stop_pool(slow).

a_new_python_that_does_not_start_leaves_the_old_ones(Config) ->
    Gone = filename:join(?config(priv_dir, Config), "here"),
    ok = file:write_file(Gone, <<"1">>),
    {ok, _} = py:start_pool(once, #{size => 2, on_start => {os, stat, [unicode:characters_to_binary(Gone)]}}),
    ok = file:delete(Gone),
    ?assertMatch({error, {py, {start, once, _}}}, py:restart_pool(once, #{start_first => true})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => once})),
    py_eventually:equals(2, fun() -> length([W || #{state := serving} = W <- py:workers(once)]) end),
    ok = py:stop_pool(once).

%%% The application's own

whoever_wants_no_default_pool_has_none(_Config) ->
    ok = py_application:start([{default, none}]),
    ?assertEqual([], py_registry:pools()),
    ?assertError({py, {unknown_pool, default}}, py:func(os, getcwd)),
    Sup = supervisor([py:child_spec(default, #{size => 1})]),
    ?assertEqual(3, py:func(operator, add, [1, 2])),
    stop(Sup).

%%% The supervisor of somebody else's

supervisor(Specs) ->
    {ok, Sup} = supervisor:start_link(?MODULE, Specs),
    unlink(Sup),
    Sup.

init(Specs) -> {ok, {#{intensity => 5, period => 60}, Specs}}.

%% As a supervisor does it, which takes the exit of what it starts.
start(#{start := {Module, Function, Args}}) ->
    {Pid, Monitor} = spawn_monitor(fun() ->
        process_flag(trap_exit, true),
        exit({started, apply(Module, Function, Args)})
    end),
    receive {'DOWN', Monitor, process, Pid, {started, Result}} -> Result end.

stop(Sup) ->
    Monitor = monitor(process, Sup),
    exit(Sup, shutdown),
    receive {'DOWN', Monitor, process, Sup, Reason} -> ?assertEqual(shutdown, Reason) end.

owner(Sup) ->
    [{_, Owner, _, _}] = supervisor:which_children(Sup),
    Owner.

pool_sup(Name) ->
    [Sup] = [Sup || {Id, Sup, _, _} <- supervisor:which_children(py_pools_sup), Id =:= Name],
    Sup.

owned() -> [Name || {Name, #{owner := _}} <- py_registry:configs()].

getenv() -> py:func(os, getenv, [<<"TEA">>], #{pool => tea}).

python() -> py:func(os, getpid, [], #{pool => tea}).

pythons() -> lists:sort([Pid || #{os_pid := Pid} <- py:workers(default)]).

catch_all(Fun) ->
    try
        Fun()
    catch
        _:_ -> false
    end.

in_flight(Pool, Count) ->
    py_eventually:equals(Count, fun() -> lists:sum([N || #{in_flight := N} <- py:workers(Pool)]) end).

callers(Count) ->
    [spawn_monitor(fun() -> call_on(0) end) || _ <- lists:seq(1, Count)].

call_on(N) ->
    case py:func(operator, add, [N, 1]) of
        Right when Right =:= N + 1 -> ok;
        Wrong -> exit({wrong, Wrong})
    end,
    receive stop -> exit(normal) after 0 -> call_on(N + 1) end.

ended(Callers) ->
    [Pid ! stop || {Pid, _} <- Callers],
    [Reason || {_, Monitor} <- Callers, Reason <- [receive {'DOWN', Monitor, process, _, Why} -> Why end], Reason =/= normal].

%% The longest call until the pool has its new Python, in microseconds.
longest(Pool, Longest) ->
    {Time, 3} = timer:tc(fun() -> py:func(operator, add, [1, 2], #{pool => Pool}) end),
    receive
        {restarted, Result} -> ?assertEqual(ok, Result), max(Longest, Time)
    after 0 -> longest(Pool, max(Longest, Time))
    end.
