%%% Coroutines whose code ends what it should not, and those beside them; what they ask of Erlang and do not want any more.
-module(py_coroutine_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    what_a_coroutine_raises_is_its_calls/1,
    a_loop_that_is_stopped_goes_on/1,
    what_a_task_of_user_code_raises_ends_no_loop/1,
    a_loop_is_not_run_in_itself/1,
    a_loop_that_is_closed_is_replaced/1,
    a_loop_that_fails_in_each_turn_is_replaced/1,
    what_a_cancelled_coroutine_asked_is_ended/1,
    what_a_call_asked_is_ended_with_it/1,
    a_patched_python_says_why_it_runs_no_coroutine/1,
    a_frozen_clock_stops_no_deadline/1,
    no_more_run_at_a_time_than_the_pool_says/1,
    one_that_waits_and_is_not_wanted_never_runs/1,
    those_that_run_do_not_count_as_waiting/1,
    what_a_coroutine_prints_is_its_callers/1
]).
%% What Python calls.
-export([ask/1]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        what_a_coroutine_raises_is_its_calls,
        a_loop_that_is_stopped_goes_on,
        what_a_task_of_user_code_raises_ends_no_loop,
        a_loop_is_not_run_in_itself,
        a_loop_that_is_closed_is_replaced,
        a_loop_that_fails_in_each_turn_is_replaced,
        what_a_cancelled_coroutine_asked_is_ended,
        what_a_call_asked_is_ended_with_it,
        a_patched_python_says_why_it_runs_no_coroutine,
        a_frozen_clock_stops_no_deadline,
        no_more_run_at_a_time_than_the_pool_says,
        one_that_waits_and_is_not_wanted_never_runs,
        those_that_run_do_not_count_as_waiting,
        what_a_coroutine_prints_is_its_callers
    ].

init_per_suite(Config) -> Config.

end_per_suite(_Config) -> ok.

