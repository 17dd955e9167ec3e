%%% Another user of the machine prepares what a start finds beside its directory. Needs root, which becomes that user.
-module(py_strangers_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").
-include_lib("kernel/include/file.hrl").

-export([suite/0, all/0, init_per_suite/1, end_per_suite/1, init_per_testcase/2, end_per_testcase/2]).
-export([
    a_start_ignores_what_strangers_have_made/1,
    nothing_behind_a_strangers_link_is_deleted/1,
    a_directory_that_is_swapped_all_the_time_costs_nobody_a_file/1,
    a_stranger_sees_and_reaches_nothing/1,
    an_ordinary_user_starts_beside_root/1,
    odd_files_of_an_interpreter_end_nothing/1
]).

-define(STRANGER, "65534").
%% One above the largest number that Linux gives to a process.
-define(NOBODY, "4194305").
-define(ROOT, "/dev/shm").

suite() -> [{timetrap, {minutes, 5}}].

all() ->
    [
        a_start_ignores_what_strangers_have_made,
        nothing_behind_a_strangers_link_is_deleted,
        a_directory_that_is_swapped_all_the_time_costs_nobody_a_file,
        a_stranger_sees_and_reaches_nothing,
        an_ordinary_user_starts_beside_root,
        odd_files_of_an_interpreter_end_nothing
    ].

init_per_suite(Config) ->
    {ok, #file_info{uid = User}} = file:read_file_info("/proc/self"),
    Checks = [
        {User =:= 0, "only root can become another user"},
        {os:find_executable("setpriv") =/= false, "no setpriv on PATH (util-linux)"},
        {filelib:is_dir(?ROOT), "no /dev/shm"}
    ],
    case [Why || {false, Why} <- Checks] of
        [] -> Config;
        [Why | _] -> io:format(user, "~nskipped: ~ts~n", [Why]), {skip, Why}
    end.

end_per_suite(_Config) -> ok.

init_per_testcase(_, Config) ->
    ok = py_directory:new(),
    Own = filename:basename(filename:dirname(py_directory:path("any"))),
    ok = py_directory:delete(),
    ["erl", "py", _, Began, Namespace, _] = string:split(Own, "-", all),
    [{name, fun(Random) -> lists:flatten(lists:join("-", ["erl-py", ?NOBODY, Began, Namespace, Random])) end} | Config].

%% What the stranger made is left.
end_per_testcase(_, _Config) ->
    Stopped = py_application:stop(),
    py_directory:delete(filename:join(?ROOT, "erl-py--ebin")),
    {ok, Names} = file:list_dir_all(?ROOT),
    Paths = [filename:join(?ROOT, Name) || Name <- Names],
    [py_directory:delete(Path) || Path <- Paths, {ok, #file_info{uid = 65534}} <- [file:read_link_info(Path)]],
    Stopped.

%% A command of the stranger's.
stranger(Command) -> stranger(Command, 20_000).

stranger(Command, Timeout) ->
    Args = ["--reuid", ?STRANGER, "--regid", ?STRANGER, "--clear-groups", "/bin/sh", "-c", Command],
    py_program:run(os:find_executable("setpriv"), [{args, Args}, {cd, "/"}], Timeout).

done(Command) ->
    {0, Said} = stranger(Command),
    Said.

path(Config, Random) -> filename:join(?ROOT, (?config(name, Config))(Random)).

start() ->
    ok = py_application:start([{default, #{size => 1}}]),
    ?assertEqual(3, py:add(1, 2)).

a_start_ignores_what_strangers_have_made(Config) ->
    Dead = path(Config, "01"),
    Sister = path(Config, "02"),
    _ = done([
        "cd " ++ ?ROOT ++ "; mkdir erl-py--x-NS-y 'erl-py--' 'erl-py-1-2' 'erl-py-..-x-NS-y' \"$(printf 'erl-py-\\377-x-y-z')\"; "
        "mkdir \"$(printf 'erl-py--x\n-NS-y')\"; touch erl-py--f-NS-y; mkfifo erl-py--p-NS-y; mkdir -m 0700 ", Dead, "; ",
        "mkdir -m 0 ", Sister, "; mkdir -p ", path(Config, "03/deep"), "; ln -s /etc ", path(Config, "04"), "; ",
        "mkdir erl-py--$(printf '%0200d' 0)-NS-y"
    ]),
    start(),
    [?assertMatch({ok, #file_info{uid = 65534}}, file:read_link_info(Path)) || Path <- [Dead, Sister, filename:join(?ROOT, "erl-py--x-NS-y")]],
    ?assert(filelib:is_dir("/etc")).

nothing_behind_a_strangers_link_is_deleted(Config) ->
    Victim = filename:join(?config(priv_dir, Config), "victim"),
    ok = filelib:ensure_dir(filename:join(Victim, "file")),
    ok = file:write_file(filename:join(Victim, "file"), "kept"),
    ok = file:change_mode(Victim, 8#700),
    _ = done([
        "ln -s ", Victim, " ", path(Config, "01"), "; mkdir -m 0700 ", path(Config, "02"), "; ln -s ", Victim, " ",
        path(Config, "02/link")
    ]),
    start(),
    ?assertEqual({ok, <<"kept">>}, file:read_file(filename:join(Victim, "file"))),
    ?assertMatch({ok, _}, file:read_link(path(Config, "01"))),
    ?assertMatch({ok, _}, file:read_link(path(Config, "02/link"))).

%% D5: while root sweeps, the directory becomes a link to what is root's, and a directory again.
a_directory_that_is_swapped_all_the_time_costs_nobody_a_file(Config) ->
    Victim = filename:join(?config(priv_dir, Config), "victim"),
    Names = [filename:join(Victim, "file" ++ integer_to_list(N)) || N <- lists:seq(1, 50)],
    [ok = filelib:ensure_dir(Name) || Name <- Names],
    [ok = file:write_file(Name, "kept") || Name <- Names],
    [Swapped, Aside] = [path(Config, Random) || Random <- ["01", "02"]],
    Swap = [
        "mkdir -m 0700 ", Swapped, "; touch ", Swapped, "/a; while [ -d ", ?ROOT, " ]; do ", "mv ", Swapped, " ", Aside, "; ln -s ",
        Victim, " ", Swapped, "; rm ", Swapped, "; mv ", Aside, " ", Swapped, "; done"
    ],
    Args = ["--reuid", ?STRANGER, "--regid", ?STRANGER, "--clear-groups", "/bin/sh", "-c", lists:flatten(["exec 2>/dev/null; ", Swap])],
    Port = open_port({spawn_executable, os:find_executable("setpriv")}, [{args, Args}, exit_status, hide]),
    {os_pid, OsPid} = erlang:port_info(Port, os_pid),
    try
        py_eventually:holds(fun() -> element(1, file:read_link_info(Swapped)) =:= ok end),
        [ok = py_directory:new() || _ <- lists:seq(1, 500)]
    after
        py_launcher:kill(OsPid),
        receive {Port, {exit_status, _}} -> ok end,
        py_directory:delete()
    end,
    ?assertEqual([], [Name || Name <- Names, file:read_file(Name) =/= {ok, <<"kept">>}]).

%% The application's directory, its sockets, its files.
a_stranger_sees_and_reaches_nothing(_Config) ->
    start(),
    Shm = py:share(<<"secret">>),
    Directory = filename:dirname(py_directory:path("any")),
    {ok, #file_info{mode = Mode}} = file:read_file_info(Directory),
    ?assertEqual(8#700, Mode band 8#777),
    [?assertMatch({Status, _} when Status =/= 0, stranger(Command ++ Directory ++ "/" ++ Below))
     || Command <- ["ls ", "cat ", "touch ", "rm -r "], Below <- ["", "shm", "x"]],
    ?assertEqual(<<"secret">>, py:value(Shm)),
    ok = py:release(Shm).

%% The other way round: what root has left keeps them from nothing. (Whether it stays is root's other starts' to say.)
an_ordinary_user_starts_beside_root(Config) ->
    Roots = path(Config, "01"),
    ok = filelib:ensure_dir(filename:join(Roots, "file")),
    ok = file:write_file(filename:join(Roots, "file"), "kept"),
    ok = file:change_mode(Roots, 8#700),
    Ebin = filename:dirname(filename:absname(code:where_is_file("py.app"))),
    Copy = filename:join(?ROOT, "erl-py--ebin"),
    %% The checkout may be in a place where they may not go.
    "" = os:cmd("cp -r " ++ Ebin ++ " " ++ Copy ++ " && chmod -R a+rX " ++ Copy),
    Eval = "io:format(\"~p ~p~n\", [py_directory:new(), py_directory:delete()]), halt().",
    Erl = filename:join([code:root_dir(), "bin", "erl"]),
    {Status, Said} = stranger(["HOME=/tmp ", Erl, " -noinput -pa ", Copy, " -eval '", Eval, "' 2>&1"]),
    case {Status, binary:match(Said, <<"ok ok">>)} of
        {0, {_, _}} -> ok;
        %% Where they may not run Erlang there is nothing to see.
        _ -> ct:comment("skipped: another user can't run Erlang here: ~ts", [binary:part(Said, 0, min(80, byte_size(Said)))])
    end.

%% Of one that is trusted, and lays its files where those of shared memory are.
odd_files_of_an_interpreter_end_nothing(_Config) ->
    start(),
    Owner = whereis(py_shared_owner),
    Shm = list_to_binary(py_directory:path("shm")),
    Names = [<<"notes">>, <<"a-1-x">>, <<"\n">>, <<255, 254>>, <<"\x{2603}"/utf8>>, binary:copy(<<"9">>, 200), <<"-">>],
    [ok = file:write_file(filename:join(Shm, Name), "x") || Name <- Names],
    Fake = <<"0123456789abcdef-1-5">>,
    "" = os:cmd(binary_to_list(<<"mkfifo ", Shm/binary, "/", Fake/binary>>)),
    ok = file:make_symlink("/etc/passwd", filename:join(Shm, <<"0123456789abcdef-2-5">>)),
    Shared = py:share(<<"tea">>),
    ?assertEqual(<<"tea">>, py:value(Shared)),
    ?assertEqual(3, py:func(builtins, len, [Shared])),
    ?assertMatch(#{files := Files} when Files >= 1, py:shared_memory()),
    Meant = {'$py.shm', {node(), Fake, {0, 1}, bytes}},
    Linked = {'$py.shm', {node(), <<"0123456789abcdef-2-5">>, {0, 1}, bytes}},
    [?assertError({py, {stale_reference, _}}, py:value(Odd)) || Odd <- [Meant, Linked]],
    %% Python makes files of its own beside them.
    {'$py.shm', _} = Made = py:func(builtins, bytes, [100_000], #{arrays => shared}),
    ok = py:release([Shared, Made]),
    ?assertEqual(Owner, whereis(py_shared_owner)).
