%%% The directory of what outlives the node.
-module(py_store_tests).

-include_lib("eunit/include/eunit.hrl").
-include_lib("kernel/include/file.hrl").

with_directory(Test) ->
    {setup, fun() -> string:trim(os:cmd("mktemp -d")) end, fun(Path) -> os:cmd("rm -r " ++ Path) end,
        fun(Path) -> {timeout, 60, fun() -> Test(filename:join(Path, "state")) end} end}.

mode(Path) ->
    {ok, #file_info{mode = Mode}} = file:read_file_info(Path),
    Mode band 8#777.

opened(Directory) ->
    {ok, Store} = py_store:open(Directory),
    Store.

it_is_closed_to_others_test_() ->
    with_directory(fun(Directory) ->
        Store = opened(filename:join([Directory, "a", "b"])),
        {ok, Key} = py_store:key(Store),
        ?assertEqual(32, byte_size(Key)),
        ?assertEqual({ok, Key}, py_store:key(Store)),
        [?assertEqual(8#700, mode(py_store:path(Parts, Store))) || Parts <- [[], [".."]]],
        [?assertEqual(8#600, mode(py_store:path([File], Store))) || File <- ["key", "lock"]],
        py_store:close(Store)
    end).

one_that_was_open_to_others_is_closed_test_() ->
    with_directory(fun(Directory) ->
        ok = file:make_dir(Directory),
        ok = file:change_mode(Directory, 8#755),
        py_store:close(opened(Directory)),
        ?assertEqual(8#700, mode(Directory))
    end).

a_second_node_is_told_who_has_it_test_() ->
    with_directory(fun(Directory) ->
        Store = opened(Directory),
        {ok, [#{os_pid := OsPid}]} = file:consult(py_store:path(["lock"], Store)),
        ?assertEqual(list_to_integer(os:getpid()), OsPid),
        Other = opened_by_another(Directory),
        ?assertEqual({error, {py, {state_dir, Directory, {locked, OsPid}}}}, Other),
        Said = unicode:characters_to_list(py_error:text(element(2, Other))),
        ?assertNotEqual(nomatch, string:find(Said, integer_to_list(OsPid))),
        py_store:close(Store),
        ?assertEqual(ok, opened_by_another(Directory))
    end).

%% Another BEAM.
opened_by_another(Directory) ->
    Code = lists:flatten(io_lib:format("R = case py_store:open(~p) of {ok, _} -> ok; E -> E end, io:format(\"~~w.\", [R]), halt().", [Directory])),
    {_, Said} = py_program:run(os:find_executable("erl"), [{args, ["-noinput", "-pa", filename:dirname(code:which(py_store)), "-eval", Code]}], 30_000),
    {ok, Tokens, _} = erl_scan:string(binary_to_list(Said)),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

the_lock_of_a_process_that_is_gone_is_nobodys_test_() ->
    with_directory(fun(Directory) ->
        %% It ends without letting go.
        ?assertEqual(ok, opened_by_another(Directory)),
        py_store:close(opened(Directory))
    end).

%% A number that was given again, another boot: what the file names is not that process.
a_later_process_of_the_same_number_has_no_lock_test_() ->
    with_directory(fun(Directory) ->
        ok = file:make_dir(Directory),
        Own = py_fence:own(),
        Parent = list_to_integer(string:trim(os:cmd("echo $PPID"))),
        [
            begin
                ok = file:write_file(filename:join(Directory, "lock"), io_lib:format("~tp.~n", [Own#{os_pid => Parent, Key => <<"0">>}])),
                py_store:close(opened(Directory))
            end
         || Key <- [started, boot, namespace]
        ]
    end).

a_lock_file_that_is_no_term_is_nobodys_test_() ->
    with_directory(fun(Directory) ->
        ok = file:make_dir(Directory),
        [
            begin
                ok = file:write_file(filename:join(Directory, "lock"), Text),
                py_store:close(opened(Directory))
            end
         || Text <- ["", "7", "{", <<0, 255>>, "#{os_pid => x}.\n"]
        ]
    end).

a_file_appears_whole_or_not_at_all_test_() ->
    with_directory(fun(Directory) ->
        Store = opened(Directory),
        File = py_store:path(["some"], Store),
        ok = py_store:write(File, <<"one">>),
        ok = py_store:write(File, <<"two">>),
        ?assertEqual({ok, <<"two">>}, file:read_file(File)),
        ?assertEqual(["lock", "some"], lists:sort(element(2, file:list_dir(Directory)))),
        ?assertEqual({error, enoent}, py_store:write(py_store:path(["no", "such"], Store), <<"x">>)),
        py_store:close(Store)
    end).

names_are_parts_of_paths_test_() ->
    [?_assert(py_store:is_name(Name)) || Name <- [<<"a">>, <<"0">>, <<"a-b">>, binary:copy(<<"a">>, 63)]] ++
        [
            ?_assertNot(py_store:is_name(Name))
         || Name <- [
                <<>>, <<".">>, <<"..">>, <<"a/b">>, <<"A">>, <<"-a">>, <<"a_b">>, <<"a\n">>, <<"a", 0>>, binary:copy(<<"a">>, 64), <<"é"/utf8>>, "a", a
            ]
        ] ++
        %% These are files and directories of the store's own.
        [?_assertNot(py_store:is_project(Name)) || Name <- [<<"runs">>, <<"lock">>, <<"key">>, <<"journal">>, <<"envs">>, <<"incoming">>, <<"secrets">>, <<"a/b">>]].

the_directory_is_the_environments_or_the_users_test_() ->
    Saved = application:get_env(py, state_dir),
    {setup, fun() -> application:unset_env(py, state_dir) end, fun(_) -> [application:set_env(py, state_dir, Dir) || {ok, Dir} <- [Saved]] end, fun() ->
        With = fun(Variables) -> py_application:with_environment(Variables, fun py_store:directory/0) end,
        ?assertEqual({default, "/x/py"}, With([{"XDG_STATE_HOME", "/x"}])),
        ?assertEqual({default, "/home/me/.local/state/py"}, With([{"XDG_STATE_HOME", false}, {"HOME", "/home/me"}])),
        %% As the specification has it, a path that is not absolute is passed over.
        ?assertEqual({default, "/home/me/.local/state/py"}, With([{"XDG_STATE_HOME", "x"}, {"HOME", "/home/me"}])),
        ?assertMatch({error, {py, {state_dir, "", _}}}, With([{"XDG_STATE_HOME", ""}, {"HOME", false}])),
        application:set_env(py, state_dir, <<"/somewhere">>),
        ?assertEqual({configured, <<"/somewhere">>}, py_store:directory()),
        application:set_env(py, state_dir, 7),
        ?assertMatch({error, {py, {bad_config, py, {bad_option, state_dir, 7, _}}}}, py_store:directory()),
        application:unset_env(py, state_dir)
    end}.
