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

calls_that_are_added_together_are_as_those_added_one_by_one_test() ->
    Names = [a, b, c],
    {_, OneByOne} = add(Names, py_inflight:new()),
    {Frames, Together} = py_inflight:add_all([{#{from => Name}, Name} || Name <- Names], fun(Id, Name) -> {Id, Name} end, py_inflight:new()),
    ?assertEqual(OneByOne, Together),
    ?assertEqual([{3, c}, {2, b}, {1, a}], Frames),
    ?assertMatch({4, _}, py_inflight:add(#{from => d}, Together)).

ids_wrap_among_calls_that_are_added_together_test() ->
    {Frames, Calls} = py_inflight:add_all([{#{from => N}, N} || N <- [1, 2, 3]], fun(Id, N) -> {Id, N} end, (py_inflight:new())#{next := ?LAST_ID - 1, oldest := ?LAST_ID - 1}),
    ?assertEqual([{1, 3}, {?LAST_ID, 2}, {?LAST_ID - 1, 1}], Frames),
    ?assertEqual([1, 2, 3], [From || #{from := From} <- py_inflight:all(Calls)]).

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

%%% Calls inside each other

unwanted(Calls) -> py_inflight:unwanted(unknown, Calls).

asked(Question, Calls) -> py_inflight:asked(Question, unknown, Calls).

cancelled(From, Calls) ->
    {[_ | _], Marked} = py_inflight:cancel(From, Calls),
    Marked.

a_call_that_waits_lets_those_behind_it_run_test() ->
    {#{b := B}, Calls} = add([a, b, c], py_inflight:new()),
    Waiting = asked(1, Calls),
    ?assertEqual(b, running(Waiting)),
    ?assertEqual(c, running(answer(B, Waiting))),
    %% What was sent after the answer does not run inside.
    Told = py_inflight:told(1, Waiting),
    {#{d := D}, Later} = add([d], Told),
    ?assertEqual(b, running(Later)),
    Inside = lists:foldl(fun answer/2, Later, [B, B + 1]),
    ?assertEqual(a, running(Inside)),
    ?assertEqual(d, running(answer(1, Inside))),
    ?assertEqual(none, running(answer(D, answer(1, Inside)))).

calls_that_all_wait_leave_nothing_running_test() ->
    {_, Calls} = add([a, b], py_inflight:new()),
    Both = asked(2, asked(1, Calls)),
    ?assertEqual(none, running(Both)),
    ?assertEqual(2, py_inflight:depth(Both)),
    ?assertEqual({ok, 2}, py_inflight:innermost(Both)),
    ?assertEqual({ok, 1}, py_inflight:question(1, Both)),
    %% The next answer is that of the innermost, whatever the order they come in.
    ?assertEqual(none, running(py_inflight:told(1, Both))),
    ?assertEqual(b, running(py_inflight:told(2, Both))),
    ?assertEqual(none, py_inflight:innermost(py_inflight:told(2, Both))).

%% What was sent before the answer stands in the pipe.
a_call_that_goes_on_before_those_behind_it_is_the_running_one_test() ->
    {#{a := A, b := B}, Calls} = add([a, b], py_inflight:new()),
    Told = py_inflight:told(1, asked(1, Calls)),
    ?assertEqual(b, running(Told)),
    GoesOn = py_inflight:goes_on(A, Told),
    ?assertEqual(a, running(GoesOn)),
    Again = py_inflight:asked(2, A, Told),
    ?assertEqual({ok, 2}, py_inflight:question(A, Again)),
    ?assertEqual(none, py_inflight:question(B, Again)),
    ?assertEqual(b, running(answer(A, GoesOn))),
    %% Of one that has not asked, or is none, it says nothing.
    ?assertEqual(Told, py_inflight:goes_on(B, Told)),
    ?assertEqual(Told, py_inflight:goes_on(77, Told)),
    ?assertEqual(Told, py_inflight:asked(2, 77, Told)).

what_enters_where_a_call_waits_asks_for_none_behind_it_test() ->
    {#{a := A}, Calls} = add([a, b], py_inflight:new()),
    Waiting = py_inflight:asked(1, A, Calls),
    ?assertEqual(Waiting, py_inflight:asked(2, A, Waiting)),
    ?assertEqual(Waiting, py_inflight:told(2, Waiting)),
    ?assertEqual(b, running(Waiting)).

ten_thousand_calls_behind_one_that_waits_cost_a_step_each_test_() ->
    {timeout, 10, fun() ->
        {_, Calls} = add(lists:seq(0, 10_000), py_inflight:new()),
        Waiting = asked(1, Calls),
        Last = lists:foldl(
            fun(N, Acc) ->
                ?assertEqual(N, running(Acc)),
                answer(N + 1, Acc)
            end,
            Waiting,
            lists:seq(1, 10_000)
        ),
        ?assertEqual(none, running(Last))
    end}.

an_unwanted_call_is_due_while_it_has_python_to_itself_test() ->
    {#{b := B}, Calls} = add([a, b], py_inflight:new()),
    ?assertEqual(none, unwanted(Calls)),
    %% Not begun: it is dropped when its turn comes.
    ?assertEqual(none, unwanted(cancelled(b, Calls))),
    ?assertEqual({due, 1}, unwanted(cancelled(a, Calls))),
    ?assertEqual({due, B}, unwanted(answer(1, cancelled(b, Calls)))).

an_unwanted_call_is_due_while_it_waits_for_erlang_test() ->
    {_, Calls} = add([a], py_inflight:new()),
    ?assertEqual({due, 1}, unwanted(cancelled(a, asked(1, Calls)))),
    ?assertEqual({due, 1}, unwanted(asked(1, cancelled(a, Calls)))),
    ?assertEqual({due, 1}, unwanted(py_inflight:told(1, asked(1, cancelled(a, Calls))))).

a_wanted_call_inside_covers_an_unwanted_one_test() ->
    {#{b := B}, Calls} = add([a, b], py_inflight:new()),
    Covered = cancelled(a, asked(1, Calls)),
    ?assertEqual({covered, runs}, unwanted(Covered)),
    ?assertEqual({covered, waits}, unwanted(asked(2, Covered))),
    ?assertEqual({covered, runs}, unwanted(py_inflight:told(2, asked(2, Covered)))),
    ?assertEqual({due, 1}, unwanted(answer(B, Covered))),
    %% Python has begun one call only: the other is in the pipe.
    ?assertEqual({due, 1}, py_inflight:unwanted(1, Covered)),
    ?assertEqual({covered, runs}, py_inflight:unwanted(2, Covered)).

the_calls_of_a_question_are_its_askers_test() ->
    [Runner, Other] = [list_to_pid(Pid) || Pid <- ["<0.1.0>", "<0.2.0>"]],
    Add = fun(Caller, Acc) -> element(2, py_inflight:add(#{from => make_ref(), caller => Caller}, Acc)) end,
    Calls = lists:foldl(Add, py_inflight:new(), [Other, Runner, Other, Runner]),
    {Ids, Marked} = py_inflight:cancel_of(fun(Pid) -> Pid =:= Runner end, Calls),
    ?assertEqual([2, 4], Ids),
    ?assertMatch({[], _}, py_inflight:cancel_of(fun(Pid) -> Pid =:= Runner end, Marked)),
    ?assert(py_inflight:waits(Other, Marked)),
    ?assertNot(py_inflight:waits(Runner, Marked)),
    ?assert(py_inflight:waits(Runner, asked(1, Marked))).

%% Of those that any worker may run.
free_ones_behind_the_last_bound_one_can_be_taken_out_test() ->
    Add = fun({Name, Free}, Acc) -> element(2, py_inflight:add(#{from => Name, free => Free}, Acc)) end,
    Calls = lists:foldl(Add, py_inflight:new(), [{a, true}, {b, true}, {c, false}, {d, true}, {e, true}]),
    ?assertEqual({3, 2}, {py_inflight:last_bound(Calls), py_inflight:loose(Calls)}),
    {Taken, Left} = py_inflight:take_above(3, Calls),
    ?assertEqual([d, e], [From || #{from := From} <- maps:values(Taken)]),
    ?assertEqual([a, b, c], [From || #{from := From} <- py_inflight:all(Left)]),
    ?assertEqual(5, py_inflight:sent(Left)),
    {6, _} = py_inflight:add(#{from => f}, Left),
    %% Numbers go on.
    ?assertMatch({[], [#{from := f, number := 6}]}, py_inflight:split(5, element(2, py_inflight:add(#{from => f}, element(2, py_inflight:take_above(0, Left)))))).

the_first_of_free_ones_is_not_loose_test() ->
    Add = fun(Name, Acc) -> element(2, py_inflight:add(#{from => Name, free => true}, Acc)) end,
    Calls = lists:foldl(Add, py_inflight:new(), [a, b, c]),
    ?assertEqual({0, 2}, {py_inflight:last_bound(Calls), py_inflight:loose(Calls)}),
    {All, None} = py_inflight:take_above(0, Calls),
    ?assertEqual({3, 0, none}, {map_size(All), py_inflight:size(None), py_inflight:running(None)}),
    ?assertMatch({4, #{from := d}}, py_inflight:running(Add(d, None))).
