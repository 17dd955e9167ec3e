%%% What happens between the two halves when a part in the middle goes: processes of the tree, of callbacks, forked children.
-module(py_recovery_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_killed_process_of_the_tree_comes_back_with_its_pools/1,
    what_a_killed_supervisor_leaves_is_waited_for/1,
    a_stopped_pool_does_not_come_back/1,
    a_callback_whose_process_is_killed_fails_in_python/1,
    a_callback_to_a_missing_function_fails_in_python/1,
    a_forked_child_does_not_touch_the_port/1,
    a_forked_child_ends_with_its_call/1,
    forked_workers_of_multiprocessing_do_their_work/1,
    a_reference_that_was_cast_lives_though_its_call_failed/1,
    names_that_are_values_in_python_are_errors_there/1,
    a_remote_node_that_is_not_there_is_told/1,
    an_answer_for_an_ended_python_does_not_reach_the_next/1,
    a_nested_call_that_outlives_its_deadline_is_killed/1,
    a_nested_call_that_is_interrupted_leaves_the_outer_one_alone/1,
    a_call_that_waits_for_erlang_is_interrupted_there/1,
    calls_made_while_python_dies_wait_for_the_next/1,
    an_interruption_behind_large_arguments_arrives/1,
    a_frozen_python_goes_with_its_worker_process/1,
    a_worker_process_killed_while_it_is_taken_away_stays_away/1,
    whoever_restarts_a_worker_that_is_taken_away_is_told/1,
    what_a_worker_that_is_stopped_has_not_begun_another_runs/1,
    a_call_with_a_reference_has_the_mapping_of_its_pool/1,
    a_python_that_does_not_leave_when_it_is_asked_to_is_killed/1
]).
%% Called from Python.
-export([die/0, later/2]).

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_killed_process_of_the_tree_comes_back_with_its_pools,
        what_a_killed_supervisor_leaves_is_waited_for,
        a_stopped_pool_does_not_come_back,
        a_callback_whose_process_is_killed_fails_in_python,
        a_callback_to_a_missing_function_fails_in_python,
        a_forked_child_does_not_touch_the_port,
        a_forked_child_ends_with_its_call,
        forked_workers_of_multiprocessing_do_their_work,
        a_reference_that_was_cast_lives_though_its_call_failed,
        names_that_are_values_in_python_are_errors_there,
        a_remote_node_that_is_not_there_is_told,
        an_answer_for_an_ended_python_does_not_reach_the_next,
        a_nested_call_that_outlives_its_deadline_is_killed,
        a_nested_call_that_is_interrupted_leaves_the_outer_one_alone,
        a_call_that_waits_for_erlang_is_interrupted_there,
        calls_made_while_python_dies_wait_for_the_next,
        an_interruption_behind_large_arguments_arrives,
        a_frozen_python_goes_with_its_worker_process,
        a_worker_process_killed_while_it_is_taken_away_stays_away,
        whoever_restarts_a_worker_that_is_taken_away_is_told,
        what_a_worker_that_is_stopped_has_not_begun_another_runs,
        a_call_with_a_reference_has_the_mapping_of_its_pool,
        a_python_that_does_not_leave_when_it_is_asked_to_is_killed
    ].

