%%% Calls at the same time: their forms, their results, who ends them, and what is left behind (nothing).
-module(py_parallel_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    call_all_asks_every_worker/1,
    call_n_asks_so_many_different_workers/1,
    async_takes_the_forms_of_func/1,
    async_calls_run_at_the_same_time/1,
    a_result_that_nobody_awaits_stays_out_of_the_mailbox/1,
    a_result_is_given_once_and_to_its_owner/1,
    a_call_can_be_cancelled_at_any_time_and_by_anyone/1,
    a_timeout_of_await_cancels_the_call/1,
    the_timeout_option_counts_from_the_start/1,
    a_call_ends_with_its_owner/1,
    what_a_call_prints_and_refers_to_is_its_owners/1,
    calls_that_wait_are_small_and_no_processes/1,
    a_group_that_ends_is_joined_by_none/1,
    a_killed_group_costs_its_own_calls/1,
    gather_has_the_order_of_the_handles/1,
    gather_raises_the_first_error_at_once_and_cancels_the_rest/1,
    gather_all_has_each_outcome/1,
    scatter_gives_a_worker_no_more_than_its_window/1,
    pmap_has_the_order_of_the_list/1,
    pmap_without_order_has_all_results/1,
    pmap_maps_items_as_func_maps_arguments/1,
    pmap_of_nothing_is_nothing/1,
    pmap_chooses_chunks_by_what_it_measures/1,
    pmap_has_few_chunks_in_hand/1,
    pmap_says_which_item_failed/1,
    pmap_runs_the_coroutines_of_a_chunk_at_the_same_time/1,
    pmap_survives_a_killed_worker_with_retry/1,
    pmap_does_not_repeat_exceptions_and_timeouts/1,
    pmap_keeps_its_deadline_as_a_whole/1,
    no_timeout_is_not_the_pools/1,
    pmap_ends_with_its_caller/1,
    pmap_of_references_goes_where_they_are/1,
    pmap_returns_references_of_its_caller/1,
    pmap_tells_its_progress_to_a_fun/1,
    pmap_shows_a_line_in_a_terminal_only/1,
    preduce_is_the_reduction_of_the_whole_list/1,
    preduce_changes_no_value_on_its_way/1,
    a_wrong_argument_is_badarg_and_explained/1,
    without_the_application_each_call_says_so/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [suite, init_per_suite, module_info])].

init_per_testcase(without_the_application_each_call_says_so, Config) ->
    Config;
init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, #{size => 2, python_path => [?config(data_dir, Config)]}}]),
    Directory = filename:join(?config(priv_dir, Config), Case),
    ok = filelib:ensure_dir(filename:join(Directory, "any")),
    [{file, unicode:characters_to_binary(filename:join(Directory, "notes"))}, {directory, unicode:characters_to_binary(Directory)},
        {before, processes()} | Config].

