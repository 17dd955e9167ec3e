%%% The table of pools and workers.
-module(py_registry_tests).

-include_lib("eunit/include/eunit.hrl").

without_the_application_there_is_nothing_test() ->
    ?assertEqual([], py_registry:pools()),
    ?assertEqual({error, not_started}, py_registry:pool(default)),
    ?assertEqual(error, py_registry:worker(default, 1)),
    ?assertEqual(error, py_registry:place(self())).

with_table_test_() ->
    {foreach, fun start/0, fun stop/1, [
        {"a pool is found by its name", fun a_pool_is_found_by_its_name/0},
        {"a worker is found by its slot and back", fun a_worker_is_found_by_its_slot_and_back/0},
        {"a worker that was replaced takes nothing of its successor along", fun a_replaced_worker/0},
        {"a worker is found whose pid the persistent terms lack", fun a_worker_in_the_table_alone/0},
        {"a pool that is deleted takes its workers along", fun a_deleted_pool/0}
    ]}.

pool() ->
    #{load => atomics:new(1, []), size => 1, scheduler => least_busy, timeout => infinity, mapping => #{}, flags => 0}.

a_pool_is_found_by_its_name() ->
    Pool = pool(),
    py_registry:put_pool(ml, Pool),
    py_registry:put_pool(default, Pool),
    ?assertEqual({ok, Pool}, py_registry:pool(ml)),
    ?assertEqual({error, {unknown_pool, other}}, py_registry:pool(other)),
    ?assertEqual([default, ml], py_registry:pools()).

a_worker_is_found_by_its_slot_and_back() ->
    py_registry:put_worker(ml, 2, self()),
    ?assertEqual({ok, self()}, py_registry:worker(ml, 2)),
    ?assertEqual(error, py_registry:worker(ml, 1)),
    ?assertEqual({ok, {ml, 2}}, py_registry:place(self())),
    ?assertEqual([{2, self()}], py_registry:workers(ml)),
    ?assertEqual(error, py_registry:place(not_a_pid)),
    py_registry:delete_worker(self()),
    ?assertEqual(error, py_registry:worker(ml, 2)),
    ?assertEqual(error, py_registry:place(self())).

a_replaced_worker() ->
    Successor = list_to_pid("<0.0.0>"),
    py_registry:put_worker(ml, 1, self()),
    py_registry:put_worker(ml, 1, Successor),
    py_registry:delete_worker(self()),
    ?assertEqual({ok, Successor}, py_registry:worker(ml, 1)),
    ?assertEqual({ok, {ml, 1}}, py_registry:place(Successor)).

a_worker_in_the_table_alone() ->
    py_registry:put_worker(ml, 1, self()),
    py_registry:forget_pools(),
    ?assertEqual({ok, self()}, py_registry:worker(ml, 1)),
    py_registry:delete_worker(self()),
    ?assertEqual(error, py_registry:worker(ml, 1)).

a_deleted_pool() ->
    py_registry:put_worker_sup(ml, self()),
    py_registry:put_pool(ml, pool()),
    py_registry:put_worker(ml, 1, self()),
    py_registry:put_worker(default, 1, list_to_pid("<0.0.0>")),
    py_registry:delete_pool(ml),
    ?assertEqual({error, {unknown_pool, ml}}, py_registry:pool(ml)),
    ?assertEqual([], py_registry:workers(ml)),
    ?assertMatch([_], py_registry:workers(default)).

start() ->
    ok = py_registry:new(),
    true = py_registry:started().

stop(_) ->
    ets:delete(py_registry),
    py_registry:forget_pools().