init_per_testcase(_, Config) ->
    ok = py_application:start([{default, #{size => 1, python_path => [?config(data_dir, Config)]}}]),
    Config.

end_per_testcase(_, _Config) -> py_application:stop().

a_killed_process_of_the_tree_comes_back_with_its_pools(_Config) ->
    {ok, _} = py:start_pool(other, #{size => 1}),
    [
        begin
            Victim = Find(),
            exit(Victim, kill),
            %% While its supervisor is being replaced, too, it can't be asked for it.
            IsNew = fun() -> Found = (catch Find()), is_pid(Found) andalso Found =/= Victim end,
            py_eventually:holds(fun() -> IsNew() andalso answers(default) andalso answers(other) end)
        end
     || Find <- [fun worker/0, fun pool/0, fun worker_sup/0, fun pool_sup/0, fun pools_sup/0, fun watchdog/0]
    ],
    %% What answered last may still have been the old ones.
    py_eventually:equals([default, other], fun py_registry:pools/0),
    ?assert(answers(default) andalso answers(other)).

worker() -> hd([Pid || {_, Pid} <- py_registry:workers(default)]).

pools_sup() -> whereis(py_pools_sup).

watchdog() -> whereis(py_watchdog).

pool_sup() -> child(py_pools_sup, default).

pool() -> child(pool_sup(), py_pool).

worker_sup() -> child(pool_sup(), py_worker_sup).

child(Supervisor, Id) ->
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Supervisor)),
    Pid.

%% Each of these ends later than its supervisor, as on a machine that is busy, and its successor has its name.
what_a_killed_supervisor_leaves_is_waited_for(_Config) ->
    Test = self(),
    Root = whereis(py_sup),
    [
        begin
            Left = whereis(Name),
            _ = spawn(fun() ->
                catch sys:replace_state(Left, fun(State) ->
                    process_flag(trap_exit, true),
                    Test ! {held, Left},
                    %% Longer than a supervisor takes to try again until it gives up.
                    receive after 300 -> State end
                end)
            end),
            receive {held, Left} -> ok after 60_000 -> ct:fail(not_held) end,
            exit(child(py_sup, Supervisor), kill),
            py_eventually:holds(fun() -> is_pid(whereis(Name)) andalso whereis(Name) =/= Left andalso answers(default) end),
            ?assertEqual(Root, whereis(py_sup))
        end
     || {Supervisor, Name} <- [{py_pools_sup, py_pool_owners}, {py_zygote_sup, py_zygote}, {py_sessions_sup, py_sessions}]
    ].

answers(Pool) ->
    try py:func(operator, add, [1, 2], #{pool => Pool, timeout => 2_000}) of
        Sum -> Sum =:= 3
    catch
        error:{py, _} -> false
    end.

a_stopped_pool_does_not_come_back(_Config) ->
    {ok, _} = py:start_pool(other, #{size => 1}),
    ok = py:stop_pool(other),
    Killed = whereis(py_pools_sup),
    exit(Killed, kill),
    py_eventually:holds(fun() -> is_pid(whereis(py_pools_sup)) andalso whereis(py_pools_sup) =/= Killed andalso answers(default) end),
    py_eventually:equals([default], fun py_registry:pools/0),
    ?assertError({py, {unknown_pool, other}}, py:func(os, getcwd, #{pool => other})).

a_callback_whose_process_is_killed_fails_in_python(_Config) ->
    ?assertMatch("ErlangError: exit: " ++ _, py:func(py_recovery, call, [<<?MODULE_STRING>>, <<"die">>])),
    ?assertEqual(3, py:add(1, 2)).

die() -> exit(self(), kill).

a_callback_to_a_missing_function_fails_in_python(_Config) ->
    ?assertMatch("ErlangError: error: " ++ _, py:func(py_recovery, call, [<<"lists">>, <<"no_such_function">>])),
    ?assertEqual(3, py:add(1, 2)).

a_forked_child_does_not_touch_the_port(_Config) ->
    ?assertEqual(7, py:func(py_recovery, fork_and_print)),
    ?assertEqual(3, py:add(1, 2)).

%% As one of a Python of its own would.
a_forked_child_ends_with_its_call(_Config) ->
    Ways = [<<"exit">>, <<"text">>, <<"raise">>, <<"return">>],
    [
        ?assertEqual([3, 1, 1, 0], [py:func(py_recovery, Function, [How]) || How <- Ways], Function)
     || Function <- [end_of_fork, end_of_fork_later]
    ],
    ?assertEqual(3, py:add(1, 2)).

forked_workers_of_multiprocessing_do_their_work(_Config) ->
    ?assertEqual([1, 4, 9], py:func(py_recovery, squares, [[1, 2, 3]])),
    ?assertEqual(3, py:add(1, 2)).

a_reference_that_was_cast_lives_though_its_call_failed(_Config) ->
    ?assertError(
        {python, 'builtins.ValueError', "after the cast", _}, py:func(py_recovery, send_lock, [self()])
    ),
    receive
        {'$py.ref', _, _, _} = Lock ->
            ?assertEqual(false, py:method(Lock, locked)),
            ok = py:release(Lock),
            ?assertError({py, {stale_reference, _}}, py:method(Lock, locked))
    after 5_000 -> ct:fail(no_reference)
    end.

names_that_are_values_in_python_are_errors_there(_Config) ->
    [
        ?assertMatch({'EXIT', {{python, _, _, _}, _}}, catch Call(Name))
     || Name <- [undefined, true, false],
        Call <- [fun(N) -> py:pycall(N, f) end, fun(N) -> py:pycall(os, N) end, fun(N) -> py:func(N, f) end]
    ],
    ?assertEqual(3, py:add(1, 2)).

a_remote_node_that_is_not_there_is_told(_Config) ->
    ?assertError({py, {node_down, 'nobody@nowhere'}}, py:func(os, getcwd, [], #{node => 'nobody@nowhere'})).

later(WaitMs, Term) ->
    %% The subject of the test is an answer that comes late.
    timer:sleep(WaitMs),
    Term.

pool(Config, Options) ->
    {ok, _} = py:start_pool(other, maps:merge(#{size => 1, python_path => [?config(data_dir, Config)]}, Options)),
    ok.

an_answer_for_an_ended_python_does_not_reach_the_next(Config) ->
    ok = pool(Config, #{kill_after => 100}),
    Options = #{pool => other},
    ?assertError({py, timeout}, py:func(py_recovery, ask_later, [1_000, old], Options#{timeout => 100})),
    ?assertEqual(new, py:func(py_recovery, ask_later, [1_500, new], Options)).

a_nested_call_that_outlives_its_deadline_is_killed(Config) ->
    ok = pool(Config, #{kill_after => 100}),
    {_, Outer} = spawn_monitor(fun() -> py:func(py_recovery, ask_later, [60_000, outer], #{pool => other}) end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 1 end),
    ?assertError({py, timeout}, py:func(py_recovery, never_return, [], #{pool => other, timeout => 300})),
    receive
        {'DOWN', Outer, process, _, Reason} -> ?assertMatch({{py, {worker_down, {deadline, killed}}}, _}, Reason)
    after 10_000 -> ct:fail(still_running)
    end,
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => other})).

a_nested_call_that_is_interrupted_leaves_the_outer_one_alone(Config) ->
    ok = pool(Config, #{kill_after => 30_000}),
    Test = self(),
    spawn_link(fun() -> Test ! {outer, py:func(py_recovery, ask_later, [2_000, kept], #{pool => other})} end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 1 end),
    ?assertError({py, timeout}, py:func(time, sleep, [60], #{pool => other, timeout => 200})),
    receive {outer, Term} -> ?assertEqual(kept, Term) after 10_000 -> ct:fail(no_answer) end,
    ?assertMatch([#{restarts := 0, in_flight := 0}], py:workers(other)).

a_call_that_waits_for_erlang_is_interrupted_there(Config) ->
    ok = pool(Config, #{kill_after => 30_000}),
    ?assertError({py, timeout}, py:func(py_recovery, ask_later, [60_000, never], #{pool => other, timeout => 200})),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{pool => other, timeout => 5_000})),
    ?assertMatch([#{restarts := 0}], py:workers(other)).

calls_made_while_python_dies_wait_for_the_next(_Config) ->
    [#{os_pid := OsPid}] = py:workers(default),
    _ = os:cmd("kill -KILL " ++ integer_to_list(OsPid)),
    ?assertEqual(lists:seq(2, 201), [py:add(N, 1) || N <- lists:seq(1, 200)]).

an_interruption_behind_large_arguments_arrives(Config) ->
    ok = pool(Config, #{kill_after => 5_000}),
    Options = #{pool => other},
    {Sleeper, _} = spawn_monitor(fun() -> py:func(time, sleep, [60], Options) end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 1 end),
    %% More than the pipe and Python's first look at it take.
    Bytes = {bytes, binary:copy(<<0>>, 3_000_000)},
    Callers = [spawn_monitor(fun() -> 3_000_000 = py:func(builtins, len, [Bytes], Options) end) || _ <- lists:seq(1, 10)],
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 11 end),
    exit(Sleeper, kill),
    [receive {'DOWN', Monitor, process, Pid, Reason} -> ?assertEqual(normal, Reason) end || {Pid, Monitor} <- Callers],
    receive {'DOWN', _, process, Sleeper, killed} -> ok end,
    ?assertMatch([#{restarts := 0}], py:workers(other)).

a_frozen_python_goes_with_its_worker_process(_Config) ->
    [#{os_pid := OsPid, worker := Worker}] = py:workers(default),
    _ = os:cmd("kill -STOP " ++ integer_to_list(OsPid)),
    exit(Worker, kill),
    py_eventually:holds(fun() -> answers(default) andalso not py_os_process:alive(OsPid) end).

a_worker_process_killed_while_it_is_taken_away_stays_away(_Config) ->
    {ok, Worker} = py:add_worker(default),
    {_, Sleeper} = spawn_monitor(fun() -> py:func(time, sleep, [60], #{worker => Worker}) end),
    py_eventually:holds(fun() -> lists:any(fun(#{in_flight := Open}) -> Open =:= 1 end, py:workers(default)) end),
    {_, Remover} = spawn_monitor(fun() -> exit(py:remove_worker(Worker)) end),
    py_eventually:equals(1, fun() -> length(py:workers(default)) end),
    exit(Worker, kill),
    receive {'DOWN', Sleeper, process, _, _} -> ok end,
    receive {'DOWN', Remover, process, _, Reason} -> ?assertEqual(ok, Reason) end,
    ?assertEqual(1, length(py:workers(default))),
    py_eventually:equals(1, fun() -> length(py_os_process:pythons()) end),
    {ok, Next} = py:add_worker(default),
    ?assertEqual(2, length(py:workers(default))),
    ?assertEqual(3, py:func(operator, add, [1, 2], #{worker => Next})).

whoever_restarts_a_worker_that_is_taken_away_is_told(_Config) ->
    {ok, Worker} = py:add_worker(default),
    {_, Sleeper} = spawn_monitor(fun() -> py:func(time, sleep, [1], #{worker => Worker}) end),
    py_eventually:holds(fun() -> lists:any(fun(#{in_flight := Open}) -> Open =:= 1 end, py:workers(default)) end),
    {_, Restarter} = spawn_monitor(fun() -> exit(py:restart_worker(Worker)) end),
    py_eventually:holds(fun() -> lists:any(fun(#{state := S}) -> S =:= recycling end, py:workers(default)) end),
    ok = py:remove_worker(Worker),
    receive {'DOWN', Restarter, process, _, Reason} -> ?assertEqual({error, {py, {worker_down, stopped}}}, Reason) end,
    receive {'DOWN', Sleeper, process, _, normal} -> ok end.

what_a_worker_that_is_stopped_has_not_begun_another_runs(Config) ->
    ok = pool(Config, #{drain_timeout => 200}),
    Options = #{pool => other},
    [#{worker := Worker}] = py:workers(other),
    {Sleeper, _} = spawn_monitor(fun() -> py:func(time, sleep, [60], Options) end),
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 1 end),
    Callers = [spawn_monitor(fun() -> exit(py:func(operator, add, [N, 1], Options)) end) || N <- lists:seq(1, 10)],
    py_eventually:holds(fun() -> [#{in_flight := Open}] = py:workers(other), Open =:= 11 end),
    {ok, _} = py:add_worker(other),
    ok = py:remove_worker(Worker),
    receive {'DOWN', _, process, Sleeper, Reason} -> ?assertMatch({{py, {worker_down, stopped}}, _}, Reason) end,
    ?assertEqual(
        lists:seq(2, 11), [receive {'DOWN', Monitor, process, Pid, Sum} -> Sum end || {Pid, Monitor} <- Callers]
    ).

a_call_with_a_reference_has_the_mapping_of_its_pool(Config) ->
    ok = pool(Config, #{strings => binary}),
    Lock = py:func(py_recovery, lock, [], #{pool => other}),
    ?assertMatch(<<"<unlocked", _/binary>>, py:method(Lock, '__repr__')).

%% Neither what it says meanwhile nor an error in place of its leaving gives it more time.
a_python_that_does_not_leave_when_it_is_asked_to_is_killed(_Config) ->
    [
        begin
            [#{worker := Restarted, os_pid := OsPid}] = py:workers(default),
            py:func(py_recovery, How),
            ?assertEqual(ok, py:restart_worker(Restarted)),
            py_eventually:holds(fun() -> not py_os_process:alive(OsPid) end)
        end
     || How <- [refuse_to_leave, ask_when_leaving, cast_when_leaving]
    ],
    {ok, Worker} = py:add_worker(default),
    py:func(py_recovery, cast_when_leaving, [], #{worker => Worker}),
    Monitor = monitor(process, Worker),
    ok = py:remove_worker(Worker),
    receive {'DOWN', Monitor, process, Worker, Reason} -> ?assertEqual(shutdown, Reason) end.
