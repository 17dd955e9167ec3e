%%% Entities as the BEAM keeps them: what appears and goes, in which order, and what a full disk and a kill leave.
-module(py_entity_SUITE).

-include_lib("stdlib/include/assert.hrl").
-include_lib("common_test/include/ct.hrl").

-export([all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    one_appears_is_found_and_goes/1,
    versions_are_in_the_order_in_which_they_were_written/1,
    lists_go_on_behind_what_they_have_said/1,
    of_two_that_write_one_id_one_is_told/1,
    what_is_no_part_of_a_path_is_refused/1,
    what_asks_may_die/1,
    a_full_disk_leaves_nothing/1,
    a_node_that_was_killed_leaves_whole_entities/1
]).

all() ->
    [
        one_appears_is_found_and_goes,
        versions_are_in_the_order_in_which_they_were_written,
        lists_go_on_behind_what_they_have_said,
        of_two_that_write_one_id_one_is_told,
        what_is_no_part_of_a_path_is_refused,
        what_asks_may_die,
        a_full_disk_leaves_nothing,
        a_node_that_was_killed_leaves_whole_entities
    ].

init_per_testcase(Case, Config) ->
    State = filename:join(?config(priv_dir, Config), Case),
    application:set_env(py, state_dir, State),
    application:set_env(py, pools, [{default, none}]),
    {ok, _} = application:ensure_all_started(py),
    [{state, State} | Config].

end_per_testcase(_Case, _Config) ->
    ok = application:stop(py),
    application:unset_env(py, state_dir),
    application:unset_env(py, pools).

kept(Name, Id) -> py_entity:put(<<"demo">>, <<"artifact">>, Name, Id, <<"{\"a\": 1}">>, <<>>).

found(Name, Id) -> py_entity:get(<<"demo">>, <<"artifact">>, Name, Id).

list(Name, IsLatest, After, Limit) ->
    {ok, Listed} = py_entity:list(<<"demo">>, <<"artifact">>, Name, IsLatest, After, Limit),
    [{Found, Id} || {Found, Id, Text} <- Listed, is_binary(Text)].

incoming(Config) -> file:list_dir(filename:join(?config(state, Config), "incoming")).

one_appears_is_found_and_goes(Config) ->
    ?assertMatch({error, {py, {unknown_entity, _}}}, found(<<"f">>, <<>>)),
    {ok, Place} = py_entity:place(),
    Own = <<"1-1-1-abc">>,
    ok = file:make_dir(filename:join(Place, Own)),
    ok = file:write_file(filename:join([Place, Own, "content"]), <<"bytes">>),
    ok = py_entity:put(<<"demo">>, <<"artifact">>, <<"f">>, <<"1">>, <<"{\"a\": 1}">>, Own),
    {ok, {<<"1">>, Text, Content}} = found(<<"f">>, <<>>),
    ?assertMatch(<<"{\"format\": 1, \"stored_us\": 1", _/binary>>, Text),
    ?assertEqual({ok, <<"bytes">>}, file:read_file(Content)),
    ok = py_entity:delete(<<"demo">>, <<"artifact">>, <<"f">>, <<"1">>),
    ?assertMatch({error, {py, {unknown_entity, _}}}, found(<<"f">>, <<"1">>)),
    ?assertMatch({error, {py, {unknown_entity, _}}}, py_entity:delete(<<"demo">>, <<"artifact">>, <<"f">>, <<"1">>)),
    %% Nothing of it, nor of the project, whose last it was.
    ?assertEqual(false, filelib:is_dir(filename:join(?config(state, Config), "demo"))),
    ?assertEqual({ok, ["1-1-1-abc"]}, incoming(Config)).

