-module(py_atoms_tests).

-include_lib("eunit/include/eunit.hrl").

-define(NODE, "py_atoms@nowhere").

terms() ->
    [
        0, 255, 256, -1, 1 bsl 40, -(1 bsl 40), 1 bsl 3000, 1.5, [], {}, #{}, <<>>, <<1, 2>>, <<5:3>>, "text",
        a, 'ключ', [a, b | c], {a, {b, [c]}}, #{a => b, {c} => [d]}, [1.5, "text", #{1 => a}],
        self(), make_ref(), hd(erlang:ports()), fun lists:map/2, fun(X) -> {X, terms} end,
        list_to_tuple(lists:seq(1, 300)), lists:seq(1, 300) ++ [a], binary:copy(<<"x">>, 70_000)
    ].

%% The external terms of another node, in every way to write them, and the floats and atoms of older releases.
foreign() ->
    Node = <<119, (length(?NODE)), ?NODE>>,
    [
        <<131, 103, Node/binary, 1:32, 0:32, 0>>,
        <<131, 88, Node/binary, 1:32, 0:32, 0:32>>,
        <<131, 102, Node/binary, 1:32, 0>>,
        <<131, 89, Node/binary, 1:32, 0:32>>,
        <<131, 120, Node/binary, 1:64, 0:32>>,
        <<131, 101, Node/binary, 1:32, 0>>,
        <<131, 114, 1:16, Node/binary, 0, 1:32>>,
        <<131, 90, 2:16, Node/binary, 0:32, 1:32, 2:32>>
    ].

atoms(Atom) when is_atom(Atom) -> [Atom];
atoms(Tuple) when is_tuple(Tuple) -> atoms(tuple_to_list(Tuple));
atoms([Head | Tail]) -> atoms(Head) ++ atoms(Tail);
atoms(Map) when is_map(Map) -> atoms(maps:to_list(Map));
atoms(_) -> [].

names(Bytes) ->
    {ok, Names} = py_atoms:walk(Bytes),
    lists:usort([binary_to_atom(Name, Encoding) || {Name, Encoding} <- Names]).

the_names_of_all_atoms_are_found_test_() ->
    [
        {lists:flatten(io_lib:format("~0tP", [Term, 8])), fun() ->
            Found = names(term_to_binary(Term, Options)),
            %% A pid, a fun and their like name a node and a module beside.
            ?assertEqual([], lists:usort(atoms(Term)) -- Found),
            is_pid(Term) orelse is_reference(Term) orelse is_port(Term) orelse is_function(Term) orelse
                ?assertEqual(lists:usort(atoms(Term)), Found),
            ?assertEqual({ok, Term}, py_atoms:decode(term_to_binary(Term, Options)))
        end}
     || Term <- terms(), Options <- [[], [{minor_version, 1}]]
    ].

a_node_is_a_name_test_() ->
    [?_assertEqual([list_to_atom(?NODE)], names(Bytes)) || Bytes <- foreign()].

what_is_cut_off_is_no_term_test_() ->
    [
        ?_assertEqual(error, py_atoms:walk(binary:part(Bytes, 0, Size)))
     || Bytes <- foreign() ++ [term_to_binary({a, [b, #{c => <<"d">>}], 1.5, self()})],
        Size <- lists:seq(0, byte_size(Bytes) - 1)
    ].

random_bytes_are_a_term_or_an_error_test() ->
    lists:foreach(
        fun(Seed) ->
            Bytes = <<131, (crypto:strong_rand_bytes(1 + Seed rem 40))/binary>>,
            Walked = py_atoms:walk(Bytes),
            ?assert(Walked =:= error orelse element(1, Walked) =:= ok)
        end,
        lists:seq(1, 2_000)
    ).

atoms(Prefix, Count) ->
    Names = <<<<119, 14, "pys", Prefix, (integer_to_binary(1_000_000_000 + N))/binary>> || N <- lists:seq(1, Count)>>,
    <<131, 108, Count:32, Names/binary, 106>>.

what_one_session_spends_is_not_missing_in_the_next_test() ->
    #{session := Most, sessions := MostOfSessions} = py_config:max_sandbox_atoms(),
    ?assert(MostOfSessions >= 8 * Most),
    One = py_atoms:session(),
    ?assertMatch({refused, _}, py_atoms:decode(atoms($a, Most + 1), One)),
    ?assertMatch({ok, _}, py_atoms:decode(atoms($b, Most), One)),
    ?assertMatch({refused, _}, py_atoms:decode(atoms($c, 1), One)),
    ?assertMatch({ok, _}, py_atoms:decode(atoms($b, Most), One)),
    ?assertMatch({ok, _}, py_atoms:decode(atoms($c, 2), py_atoms:session())),
    ?assertEqual(error, py_atoms:decode(term_to_binary(lists:duplicate(100, a), [compressed]), One)).

%% All of them together have a limit, which leaves the pools theirs.
sessions_do_not_spend_what_is_the_pools_test() ->
    #{session := Most, sessions := MostOfSessions} = py_config:max_sandbox_atoms(),
    Answers = [py_atoms:decode(atoms($d + N, Most), py_atoms:session()) || N <- lists:seq(0, MostOfSessions div Most)],
    ?assertMatch([{refused, _} | _], lists:reverse(Answers)),
    ?assertMatch({ok, _}, py_atoms:decode(atoms(1, 10), {sandbox, a_pool_of_this_test})),
    %% What was refused has been given back.
    persistent_term:erase({py_atoms, sessions}).

%% In a frame of its own, more than there may ever be; none of them is made.
too_many_are_refused_and_none_is_made_test_() -> {timeout, 60, fun too_many_are_refused_and_none_is_made/0}.

too_many_are_refused_and_none_is_made() ->
    Count = py_config:max_new_atoms() + 1,
    Atoms = <<<<119, 12, "pyat", (integer_to_binary(10_000_000 + N))/binary>> || N <- lists:seq(1, Count)>>,
    Before = erlang:system_info(atom_count),
    ?assertMatch({refused, [_ | _]}, py_atoms:decode(<<131, 108, Count:32, Atoms/binary, 106>>)),
    ?assert(erlang:system_info(atom_count) - Before < 100),
    %% What is known costs nothing, and what is new is there while the budget lasts.
    ?assertMatch({ok, [a | _]}, py_atoms:decode(term_to_binary(lists:duplicate(Count, a)))),
    ?assertMatch({ok, New} when is_atom(New), py_atoms:decode(<<131, 119, 12, "pyat10000001">>)).
