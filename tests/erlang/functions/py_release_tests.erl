%%% The arguments of release-python, and its lock. What it makes `make test-releases' tries.
-module(py_release_tests).

-include_lib("eunit/include/eunit.hrl").

arguments_test_() ->
    [
        {lists:append(lists:join(" ", Args)), ?_assertMatch({ok, #{directory := _, requirements := Requirements, way := Way}}, py_release:options(Args))}
     || {Args, Requirements, Way} <- [
            {["out"], [], copy},
            {["out", "six>=1", "cowsay"], [<<"six>=1">>, <<"cowsay">>], copy},
            {["--link", "out"], [], link}
        ]
    ].

refused_test_() ->
    [
        {lists:append(lists:join(" ", Args)), ?_assertMatch({error, _}, py_release:options(Args))}
     || Args <- [[], ["--offline"], ["out", "--online"], ["out", "--requirements=/no/such/file"]]
    ].

a_lock_pins_what_it_was_made_of_and_nothing_else_test() ->
    {ok, Options} = py_release:options(["out", "six>=1", "cowsay"]),
    Packages = [<<"cloudpickle==3.1.3">>, <<"cowsay==6.1">>, <<"erlang-py==2.0.7">>, <<"six==1.17.0">>],
    Lock = iolist_to_binary(py_release:lock(#{packages => Packages}, Options)),
    ?assertEqual([<<"cloudpickle==3.1.3">>, <<"cowsay==6.1">>, <<"six==1.17.0">>], py_release:pinned(Lock, Options)),
    {ok, Turned} = py_release:options(["elsewhere", "cowsay", "six>=1"]),
    ?assertNotEqual(none, py_release:pinned(Lock, Turned)),
    [
        begin
            {ok, Others} = py_release:options(Args),
            ?assertEqual(none, py_release:pinned(Lock, Others))
        end
     || Args <- [["out"], ["out", "six>=1"], ["out", "six>=1", "cowsay", "--python=3.12"]]
    ],
    ?assertEqual(none, py_release:pinned(<<>>, Options)).
