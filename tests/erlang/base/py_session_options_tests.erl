%%% Options of sessions, of the application's environment and of one `eval'.
-module(py_session_options_tests).

-include_lib("eunit/include/eunit.hrl").

with_sessions(Sessions, Fun) ->
    ok = application:set_env(py, sessions, Sessions),
    try
        Fun()
    after
        application:unset_env(py, sessions)
    end.

sessions_have_defaults_test() ->
    {ok, #{warm := 2, max := 100}, Pool} = py_session_options:configured(),
    ?assertMatch(#{size := 0, scheduler := none, strings := list, on_start := {'erl.calls.session', prepare, []}}, Pool),
    Self = self(),
    ?assertMatch(
        {ok, #{persistent := false, timeout := 300_000, owner := Self, binaries := str}, Pool}, py_session_options:check(#{})
    ).

an_option_of_a_session_stands_before_the_applications_test() ->
    with_sessions(#{warm => 0, strings => binary, kill_after => 5}, fun() ->
        {ok, #{warm := 0, max := 100}, Standard} = py_session_options:configured(),
        ?assertMatch(#{strings := binary, kill_after := 5}, Standard),
        ?assertMatch({ok, _, Standard}, py_session_options:check([{persistent, true}])),
        {ok, #{timeout := infinity}, Own} = py_session_options:check(#{kill_after => 7, timeout => infinity}),
        ?assertEqual(Standard#{kill_after := 7}, Own)
    end).

a_wrong_option_of_a_session_is_refused_test_() ->
    [
        ?_assertMatch({error, {bad_option, Key, Value, _}}, py_session_options:check(#{Key => Value}))
     || {Key, Values} <- [{persistent, [1]}, {timeout, [-1, soon]}, {owner, [me]}, {binaries, [list]}, {python, [3]}],
        Value <- Values
    ] ++
        [
            ?_assertMatch({error, {unknown_option, Key, _}}, py_session_options:check(#{Key => 1}))
         || Key <- [warm, max, size, scheduler, max_queue, max_calls, recycle, call_timeout, drain_timeout, threads, coroutines, tea]
        ] ++
        [?_assertEqual({error, {no_map, Options}}, py_session_options:check(Options)) || Options <- [tea, [tea]]].

a_wrong_configuration_of_sessions_is_refused_test_() ->
    [
        ?_assertMatch(
            {error, {bad_config, sessions, _}}, with_sessions(Sessions, fun() -> py_session_options:configured() end)
        )
     || Sessions <- [#{warm => -1}, #{warm => 101}, #{max => 0}, #{max => 901}, #{size => 1}, #{python => 3}, tea, [tea]]
    ].

an_eval_takes_the_options_that_name_no_place_test_() ->
    [?_assertEqual({ok, O}, py_session_options:call(O)) || O <- [#{}, #{timeout => 1}, #{return => ref, dicts => map}]] ++
        [
            ?_assertMatch({error, {unknown_option, Key, _}}, py_session_options:call(#{Key => 1}))
         || Key <- [pool, worker, node, scope, persistent]
        ].
