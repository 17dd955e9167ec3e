%%% The calls that wait in a worker process.
-module(py_waiting_tests).

-include_lib("eunit/include/eunit.hrl").

%% Free ones are odd.
waiting(Numbers) -> lists:foldl(fun(N, Acc) -> py_waiting:in(call(N), [<<N>>], Acc) end, py_waiting:new(), Numbers).

call(N) -> #{from => N, free => N rem 2 =:= 1, caller => self()}.

numbers(Calls) -> [N || #{from := N} <- Calls].

they_come_out_in_order_test() ->
    Waiting = waiting([1, 2, 3]),
    {[{#{from := 1}, [<<1>>]}], Left} = py_waiting:out(1, Waiting),
    ?assertEqual([2, 3], numbers(py_waiting:calls(Left))),
    ?assertEqual({[], py_waiting:new()}, py_waiting:out(1, py_waiting:new())).

some_come_out_at_once_test() ->
    {Two, Left} = py_waiting:out(2, py_waiting:watch(fun(_) -> monitor end, waiting([1, 2, 3]))),
    ?assertEqual([1, 2], numbers([Call || {Call, _} <- Two])),
    ?assertEqual({1, 1}, {py_waiting:size(Left), py_waiting:free(Left)}),
    [?assertEqual({[1, 2, 3], py_waiting:new()}, all_out(Most)) || Most <- [3, 4, infinity]].

all_out(Most) ->
    {Some, Left} = py_waiting:out(Most, waiting([1, 2, 3])),
    {numbers([Call || {Call, _} <- Some]), Left}.

counts_are_right_whatever_is_done_test() ->
    Steps = [
        fun(W) -> py_waiting:in(call(rand:uniform(20)), [<<>>], W) end,
        fun(W) -> py_waiting:in(call(rand:uniform(20)), [<<>>], W) end,
        fun(W) -> element(2, py_waiting:out(1, W)) end,
        fun(W) -> element(2, py_waiting:out(rand:uniform(3), W)) end,
        fun(W) -> element(2, py_waiting:give_back(rand:uniform(3), W)) end,
        fun(W) -> element(2, py_waiting:cancel(rand:uniform(20), W)) end,
        fun(W) -> py_waiting:watch(fun(_) -> rand:uniform(20) end, W) end
    ],
    _ = rand:seed(exsss, 7),
    lists:foldl(
        fun(_, Before) ->
            After = (lists:nth(rand:uniform(length(Steps)), Steps))(Before),
            Calls = py_waiting:calls(After),
            ?assertEqual(length(Calls), py_waiting:size(After)),
            ?assertEqual(length([free || #{free := true} <- Calls]), py_waiting:free(After)),
            After
        end,
        py_waiting:new(),
        lists:seq(1, 3_000)
    ).

only_free_ones_are_given_back_and_the_oldest_first_test() ->
    {Given, Left} = py_waiting:give_back(2, waiting([2, 1, 4, 3, 5])),
    ?assertEqual([1, 3], numbers(Given)),
    ?assertEqual([2, 4, 5], numbers(py_waiting:calls(Left))),
    {All, None} = py_waiting:give_back(all, waiting([1, 2])),
    ?assertEqual([1, 2], numbers(All)),
    ?assertEqual(0, py_waiting:size(None)).

free_ones_alone_are_given_back_from_the_front_test() ->
    {Given, Left} = py_waiting:give_back(2, waiting([1, 3, 5])),
    ?assertEqual([1, 3], numbers(Given)),
    ?assertEqual([5], numbers(py_waiting:calls(Left))),
    ?assertEqual(1, py_waiting:free(Left)).

those_of_a_caller_that_has_died_are_taken_out_test() ->
    Watched = py_waiting:watch(fun(_) -> monitor end, waiting([1, 2])),
    ?assertEqual({[], py_waiting:new()}, py_waiting:cancel(monitor, py_waiting:new())),
    {Out, Left} = py_waiting:cancel(monitor, Watched),
    ?assertEqual([1, 2], numbers(Out)),
    ?assertEqual(0, py_waiting:size(Left)).
