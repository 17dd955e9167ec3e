%%% The states of a run: what each event comes to in each state, and what is known after any death.
-module(py_run_state_tests).

-include_lib("eunit/include/eunit.hrl").

-define(PROCESS, #{os_pid => 7, started => <<"1">>, boot => <<"b">>, namespace => <<"n">>}).
-define(STATES, ['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED', 'ERROR', 'STOPPED']).

spec() -> spec(#{}).
spec(More) ->
    maps:merge(#{project => <<"p">>, function => <<"f">>, pool => <<"default">>, retries => 0, backoff => {1_000, 60_000}, timeout => infinity, call => file}, More).

new(More) ->
    {Changes, _} = py_run_state:new(spec(More), 1),
    lists:foldl(fun py_run_state:apply/2, {<<"id">>, new}, Changes).

%% The run after these events, and the effects of the last one.
after_events(Events) -> after_events(Events, new(#{})).
after_events(Events, Run) -> lists:foldl(fun(Event, {Before, _}) -> step(Event, Before) end, {Run, []}, Events).

step(Event, Run) ->
    {ok, Changes, Effects} = py_run_state:decide(Event, 10, Run),
    {lists:foldl(fun py_run_state:apply/2, Run, Changes), Effects}.

completed(Attempt) -> {ended, Attempt, {completed, {inline, <<"r">>}}, 5}.
failed(Attempt) -> {ended, Attempt, {failed, <<"e">>, <<"why">>, none}, 5}.
lost(Attempt) -> {ended, Attempt, {lost, <<"e">>, <<"interrupted">>}, 5}.

a_new_run_waits_test() ->
    {_, Effects} = py_run_state:new(spec(), 1),
    ?assertEqual([{enqueue, 1}], Effects),
    ?assertMatch(#{state := 'PENDING', attempt := 0, most := 1}, new(#{})).

a_run_completes_test() ->
    {Run, Effects} = after_events([{'begin', ?PROCESS}, completed(1)]),
    ?assertMatch(#{state := 'COMPLETED', result := {inline, <<"r">>}}, Run),
    ?assertEqual([ended], Effects),
    #{transitions := Transitions} = Run,
    ?assertEqual(['CREATED', 'PENDING', 'RUNNING', 'COMPLETED'], [State || {State, _, _} <- lists:reverse(Transitions)]).

with_an_environment_to_build_it_passes_through_all_states_test() ->
    {#{transitions := Transitions}, _} = after_events([{building, <<>>}, {ready, <<>>}, {'begin', ?PROCESS}, completed(1)]),
    ?assertEqual(['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING', 'COMPLETED'], [State || {State, _, _} <- lists:reverse(Transitions)]).

%% The pool may be there before the word of it.
a_worker_that_comes_first_makes_it_ready_all_the_same_test() ->
    {#{transitions := Transitions}, Effects} = after_events([{building, <<>>}, {'begin', ?PROCESS}]),
    ?assertEqual([{call, 1}], Effects),
    ?assertEqual(['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING'], [State || {State, _, _} <- lists:reverse(Transitions)]).

what_can_t_be_built_is_an_error_that_was_not_tried_test_() ->
    [?_assertMatch({#{state := 'ERROR', attempt := 0, error := <<"e">>, message := <<"uv says">>}, [ended]}, after_events(Before ++ [{refused, <<"e">>, <<"uv says">>}]))
        || Before <- [[], [{building, <<>>}], [{building, <<>>}, {ready, <<>>}]]] ++
        [?_assertEqual({error, {run_state, 'RUNNING'}}, py_run_state:decide({refused, <<"e">>, <<>>}, 10, element(1, after_events([{'begin', ?PROCESS}]))))].

a_run_that_was_begun_and_lost_is_an_error_and_not_begun_again_test() ->
    {Run, Effects} = after_events([{'begin', ?PROCESS}, lost(1)]),
    ?assertMatch(#{state := 'ERROR', message := <<"interrupted">>}, Run),
    ?assertEqual([ended], Effects).

with_retries_it_waits_for_the_fence_first_test_() ->
    [
        {Name, fun() ->
            {Run, Effects} = after_events([{'begin', ?PROCESS}, Lost], new(#{retries => 1})),
            ?assertMatch(#{state := 'PENDING', is_fenced := false, not_before_ms := 15}, Run),
            ?assertEqual([{fence, ?PROCESS}], Effects),
            ?assertNot(py_run_state:is_waiting(Run)),
            %% Whatever comes, it does not begin before.
            ?assertEqual({error, {run_state, 'PENDING'}}, py_run_state:decide({'begin', ?PROCESS}, 20, Run)),
            {Fenced, Then} = step(fenced, Run),
            ?assertEqual([{enqueue, 15}], Then),
            ?assert(py_run_state:is_waiting(Fenced)),
            {Again, _} = step({'begin', ?PROCESS}, Fenced),
            ?assertMatch(#{state := 'RUNNING', attempt := 2}, Again)
        end}
     || {Name, Lost} <- [{"lost", lost(1)}, {"failed", failed(1)}]
    ].

retries_are_counted_test() ->
    Round = fun(Attempt) -> [{'begin', ?PROCESS}, lost(Attempt), fenced] end,
    {Run, _} = after_events(Round(1) ++ Round(2) ++ [{'begin', ?PROCESS}, lost(3)], new(#{retries => 2})),
    ?assertMatch(#{state := 'ERROR', attempt := 3}, Run).

what_was_not_begun_is_not_counted_test() ->
    {Run, Effects} = after_events([{'begin', ?PROCESS}, {ended, 1, {not_begun, <<"moved">>}, 5}]),
    ?assertMatch(#{state := 'PENDING', attempt := 0, is_fenced := true}, Run),
    ?assertEqual([{enqueue, 10}], Effects).

an_answer_of_an_attempt_before_counts_for_nothing_test() ->
    {Run, _} = after_events([{'begin', ?PROCESS}, lost(1), fenced, {'begin', ?PROCESS}], new(#{retries => 3})),
    ?assertEqual({error, {run_state, 'RUNNING'}}, py_run_state:decide(completed(1), 10, Run)).

stopped_while_it_waits_is_stopped_at_once_test() ->
    {Run, Effects} = after_events([stop]),
    ?assertMatch(#{state := 'STOPPED'}, Run),
    ?assertEqual([ended], Effects).

stopped_while_it_runs_is_stopped_when_it_has_ended_test_() ->
    [
        {lists:flatten(io_lib:format("~p", [Ended])), fun() ->
            {Running, Effects} = after_events([{'begin', ?PROCESS}, stop], new(#{retries => 9})),
            ?assertMatch(#{state := 'RUNNING', is_stopping := true}, Running),
            ?assertEqual([{cancel, 1}], Effects),
            ?assertEqual({ok, [], []}, py_run_state:decide(stop, 10, Running)),
            {Run, _} = step(Ended, Running),
            ?assertMatch(#{state := State}, Run)
        end}
     || {Ended, State} <- [{lost(1), 'STOPPED'}, {failed(1), 'STOPPED'}, {{ended, 1, {not_begun, <<>>}, 5}, 'STOPPED'}, {completed(1), 'COMPLETED'}]
    ].

only_what_has_failed_or_was_stopped_is_retried_test_() ->
    {Failed, _} = after_events([{'begin', ?PROCESS}, lost(1)]),
    {Completed, _} = after_events([{'begin', ?PROCESS}, completed(1)]),
    [
        fun() ->
            {Run, Effects} = step(retry, Failed),
            ?assertMatch(#{state := 'PENDING', most := 2, is_fenced := false}, Run),
            ?assertEqual([{fence, ?PROCESS}], Effects)
        end,
        ?_assertEqual({error, {run_state, 'COMPLETED'}}, py_run_state:decide(retry, 10, Completed)),
        ?_assertEqual({error, {run_state, 'PENDING'}}, py_run_state:decide(retry, 10, new(#{})))
    ].

%% No state is for ever: after a start each that has not ended goes on, and what has ended stays so.
a_start_has_something_to_do_for_each_state_that_has_not_ended_test() ->
    {Running, _} = after_events([{'begin', ?PROCESS}]),
    {Again, _} = after_events([{'begin', ?PROCESS}, lost(1)], new(#{retries => 1})),
    {Completed, _} = after_events([{'begin', ?PROCESS}, completed(1)]),
    ?assertEqual({ok, [], [{settle, 1, ?PROCESS}]}, py_run_state:decide(recover, 10, Running)),
    ?assertEqual({ok, [], [{fence, ?PROCESS}]}, py_run_state:decide(recover, 10, Again)),
    ?assertEqual({ok, [], [{enqueue, 1}]}, py_run_state:decide(recover, 10, new(#{}))),
    ?assertEqual({ok, [], []}, py_run_state:decide(recover, 10, Completed)),
    [
        ?assertMatch({ok, [{state, 10, 'PENDING', _}], [{enqueue, _}]}, py_run_state:decide(recover, 10, (new(#{}))#{state := State}))
     || State <- ['CREATED', 'BUILDING', 'READY']
    ].

%% Any events in any order: a run that has begun more attempts than it may, or an attempt before the fence, is a fault.
no_order_of_events_begins_too_often_or_too_early_test() ->
    rand:seed(exsss, {1, 2, 3}),
    [walk(new(#{retries => rand:uniform(3) - 1}), 40) || _ <- lists:seq(1, 2_000)].

walk(_Run, 0) ->
    ok;
walk(#{attempt := Attempt, state := State} = Run, Left) ->
    ?assert(lists:member(State, ?STATES)),
    Events = [{'begin', ?PROCESS}, completed(max(1, Attempt)), failed(max(1, Attempt)), lost(max(1, Attempt)), fenced, stop, retry, recover,
        {ended, max(1, Attempt), {not_begun, <<>>}, 0}, {building, <<>>}, {ready, <<>>}],
    case py_run_state:decide(lists:nth(rand:uniform(length(Events)), Events), 10, Run) of
        {ok, Changes, Effects} ->
            #{most := Most} = Next = lists:foldl(fun py_run_state:apply/2, Run, Changes),
            case [1 || {call, _} <- Effects] of
                [_] ->
                    ?assertMatch(#{is_fenced := true, state := Before} when Before =:= 'PENDING'; Before =:= 'READY'; Before =:= 'BUILDING', Run),
                    ?assert(maps:get(attempt, Next) =< Most);
                [] -> ok
            end,
            walk(Next, Left - 1);
        {error, {run_state, State}} ->
            walk(Run, Left - 1)
    end.

the_transitions_of_a_run_that_never_succeeds_are_bounded_test() ->
    Run = lists:foldl(
        fun(Attempt, Before) -> element(1, after_events([{'begin', ?PROCESS}, lost(Attempt), fenced], Before)) end, new(#{retries => 500}), lists:seq(1, 400)
    ),
    ?assertEqual(100, length(maps:get(transitions, Run))).

the_pause_doubles_up_to_the_most_and_half_of_it_is_by_chance_test_() ->
    Spec = spec(#{backoff => {100, 1_000}}),
    [
        ?_assertEqual(Expected, {py_run_state:backoff_ms(Spec, Attempt, 0.0), py_run_state:backoff_ms(Spec, Attempt, 1.0)})
     || {Attempt, Expected} <- [{1, {100, 50}}, {2, {200, 100}}, {4, {800, 400}}, {5, {1_000, 500}}, {1_000, {1_000, 500}}]
    ].

%%% Services

service(Lasts) -> new(#{service => #{options => #{}, lasts => Lasts}}).

a_service_runs_when_it_serves_test() ->
    {Run, Effects} = after_events([{building, <<>>}, {serving, <<"http://x">>}], service(true)),
    ?assertMatch(#{state := 'RUNNING', attempt := 1, url := <<"http://x">>, process := none, is_fenced := true}, Run),
    ?assertEqual([], Effects),
    #{transitions := Transitions} = Run,
    ?assertEqual(['CREATED', 'PENDING', 'BUILDING', 'READY', 'RUNNING'], [State || {State, _, _} <- lists:reverse(Transitions)]),
    ?assertMatch({error, {run_state, 'RUNNING'}}, py_run_state:decide({serving, <<"http://y">>}, 10, Run)).

a_service_that_is_stopped_before_it_serves_waits_for_its_attempt_test_() ->
    [
        fun() ->
            {Stopping, Effects} = after_events(Before ++ [stop], service(true)),
            ?assertMatch(#{is_stopping := true, message := <<"is being stopped">>}, Stopping),
            ?assertEqual([{cancel, 0}], Effects),
            %% What comes late changes nothing.
            [?assertMatch({error, _}, py_run_state:decide(Late, 10, Stopping)) || Late <- [{building, <<>>}, {ready, <<>>}, {serving, <<"u">>}]],
            [?assertMatch({#{state := 'STOPPED', is_stopping := false}, [ended]}, step(Last, Stopping)) || Last <- [{ended, 1, stopped, 0}, {refused, <<"e">>, <<"why">>}, recover]]
        end
     || Before <- [[], [{building, <<>>}], [{building, <<>>}, {ready, <<>>}]]
    ].

a_service_that_serves_is_stopped_by_its_attempt_test() ->
    {Stopping, Effects} = after_events([{serving, <<"u">>}, stop], service(true)),
    ?assertEqual([{cancel, 1}], Effects),
    {Stopped, _} = step({ended, 1, stopped, 0}, Stopping),
    ?assertMatch(#{state := 'STOPPED'}, Stopped),
    ?assertMatch({#{state := 'PENDING', url := <<"u">>}, [{enqueue, 10}]}, step(retry, Stopped)),
    %% By somebody who has not asked the run.
    ?assertMatch({#{state := 'STOPPED'}, [ended]}, after_events([{serving, <<"u">>}, {ended, 1, stopped, 0}], service(true))).

a_service_comes_back_with_a_node_that_lasts_test() ->
    Serving = [{serving, <<"u">>}],
    ?assertMatch({#{state := 'PENDING', url := <<"u">>}, [{enqueue, _}]}, after_events(Serving ++ [recover], service(true))),
    ?assertMatch({#{state := 'ERROR', message := <<"interrupted", _/binary>>}, [ended]}, after_events(Serving ++ [recover], service(false))),
    [?assertMatch({#{state := 'PENDING'}, [{enqueue, _}]}, after_events([recover], service(Lasts))) || Lasts <- [true, false]].
