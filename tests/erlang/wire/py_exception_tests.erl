%%% What Python raised as an error of its kind.
-module(py_exception_tests).

-include_lib("eunit/include/eunit.hrl").

the_bridges_own_exceptions_are_the_bridges_errors_test_() ->
    [
        ?_assertEqual(Expected, py_exception:from_python({python, Class, "text", []}))
     || {Expected, Class} <- [
            {{py, {encode, "text"}}, 'erl.errors.EncodeError'},
            {{py, {decode, "text"}}, 'erl.errors.DecodeError'},
            {{py, {stale_reference, "text"}}, 'erl.errors.StaleReferenceError'},
            {{python, 'builtins.ValueError', "text", []}, 'builtins.ValueError'}
        ]
    ].

what_erlang_raised_for_python_is_what_it_was_test_() ->
    Opaque = fun(Term) -> {erlang, {'$erlport.opaque', erlang, term_to_binary(Term)}} end,
    [
        ?_assertEqual({erlang, error, badarith, []}, py_exception:from_python(Opaque({error, badarith, []}))),
        ?_assertEqual(Opaque(tea), py_exception:from_python(Opaque(tea))),
        ?_assertEqual({erlang, {'$erlport.opaque', erlang, <<1>>}}, py_exception:from_python({erlang, {'$erlport.opaque', erlang, <<1>>}}))
    ].

what_only_looks_like_an_exception_of_ours_is_none_test() ->
    Made = {python, 'erl.errors.EncodeError', 7, []},
    ?assertEqual(Made, py_exception:from_python(Made)).