versions_are_in_the_order_in_which_they_were_written(_Config) ->
    Ids = [integer_to_binary(Id) || Id <- [5, 3, 9, 1, 7]],
    [ok = kept(<<"f">>, Id) || Id <- Ids],
    ok = kept(<<"g">>, <<"1">>),
    Check = fun() ->
        ?assertEqual([{<<"f">>, Id} || Id <- Ids], list(<<"f">>, false, {<<>>, <<>>}, 100)),
        ?assertEqual([{<<"f">>, <<"7">>}, {<<"g">>, <<"1">>}], list(<<>>, true, {<<>>, <<>>}, 100)),
        ?assertMatch({ok, {<<"7">>, _, _}}, found(<<"f">>, <<>>))
    end,
    Check(),
    %% As the next node reads them.
    ok = application:stop(py),
    {ok, _} = application:ensure_all_started(py),
    Check(),
    ok = py_entity:delete(<<"demo">>, <<"artifact">>, <<"f">>, <<"7">>),
    ?assertMatch({ok, {<<"1">>, _, _}}, found(<<"f">>, <<>>)),
    ok = py_entity:delete(<<"demo">>, <<"artifact">>, <<"f">>, <<>>),
    ?assertEqual([{<<"g">>, <<"1">>}], list(<<>>, false, {<<>>, <<>>}, 100)).

lists_go_on_behind_what_they_have_said(_Config) ->
    All = [{<<Name>>, <<Id>>} || Name <- "abc", Id <- "123"],
    [ok = kept(Name, Id) || {Name, Id} <- All],
    All = pages(<<>>, false, {<<>>, <<>>}, 2),
    ?assertEqual([{<<Name>>, <<"3">>} || Name <- "abc"], pages(<<>>, true, {<<>>, <<>>}, 1)),
    ?assertEqual([{<<"b">>, <<Id>>} || Id <- "123"], pages(<<"b">>, false, {<<>>, <<>>}, 2)),
    %% Where the one that it goes on behind was deleted meanwhile, that name is over.
    ok = py_entity:delete(<<"demo">>, <<"artifact">>, <<"a">>, <<"2">>),
    ?assertEqual([{<<"b">>, <<Id>>} || Id <- "123"], list(<<>>, false, {<<"a">>, <<"2">>}, 3)).

pages(Name, IsLatest, After, Limit) ->
    case list(Name, IsLatest, After, Limit) of
        [] -> [];
        Page -> Page ++ pages(Name, IsLatest, lists:last(Page), Limit)
    end.

of_two_that_write_one_id_one_is_told(Config) ->
    Self = self(),
    Writers = [spawn_link(fun() -> Self ! {self(), kept(<<"f">>, <<"1">>)} end) || _ <- lists:seq(1, 8)],
    Answers = [receive {Writer, Answer} -> Answer end || Writer <- Writers],
    ?assertEqual(1, length([ok || ok <- Answers])),
    ?assertEqual(7, length([exists || {error, {py, {entity_exists, _}}} <- Answers])),
    ?assertEqual({ok, []}, incoming(Config)).

what_is_no_part_of_a_path_is_refused(Config) ->
    ok = kept(<<"f">>, <<"1">>),
    {ok, Before} = file:list_dir(?config(state, Config)),
    [
        begin
            ?assertMatch({error, {py, {entity, _}}}, kept(Name, <<"1">>)),
            ?assertMatch({error, {py, {entity, _}}}, kept(<<"f">>, Name)),
            ?assertMatch({error, {py, {unknown_entity, _}}}, found(Name, <<"1">>)),
            ?assertMatch({error, {py, {unknown_entity, _}}}, py_entity:delete(Name, <<>>, <<>>, <<>>)),
            ?assertMatch({error, {py, {entity, _}}}, py_entity:put(Name, <<"artifact">>, <<"f">>, <<"1">>, <<>>, <<>>))
        end
     || Name <- [<<".">>, <<"..">>, <<"a/b">>, <<"A">>, <<"a\n">>, <<"a", 0>>, <<"é"/utf8>>, binary:copy(<<"a">>, 64)]
    ],
    ?assertMatch({error, {py, {entity, _}}}, py_entity:put(<<"demo">>, <<"a">>, <<"f">>, <<"1">>, binary:copy(<<" ">>, 2 bsl 20), <<>>)),
    ?assertEqual({ok, Before}, file:list_dir(?config(state, Config))),
    {error, <<"unknown_entity">>, Text} = py_entity:ask(py_entity, get, [<<"demo">>, <<"artifact">>, <<"none">>, <<>>]),
    ?assertEqual(<<"there is no artifact none in the project demo">>, Text),
    ?assertError(badarg, py_entity:ask(os, cmd, ["true"])).

