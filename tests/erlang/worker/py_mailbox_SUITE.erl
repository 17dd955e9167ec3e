%%% What stands in a worker's mailbox together: calls are taken out of it and answered many at a time, and nothing is overtaken.
%%%
%%% The worker process is suspended until all of a case's messages have come.
-module(py_mailbox_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    calls_run_in_the_order_in_which_they_came/1,
    a_large_call_among_small_ones_keeps_its_place/1,
    a_cast_between_two_calls_keeps_its_place/1,
    a_call_that_was_given_up_does_not_hold_up_the_others/1,
    calls_of_dead_callers_do_not_hold_up_the_others/1,
    questions_of_sys_are_answered_among_calls/1,
    a_worker_in_debug_mode_serves/1,
    a_stop_behind_calls_is_obeyed_and_each_is_answered/1,
    a_drain_between_calls_moves_those_behind_it/1,
    a_worker_that_is_killed_answers_none_twice/1,
    a_python_that_is_killed_answers_each_call_once/1,
    most_calls_of_a_worker_hold_for_calls_that_come_together/1,
    a_full_queue_holds_for_calls_that_come_together/1,
    one_after_another_fits_into_a_queue_of_none/1,
    prints_come_before_the_answers_of_their_calls/1,
    the_heap_is_large_as_long_as_many_calls_are_in_hand/1,
    answers_to_many_callers_are_their_own/1
]).

suite() -> [{timetrap, {minutes, 5}}].

all() -> [Case || {Case, 1} <- ?MODULE:module_info(exports), not lists:member(Case, [module_info, init_per_suite, end_per_suite])].

