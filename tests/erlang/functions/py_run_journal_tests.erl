%%% The journal: what was written is there, whatever became of the last write.
-module(py_run_journal_tests).

-include_lib("eunit/include/eunit.hrl").

with_file(Test) ->
    {setup, fun() -> filename:join(string:trim(os:cmd("mktemp -d")), "journal") end, fun(Path) -> os:cmd("rm -r " ++ filename:dirname(Path)) end,
        fun(Path) -> {timeout, 60, fun() -> Test(Path) end} end}.

opened(Path) ->
    {ok, Journal} = py_run_journal:open(Path),
    py_run_journal:read(fun(Term, Acc) -> [Term | Acc] end, [], Journal).

read(Path) ->
    {ok, Terms, Damage, Journal} = opened(Path),
    py_run_journal:close(Journal),
    {lists:reverse(Terms), Damage}.

written(Path, Batches) ->
    {ok, [], _, Journal} = opened(Path),
    Last = lists:foldl(fun(Batch, Before) -> {ok, Next} = py_run_journal:write(Batch, Before), Next end, Journal, Batches),
    py_run_journal:close(Last).

what_is_written_is_read_in_order_test_() ->
    with_file(fun(Path) ->
        written(Path, [[{1, <<"a">>}], [{2, <<"b">>}, {3, <<"c">>}]]),
        ?assertEqual({[{1, <<"a">>}, {2, <<"b">>}, {3, <<"c">>}], #{cut => 0, unreadable => 0}}, read(Path))
    end).

%% Cut at each byte of its end it opens, with what was whole; and can be written on.
cut_anywhere_it_opens_test_() ->
    with_file(fun(Path) ->
        All = [{N, binary:copy(<<"x">>, N rem 40)} || N <- lists:seq(1, 50)],
        written(Path, [All]),
        {ok, Bytes} = file:read_file(Path),
        [cut_at(At, Bytes, All, Path) || At <- lists:seq(0, byte_size(Bytes))]
    end).

cut_at(At, Bytes, All, Path) ->
    ok = file:write_file(Path, binary:part(Bytes, 0, At)),
    {Before, _} = read(Path),
    ?assert(lists:prefix(Before, All)),
    {ok, _, #{cut := 0}, Journal} = opened(Path),
    {ok, Next} = py_run_journal:write([{new, At}], Journal),
    py_run_journal:close(Next),
    ?assertEqual({Before ++ [{new, At}], #{cut => 0, unreadable => 0}}, read(Path)).

%% A disk that lost what it said was written: whatever the last bytes are, what stands before them counts.
overwritten_at_its_end_it_opens_test_() ->
    with_file(fun(Path) ->
        All = [{N, <<"some text">>} || N <- lists:seq(1, 30)],
        written(Path, [All]),
        {ok, Bytes} = file:read_file(Path),
        [
            begin
                ok = file:write_file(Path, [binary:part(Bytes, 0, At), binary:copy(Filler, byte_size(Bytes) - At)]),
                {Read, _} = read(Path),
                ?assert(lists:prefix(Read, All))
            end
         || At <- lists:seq(byte_size(Bytes) - 200, byte_size(Bytes) - 1), Filler <- [<<0>>, <<255>>, <<"q">>]
        ]
    end).

a_record_in_the_middle_that_is_damaged_costs_itself_alone_test_() ->
    with_file(fun(Path) ->
        written(Path, [[{1, <<"aaaa">>}, {2, <<"bbbb">>}, {3, <<"cccc">>}]]),
        {ok, Bytes} = file:read_file(Path),
        ok = file:write_file(Path, binary:replace(Bytes, <<"bbbb">>, <<"bxbb">>)),
        ?assertEqual({[{1, <<"aaaa">>}, {3, <<"cccc">>}], #{cut => 0, unreadable => 1}}, read(Path))
    end).

%% Nothing that is read makes an atom, a fun of somebody's or a process.
a_record_with_an_atom_that_nobody_knows_is_passed_over_test_() ->
    with_file(fun(Path) ->
        Strange = <<131, 119, 23, "atom_that_nobody_has_at">>,
        ?assertEqual(26, byte_size(Strange)),
        written(Path, [[{1, one}]]),
        ok = file:write_file(Path, <<(byte_size(Strange)):32, (erlang:crc32(Strange)):32, Strange/binary>>, [append]),
        ?assertEqual({[{1, one}], #{cut => 0, unreadable => 1}}, read(Path)),
        ?assertError(badarg, binary_to_existing_atom(<<"atom_that_nobody_has_", "at">>))
    end).

a_journal_of_a_later_version_is_not_touched_test_() ->
    with_file(fun(Path) ->
        ok = file:write_file(Path, "py journal 2\nsomething else"),
        ?assertMatch({error, {version, <<"py journal 2\n">>}}, py_run_journal:open(Path)),
        ?assertEqual({ok, <<"py journal 2\nsomething else">>}, file:read_file(Path))
    end).

written_anew_it_has_what_is_wanted_and_goes_on_test_() ->
    with_file(fun(Path) ->
        written(Path, [[{N, <<"old">>} || N <- lists:seq(1, 100)]]),
        {ok, _, _, Journal} = opened(Path),
        {ok, Fresh} = py_run_journal:rewrite([{1, <<"kept">>}], Journal),
        ?assert(py_run_journal:size(Fresh) < py_run_journal:size(Journal)),
        {ok, Last} = py_run_journal:write([{2, <<"new">>}], Fresh),
        py_run_journal:close(Last),
        ?assertEqual({[{1, <<"kept">>}, {2, <<"new">>}], #{cut => 0, unreadable => 0}}, read(Path))
    end).
