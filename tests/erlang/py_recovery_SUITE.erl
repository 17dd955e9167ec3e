%%% What happens between the two halves when a part in the middle goes: processes of the tree, of callbacks, forked children.
-module(py_recovery_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_killed_process_of_the_tree_comes_back_with_its_pools/1,
    a_stopped_pool_does_not_come_back/1,
    a_callback_whose_process_is_killed_fails_in_python/1,
    a_callback_to_a_missing_function_fails_in_python/1,
    a_forked_child_does_not_touch_the_port/1,
    forked_workers_of_multiprocessing_do_their_work/1,
    a_reference_that_was_cast_lives_though_its_call_failed/1,
    names_that_are_values_in_python_are_errors_there/1,
    a_remote_node_that_is_not_there_is_told/1
]).
%% Called from Python.
-export([die/0]).

suite() -> [{timetrap, {minutes, 1}}].

all() ->
    [
        a_killed_process_of_the_tree_comes_back_with_its_pools,
        a_stopped_pool_does_not_come_back,
        a_callback_whose_process_is_killed_fails_in_python,
        a_callback_to_a_missing_function_fails_in_python,
        a_forked_child_does_not_touch_the_port,
        forked_workers_of_multiprocessing_do_their_work,
        a_reference_that_was_cast_lives_though_its_call_failed,
        names_that_are_values_in_python_are_errors_there,
        a_remote_node_that_is_not_there_is_told
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
            py_eventually:holds(fun() -> answers(default) andalso answers(other) andalso Find() =/= Victim end)
        end
     || Find <- [fun worker/0, fun pool/0, fun worker_sup/0, fun pool_sup/0, fun pools_sup/0]
    ],
    %% What answered last may still have been the old ones.
    py_eventually:equals([default, other], fun py_table:pools/0),
    ?assert(answers(default) andalso answers(other)).

worker() -> hd([Pid || {_, Pid} <- py_table:workers(default)]).

pools_sup() -> whereis(py_pools_sup).

pool_sup() -> child(py_pools_sup, default).

pool() -> child(pool_sup(), py_pool).

worker_sup() -> child(pool_sup(), py_worker_sup).

child(Supervisor, Id) ->
    {Id, Pid, _, _} = lists:keyfind(Id, 1, supervisor:which_children(Supervisor)),
    Pid.

answers(Pool) ->
    try py:func(operator, add, [1, 2], #{pool => Pool, timeout => 2_000}) of
        Sum -> Sum =:= 3
    catch
        error:{py, _} -> false
    end.

a_stopped_pool_does_not_come_back(_Config) ->
    {ok, _} = py:start_pool(other, #{size => 1}),
    ok = py:stop_pool(other),
    exit(whereis(py_pools_sup), kill),
    py_eventually:holds(fun() -> is_pid(whereis(py_pools_sup)) andalso answers(default) end),
    py_eventually:equals([default], fun py_table:pools/0),
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
