%%% The figures of a pool, in front of real Python.
-module(py_stats_SUITE).

-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    what_runs_is_told_with_its_worker_and_since_when/1,
    what_waits_is_counted_and_timed_apart_from_what_runs/1,
    calls_that_come_together_share_their_time/1,
    each_kind_of_error_is_counted/1,
    a_refused_call_is_an_overload/1,
    a_caller_that_dies_has_cancelled/1,
    a_recycled_worker_is_no_death/1,
    a_call_that_waits_for_erlang_and_one_inside_are_timed_by_themselves/1,
    coroutines_run_beside_each_other/1,
    names_of_functions_make_nothing_grow/1,
    figures_outlive_workers_and_end_with_the_pool/1,
    events_have_the_worker_and_both_times/1,
    a_table_shows_the_figures/1,
    a_pool_that_is_none_is_an_error/1
]).
%% Called from Python.
-export([inside/0]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        what_runs_is_told_with_its_worker_and_since_when,
        what_waits_is_counted_and_timed_apart_from_what_runs,
        calls_that_come_together_share_their_time,
        each_kind_of_error_is_counted,
        a_refused_call_is_an_overload,
        a_caller_that_dies_has_cancelled,
        a_recycled_worker_is_no_death,
        a_call_that_waits_for_erlang_and_one_inside_are_timed_by_themselves,
        coroutines_run_beside_each_other,
        names_of_functions_make_nothing_grow,
        figures_outlive_workers_and_end_with_the_pool,
        events_have_the_worker_and_both_times,
        a_table_shows_the_figures,
        a_pool_that_is_none_is_an_error
    ].

