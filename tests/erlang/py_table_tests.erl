%%% The table of pools and workers.
-module(py_table_tests).

-include_lib("eunit/include/eunit.hrl").

without_the_application_there_is_nothing_test() ->
    ?assertEqual([], py_table:pools()),
    ?assertEqual({error, not_started}, py_table:pool(default)),
    ?assertEqual(error, py_table:worker(default, 1)),
    ?assertEqual(error, py_table:place(self())).

with_table_test_() ->
    {foreach, fun start/0, fun(_) -> ets:delete(py_table) end, [
        {"a pool is found by its name", fun a_pool_is_found_by_its_name/0},
        {"a worker is found by its slot and back", fun a_worker_is_found_by_its_slot_and_back/0},
        {"a worker that was replaced takes nothing of its successor along", fun a_replaced_worker/0},
        {"a pool that is deleted takes its workers along", fun a_deleted_pool/0}
    ]}.

pool() ->
    #{load => atomics:new(1, []), size => 1, scheduler => least_busy, timeout => infinity, mapping => #{}}.

a_pool_is_found_by_its_name() ->
    Pool = pool(),
    py_table:put_pool(ml, Pool),
    py_table:put_pool(default, Pool),
    ?assertEqual({ok, Pool}, py_table:pool(ml)),
    ?assertEqual({error, {unknown_pool, other}}, py_table:pool(other)),
    ?assertEqual([default, ml], py_table:pools()).

a_worker_is_found_by_its_slot_and_back() ->
    py_table:put_worker(ml, 2, self()),
    ?assertEqual({ok, self()}, py_table:worker(ml, 2)),
    ?assertEqual(error, py_table:worker(ml, 1)),
    ?assertEqual({ok, {ml, 2}}, py_table:place(self())),
    ?assertEqual([{2, self()}], py_table:workers(ml)),
    ?assertEqual(error, py_table:place(not_a_pid)),
    py_table:delete_worker(self()),
    ?assertEqual(error, py_table:worker(ml, 2)),
    ?assertEqual(error, py_table:place(self())).

a_replaced_worker() ->
    Successor = list_to_pid("<0.0.0>"),
    py_table:put_worker(ml, 1, self()),
    py_table:put_worker(ml, 1, Successor),
    py_table:delete_worker(self()),
    ?assertEqual({ok, Successor}, py_table:worker(ml, 1)),
    ?assertEqual({ok, {ml, 1}}, py_table:place(Successor)).

a_deleted_pool() ->
    py_table:put_worker_sup(ml, self()),
    py_table:put_pool(ml, pool()),
    py_table:put_worker(ml, 1, self()),
    py_table:put_worker(default, 1, list_to_pid("<0.0.0>")),
    py_table:delete_pool(ml),
    ?assertEqual({error, {unknown_pool, ml}}, py_table:pool(ml)),
    ?assertEqual([], py_table:workers(ml)),
    ?assertMatch([_], py_table:workers(default)).

start() ->
    ok = py_table:new(),
    true = py_table:started().
