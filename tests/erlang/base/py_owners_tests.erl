%%% Which process owns which references.
-module(py_owners_tests).

-include_lib("eunit/include/eunit.hrl").

owner() -> spawn(fun() -> receive stop -> ok end end).

stop(Pid) ->
    Monitor = monitor(process, Pid),
    Pid ! stop,
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

references_belong_to_the_process_they_were_made_for_test() ->
    {A, B} = {owner(), owner()},
    Owners = py_owners:own(B, [4], py_owners:own(A, [3], py_owners:own(A, [1, 2], py_owners:new()))),
    ?assertEqual(4, py_owners:count(Owners)),
    {Ids, Left} = py_owners:down(A, Owners),
    ?assertEqual([1, 2, 3], lists:sort(Ids)),
    ?assertEqual(1, py_owners:count(Left)),
    ?assertEqual({[], Left}, py_owners:down(A, Left)),
    py_owners:clear(Left),
    [stop(Pid) || Pid <- [A, B]].

the_end_of_an_owner_is_told_once_test() ->
    A = owner(),
    Owners = py_owners:own(A, [2], py_owners:own(A, [1], py_owners:new())),
    stop(A),
    receive {'DOWN', _, process, A, _} -> ok after 1_000 -> error(no_message) end,
    receive {'DOWN', _, process, A, _} -> error(two_messages) after 0 -> ok end,
    ?assertMatch({[_, _], _}, py_owners:down(A, Owners)).

an_owner_that_is_gone_already_is_told_too_test() ->
    A = owner(),
    stop(A),
    _ = py_owners:own(A, [1], py_owners:new()),
    receive {'DOWN', _, process, A, _} -> ok after 1_000 -> error(no_message) end.

released_references_are_nobodys_test() ->
    {A, B} = {owner(), owner()},
    Owners = py_owners:own(B, [3], py_owners:own(A, [1, 2], py_owners:new())),
    Released = py_owners:release([1, 3, 99], Owners),
    ?assertEqual(1, py_owners:count(Released)),
    ?assertEqual({[2], py_owners:new()}, py_owners:down(A, Released)),
    %% B owns nothing any more, so its end is nobody's business.
    stop(B),
    receive {'DOWN', _, process, B, _} -> error(still_monitored) after 0 -> ok end,
    _ = py_owners:clear(Released),
    stop(A).

nothing_is_left_when_the_interpreter_is_gone_test() ->
    A = owner(),
    Owners = py_owners:clear(py_owners:own(A, [1, 2], py_owners:new())),
    ?assertEqual(0, py_owners:count(Owners)),
    stop(A),
    receive {'DOWN', _, process, A, _} -> error(still_monitored) after 0 -> ok end.
