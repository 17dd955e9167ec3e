%%% Names, keywords, references: the pure half of a call's arguments.
-module(py_term_tests).

-include_lib("eunit/include/eunit.hrl").

%% {keywords as given, as sent}.
keywords_table() ->
    [
        {[], {ok, []}},
        {#{}, {ok, []}},
        {[{base, 2}], {ok, [{<<"base">>, 2}]}},
        {[{<<"base">>, 2}], {ok, [{<<"base">>, 2}]}},
        {[{"base", 2}], {ok, [{<<"base">>, 2}]}},
        {#{base => 2}, {ok, [{<<"base">>, 2}]}},
        {[{b, 1}, {a, 2}], {ok, [{<<"b">>, 1}, {<<"a">>, 2}]}},
        {[{'max-split', 1}], {ok, [{<<"max_split">>, 1}]}},
        %% Only an atom is surely a name: a binary or a string may be a key of dict.
        {[{<<"max-split">>, 1}], {ok, [{<<"max-split">>, 1}]}},
        {[{"max-split", 1}], {ok, [{<<"max-split">>, 1}]}},
        {[{"ключ", 1}], {ok, [{<<"ключ"/utf8>>, 1}]}},
        {[{'ключ', 1}], {ok, [{<<"ключ"/utf8>>, 1}]}},
        {[{1, 2}], error},
        {[{"", 2}], error},
        {[{[a], 2}], error},
        {[{a, 1, 2}], error},
        {[a], error},
        {[{a, 1} | b], error},
        {base, error},
        {<<"base">>, error},
        {{base, 2}, error}
    ].

keywords_keep_their_order_and_become_binaries_test_() ->
    [
        {lists:flatten(io_lib:format("~tw", [Given])), ?_assertEqual(Expected, py_term:keywords(Given))}
     || {Given, Expected} <- keywords_table()
    ].

what_is_meant_as_keywords_has_names_for_keys_test_() ->
    [
        ?_assertEqual(Expected, py_term:is_keywords(Term))
     || {Expected, Term} <- [
            {true, [{base, 2}]},
            {true, #{base => 2}},
            {true, [{"a", 1}]},
            {false, []},
            {false, #{}},
            {false, [1, 2]},
            {false, [{1, 2}]},
            {false, "text"},
            {false, <<"base">>},
            {false, 2},
            {false, [{a, 1} | tail]}
        ]
    ].

a_name_is_an_atom_or_a_binary_test() ->
    ?assert(py_term:is_name(math)),
    ?assert(py_term:is_name(<<"math">>)),
    [?assertNot(py_term:is_name(No)) || No <- ["math", 1, {math}, #{}, <<1:3>>]].

ref(Id) -> {'$py.ref', self(), 1, Id}.

references_are_found_at_any_depth_test_() ->
    [
        ?_assertEqual(lists:sort(Expected), lists:sort(py_term:references(Term)))
     || {Expected, Term} <- [
            {[], []},
            {[], [1, a, "b", <<"c">>, 1.5, self()]},
            {[ref(1)], ref(1)},
            {[ref(1), ref(2)], [ref(1), ref(2)]},
            {[ref(1)], {"dict", [{"a", [ref(1)]}]}},
            {[ref(1), ref(2)], #{a => ref(1), ref(2) => b}},
            {[ref(1)], [a | ref(1)]},
            {[], {'$py.ref', not_a_pid, 1, 1}},
            {[], {'$py.ref', self(), 1}}
        ]
    ].

every_reference_has_the_shape_of_one_test() ->
    {Head, Size} = py_term:reference_shape(),
    ?assertEqual({Head, Size}, {element(1, ref(1)), tuple_size(ref(1))}).
