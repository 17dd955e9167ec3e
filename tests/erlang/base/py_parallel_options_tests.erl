%%% Options of what makes many calls.
-module(py_parallel_options_tests).

-include_lib("eunit/include/eunit.hrl").

%% {of which functions, option, values that it takes, values that it refuses}; beside the options of each call.
parallel_options() ->
    [
        {[pmap, pfold, preduce, pmap_reduce], chunk, [1, 1 bsl 70], [0, -1, 1.0, auto]},
        {[pmap], ordered, [true, false], [yes, 1]},
        {[pmap, pfold], errors, [raise, return], [true, skip]},
        {[pmap, pfold], item_timeout, [0, 5_000, infinity], [-1, 1.5, none]},
        {[pmap, pfold, preduce, pmap_reduce], progress, [true, false, fun erlang:abs/1], [fun erlang:self/0, 1, line]},
        {[pmap, pfold, preduce, pmap_reduce], retry, [0, 1, 100], [-1, infinity, true]},
        {[scatter, pmap, pfold, preduce, pmap_reduce], window, [1, 1_000], [0, 1_001, infinity]},
        {[preduce, pmap_reduce], initial, [0, undefined, []], []}
    ].

a_good_option_of_many_calls_is_taken_beside_those_of_each_test_() ->
    [
        {name(Key, Value),
            ?_assertMatch({ok, #{pool := ml}, #{Key := Value}}, py_parallel_options:check(Kind, #{Key => Value, pool => ml}))}
     || {Kinds, Key, Good, _} <- parallel_options(), Kind <- Kinds, Value <- Good
    ].

a_bad_option_of_many_calls_is_named_with_what_it_must_be_test_() ->
    [
        {name(Key, Value), ?_assertMatch({error, {bad_option, Key, Value, _}}, py_parallel_options:check(Kind, #{Key => Value}))}
     || {Kinds, Key, _, Bad} <- parallel_options(), Kind <- Kinds, Value <- Bad
    ] ++
        [
            {name(Key, hd(Good)),
                ?_assertMatch({error, {unknown_option, Key, _}}, py_parallel_options:check(Kind, #{Key => hd(Good)}))}
         || {Kinds, Key, Good, _} <- parallel_options(), Key =/= retry, Kind <- [scatter, pmap, pfold, preduce, pmap_reduce] -- Kinds
        ].

%% Of one that stands for itself it is the policy, of a chunk it is a number.
a_retry_is_that_of_a_call_or_that_of_a_chunk_test_() ->
    Policy = #{times => 2},
    [
        ?_assertMatch({ok, #{retry := Policy}, _}, py_parallel_options:check(scatter, #{retry => Policy})),
        ?_assertMatch({error, {bad_option, retry, 2, _}}, py_parallel_options:check(scatter, #{retry => 2})),
        ?_assertMatch({error, {bad_option, retry, Policy, _}}, py_parallel_options:check(pmap, #{retry => Policy}))
    ].

the_defaults_of_many_calls_are_these_test() ->
    ?assertEqual({ok, #{}, #{window => 2}}, py_parallel_options:check(scatter, #{})),
    Common = #{chunk => undefined, progress => false, retry => 0, window => 2},
    ?assertEqual({ok, #{}, Common#{ordered => true}}, py_parallel_options:check(pmap, #{})),
    ?assertEqual({ok, #{}, Common}, py_parallel_options:check(preduce, #{})).

name(Key, Value) -> lists:flatten(io_lib:format("~tw => ~tw", [Key, Value])).