init_per_testcase(_Case, Config) ->
    ok = py_application:start([{default, #{size => 1}}]),
    Config.

end_per_testcase(_Case, _Config) -> py_application:stop().

what_runs_is_told_with_its_worker_and_since_when(_Config) ->
    [Worker] = workers(),
    ?assertMatch(#{running := [], queue := 0, size := 1, serving := 1, pool := default}, stats()),
    Before = erlang:system_time(millisecond),
    Sleeps = py:async(time, sleep, [5]),
    py_eventually:holds(fun() -> maps:get(running, stats()) =/= [] end),
    After = erlang:system_time(millisecond),
    [#{worker := Worker, function := <<"time:sleep">>, since := Since, for_us := Us}] = maps:get(running, stats()),
    Began = calendar:rfc3339_to_system_time(Since, [{unit, millisecond}]),
    ?assert(Began >= Before - 1 andalso Began =< After + 1),
    [#{for_us := Later}] = maps:get(running, stats()),
    ?assert(Later >= Us),
    py:cancel(Sleeps),
    py_eventually:equals([], fun() -> maps:get(running, stats()) end),
    Dotted = spawn(fun() -> py:func(<<"time.sleep">>, [5]) end),
    py_eventually:holds(fun() -> [Name || #{function := Name} <- maps:get(running, stats())] =:= [<<"time.sleep">>] end),
    exit(Dotted, kill),
    py_eventually:equals([], fun() -> maps:get(running, stats()) end).

what_waits_is_counted_and_timed_apart_from_what_runs(_Config) ->
    Handles = [py:async(time, sleep, [0.3]) || _ <- [1, 2, 3]],
    py_eventually:holds(fun() -> length(maps:get(running, stats())) =:= 1 end),
    ?assertEqual(2, maps:get(queue, stats())),
    _ = py:gather(Handles),
    #{queue := 0, calls := 3, wait := #{count := 3, p50_us := Wait, p99_us := Last}, run := #{count := 3, p50_us := Run, p99_us := Longest}} = stats(),
    %% The second waited for the first, the third for both. On a busy machine all takes longer: so they are compared with each other.
    ?assert(Run >= 280_000),
    ?assert(Wait >= 250_000 andalso Last > Wait),
    ?assert(Longest < Last + Run).

calls_that_come_together_share_their_time(_Config) ->
    Handles = py:scatter(operator, add, [[N, 1] || N <- lists:seq(1, 2_000)]),
    {Us, _} = timer:tc(fun() -> py:gather(Handles) end),
    #{calls := 2_000, run := #{count := 2_000, p50_us := P50}} = stats(),
    ?assert(P50 < Us).

each_kind_of_error_is_counted(_Config) ->
    ?assertError({python, _, _, _}, py:func(math, sqrt, [-1])),
    ?assertError({py, timeout}, py:func(time, sleep, [5], #{timeout => 50})),
    Cancelled = py:async(time, sleep, [5]),
    py_eventually:holds(fun() -> maps:get(running, stats()) =/= [] end),
    py:cancel(Cancelled),
    py_eventually:equals(1, fun() -> error_count(cancelled) end),
    ?assertError({py, {worker_down, _}}, py:func(os, '_exit', [3])),
    3 = py:func(operator, add, [1, 2]),
    ?assertMatch(
        #{calls := 5, errors := #{python := 1, timeout := 1, cancelled := 1, worker_down := 1, overload := 0, nested := 0}, restarts := 1}, stats()
    ).

a_refused_call_is_an_overload(_Config) ->
    {ok, _} = py:start_pool(short, #{size => 1, max_queue => 0}),
    Sleeps = py:async(time, sleep, [5], #{pool => short}),
    py_eventually:holds(fun() -> maps:get(running, py:stats(short)) =/= [] end),
    [?assertError({py, overload}, py:func(operator, add, [1, 2], #{pool => short})) || _ <- [1, 2, 3]],
    ?assertMatch(#{errors := #{overload := 3}}, py:stats(short)),
    ?assertMatch(#{errors := #{overload := 0}}, stats()),
    py:cancel(Sleeps).

a_caller_that_dies_has_cancelled(_Config) ->
    Caller = spawn(fun() -> py:func(time, sleep, [20]) end),
    py_eventually:holds(fun() -> maps:get(running, stats()) =/= [] end),
    exit(Caller, kill),
    py_eventually:equals(1, fun() -> error_count(cancelled) end),
    ?assertMatch(#{calls := 1}, stats()).

a_recycled_worker_is_no_death(_Config) ->
    [Worker] = workers(),
    ok = py:restart_worker(Worker),
    ?assertMatch(#{restarts := 0, recycles := 1}, stats()),
    _ = catch py:func(os, '_exit', [1]),
    3 = py:func(operator, add, [1, 2]),
    ?assertMatch(#{restarts := 1, recycles := 1}, stats()).

a_call_that_waits_for_erlang_and_one_inside_are_timed_by_themselves(_Config) ->
    Outer = py:async(erl, call, [<<"py_stats_SUITE">>, <<"inside">>, []]),
    py_eventually:equals(2, fun() -> length(maps:get(running, stats())) end),
    [#{function := <<"erl:call">>}, #{function := <<"time:sleep">>}] = maps:get(running, stats()),
    undefined = py:await(Outer),
    #{run := #{count := 2, p50_us := Inner, p99_us := Whole}} = stats(),
    ?assert(Inner >= 280_000 andalso Whole >= Inner).

inside() -> py:func(time, sleep, [0.3]).

coroutines_run_beside_each_other(_Config) ->
    Handles = [py:async(asyncio, sleep, [0.5]) || _ <- lists:seq(1, 5)],
    py_eventually:equals(5, fun() -> length(maps:get(running, stats())) end),
    _ = py:gather(Handles),
    #{run := #{count := 5, p50_us := Run}, wait := #{p99_us := Wait}} = stats(),
    ?assert(Run >= 450_000),
    %% None has waited for another to end.
    ?assert(Wait < 4 * Run).

names_of_functions_make_nothing_grow(_Config) ->
    Size = fun() -> ets:info(py_registry, size) end,
    Before = Size(),
    Words = lists:sum([maps:get(memory, atomics:info(Figures)) || Figures <- py_registry:all_figures(default)]),
    [_ = catch py:func(math, <<"none_", (integer_to_binary(N))/binary>>, []) || N <- lists:seq(1, 200)],
    ?assertEqual(Before, Size()),
    ?assertEqual(Words, lists:sum([maps:get(memory, atomics:info(Figures)) || Figures <- py_registry:all_figures(default)])).

figures_outlive_workers_and_end_with_the_pool(_Config) ->
    {ok, _} = py:start_pool(brief, #{size => 2}),
    [3 = py:func(operator, add, [1, 2], #{pool => brief}) || _ <- lists:seq(1, 10)],
    [{_, First} | _] = py_registry:workers(brief),
    Monitor = monitor(process, First),
    exit(First, kill),
    receive {'DOWN', Monitor, process, First, _} -> ok end,
    ok = py:resize(brief, 1),
    ?assertMatch(#{calls := 10}, py:stats(brief)),
    ok = py:stop_pool(brief),
    ?assertEqual([], py_registry:all_figures(brief)),
    {ok, _} = py:start_pool(brief, #{size => 1}),
    ?assertMatch(#{calls := 0}, py:stats(brief)).

events_have_the_worker_and_both_times(_Config) ->
    [Worker] = workers(),
    Self = self(),
    ok = py_events:attach(?MODULE, fun
        ([py, call, Last], Measured, Known) when Last =/= cancel -> Self ! {Last, Measured, Known};
        (_, _, _) -> ok
    end),
    try
        [
            begin
                _ = catch Call(),
                receive {start, _, Start} -> ?assertNot(is_map_key(worker, Start)) after 5_000 -> error(no_start) end,
                receive
                    {Last, #{duration := Duration, wait := Wait, run := Run}, #{worker := Worker}} ->
                        ?assert(Wait >= 0 andalso Run >= 0),
                        %% Each is rounded to microseconds.
                        ?assert(Wait + Run =< Duration + erlang:convert_time_unit(2, microsecond, native))
                after 5_000 -> error({no_event, Last})
                end
            end
         || {Last, Call} <- [
                {stop, fun() -> py:func(time, sleep, [0.05]) end},
                {exception, fun() -> py:func(math, sqrt, [-1]) end},
                {stop, fun() -> py:await(py:async(operator, add, [1, 2])) end}
            ]
        ],
        _ = catch py:func(time, sleep, [5], #{timeout => 20}),
        receive {start, _, _} -> ok end,
        %% Nobody has told it.
        receive {exception, Measured, _} -> ?assertNot(is_map_key(run, Measured)) end
    after
        py_events:detach(?MODULE)
    end.

a_table_shows_the_figures(_Config) ->
    _ = catch py:func(math, sqrt, [-1]),
    Sleeps = py:async(time, sleep, [5]),
    py_eventually:holds(fun() -> maps:get(running, stats()) =/= [] end),
    {ok, Output} = py_output:of_call(fun() -> py_stats:print([stats()]) end),
    Text = py_output:text(Output),
    [?assertMatch({match, _}, re:run(Text, Part)) || Part <- ["WAIT p50", "default", "python 1", "time:sleep  for"]],
    py:cancel(Sleeps),
    py_output:stop(Output).

a_pool_that_is_none_is_an_error(_Config) ->
    ?assertError({py, {unknown_pool, nobody}}, py:stats(nobody)),
    ?assertError({py, {unknown_pool, "default"}}, py:stats("default")),
    ok = py_application:stop(),
    ?assertError({py, not_started}, py:stats(default)).

%%% What the cases have in common

stats() -> py:stats(default).

error_count(Kind) -> maps:get(Kind, maps:get(errors, stats())).

workers() -> [Worker || #{worker := Worker} <- py:workers(default)].
