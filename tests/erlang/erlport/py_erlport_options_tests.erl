-module(py_erlport_options_tests).

-include_lib("eunit/include/eunit.hrl").

%% Option, key, value.
good() ->
    [
        {{buffer_size, 1}, buffer_size, 1},
        {{call_timeout, 1}, call_timeout, 1},
        {{call_timeout, infinity}, call_timeout, infinity},
        {{cd, "/"}, cd, "/"},
        {{compressed, 0}, compressed, 0},
        {{compressed, 9}, compressed, 9},
        {{env, []}, env, []},
        {{env, [{"A", "b"}, {"C", false}]}, env, [{"A", "b"}, {"C", false}]},
        {{packet, 1}, packet, 1},
        {{packet, 2}, packet, 2},
        {{packet, 4}, packet, 4},
        {{program, ["-m", "erlport.cli"]}, program, ["-m", "erlport.cli"]},
        {{python, "python3"}, python, "python3"},
        {{python_path, "/a:/b"}, python_path, ["/a", "/b"]},
        {{python_path, ["/a", "/b:c"]}, python_path, ["/a", "/b:c"]},
        {{python_path, ""}, python_path, []},
        {{start_timeout, 16#ffffffff}, start_timeout, 16#ffffffff},
        {nouse_stdio, use_stdio, false},
        {use_stdio, use_stdio, true}
    ].

invalid() ->
    [
        {buffer_size, 0}, {buffer_size, -1}, {buffer_size, big}, {call_timeout, 0}, {call_timeout, -1}, {call_timeout, a},
        {call_timeout, 16#100000000}, {cd, "/no/such/directory"}, {cd, 7}, {compressed, 10}, {compressed, -1},
        {compressed, true}, {env, x}, {env, [{a, "b"}]}, {env, ["A"]}, {packet, 3}, {packet, 0}, {program, []},
        {program, [x]}, {program, "-m"}, {python, ""}, {python, python3}, {python, <<"python3">>}, {python_path, x},
        {python_path, [["/a"], x]}, {start_timeout, 0}
    ].

unknown() -> [x, compressed, {x, 1}, {nouse_stdio, true}, {a, b, c}, 7].

good_options_are_taken_test_() ->
    [
        {lists:flatten(io_lib:format("~p", [Option])), ?_assertMatch({ok, #{Key := Value}}, taken(Option))}
     || {Option, Key, Value} <- good()
    ].

taken(Option) -> py_erlport_options:start([Option]).

invalid_options_are_named_test_() ->
    [?_assertEqual({error, {invalid_option, Option}}, py_erlport_options:start([{packet, 4}, Option])) || Option <- invalid()].

unknown_options_are_named_test_() ->
    [?_assertEqual({error, {unknown_option, Option}}, py_erlport_options:start([Option])) || Option <- unknown()].

of_an_option_that_is_given_twice_the_first_counts_test() ->
    ?assertMatch({ok, #{packet := 2}}, py_erlport_options:start([{packet, 2}, {packet, 4}])).

no_options_are_erlports_defaults_test() ->
    ?assertMatch(
        {ok, #{packet := 4, compressed := 0, buffer_size := 65536, use_stdio := true, start_timeout := 10000,
            call_timeout := infinity, python_path := [], env := []}},
        py_erlport_options:start([])
    ).

what_is_no_list_is_invalid_test() ->
    ?assertEqual({error, {invalid_option, [a | b]}}, py_erlport_options:start([a | b])),
    ?assertEqual({error, {invalid_option, x}}, py_erlport_options:call(x)).

options_of_a_call_test() ->
    ?assertEqual({ok, #{async => false, timeout => default}}, py_erlport_options:call([])),
    ?assertEqual({ok, #{async => true, timeout => 7}}, py_erlport_options:call([async, {timeout, 7}])),
    ?assertEqual({ok, #{async => false, timeout => infinity}}, py_erlport_options:call([{timeout, infinity}])),
    [?assertEqual({error, {invalid_option, O}}, py_erlport_options:call([O])) || O <- [{timeout, 0}, {timeout, x}]],
    [?assertEqual({error, {unknown_option, O}}, py_erlport_options:call([O])) || O <- [{async, true}, x, {pool, y}]].