%% What is begun appears, whole.
what_asks_may_die(Config) ->
    [
        begin
            Id = integer_to_binary(Number),
            {Pid, Monitor} = spawn_monitor(fun() -> kept(<<"f">>, Id) end),
            erlang:yield(),
            exit(Pid, kill),
            receive {'DOWN', Monitor, process, Pid, _} -> ok end
        end
     || Number <- lists:seq(1, 30)
    ],
    ok = kept(<<"f">>, <<"last">>),
    %% Told to the index by the process that has made it appear.
    py_eventually:equals(true, fun() ->
        OnDisk = filelib:wildcard(filename:join([?config(state, Config), "demo", "artifact", "f", "*", "entity.json"])),
        incoming(Config) =:= {ok, []} andalso length(OnDisk) =:= length(list(<<"f">>, false, {<<>>, <<>>}, 100))
    end).

%% The limit on the size of a file is a disk that is full.
a_full_disk_leaves_nothing(Config) ->
    case os:find_executable("prlimit") of
        false ->
            {skip, "no prlimit here"};
        _ ->
            State = filename:join(?config(priv_dir, Config), "full"),
            Node = py_runs_node:start("trap '' XFSZ;"),
            ok = py_runs_node:call(Node, {py_runs_node, with_runs, [State, none]}),
            Write = fun(Id) -> py_runs_node:call(Node, {py_entity, put, [<<"demo">>, <<"artifact">>, <<"f">>, Id, <<"{}">>, <<>>]}) end,
            ok = Write(<<"1">>),
            limit(Node, "3"),
            ?assertMatch({error, {py, {state_dir, _, _}}}, Write(<<"2">>)),
            ?assertMatch({ok, {<<"1">>, _, _}}, py_runs_node:call(Node, {py_entity, get, [<<"demo">>, <<"artifact">>, <<"f">>, <<>>]})),
            ?assertEqual({ok, []}, file:list_dir(filename:join(State, "incoming"))),
            limit(Node, "unlimited"),
            ok = Write(<<"2">>),
            py_runs_node:stop(Node)
    end.

limit(Node, Bytes) ->
    "" = os:cmd(lists:concat(["prlimit --pid ", py_runs_node:os_pid(Node), " --fsize=", Bytes, ":unlimited"])).

a_node_that_was_killed_leaves_whole_entities(Config) ->
    State = filename:join(?config(priv_dir, Config), "killed"),
    [killed(State, Turn) || Turn <- lists:seq(1, 4)],
    Node = py_runs_node:start(),
    ok = py_runs_node:call(Node, {py_runs_node, with_runs, [State, none]}),
    {ok, Listed} = py_runs_node:call(Node, {py_entity, list, [<<"demo">>, <<"artifact">>, <<>>, false, {<<>>, <<>>}, 1_000]}),
    Text = text(),
    [?assertNotEqual(nomatch, binary:match(Said, Text)) || {_, _, Said} <- Listed],
    {ok, _} = py_runs_node:call(Node, {py_entity, place, []}),
    ?assertEqual({ok, []}, file:list_dir(filename:join(State, "incoming"))),
    py_runs_node:stop(Node).

killed(State, Turn) ->
    Node = py_runs_node:start(),
    ok = py_runs_node:call(Node, {py_runs_node, with_runs, [State, none]}),
    _ = [py_runs_node:cast(Node, {py_entity, put, [<<"demo">>, <<"artifact">>, <<"f">>, <<(integer_to_binary(Turn))/binary, $-, (integer_to_binary(N))/binary>>, text(), <<>>]}) || N <- lists:seq(1, 100)],
    %% Another moment of it each time.
    timer:sleep(10 * Turn),
    py_runs_node:kill(Node).

text() -> iolist_to_binary(["{\"a\": \"", binary:copy(<<"x">>, 100_000), "\"}}\n"]).
