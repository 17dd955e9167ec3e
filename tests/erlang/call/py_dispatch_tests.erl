%%% Which task goes to which worker: decided without processes, and tested without.
-module(py_dispatch_tests).

-include_lib("eunit/include/eunit.hrl").

queued(Client, Ids, Dispatch) -> lists:foldl(fun(Id, Acc) -> py_dispatch:queued(Id, Client, Acc) end, Dispatch, Ids).

%% Everything that there is room for, where each of the slots has nothing else in hand.
given(Slots, Dispatch) -> given(Slots, 0, Dispatch).

given(Slots, Now, Dispatch) ->
    case py_dispatch:next([{Slot, py_dispatch:hand(Slot, Dispatch)} || Slot <- Slots], 2, Now, Dispatch) of
        {none, Left} -> {[], Left};
        {Id, Slot, Next} ->
            {More, Left} = given(Slots, Now, Next),
            {[{Id, Slot} | More], Left}
    end.

ids(Given) -> [Id || {Id, _} <- Given].

each_worker_gets_a_hand_of_two_test() ->
    {Given, Left} = given([1, 2], queued(a, [1, 2, 3, 4, 5], py_dispatch:new())),
    ?assertEqual([{1, 1}, {2, 2}, {3, 1}, {4, 2}], Given),
    ?assertEqual(1, py_dispatch:waiting(Left)),
    ?assertEqual([5], py_dispatch:waiting_tasks(Left)).

a_hand_is_as_wide_as_the_pool_says_test() ->
    Queued = queued(a, [1, 2, 3, 4], py_dispatch:new()),
    Width = fun Width(Hand, Dispatch) ->
        case py_dispatch:next([{1, py_dispatch:hand(1, Dispatch)}], Hand, 0, Dispatch) of
            {none, Left} -> py_dispatch:hand(1, Left);
            {_, 1, Next} -> Width(Hand, Next)
        end
    end,
    ?assertEqual([1, 2, 4, 4], [Width(Hand, Queued) || Hand <- [1, 2, 4, 9]]),
    %% Where one task is all that a worker may have, short ones make no exception.
    {1, 1, Given} = py_dispatch:next([{1, 0}], 1, 0, Queued),
    ?assertEqual(1, Width(1, py_dispatch:over(1, 10, Given))),
    ?assertEqual(3, Width(2, py_dispatch:over(1, 10, Given))).

the_one_with_the_least_in_hand_comes_first_test() ->
    Dispatch = queued(a, [1, 2], py_dispatch:new()),
    {1, 2, Next} = py_dispatch:next([{1, 5}, {2, 0}], 2, 0, Dispatch),
    {2, 2, _} = py_dispatch:next([{1, 5}, {2, 1}], 2, 0, Next).

clients_are_served_in_turn_test() ->
    Dispatch = queued(c, [c1], queued(b, [b1, b2], queued(a, [a1, a2, a3], py_dispatch:new()))),
    {Given, _} = given([1, 2, 3], Dispatch),
    ?assertEqual([a1, b1, c1, a2, b2, a3], ids(Given)).

a_client_that_comes_late_is_next_test() ->
    {Given, Full} = given([1], queued(a, lists:seq(1, 400), py_dispatch:new())),
    Later = py_dispatch:over(hd(ids(Given)), 1_000, queued(b, [b1], Full)),
    %% The first one had its turn before.
    {[{3, 1}], Next} = given([1], Later),
    ?assertMatch({[{b1, 1}], _}, given([1], py_dispatch:over(2, 2_000, Next))).

short_tasks_make_a_hand_larger_and_long_ones_smaller_test() ->
    Dispatch = queued(a, lists:seq(1, 100), py_dispatch:new()),
    {[{1, 1}, {2, 1}], Two} = given([1], Dispatch),
    {Short, Many} = given([1], 100, py_dispatch:over(1, 100, Two)),
    ?assertEqual(15, length(Short)),
    Slow = lists:foldl(fun(Id, Acc) -> py_dispatch:over(Id, 100 + (Id - 1) * 20_000, Acc) end, Many, lists:seq(2, 16)),
    {One, _} = given([1], 1_000_000, Slow),
    ?assertEqual(1, length(One)).

what_comes_back_is_first_again_test() ->
    {_, Given} = given([1], queued(a, [1, 2, 3], py_dispatch:new())),
    Back = py_dispatch:back(2, 10, Given),
    ?assertEqual(1, py_dispatch:hand(1, Back)),
    ?assertMatch({[{2, 2}, {3, 2}], _}, given([2], Back)).

what_is_taken_out_of_the_middle_is_passed_over_test() ->
    Without = py_dispatch:over(2, unknown, queued(a, [1, 2, 3], py_dispatch:new())),
    {Given, _} = given([1], Without),
    ?assertEqual([1, 3], ids(Given)).

a_client_that_is_held_has_no_turn_test() ->
    Held = py_dispatch:hold(a, queued(b, [b1], queued(a, [a1], py_dispatch:new()))),
    {[{b1, 1}], Left} = given([1], Held),
    ?assertEqual(1, py_dispatch:waiting(Left)),
    ?assertMatch({[{a1, 1}], _}, given([1], py_dispatch:go_on(a, Left))).

nothing_is_left_of_a_client_that_has_gone_test() ->
    {_, Given} = given([1], queued(a, [1, 2, 3], py_dispatch:new())),
    {Some, Left} = py_dispatch:gone(a, Given),
    ?assertEqual([{1, {given, 1}}, {2, {given, 1}}, {3, queued}], lists:sort(Some)),
    ?assertEqual({0, 0, []}, {py_dispatch:hand(1, Left), py_dispatch:waiting(Left), py_dispatch:clients(Left)}),
    ?assertEqual({[], py_dispatch:hold(a, py_dispatch:new())}, py_dispatch:gone(b, py_dispatch:hold(a, py_dispatch:new()))).

