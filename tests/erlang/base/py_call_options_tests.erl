%%% Options of a call: what is taken, what is refused.
-module(py_call_options_tests).

-include_lib("eunit/include/eunit.hrl").

%% A deadline of OTP's timers.
-define(LONGEST_MS, 16#ffffffff).

%% {option of a call, values that it takes, values that it refuses}.
call_options() ->
    [
        {pool, [default, ml], ["default", <<"default">>, 1]},
        {worker, [self()], [worker, 1]},
        {node, [node()], ["node@host"]},
        {scope, [local, cluster], [node, world, "cluster", true]},
        {timeout, [infinity, 0, 1, ?LONGEST_MS], [-1, 1.5, "1", undefined, ?LONGEST_MS + 1]},
        {retry, [#{times => 1}, #{times => 1_000, on => [worker_down, python, 'builtins.OSError'], backoff => {0, 5}}], [
            1, #{}, #{times => 0}, #{times => 1_001}, #{times => 1, on => worker_down}, #{times => 1, tea => 1}
        ]},
        {strings, [list, binary], [string, "binary", true, {binary, 1}]},
        {dicts, [tagged, map], [maps, list]},
        {haystack, [true, false], [on, 1]},
        {frames, [grid, columns, arrow], [rows, true]},
        {matrices, [true, false], [numpy]},
        {none, [undefined, nil, none], [null, false]},
        {arrays, [opaque, value, shared], [true, numpy]},
        {binaries, [str, bytes], [binary]},
        {show_arguments, [cut, none, all], [undefined, some, 400]},
        {return, [value, ref], [reference]}
    ].

a_good_option_of_a_call_is_taken_as_it_is_test_() ->
    [
        {name(Key, Value), ?_assertEqual({ok, #{Key => Value}}, py_call_options:check(#{Key => Value}))}
     || {Key, Good, _} <- call_options(), Value <- Good
    ].

a_bad_option_of_a_call_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Value, _}}, py_call_options:check(#{Key => Value}))}
     || {Key, _, Bad} <- call_options(), Value <- Bad
    ].

name(Key, Value) -> lists:flatten(io_lib:format("~tw => ~tw", [Key, Value])).

the_options_of_this_file_are_all_there_are_test() ->
    {error, {unknown_option, zzz, Known}} = py_call_options:check(#{zzz => 1}),
    ?assertEqual(Known, lists:sort([Key || {Key, _, _} <- call_options()])).

what_says_nothing_about_values_is_a_place_test() ->
    Mapped = maps:keys(py_mapping:table()),
    ?assertEqual(lists:sort(py_call_options:places()), lists:sort([Key || {Key, _, _} <- call_options()] -- Mapped)).

options_that_are_no_map_are_refused_test_() ->
    [?_assertEqual({error, {no_map, No}}, py_call_options:check(No)) || No <- [[], [{timeout, 1}], 5, timeout, undefined]].
