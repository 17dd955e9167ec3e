%%% What a stack shows of terms: small ones as they are, and of large ones the beginning.
-module(py_excerpt_tests).

-include_lib("eunit/include/eunit.hrl").

-define(MOST_CHARACTERS, 2_000).

small_terms() ->
    [
        1, -7, 1.5, a, 'an atom', "", "text", "ключ", <<"bytes">>, <<"é"/utf8>>, <<1, 2, 3>>, <<5:3>>, [], [1, 2, 3], [a | b],
        [1, 2 | c], {}, {bytes, <<"b">>}, #{}, #{a => 1, "b" => [2]}, self(), make_ref(), 1 bsl 64, -(1 bsl 100),
        #{'__struct__' => 'Elixir.Date', year => 2024}, {"datetime", {2014, 12, 23, 23, 14, 37, 677463, undefined}},
        [{a, 1}, {b, [{c, <<"d">>}]}], fun lists:map/2, fun() -> small end
    ].

what_is_small_stays_as_it_is_test_() ->
    [{lists:flatten(io_lib:format("~tp", [Term])), ?_assertEqual(Term, py_excerpt:term(Term))} || Term <- small_terms()].

%% {large, what is shown}.
large_terms() ->
    Zeros = binary:copy(<<0>>, 2_097_152),
    Text = binary:copy(<<"secret ">>, 100_000),
    [
        {Zeros, <<"... (2097152 bytes)">>},
        {{bytes, Zeros}, {bytes, <<"... (2097152 bytes)">>}},
        {[{bytes, Zeros}], [{bytes, <<"... (2097152 bytes)">>}]},
        {#{key => Zeros, name => "n"}, #{key => <<"... (2097152 bytes)">>, name => "n"}},
        {<<Zeros/binary, 1:1>>, <<"... (2097153 bytes)">>},
        {Text, <<(binary:part(Text, 0, 64))/binary, "... (700000 bytes)">>},
        {binary:copy(<<"ж"/utf8>>, 1_000), <<(binary:copy(<<"ж"/utf8>>, 32))/binary, "... (2000 bytes)">>},
        {lists:duplicate(100_000, $a), lists:duplicate(512, $a) ++ "..."},
        {1 bsl 100_000, <<"... (an integer of 12512 bytes)">>},
        {{a, lists:duplicate(100_000, $a), "rest", 1.5}, {a, lists:duplicate(500, $a) ++ "...", '...', '...'}},
        {#{'__struct__' => 'Elixir.Big', data => Zeros}, {'Elixir.Big', '...'}}
    ].

of_what_is_large_the_beginning_is_shown_test_() ->
    [?_assertEqual(Shown, py_excerpt:term(Large)) || {Large, Shown} <- large_terms()].

%% Of any shape: a stack that has them is small, and so is its text.
nested() ->
    lists:foldl(fun(_, Acc) -> [Acc] end, [], lists:seq(1, 100_000)).

shapes() ->
    [
        nested(),
        lists:foldl(fun(_, Acc) -> {Acc, Acc} end, 1, lists:seq(1, 60)),
        lists:seq(1, 1_000_000),
        lists:seq(1, 1_000_000) ++ tail,
        list_to_tuple(lists:seq(1, 1_000_000)),
        maps:from_list([{N, N} || N <- lists:seq(1, 100_000)]),
        #{lists:seq(1, 100_000) => 1},
        [<<"short">> || _ <- lists:seq(1, 100_000)],
        [[] || _ <- lists:seq(1, 100_000)],
        [{} || _ <- lists:seq(1, 100_000)],
        [[[], [], #{}] || _ <- lists:seq(1, 100_000)],
        [binary:copy(<<"x">>, 400) || _ <- lists:seq(1, 1_000)],
        [1.5 || _ <- lists:seq(1, 100_000)],
        [1 bsl 60_000 || _ <- lists:seq(1, 100)],
        [true || _ <- lists:seq(1, 100_000)],
        lists:duplicate(100_000, $a) ++ tail,
        [0 | lists:duplicate(100_000, $a)],
        #{'__struct__' => 'Elixir.MapSet', map => maps:from_list([{N, []} || N <- lists:seq(1, 100_000)])},
        holding(lists:seq(1, 100_000))
    ].

holding(Term) -> fun() -> Term end.

whatever_is_large_is_short_then_test_() ->
    {timeout, 60, [
        ?_assert(string:length(io_lib:format("~0tp", [py_excerpt:term(Large)])) < ?MOST_CHARACTERS)
     || Large <- shapes()
    ]}.

%% A doubled term takes 2^60 steps to look at in full, and each step here is one.
no_more_is_looked_at_than_is_shown_test() ->
    {reductions, Before} = process_info(self(), reductions),
    Doubled = lists:foldl(fun(_, Acc) -> {Acc, Acc} end, 1, lists:seq(1, 1_000)),
    _ = py_excerpt:term(Doubled),
    {reductions, After} = process_info(self(), reductions),
    ?assert(After - Before < 100_000).

a_part_of_a_large_binary_does_not_keep_it_test() ->
    <<Part:100/binary, _/binary>> = binary:copy(<<7>>, 1_000_000),
    Kept = py_excerpt:term(Part),
    ?assertEqual(100, binary:referenced_byte_size(Kept)).

the_frames_of_a_stack_lose_their_large_arguments_test() ->
    Large = lists:seq(1, 100_000),
    Info = [{file, "a.erl"}],
    ?assertMatch(
        [{m, f, [a, [1, 2 | _]], Info}, {m, g, 2, Info}, odd],
        py_excerpt:stack([{m, f, [a, Large], Info}, {m, g, 2, Info}, odd])
    ).