%% What was canceled is not kept for as long as another one waits.
a_queue_does_not_fill_with_what_is_not_wanted_test() ->
    First = queued(a, [first], py_dispatch:new()),
    Full = lists:foldl(fun(Id, Acc) -> py_dispatch:over(Id, unknown, py_dispatch:queued(Id, a, Acc)) end, First, lists:seq(1, 20_000)),
    ?assert(erts_debug:flat_size(Full) < 10_000).

%% Random events beside a model: what is queued in which order, what is given to whom, who is held.
counts_are_true_whatever_happens_test_() ->
    {timeout, 60, fun() ->
        [sequence(Seed, 400) || Seed <- lists:seq(1, 150)]
    end}.

sequence(Seed, Steps) ->
    _ = rand:seed(exsss, Seed),
    State = {py_dispatch:new(), #{}, 0, []},
    {Dispatch, Model, _, Held} = lists:foldl(fun(N, Acc) -> checked(Seed, step(N, Acc)) end, State, lists:seq(1, Steps)),
    %% In the end all are given and answered, and nothing is left.
    Free = lists:foldl(fun py_dispatch:go_on/2, Dispatch, Held),
    End = emptied(lists:foldl(fun(Id, Acc) -> py_dispatch:over(Id, Steps, Acc) end, Free, [Id || {Id, {_, {given, _}}} <- maps:to_list(Model)])),
    ?assertEqual({Seed, 0, []}, {Seed, py_dispatch:waiting(End), py_dispatch:clients(End)}),
    [?assertEqual({Seed, 0}, {Seed, py_dispatch:hand(Slot, End)}) || Slot <- lists:seq(1, 4)].

emptied(Dispatch) ->
    case given([1, 2, 3, 4], Dispatch) of
        {[], Left} -> Left;
        {Given, Left} -> emptied(lists:foldl(fun({Id, _}, Acc) -> py_dispatch:over(Id, 1, Acc) end, Left, Given))
    end.

step(Now, {Dispatch, Model, Next, Held} = State) ->
    Client = rand:uniform(3),
    case rand:uniform(12) of
        Queue when Queue =< 4 ->
            {py_dispatch:queued(Next, Client, Dispatch), Model#{Next => {Client, queued}}, Next + 1, Held};
        Give when Give =< 7 ->
            %% Workers come and go.
            Slots = [{Slot, rand:uniform(3)} || Slot <- lists:seq(1, 4), rand:uniform(3) > 1],
            case py_dispatch:next(Slots, 2, Now, Dispatch) of
                {none, Same} ->
                    %% Nobody waits who has a turn, or nobody has room.
                    ?assert(Slots =:= [] orelse full(Slots, Model) orelse [] =:= [Id || {Id, {C, queued}} <- maps:to_list(Model), not lists:member(C, Held)]),
                    {Same, Model, Next, Held};
                {Id, Slot, Given} ->
                    #{Id := {Whose, queued}} = Model,
                    ?assertNot(lists:member(Whose, Held)),
                    {Given, Model#{Id := {Whose, {given, Slot}}}, Next, Held}
            end;
        8 ->
            one(fun(Id) -> {py_dispatch:over(Id, Now, Dispatch), maps:remove(Id, Model), Next, Held} end, Model, State);
        9 ->
            one(
                fun(Id) ->
                    case Model of
                        #{Id := {Whose, {given, _}}} -> {py_dispatch:back(Id, Now, Dispatch), Model#{Id := {Whose, queued}}, Next, Held};
                        #{} -> {py_dispatch:over(Id, unknown, Dispatch), maps:remove(Id, Model), Next, Held}
                    end
                end,
                Model,
                State
            );
        10 ->
            {Some, Left} = py_dispatch:gone(Client, Dispatch),
            Mine = maps:filter(fun(_, {Whose, _}) -> Whose =:= Client end, Model),
            ?assertEqual(lists:sort([{Id, At} || {Id, {_, At}} <- maps:to_list(Mine)]), lists:sort(Some)),
            {Left, maps:without(maps:keys(Mine), Model), Next, lists:delete(Client, Held)};
        11 ->
            {py_dispatch:hold(Client, Dispatch), Model, Next, lists:usort([Client | Held])};
        12 ->
            {py_dispatch:go_on(Client, Dispatch), Model, Next, lists:delete(Client, Held)}
    end.

one(Fun, Model, State) ->
    case maps:keys(Model) of
        [] -> State;
        Ids -> Fun(lists:nth(rand:uniform(length(Ids)), Ids))
    end.

full(Slots, Model) -> lists:all(fun({Slot, _}) -> in_hand(Slot, Model) >= 2 end, Slots).

in_hand(Slot, Model) -> length([Id || {Id, {_, {given, At}}} <- maps:to_list(Model), At =:= Slot]).

checked(Seed, {Dispatch, Model, _, _} = State) ->
    [?assertEqual({Seed, in_hand(Slot, Model)}, {Seed, py_dispatch:hand(Slot, Dispatch)}) || Slot <- lists:seq(1, 4)],
    Waiting = lists:sort([Id || {Id, {_, queued}} <- maps:to_list(Model)]),
    ?assertEqual({Seed, Waiting}, {Seed, lists:sort(py_dispatch:waiting_tasks(Dispatch))}),
    ?assertEqual({Seed, length(Waiting)}, {Seed, py_dispatch:waiting(Dispatch)}),
    ?assertEqual([], [Id || {Id, Task} <- maps:to_list(Model), py_dispatch:task(Id, Dispatch) =/= {ok, Task}]),
    State.
