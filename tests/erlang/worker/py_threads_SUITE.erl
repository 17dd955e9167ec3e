%%% Calls in threads (`threads => N'): that many at a time, each found by whoever must find it, and none paying for another's end.
-module(py_threads_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, groups/0, init_per_group/2, end_per_group/2, init_per_testcase/2, end_per_testcase/2]).
-export([
    as_many_run_as_there_are_threads/1,
    the_start_has_the_main_thread/1,
    a_call_that_imports_threading_has_not_the_main_thread/1,
    each_call_has_its_own_context/1,
    what_is_printed_is_the_callers/1,
    what_is_logged_is_the_callers/1,
    what_is_made_is_the_callers/1,
    what_is_asked_is_the_callers/1,
    calls_nest_in_all_threads/1,
    what_a_call_raises_is_its_own/1,
    coroutines_run_beside_threads/1,
    messages_are_heard_in_order/1,
    threads_of_user_code_ask/1,
    a_fork_is_a_fork/1,
    a_fork_ends_with_its_call/1
]).
-export([
    a_call_is_interrupted_in_its_thread/1,
    a_call_that_waits_for_erlang_is_interrupted/1,
    a_call_that_has_not_begun_never_runs/1,
    a_caller_that_dies_ends_its_call/1,
    an_import_is_not_interrupted/1,
    one_that_never_returns_costs_no_other/1,
    one_that_swallows_its_end_costs_no_other/1,
    one_that_asks_again_and_again_costs_no_other/1,
    one_that_holds_up_the_loop_costs_no_other/1,
    one_that_is_alone_is_ended_at_once/1,
    several_that_never_return_are_one_replacement/1
]).
-export([
    a_death_costs_what_has_begun/1,
    memory_is_the_calls_own/1,
    max_calls_waits_for_the_threads/1,
    a_worker_that_is_taken_away_waits_for_its_threads/1,
    max_queue_counts_those_that_wait/1,
    a_stop_leaves_nothing/1,
    a_box_has_threads/1
]).
%% Called by Python.
-export([slow/1, keep/1, call_back/1, wait/0, count/0]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [{group, native}, {group, reference}, {group, ends}].

groups() ->
    Both = [
        as_many_run_as_there_are_threads,
        each_call_has_its_own_context,
        what_is_printed_is_the_callers,
        what_is_logged_is_the_callers,
        what_is_made_is_the_callers,
        what_is_asked_is_the_callers,
        calls_nest_in_all_threads,
        what_a_call_raises_is_its_own,
        coroutines_run_beside_threads,
        messages_are_heard_in_order,
        a_call_is_interrupted_in_its_thread,
        a_call_that_waits_for_erlang_is_interrupted,
        a_death_costs_what_has_begun
    ],
    [
        {native, [], Both},
        {reference, [], Both},
        {ends, [], [
            the_start_has_the_main_thread,
            a_call_that_imports_threading_has_not_the_main_thread,
            threads_of_user_code_ask,
            a_fork_is_a_fork,
            a_fork_ends_with_its_call,
            a_call_that_has_not_begun_never_runs,
            a_caller_that_dies_ends_its_call,
            an_import_is_not_interrupted,
            one_that_never_returns_costs_no_other,
            one_that_swallows_its_end_costs_no_other,
            one_that_asks_again_and_again_costs_no_other,
            one_that_holds_up_the_loop_costs_no_other,
            one_that_is_alone_is_ended_at_once,
            several_that_never_return_are_one_replacement,
            memory_is_the_calls_own,
            max_calls_waits_for_the_threads,
            a_worker_that_is_taken_away_waits_for_its_threads,
            max_queue_counts_those_that_wait,
            a_stop_leaves_nothing,
            a_box_has_threads
        ]}
    ].

init_per_group(Group, Config) ->
    Data = ?config(data_dir, Config),
    %% What forks is that of the suite of recovery.
    Forking = filename:join(filename:dirname(filename:absname(Data)), "py_recovery_SUITE_data"),
    [{paths, [Data, Forking] ++ [filename:join(Data, "reference") || Group =:= reference]} | Config].

end_per_group(_, _Config) -> ok.

init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, options(Case, Config)}]),
    File = filename:join(?config(priv_dir, Config), lists:concat([Case, erlang:unique_integer([positive])])),
    [{file, File} | Config].

end_per_testcase(_Case, _Config) -> py_application:stop().

options(Case, Config) ->
    maps:merge(#{size => 1, threads => 4, kill_after => 300, python_path => ?config(paths, Config)}, options(Case)).

options(one_that_never_returns_costs_no_other) -> #{threads => 8};
options(several_that_never_return_are_one_replacement) -> #{threads => 8};
options(memory_is_the_calls_own) -> #{max_memory => 200_000_000};
options(max_calls_waits_for_the_threads) -> #{max_calls => 20};
options(max_queue_counts_those_that_wait) -> #{max_queue => 3};
options(the_start_has_the_main_thread) -> #{on_start => {py_threaded, start, []}};
options(calls_nest_in_all_threads) -> #{threads => 2};
options(_) -> #{}.

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_threaded, Function, Args, Options).

callers(Function, ListOfArgs) -> [py_caller:start(fun() -> call(Function, Args) end) || Args <- ListOfArgs].

%% What calls wait for: a file beside the case's own.
awaited(Config) -> unicode:characters_to_binary([?config(file, Config), ".awaited"]).

os_pids() -> [OsPid || #{os_pid := OsPid} <- py:workers()].

module() -> atom_to_binary(?MODULE).

%%% What belongs to whom

as_many_run_as_there_are_threads(_Config) ->
    undefined = call(set_gate, [4]),
    ?assertEqual([{ok, true} || _ <- lists:seq(1, 8)], py_caller:results(callers(meet, [[] || _ <- lists:seq(1, 8)]))),
    Peaks = [Peak || {ok, Peak} <- py_caller:results(callers(peak, [[0.02] || _ <- lists:seq(1, 40)]))],
    ?assertEqual({40, 4}, {length(Peaks), lists:max(Peaks)}).

the_start_has_the_main_thread(_Config) ->
    ?assertEqual([true], call(was_started_in_main, [])),
    ?assertEqual(false, call(is_main, [])).

%% Otherwise the process waits for the end of that thread, which does not come, before it runs its exit handlers.
a_call_that_imports_threading_has_not_the_main_thread(_Config) ->
    [OsPid] = os_pids(),
    ?assertEqual(OsPid, call(main_thread, [])).

each_call_has_its_own_context(_Config) ->
    Counted = [call(count_in_context, []) || _ <- lists:seq(1, 20)],
    ?assertEqual([1], lists:usort([Variable || {Variable, _} <- Counted])),
    %% What belongs to a thread is there for its next call.
    ?assert(lists:max([Count || {_, Count} <- Counted]) > 1).

what_is_printed_is_the_callers(_Config) ->
    Printing = fun(N) ->
        py_caller:start(fun() ->
            {undefined, Leader} = py_output:of_call(fun() ->
                call(say, [N, 20]),
                call(say_in_bytes, [N]),
                call(say_without_an_end, [N])
            end),
            py_output:text(Leader)
        end)
    end,
    Text = fun(N) -> lists:append(lists:duplicate(20, io_lib:format("<~w>~n", [N]))) ++ io_lib:format("~w~n~w", [N, N]) end,
    [
        ?assertEqual({ok, lists:flatten(Text(N))}, Result)
     || {N, Result} <- lists:enumerate(py_caller:results([Printing(N) || N <- lists:seq(1, 8)]))
    ].

what_is_logged_is_the_callers(_Config) ->
    Test = self(),
    ok = logger:add_handler(?MODULE, py_threads_log, #{config => Test}),
    Own = [
        {N, py_caller:start(fun() -> {undefined, Leader} = py_output:of_call(fun() -> call(log, [N]) end), Leader end)}
     || N <- lists:seq(1, 8)
    ],
    [
        begin
            {ok, Leader} = py_caller:result(Caller),
            ?assertEqual(Leader, logged(lists:concat(["number ", N]))),
            ?assertEqual(Leader, logged(lists:concat(["again ", N])))
        end
     || {N, Caller} <- Own
    ],
    ok = logger:remove_handler(?MODULE).

logged(Text) -> receive {logged, Text, Leader} -> Leader after 10_000 -> error({not_logged, Text}) end.

what_is_made_is_the_callers(_Config) ->
    Holding = fun(N) ->
        Test = self(),
        spawn_monitor(fun() ->
            Things = call(make, [N]),
            ?assertEqual([N, N, N], call(numbers, [Things])),
            Test ! {made, self()},
            receive go -> ok end
        end)
    end,
    Holders = [Holding(N) || N <- lists:seq(1, 12)],
    [receive {made, Pid} -> ok; {'DOWN', Monitor, _, _, Reason} -> error(Reason) after 20_000 -> error(not_made) end || {Pid, Monitor} <- Holders],
    [#{references := 36}] = py:workers(),
    [Pid ! go || {Pid, _} <- lists:sublist(Holders, 11)],
    py_eventually:holds(fun() -> [3] =:= [Count || #{references := Count} <- py:workers()] end),
    [Pid ! go || {Pid, _} <- Holders],
    [receive {'DOWN', Monitor, _, _, normal} -> ok after 10_000 -> error(there_still) end || {_, Monitor} <- Holders],
    py_eventually:holds(fun() -> [0] =:= [Count || #{references := Count} <- py:workers()] end),
    %% What it gives away is its caller's as well.
    Test = self(),
    {Giver, Ended} = spawn_monitor(fun() ->
        Test ! {given, call(give_away, [module(), <<"keep">>, 5])},
        receive go -> ok end
    end),
    Given = receive {given, Ref} -> Ref after 10_000 -> error(not_given) end,
    ?assertEqual([5], call(numbers, [[Given]])),
    Giver ! go,
    receive {'DOWN', Ended, _, _, normal} -> ok end,
    py_eventually:holds(fun() -> [0] =:= [Count || #{references := Count} <- py:workers()] end).

keep(Thing) -> Thing.

what_is_asked_is_the_callers(_Config) ->
    Asking = fun(N) ->
        py_caller:start(fun() ->
            {ok, Leader} = py_output:of_call(fun() -> call(ask, [module(), <<"slow">>, [N]]) end),
            py_output:text(Leader)
        end)
    end,
    [
        ?assertEqual({ok, integer_to_list(N)}, Result)
     || {N, Result} <- lists:enumerate(py_caller:results([Asking(N) || N <- lists:seq(1, 30)]))
    ].

slow(N) ->
    receive after 5 -> ok end,
    io:put_chars(integer_to_list(N)).

%% More callers than there are threads, and each of them has its worker called again.
calls_nest_in_all_threads(_Config) ->
    Count = 300,
    Callers = callers(ask, [[module(), <<"call_back">>, [N]] || N <- lists:seq(1, Count)]),
    ?assertEqual([{ok, N} || N <- lists:seq(1, Count)], py_caller:results(Callers)),
    ?assertMatch([#{in_flight := 0}], py:workers()),
    %% Without an end they are refused, by the worker or for want of one thread more, and what was there is there still.
    Refused = try call(ask, [module(), <<"call_back">>, [deeper]]) catch error:Reason -> Reason end,
    case Refused of
        {py, {nested, _}} -> ok;
        {erlang, _, _, _} -> ok;
        {python, 'erl.errors.BridgeError', Text, _} -> ?assertNotEqual(nomatch, string:find(Text, "no more can be started"))
    end,
    ?assertEqual(3, py:add(1, 2)).

call_back(deeper) -> call(ask, [module(), <<"call_back">>, [deeper]]);
call_back(N) -> call(sleep, [0.001, N]).

what_a_call_raises_is_its_own(_Config) ->
    [OsPid] = os_pids(),
    Beside = callers(sleep, [[0.3, N] || N <- lists:seq(1, 3)]),
    [
        ?assertError({python, Class, "x", _}, call(leave, [Name]))
     || {Name, Class} <- [
            {<<"SystemExit">>, 'builtins.SystemExit'},
            {<<"KeyboardInterrupt">>, 'builtins.KeyboardInterrupt'},
            {<<"BaseException">>, 'builtins.BaseException'}
        ]
    ],
    ?assertError({python, 'builtins.AttributeError', _, _}, call(nowhere, [])),
    ?assertError({python, 'builtins.TypeError', _, _}, call(sleep, [1])),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], py_caller:results(Beside)),
    ?assertEqual([OsPid], os_pids()).

coroutines_run_beside_threads(_Config) ->
    Asleep = callers(sleep, [[0.3, N] || N <- lists:seq(1, 4)]),
    Later = callers(later, [[0.05, N] || N <- lists:seq(1, 50)]),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 50)], py_caller:results(Later)),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 4)], py_caller:results(Asleep)),
    ?assertError({py, timeout}, call(later, [60, x], #{timeout => 100})),
    py_eventually:holds(fun() -> [0] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    ?assertEqual(x, call(later, [0.01, x])).

messages_are_heard_in_order(_Config) ->
    undefined = call(hear, []),
    [#{worker := Worker}] = py:workers(),
    [py:cast(Worker, N) || N <- lists:seq(1, 100)],
    py:cast(Worker, ask),
    py:cast(Worker, last),
    py_eventually:equals(lists:seq(1, 100) ++ [3, last], fun() -> call(all_heard, []) end).

threads_of_user_code_ask(_Config) ->
    ?assertEqual([node() || _ <- lists:seq(1, 8)], [
        Node
     || {ok, Node} <- py_caller:results(callers(ask_in_a_thread, [[<<"erlang">>, <<"node">>] || _ <- lists:seq(1, 8)]))
    ]).

a_fork_is_a_fork(_Config) ->
    ?assertEqual([{ok, "child"} || _ <- lists:seq(1, 4)], py_caller:results(callers(fork, [[] || _ <- lists:seq(1, 4)]))),
    ?assertEqual(3, py:add(1, 2)).

%% No thread of it waits for calls that never come.
a_fork_ends_with_its_call(_Config) ->
    Ways = [<<"exit">>, <<"text">>, <<"raise">>, <<"return">>],
    [?assertEqual([3, 1, 1, 0], [py:func(py_recovery, Function, [How]) || How <- Ways], Function) || Function <- [end_of_fork, end_of_fork_later]],
    ?assertEqual(3, py:add(1, 2)).

%%% Calls that nobody wants

a_call_is_interrupted_in_its_thread(_Config) ->
    [OsPid] = os_pids(),
    Beside = callers(sleep, [[1.0, N] || N <- lists:seq(1, 3)]),
    [?assertError({py, timeout}, call(spin_and_note, [], #{timeout => 500})) || _ <- lists:seq(1, 5)],
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], py_caller:results(Beside)),
    Text = "cancelled: Erlang does not want the result of this call any more",
    py_eventually:equals(lists:duplicate(5, Text), fun() -> call(noted, []) end),
    ?assertEqual([OsPid], os_pids()).

a_call_that_waits_for_erlang_is_interrupted(_Config) ->
    [OsPid] = os_pids(),
    register(?MODULE, self()),
    ?assertError({py, timeout}, call(ask, [module(), <<"wait">>, []], #{timeout => 1_000})),
    Waits = receive {waits, Pid} -> Pid after 10_000 -> error(not_asked) end,
    Monitor = monitor(process, Waits),
    receive {'DOWN', Monitor, process, Waits, _} -> ok after 10_000 -> error(still_there) end,
    py_eventually:holds(fun() -> [0] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    ?assertEqual([OsPid], os_pids()).

wait() ->
    ?MODULE ! {waits, self()},
    receive after 60_000 -> ok end.

a_call_that_has_not_begun_never_runs(Config) ->
    Path = unicode:characters_to_binary(?config(file, Config)),
    Busy = callers(wait_for, [[awaited(Config), N] || N <- lists:seq(1, 4)]),
    py_eventually:holds(fun() -> [4] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    Unwanted = [py_caller:start(fun() -> call(mark, [Path, 0], #{timeout => 100}) end) || _ <- lists:seq(1, 10)],
    ?assertEqual([{error, {py, timeout}} || _ <- Unwanted], py_caller:results(Unwanted)),
    %% The time in which Python reads that they are not wanted.
    timer:sleep(500),
    ok = file:write_file(awaited(Config), ""),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 4)], py_caller:results(Busy)),
    true = call(mark, [Path, 0]),
    ?assertEqual({ok, <<"x">>}, file:read_file(Path)).

a_caller_that_dies_ends_its_call(_Config) ->
    [OsPid] = os_pids(),
    [Caller] = callers(spin_and_note, [[]]),
    py_eventually:holds(fun() -> call(is_spinning, []) end),
    py_caller:kill(Caller),
    py_eventually:holds(fun() -> length(call(noted, [])) =:= 1 end),
    ?assertEqual([OsPid], os_pids()).

an_import_is_not_interrupted(_Config) ->
    [OsPid] = os_pids(),
    ?assertError({py, timeout}, call(import_slowly, [<<"slow_package">>], #{timeout => 100})),
    ?assertEqual(7, call(import_slowly, [<<"slow_package">>])),
    ?assertEqual([OsPid], os_pids()).

%% Seven right answers, from a Python that takes no more calls; what comes meanwhile has another.
one_that_never_returns_costs_no_other(Config) -> abandoned(sleep, [60, x], 7, Config).

one_that_swallows_its_end_costs_no_other(Config) -> abandoned(spin_and_swallow, [], 3, Config).

%% It asks nothing more once it reads that nobody wants it: it would not wait for the answers.
one_that_asks_again_and_again_costs_no_other(Config) ->
    Asked = counters:new(1, []),
    persistent_term:put(?MODULE, Asked),
    IsQuiet = fun() ->
        Before = counters:get(Asked, 1),
        %% In which one that goes on asks hundreds of times.
        receive after 100 -> counters:get(Asked, 1) =:= Before end
    end,
    abandoned(ask_again_and_again, [module(), <<"count">>], 3, fun() -> py_eventually:holds(IsQuiet) end, Config),
    persistent_term:erase(?MODULE).

count() -> counters:add(persistent_term:get(?MODULE), 1, 1).

one_that_holds_up_the_loop_costs_no_other(Config) -> abandoned(block_the_loop, [], 3, Config).

abandoned(Function, Args, Others, Config) -> abandoned(Function, Args, Others, fun() -> ok end, Config).

abandoned(Function, Args, Others, Meanwhile, Config) ->
    [OsPid] = os_pids(),
    Beside = callers(wait_for, [[awaited(Config), N] || N <- lists:seq(1, Others)]),
    py_eventually:holds(fun() -> [Others] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    lost(Function, Args, Config),
    py_eventually:holds(fun() -> call(pid, []) =/= OsPid end),
    Meanwhile(),
    ?assert(py_os_process:alive(OsPid)),
    ok = file:write_file(awaited(Config), ""),
    ?assertEqual([{ok, N} || N <- lists:seq(1, Others)], py_caller:results(Beside)),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    one_serves(),
    ?assertEqual(3, py:add(1, 2)).

%% The other worker may be slower to start than the old one is to end: then both are there for a while.
one_serves() -> py_eventually:equals([{serving, 0}], fun() -> [{State, Open} || #{state := State, in_flight := Open} <- py:workers()] end).

%% One that is given up must have begun: a deadline that is over before that takes it back, and costs nothing.
lost(Function, Args, Config) ->
    Begun = unicode:characters_to_binary([?config(file, Config), ".begun"]),
    py_eventually:holds(fun() ->
        ?assertError({py, timeout}, call(begin_with_a_word, [Begun, atom_to_binary(Function), Args], #{timeout => 1000})),
        filelib:is_file(Begun)
    end).

one_that_is_alone_is_ended_at_once(Config) ->
    [#{os_pid := OsPid, worker := Worker}] = py:workers(),
    lost(sleep, [60, x], Config),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    ?assertEqual(3, py:add(1, 2)),
    ?assertMatch([#{worker := Worker}], py:workers()).

several_that_never_return_are_one_replacement(Config) ->
    [OsPid] = os_pids(),
    Beside = callers(wait_for, [[awaited(Config), N] || N <- lists:seq(1, 3)]),
    py_eventually:holds(fun() -> [3] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    Lost = [py_caller:start(fun() -> call(sleep, [60, x], #{timeout => 1000 + 100 * N}) end) || N <- lists:seq(1, 5)],
    ?assertEqual([{error, {py, timeout}} || _ <- Lost], py_caller:results(Lost)),
    ok = file:write_file(awaited(Config), ""),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 3)], py_caller:results(Beside)),
    py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end),
    py_eventually:holds(fun() -> length(py_os_process:pythons()) =:= 1 end),
    one_serves().

%%% Ends

%% Four have begun; the others run once, elsewhere or later.
a_death_costs_what_has_begun(Config) ->
    Path = unicode:characters_to_binary(?config(file, Config)),
    [OsPid] = os_pids(),
    Callers = callers(mark_and_wait_for, [[Path, awaited(Config)] || _ <- lists:seq(1, 20)]),
    py_eventually:equals({ok, <<"xxxx">>}, fun() -> file:read_file(Path) end),
    py_os_process:kill(OsPid),
    ok = file:write_file(awaited(Config), ""),
    Results = py_caller:results(Callers),
    ?assertEqual(4, length([lost || {error, {py, {worker_down, {signal, 9, _}}}} <- Results])),
    ?assertEqual(16, length([right || {ok, true} <- Results])),
    ?assertEqual({ok, binary:copy(<<"x">>, 20)}, file:read_file(Path)).

memory_is_the_calls_own(_Config) ->
    Beside = callers(sleep, [[1.5, N] || N <- lists:seq(1, 2)]),
    [?assertError({python, 'builtins.MemoryError', _, _}, call(grow, [])) || _ <- lists:seq(1, 3)],
    ?assertEqual([{ok, 1}, {ok, 2}], py_caller:results(Beside)),
    ?assertEqual(3, py:add(1, 2)).

max_calls_waits_for_the_threads(_Config) ->
    Results = py_caller:results(callers(sleep, [[0.02, N] || N <- lists:seq(1, 100)])),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], Results),
    ?assert(lists:all(fun(#{restarts := Restarts}) -> Restarts > 0 end, py:workers())).

a_worker_that_is_taken_away_waits_for_its_threads(_Config) ->
    [#{worker := Worker}] = py:workers(),
    Open = callers(sleep, [[0.5, N] || N <- lists:seq(1, 4)]),
    Waiting = callers(sleep, [[0.01, N] || N <- lists:seq(5, 30)]),
    py_eventually:holds(fun() -> [30] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    {ok, _} = py:add_worker(default),
    ok = py:remove_worker(Worker),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 30)], py_caller:results(Open ++ Waiting)).

max_queue_counts_those_that_wait(_Config) ->
    Open = callers(sleep, [[0.5, N] || N <- lists:seq(1, 7)]),
    py_eventually:holds(fun() -> [7] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    ?assertError({py, overload}, call(pid, [])),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 7)], py_caller:results(Open)).

a_stop_leaves_nothing(_Config) ->
    [OsPid] = os_pids(),
    Open = callers(sleep, [[60, N] || N <- lists:seq(1, 3)]),
    py_eventually:holds(fun() -> [3] =:= [Count || #{in_flight := Count} <- py:workers()] end),
    {ok, stopped} = py:stop(100),
    ?assertEqual([{error, {py, {worker_down, stopped}}} || _ <- Open], py_caller:results(Open)),
    ?assertNot(py_os_process:alive(OsPid)).

a_box_has_threads(Config) ->
    case os:find_executable("bwrap") of
        false ->
            {skip, "no bwrap on PATH (apt-get install bubblewrap)"};
        _ ->
            Box = (options(a_box_has_threads, Config))#{sandbox => bwrap, threads => 8, start_timeout => 60_000},
            case py:start_pool(box, Box) of
                {ok, _} ->
                    in_a_box(#{pool => box});
                {error, {py, {start, box, {start, {no_sandbox, Why}}}}} ->
                    {skip, Why}
            end
    end.

in_a_box(Options) ->
    Started = [py_caller:start(fun() -> py:func(time, sleep, [0.2], Options) end) || _ <- lists:seq(1, 16)],
    ?assertEqual([{ok, undefined} || _ <- Started], py_caller:results(Started)),
    Beside = [py_caller:start(fun() -> py:func(time, sleep, [1.5], Options) end) || _ <- lists:seq(1, 3)],
    ?assertError({py, timeout}, py:func(time, sleep, [60], Options#{timeout => 100})),
    ?assertEqual([{ok, undefined} || _ <- Beside], py_caller:results(Beside)),
    ?assertEqual(4, py:func(operator, add, [2, 2], Options)).
