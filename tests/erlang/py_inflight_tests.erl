%%% The calls of one worker that have no answer yet.
-module(py_inflight_tests).

-include_lib("eunit/include/eunit.hrl").

-define(LAST_ID, 16#7fffffff).

%% Add one call for each name; ids by name.
add(Names, Calls) ->
    lists:foldl(
        fun(Name, {Ids, Acc}) ->
            {Id, More} = py_inflight:add(#{from => Name}, Acc),
            {Ids#{Name => Id}, More}
        end,
        {#{}, Calls},
        Names
    ).

running(Calls) ->
    case py_inflight:running(Calls) of
        {_, #{from := From}} -> From;
        none -> none
    end.

answer(Id, Calls) ->
    {_, Left} = py_inflight:answer(Id, Calls),
    Left.

nothing_is_in_flight_at_first_test() ->
    Calls = py_inflight:new(),
    ?assertEqual(0, py_inflight:size(Calls)),
    ?assertEqual([], py_inflight:all(Calls)),
    ?assertEqual(none, py_inflight:running(Calls)),
    ?assertEqual(error, py_inflight:answer(1, Calls)).

ids_begin_with_1_and_differ_test() ->
    {Ids, Calls} = add([a, b, c], py_inflight:new()),
    ?assertEqual(#{a => 1, b => 2, c => 3}, Ids),
    ?assertEqual(3, py_inflight:size(Calls)).

the_oldest_unanswered_call_is_the_one_that_runs_test() ->
    {#{a := A, b := B}, Calls} = add([a, b, c], py_inflight:new()),
    ?assertEqual(a, running(Calls)),
    ?assertEqual(b, running(answer(A, Calls))),
    ?assertEqual(c, running(answer(B, answer(A, Calls)))).

answers_may_overtake_test() ->
    {#{a := A, b := B, c := C}, Calls} = add([a, b, c], py_inflight:new()),
    Overtaken = answer(B, Calls),
    ?assertEqual(a, running(Overtaken)),
    ?assertEqual(c, running(answer(A, Overtaken))),
    ?assertEqual(none, running(answer(C, answer(A, Overtaken)))).

an_answer_is_taken_once_test() ->
    {#{a := A}, Calls} = add([a], py_inflight:new()),
    {#{from := a, cancelled := false}, Left} = py_inflight:answer(A, Calls),
    ?assertEqual(error, py_inflight:answer(A, Left)),
    ?assertEqual(0, py_inflight:size(Left)).

a_call_after_all_were_answered_is_the_running_one_test() ->
    {#{a := A}, Calls} = add([a], py_inflight:new()),
    {_, Next} = add([b], answer(A, Calls)),
    ?assertEqual(b, running(Next)).

a_cancelled_call_is_marked_once_test() ->
    {#{a := A, b := B}, Calls} = add([a, b], py_inflight:new()),
    {[A], MarkedA} = py_inflight:cancel(a, Calls),
    ?assertMatch({A, #{from := a, cancelled := true}}, py_inflight:running(MarkedA)),
    ?assertMatch({[], _}, py_inflight:cancel(a, MarkedA)),
    {[B], MarkedB} = py_inflight:cancel(b, Calls),
    ?assertMatch({A, #{cancelled := false}}, py_inflight:running(MarkedB)),
    ?assertMatch({_, #{from := b, cancelled := true}}, py_inflight:running(answer(A, MarkedB))),
    ?assertMatch({[], _}, py_inflight:cancel(c, Calls)).

a_caller_that_dies_cancels_all_its_calls_that_were_watched_test() ->
    [One, Other] = [list_to_pid(Pid) || Pid <- ["<0.1.0>", "<0.2.0>"]],
    Add = fun(Caller, Acc) -> element(2, py_inflight:add(#{from => make_ref(), caller => Caller}, Acc)) end,
    Calls = lists:foldl(Add, py_inflight:new(), [One, Other, One, One]),
    %% Up to the third call; the name of a monitor is its process here.
    Watched = py_inflight:watch(3, fun(Caller) -> {monitor_of, Caller} end, Calls),
    {Ids, Marked} = py_inflight:cancel({monitor_of, One}, Watched),
    ?assertEqual([1, 3], Ids),
    ?assertEqual([true, false, true, false], [Cancelled || #{cancelled := Cancelled} <- py_inflight:all(Marked)]),
    %% What has a monitor keeps it.
    Again = py_inflight:watch(4, fun(_) -> another end, Watched),
    ?assertEqual(
        [{monitor_of, One}, {monitor_of, Other}, {monitor_of, One}, another],
        [Monitor || #{monitor := Monitor} <- py_inflight:all(Again)]
    ).

what_was_begun_is_a_prefix_of_what_was_sent_test_() ->
    {#{b := B}, All} = add([a, b, c, d], py_inflight:new()),
    %% The answer to `b' is here; the calls that are open are numbers 1, 3 and 4.
    Calls = answer(B, All),
    Names = fun(List) -> [From || #{from := From} <- List] end,
    [
        {lists:concat(["begun: ", Begun]), ?_assertEqual(Expected, begin
            {Lost, Untouched} = py_inflight:split(Begun, Calls),
            {Names(Lost), Names(Untouched)}
        end)}
     || {Begun, Expected} <- [
            {0, {[], [a, c, d]}},
            {1, {[a], [c, d]}},
            {2, {[a], [c, d]}},
            {3, {[a, c], [d]}},
            {4, {[a, c, d], []}},
            {100, {[a, c, d], []}},
            {unknown, {[a, c, d], []}}
        ]
    ].

ids_wrap_without_0_test() ->
    Near = (py_inflight:new())#{next := ?LAST_ID, oldest := ?LAST_ID},
    {#{a := A, b := B}, Calls} = add([a, b], Near),
    ?assertEqual({?LAST_ID, 1}, {A, B}),
    ?assertMatch({[#{from := a}], [#{from := b}]}, py_inflight:split(1, Calls)),
    ?assertEqual(a, running(Calls)),
    ?assertEqual(b, running(answer(A, Calls))),
    ?assertEqual(none, running(answer(B, answer(A, Calls)))).

all_open_calls_are_listed_oldest_first_test() ->
    {#{b := B}, Calls} = add([a, b, c], py_inflight:new()),
    ?assertEqual([a, c], [From || #{from := From} <- py_inflight:all(answer(B, Calls))]).

%% Whatever the order of the answers, each call is answered once and the running one is the oldest open one.
any_order_of_answers_is_kept_track_of_test() ->
    rand:seed(exsss, {4, 5, 6}),
    lists:foreach(fun(_) -> in_any_order(rand:uniform(30)) end, lists:seq(1, 200)).

in_any_order(Count) ->
    {_, Calls} = add(lists:seq(1, Count), (py_inflight:new())#{next := ?LAST_ID - 10, oldest := ?LAST_ID - 10}),
    Order = [Name || {_, Name} <- lists:sort([{rand:uniform(), N} || N <- lists:seq(1, Count)])],
    Ids = maps:from_list([{From, Id} || {Id, #{from := From}} <- maps:to_list(map_get(open, Calls))]),
    lists:foldl(
        fun(Name, {Open, Acc}) ->
            ?assertEqual(lists:min(Open), running(Acc)),
            {Open -- [Name], answer(map_get(Name, Ids), Acc)}
        end,
        {Order, Calls},
        Order
    ).