init_per_testcase(_Case, Config) ->
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    [#{os_pid := OsPid}] = py:workers(),
    Awaited = unicode:characters_to_binary(filename:join(?config(priv_dir, Config), lists:concat(["awaited", erlang:unique_integer([positive])]))),
    Sleepers = [sleeper(Awaited, N) || N <- lists:seq(1, 20)],
    %% They are on the loop.
    undefined = py:func(asyncio, sleep, [0.01]),
    [{os_pid, OsPid}, {awaited, Awaited}, {sleepers, Sleepers} | Config].

%% One Python has served all of the case.
end_per_testcase(_Case, Config) ->
    OsPid = ?config(os_pid, Config),
    Now = [Now || #{os_pid := Now} <- py:workers()],
    case {?config(tc_status, Config), Now, py_application:stop()} of
        {ok, [OsPid], Stopped} -> Stopped;
        {ok, _, _} -> {fail, another_interpreter};
        _ -> ok
    end.

%%% What is raised

what_a_coroutine_raises_is_its_calls(Config) ->
    ?assertError({python, 'builtins.SystemExit', "3", _}, call(exit_with, [3])),
    ?assertError({python, 'builtins.SystemExit', "3", _}, call(exit_at_once, [3])),
    [
        ?assertError({python, Class, "stop", _}, call(raises, [atom_to_binary(Name)]))
     || {Name, Class} <- [
            {'KeyboardInterrupt', 'builtins.KeyboardInterrupt'},
            {'GeneratorExit', 'builtins.GeneratorExit'},
            {'SystemExit', 'builtins.SystemExit'},
            {'CancelledError', 'asyncio.exceptions.CancelledError'},
            {'StopAsyncIteration', 'builtins.StopAsyncIteration'},
            {'BaseException', 'builtins.BaseException'}
        ]
    ],
    ?assertError({python, 'builtins.RuntimeError', _, _}, call(raise_stop_iteration, [])),
    ?assertError({python, 'builtins.SystemExit', [], _}, call(thread_ends, [])),
    ?assertError({python, 'builtins.SystemExit', "6", _}, call(exits_in_an_async_generator, [])),
    all_go_on(Config).

a_loop_that_is_stopped_goes_on(Config) ->
    ?assertEqual("stopped", call(stop_the_loop, [])),
    [?assertEqual("stopped", call(stop_the_loop, [])) || _ <- lists:seq(1, 50)],
    all_go_on(Config).

what_a_task_of_user_code_raises_ends_no_loop(Config) ->
    ?assertEqual("called", call(exit_in_a_callback, [])),
    ?assertError({python, 'builtins.SystemExit', "4", _}, call(exit_in_a_task, [])),
    ?assertEqual(["SystemExit", "str"], call(exit_in_a_task_of_many, [])),
    ?assertEqual("left", call(leave_a_task_that_exits, [])),
    all_go_on(Config).

a_loop_is_not_run_in_itself(Config) ->
    ?assertError({python, 'builtins.RuntimeError', _, _}, call(close_the_loop, [])),
    ?assertError({python, 'builtins.RuntimeError', _, _}, call(run_in_the_running_loop, [])),
    ?assertError({python, 'builtins.RuntimeError', _, _}, call(run_a_loop, [])),
    all_go_on(Config).

%%% Loops that end

a_loop_that_is_closed_is_replaced(Config) -> all_end_with(stop_and_close, Config).

a_loop_that_fails_in_each_turn_is_replaced(Config) -> all_end_with(break_the_loop, Config).

all_end_with(Function, Config) ->
    {Loop, "erl event loop"} = call(loop_number, []),
    Ended = "the event loop of the coroutines was ended, by user code in one of them",
    ?assertError({python, 'builtins.RuntimeError', Ended, _}, call(Function, [])),
    [?assertMatch({error, {python, 'builtins.RuntimeError', Ended, _}}, woken(Sleeper)) || Sleeper <- ?config(sleepers, Config)],
    {Another, "erl event loop"} = call(loop_number, []),
    ?assertNotEqual(Loop, Another),
    ?assertEqual(awake, call(sleep, [0.01, awake])),
    ?assertEqual(3, py:add(1, 2)).


%%% What is asked of Erlang

what_a_cancelled_coroutine_asked_is_ended(Config) ->
    Asked = fun(Function, Args) -> call(Function, Args ++ [atom_to_binary(?MODULE), <<"ask">>, [self_name()]]) end,
    ?assertEqual("cancelled", Asked(ask_and_cancel, [])),
    ended(),
    ?assertError({py, timeout}, py:func(py_coroutines, ask, [atom_to_binary(?MODULE), <<"ask">>, [self_name()]], #{timeout => 200})),
    ended(),
    ?assertEqual("timeout", Asked(ask_for, [0.1])),
    ended(),
    all_go_on(Config).

what_a_call_asked_is_ended_with_it(Config) ->
    ?assertError({py, timeout}, py:func(py_coroutines, call, [atom_to_binary(?MODULE), <<"ask">>, [self_name()]], #{timeout => 200})),
    ended(),
    all_go_on(Config).

self_name() ->
    whereis(?MODULE) =:= self() orelse register(?MODULE, self()),
    ?MODULE.

%% Runs for long, and the worker serves meanwhile.
ask(Test) ->
    whereis(Test) ! {asked, self()},
    receive after 60_000 -> ok end.

ended() ->
    receive
        {asked, Pid} ->
            Monitor = monitor(process, Pid),
            receive {'DOWN', Monitor, process, Pid, _} -> ok after 10_000 -> ct:fail(still_there) end
    after 10_000 -> ct:fail(not_asked)
    end,
    ?assertEqual(3, py:add(1, 2)).

%%% Functions that are replaced

a_patched_python_says_why_it_runs_no_coroutine(Config) ->
    [patched(Library, Config) || Library <- ["gevent", "eventlet"]],
    all_go_on(Config).

patched(Library, Config) ->
    Pool = #{size => 1, python_path => [?config(data_dir, Config)], kill_after => 500},
    {ok, _} = py:start_pool(patched, Pool),
    Options = #{pool => patched, timeout => 20_000},
    case py:func(py_coroutines, patch, [list_to_binary(Library)], Options) of
        true ->
            [#{os_pid := OsPid}] = py:workers(patched),
            {error, {python, 'builtins.RuntimeError', Why, _}} =
                py_caller:result(py_caller:start(fun() -> py:func(py_coroutines, sleep, [0.05, awake], Options) end)),
            ?assertNotEqual(nomatch, string:find(Why, "gevent and eventlet")),
            ?assertError({py, timeout}, py:func(time, sleep, [60], Options#{timeout => 100})),
            ?assertEqual(3, py:func(operator, add, [1, 2], Options)),
            ?assertMatch([#{os_pid := OsPid}], py:workers(patched));
        false ->
            ct:comment("without ~s, which is not installed", [Library])
    end,
    ok = py:stop_pool(patched).

a_frozen_clock_stops_no_deadline(Config) ->
    case call(freeze, []) of
        true ->
            ?assertEqual(awake, call(sleep, [0.05, awake])),
            ?assertEqual("timeout", call(time_out, [0.2])),
            ?assertEqual("timeout", call(time_out_later, [0.2])),
            ?assertError({py, timeout}, py:func(py_coroutines, sleep, [60, x], #{timeout => 100})),
            true = call(thaw, []),
            all_go_on(Config);
        false ->
            {skip, "freezegun is not installed here"}
    end.

%%% How many

no_more_run_at_a_time_than_the_pool_says(Config) ->
    Call = limited(Config, #{coroutines => 3}),
    Callers = [py_async(Call, beside, [0.05, N]) || N <- lists:seq(1, 12)],
    Peaks = [Peak || {ok, Peak} <- py_caller:results(Callers)],
    ?assertEqual({12, 3}, {length(Peaks), lists:max(Peaks)}),
    ?assertEqual(lists:seq(1, 12), Call(begun_so_far, [])),
    %% A call that is no coroutine waits for none of them.
    Others = [py_async(Call, beside, [0.5, N]) || N <- lists:seq(1, 12)],
    ?assertEqual(3, Call(add, [1, 2])),
    [py_caller:kill(Other) || Other <- Others],
    py_eventually:equals(1, fun() -> Call(beside, [0.0, 99]) end),
    ok = py:stop_pool(limited),
    all_go_on(Config).

one_that_waits_and_is_not_wanted_never_runs(Config) ->
    Call = limited(Config, #{coroutines => 1}),
    First = py_async(Call, beside, [0.5, 1]),
    py_eventually:equals([1], fun() -> Call(begun_so_far, []) end),
    ?assertError({py, timeout}, py:func(py_coroutines, beside, [0.0, 2], #{pool => limited, timeout => 100})),
    Third = py_async(Call, beside, [0.0, 3]),
    Fourth = py_async(Call, beside, [0.0, 4]),
    py_eventually:holds(fun() -> [3] =:= [Count || #{in_flight := Count} <- py:workers(limited)] end),
    py_caller:kill(Third),
    ?assertMatch([{ok, 1}, {ok, 1}], py_caller:results([First, Fourth])),
    ?assertEqual([1, 4], Call(begun_so_far, [])),
    ok = py:stop_pool(limited),
    all_go_on(Config).

those_that_run_do_not_count_as_waiting(Config) ->
    Call = limited(Config, #{coroutines => 2, max_queue => 3}),
    Callers = [py_async(Call, beside, [1.0, N]) || N <- lists:seq(1, 5)],
    py_eventually:holds(fun() -> [5] =:= [Count || #{in_flight := Count} <- py:workers(limited)] end),
    ?assertError({py, overload}, Call(beside, [0.0, 6])),
    ?assertMatch([{ok, _}, {ok, _}, {ok, _}, {ok, _}, {ok, _}], py_caller:results(Callers)),
    ok = py:stop_pool(limited),
    %% Any number may run, and two may wait.
    Open = limited(Config, #{max_queue => 2}),
    Many = [
        begin
            Caller = py_async(Open, beside, [1.0, N]),
            py_eventually:holds(fun() -> lists:member(N, Open(begun_so_far, [])) end),
            Caller
        end
     || N <- lists:seq(1, 20)
    ],
    ?assertEqual([], [Other || {Kind, _} = Other <- py_caller:results(Many), Kind =/= ok]),
    ok = py:stop_pool(limited),
    all_go_on(Config).

what_a_coroutine_prints_is_its_callers(Config) ->
    Call = limited(Config, #{}),
    Printed = fun(N) ->
        py_caller:start(fun() ->
            {undefined, Leader} = py_output:of_call(fun() -> Call(print_slowly, [N, 20]) end),
            py_output:text(Leader)
        end)
    end,
    Callers = [Printed(N) || N <- lists:seq(1, 5)],
    [
        ?assertEqual({ok, lists:append(lists:duplicate(20, integer_to_list(N) ++ "\n"))}, Result)
     || {N, Result} <- lists:enumerate(py_caller:results(Callers))
    ],
    ok = py:stop_pool(limited),
    all_go_on(Config).

limited(Config, Options) ->
    {ok, _} = py:start_pool(limited, Options#{size => 1, python_path => [?config(data_dir, Config)]}),
    fun(Function, Args) -> py:func(py_coroutines, Function, Args, #{pool => limited}) end.

py_async(Call, Function, Args) -> py_caller:start(fun() -> Call(Function, Args) end).

%%% Those beside them

%% They sleep again and again until that file is there.
sleeper(Awaited, N) -> py_caller:start(fun() -> call(sleep_until, [Awaited, N]) end).

all_go_on(Config) -> all_go_on(Config, fun() -> ?assertEqual(awake, call(sleep, [0.01, awake])) end).

all_go_on(Config, Later) ->
    Later(),
    ?assertEqual(3, py:add(1, 2)),
    ok = file:write_file(?config(awaited, Config), ""),
    Sleepers = ?config(sleepers, Config),
    [?assertEqual({ok, N}, woken(Sleeper)) || {N, Sleeper} <- lists:enumerate(Sleepers)].

woken(Sleeper) -> py_caller:result(Sleeper).

call(Function, Args) -> py:func(py_coroutines, Function, Args, #{timeout => 60_000}).