init_per_testcase(Case, Config) ->
    ok = py_application:start([{default, maps:merge(#{size => 1, kill_after => 300, python_path => [?config(data_dir, Config)]}, options(Case))}]),
    Config.

options(most_calls_of_a_worker_hold_for_calls_that_come_together) -> #{max_calls => 3};
options(a_full_queue_holds_for_calls_that_come_together) -> #{max_queue => 5};
options(one_after_another_fits_into_a_queue_of_none) -> #{max_queue => 0};
options(_) -> #{}.

end_per_testcase(_, _Config) -> py_application:stop().

worker() ->
    [#{worker := Worker}] = py:workers(),
    Worker.

%% Run a function while the worker takes nothing, then let it go on.
together(Worker, Fun) ->
    true = erlang:suspend_process(Worker),
    Value = Fun(),
    true = erlang:resume_process(Worker),
    Value.

%% A message is sent, and has come.
sent(Worker, Fun) ->
    {message_queue_len, Before} = process_info(Worker, message_queue_len),
    Value = Fun(),
    py_eventually:holds(fun() -> {message_queue_len, Now} = process_info(Worker, message_queue_len), Now > Before end),
    Value.

caller(Worker, Fun) -> sent(Worker, fun() -> py_caller:start(Fun) end).

call(Function, Args) -> call(Function, Args, #{}).

call(Function, Args, Options) -> py:func(py_noting, Function, Args, Options).

calls_run_in_the_order_in_which_they_came(_Config) ->
    Worker = worker(),
    %% More than are taken in one step.
    Numbers = lists:seq(1, 150),
    Callers = together(Worker, fun() -> [caller(Worker, fun() -> call(note, [N]) end) || N <- Numbers] end),
    ?assertEqual([{ok, N} || N <- Numbers], py_caller:results(Callers)),
    ?assertEqual(Numbers, call(noted, [])).

a_large_call_among_small_ones_keeps_its_place(_Config) ->
    Worker = worker(),
    Large = {bytes, binary:copy(<<"x">>, 200_000)},
    Callers = together(Worker, fun() -> [caller(Worker, fun() -> call(note, [What]) end) || What <- [1, 2, Large, 3, 4]] end),
    [{ok, 1}, {ok, 2}, {ok, Same}, {ok, 3}, {ok, 4}] = py_caller:results(Callers),
    ?assertEqual(200_000, byte_size(Same)),
    ?assertMatch([1, 2, _, 3, 4], call(noted, [])).

a_cast_between_two_calls_keeps_its_place(_Config) ->
    Worker = worker(),
    call(note_messages, []),
    Callers = together(Worker, fun() ->
        First = caller(Worker, fun() -> call(note, [1]) end),
        ok = sent(Worker, fun() -> py:cast(default, 2) end),
        [First, caller(Worker, fun() -> call(note, [3]) end)]
    end),
    ?assertEqual([{ok, 1}, {ok, 3}], py_caller:results(Callers)),
    ?assertEqual([1, 2, 3], call(noted, [])).

a_call_that_was_given_up_does_not_hold_up_the_others(_Config) ->
    Worker = worker(),
    [#{os_pid := OsPid}] = py:workers(),
    {GivenUp, Others} = together(Worker, fun() ->
        Unwanted = caller(Worker, fun() -> call(sleep, [30], #{timeout => 20}) end),
        Timeout = py_caller:result(Unwanted),
        {Timeout, [caller(Worker, fun() -> call(note, [N]) end) || N <- [1, 2, 3]]}
    end),
    ?assertEqual({error, {py, timeout}}, GivenUp),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], py_caller:results(Others)),
    %% It was interrupted.
    ?assertMatch([#{os_pid := OsPid}], py:workers()).

calls_of_dead_callers_do_not_hold_up_the_others(_Config) ->
    Worker = worker(),
    Others = together(Worker, fun() ->
        Dead = [caller(Worker, fun() -> call(sleep, [30]) end) || _ <- [1, 2]],
        lists:foreach(fun py_caller:kill/1, Dead),
        [caller(Worker, fun() -> call(note, [N]) end) || N <- [1, 2, 3]]
    end),
    ?assertEqual([{ok, 1}, {ok, 2}, {ok, 3}], py_caller:results(Others)).

questions_of_sys_are_answered_among_calls(_Config) ->
    Worker = worker(),
    {Callers, Questions} = together(Worker, fun() ->
        %% The questions have five seconds, on a machine that may be busy.
        Before = [caller(Worker, fun() -> call(note, [N]) end) || N <- lists:seq(1, 96)],
        Asked = [
            caller(Worker, fun() -> element(1, sys:get_status(Worker)) end),
            caller(Worker, fun() -> element(1, py_worker:info(Worker)) end)
        ],
        {Before ++ [caller(Worker, fun() -> call(note, [N]) end) || N <- lists:seq(97, 100)], Asked}
    end),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 100)], py_caller:results(Callers)),
    ?assertEqual([{ok, status}, {ok, ok}], py_caller:results(Questions)),
    ?assertEqual(lists:seq(1, 100), call(noted, [])).

a_worker_in_debug_mode_serves(_Config) ->
    Worker = worker(),
    ok = sys:statistics(Worker, true),
    Callers = [py_caller:start(fun() -> call(note, [N]) end) || N <- lists:seq(1, 20)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], py_caller:results(Callers)),
    ok = sys:suspend(Worker),
    Waits = caller(Worker, fun() -> call(note, [21]) end),
    ok = sys:resume(Worker),
    ?assertEqual({ok, 21}, py_caller:result(Waits)).

a_stop_behind_calls_is_obeyed_and_each_is_answered(_Config) ->
    Worker = worker(),
    Sup = py_registry:worker_sup(default),
    {Callers, Stopper} = together(Worker, fun() ->
        Before = [caller(Worker, fun() -> call(sleep, [20]) end) || _ <- [1, 2, 3]],
        {Before, caller(Worker, fun() -> py_worker_sup:stop_worker(Sup, Worker) end)}
    end),
    ?assertEqual({ok, ok}, py_caller:result(Stopper)),
    %% By itself, and not killed by its supervisor. The first may have been begun.
    Reasons = [Reason || {error, {py, {worker_down, Reason}}} <- py_caller:results(Callers)],
    ?assertMatch([First, restarting, restarting] when First =:= stopped; First =:= restarting, Reasons).

a_drain_between_calls_moves_those_behind_it(_Config) ->
    Worker = worker(),
    {ok, Last} = py:add_worker(default),
    Options = #{worker => Last},
    {Before, Remover, Behind} = together(Last, fun() ->
        Sent = [caller(Last, fun() -> call(note, [N], Options) end) || N <- [1, 2]],
        Remove = caller(Last, fun() -> py:remove_worker(Last) end),
        {Sent, Remove, [caller(Last, fun() -> py_worker:call(bound, Last, py_wire:body(operator, add, [1, 2]), infinity, self()) end) || _ <- [1, 2]]}
    end),
    ?assertEqual([{ok, 1}, {ok, 2}], py_caller:results(Before)),
    ?assertEqual({ok, ok}, py_caller:result(Remover)),
    ?assertEqual([{ok, {error, moved}}, {ok, {error, moved}}], py_caller:results(Behind)),
    ?assertMatch([#{worker := Worker}], py:workers()).

%% Callers that read on after their answer, for another one.
patient(Worker, Fun) ->
    caller(Worker, fun() ->
        Outcome = try {ok, Fun()} catch error:Reason -> {error, Reason} end,
        receive
            Other -> {Outcome, Other}
        after 300 -> Outcome
        end
    end).

a_worker_that_is_killed_answers_none_twice(_Config) ->
    lists:foreach(
        fun(_) ->
            Worker = worker(),
            Callers = together(Worker, fun() -> [patient(Worker, fun() -> call(note, [N]) end) || N <- lists:seq(1, 20)] end),
            exit(Worker, kill),
            Outcomes = py_caller:results(Callers),
            ?assert(lists:all(fun is_single/1, Outcomes), Outcomes),
            py_eventually:holds(fun() -> [S || #{state := S} <- py:workers()] =:= [serving] end, 30_000)
        end,
        lists:seq(1, 5)
    ).

is_single({ok, {ok, N}}) -> is_integer(N);
is_single({ok, {error, {py, {worker_down, _}}}}) -> true;
is_single(_) -> false.

a_python_that_is_killed_answers_each_call_once(_Config) ->
    lists:foreach(
        fun(_) ->
            [#{worker := Worker, os_pid := OsPid}] = py:workers(),
            Callers = together(Worker, fun() -> [patient(Worker, fun() -> call(note, [N]) end) || N <- lists:seq(1, 100)] end),
            py_os_process:kill(OsPid),
            Outcomes = py_caller:results(Callers),
            ?assert(lists:all(fun is_single/1, Outcomes), Outcomes),
            py_eventually:holds(fun() -> [S || #{state := S} <- py:workers()] =:= [serving] end, 30_000)
        end,
        lists:seq(1, 5)
    ).

most_calls_of_a_worker_hold_for_calls_that_come_together(_Config) ->
    Worker = worker(),
    Pids = together(Worker, fun() ->
        [caller(Worker, fun() -> py:func(os, getpid, []) end) || _ <- lists:seq(1, 12)]
    end),
    Served = [Pid || {ok, Pid} <- py_caller:results(Pids)],
    ?assertEqual(12, length(Served)),
    %% Those that wait for the next interpreter it is sent at once.
    ?assert(length([Pid || Pid <- Served, Pid =:= hd(Served)]) =< 4, Served).

a_full_queue_holds_for_calls_that_come_together(_Config) ->
    Worker = worker(),
    Results = together(Worker, fun() ->
        %% Past the pool's own count, as callers of another node may come.
        [caller(Worker, fun() -> py_worker:call(bound, Worker, py_wire:body(operator, add, [1, 2]), infinity, self()) end) || _ <- lists:seq(1, 12)]
    end),
    Outcomes = [Outcome || {ok, Outcome} <- py_caller:results(Results)],
    ?assertEqual({6, 6}, {length([ok || {ok, _} <- Outcomes]), length([full || {error, overload} <- Outcomes])}).

one_after_another_fits_into_a_queue_of_none(_Config) ->
    ?assertEqual([3], lists:usort([py:func(operator, add, [1, 2]) || _ <- lists:seq(1, 2_000)])).

the_heap_is_large_as_long_as_many_calls_are_in_hand(_Config) ->
    Worker = worker(),
    Usual = least_heap(Worker),
    [First | Others] = together(Worker, fun() ->
        [caller(Worker, fun() -> call(sleep, [600]) end) | [caller(Worker, fun() -> call(note, [N]) end) || N <- lists:seq(1, 20)]]
    end),
    py_eventually:holds(fun() -> least_heap(Worker) > 100 * Usual end),
    py_caller:kill(First),
    ?assertEqual([{ok, N} || N <- lists:seq(1, 20)], py_caller:results(Others)),
    py_eventually:equals(Usual, fun() -> least_heap(Worker) end).

least_heap(Worker) ->
    {garbage_collection, Settings} = process_info(Worker, garbage_collection),
    proplists:get_value(min_heap_size, Settings).

prints_come_before_the_answers_of_their_calls(_Config) ->
    Worker = worker(),
    Callers = together(Worker, fun() ->
        [
            caller(Worker, fun() ->
                Text = integer_to_binary(N),
                Self = self(),
                group_leader(Self, Self),
                undefined = call(print_and_note, [Text]),
                %% It is here already.
                receive
                    {io_request, From, Reference, {put_chars, unicode, Printed}} ->
                        From ! {io_reply, Reference, ok},
                        iolist_to_binary(Printed)
                after 0 -> nothing
                end
            end)
         || N <- lists:seq(1, 40)
        ]
    end),
    ?assertEqual([{ok, integer_to_binary(N)} || N <- lists:seq(1, 40)], py_caller:results(Callers)).

answers_to_many_callers_are_their_own(_Config) ->
    Callers = [py_caller:start(fun() -> [N = py:func(operator, add, [N, 0]) || _ <- lists:seq(1, 20)], N end) || N <- lists:seq(1, 300)],
    ?assertEqual([{ok, N} || N <- lists:seq(1, 300)], py_caller:results(Callers)).