%% No process of a test is left, and no message (see `py_application:stop/0').
end_per_testcase(without_the_application_each_call_says_so, _Config) ->
    ok;
end_per_testcase(_, Config) ->
    try py_eventually:equals([], fun() -> ours(Config) end) of
        ok -> py_application:stop()
    catch
        error:{never, #{last := Pids}} ->
            _ = py_application:stop(),
            {fail, {processes_left, Pids}}
    end.

%% The processes that a test has left so far.
ours(Config) -> [Pid || Pid <- processes() -- ?config(before, Config), is_ours(Pid)].

is_ours(Pid) ->
    case process_info(Pid, current_stacktrace) of
        {current_stacktrace, Stack} ->
            lists:any(fun({Module, _, _, _}) -> lists:member(Module, [py_async_group, py_chunks, py_route, py_pending]) end, Stack);
        undefined ->
            false
    end.

%%% Calls on workers

call_all_asks_every_worker(_Config) ->
    Expected = lists:sort([{Worker, {ok, OsPid}} || #{worker := Worker, os_pid := OsPid} <- py:workers()]),
    ?assertEqual(Expected, lists:sort(py:call_all(os, getpid, []))),
    ?assertEqual([{ok, <<"x">>}, {ok, <<"x">>}], outcomes(py:call_all(builtins, str, [<<"x">>], #{strings => binary}))),
    ?assertMatch(
        [{error, {python, 'builtins.ValueError', _, _}}, {error, {python, 'builtins.ValueError', _, _}}],
        outcomes(py:call_all(math, sqrt, [-1]))
    ),
    ?assertEqual([{error, {py, timeout}}, {error, {py, timeout}}], outcomes(py:call_all(time, sleep, [0.5], #{timeout => 50}))),
    ?assertError({py, {unknown_pool, none}}, py:call_all(os, getpid, [], #{pool => none})).

call_n_asks_so_many_different_workers(_Config) ->
    Workers = lists:sort([Worker || #{worker := Worker} <- py:workers()]),
    ?assertEqual(Workers, lists:sort([Worker || {Worker, {ok, _}} <- py:call_n(2, os, getpid, [])])),
    %% The one that has something to do is not chosen.
    [Busy, Idle] = Workers,
    Handle = py:async(time, sleep, [0.5], #{worker => Busy}),
    py_eventually:equals(1, fun() -> in_flight() end),
    ?assertMatch([{Idle, {ok, _}}], py:call_n(1, os, getpid, [])),
    ?assertMatch([{Idle, {ok, _}}], py:call_n(1, os, getpid, [], #{strings => binary})),
    undefined = py:await(Handle).

outcomes(Results) -> [Outcome || {_, Outcome} <- Results].

%%% Calls that nobody waits for

async_takes_the_forms_of_func(_Config) ->
    Sorted = fun(Handle) -> py:await(Handle) end,
    ?assertEqual([1, 2, 3], Sorted(py:async(builtins, sorted, [[3, 1, 2]]))),
    ?assertEqual([3, 2, 1], Sorted(py:async(builtins, sorted, [[3, 1, 2]], [{reverse, true}]))),
    ?assertEqual([<<"a">>, <<"b">>], Sorted(py:async(builtins, sorted, [[<<"b">>, <<"a">>]], #{strings => binary}))),
    ?assertEqual([<<"b">>, <<"a">>], Sorted(py:async(builtins, sorted, [[<<"b">>, <<"a">>]], #{reverse => true}, #{strings => binary}))),
    ?assertError({python, 'builtins.AttributeError', _, _}, py:await(py:async(math, 'no-such', []))),
    ?assertError({py, {unknown_pool, none}}, py:await(py:async(math, sqrt, [2], #{pool => none}))).

async_calls_run_at_the_same_time(Config) ->
    Directory = ?config(directory, Config),
    One = py:async(py_errands, meet, [Directory, <<"one">>, <<"two">>]),
    Two = py:async(py_errands, meet, [Directory, <<"two">>, <<"one">>]),
    ?assertEqual(["two", "one"], [py:await(Two, 20_000), py:await(One)]).

a_result_that_nobody_awaits_stays_out_of_the_mailbox(_Config) ->
    [One, Two | _] = Handles = py:scatter(builtins, abs, [[-N] || N <- lists:seq(1, 20)]),
    py_eventually:equals(20, fun served/0),
    ?assertEqual(1, py:await(One)),
    ?assertEqual({messages, []}, process_info(self(), messages)),
    ok = py:cancel(Two),
    ?assertError({py, timeout}, py:await(py:async(time, sleep, [0.5]), 20)),
    [ok = py:cancel(Handle) || Handle <- Handles],
    py_eventually:equals(0, fun in_flight/0),
    ?assertEqual({messages, []}, process_info(self(), messages)).

a_result_is_given_once_and_to_its_owner(_Config) ->
    Handle = py:async(builtins, abs, [-1]),
    Other = in_another_process(fun() -> py:await(Handle) end),
    ?assertMatch({error, badarg, _}, Other),
    ?assertMatch("must be used by the process that made it" ++ _, explanation(1, Other)),
    ?assertEqual(1, py:await(Handle)),
    Again = failure(fun() -> py:await(Handle) end),
    ?assertMatch({error, badarg, _}, Again),
    ?assertMatch("must be one whose result was not taken before" ++ _, explanation(1, Again)),
    Twice = py:async(builtins, abs, [-1]),
    ?assertMatch("handle 2 must be one whose" ++ _, explanation(1, failure(fun() -> py:gather([Twice, Twice]) end))),
    ?assertEqual([1], py:gather([Twice])).

a_call_can_be_cancelled_at_any_time_and_by_anyone(_Config) ->
    Late = py:async(time, sleep, [0.3]),
    ?assertEqual([ok, ok], [py:cancel(Late), py:cancel(Late)]),
    [?assertError({py, cancelled}, py:await(Late)) || _ <- [1, 2]],
    Done = py:async(builtins, abs, [-1]),
    py_eventually:equals(0, fun in_flight/0),
    ok = py:cancel(Done),
    ?assertError({py, cancelled}, py:await(Done)),
    Taken = py:async(builtins, abs, [-1]),
    1 = py:await(Taken),
    ?assertEqual(ok, py:cancel(Taken)),
    %% While its owner waits for it.
    Awaited = py:async(time, sleep, [1.5]),
    {_, Monitor} = spawn_monitor(fun() -> ok = py:cancel(Awaited) end),
    ?assertError({py, cancelled}, py:await(Awaited, 10_000)),
    receive {'DOWN', Monitor, process, _, normal} -> ok end,
    %% While its owner, which has its result, waits for another one's; with `retry' it has a process of its own.
    Given = py:async(builtins, abs, [-1], #{retry => #{times => 1}}),
    Behind = py:async(time, sleep, [0.5]),
    py_eventually:equals(1, fun in_flight/0),
    HasGiven = {current_function, {py_async_group, given, 3}},
    {_, Other} = spawn_monitor(fun() ->
        py_eventually:equals(1, fun() -> length([Pid || Pid <- processes(), process_info(Pid, current_function) =:= HasGiven]) end),
        ok = py:cancel(Given)
    end),
    ?assertEqual([{ok, 1}, {ok, undefined}], py:gather_all([Given, Behind])),
    receive {'DOWN', Other, process, _, normal} -> ok end,
    %% One of several, also one that has not begun.
    [A, B, C] = py:scatter(py_errands, kind, [[1], [1.5], [[]]], #{window => 1}),
    ok = py:cancel(B),
    ?assertEqual([{ok, "int"}, {error, {py, cancelled}}, {ok, "list"}], py:gather_all([A, B, C])).

a_timeout_of_await_cancels_the_call(_Config) ->
    Handle = py:async(time, sleep, [60]),
    Started = now_ms(),
    ?assertError({py, timeout}, py:await(Handle, 50)),
    ?assert(now_ms() - Started < 30_000),
    ?assertError(badarg, py:await(Handle)),
    py_eventually:equals(0, fun in_flight/0),
    ?assertError({py, timeout}, py:await(py:async(builtins, abs, [-1]), 0)).

the_timeout_option_counts_from_the_start(_Config) ->
    %% Two at a time: the third and the fourth would end in time if it counted from when they begin.
    Handles = py:scatter(time, sleep, [[3] || _ <- lists:seq(1, 4)], #{timeout => 4_500, window => 1}),
    ?assertEqual([{ok, undefined}, {ok, undefined}, {error, {py, timeout}}, {error, {py, timeout}}], py:gather_all(Handles)).

a_call_ends_with_its_owner(Config) ->
    File = ?config(file, Config),
    {Owner, Monitor} = spawn_monitor(fun() ->
        _ = py:scatter(py_errands, run_three, [[File, N, 50] || N <- lists:seq(1, 40)]),
        _ = py:async(py_errands, run_three, [File, 100, 50]),
        receive never -> ok end
    end),
    py_eventually:holds(fun() -> length(notes(Config)) >= 2 end),
    exit(Owner, kill),
    receive {'DOWN', Monitor, process, _, killed} -> ok end,
    py_eventually:equals(0, fun in_flight/0),
    Count = length(notes(Config)),
    ?assert(Count < 20),
    %% What waits for a long call ends at once.
    {Waiting, _} = spawn_monitor(fun() ->
        _ = py:async(time, sleep, [1.5]),
        py:await(py:async(time, sleep, [1.5]))
    end),
    py_eventually:equals(2, fun in_flight/0),
    exit(Waiting, kill),
    receive {'DOWN', _, process, Waiting, killed} -> ok end,
    py_eventually:holds(fun() -> ours(Config) =:= [] end, 500),
    py_eventually:equals(0, fun in_flight/0),
    %% Also where the owner ends in peace.
    {_, Peaceful} = spawn_monitor(fun() -> py:scatter(py_errands, run_three, [[File, N, 50] || N <- lists:seq(1, 40)]) end),
    receive {'DOWN', Peaceful, process, _, normal} -> ok end,
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < Count + 20).

what_a_call_prints_and_refers_to_is_its_owners(_Config) ->
    {_, Leader} = py_output:of_call(fun() -> py:await(py:async(py_errands, say, [7])) end),
    py_eventually:equals("item 7\n", fun() -> py_output:text(Leader) end),
    py_output:stop(Leader),
    Iterator = py:await(py:async(builtins, iter, [[5]])),
    py_eventually:equals(1, fun references/0),
    ?assertEqual(5, py:next(Iterator)),
    ok = py:release(Iterator).

%% In the BEAM: what the caller, the group and the worker process have of it.
calls_that_wait_are_small_and_no_processes(_Config) ->
    Count = 10_000,
    Gates = [py:async(time, sleep, [60], #{worker => Worker}) || #{worker := Worker} <- py:workers()],
    py_eventually:equals(2, fun in_flight/0),
    Processes = erlang:system_info(process_count),
    Before = bytes(),
    Handles = [py:async(operator, add, [N, 1], #{timeout => 60_000}) || N <- lists:seq(1, Count)],
    py_eventually:equals(Count + 2, fun in_flight/0),
    Each = (bytes() - Before) div Count,
    ?assert(erlang:system_info(process_count) - Processes < 100),
    ct:comment("~w bytes for each call", [Each]),
    ?assert(Each < 3_000, Each),
    [ok = py:cancel(Gate) || Gate <- Gates],
    ?assertEqual([N + 1 || N <- lists:seq(1, Count)], py:gather(Handles)).

bytes() ->
    [erlang:garbage_collect(Pid) || Pid <- processes()],
    erlang:memory(total).

%% The group ends when it has no call, at the moment when the next may be on its way.
a_group_that_ends_is_joined_by_none(_Config) ->
    [
        begin
            Cancelled = py:async(builtins, abs, [N]),
            _ = [erlang:yield() || _ <- lists:seq(1, N rem 5)],
            ok = py:cancel(Cancelled),
            ?assertEqual(N, py:await(py:async(builtins, abs, [-N])))
        end
     || N <- lists:seq(1, 2_000)
    ].

a_killed_group_costs_its_own_calls(Config) ->
    Lost = py:async(time, sleep, [60]),
    py_eventually:equals(1, fun in_flight/0),
    [Group] = [Pid || Pid <- ours(Config), Pid =/= self()],
    ?assertEqual(timeout, py:yield(Lost, 0)),
    exit(Group, kill),
    py_eventually:equals([], fun() -> ours(Config) end),
    ?assertError({py, cancelled}, py:yield(Lost, 0)),
    ?assertError({py, cancelled}, py:await(Lost)),
    ?assertEqual(1, py:await(py:async(builtins, abs, [-1]))),
    py_eventually:equals(0, fun in_flight/0).

%%% Several

gather_has_the_order_of_the_handles(Config) ->
    File = ?config(file, Config),
    Handles = py:scatter(py_errands, run_three, [[File, N, 20 - N] || N <- lists:seq(1, 20)]),
    ?assertEqual(lists:seq(20, 1, -1), py:gather(lists:reverse(Handles), 20_000)),
    ?assertEqual([], py:gather([])),
    ?assertEqual([], py:gather(py:scatter(builtins, abs, []))),
    ?assertEqual([1, 2], py:gather([py:async(builtins, abs, [-1]), py:async(builtins, abs, [-2])])).

gather_raises_the_first_error_at_once_and_cancels_the_rest(Config) ->
    File = ?config(file, Config),
    Errands = [[{File, N, 20, 3}] || N <- lists:seq(1, 60)],
    ?assertError({python, 'builtins.ZeroDivisionError', _, _}, py:gather(py:scatter(py_errands, fail_at, Errands))),
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < 20),
    %% It does not wait for those before it.
    Started = now_ms(),
    ?assertError({python, _, _, _}, py:gather([py:async(time, sleep, [60]), py:async(math, sqrt, [-1])])),
    ?assert(now_ms() - Started < 30_000),
    ?assertError({py, timeout}, py:gather([py:async(time, sleep, [1])], 50)),
    py_eventually:equals(0, fun in_flight/0).

gather_all_has_each_outcome(_Config) ->
    Handles = py:scatter(operator, truediv, [[6, N] || N <- [1, 0, 2]]),
    ?assertMatch([{ok, 6.0}, {error, {python, 'builtins.ZeroDivisionError', _, _}}, {ok, 3.0}], py:gather_all(Handles)),
    ?assertEqual([], py:gather_all([])),
    [Slow, Fast] = [py:async(time, sleep, [1]), py:async(builtins, abs, [-1])],
    ?assertEqual([{error, {py, timeout}}, {ok, 1}], py:gather_all([Slow, Fast], 400)),
    %% However many are late, up to all of them: none was cancelled by somebody.
    Late = [py:gather_all(py:scatter(time, sleep, [[0.001] || _ <- lists:seq(1, 2_000)]), 20) || _ <- [1, 2, 3]],
    ?assertEqual([], lists:usort(lists:append(Late)) -- [{error, {py, timeout}}, {ok, undefined}]).

scatter_gives_a_worker_no_more_than_its_window(Config) ->
    File = ?config(file, Config),
    Handles = py:scatter(py_errands, run_three, [[File, N, 10] || N <- lists:seq(1, 40)], #{window => 3}),
    Most = most_in_flight(fun() -> length(notes(Config)) =:= 40 end, 0),
    ?assertEqual(lists:seq(1, 40), py:gather(Handles)),
    ?assert(Most =< 6),
    ?assert(Most >= 3).

%%% Lists

pmap_has_the_order_of_the_list(Config) ->
    File = ?config(file, Config),
    List = lists:seq(1, 5_000),
    Negative = [-N || N <- List],
    ?assertEqual(Negative, py:pmap(operator, neg, List)),
    [?assertEqual(Negative, py:pmap(operator, neg, List, #{chunk => Chunk})) || Chunk <- [1, 7, 4_999, 5_000, 1 bsl 70]],
    %% The first are the slow ones.
    Uneven = [{File, N, max(0, 100 - 10 * N)} || N <- lists:seq(1, 50)],
    ?assertEqual(lists:seq(1, 50), py:pmap(py_errands, run, Uneven)),
    ?assertEqual(lists:seq(1, 50), py:pmap(py_errands, run, Uneven, #{window => 5, chunk => 3})).

pmap_without_order_has_all_results(Config) ->
    File = ?config(file, Config),
    Errands = [{File, N, if N =:= 1 -> 300; true -> 0 end} || N <- lists:seq(1, 50)],
    Results = py:pmap(py_errands, run, Errands, #{ordered => false, chunk => 5}),
    ?assertEqual(lists:seq(1, 50), lists:sort(Results)),
    ?assertNotEqual(1, hd(Results)).

pmap_maps_items_as_func_maps_arguments(_Config) ->
    Items = [<<"é"/utf8>>, {bytes, <<255>>}, "ab", 1.5, undefined, {"date", {2024, 2, 29}}, #{a => 1}, {1, [<<"x">>]}, nan, []],
    ?assertEqual([py:func(builtins, repr, [Item]) || Item <- Items], py:pmap(builtins, repr, Items)),
    Options = #{strings => binary, dicts => map, binaries => bytes},
    Same = [py:func(copy, copy, [Item], Options) || Item <- Items],
    ?assertEqual(Same, py:pmap(copy, copy, Items, Options)),
    ?assertEqual(["int", "int"], py:pmap(<<"py_errands">>, <<"kind">>, [1, 2])),
    ?assertEqual(["list", "str"], py:pmap('py-errands', kind, [[1, 2], <<"x">>])).

pmap_of_nothing_is_nothing(_Config) ->
    Before = served(),
    ?assertEqual([], py:pmap(no_such_module, f, [])),
    ?assertEqual(Before, served()).

pmap_chooses_chunks_by_what_it_measures(Config) ->
    File = ?config(file, Config),
    Before = served(),
    50_000 = length(py:pmap(operator, neg, lists:seq(1, 50_000))),
    Fast = served() - Before,
    ?assert(Fast < 500),
    %% Slow items go one by one, but for the time that nothing is known.
    20 = length(py:pmap(py_errands, run, [{File, N, 30} || N <- lists:seq(1, 20)])),
    Slow = served() - Before - Fast,
    ?assertEqual(20, Slow),
    ct:comment("~w chunks of 50,000 fast items, ~w of 20 slow ones", [Fast, Slow]).

pmap_has_few_chunks_in_hand(Config) ->
    File = ?config(file, Config),
    Caller = py_caller:start(fun() -> py:pmap(py_errands, run, [{File, N, 10} || N <- lists:seq(1, 60)], #{chunk => 1}) end),
    ?assert(most_in_flight(fun() -> length(notes(Config)) =:= 60 end, 0) =< 4),
    ?assertEqual({ok, lists:seq(1, 60)}, py_caller:result(Caller)),
    %% And so few are begun after one that fails, however busy the machine is.
    Errands = [{File, N, 10, 3} || N <- lists:seq(1, 1_000)],
    ?assertError({python, _, _, _}, py:pmap(py_errands, fail_at, Errands, #{chunk => 1})),
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < 60 + 500).

pmap_runs_the_coroutines_of_a_chunk_at_the_same_time(_Config) ->
    %% One after the other these would need 40 seconds.
    Items = [{N, 0.2} || N <- lists:seq(1, 200)],
    ?assertEqual([1 / N || {N, _} <- Items], py:pmap(py_errands, rest, Items, #{chunk => 50, timeout => 20_000})),
    ?assertError({python, 'builtins.ZeroDivisionError', _, [_, {item, 3}]},
        py:pmap(py_errands, rest, [{1, 20}, {2, 20}, {0, 0.01}, {4, 20}], #{chunk => 4})),
    ?assertError({py, timeout}, py:pmap(py_errands, rest, [{1, 20}, {2, 20}], #{chunk => 2, timeout => 100})),
    Made = py:pmap(py_errands, made, [7, 8], #{chunk => 2}),
    ?assertEqual([7, 8], [py:attr(Object, number) || Object <- Made]),
    Held = py:pmap(py_errands, rest, [{1, 0}, {2, 0}], #{chunk => 2, return => ref}),
    ?assertEqual(["1.0", "0.5"], [py:str(Reference) || Reference <- Held]),
    ok = py:release(Held ++ Made),
    py_eventually:equals(0, fun() -> lists:sum([Count || #{references := Count} <- py:workers()]) end).

pmap_says_which_item_failed(Config) ->
    File = ?config(file, Config),
    Items = [{File, N, 0, 17} || N <- lists:seq(1, 40)],
    [
        begin
            {error, {python, 'builtins.ZeroDivisionError', Text, Trace}, _} =
                failure(fun() -> py:pmap(py_errands, fail_at, Items, Options) end),
            ?assertEqual("integer division or modulo by zero", Text),
            ?assertMatch([{_, _, "fail_at", "return 1 // (number - bad)"}, {item, 17}], Trace)
        end
     || Options <- [#{}, #{chunk => 1}, #{chunk => 5}, #{chunk => 40}, #{ordered => false}]
    ],
    Shown = shown(fun() -> py:pmap(py_errands, fail_at, Items) end),
    ?assertNotEqual(nomatch, string:find(Shown, "In item 17 of the list:")),
    ?assertNotEqual(nomatch, string:find(Shown, "in function  py:pmap/3")),
    ?assertError({python, 'builtins.StopIteration', "three", [{_, _, "stop", _}, {item, 3}]},
        py:pmap(py_errands, stop, [1, 2, 3, 4], #{chunk => 4})),
    ?assertError({py, {decode, _}}, py:pmap(builtins, len, [<<"a">>, <<255>>], #{chunk => 2})),
    {error, {py, {decode, Decode}}, _} = failure(fun() -> py:pmap(builtins, len, [<<"a">>, <<255>>, <<"b">>], #{chunk => 2}) end),
    ?assertNotEqual(nomatch, string:find(Decode, "(one of the items 1 to 2 of the list)")),
    %% An exception that is raised again elsewhere is not of an item any more.
    Lengths = [length([1 || {item, _} <- trace(Call)]) || Call <- [
        fun() -> py:pmap(py_errands, raise_kept, [1], #{}) end,
        fun() -> [py:func(py_errands, raise_kept, [], #{worker => Worker}) || #{worker := Worker} <- py:workers()] end
    ]],
    ?assertEqual([1, 0], Lengths).

trace(Call) ->
    {error, {python, _, _, Trace}, _} = failure(Call),
    Trace.

pmap_survives_a_killed_worker_with_retry(Config) ->
    File = ?config(file, Config),
    [#{os_pid := OsPid} | _] = py:workers(),
    {Killer, Monitor} = spawn_monitor(fun() ->
        py_eventually:holds(fun() -> length(notes(Config)) >= 10 end),
        py_os_process:kill(OsPid)
    end),
    Errands = [{File, N, 20} || N <- lists:seq(1, 100)],
    ?assertEqual(lists:seq(1, 100), py:pmap(py_errands, run, Errands, #{chunk => 3, retry => 2})),
    receive {'DOWN', Monitor, process, Killer, normal} -> ok end,
    ?assertEqual(1, lists:sum([Restarts || #{restarts := Restarts} <- py:workers()])),
    Die = <<File/binary, "-died">>,
    ?assertEqual(lists:seq(1, 20), py:pmap(py_errands, die_once, [{Die, N} || N <- lists:seq(1, 20)], #{retry => 5})),
    Fatal = <<File/binary, "-fatal">>,
    ?assertError({py, {worker_down, {exit_status, 3, _}}}, py:pmap(py_errands, die_once, [{Fatal, N} || N <- lists:seq(1, 20)])).

pmap_does_not_repeat_exceptions_and_timeouts(Config) ->
    File = ?config(file, Config),
    ?assertError({python, _, _, _}, py:pmap(py_errands, fail_at, [{File, 1, 0, 1}], #{retry => 5})),
    ?assertEqual(["1"], notes(Config)),
    ?assertError({py, timeout}, py:pmap(py_errands, run, [{File, 2, 500}], #{retry => 5, timeout => 100})),
    py_eventually:equals(0, fun in_flight/0),
    ?assertEqual(["1", "2"], notes(Config)).

pmap_keeps_its_deadline_as_a_whole(Config) ->
    File = ?config(file, Config),
    %% A minute's work for two.
    Errands = [{File, N, 600} || N <- lists:seq(1, 200)],
    Started = now_ms(),
    ?assertError({py, timeout}, py:pmap(py_errands, run, Errands, #{timeout => 300, chunk => 1})),
    Took = now_ms() - Started,
    ?assert(Took >= 300 andalso Took < 30_000, Took),
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < 60).

no_timeout_is_not_the_pools(_Config) ->
    {ok, _} = py:start_pool(hasty, #{size => 1, call_timeout => 100}),
    Hasty = #{pool => hasty},
    Patient = Hasty#{timeout => infinity},
    Calls = [
        fun(Options) -> py:func(time, sleep, [1], Options) end,
        fun(Options) -> py:func(time, sleep, [1], Options#{scope => cluster}) end,
        fun(Options) -> py:call_all(time, sleep, [1], Options) end,
        fun(Options) -> py:await(py:async(time, sleep, [1], Options)) end,
        fun(Options) -> py:gather(py:scatter(time, sleep, [[1]], Options)) end,
        fun(Options) -> py:pmap(time, sleep, [1], Options) end,
        fun(Options) -> py:preduce(builtins, exec, [<<"__import__('time').sleep(1)">>, #{}], Options) end
    ],
    Late = {error, {py, timeout}},
    [
        begin
            ?assertMatch({Number, Late}, {Number, outcome(fun() -> Call(Hasty) end)}),
            ?assertMatch({Number, {ok, _}}, {Number, outcome(fun() -> Call(Patient) end)})
        end
     || {Number, Call} <- lists:zip(lists:seq(1, length(Calls)), Calls)
    ],
    ok = py:stop_pool(hasty).

%% What a call, or each of several, has come to.
outcome(Call) ->
    case failure(Call) of
        {value, [{_, {_, _} = Outcome}]} -> Outcome;
        {value, Value} -> {ok, Value};
        {error, Error, _} -> {error, Error}
    end.

pmap_ends_with_its_caller(Config) ->
    File = ?config(file, Config),
    {Caller, Monitor} = spawn_monitor(fun() ->
        py:pmap(py_errands, run, [{File, N, 20} || N <- lists:seq(1, 500)], #{chunk => 1})
    end),
    py_eventually:holds(fun() -> length(notes(Config)) >= 5 end),
    exit(Caller, kill),
    receive {'DOWN', Monitor, process, _, killed} -> ok end,
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < 50),
    %% What waits for long chunks ends at once.
    {Long, _} = spawn_monitor(fun() ->
        py:pmap(py_errands, run, [{File, N, 20} || N <- lists:seq(1, 500)], #{chunk => 75})
    end),
    py_eventually:equals(4, fun in_flight/0),
    exit(Long, kill),
    receive {'DOWN', _, process, Long, killed} -> ok end,
    py_eventually:holds(fun() -> ours(Config) =:= [] end, 500),
    py_eventually:equals(0, fun in_flight/0).

pmap_of_references_goes_where_they_are(_Config) ->
    Workers = [Worker || #{worker := Worker} <- py:workers()],
    Boxes = [py:func(py_errands, box, [N], #{worker => lists:nth(1 + N rem 2, Workers)}) || N <- lists:seq(1, 30)],
    ?assertEqual(lists:seq(1, 30), py:pmap(py_errands, value_of, Boxes)),
    ?assertEqual(lists:seq(1, 30), py:pmap(py_errands, value_of, Boxes, #{chunk => 10})),
    %% Boxes of boxes.
    ?assertEqual(lists:seq(1, 30), py:pmap(py_errands, value_of, py:pmap(py_errands, box, lists:seq(1, 30)))).

pmap_returns_references_of_its_caller(_Config) ->
    Count = in_another_process(fun() ->
        References = py:pmap(builtins, str, lists:seq(1, 100), #{return => ref}),
        ?assert(lists:all(fun py_term:is_ref/1, References)),
        ?assertEqual([integer_to_list(N) || N <- lists:seq(1, 100)], py:pmap(builtins, str, References)),
        py_eventually:equals(100, fun references/0),
        references()
    end),
    ?assertEqual(100, Count),
    py_eventually:equals(0, fun references/0).

pmap_tells_its_progress_to_a_fun(Config) ->
    File = ?config(file, Config),
    Self = self(),
    Fun = fun(Report) -> Self ! {progress, self(), Report} end,
    _ = py:pmap(py_errands, run, [{File, N, 20} || N <- lists:seq(1, 60)], #{progress => Fun}),
    Reports = [receive {progress, Self, Report} -> Report end || _ <- lists:seq(1, element(2, process_info(self(), message_queue_len)))],
    ?assert(length(Reports) >= 2),
    ?assertMatch(#{done := 60, total := 60, elapsed_ms := Ms} when Ms >= 300, lists:last(Reports)),
    Done = [Done || #{done := Done} <- Reports],
    ?assertEqual(lists:sort(Done), Done),
    %% What the fun raises is the caller's, and ends the whole.
    ?assertError(enough, py:pmap(py_errands, run, [{File, N, 20} || N <- lists:seq(1, 600)],
        #{progress => fun(_) -> error(enough) end})),
    py_eventually:equals(0, fun in_flight/0),
    ?assert(length(notes(Config)) < 300).

pmap_shows_a_line_in_a_terminal_only(Config) ->
    File = ?config(file, Config),
    Slow = fun() -> py:pmap(py_errands, run, [{File, N, 50} || N <- lists:seq(1, 60)], #{progress => true}) end,
    Fast = fun() -> py:pmap(py_errands, run, [{File, N, 5} || N <- lists:seq(1, 10)], #{progress => true}) end,
    {_, Pipe} = py_output:of_call(Slow),
    ?assertEqual("", py_output:text(Pipe)),
    {_, Quick} = py_output:of_terminal_call(Fast),
    ?assertEqual("", py_output:text(Quick)),
    {_, Terminal} = py_output:of_terminal_call(Slow),
    Text = py_output:text(Terminal),
    ?assertMatch({match, _}, re:run(Text, "^\rpy:pmap: [0-9]+ % \\([0-9]+ of 60\\), 1 s\r")),
    %% It goes away.
    ?assertMatch({match, _}, re:run(Text, "\r *\r$")),
    [py_output:stop(Leader) || Leader <- [Pipe, Quick, Terminal]].

preduce_is_the_reduction_of_the_whole_list(_Config) ->
    List = lists:seq(1, 10_000),
    ?assertEqual(lists:sum(List), py:preduce(operator, add, List)),
    [?assertEqual(lists:sum(List), py:preduce(operator, add, List, #{chunk => Chunk})) || Chunk <- [1, 2, 333, 10_000]],
    ?assertEqual(lists:sum(List) + 7, py:preduce(operator, add, List, #{initial => 7, window => 1})),
    ?assertEqual(5, py:preduce(operator, add, [5])),
    ?assertEqual(7, py:preduce(operator, add, [], #{initial => 7})),
    ?assertError({python, 'builtins.TypeError', "reduce() of empty" ++ _, _}, py:preduce(operator, add, [])),
    %% The order is that of the list.
    Letters = [<<C>> || C <- lists:seq($a, $z)],
    ?assertEqual("abcdefghijklmnopqrstuvwxyz", py:preduce(py_errands, join, Letters)),
    ?assertEqual(<<"*abcdefghijklmnopqrstuvwxyz">>, py:preduce(py_errands, join, Letters, #{initial => <<"*">>, strings => binary})),
    ?assertError({python, 'builtins.TypeError', _, [_, {item, 3}]},
        py:preduce(py_errands, join, [1, 2, <<"x">>, 4], #{chunk => 4})),
    ?assertError({py, timeout}, py:preduce(py_errands, meet, [1, 2], #{timeout => 0})).

preduce_changes_no_value_on_its_way(_Config) ->
    Bytes = [{bytes, <<N>>} || N <- lists:seq(1, 50)],
    ?assertEqual(list_to_binary(lists:seq(1, 50)), py:preduce(py_errands, join, Bytes, #{chunk => 3})),
    Tuples = [{N} || N <- lists:seq(1, 50)],
    ?assertEqual(list_to_tuple(lists:seq(1, 50)), py:preduce(py_errands, join, Tuples, #{chunk => 3})),
    Result = py:preduce(operator, add, lists:seq(1, 50), #{return => ref}),
    ?assert(py_term:is_ref(Result)),
    ?assertEqual(1275, py:int(Result)).

%%% Errors of the caller

a_wrong_argument_is_badarg_and_explained(_Config) ->
    Before = served(),
    Handle = py:async(builtins, abs, [-1]),
    1 = py:await(Handle),
    Improper = [1 | 2],
    [
        begin
            Failure = failure(Call),
            ?assertMatch({error, badarg, _}, Failure),
            ?assertNotEqual(nomatch, string:find(explanation(Position, Failure), Word), explanation(Position, Failure))
        end
     || {Call, Position, Word} <- [
            {fun() -> py:call_all("os", getpid, []) end, 1, "must be a name"},
            {fun() -> py:call_all(os, 1, []) end, 2, "must be a name"},
            {fun() -> py:call_all(os, getpid, x) end, 3, "the list of arguments"},
            {fun() -> py:call_all(os, getpid, [], []) end, 4, "options must be a map"},
            {fun() -> py:call_all(os, getpid, [], #{worker => self()}) end, 4, "must not have the option worker"},
            {fun() -> py:call_n(0, os, getpid, []) end, 1, "at least 1"},
            {fun() -> py:call_n(1.0, os, getpid, []) end, 1, "at least 1"},
            {fun() -> py:call_n(3, os, getpid, []) end, 1, "at most 2"},
            {fun() -> py:call_n(1, os, getpid, Improper) end, 4, "the list of arguments"},
            {fun() -> py:call_n(1, os, getpid, [], #{timeout => -1}) end, 5, "option timeout must be"},
            {fun() -> py:async(os, getpid, Improper) end, 3, "the list of arguments"},
            {fun() -> py:async(os, getpid, [], [x]) end, 4, "must be keywords"},
            {fun() -> py:async(os, getpid, [], #{x => 1}) end, 4, "unknown option x"},
            {fun() -> py:async(os, getpid, [], [], []) end, 5, "options must be a map"},
            {fun() -> py:scatter(os, getpid, [x]) end, 3, "a list of lists"},
            {fun() -> py:scatter(os, getpid, [[] | x]) end, 3, "a list of lists"},
            {fun() -> py:scatter(os, getpid, [], #{window => 0}) end, 4, "option window must be"},
            {fun() -> py:scatter(os, getpid, [], #{chunk => 1}) end, 4, "unknown option chunk"},
            {fun() -> py:await(x) end, 1, "a handle of py:async"},
            {fun() -> py:await(Handle, -1) end, 2, "must be milliseconds"},
            {fun() -> py:cancel([Handle]) end, 1, "a handle of py:async"},
            {fun() -> py:gather(Handle) end, 1, "a list of handles"},
            {fun() -> py:gather([Handle, x]) end, 1, "a list of handles"},
            {fun() -> py:gather_all([Handle | x]) end, 1, "a list of handles"},
            {fun() -> py:gather_all([], soon) end, 2, "must be milliseconds"},
            {fun() -> py:pmap(1, f, []) end, 1, "must be a name"},
            {fun() -> py:pmap(m, "f", []) end, 2, "must be a name"},
            {fun() -> py:pmap(m, f, Improper) end, 3, "a list of items"},
            {fun() -> py:pmap(m, f, #{}) end, 3, "a list of items"},
            {fun() -> py:pmap(m, f, [], #{chunk => 0}) end, 4, "option chunk must be"},
            {fun() -> py:pmap(m, f, [], #{ordered => yes}) end, 4, "option ordered must be true | false"},
            {fun() -> py:pmap(m, f, [], #{progress => fun() -> ok end}) end, 4, "option progress must be"},
            {fun() -> py:pmap(m, f, [], #{retry => -1}) end, 4, "option retry must be"},
            {fun() -> py:pmap(m, f, [], #{initial => 1}) end, 4, "unknown option initial"},
            {fun() -> py:preduce(m, f, x) end, 3, "a list of items"},
            {fun() -> py:preduce(m, f, [], #{ordered => true}) end, 4, "unknown option ordered"}
        ]
    ],
    ?assertEqual(Before + 1, served()).

without_the_application_each_call_says_so(_Config) ->
    [
        ?assertError({py, not_started}, Call())
     || Call <- [
            fun() -> py:call_all(os, getpid, []) end,
            fun() -> py:call_n(1, os, getpid, []) end,
            fun() -> py:await(py:async(os, getpid, [])) end,
            fun() -> py:gather(py:scatter(os, getpid, [[], []])) end,
            fun() -> py:pmap(math, sqrt, [1]) end,
            fun() -> py:preduce(operator, add, [1]) end
        ]
    ],
    ?assertEqual([{error, {py, not_started}}], py:gather_all(py:scatter(os, getpid, [[]]))).

%%% What the cases share

notes(Config) ->
    case file:read_file(?config(file, Config)) of
        {ok, Text} -> string:lexemes(binary_to_list(Text), "\n");
        {error, enoent} -> []
    end.

in_flight() -> lists:sum([Calls || #{in_flight := Calls} <- py:workers()]).

%% The most calls that were seen until this holds.
most_in_flight(IsOver, Most) ->
    case IsOver() of
        true -> Most;
        false -> most_in_flight(IsOver, max(Most, in_flight()))
    end.

served() -> lists:sum([Calls || #{calls := Calls} <- py:workers()]).

references() -> lists:sum([Count || #{references := Count} <- py:workers()]).

now_ms() -> erlang:monotonic_time(millisecond).

failure(Call) ->
    try Call() of
        Value -> {value, Value}
    catch
        Class:Reason:Stack -> {Class, Reason, Stack}
    end.

in_another_process(Call) ->
    {Pid, Monitor} = spawn_monitor(fun() -> exit({shutdown, try Call() catch C:R:S -> {C, R, S} end}) end),
    receive
        {'DOWN', Monitor, process, Pid, {shutdown, Result}} -> Result
    end.

explanation(Position, {error, Reason, Stack}) ->
    #{Position := Text} = py_error:format_error(Reason, Stack),
    unicode:characters_to_list(Text).

shown(Call) ->
    {Class, Reason, Stack} = failure(Call),
    unicode:characters_to_list(erl_error:format_exception(Class, Reason, Stack)).
