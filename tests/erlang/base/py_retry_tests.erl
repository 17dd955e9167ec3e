%%% When a call that may run twice is made again.
-module(py_retry_tests).

-include_lib("eunit/include/eunit.hrl").

down() -> {py, {worker_down, {exit_status, 3, ""}}}.

raised(Class) -> {python, Class, "text", []}.

the_option_says_what_it_takes_test_() ->
    [
        {lists:flatten(io_lib:format("~0tp", [Policy])), ?_assertEqual(Expected, element(1, py_call_options:check(#{retry => Policy})))}
     || {Expected, Policy} <- [
            {ok, #{times => 1}},
            {ok, #{times => 1_000, on => [], backoff => 0}},
            {ok, #{times => 3, on => [worker_down, node_down, overload, python, 'builtins.OSError'], backoff => {10, 10}}},
            {error, #{}},
            {error, #{times => 0}},
            {error, #{times => 1_001}},
            {error, #{times => infinity}},
            {error, #{times => 1, on => worker_down}},
            {error, #{times => 1, on => [timeout]}},
            {error, #{times => 1, on => [cancelled]}},
            {error, #{times => 1, on => ['OSError']}},
            {error, #{times => 1, on => [<<"builtins.OSError">>]}},
            {error, #{times => 1, on => [worker_down | python]}},
            {error, #{times => 1, backoff => -1}},
            {error, #{times => 1, backoff => {20, 10}}},
            {error, #{times => 1, backof => 1}},
            {error, 3},
            {error, [{times, 1}]}
        ]
    ].

what_is_made_again_test_() ->
    [
        {lists:flatten(io_lib:format("~0tp ~0tp", [On, Error])),
            ?_assertEqual(Expected, py_retry:again(Error, 0, maps:merge(#{times => 1}, On)) =/= give_up)}
     || {Expected, On, Error} <- [
            {true, #{}, down()},
            {true, #{}, {py, {node_down, there}}},
            {true, #{}, {py, overload}},
            {false, #{}, {py, timeout}},
            {false, #{}, {py, cancelled}},
            {false, #{}, {py, {unknown_pool, none}}},
            {false, #{}, {py, {stale_reference, "gone"}}},
            {false, #{}, raised('builtins.OSError')},
            {false, #{on => []}, down()},
            {false, #{on => [overload]}, down()},
            {true, #{on => [python]}, raised('builtins.OSError')},
            {true, #{on => [python]}, raised(worker_down)},
            {false, #{on => [worker_down]}, raised(worker_down)},
            {true, #{on => ['builtins.OSError']}, raised('builtins.OSError')},
            {false, #{on => ['builtins.OSError']}, raised('builtins.FileNotFoundError')},
            {false, #{on => [python]}, down()},
            {false, #{on => [python]}, {erlang, error, badarg, []}}
        ]
    ].

it_is_made_so_often_test() ->
    Policy = #{times => 3},
    ?assertEqual([true, true, true, false, false], [py_retry:again(down(), Before, Policy) =/= give_up || Before <- [0, 1, 2, 3, 4]]).

the_pause_doubles_and_ends_test_() ->
    [
        {lists:flatten(io_lib:format("~0tp ~w", [Backoff, Before])), fun() ->
            Pauses = [Ms || _ <- lists:seq(1, 200), {again, Ms} <- [py_retry:again(down(), Before, #{times => 1_000, backoff => Backoff})]],
            ?assert(lists:min(Pauses) >= Whole div 2, lists:min(Pauses)),
            ?assert(lists:max(Pauses) =< Whole, lists:max(Pauses))
        end}
     || {Backoff, Before, Whole} <- [
            {0, 0, 0}, {0, 999, 0}, {1, 0, 1}, {10, 0, 10}, {10, 3, 80}, {10, 999, 2_000}, {5_000, 0, 5_000}, {5_000, 7, 5_000},
            {{10, 15}, 0, 10}, {{10, 15}, 1, 15}
        ]
    ].
